"""How a layer class gets its explanation: one class with its formulas, put on the list by `explains`.

A new layer needs `forward` in words of `Expression`; its gradients have a general form that holds for every layer (the
chain rule with the layer's own slopes) until somebody writes the better one. Loss and optimiser classes have lists of
their own in `losses` and `optimizers`.
"""

from collections.abc import Callable, Iterable
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tatami.errors import UnknownNameError
from tatami.geometry import Geometry
from tatami.inspect.explanation import Derivation, Index, Note, Reference
from tatami.inspect.expression import UNIT_ROUNDOFF, Expression, Formula, Number, Product, Sum
from tatami.layers.base import Layer

if TYPE_CHECKING:
    from tatami.inspect.trace import Record, Trace

LAYER_EXPLAINERS: dict[type[Layer], "LayerExplainer"] = {}
E = TypeVar("E", bound="type[LayerExplainer]")

DELTA = r"\delta"


class View:
    """One layer of a trace, as an explainer sees it: its arrays, and references to their entries."""

    def __init__(self, trace: "Trace", record: "Record") -> None:
        """Look at one layer."""
        self.trace = trace
        self.record = record
        self.layer: Any = record.node.layer
        self.ops = trace.ops

    @property
    def examples(self) -> int:
        """Number of examples."""
        return self.trace.examples

    @property
    def geometry(self) -> Geometry:
        """The window that the layer moves over its first input."""
        geometry: Geometry = self.layer.window(*(x.shape[1:] for x in self.record.inputs))
        return geometry

    def input_array(self, number: int = 0) -> NDArray[Any]:
        """Return one of the inputs, (N, …)."""
        return self.record.inputs[number]

    def x(self, index: Iterable[int], number: int = 0, symbol: str = "x") -> Reference:
        """Refer to an entry of an input."""
        return Reference(self.trace, "value", self.record.node.inputs[number], "", whole(index), symbol)

    def y(self, index: Iterable[int], symbol: str = "y") -> Reference:
        """Refer to an entry of the output."""
        return Reference(self.trace, "value", self.record.node.name, "", whole(index), symbol)

    def dy(self, index: Iterable[int], symbol: str = DELTA) -> Reference:
        """Refer to an entry of the output's gradient."""
        return Reference(self.trace, "gradient", self.record.node.name, "", whole(index), symbol)

    def parameter(self, name: str, index: Iterable[int], symbol: str) -> Reference:
        """Refer to an entry of a parameter."""
        return Reference(self.trace, "parameter", self.record.node.name, name, whole(index), symbol)

    def saved(self, name: str, index: Iterable[int], symbol: str) -> Reference:
        """Refer to an entry of an array that forward saved."""
        return Reference(self.trace, "saved", self.record.node.name, name, whole(index), symbol)

    def state(self, name: str, index: Iterable[int], symbol: str) -> Reference:
        """Refer to an entry of what the layer carries, before the pass."""
        return Reference(self.trace, "state", self.record.node.name, name, whole(index), symbol)

    def inner(self, name: str, index: Iterable[int], symbol: str) -> Reference:
        """Refer to an entry of the gradient of a value inside the layer."""
        return Reference(self.trace, "inner gradient", self.record.node.name, name, whole(index), symbol)

    @property
    def dy_array(self) -> NDArray[Any]:
        """The gradient of the output, (N, …)."""
        assert self.record.gradient is not None
        return self.record.gradient

    def has_saved(self, name: str) -> bool:
        """Say whether forward saved an array of that name."""
        return name in self.record.saved

    def backward_of(self, output: Index) -> tuple[tuple[NDArray[Any], ...], dict[str, NDArray[Any]]]:
        """Run the layer backward from a gradient that is 1 at one output and 0 elsewhere."""
        dy = np.zeros_like(self.record.output)
        dy[output] = 1.0
        result = self.layer.backward(self.ops, dy, self.record.saved, self.record.parameters)
        return result.dinputs, dict(result.dparameters)


def whole(index: Iterable[int]) -> Index:
    """Return an index of Python's own numbers."""
    return tuple(int(at) for at in index)


