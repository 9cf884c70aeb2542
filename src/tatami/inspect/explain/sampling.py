"""Layers that draw from a distribution that the network computes."""

from tatami.inspect.explain.base import DELTA, LayerExplainer, View, copied, explains
from tatami.inspect.explanation import Derivation, Index, Note
from tatami.inspect.expression import Formula, Number, Product, Sum, exponential
from tatami.layers.sampling import GaussianSample

HALF = Number(0.5, r"\frac{1}{2}")


@explains(GaussianSample)
class GaussianSampleExplainer(LayerExplainer):
    """z = μ + e^(s/2)·ε with s = log σ²; at prediction z = μ."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return μ plus the noise, or μ."""
        mean = view.x(index, 0, r"\mu")
        if not view.has_saved("noise"):
            return copied(r"z = \mu", mean, Note("prediction_copies"))
        formula = Formula(r"z = \mu + n, \quad n = e^{s / 2} \cdot \epsilon")
        return Derivation(formula, Sum((mean, view.saved("noise", index, "n"))), exact=True)

    def saved(self, view: View, name: str, index: Index) -> Derivation | None:
        """Explain the noise by log σ² and the number that was drawn."""
        drawn = float(view.record.context.key.normal(view.layer.name, view.input_array().shape)[index])
        deviation = exponential(Product((HALF, view.x(index, 1, "s"))))
        formula = Formula(r"n = e^{s / 2} \cdot \epsilon")
        return Derivation(formula, Product((deviation, Number(drawn, r"\epsilon"))), notes=(Note("drawn"),))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ for μ, ½·n·δ for log σ²; at prediction nothing for log σ²."""
        if number == 0:
            return copied(rf"\frac{{\partial E}}{{\partial \mu}} = {DELTA}", view.dy(index))
        if not view.has_saved("noise"):
            formula = Formula(r"\frac{\partial E}{\partial s} = 0")
            return Derivation(formula, Sum(()), exact=True, notes=(Note("prediction_copies"),))
        formula = Formula(rf"\frac{{\partial E}}{{\partial s}} = \frac{{1}}{{2}} \cdot n \cdot {DELTA}")
        factors = (HALF, view.saved("noise", index, "n"), view.dy(index))
        return Derivation(formula, Product(factors), exact=True)
