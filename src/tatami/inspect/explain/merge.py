"""Layers that join several inputs."""

import numpy as np

from tatami.inspect.explain.base import DELTA, LayerExplainer, View, copied, explains
from tatami.inspect.explanation import Derivation, Index, Note
from tatami.inspect.expression import Formula, Product, Sum
from tatami.layers.merge import Add, Concatenate, Multiply


@explains(Add)
class AddExplainer(LayerExplainer):
    """y = x₁ + x₂ + …, entry by entry."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the sum."""
        entries = tuple(
            view.x(index, number, f"x_{{{number + 1}}}") for number in range(len(view.record.inputs))
        )
        return Derivation(Formula(r"y = x_{1} + x_{2} + \dots"), Sum(entries), exact=True)

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ: every input gets it unchanged."""
        return copied(rf"\frac{{\partial E}}{{\partial x_{{{number + 1}}}}} = {DELTA}", view.dy(index))


@explains(Multiply)
class MultiplyExplainer(LayerExplainer):
    """y = x₁·x₂·…, entry by entry."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the product."""
        entries = tuple(
            view.x(index, number, f"x_{{{number + 1}}}") for number in range(len(view.record.inputs))
        )
        return Derivation(Formula(r"y = x_{1} \cdot x_{2} \cdot \dots"), Product(entries), exact=True)

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ times the other inputs."""
        others = tuple(
            view.x(index, other, f"x_{{{other + 1}}}")
            for other in range(len(view.record.inputs))
            if other != number
        )
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x_{{{number + 1}}}}} = {DELTA} \cdot \prod_{{j \ne {number + 1}}} x_{{j}}"
        )
        return Derivation(formula, Product((view.dy(index), *others)), exact=True)


@explains(Concatenate)
class ConcatenateExplainer(LayerExplainer):
    """The inputs one behind the other along the channels."""

    def starts(self, view: View) -> list[int]:
        """Return the channel at which every input starts, and the number of all channels."""
        return [0, *np.cumsum([x.shape[1] for x in view.record.inputs]).tolist()]

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the entry of the input whose channel it is."""
        starts = self.starts(view)
        number = int(np.searchsorted(starts, index[1], side="right")) - 1
        place = (index[0], index[1] - starts[number], *index[2:])
        return copied(
            rf"y(c) = x_{{{number + 1}}}(c - {starts[number]})", view.x(place, number), Note("concatenated")
        )

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ at the channel where the input was put."""
        start = self.starts(view)[number]
        formula = rf"\frac{{\partial E}}{{\partial x_{{{number + 1}}}(c)}} = {DELTA}(c + {start})"
        return copied(formula, view.dy((index[0], index[1] + start, *index[2:])), Note("concatenated"))
