"""Losses: the number that backward starts from, and its gradient with respect to the network's output."""

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, TypeVar

from tatami.errors import UnknownNameError
from tatami.inspect.explain.activations import softmax_share
from tatami.inspect.explain.base import whole
from tatami.inspect.explanation import Derivation, Index, Note, Reference
from tatami.inspect.expression import (
    Expression,
    Formula,
    Maximum,
    Named,
    Number,
    Product,
    Sum,
    difference,
    exponential,
    logarithm,
    square,
)
from tatami.losses import Loss, SoftmaxCrossEntropy, SquaredError

if TYPE_CHECKING:
    from tatami.inspect.trace import Trace

LOSS_EXPLAINERS: dict[type[Loss], "LossExplainer"] = {}
E = TypeVar("E", bound="type[LossExplainer]")


class LossExplainer:
    """Explains the value and the gradient of one loss class."""

    def value(self, trace: "Trace") -> Derivation:
        """Explain the loss of the batch."""
        raise NotImplementedError

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Explain an entry of the gradient with respect to the output."""
        raise NotImplementedError


def explains_loss(*classes: type[Loss]) -> Callable[[E], E]:
    """Put an explainer on the list for loss classes."""

    def register(explainer: E) -> E:
        for loss_class in classes:
            LOSS_EXPLAINERS[loss_class] = explainer()
        return explainer

    return register


def loss_explainer_of(loss: Loss) -> LossExplainer:
    """Return the explainer of a loss's class, or raise an error that says where to add one."""
    try:
        return LOSS_EXPLAINERS[type(loss)]
    except KeyError:
        raise UnknownNameError(
            f"the loss {type(loss).__name__} has no explanation yet; write one in tatami.inspect.explain.losses and "
            f"put @explains_loss({type(loss).__name__}) in front"
        ) from None


def output_of(trace: "Trace", index: Index, symbol: str) -> Reference:
    """Refer to an entry of the network's output."""
    return Reference(trace, "value", trace.network.output, "", whole(index), symbol)


def target_of(trace: "Trace", index: Index) -> Reference:
    """Refer to an entry of the target."""
    return Reference(trace, "target", "", "", whole(index), "t")


def weight_of(trace: "Trace") -> tuple[Number, str]:
    """Return the factor of every example, 1/N or 1, and how the formula writes it."""
    factor = trace.loss.weight(trace.values[trace.network.output])
    return Number(factor), "" if trace.loss.reduction == "sum" else r"\frac{1}{N} "


def weighted(trace: "Trace", expression: Expression) -> Expression:
    """Return an expression times 1/N; a factor of 1 is left out."""
    factor, _ = weight_of(trace)
    return expression if factor.number == 1 else Product((expression, factor))


def output_places(trace: "Trace") -> list[Index]:
    """List the places of the output, examples included."""
    return [whole(place) for place in product(*map(range, trace.values[trace.network.output].shape))]


@explains_loss(SquaredError)
class SquaredErrorExplainer(LossExplainer):
    """C = ½ Σ (t - a)²; the gradient is a - t. DSP, cost function."""

    def value(self, trace: "Trace") -> Derivation:
        """Return half the sum of squares."""
        squares = Sum(
            tuple(
                square(difference(output_of(trace, place, "a"), target_of(trace, place)))
                for place in output_places(trace)
            )
        )
        _, mean = weight_of(trace)
        formula = Formula(rf"E = {mean}\frac{{1}}{{2}} \sum_{{k}} (a(k) - t(k))^{{2}}")
        return Derivation(formula, weighted(trace, Product((Number(0.5, r"\frac{1}{2}"), squares))))

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return a - t, bit for bit."""
        _, mean = weight_of(trace)
        inside = f"{mean}(a(k) - t(k))" if mean else "a(k) - t(k)"
        expression = weighted(trace, difference(output_of(trace, index, "a"), target_of(trace, index)))
        return Derivation(
            Formula(rf"\frac{{\partial E}}{{\partial a(k)}} = {inside}"), expression, exact=True
        )


@explains_loss(SoftmaxCrossEntropy)
class SoftmaxCrossEntropyExplainer(LossExplainer):
    """E = -log v(r), v = softmax(z); the gradient is v - onehot(r). Arai §3.2, §3.3."""

    def value(self, trace: "Trace") -> Derivation:
        """Return Σ log Σ e^(z - m) - (z(r) - m)."""
        assert trace.target is not None
        parts: list[Expression] = []
        for place in product(*map(range, trace.target.shape)):
            n, *position = whole(place)
            entries = self.entries(trace, (n, 0, *position))
            right = entries[int(trace.target[place])]
            largest = (
                Named("m", Maximum(tuple(entries))) if trace.target.size == 1 else Maximum(tuple(entries))
            )
            total = Sum(tuple(exponential(difference(entry, largest)) for entry in entries))
            parts += [logarithm(total), difference(largest, right)]
        _, mean = weight_of(trace)
        formula = Formula(
            rf"E = {mean}\sum_{{n}} -\log v(r) = {mean}\sum_{{n}} \log \sum_{{j}} e^{{z(j) - m}} + m - z(r)"
        )
        return Derivation(formula, weighted(trace, Sum(tuple(parts))), notes=(Note("maximum_taken_off"),))

    def entries(self, trace: "Trace", index: Index) -> list[Reference]:
        """Return the logits of the classes at an entry's place."""
        classes = trace.values[trace.network.output].shape[1]
        return [output_of(trace, (index[0], k, *index[2:]), "z") for k in range(classes)]

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return v(k) - [k = r]."""
        assert trace.target is not None
        hit = int(trace.target[(index[0], *index[2:])]) == index[1]
        share = softmax_share(self.entries(trace, index), index[1])
        _, mean = weight_of(trace)
        right = "v(k) - [k = r]"
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial z(k)}} = {mean}{f'({right})' if mean else right}, "
            r"\quad v(k) = \frac{e^{z(k) - m}}{Z}"
        )
        expression = weighted(trace, difference(share, Number(1.0 if hit else 0.0)))
        return Derivation(formula, expression, notes=(Note("right_class" if hit else "other_class"),))
