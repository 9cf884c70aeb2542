"""Explanations that were written as JSON, read back: they show and check themselves as before, without their trace.

The formula with its numbers is a list of nodes, each of which names the nodes below it by their place in the list; a
part that is used twice stands there once. What a function gave is stored with it, for a function cannot be written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from tatami.errors import DataError, SettingError, TatamiError
from tatami.inspect.explain.base import Slope
from tatami.inspect.explanation import (
    Derivation,
    Explanation,
    Kind,
    Note,
    Reference,
    json_number,
)
from tatami.inspect.expression import (
    Applied,
    Expression,
    Formula,
    Maximum,
    Named,
    Negative,
    Number,
    Padding,
    Product,
    Sum,
)

# Nodes below one another; what the library writes has a dozen at most.
DEEPEST = 200


@dataclass(frozen=True)
class Known(Applied):
    """A function of other nodes whose value is known and whose rule is not."""

    known_value: float = 0.0
    known_error: float = 0.0

    def value(self) -> float:
        """Return what the function gave."""
        return self.known_value

    def error(self) -> float:
        """Return its rounding error."""
        return self.known_error


@dataclass
class Entries:
    """The entries of an array that an explanation mentions."""

    shape: tuple[int, ...]
    values: dict[tuple[int, ...], float] = field(default_factory=dict)

    def __getitem__(self, index: tuple[int, ...]) -> float:
        """Return an entry."""
        return self.values[index]


class StoredSource:
    """Where the references of a stored explanation find their numbers."""

    def __init__(self, examples: int) -> None:
        """Begin with no numbers."""
        self.examples = examples
        self.arrays: dict[tuple[str, str, str], Entries] = {}

    def array(self, kind: Kind, layer: str, name: str) -> NDArray[Any]:
        """Return the entries of an array that are known."""
        return cast(NDArray[Any], self.arrays[kind, layer, name])

    def explanation_of(self, reference: Reference) -> Explanation:
        """Refuse: what made the entry is in the trace, not in the file."""
        raise SettingError(
            f"{reference.label()}: an explanation that was read from JSON cannot be followed; trace the network again"
        )


# ---- writing --------------------------------------------------------------------------------------------------


def derivation_json(explanation: Explanation) -> dict[str, Any]:
    """Return everything that `explanation_from_json` needs as plain JSON values."""
    writer = Writer()
    subject = writer.reference(explanation.subject)
    derivation = explanation.derivation
    writer.node(derivation.expression)
    return {
        "examples": explanation.subject.source.examples,
        "arrays": [[*key, list(shape)] for key, shape in writer.arrays.items()],
        "subject": subject,
        "nodes": writer.nodes,
        "formula": [derivation.formula.latex, derivation.formula.one_based],
        "exact": derivation.exact,
        "given": derivation.given,
        "notes": [[note.key, dict(note.values), list(note.places)] for note in derivation.notes],
    }


class Writer:
    """Writes the nodes of an expression into a list."""

    def __init__(self) -> None:
        """Begin with an empty list."""
        self.nodes: list[dict[str, Any]] = []
        self.arrays: dict[tuple[str, str, str], tuple[int, ...]] = {}
        self.written: dict[int, int] = {}
        self.numbers: dict[tuple[str, str, str], int] = {}

    def reference(self, reference: Reference) -> dict[str, Any]:
        """Return a reference with its number."""
        key = (reference.kind, reference.layer, reference.name)
        if key not in self.arrays:
            self.numbers[key] = len(self.arrays)
            self.arrays[key] = reference.source.array(*key).shape
        return {
            "is": "reference",
            "array": self.numbers[key],
            "index": list(reference.index),
            "symbol": reference.symbol,
            "value": json_number(reference.value()),
        }

    def node(self, node: Expression) -> int:
        """Write a node and all below it, and return its place."""
        if isinstance(node, Named) and id(node) in self.written:
            return self.written[id(node)]
        if isinstance(node, Reference):
            described = self.reference(node)
        else:
            below = [self.node(child) for child in node.children()]
            described = described_node(node) | ({"of": below} if below or is_branch(node) else {})
        self.nodes.append(described)
        place = len(self.nodes) - 1
        if isinstance(node, Named):
            self.written[id(node)] = place
        return place


def is_branch(node: Expression) -> bool:
    """Say whether a node has others below it, even if there happen to be none."""
    return isinstance(node, Sum | Product | Maximum)


def described_node(node: Expression) -> dict[str, Any]:
    """Return what a node is, without what is below it."""
    if isinstance(node, Number):
        kind = "slope" if isinstance(node, Slope) else "number"
        return {"is": kind, "value": json_number(node.number), "name": node.name}
    if isinstance(node, Padding):
        return {"is": "padding", "value": json_number(node.number)}
    if isinstance(node, Named):
        return {"is": "named", "name": node.name}
    if isinstance(node, Maximum):
        return {"is": "maximum", "magnitudes": node.magnitudes}
    if isinstance(node, Applied):
        return {
            "is": "function",
            "template": node.template,
            "kind": node.kind,
            "holds": node.holds,
            "tight": node.tight,
            "value": json_number(node.value()),
            "error": json_number(node.error()),
        }
    names: dict[type[Expression], str] = {Sum: "sum", Product: "product", Negative: "negative"}
    return {"is": names[type(node)]}


# ---- reading --------------------------------------------------------------------------------------------------


def explanation_from_json(data: Any) -> Explanation:
    """Read an explanation back that `Explanation.to_json` wrote.

    Raises:
        DataError: it is none, or damaged.
    """
    try:
        explanation = read(data)
        explanation.text()  # formulas that cannot be shown and remarks that are none are found here
        explanation.check()
    except DataError:
        raise
    except (TatamiError, KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"not an explanation as to_json writes it: {type(error).__name__}: {error!s:.120}"
        ) from error
    return explanation


def read(data: Any) -> Explanation:
    """Build the explanation; what is wrong raises one of Python's own errors."""
    stored = data["derivation"]
    source = StoredSource(int(stored["examples"]))
    keys = []
    for kind, layer, name, shape in stored["arrays"]:
        if kind not in get_args(Kind) or not isinstance(layer, str) or not isinstance(name, str):
            raise ValueError(f"no array {kind!r:.40} {layer!r:.40} {name!r:.40}")
        keys.append((kind, layer, name))
        source.arrays[kind, layer, name] = Entries(tuple(int(size) for size in shape))
    reader = Reader(source, keys)
    subject = reader.reference(stored["subject"])
    expression = reader.expression(stored["nodes"])
    latex, one_based = (text(value) for value in stored["formula"])
    notes = tuple(
        Note(text(key), {text(name): value for name, value in values.items()}, tuple(map(text, places)))
        for key, values, places in stored["notes"]
    )
    derivation = Derivation(
        Formula(latex, one_based), expression, flag(stored["exact"]), notes, flag(stored["given"])
    )
    return Explanation(subject, text(data["owner"]), derivation)


