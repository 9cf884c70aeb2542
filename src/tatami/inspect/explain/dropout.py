"""Layers that draw: masks over units, maps and connections, and noise."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.inspect.explain.activations import FORMULAS, elementwise, settings_of, ulps
from tatami.inspect.explain.base import DELTA, LayerExplainer, View, copied, explains
from tatami.inspect.explanation import Derivation, Index, Note, Reference
from tatami.inspect.expression import Applied, Expression, Formula, Number, Product, Sum, quotient
from tatami.layers.drop_connect import DropConnect
from tatami.layers.dropout import ChannelDropout, Dropout, GaussianNoise


@explains(Dropout, ChannelDropout)
class DropoutExplainer(LayerExplainer):
    """y = scale·x with scale 0 or 1/(1 - ratio) while training, else y = x."""

    def scale(self, view: View, index: Index) -> Reference:
        """Return the mask's entry: one for each unit, or one for the whole map."""
        shape = np.asarray(view.record.saved["scale"]).shape
        place = tuple(0 if size == 1 else at for at, size in zip(index, shape, strict=True))
        return view.saved("scale", place, "s")

    def forward(self, view: View, index: Index) -> Derivation:
        """Return s·x, or x at prediction."""
        if not view.has_saved("scale"):
            return copied("y = x", view.x(index), Note("prediction_copies"))
        formula = Formula(r"y = s \cdot x, \quad s = [\text{kept}] / (1 - r)")
        return Derivation(
            formula,
            Product((view.x(index), self.scale(view, index))),
            exact=True,
            notes=(Note("ratio", {"ratio": f"{view.layer.ratio:g}"}),),
        )

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return s·δ with the same mask, or δ."""
        if not view.has_saved("scale"):
            return copied(
                rf"\frac{{\partial E}}{{\partial x}} = {DELTA}", view.dy(index), Note("prediction_copies")
            )
        formula = Formula(rf"\frac{{\partial E}}{{\partial x}} = s \cdot {DELTA}")
        expression = Product((view.dy(index), self.scale(view, index)))
        return Derivation(formula, expression, exact=True, notes=(Note("same_mask"),))


@explains(GaussianNoise)
class GaussianNoiseExplainer(LayerExplainer):
    """y = x + σ·z while training."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return x + σ·z with the z that was drawn, or x at prediction."""
        layer, context = view.layer, view.record.context
        if not context.training or layer.std == 0:
            return copied("y = x", view.x(index), Note("prediction_copies"))
        drawn = float(context.key.normal(layer.name, view.input_array().shape)[index])
        noise = Product((Number(layer.std, r"\sigma"), Number(drawn, "z")))
        return Derivation(
            Formula(r"y = x + \sigma \cdot z"),
            Sum((view.x(index), noise)),
            exact=True,
            notes=(Note("drawn"),),
        )

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ."""
        return copied(rf"\frac{{\partial E}}{{\partial x}} = {DELTA}", view.dy(index))


@explains(DropConnect)
class DropConnectExplainer(LayerExplainer):
    """y = f(Σ m(k,i) W(k,i) x(i) + b(k)); at prediction f of the mean, or the mean of f over normal draws."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return f of the sum, or the mean over the samples."""
        formula = Formula(self.formula(view))
        if not view.has_saved("noise"):
            return Derivation(
                formula, self.activated(view, self.sum_of(view, index)), notes=settings_of(view)
            )
        entries = tuple(view.saved("y", (z, *index), "y") for z in range(view.layer.samples))
        return Derivation(formula, quotient(Sum(entries), Number(len(entries), "Z")), notes=settings_of(view))

    def formula(self, view: View) -> str:
        """Return the formula of the case at hand."""
        bias = " + b(k)" if view.layer.bias else ""
        if view.has_saved("scale"):
            return r"y(k) = f(\sum_{i} M(k,i) \cdot W(k,i) \cdot x(i)" + bias + ")"
        if view.has_saved("noise"):
            return r"y(k) = \frac{1}{Z} \cdot \sum_{z} f(\mu(k) + \sigma(k) \cdot z)"
        return r"y(k) = f(\sum_{i} W(k,i) \cdot x(i)" + bias + ")"

    def sum_of(self, view: View, index: Index) -> Sum:
        """Return the sum over the connections, the mask's entries as factors."""
        n, k = index
        terms: list[Expression] = []
        for i in range(view.input_array().shape[1]):
            factors: list[Expression] = [view.parameter("weight", (k, i), "W"), view.x((n, i))]
            if view.has_saved("scale"):
                factors.insert(1, view.saved("scale", (k, i), "M"))
            terms.append(Product(tuple(factors)))
        if view.layer.bias:
            terms.append(view.parameter("bias", (k,), "b"))
        return Sum(tuple(terms))

    def activated(self, view: View, inside: Expression) -> Applied:
        """Return f applied to a node."""
        activation, ops = view.layer.activation, view.ops

        def function(u: float) -> Any:
            return activation.function(ops, np.array([u]))[0]

        formulas = FORMULAS.get(type(activation))
        return elementwise("f", function, inside, plain=bool(formulas and formulas.plain))

    def inner_gradients(self, view: View) -> dict[str, NDArray[Any]]:
        """Return the gradient of u, the sums in front of f."""
        if view.has_saved("noise"):
            return {}
        saved = view.record.saved
        return {"u": view.layer.activation.derivative(view.ops, saved["u"], saved["y"]) * view.dy_array}

    def inner_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return f′(u)·δ."""
        activation, ops, y = view.layer.activation, view.ops, float(view.record.saved["y"][index])

        def slope(u: float) -> Any:
            return activation.derivative(ops, np.array([u]), np.array([y]))[0]

        applied = Applied("f'(#1)", slope, (view.saved("u", index, "u"),), ulps(False))
        formula = Formula(rf"\frac{{\partial E}}{{\partial u(k)}} = f'(u(k)) \cdot {DELTA}(k)")
        return Derivation(formula, Product((applied, view.dy(index))))

    def mask(self, view: View, k: int, i: int) -> tuple[Expression, ...]:
        """Return the mask's entry of a connection, if there is a mask."""
        return (view.saved("scale", (k, i), "M"),) if view.has_saved("scale") else ()

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return Σ_k W(k,i)·M(k,i)·g(k); behind the average over samples the general form."""
        if view.has_saved("noise"):
            return super().input_gradient(view, number, index)
        n, i = index
        terms = tuple(
            Product(
                (view.parameter("weight", (k, i), "W"), *self.mask(view, k, i), view.inner("u", (n, k), "g"))
            )
            for k in range(view.layer.units)
        )
        formula = Formula(
            r"\frac{\partial E}{\partial x(i)} = \sum_{k} W(k,i) \cdot M(k,i) \cdot g(k), "
            r"\quad g = \frac{\partial E}{\partial u}"
        )
        return Derivation(formula, Sum(terms), notes=(Note("matrix_product"),))

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return M(k,i)·Σ_n g(n,k)·x(n,i), or Σ_n g(n,k) for the bias."""
        if view.has_saved("noise"):
            return super().parameter_gradient(view, name, index)
        if name == "bias":
            entries = tuple(view.inner("u", (n, *index), "g") for n in range(view.examples))
            formula = Formula(r"\frac{\partial E}{\partial b(k)} = \sum_{n} g(n,k)")
            return Derivation(formula, Sum(entries))
        k, i = index
        total = Sum(
            tuple(Product((view.inner("u", (n, k), "g"), view.x((n, i)))) for n in range(view.examples))
        )
        formula = Formula(
            r"\frac{\partial E}{\partial W(k,i)} = M(k,i) \cdot \sum_{n} g(n,k) \cdot x(n,i), "
            r"\quad g = \frac{\partial E}{\partial u}"
        )
        return Derivation(formula, Product((total, *self.mask(view, k, i))), notes=(Note("matrix_product"),))

    def saved(self, view: View, name: str, index: Index) -> Derivation | None:
        """Explain y_z = f(u_z), u_z = μ + σ·z, u, and σ."""
        if name == "y":
            return Derivation(Formula("y = f(u)"), self.activated(view, view.saved("u", index, "u")))
        if name == "u" and not view.has_saved("noise"):
            return Derivation(Formula(r"u(k) = \sum_{i} W(k,i) \cdot x(i) + b(k)"), self.sum_of(view, index))
        if name == "u":
            z, n, k = index
            noise = Product((view.saved("deviation", (n, k), r"\sigma"), view.saved("noise", (z, 0, k), "z")))
            return Derivation(Formula(r"u = \mu + \sigma \cdot z"), Sum((self.sum_of(view, (n, k)), noise)))
        if name == "deviation":
            n, k = index
            ratio = view.layer.ratio
            squares = Sum(
                tuple(
                    Product(
                        (
                            view.parameter("weight", (k, i), "W"),
                            view.parameter("weight", (k, i), "W"),
                            view.x((n, i)),
                            view.x((n, i)),
                        )
                    )
                    for i in range(view.input_array().shape[1])
                )
            )
            inside = Product((Number(ratio / (1 - ratio)), squares))
            formula = Formula(r"\sigma(k) = \sqrt{\frac{r}{1 - r} \cdot \sum_{i} W(k,i)^{2} \cdot x(i)^{2}}")
            return Derivation(formula, Applied(r"\sqrt{#1}", np.sqrt, (inside,), ulps(True)))
        return None