class Slope(Number):
    """A derivative ∂y/∂x that the layer's backward pass computed; it carries that computation's rounding."""

    def error(self) -> float:
        """Return the roundings of a short backward pass, where summands may cancel."""
        return 256 * UNIT_ROUNDOFF * abs(self.number)


class LayerExplainer:
    """Explains the numbers of one layer class (or of several that share their formulas)."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Explain an entry of the output; ``index`` begins with the example."""
        raise NotImplementedError

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Explain an entry of the gradient that the layer hands back to one of its inputs."""
        slopes = [
            (output, view.backward_of(output)[0][number][index])
            for output in self.outputs_of_input(view, number, index)
        ]
        formula = Formula(
            r"\frac{\partial E}{\partial x(j)} = \sum_{k} \frac{\partial y(k)}{\partial x(j)} \cdot \delta(k)"
        )
        return chain_rule(view, formula, slopes)

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Explain an entry of a parameter's gradient."""
        slopes = [
            (output, view.backward_of(output)[1][name][index])
            for output in self.outputs_of_parameter(view, name, index)
        ]
        letter = text_of_parameter(name)
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial {letter}}} = \sum_{{n}} \sum_{{k}} "
            rf"\frac{{\partial y(n,k)}}{{\partial {letter}}} \cdot \delta(n,k)"
        )
        return chain_rule(view, formula, slopes)

    def saved(self, view: View, name: str, index: Index) -> Derivation | None:
        """Explain an entry of an array that forward saved, or return None if it was drawn or is only noted."""
        return None

    def new_state(self, view: View, name: str, index: Index) -> Derivation:
        """Explain an entry of what the layer carries on after the pass; at prediction nothing changes."""
        if view.record.context.training:
            raise NotImplementedError
        return copied(r"s \leftarrow s", view.state(name, index, "s"), Note("state_stays"))

    def inner_gradients(self, view: View) -> dict[str, NDArray[Any]]:
        """Return the gradients of values inside the layer that its explanations refer to, by name."""
        return {}

    def inner_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Explain an entry of one of `inner_gradients`."""
        raise NotImplementedError

    def outputs_of_input(self, view: View, number: int, index: Index) -> Iterable[Index]:
        """Return the outputs that an input entry can reach: all of its example, unless somebody knows better."""
        shape = view.record.output.shape
        return ((index[0], *rest) for rest in product(*map(range, shape[1:])))

    def outputs_of_parameter(self, view: View, name: str, index: Index) -> Iterable[Index]:
        """Return the outputs that a parameter entry can reach: all, unless somebody knows better."""
        return product(*map(range, view.record.output.shape))


def text_of_parameter(name: str) -> str:
    """Return the letter of a parameter by its name."""
    return {"weight": "w", "bias": "b", "slope": "a", "scale": r"\gamma", "shift": r"\beta"}.get(
        name, r"\theta"
    )


def chain_rule(view: View, formula: Formula, slopes: Iterable[tuple[Index, float]]) -> Derivation:
    """Return Σ ∂y(k)/∂x·δ(k) over the outputs whose slope is not 0."""
    terms = tuple(Product((Slope(float(slope)), view.dy(output))) for output, slope in slopes if slope != 0)
    return Derivation(formula, Sum(terms), notes=(Note("chain_rule"),))


def copied(formula: str, reference: Expression, *notes: Note) -> Derivation:
    """Return the explanation of a number that is copied."""
    return Derivation(Formula(formula), reference, exact=True, notes=notes)


def explains(*classes: type[Layer]) -> Callable[[E], E]:
    """Put an explainer on the list for layer classes. A subclass of these needs its own entry."""

    def register(explainer: E) -> E:
        for layer_class in classes:
            LAYER_EXPLAINERS[layer_class] = explainer()
        return explainer

    return register


def explainer_of(layer: Layer) -> LayerExplainer:
    """Return the explainer of a layer's class, or raise an error that says where to add one."""
    try:
        return LAYER_EXPLAINERS[type(layer)]
    except KeyError:
        raise UnknownNameError(
            f"{layer.label}: the class {type(layer).__name__} has no explanation yet; "
            f"write one in tatami.inspect.explain and put @explains({type(layer).__name__}) in front"
        ) from None
