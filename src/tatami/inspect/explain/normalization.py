"""Normalisations: x̂ = (x - μ)/√(σ² + ε) over a set of entries, then γ·x̂ + β; and local response normalisation."""

from abc import abstractmethod
from itertools import product

from tatami.inspect.explain.activations import settings_of
from tatami.inspect.explain.base import DELTA, LayerExplainer, View, explains
from tatami.inspect.explanation import Derivation, Index, Note
from tatami.inspect.expression import (
    Expression,
    Formula,
    Named,
    Negative,
    Number,
    Product,
    Sum,
    difference,
    power,
    quotient,
    root,
    square,
)
from tatami.layers.example_normalization import (
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
)
from tatami.layers.local_response import LocalResponseNormalization
from tatami.layers.normalization import BatchNormalization


class StandardisingExplainer(LayerExplainer):
    """y = γ·(x - μ)/√(σ² + ε) + β; a subclass says which entries are normalised together."""

    @abstractmethod
    def set_of(self, view: View, index: Index) -> list[Index]:
        """Return the places that are normalised together with one."""

    def affine_index(self, view: View, index: Index) -> Index:
        """Return where γ and β of an entry stand."""
        shape = view.record.parameters["scale"].shape
        return index[1 : 1 + len(shape)]

    def moments(self, view: View, index: Index) -> tuple[Expression, Expression]:
        """Return μ and σ² of the entry's set."""
        entries = [view.x(place) for place in self.set_of(view, index)]
        count = Number(len(entries), "m")
        mean = Named(r"\mu", quotient(Sum(tuple(entries)), count))
        squares = Sum(tuple(square(difference(entry, mean)) for entry in entries))
        return mean, Named(r"\sigma^{2}", quotient(squares, count))

    def forward(self, view: View, index: Index) -> Derivation:
        """Return γ·x̂ + β."""
        mean, variance = self.moments(view, index)
        deviation = root(Sum((variance, Number(view.layer.epsilon, r"\epsilon"))))
        x_hat = quotient(difference(view.x(index), mean), deviation)
        notes = (*settings_of(view), *self.notes(view))
        if not view.record.parameters:
            return Derivation(Formula(rf"y = {X_HAT}"), x_hat, notes=notes)
        place = self.affine_index(view, index)
        product_ = Product((view.parameter("scale", place, r"\gamma"), x_hat))
        if "bias" not in view.record.parameters:
            return Derivation(Formula(rf"y = \gamma \cdot {X_HAT}"), product_, notes=notes)
        terms = (product_, view.parameter("bias", place, r"\beta"))
        return Derivation(Formula(rf"y = \gamma \cdot {X_HAT} + \beta"), Sum(terms), notes=notes)

    def notes(self, view: View) -> tuple[Note, ...]:
        """Say what is normalised together."""
        return ()

    def saved(self, view: View, name: str, index: Index) -> Derivation | None:
        """Explain x̂."""
        if name != "x_hat":
            return None
        mean, variance = self.moments(view, index)
        deviation = root(Sum((variance, Number(view.layer.epsilon, r"\epsilon"))))
        return Derivation(
            Formula(rf"\hat{{x}} = {X_HAT}"), quotient(difference(view.x(index), mean), deviation)
        )

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return (g - mean(g) - x̂·mean(g·x̂))/√(σ² + ε) with g = γ·δ."""
        set_of = self.set_of(view, index)
        count = Number(len(set_of), "m")
        _, variance = self.moments(view, index)
        deviation = root(Sum((variance, Number(view.layer.epsilon, r"\epsilon"))))
        own = self.scaled_gradient(view, index)
        shift = Named("a", quotient(Sum(tuple(self.scaled_gradient(view, place) for place in set_of)), count))
        products = tuple(
            Product((self.scaled_gradient(view, place), view.saved("x_hat", place, r"\hat{x}")))
            for place in set_of
        )
        stretch = Named("s", quotient(Sum(products), count))
        inside = Sum(
            (own, Negative(shift), Negative(Product((view.saved("x_hat", index, r"\hat{x}"), stretch))))
        )
        formula = Formula(
            r"\frac{\partial E}{\partial x} = \frac{g - a - \hat{x} \cdot s}{\sqrt{\sigma^{2} + \epsilon}}, "
            rf"\quad g = \gamma \cdot {DELTA}, "
            r"a = \frac{1}{m} \cdot \sum g, s = \frac{1}{m} \cdot \sum g \cdot \hat{x}"
        )
        return Derivation(formula, quotient(inside, deviation), notes=(Note("three_ways"),))

    def scaled_gradient(self, view: View, place: Index) -> Expression:
        """Return γ·δ, or δ where there is no γ."""
        if not view.record.parameters:
            return view.dy(place)
        return Product((view.dy(place), view.parameter("scale", self.affine_index(view, place), r"\gamma")))

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return Σ δ·x̂ for γ, Σ δ for β, over all entries that they scale or shift."""
        places = [
            place
            for place in product(*map(range, view.record.output.shape))
            if self.affine_index(view, place) == index
        ]
        if name == "bias":
            formula = Formula(rf"\frac{{\partial E}}{{\partial \beta}} = \sum {DELTA}")
            return Derivation(formula, Sum(tuple(view.dy(place) for place in places)))
        formula = Formula(rf"\frac{{\partial E}}{{\partial \gamma}} = \sum {DELTA} \cdot \hat{{x}}")
        terms = tuple(Product((view.dy(place), view.saved("x_hat", place, r"\hat{x}"))) for place in places)
        return Derivation(formula, Sum(terms))


