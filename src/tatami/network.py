"""A network: a directed acyclic graph of named layers, their shapes and parameters. It executes nothing.

Shapes are inferred and checked when the network is built, so a mistake is found before any data is touched and is
reported with the layer's name. `tatami.program` plans a network for a backend and runs it.
"""

import heapq
import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError, ShapeError, UnknownNameError, shortened, unknown_name
from tatami.geometry import Geometry, Shape, check_positive
from tatami.initializers import ParameterSpec
from tatami.layers.base import Layer
from tatami.random import RandomKey

Parameters = dict[str, dict[str, NDArray[Any]]]

INPUT = "input"
FORMAT_VERSION = 1
# Far above anything that fits into a workstation; a description that asks for more is a mistake or an attack.
LARGEST_PARAMETER_COUNT = 2**33
LARGEST_OUTPUT = 2**33
LARGEST_LAYER_COUNT = 10_000
DTYPES = ("float32", "float64")

LayerEntry = Layer | tuple[Layer, str | Sequence[str]]


@dataclass(frozen=True)
class Node:
    """One named layer and the names of the nodes whose outputs it takes; 'input' is the network's own input."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class ReceptiveField:
    """The patch of the network's input that one unit sees, per axis: unit i sees jump·i + first … jump·i + last.

    Where branches that step differently are joined, the largest step is given. ``everything`` means all of the input,
    or that the place of a unit does not tell which part (behind a reshape).
    """

    first: Shape
    last: Shape
    jump: Shape
    everything: bool = False

    @property
    def extent(self) -> Shape:
        """How many positions of the input a unit sees, the padding around it included."""
        return tuple(last - first + 1 for first, last in zip(self.first, self.last, strict=True))

    def through(self, window: Geometry) -> "ReceptiveField":
        """Return the field of a window over units that have this field."""
        if self.everything:
            return self
        before = [pair[0] for pair in window.padding]
        reaches = [reach - 1 - pad for reach, pad in zip(window.effective_kernel, before, strict=True)]
        return ReceptiveField(
            tuple(at - pad * jump for at, pad, jump in zip(self.first, before, self.jump, strict=True)),
            tuple(at + reach * jump for at, reach, jump in zip(self.last, reaches, self.jump, strict=True)),
            tuple(jump * step for jump, step in zip(self.jump, window.stride, strict=True)),
            self.everything,
        )

    def magnified(self, enlargement: Sequence[tuple[int, int, int]]) -> "ReceptiveField":
        """Return the field of a layer whose output j sees the units i with j + low ≤ factor·i ≤ j + high.

        So unit i is at least (j + low) / factor and at most (j + high) / factor. Steps finer than one position of the
        input are not followed.
        """
        if self.everything:
            return self
        if any(jump % factor for jump, (factor, _, _) in zip(self.jump, enlargement, strict=True)):
            return replace(self, everything=True)
        jumps = tuple(jump // factor for jump, (factor, _, _) in zip(self.jump, enlargement, strict=True))
        return ReceptiveField(
            tuple(
                at + low * jump for at, jump, (_, low, _) in zip(self.first, jumps, enlargement, strict=True)
            ),
            tuple(
                at + high * jump for at, jump, (_, _, high) in zip(self.last, jumps, enlargement, strict=True)
            ),
            jumps,
        )

    @staticmethod
    def joined(fields: Sequence["ReceptiveField"]) -> "ReceptiveField":
        """Return the field of a unit that sees what the units at its place in several branches see."""
        return ReceptiveField(
            tuple(min(axis) for axis in zip(*(field.first for field in fields), strict=True)),
            tuple(max(axis) for axis in zip(*(field.last for field in fields), strict=True)),
            tuple(max(axis) for axis in zip(*(field.jump for field in fields), strict=True)),
            any(field.everything for field in fields),
        )

    def __str__(self) -> str:
        """Print the extent: 5x5, or 'all'."""
        return "all" if self.everything else "x".join(map(str, self.extent)) or "-"


class Network:
    """A directed acyclic graph of named layers.

    Args:
        layers: name → layer, or name → (layer, names of its inputs). A layer without named inputs takes the output of
            the one before it. The order of the entries does not matter otherwise.
        input_shape: (C, *spatial) or (features,) of one example.
        name: what summaries call the network.

    Raises:
        ShapeError, SettingError: a layer that does not fit to its input, named.
        UnknownNameError: an input that no layer is called by.

    A block with a skip connection:

    >>> from tatami.layers import Add, Convolution, Dense, GlobalAveragePool, ReLU
    >>> network = Network(
    ...     {
    ...         "conv1": Convolution(8, 3, padding="same"),
    ...         "relu1": ReLU(),
    ...         "conv2": Convolution(8, 3, padding="same"),
    ...         "add1": (Add(), ("conv2", "relu1")),
    ...         "pool1": GlobalAveragePool(),
    ...         "dense1": Dense(10),
    ...     },
    ...     input_shape=(1, 8, 8),
    ... )
    >>> network.output_shape, network.parameter_count
    ((10,), 754)
    """

    def __init__(
        self, layers: Mapping[str, LayerEntry], input_shape: Sequence[int], name: str = "network"
    ) -> None:
        """Order the layers, infer every shape and check that there is one output."""
        if not isinstance(name, str):
            raise SettingError(f"the name of a network must be a text, got {reprlib.repr(name)}")
        if not isinstance(input_shape, Sequence) or not 1 <= len(input_shape) <= 4:
            raise ShapeError(
                f"{name}: the input shape must be (C, H, W), (C, W), (C, D, H, W) or (features,), "
                f"got {reprlib.repr(input_shape)}"
            )
        self.name = name
        self.input_shape: Shape = tuple(input_shape)
        check_positive(self.input_shape, "input shape", name)
        self.nodes: tuple[Node, ...] = in_topological_order(linked_nodes(layers))
        self.output = self.only_output()
        self.shapes: dict[str, Shape] = {INPUT: self.input_shape}
        self.parameter_specs: dict[str, dict[str, ParameterSpec]] = {}
        for node in self.nodes:
            shapes = self.input_shapes(node)
            self.shapes[node.name] = self.allowed_shape(node, node.layer.output_shape(*shapes))
            specs = node.layer.parameter_specs(*shapes)
            if specs:
                self.parameter_specs[node.name] = specs
        if self.parameter_count > LARGEST_PARAMETER_COUNT:
            raise SettingError(
                f"{name}: {self.parameter_count:,} parameters are more than the {LARGEST_PARAMETER_COUNT:,} that are "
                f"allowed; pool or stride more before the dense layers"
            )

    def allowed_shape(self, node: Node, shape: Shape) -> Shape:
        """Return the shape of a layer's output, or raise if one example alone would not fit into memory."""
        if prod(shape) > LARGEST_OUTPUT:
            raise SettingError(
                f"{node.layer.label}: an output of {shape_text(shape)} = {prod(shape):,} values for one example is "
                f"more than the {LARGEST_OUTPUT:,} that are allowed; use smaller inputs, fewer filters or more stride"
            )
        return shape

    def only_output(self) -> str:
        """Return the one node whose output nobody takes."""
        used = {source for node in self.nodes for source in node.inputs}
        outputs = [node.name for node in self.nodes if node.name not in used]
        if len(outputs) != 1:
            raise SettingError(
                f"{self.name}: a network has one output, but nothing takes the outputs of {names_in_short(outputs)}; "
                f"merge them with Add or Concatenate"
            )
        return outputs[0]

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the shapes that a node takes."""
        return tuple(self.shapes[source] for source in node.inputs)

    @property
    def output_shape(self) -> Shape:
        """Shape of the output for one example."""
        return self.shapes[self.output]

    @property
    def parameter_count(self) -> int:
        """Number of learned numbers."""
        return sum(prod(spec.shape) for specs in self.parameter_specs.values() for spec in specs.values())

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass of one example."""
        return sum(node.layer.multiply_adds(*self.input_shapes(node)) for node in self.nodes)

    def __getitem__(self, name: str) -> Layer:
        """Return a layer by name."""
        for node in self.nodes:
            if node.name == name:
                return node.layer
        raise unknown_name(f"layer of {self.name}", name, [node.name for node in self.nodes])

    def initialize(self, seed: int = 0, dtype: str = "float32") -> Parameters:
        """Draw the initial values: layer → parameter → array.

        Args:
            seed: of the counter-based generator; the same seed gives the same numbers.
            dtype: 'float32' or 'float64'.
        """
        if dtype not in DTYPES:
            raise unknown_name("dtype of parameters", str(dtype), DTYPES)
        key = RandomKey(seed)
        return {
            layer: {
                name: spec.initializer.draw(spec, f"{layer}.{name}", key).astype(dtype)
                for name, spec in specs.items()
            }
            for layer, specs in self.parameter_specs.items()
        }

    def freeze(self, *layers: str) -> tuple[tuple[str, float], ...]:
        """Return the ``rates`` of an optimiser that leaves some layers as they are.

        A network is data and holds no parameters, so the optimiser is told what not to move. Factors other than 0 make
        layers slow or quick: ``(*network.freeze("conv1"), ("conv2", 0.1))``.

        Args:
            layers: names of layers with parameters.

        Raises:
            UnknownNameError: no such layer, or one without parameters.

        >>> from tatami.models import lenet5
        >>> from tatami.optimizers import SGD
        >>> SGD(0.1, rates=lenet5().freeze("conv1", "conv2")).rates
        (('conv1', 0.0), ('conv2', 0.0))
        """
        for layer in layers:
            if layer not in self.parameter_specs:
                raise unknown_name(f"layer with parameters of {self.name}", layer, self.parameter_specs)
        return tuple((layer, 0.0) for layer in layers)

    def initial_state(self, dtype: str = "float32") -> Parameters:
        """Return the state that layers carry from step to step (running statistics): layer → name → array."""
        states = {node.name: node.layer.initial_state(*self.input_shapes(node)) for node in self.nodes}
        return {
            layer: {name: np.asarray(values, dtype=dtype) for name, values in named.items()}
            for layer, named in states.items()
            if named
        }

    def check_parameters(self, parameters: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
        """Raise unless the parameters are those of this network, by name and shape."""
        for layer in parameters:
            if layer not in self.parameter_specs:
                raise unknown_name(f"layer with parameters of {self.name}", layer, self.parameter_specs)
        for layer, specs in self.parameter_specs.items():
            if layer not in parameters:
                raise UnknownNameError(f"{self.name}: the parameters of layer {layer!r} are missing")
            if set(parameters[layer]) != set(specs):
                expected, came = ", ".join(sorted(specs)), ", ".join(sorted(parameters[layer]))
                raise UnknownNameError(
                    f"{self.name}: layer {layer!r} has the parameters {expected}, got {came}"
                )
            for name, spec in specs.items():
                shape = parameters[layer][name].shape
                if shape != spec.shape:
                    raise ShapeError(
                        f"{self.name}: {layer}.{name} should have shape {spec.shape}, got {shape}"
                    )

    def receptive_fields(self) -> dict[str, ReceptiveField]:
        """Return for every node how much of the network's input one of its units sees."""
        rank = len(self.input_shape) - 1
        fields = {INPUT: ReceptiveField((0,) * rank, (0,) * rank, (1,) * rank)}
        for node in self.nodes:
            field = ReceptiveField.joined([fields[source] for source in node.inputs])
            window = node.layer.window(*self.input_shapes(node))
            if window is not None:
                field = field.through(window)
            enlargement = node.layer.enlargement(*self.input_shapes(node))
            if enlargement is not None:
                field = field.magnified(enlargement)
            if node.layer.sees_everything():
                field = replace(field, everything=True)
            fields[node.name] = field
        return fields

    def summary_rows(self) -> list[dict[str, Any]]:
        """Return one dictionary for each layer: name, type, settings, inputs, shapes, parameters, multiply-adds."""
        fields = self.receptive_fields()
        return [
            {
                "name": node.name,
                "type": type(node.layer).__name__,
                "settings": node.layer.settings(),
                "inputs": list(node.inputs),
                "output_shape": list(self.shapes[node.name]),
                "parameters": sum(
                    prod(spec.shape) for spec in self.parameter_specs.get(node.name, {}).values()
                ),
                "multiply_adds": node.layer.multiply_adds(*self.input_shapes(node)),
                "receptive_field": str(fields[node.name]),
            }
            for node in self.nodes
        ]

    def _repr_html_(self) -> str:
        """Show the summary in a notebook, as a table."""
        rows = self.summary_rows()
        names = ("layer", "type", "settings", "output", "parameters", "multiply-adds", "receptive field")
        head = "".join(f'<th style="text-align:left">{name}</th>' for name in names)
        body = []
        for row in rows:
            shape = "×".join(map(str, row["output_shape"]))
            words = (row["name"], row["type"], row["settings"])
            numbers = (shape, f"{row['parameters']:,}", f"{row['multiply_adds']:,}", row["receptive_field"])
            cells = "".join(f'<td style="text-align:left">{escape(str(word))}</td>' for word in words)
            cells += "".join(f'<td style="text-align:right">{escape(str(number))}</td>' for number in numbers)
            body.append(f"<tr>{cells}</tr>")
        title = f"{self.name}: {self.parameter_count:,} parameters, {self.multiply_adds:,} multiply-adds"
        return f"<p><strong>{escape(title)}</strong></p><table><tr>{head}</tr>{''.join(body)}</table>"

    def summary(self) -> str:
        """Return a table of the layers: shapes, parameters, exact multiply-adds and receptive field.

        >>> from tatami.layers import Convolution, Dense, Flatten, MaxPool, ReLU
        >>> layers = Convolution(4, 3, padding="same"), ReLU(), MaxPool(2), Flatten(), Dense(10)
        >>> print(Sequential(*layers, input_shape=(1, 8, 8)).summary())
        network: input 1x8x8, output 10
        layer     type         settings                   output  parameters  multiply-adds  receptive field
        conv1     Convolution  4 filters 3, padding same  4x8x8           40          2,304              3x3
        relu1     ReLU                                    4x8x8            0              0              3x3
        pool1     MaxPool      window 2                   4x4x4            0              0              4x4
        flatten1  Flatten                                 64               0              0              4x4
        dense1    Dense        10 units                   10             650            640              all
        total                                                            690          2,944
        """
        header = ("layer", "type", "settings", "output", "parameters", "multiply-adds", "receptive field")
        rows = [
            (
                row["name"] + skipping(row["inputs"], before),
                row["type"],
                row["settings"],
                shape_text(row["output_shape"]),
                f"{row['parameters']:,}",
                f"{row['multiply_adds']:,}",
                row["receptive_field"],
            )
            for row, before in zip(
                self.summary_rows(), [INPUT, *(node.name for node in self.nodes)], strict=False
            )
        ]
        rows.append(("total", "", "", "", f"{self.parameter_count:,}", f"{self.multiply_adds:,}", ""))
        shapes = f"input {shape_text(self.input_shape)}, output {shape_text(self.output_shape)}"
        return f"{self.name}: {shapes}\n" + table([header, *rows], right_aligned=(4, 5, 6))

    def to_json(self) -> dict[str, Any]:
        """Return the network as plain JSON values; `from_json` reads it back."""
        return {
            "format": FORMAT_VERSION,
            "name": self.name,
            "input_shape": list(self.input_shape),
            "layers": [
                {"name": node.name, "inputs": list(node.inputs), "layer": without_name(node.layer)}
                for node in self.nodes
            ],
        }

    @staticmethod
    def from_json(data: Any) -> "Network":
        """Build a network from what `to_json` returned, or from the JSON text of it.

        Raises:
            SettingError: not a description of a network, or of another format version.
            TatamiError: what building the network raises.
        """
        if isinstance(data, str | bytes):
            try:
                data = json.loads(data)
            except (ValueError, RecursionError) as error:
                raise SettingError(f"the network's description is not JSON: {error}") from error
        if not isinstance(data, Mapping):
            raise SettingError(f"a network is described by a JSON object, got {type(data).__name__}")
        if data.get("format") != FORMAT_VERSION:
            raise SettingError(
                f"network format {data.get('format')!r} is unknown, this version of Tatami reads {FORMAT_VERSION}; "
                f"a newer Tatami may read it"
            )
        entries, shape = data.get("layers"), data.get("input_shape")
        if not isinstance(entries, list) or not isinstance(shape, list) or len(entries) > LARGEST_LAYER_COUNT:
            raise SettingError("a network's description needs a list of 'layers' and a list 'input_shape'")
        layers: dict[str, LayerEntry] = {}
        for entry in entries:
            if (
                not isinstance(entry, Mapping)
                or not isinstance(entry.get("name"), str)
                or not isinstance(entry.get("inputs"), list)
            ):
                raise SettingError(
                    f"a layer is described by 'name', 'inputs' and 'layer', got {reprlib.repr(entry)}"
                )
            name = entry["name"]
            if name in layers:
                raise SettingError(f"two layers are called {shortened(name)}")
            layers[name] = (Layer.from_json(entry.get("layer")), tuple(entry["inputs"]))
        return Network(layers, shape, name=data.get("name", "network"))

    def __eq__(self, other: object) -> bool:
        """Compare structure and settings, not parameters."""
        return isinstance(other, Network) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        """Hash the structure."""
        return hash(json.dumps(self.to_json(), sort_keys=True))

    def __repr__(self) -> str:
        """Name the network, its shapes and size."""
        return (
            f"<Network {self.name}: {len(self.nodes)} layers, {shape_text(self.input_shape)} -> "
            f"{shape_text(self.output_shape)}, {self.parameter_count:,} parameters>"
        )


class Sequential(Network):
    """A network whose layers follow one another; unnamed layers are numbered by kind: conv1, relu1, conv2, and so on.

    >>> from tatami.layers import Dense, Flatten, ReLU
    >>> network = Sequential(Flatten(), Dense(32), ReLU(), Dense(10, name="logits"), input_shape=(1, 8, 8))
    >>> [node.name for node in network.nodes]
    ['flatten1', 'dense1', 'relu1', 'logits']
    """

    def __init__(self, *layers: Layer, input_shape: Sequence[int], name: str = "network") -> None:
        """Name the layers and chain them."""
        if not layers:
            raise SettingError(f"{name}: a network needs at least one layer")
        counts: dict[str, int] = {}
        named: dict[str, LayerEntry] = {}
        for layer in layers:
            if not isinstance(layer, Layer):
                raise SettingError(f"{name}: expected layers such as Dense(10), got {reprlib.repr(layer)}")
            counts[layer.kind] = counts.get(layer.kind, 0) + 1
            label = layer.name or f"{layer.kind}{counts[layer.kind]}"
            if label in named:
                raise SettingError(f"{name}: two layers are called {label!r}; give one of them another name=")
            named[label] = layer
        super().__init__(named, input_shape, name)


def linked_nodes(layers: Mapping[str, LayerEntry]) -> list[Node]:
    """Turn the entries into nodes; a layer without named inputs takes the one before it."""
    if not isinstance(layers, Mapping) or not layers:
        raise SettingError("a network needs at least one layer: name -> layer, or name -> (layer, inputs)")
    nodes = []
    before = INPUT
    for name, entry in layers.items():
        if not isinstance(name, str) or name == INPUT or not name or "." in name:
            raise SettingError(
                f"a layer cannot be called {reprlib.repr(name)}: it needs a text, 'input' is taken, and dots "
                f"separate parameters"
            )
        layer, inputs = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, before)
        if not isinstance(layer, Layer):
            raise SettingError(
                f"layer {shortened(name)}: expected a layer such as Dense(10), or (layer, inputs), "
                f"got {reprlib.repr(layer)}"
            )
        sources = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        if not sources or not all(isinstance(source, str) for source in sources):
            raise SettingError(
                f"layer {shortened(name)}: inputs are one or more names, such as 'input', "
                f"got {reprlib.repr(inputs)}"
            )
        nodes.append(Node(name, replace(layer, name=name), sources))
        before = name
    return nodes


