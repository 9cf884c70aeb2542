"""Losses: the number that backward starts from, and its gradient with respect to the network's output."""

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tatami.errors import UnknownNameError
from tatami.inspect.explain.base import whole
from tatami.inspect.explanation import Derivation, Index, Note, Reference
from tatami.inspect.expression import (
    Applied,
    Expression,
    Formula,
    Number,
    Product,
    Sum,
    difference,
    magnitude,
    square,
)
from tatami.layers.smooth_activations import sigmoid, softplus
from tatami.losses import (
    Huber,
    Loss,
    SquaredError,
)

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
    return Number(factor), "" if trace.loss.reduction == "sum" else r"\frac{1}{N} \cdot "


def weighted(trace: "Trace", expression: Expression) -> Expression:
    """Return an expression times 1/N; a factor of 1 is left out."""
    factor, _ = weight_of(trace)
    return expression if factor.number == 1 else Product((expression, factor))


def output_places(trace: "Trace") -> list[Index]:
    """List the places of the output, examples included."""
    return [whole(place) for place in product(*map(range, trace.values[trace.network.output].shape))]


def loss_settings(trace: "Trace") -> tuple[Note, ...]:
    """Return a remark with the loss's settings."""
    settings = {key: value for key, value in trace.loss.to_json().items() if key not in ("type", "reduction")}
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    return (Note("settings", {"settings": shown}),) if shown else ()


def sigmoid_of(trace: "Trace", inside: Expression) -> Applied:
    """Return σ(z)."""
    return Applied(r"\sigma(#1)", lambda z: sigmoid(trace.ops, np.array([z]))[0], (inside,), ulps=16)


def yes_or_no(trace: "Trace", z: Expression, t: Expression) -> Expression:
    """Return log(1 + e^z) - t·z."""
    cost = Applied(r"\log(1 + e^{#1})", lambda x: softplus(trace.ops, np.array([x]))[0], (z,), ulps=16)
    return difference(cost, Product((t, z)))


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
        formula = Formula(rf"E = {mean}\frac{{1}}{{2}} \cdot \sum_{{k}} (a(k) - t(k))^{{2}}")
        return Derivation(formula, weighted(trace, Product((Number(0.5, r"\frac{1}{2}"), squares))))

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return a - t, bit for bit."""
        _, mean = weight_of(trace)
        inside = f"{mean}(a(k) - t(k))" if mean else "a(k) - t(k)"
        expression = weighted(trace, difference(output_of(trace, index, "a"), target_of(trace, index)))
        return Derivation(
            Formula(rf"\frac{{\partial E}}{{\partial a(k)}} = {inside}"), expression, exact=True
        )


@explains_loss(Huber)
class HuberExplainer(LossExplainer):
    """Σ q·(|d| - ½q) with d = a - t and q = min(|d|, δ); the gradient is d, cut off at ±δ."""

    def value(self, trace: "Trace") -> Derivation:
        """Return the sum over all outputs."""
        assert isinstance(trace.loss, Huber)
        delta = trace.loss.delta
        terms: list[Expression] = []
        for place in output_places(trace):
            size = magnitude(difference(output_of(trace, place, "a"), target_of(trace, place)))
            q = Applied(rf"\min(#1, {delta:g})", lambda d: min(d, delta), (size,), ulps=0)
            terms.append(Product((q, difference(size, Product((Number(0.5, r"\frac{1}{2}"), q))))))
        _, mean = weight_of(trace)
        formula = Formula(
            rf"E = {mean}\sum_{{k}} q(k) \cdot (|d(k)| - \frac{{1}}{{2}} q(k)), "
            rf"\quad d = a - t, q = \min(|d|, {delta:g})"
        )
        return Derivation(formula, weighted(trace, Sum(tuple(terms))))

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return d within ±δ, bit for bit."""
        assert isinstance(trace.loss, Huber)
        delta = trace.loss.delta
        inside = difference(output_of(trace, index, "a"), target_of(trace, index))
        cut = Applied(rf"\clip(#1, \pm {delta:g})", lambda d: min(max(d, -delta), delta), (inside,), ulps=0)
        _, mean = weight_of(trace)
        formula = Formula(rf"\frac{{\partial E}}{{\partial a(k)}} = {mean}\clip(a(k) - t(k), \pm {delta:g})")
        return Derivation(formula, weighted(trace, cut), exact=True)
