"""A network drawn as a vector diagram: its layers from top to bottom, their shapes and parameters, skip connections.

Written from the network itself, so it cannot show anything else. The SVG needs nothing from elsewhere and follows the
reader's choice of a light or a dark page.
"""

from dataclasses import dataclass
from math import log2, prod
from pathlib import Path

from tatami.inspect.markup import Markup, element, together
from tatami.inspect.phrases import Language, Text
from tatami.layers.activations import Activation
from tatami.network import INPUT, Network, Node, shape_text

ROW, BOX = 58.0, 44.0
BLOCK_MIDDLE = 62.0
BOX_LEFT, BOX_WIDTH = 128.0, 300.0
LANE = 16.0
MARGIN = 14.0
TITLE = Text("{}: {} layers, {:,} parameters", "{}: {} 層、パラメータ {:,} 個")
PARAMETERS = Text("{:,} parameters", "パラメータ {:,}")
# Mean width of a character of the small and the normal text.
SMALL_CHARACTER, CHARACTER = 5.6, 6.9

STYLE = """
.tatami-diagram { --ink: #1f2933; --soft: #6b7280; --line: #9ca3af; --plain: #f3f4f6; --conv: #dbeafe; --dense: #dcfce7;
  --activation: #fef3c7; --pool: #ede9fe; --merge: #fee2e2; --edge: #94a3b8; --skip: #b91c1c;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
@media (prefers-color-scheme: dark) { .tatami-diagram { --ink: #e5e7eb; --soft: #9ca3af; --line: #6b7280;
  --plain: #1f2937; --conv: #1e3a5f; --dense: #14432a; --activation: #4a3510; --pool: #372a5c; --merge: #562020;
  --edge: #64748b; --skip: #f87171; } }
.tatami-diagram text { fill: var(--ink); font-size: 12px; }
.tatami-diagram .strong { font-weight: 600; font-size: 13px; }
.tatami-diagram .small { fill: var(--soft); font-size: 10.5px; }
.tatami-diagram .right { text-anchor: end; }
.tatami-diagram .middle { text-anchor: middle; }
.tatami-diagram .box { stroke: var(--edge); stroke-width: 1; }
.tatami-diagram .arrow { fill: none; stroke: var(--line); stroke-width: 1.5; }
.tatami-diagram .skip { fill: none; stroke: var(--skip); stroke-width: 1.6; }
.tatami-diagram .head { fill: var(--line); }
.tatami-diagram .skip-head { fill: var(--skip); }
""" + "".join(
    f".tatami-diagram .{kind} {{ fill: var(--{kind}); }}\n"
    for kind in ("plain", "conv", "dense", "activation", "pool", "merge")
)


@dataclass(frozen=True)
class Edge:
    """A connection that does not just lead to the next row.

    Attributes:
        source: row of the layer that it comes from; 0 is the input.
        target: row of the layer that it leads to.
        lane: on which line beside the boxes it runs.
    """

    source: int
    target: int
    lane: int