X_HAT = r"\frac{x - \mu}{\sqrt{\sigma^{2} + \epsilon}}"


@explains(BatchNormalization)
class BatchNormalizationExplainer(StandardisingExplainer):
    """Over the examples and positions of a channel; at prediction with the running values."""

    def set_of(self, view: View, index: Index) -> list[Index]:
        """Return all entries of the channel."""
        shape = view.input_array().shape
        return [(n, index[1], *rest) for n in range(shape[0]) for rest in product(*map(range, shape[2:]))]

    def fixed(self, view: View) -> bool:
        """Say whether the running values were used."""
        return view.has_saved("fixed_inverse")

    def moments(self, view: View, index: Index) -> tuple[Expression, Expression]:
        """Return the batch's moments, or the running ones."""
        if not self.fixed(view):
            return super().moments(view, index)
        return (
            view.state("running_mean", index[1:2], r"\mu"),
            view.state("running_variance", index[1:2], r"\sigma^{2}"),
        )

    def new_state(self, view: View, name: str, index: Index) -> Derivation:
        """Return (1 - ρ)·running + ρ·batch; the variance of the batch without its bias."""
        if self.fixed(view):
            return super().new_state(view, name, index)
        mean, variance = super().moments(view, (0, *index))
        letter = {"running_mean": r"\mu", "running_variance": r"\sigma^{2}"}[name]
        batch: Expression = mean
        factor = ""
        if name == "running_variance":
            count = len(self.set_of(view, (0, *index)))
            factor = r" \cdot \frac{m}{m - 1}"
            batch = Product((variance, Number(count / (count - 1), r"\frac{m}{m - 1}")))
        rho = view.layer.momentum
        running = letter.replace("^", "_{r}^") if "^" in letter else letter + "_{r}"
        before = view.state(name, index, running)
        formula = Formula(rf"{running} \leftarrow (1 - \rho) \cdot {running} + \rho \cdot {letter}{factor}")
        expression = Sum(
            (Product((Number(1 - rho, r"(1 - \rho)"), before)), Product((Number(rho, r"\rho"), batch)))
        )
        return Derivation(formula, expression, notes=(Note("batch_moments"), Note("unbiased")))

    def notes(self, view: View) -> tuple[Note, ...]:
        """Say which moments were used."""
        return (Note("running_moments" if self.fixed(view) else "batch_moments"),)

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return γ·δ/√(σ² + ε) where μ and σ² are fixed, else the full form."""
        if not self.fixed(view):
            return super().input_gradient(view, number, index)
        _, variance = self.moments(view, index)
        deviation = root(Sum((variance, Number(view.layer.epsilon, r"\epsilon"))))
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x}} = \frac{{\gamma \cdot {DELTA}}}{{\sqrt{{\sigma^{{2}} + \epsilon}}}}"
        )
        return Derivation(
            formula, quotient(self.scaled_gradient(view, index), deviation), notes=(Note("running_moments"),)
        )


@explains(LayerNormalization)
class LayerNormalizationExplainer(StandardisingExplainer):
    """Over all values of an example, or over the channels of a position."""

    def set_of(self, view: View, index: Index) -> list[Index]:
        """Return the example, or the channels at the entry's position."""
        shape = view.input_array().shape
        if view.layer.over == "channels":
            return [(index[0], c, *index[2:]) for c in range(shape[1])]
        return [(index[0], *rest) for rest in product(*map(range, shape[1:]))]


