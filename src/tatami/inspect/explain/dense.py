"""The fully connected layer and the layers that only rearrange."""

import numpy as np

from tatami.inspect.explain.activations import settings_of
from tatami.inspect.explain.base import DELTA, LayerExplainer, View, copied, explains
from tatami.inspect.explanation import Derivation, Index, Note
from tatami.inspect.expression import Expression, Formula, Product, Sum
from tatami.layers.dense import Dense, Flatten
from tatami.layers.reshaping import Permute, Reshape


@explains(Dense)
class DenseExplainer(LayerExplainer):
    """u_full(k) = Σ_i W(k,i) v(i) + b(k), and δ(k)·v(i). Arai §3.2, §3.3."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the sum over the inputs; the matrix product adds in an order of its own."""
        n, k = index
        features = view.input_array().shape[1]
        terms: tuple[Expression, ...] = tuple(
            Product((view.parameter("weight", (k, i), "W"), view.x((n, i), symbol="v")))
            for i in range(features)
        )
        if view.layer.bias:
            terms = (*terms, view.parameter("bias", (k,), "b"))
        formula = Formula(
            r"u_{\text{full}}(k) = \sum_{i} W(k,i) \cdot v(i)" + (" + b(k)" if view.layer.bias else "")
        )
        return Derivation(formula, Sum(terms), notes=(Note("matrix_product"),))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return Σ_k W(k,i) δ(k)."""
        n, i = index
        terms = tuple(
            Product((view.parameter("weight", (k, i), "W"), view.dy((n, k)))) for k in range(view.layer.units)
        )
        formula = Formula(rf"\frac{{\partial E}}{{\partial v(i)}} = \sum_{{k}} W(k,i) \cdot {DELTA}(k)")
        return Derivation(formula, Sum(terms), notes=(Note("matrix_product"),))

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return Σ_n δ(n,k)·v(n,i), or Σ_n δ(n,k) for the bias."""
        # With one example there is nothing to add up, so no order either.
        alone = view.examples == 1
        if name == "bias":
            formula = Formula(rf"\frac{{\partial E}}{{\partial b(k)}} = \sum_{{n}} {DELTA}(n,k)")
            return Derivation(
                formula, Sum(tuple(view.dy((n, *index)) for n in range(view.examples))), exact=alone
            )
        k, i = index
        terms = tuple(Product((view.dy((n, k)), view.x((n, i), symbol="v"))) for n in range(view.examples))
        formula = Formula(rf"\frac{{\partial E}}{{\partial W(k,i)}} = \sum_{{n}} {DELTA}(n,k) \cdot v(n,i)")
        return Derivation(formula, Sum(terms), exact=alone, notes=() if alone else (Note("matrix_product"),))


@explains(Flatten, Reshape)
class ReshapeExplainer(LayerExplainer):
    """The same numbers in another shape, channel by channel, row by row, column by column."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return where the number stood before."""
        place = moved(index, view.record.output.shape[1:], view.input_array().shape[1:])
        return copied("v(m) = x(c,i,j)", view.x(place), Note("flatten"))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return where the number stands now."""
        place = moved(index, view.input_array().shape[1:], view.record.output.shape[1:])
        return copied(
            rf"\frac{{\partial E}}{{\partial x(c,i,j)}} = {DELTA}(m)", view.dy(place), Note("flatten")
        )


def moved(index: Index, before: Index, after: Index) -> Index:
    """Return where an entry stands when its example is read in another shape."""
    n, *place = index
    at = int(np.ravel_multi_index(tuple(place), before))
    return (n, *(int(number) for number in np.unravel_index(at, after)))


@explains(Permute)
class PermuteExplainer(LayerExplainer):
    """The same numbers with exchanged axes."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return where the number stood before."""
        place = [0] * len(view.layer.axes)
        for position, axis in enumerate(view.layer.axes):
            place[axis] = index[1 + position]
        return copied("y(j,i) = x(i,j)", view.x((index[0], *place)), *settings_of(view))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return where the number stands now."""
        place = tuple(index[1 + axis] for axis in view.layer.axes)
        formula = rf"\frac{{\partial E}}{{\partial x(i,j)}} = {DELTA}(j,i)"
        return copied(formula, view.dy((index[0], *place)), *settings_of(view))
