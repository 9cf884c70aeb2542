"""Activations: the function of one entry, and its slope times δ.

An activation without parameters needs nothing but its two formulas, `FORMULAS`: the numbers come from the layer's own
function and derivative.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.inspect.explain.base import DELTA, LAYER_EXPLAINERS, LayerExplainer, View, explains
from tatami.inspect.explain.convolution import correlation, transposed_correlation, weight_correlation
from tatami.inspect.explain.windows import POSITIONS, TAPS, seen_places, sums
from tatami.inspect.explanation import Derivation, Index, Note
from tatami.inspect.expression import (
    Applied,
    Expression,
    Formula,
    Maximum,
    Named,
    Negative,
    Number,
    Product,
    Sum,
    difference,
    exponential,
    quotient,
)
from tatami.layers.activations import Activation, Identity, ReLU, Sigmoid, Softmax, Step, Tanh
from tatami.layers.rectifiers import ELU, SELU, FReLU, HardSigmoid, LeakyReLU, Maxout, PReLU
from tatami.layers.smooth_activations import GELU, Mish, Softplus, Swish


@dataclass(frozen=True)
class ActivationFormula:
    """f(x) and f′(x) in LaTeX; ``plain`` if both are made of comparisons, sums and products only, rounded once each."""

    function: str
    slope: str
    plain: bool = False


# Entry by entry: f(x) and f′(x), with y for f(x).
FORMULAS: dict[type[Activation], ActivationFormula] = {
    Identity: ActivationFormula("x", "1", plain=True),
    Step: ActivationFormula("[x > 0]", "0", plain=True),
    Sigmoid: ActivationFormula(r"\frac{1}{1 + e^{-x}}", r"y \cdot (1 - y)"),
    Tanh: ActivationFormula(r"\tanh(x)", "1 - y^{2}"),
    ReLU: ActivationFormula(r"\max(0, x)", "[x > 0]", plain=True),
    LeakyReLU: ActivationFormula(
        r"x \cdot [x > 0] + s \cdot x \cdot [x \le 0]", r"[x > 0] + s \cdot [x \le 0]", plain=True
    ),
    HardSigmoid: ActivationFormula(
        r"\min(1, \max(0, s \cdot x + \frac{1}{2}))", r"s \cdot [0 < y < 1]", plain=True
    ),
    ELU: ActivationFormula(
        r"x \cdot [x > 0] + \alpha \cdot (e^{x} - 1) \cdot [x \le 0]",
        r"[x > 0] + \alpha \cdot e^{x} \cdot [x \le 0]",
    ),
    SELU: ActivationFormula(
        r"\lambda \cdot (x \cdot [x > 0] + \alpha \cdot (e^{x} - 1) \cdot [x \le 0])",
        r"\lambda \cdot ([x > 0] + \alpha \cdot e^{x} \cdot [x \le 0])",
    ),
    Softplus: ActivationFormula(r"\log(1 + e^{x})", r"\frac{1}{1 + e^{-x}}"),
    Swish: ActivationFormula(
        r"x \cdot \sigma(\beta x)",
        r"\sigma(\beta x) + \beta x \cdot \sigma(\beta x) \cdot (1 - \sigma(\beta x))",
    ),
    Mish: ActivationFormula(
        r"x \cdot \tanh(\log(1 + e^{x}))",
        r"\tanh(s) + x \cdot (1 - \tanh(s)^{2}) \cdot \sigma(x), s = \log(1 + e^{x})",
    ),
    GELU: ActivationFormula(r"x \cdot \Phi(x)", r"\Phi(x) + x \cdot \frac{e^{-x^{2}/2}}{\sqrt{2 \pi}}"),
}


class ActivationExplainer(LayerExplainer):
    """y = f(x) and ∂E/∂x = f′(x)·δ."""

    def __init__(self, formulas: ActivationFormula) -> None:
        """Take the formulas of one class."""
        self.formulas = formulas

    def forward(self, view: View, index: Index) -> Derivation:
        """Return f applied to the entry at the same place."""
        layer, ops = view.layer, view.ops

        def function(x: float) -> Any:
            return layer.function(ops, np.array([x]))[0]

        expression = elementwise("f", function, view.x(index), plain=self.formulas.plain)
        return Derivation(
            Formula(f"y = f(x) = {self.formulas.function}"),
            expression,
            exact=self.formulas.plain,
            notes=settings_of(view),
        )

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return f′(x)·δ."""
        layer, ops = view.layer, view.ops

        def slope(x: float, y: float) -> Any:
            return layer.derivative(ops, np.array([x]), np.array([y]))[0]

        applied = Applied(
            "f'(#1)",
            lambda x: slope(x, float(view.y(index).value())),
            (view.x(index),),
            ulps(self.formulas.plain),
        )
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x}} = f'(x) \cdot {DELTA}, \quad f'(x) = {self.formulas.slope}"
        )
        return Derivation(
            formula,
            Product((applied, view.dy(index))),
            exact=self.formulas.plain,
            notes=settings_of(view),
        )