@explains(InstanceNormalization)
class InstanceNormalizationExplainer(StandardisingExplainer):
    """Over one map of one example."""

    def set_of(self, view: View, index: Index) -> list[Index]:
        """Return the map."""
        shape = view.input_array().shape
        return [(*index[:2], *rest) for rest in product(*map(range, shape[2:]))]


@explains(GroupNormalization)
class GroupNormalizationExplainer(StandardisingExplainer):
    """Over some neighbouring channels of one example."""

    def set_of(self, view: View, index: Index) -> list[Index]:
        """Return the entries of the group."""
        shape = view.input_array().shape
        members = shape[1] // view.layer.groups
        first = index[1] // members * members
        return [
            (index[0], c, *rest)
            for c in range(first, first + members)
            for rest in product(*map(range, shape[2:]))
        ]


@explains(LocalResponseNormalization)
class LocalResponseNormalizationExplainer(LayerExplainer):
    """y(c) = x(c)/(k + α Σ x(j)²)^β over neighbouring channels."""

    def neighbours(self, view: View, c: int) -> list[int]:
        """Return the channels that a channel is damped by."""
        size, channels = view.layer.size, view.input_array().shape[1]
        return list(range(max(0, c - size // 2), min(channels, c + (size - 1) // 2 + 1)))

    def denominator(self, view: View, index: Index) -> Expression:
        """Return d(c) = k + α Σ x(j)²."""
        layer, (n, c, *place) = view.layer, index
        squares = Sum(tuple(square(view.x((n, j, *place))) for j in self.neighbours(view, c)))
        return Sum((Number(layer.k, "k"), Product((Number(layer.alpha, r"\alpha"), squares))))

    def forward(self, view: View, index: Index) -> Derivation:
        """Return x·d^-β."""
        d = Named("d", self.denominator(view, index))
        expression = Product((view.x(index), power(d, Number(-view.layer.beta, r"-\beta"))))
        formula = Formula(r"y(c) = x(c) \cdot d^{-\beta}, \quad d = k + \alpha \cdot \sum_{j} x(j)^{2}")
        return Derivation(formula, expression, notes=settings_of(view))

    def saved(self, view: View, name: str, index: Index) -> Derivation | None:
        """Explain d."""
        if name != "d":
            return None
        return Derivation(
            Formula(r"d(c) = k + \alpha \cdot \sum_{j} x(j)^{2}"), self.denominator(view, index)
        )

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ(c)·d(c)^-β - 2αβ·x(c)·Σ δ(j)·x(j)·d(j)^(-β-1) over the channels that c damps."""
        layer, (n, c, *place) = view.layer, index
        beta = float(layer.beta)

        def d(j: int, exponent: float) -> Expression:
            return power(view.saved("d", (n, j, *place), "d"), Number(exponent))

        damped = [j for j in range(view.input_array().shape[1]) if c in self.neighbours(view, j)]
        through = Sum(
            tuple(Product((view.dy((n, j, *place)), view.x((n, j, *place)), d(j, -beta - 1))) for j in damped)
        )
        factor = Number(2 * layer.alpha * beta, r"2 \alpha \beta")
        terms = (
            Product((view.dy(index), d(c, -beta))),
            Negative(Product((factor, view.x(index), Named("S", through)))),
        )
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c)}} = {DELTA}(c) \cdot d(c)^{{-\beta}} "
            r"- 2 \alpha \beta \cdot x(c) \cdot S, "
            rf"\quad S = \sum_{{j}} {DELTA}(j) \cdot x(j) \cdot d(j)^{{-\beta - 1}}"
        )
        return Derivation(formula, Sum(terms), notes=settings_of(view))