def in_topological_order(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Order nodes so that each comes after its inputs, otherwise as given; raise on unknown inputs and on cycles.

    Kahn's algorithm: of the nodes whose inputs are all there, the one that was given first comes next.
    """
    position = {node.name: number for number, node in enumerate(nodes)}
    readers: dict[str, list[int]] = {name: [] for name in (INPUT, *position)}
    missing = [len(set(node.inputs)) for node in nodes]
    for number, node in enumerate(nodes):
        for source in dict.fromkeys(node.inputs):
            if source not in readers:
                raise unknown_name(f"input of layer {shortened(node.name)}:", source, readers)
            readers[source].append(number)
    ordered: list[Node] = []
    possible: list[int] = []
    arrived = INPUT
    while True:
        for number in readers[arrived]:
            missing[number] -= 1
            if not missing[number]:
                heapq.heappush(possible, number)
        if not possible:
            break
        ordered.append(nodes[heapq.heappop(possible)])
        arrived = ordered[-1].name
    if len(ordered) < len(nodes):
        waiting = [node.name for number, node in enumerate(nodes) if missing[number]]
        raise SettingError(
            f"the layers {names_in_short(waiting)} wait for one another in a circle; a network has no loops"
        )
    return tuple(ordered)


def names_in_short(names: Sequence[str]) -> str:
    """List at most ten names."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def without_name(layer: Layer) -> dict[str, Any]:
    """Describe a layer without the name, which the node holds."""
    description = layer.to_json()
    del description["name"]
    return description


def skipping(inputs: Sequence[str], before: str) -> str:
    """Name a layer's inputs for the summary, unless it just takes the layer before it."""
    return "" if list(inputs) == [before] else f" <- {', '.join(inputs)}"


def shape_text(shape: Sequence[int]) -> str:
    """Join sizes: 32x28x28."""
    return "x".join(map(str, shape))


def table(rows: Sequence[Sequence[str]], right_aligned: Sequence[int]) -> str:
    """Align the columns of a table of strings, two spaces apart."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.rjust(width) if column in right_aligned else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)