class Reader:
    """Builds expressions from lists of nodes."""

    def __init__(self, source: StoredSource, keys: Sequence[tuple[Any, str, str]]) -> None:
        """Remember where numbers go."""
        self.source = source
        self.keys = keys

    def expression(self, nodes: Sequence[Mapping[str, Any]]) -> Expression:
        """Build the nodes one after the other; the last one stands on top."""
        built: list[Expression] = []
        depths: list[int] = []
        for number, node in enumerate(nodes):
            places = node.get("of", [])
            if not all(type(place) is int and 0 <= place < number for place in places):
                raise ValueError(f"node {number} names nodes that do not stand before it")
            depth = 1 + max((depths[place] for place in places), default=0)
            if depth > DEEPEST:
                raise ValueError(f"nodes are nested deeper than {DEEPEST}")
            depths.append(depth)
            built.append(self.node(node, tuple(built[place] for place in places)))
        return built[-1]

    def node(self, node: Mapping[str, Any], below: tuple[Expression, ...]) -> Expression:
        """Build one node."""
        kind = node["is"]
        if kind == "reference":
            return self.reference(node)
        if kind in ("number", "slope"):
            return (Slope if kind == "slope" else Number)(float(node["value"]), text(node["name"]))
        if kind == "padding":
            return Padding(float(node["value"]))
        if kind == "named":
            (inside,) = below
            return Named(text(node["name"]), inside)
        if kind == "maximum":
            return Maximum(below, flag(node["magnitudes"]))
        if kind == "function":
            return Known(
                text(node["template"]),
                unknown,
                below,
                holds=int(node["holds"]),
                tight=int(node["tight"]),
                kind=text(node["kind"]),
                known_value=float(node["value"]),
                known_error=float(node["error"]),
            )
        branches: dict[str, Callable[[], Expression]] = {
            "sum": lambda: Sum(below),
            "product": lambda: Product(below),
            "negative": lambda: Negative(*below),
        }
        return branches[kind]()

    def reference(self, node: Mapping[str, Any]) -> Reference:
        """Build a reference and note its number."""
        kind, layer, name = self.keys[node["array"]]
        index = tuple(int(at) for at in node["index"])
        self.source.arrays[kind, layer, name].values[index] = float(node["value"])
        return Reference(self.source, kind, layer, name, index, text(node["symbol"]))


def unknown(*values: float) -> float:
    """Stand for the rule of a function that was not written."""
    return float(np.nan)


def text(value: Any) -> str:
    """Return a text, or raise."""
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r:.40}")
    return value


def flag(value: Any) -> bool:
    """Return True or False, or raise."""
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false, got {value!r:.40}")
    return value