def elementwise(name: str, function: Any, x: Expression, *, plain: bool) -> Applied:
    """Return a layer's own function of an entry."""
    return Applied(f"{name}(#1)", function, (x,), ulps(plain))


def ulps(plain: bool) -> float:
    """Return how many roundings a function may cost: libraries compute e^x and its like to a few units."""
    return 1.0 if plain else 32.0


def settings_of(view: View) -> tuple[Note, ...]:
    """Return a remark with the layer's settings, if it has any."""
    settings = view.layer.settings()
    return (Note("settings", {"settings": settings}),) if settings else ()


for activation, formulas in FORMULAS.items():
    LAYER_EXPLAINERS[activation] = ActivationExplainer(formulas)


@explains(Softmax)
class SoftmaxExplainer(LayerExplainer):
    """y(k) = e^x(k) / Σ e^x(j), computed with the maximum taken off."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the share of one exponential in the sum of all."""
        entries = [view.x((index[0], k, *index[2:])) for k in range(view.input_array().shape[1])]
        return Derivation(SOFTMAX, softmax_share(entries, index[1]), notes=(Note("maximum_taken_off"),))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return y(j)·(δ(j) - Σ_k δ(k)·y(k))."""
        places = [(index[0], k, *index[2:]) for k in range(view.input_array().shape[1])]
        mean = Sum(tuple(Product((view.dy(place), view.y(place))) for place in places))
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(j)}} = y(j) \cdot ({DELTA}(j) - \sum_{{k}} {DELTA}(k) \cdot y(k))"
        )
        inside = Sum((view.dy(index), Negative(Named("S", mean))))
        return Derivation(formula, Product((view.y(index), inside)))


SOFTMAX = Formula(r"y(k) = \frac{e^{x(k)}}{\sum_{j} e^{x(j)}} = \frac{e^{x(k) - m}}{Z}")


def softmax_share(entries: list[Any], k: int) -> Expression:
    """Return e^(x(k) - m) / Z with m = max x(j) and Z = Σ e^(x(j) - m)."""
    largest = Named("m", Maximum(tuple(entries)))
    shifted = [exponential(difference(entry, largest)) for entry in entries]
    return quotient(shifted[k], Named("Z", Sum(tuple(shifted))))


@explains(PReLU)
class PReLUExplainer(LayerExplainer):
    """y = x where x > 0, else a(c)·x."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return x, or a·x."""
        x = view.x(index)
        expression = x if x.value() > 0 else Product((self.slope(view, index), x))
        formula = Formula(r"y = x \cdot [x > 0] + a(c) \cdot x \cdot [x \le 0]")
        return Derivation(formula, expression, exact=True)

    def slope(self, view: View, index: Index) -> Expression:
        """Return the slope of the entry's channel."""
        return view.parameter("slope", (0 if view.layer.shared else index[1],), "a")

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ, or a·δ."""
        dy = view.dy(index)
        expression = dy if view.x(index).value() > 0 else Product((self.slope(view, index), dy))
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x}} = {DELTA} \cdot ([x > 0] + a(c) \cdot [x \le 0])"
        )
        return Derivation(formula, expression, exact=True)

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return Σ x·δ over the entries of the channel that are not positive."""
        x = view.input_array()
        places = [
            place
            for place in np.ndindex(x.shape)
            if (view.layer.shared or place[1] == index[0]) and not x[place] > 0
        ]
        terms = tuple(Product((view.x(place), view.dy(place))) for place in places)
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial a(c)}} = \sum_{{x(c) \le 0}} x(c) \cdot {DELTA}(c)"
        )
        return Derivation(formula, Sum(terms))


