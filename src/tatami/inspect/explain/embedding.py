"""Layers at the entrance of a network that reads tokens."""

import numpy as np

from tatami.inspect.explain.base import DELTA, LayerExplainer, View, copied, explains
from tatami.inspect.explanation import Derivation, Index, Note
from tatami.inspect.expression import Applied, Expression, Formula, Number, Sum
from tatami.layers.embedding import Embedding, PaddingMask

ZERO_GRADIENT = Formula(r"\frac{\partial E}{\partial x} = 0")


@explains(Embedding)
class EmbeddingExplainer(LayerExplainer):
    """y(f,t) = W(x(t),f)."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the token's entry of the table."""
        n, feature, *place = index
        token = int(view.input_array()[(n, *place)])
        weight = view.parameter("weight", (token, feature), "W")
        return copied("y(f,t) = W(x(t),f)", weight, Note("token", {"token": token}))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return 0: a token is no quantity."""
        return Derivation(ZERO_GRADIENT, Number(0.0), exact=True, notes=(Note("no_quantity"),))

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return Σ δ over the places where the token stands."""
        token, feature = index
        places = np.argwhere(view.input_array() == token)
        terms = tuple(view.dy((n, feature, *place)) for n, *place in places)
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial W(v,f)}} = \sum_{{n,t: x(n,t) = v}} {DELTA}(n,f,t)"
        )
        return Derivation(formula, Sum(terms), notes=(Note("matrix_product"),))


@explains(PaddingMask)
class PaddingMaskExplainer(LayerExplainer):
    """y(t) = [x(t) ≠ value]."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return 1 where an entry differs from the padding."""
        x, value = view.input_array(), view.layer.value
        places = [index] if x.ndim == 2 else [(index[0], f, index[1]) for f in range(x.shape[1])]
        entries: tuple[Expression, ...] = tuple(view.x(place) for place in places)

        def differs(*numbers: float) -> float:
            return float(any(number != value for number in numbers))

        names = ", ".join(f"#{number}" for number in range(1, len(entries) + 1))
        expression = Applied(rf"[{names} \ne \text{{{value:g}}}]", differs, entries, ulps=0)
        return Derivation(Formula(r"y(t) = [x(t) \ne \text{padding}]"), expression, exact=True)

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return 0: a step has no slope."""
        return Derivation(ZERO_GRADIENT, Number(0.0), exact=True, notes=(Note("no_quantity"),))