def network_diagram(network: Network, language: Language = "en") -> str:
    """Return the drawing of a network as an SVG text, its words in a language.

    >>> import tatami
    >>> drawing = network_diagram(tatami.build("arai"))
    >>> drawing[:4], drawing.count('class="row"')
    ('<svg', 14)
    """
    rows = [INPUT, *(node.name for node in network.nodes)]
    edges = skipping_edges(network)
    lanes = 1 + max((edge.lane for edge in edges), default=-1)
    width = BOX_LEFT + BOX_WIDTH + MARGIN + lanes * LANE + (LANE if lanes else 0)
    height = ROW * len(rows) + 2 * MARGIN + 18
    title = TITLE.read(language).format(network.name, len(network.nodes), network.parameter_count)
    parts: list[Markup] = [element("title", title), element("style", Markup(STYLE))]
    parts.append(heading(title))
    parts.append(row_of_input(network))
    parts += [row_of_layer(network, number, language) for number in range(1, len(rows))]
    parts += [straight_arrow(number) for number in straight_rows(network)]
    parts += [bent_arrow(edge) for edge in edges]
    return element(
        "svg",
        together(parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        class_="tatami-diagram",
        role="img",
        aria_label=title,
    )


def write_diagram(network: Network, path: str | Path) -> None:
    """Write the drawing of a network into an SVG file."""
    Path(path).write_text(network_diagram(network) + "\n", encoding="utf-8")


def top_of(row: int) -> float:
    """Return the upper edge of a row's box."""
    return MARGIN + 18 + ROW * row


def heading(title: str) -> Markup:
    """Return the line above the drawing."""
    return element("text", title, x=BOX_LEFT, y=MARGIN + 8, class_="small")


def row_of_input(network: Network) -> Markup:
    """Draw the input."""
    return row(0, network, network.input_shape, "plain", INPUT, "", "", "")


def row_of_layer(network: Network, number: int, language: Language) -> Markup:
    """Draw a layer."""
    node = network.nodes[number - 1]
    specs = network.parameter_specs.get(node.name, {})
    count = sum(prod(spec.shape) for spec in specs.values())
    parameters = PARAMETERS.read(language).format(count) if count else ""
    shape = network.shapes[node.name]
    kind = kind_of(network, node)
    return row(
        number, network, shape, kind, node.name, type(node.layer).__name__, node.layer.settings(), parameters
    )


def row(
    number: int,
    network: Network,
    shape: tuple[int, ...],
    kind: str,
    name: str,
    type_name: str,
    settings: str,
    parameters: str,
) -> Markup:
    """Draw a box with its texts, and beside it the block of its outputs."""
    top = top_of(number)
    right = BOX_LEFT + BOX_WIDTH - 10
    shape_shown = shape_text(shape).replace("x", "×")
    room = BOX_WIDTH - 24 - CHARACTER * len(shape_shown)
    label = shortened(name, room * 0.62, CHARACTER)
    described = shortened(type_name, room - CHARACTER * len(label) - 10, SMALL_CHARACTER)
    second = shortened(settings, BOX_WIDTH - 28 - SMALL_CHARACTER * len(parameters), SMALL_CHARACTER)
    first = top + (18 if second or parameters else 27)
    texts = [
        element(
            "text",
            element("tspan", label, class_="strong"),
            element("tspan", described, dx=6, class_="small"),
            x=BOX_LEFT + 10,
            y=first,
        ),
        element("text", shape_shown, x=right, y=first, class_="right"),
        element("text", second, x=BOX_LEFT + 10, y=top + 35, class_="small"),
        element("text", parameters, x=right, y=top + 35, class_="small right"),
    ]
    box = element("rect", x=BOX_LEFT, y=top, width=BOX_WIDTH, height=BOX, rx=6, class_=f"box {kind}")
    full = ", ".join(part for part in (name, type_name, settings, shape_shown, parameters) if part)
    return element(
        "g",
        element("title", full),
        block(shape, network, kind, top + BOX / 2),
        box,
        together(texts),
        class_="row",
    )


def block(shape: tuple[int, ...], network: Network, kind: str, middle: float) -> Markup:
    """Draw the outputs of a layer as a block: its height grows with the map's sides, its width with the channels.

    Both grow with the logarithm, so that 8 and 512 channels fit into one drawing.
    """
    most_channels = (
        max(shape[0] for shape in network.shapes.values() if len(shape) > 1) if has_maps(network) else 2
    )
    largest_side = max((max(shape[1:]) for shape in network.shapes.values() if len(shape) > 1), default=2)
    if len(shape) == 1:
        most = max(shape[0] for shape in network.shapes.values() if len(shape) == 1)
        height = 10 + 30 * share_of(shape[0], most)
        return element(
            "rect",
            x=BLOCK_MIDDLE - 4,
            y=middle - height / 2,
            width=8,
            height=height,
            rx=2,
            class_=f"box {kind}",
        )
    width = 6 + 58 * share_of(shape[0], most_channels)
    side = 8 + 22 * share_of(max(shape[1:]), largest_side)
    slant = side * 0.42
    left, top = BLOCK_MIDDLE - (width + slant) / 2, middle - (side - slant) / 2
    right, bottom = left + width, top + side
    front = element("rect", x=left, y=top, width=width, height=side, class_=f"box {kind}")
    lid = [(left, top), (left + slant, top - slant), (right + slant, top - slant), (right, top)]
    flank = [(right, top), (right + slant, top - slant), (right + slant, bottom - slant), (right, bottom)]
    faces = [element("polygon", points=points_text(face), class_=f"box {kind}") for face in (lid, flank)]
    return together([faces, front])


def has_maps(network: Network) -> bool:
    """Say whether any output of the network has spatial axes."""
    return any(len(shape) > 1 for shape in network.shapes.values())


def share_of(value: int, most: int) -> float:
    """Return log(value) / log(most), within 0 … 1."""
    return log2(value) / log2(most) if most > 1 else 1.0


def points_text(points: list[tuple[float, float]]) -> str:
    """Return the corners of a polygon as SVG writes them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def straight_rows(network: Network) -> list[int]:
    """Return the rows that hand their output to the row below."""
    names = [INPUT, *(node.name for node in network.nodes)]
    return [number for number, node in enumerate(network.nodes) if names[number] in node.inputs]


def straight_arrow(number: int) -> Markup:
    """Draw the arrow from a row to the next."""
    x, start, end = BOX_LEFT + 24, top_of(number) + BOX, top_of(number + 1)
    line = element("path", d=f"M{x:g} {start:g}V{end - 5:g}", class_="arrow")
    head = element("path", d=f"M{x - 4:g} {end - 6:g}h8l-4 6z", class_="head")
    return together([line, head])


def skipping_edges(network: Network) -> list[Edge]:
    """Return the connections that pass over at least one row, each on a lane where it crosses no other on that lane.

    >>> from tatami.layers import Add, ReLU
    >>> layers = {"a": ReLU(), "b": ReLU(), "sum": (Add(), ("b", "a")), "c": ReLU(), "all": (Add(), ("c", "input"))}
    >>> skipping_edges(Network(layers, (2, 4, 4)))
    [Edge(source=1, target=3, lane=0), Edge(source=0, target=5, lane=1)]
    """
    rows = {INPUT: 0} | {node.name: number for number, node in enumerate(network.nodes, start=1)}
    spans = sorted(
        {
            (rows[source], rows[node.name])
            for node in network.nodes
            for source in node.inputs
            if rows[node.name] - rows[source] > 1
        },
        key=lambda span: (span[1] - span[0], span),
    )
    placed: list[Edge] = []
    for source, target in spans:
        lane = 0
        while any(edge.lane == lane and source < edge.target and edge.source < target for edge in placed):
            lane += 1
        placed.append(Edge(source, target, lane))
    return placed


def bent_arrow(edge: Edge) -> Markup:
    """Draw a skip connection beside the boxes."""
    right = BOX_LEFT + BOX_WIDTH
    lane = right + LANE * (edge.lane + 1)
    start, end = top_of(edge.source) + BOX * 0.68, top_of(edge.target) + BOX * 0.32
    path = f"M{right:g} {start:g}H{lane - 6:g}q6 0 6 6V{end - 6:g}q0 6 -6 6H{right + 6:g}"
    line = element("path", d=path, class_="skip")
    head = element("path", d=f"M{right + 7:g} {end - 4:g}v8l-7 -4z", class_="skip-head")
    return together([line, head])


def shortened(text: str, room: float, character: float) -> str:
    """Cut a text that would not fit."""
    most = max(1, int(room / character))
    return text if len(text) <= most else text[: most - 1] + "…"


def kind_of(network: Network, node: Node) -> str:
    """Return the colour group of a layer, told by its inputs and weights, so that new layers find theirs."""
    if len(node.inputs) > 1:
        return "merge"
    weight = network.parameter_specs.get(node.name, {}).get("weight")
    if weight is not None and len(weight.shape) > 1:
        return "conv" if len(weight.shape) > 2 else "dense"
    if isinstance(node.layer, Activation):
        return "activation"
    return "pool" if node.layer.kind == "pool" else "plain"