@explains(FReLU)
class FReLUExplainer(LayerExplainer):
    """y = max(x, T(x)), T a filter over the neighbourhood."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the larger of x and the funnel, bit for bit."""
        geometry = view.geometry
        terms = correlation(geometry, index, lambda entry: view.parameter("weight", entry, "F"), view.x)
        funnel = Named("T", Sum((*terms, view.parameter("bias", (index[1],), "b"))))
        forms = [
            rf"y(c) = \max(x(c), T), \quad T = {sums(TAPS[geometry.rank])} F(c,{','.join(TAPS[geometry.rank])}) \cdot "
            rf"x(c,{seen_places(geometry, one_based)}) + b(c)"
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Maximum((view.x(index), funnel)), exact=True)

    def inner_gradients(self, view: View) -> dict[str, NDArray[Any]]:
        """Return the gradient of T: δ where the funnel won."""
        return {"T": np.where(view.record.saved["x_won"], 0.0, view.dy_array)}

    def inner_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return [T > x]·δ."""
        won = Number(0.0 if view.record.saved["x_won"][index] else 1.0)
        formula = Formula(rf"\frac{{\partial E}}{{\partial T}} = [T > x] \cdot {DELTA}")
        return Derivation(formula, Product((won, view.dy(index))), exact=True)

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ where x won, and what the funnels that saw x hand back, bit for bit."""
        geometry = view.geometry
        through = transposed_correlation(
            geometry,
            index,
            lambda entry: view.parameter("weight", entry, "F"),
            lambda entry: view.inner("T", entry, "g"),
        )
        won = Number(1.0 if view.record.saved["x_won"][index] else 0.0)
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,m)}} = [x \ge T] \cdot {DELTA}(c,m) + {sums(TAPS[geometry.rank])} "
            rf"F(c,{','.join(TAPS[geometry.rank])}) \cdot g(c,{','.join(POSITIONS[geometry.rank])}), "
            r"\quad g = \frac{\partial E}{\partial T}"
        )
        return Derivation(formula, Sum((Product((won, view.dy(index))), Sum(through))), exact=True)

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return the sums of a convolution with the gradient of T."""
        geometry = view.geometry
        letters = POSITIONS[geometry.rank]
        if name == "bias":
            terms: tuple[Expression, ...] = tuple(
                view.inner("T", (n, index[0], *place), "g")
                for n in range(view.examples)
                for place in np.ndindex(*geometry.output_size)
            )
            formula = Formula(
                rf"\frac{{\partial E}}{{\partial b(c)}} = \sum_{{n}} {sums(letters)} g(n,c,{','.join(letters)}), "
                r"\quad g = \frac{\partial E}{\partial T}"
            )
            return Derivation(formula, Sum(terms))
        terms = weight_correlation(
            geometry, view.examples, index, view.x, lambda entry: view.inner("T", entry, "g")
        )
        forms = [
            rf"\frac{{\partial E}}{{\partial F(c,{','.join(TAPS[geometry.rank])})}} = \sum_{{n}} {sums(letters)} "
            rf"g(n,c,{','.join(letters)}) \cdot x(n,c,{seen_places(geometry, one_based)}), "
            r"\quad g = \frac{\partial E}{\partial T}"
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Sum(terms))


@explains(Maxout)
class MaxoutExplainer(LayerExplainer):
    """y(c) = the largest of the channels c·p … c·p + p - 1."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the maximum of the pieces."""
        n, c, *rest = index
        pieces = view.layer.pieces
        entries = tuple(view.x((n, c * pieces + j, *rest)) for j in range(pieces))
        formula = Formula(r"y(c) = \max_{j} x(p \cdot c + j)", r"y(c) = \max_{j} x(p \cdot (c - 1) + j)")
        return Derivation(formula, Maximum(entries), exact=True, notes=(Note("first_maximum"),))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ if the piece won, else 0."""
        n, channel, *rest = index
        c, j = divmod(channel, view.layer.pieces)
        return winner_takes(view, (n, c, *rest), bool(view.record.saved["winner"][(n, c, *rest)] == j))


def winner_takes(view: View, output: Index, won: bool) -> Derivation:
    """Return [won]·δ."""
    formula = Formula(
        rf"\frac{{\partial E}}{{\partial x(m)}} = [m = \text{{place of the maximum}}] \cdot {DELTA}"
    )
    expression = Product((Number(1.0 if won else 0.0), view.dy(output)))
    return Derivation(formula, expression, exact=True, notes=(Note("won" if won else "lost"),))
