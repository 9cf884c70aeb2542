"""Losses of classes, of regions and of distributions over classes, all from the logits of a softmax."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from tatami.inspect.explain.losses import (
    LossExplainer,
    explains_loss,
    loss_settings,
    output_of,
    sigmoid_of,
    target_of,
    weight_of,
    weighted,
)
from tatami.inspect.explanation import Derivation, Index, Note, Reference
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
    logarithm,
    power,
    quotient,
    square,
)
from tatami.losses import (
    Dice,
    Focal,
    Hinge,
    KLDivergence,
    Loss,
    SoftmaxCrossEntropy,
    WeightedCrossEntropy,
)

if TYPE_CHECKING:
    from tatami.inspect.trace import Trace


class SoftmaxOf:
    """The probabilities of one example (at one position) and their logarithms, the maximum taken off.

    Where a formula has one softmax only, its maximum m and sum Z get letters.
    """

    def __init__(self, entries: Sequence[Reference], *, named: bool) -> None:
        """Take the logits of all classes."""
        self.entries = tuple(entries)
        largest: Expression = Maximum(self.entries)
        self.largest = Named("m", largest) if named else largest
        self.exponentials = tuple(exponential(difference(entry, self.largest)) for entry in self.entries)
        total: Expression = Sum(self.exponentials)
        self.total = Named("Z", total) if named else total

    def share(self, k: int) -> Expression:
        """Return v(k)."""
        return quotient(self.exponentials[k], self.total)

    def log(self, k: int) -> Expression:
        """Return log v(k) = z(k) - m - log Z."""
        return Sum((self.entries[k], Negative(self.largest), Negative(logarithm(self.total))))


def logits_at(trace: "Trace", index: Index) -> list[Reference]:
    """Return the logits of all classes at an entry's example and position."""
    classes = trace.values[trace.network.output].shape[1]
    return [output_of(trace, (index[0], k, *index[2:]), "z") for k in range(classes)]


def softmax_at(trace: "Trace", index: Index, *, named: bool = True) -> SoftmaxOf:
    """Return the softmax at an entry's example and position."""
    return SoftmaxOf(logits_at(trace, index), named=named)


def label_places(trace: "Trace") -> list[Index]:
    """List the examples and positions: (n, 0, …)."""
    shape = trace.values[trace.network.output].shape
    return [(n, 0, *rest) for n in range(shape[0]) for rest in product(*map(range, shape[2:]))]


def label_at(trace: "Trace", index: Index) -> int:
    """Return the right class at an entry's example and position."""
    assert trace.target is not None
    return int(trace.target[(index[0], *index[2:])])


def is_soft(trace: "Trace") -> bool:
    """Say whether the targets are shares of the classes, not labels."""
    assert trace.target is not None
    return trace.target.ndim == trace.values[trace.network.output].ndim


def hit_at(trace: "Trace", index: Index) -> Applied | Reference:
    """Return [k = r] with the label as a reference, so that it can be followed to the target; or a soft target."""
    if is_soft(trace):
        return target_of(trace, index)
    label = Reference(trace, "target", "", "", (index[0], *index[2:]), "r")
    return Applied("[k = #1]", lambda r: float(r == index[1]), (label,), ulps=0)


def class_note(trace: "Trace", index: Index) -> tuple[Note, ...]:
    """Say whether the class is the right one; soft targets have none."""
    if is_soft(trace):
        return ()
    return (Note("right_class" if label_at(trace, index) == index[1] else "other_class"),)


@explains_loss(SoftmaxCrossEntropy)
class SoftmaxCrossEntropyExplainer(LossExplainer):
    """E = -log v(r), v = softmax(z); the gradient is v - onehot(r). Arai §3.2, §3.3."""

    def value(self, trace: "Trace") -> Derivation:
        """Return Σ log Σ e^(z - m) - (z(r) - m), or for soft targets -Σ t·log v."""
        if is_soft(trace):
            return self.of_shares(trace)
        places = label_places(trace)
        parts: list[Expression] = []
        for place in places:
            softmax = softmax_at(trace, place, named=len(places) == 1)
            right = softmax.entries[label_at(trace, place)]
            parts += [logarithm(softmax.total), difference(softmax.largest, right)]
        _, mean = weight_of(trace)
        formula = Formula(
            rf"E = {mean}\sum_{{n}} (-\log v(r)) = {mean}\sum_{{n}} (\log \sum_{{j}} e^{{z(j) - m}} + m - z(r))"
        )
        return Derivation(formula, weighted(trace, Sum(tuple(parts))), notes=(Note("maximum_taken_off"),))

    def of_shares(self, trace: "Trace") -> Derivation:
        """Return -Σ t·log v."""
        places = label_places(trace)
        terms = []
        for place in places:
            softmax = softmax_at(trace, place, named=len(places) == 1)
            for k in range(len(softmax.entries)):
                terms.append(Product((target_of(trace, (place[0], k, *place[2:])), Negative(softmax.log(k)))))
        _, mean = weight_of(trace)
        formula = Formula(rf"E = -{mean}\sum_{{n}} \sum_{{k}} t(k) \cdot \log v(k)")
        return Derivation(formula, weighted(trace, Sum(tuple(terms))), notes=(Note("maximum_taken_off"),))

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return v(k) - [k = r], or v(k) - t(k)."""
        share = softmax_at(trace, index).share(index[1])
        _, mean = weight_of(trace)
        right = "v(k) - t(k)" if is_soft(trace) else "v(k) - [k = r]"
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial z(k)}} = {mean}{f'({right})' if mean else right}, "
            r"\quad v(k) = \frac{e^{z(k) - m}}{Z}"
        )
        expression = weighted(trace, difference(share, hit_at(trace, index)))
        return Derivation(formula, expression, notes=class_note(trace, index))


@explains_loss(WeightedCrossEntropy)
class WeightedCrossEntropyExplainer(LossExplainer):
    """E = -Σ w(k)·t(k)·log v(k), t the softened labels; the gradient is v·Σ w·t - w·t."""

    def weights(self, trace: "Trace", index: Index) -> list[Number]:
        """Return w(k)·t(k) of all classes."""
        assert isinstance(trace.loss, WeightedCrossEntropy)
        assert trace.target is not None
        table = trace.loss.weighted_targets(trace.ops, trace.values[trace.network.output], trace.target)
        return [Number(float(table[(index[0], k, *index[2:])])) for k in range(table.shape[1])]

    def value(self, trace: "Trace") -> Derivation:
        """Return the sum over examples, positions and classes."""
        places = label_places(trace)
        terms = []
        for place in places:
            softmax = softmax_at(trace, place, named=len(places) == 1)
            terms += [Product((w, softmax.log(k))) for k, w in enumerate(self.weights(trace, place))]
        _, mean = weight_of(trace)
        formula = Formula(rf"E = -{mean}\sum_{{n}} \sum_{{k}} w(k) \cdot t(k) \cdot \log v(k)")
        return Derivation(
            formula, weighted(trace, Negative(Sum(tuple(terms)))), notes=(Note("maximum_taken_off"),)
        )

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return v(k)·Σ w·t - w(k)·t(k)."""
        weights = self.weights(trace, index)
        share = softmax_at(trace, index).share(index[1])
        expression = difference(Product((share, Sum(tuple(weights)))), weights[index[1]])
        _, mean = weight_of(trace)
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial z(k)}} = {mean}(v(k) \cdot \sum_{{j}} w(j) \cdot t(j) - w(k) \cdot t(k))"
        )
        return Derivation(formula, weighted(trace, expression), notes=class_note(trace, index))


def class_weight(loss: Loss, right: int) -> Number:
    """Return w(r)."""
    assert isinstance(loss, Focal | Hinge)
    return Number(1.0 if loss.class_weights is None else float(loss.class_weights[right]))


@explains_loss(Focal)
class FocalExplainer(LossExplainer):
    """E = -w(r)·(1 - v(r))^γ·log v(r)."""

    def rest(self, softmax: SoftmaxOf, right: int) -> Expression:
        """Return 1 - v(r) as the sum of the other probabilities."""
        return Sum(tuple(softmax.share(k) for k in range(len(softmax.entries)) if k != right))

    def value(self, trace: "Trace") -> Derivation:
        """Return the sum over examples and positions."""
        assert isinstance(trace.loss, Focal)
        places = label_places(trace)
        terms = []
        for place in places:
            softmax, right = softmax_at(trace, place, named=len(places) == 1), label_at(trace, place)
            focus = power(self.rest(softmax, right), Number(trace.loss.gamma))
            terms.append(Product((class_weight(trace.loss, right), focus, softmax.log(right))))
        _, mean = weight_of(trace)
        formula = Formula(rf"E = -{mean}\sum_{{n}} w(r) \cdot (1 - v(r))^{{\gamma}} \cdot \log v(r)")
        return Derivation(formula, weighted(trace, Negative(Sum(tuple(terms)))), notes=loss_settings(trace))

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return w(r)·(γ·(1 - v(r))^(γ-1)·v(r)·log v(r) - (1 - v(r))^γ)·([k = r] - v(k))."""
        assert isinstance(trace.loss, Focal)
        gamma, right = trace.loss.gamma, label_at(trace, index)
        softmax = softmax_at(trace, index)
        rest, log_right = Named("R", self.rest(softmax, right)), Named("L", softmax.log(right))
        slope: Expression = Negative(power(rest, Number(gamma)))
        if gamma:
            attention = Product(
                (Number(gamma), power(rest, Number(gamma - 1)), exponential(log_right), log_right)
            )
            slope = Sum((slope, attention))
        hit = Number(1.0 if right == index[1] else 0.0)
        expression = Product(
            (class_weight(trace.loss, right), slope, difference(hit, softmax.share(index[1])))
        )
        _, mean = weight_of(trace)
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial z(k)}} = {mean}w(r) \cdot "
            r"(\gamma \cdot R^{\gamma - 1} \cdot v(r) \cdot L - R^{\gamma}) \cdot ([k = r] - v(k)), "
            r"\quad R = 1 - v(r), L = \log v(r)"
        )
        return Derivation(formula, weighted(trace, expression), notes=loss_settings(trace))


@explains_loss(Hinge)
class HingeExplainer(LossExplainer):
    """E = Σ_{j ≠ r} max(0, m + z(j) - z(r)), or its squares."""

    def excess(self, trace: "Trace", place: Index, j: int) -> Expression:
        """Return max(0, m + z(j) - z(r))."""
        assert isinstance(trace.loss, Hinge)
        entries = logits_at(trace, place)
        inside = Sum((Number(trace.loss.margin), entries[j], Negative(entries[label_at(trace, place)])))
        return Applied(r"\max(0, #1)", lambda value: max(value, 0.0), (inside,), ulps=0)

    def others(self, trace: "Trace", place: Index) -> list[int]:
        """Return the classes that are not the right one."""
        classes = trace.values[trace.network.output].shape[1]
        return [j for j in range(classes) if j != label_at(trace, place)]

    def value(self, trace: "Trace") -> Derivation:
        """Return the sum of what is within the margin."""
        assert isinstance(trace.loss, Hinge)
        terms: list[Expression] = []
        for place in label_places(trace):
            excesses = [self.excess(trace, place, j) for j in self.others(trace, place)]
            terms += [
                self.counted(trace, place, square(excess) if trace.loss.squared else excess)
                for excess in excesses
            ]
        _, mean = weight_of(trace)
        exponent = "^{2}" if trace.loss.squared else ""
        cost = "" if trace.loss.class_weights is None else r"w(r) \cdot "
        formula = Formula(rf"E = {mean}\sum_{{n}} \sum_{{j \ne r}} {cost}\max(0, m + z(j) - z(r)){exponent}")
        return Derivation(formula, weighted(trace, Sum(tuple(terms))), notes=loss_settings(trace))

    def counted(self, trace: "Trace", place: Index, expression: Expression) -> Expression:
        """Return an expression times w(r), if classes have weights."""
        assert isinstance(trace.loss, Hinge)
        if trace.loss.class_weights is None:
            return expression
        return Product((class_weight(trace.loss, label_at(trace, place)), expression))

    def pull(self, trace: "Trace", place: Index, j: int) -> Expression:
        """Return w(r)·[m + z(j) - z(r) > 0], or twice the excess for squares."""
        assert isinstance(trace.loss, Hinge)
        excess = self.excess(trace, place, j)
        if trace.loss.squared:
            return self.counted(trace, place, Product((Number(2.0), excess)))
        is_within = Applied("[#1 > 0]", lambda value: float(value > 0), (excess,), ulps=0)
        return self.counted(trace, place, is_within)

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return the pull on a wrong class, and minus the sum of all pulls on the right one."""
        right = label_at(trace, index)
        if right == index[1]:
            pulls = Sum(tuple(self.pull(trace, index, j) for j in self.others(trace, index)))
            expression: Expression = Negative(pulls)
        else:
            expression = self.pull(trace, index, index[1])
        _, mean = weight_of(trace)
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial z(j)}} = {mean}p(j), \quad \frac{{\partial E}}{{\partial z(r)}} = "
            rf"-{mean}\sum_{{j \ne r}} p(j), \quad p(j) = [m + z(j) - z(r) > 0]"
        )
        notes = (*class_note(trace, index), *loss_settings(trace))
        return Derivation(formula, weighted(trace, expression), notes=notes)


@explains_loss(Dice)
class DiceExplainer(LossExplainer):
    """E = 1 - mean over the classes of D = (2 Σ p·t + s)/(Σ p + Σ t + s)."""

    def probability(self, trace: "Trace", index: Index) -> Expression:
        """Return p: a sigmoid for one channel, else the softmax."""
        if trace.values[trace.network.output].shape[1] == 1:
            return sigmoid_of(trace, output_of(trace, index, "z"))
        return softmax_at(trace, index, named=False).share(index[1])

    def region(self, trace: "Trace", index: Index) -> Number:
        """Return t: 1 in the region of the class."""
        classes = trace.values[trace.network.output].shape[1]
        return Number(float(label_at(trace, index) == (1 if classes == 1 else index[1])))

    def overlap(self, trace: "Trace", n: int, k: int) -> tuple[Expression, Expression]:
        """Return numerator and denominator of D."""
        assert isinstance(trace.loss, Dice)
        shape = trace.values[trace.network.output].shape
        places = [(n, k, *rest) for rest in product(*map(range, shape[2:]))]
        chances = [self.probability(trace, place) for place in places]
        regions = [self.region(trace, place) for place in places]
        smoothing = Number(trace.loss.smoothing)
        pairs = zip(chances, regions, strict=True)
        both = Sum((Product((Number(2.0), Sum(tuple(Product(pair) for pair in pairs)))), smoothing))
        size = Sum((Sum(tuple(Sum(pair) for pair in zip(chances, regions, strict=True))), smoothing))
        return both, size

    def value(self, trace: "Trace") -> Derivation:
        """Return the mean of what does not overlap."""
        examples, classes = trace.values[trace.network.output].shape[:2]
        terms = []
        for n, k in product(range(examples), range(classes)):
            both, size = self.overlap(trace, n, k)
            terms.append(difference(Number(1.0), quotient(both, size)))
        _, mean = weight_of(trace)
        formula = Formula(
            rf"E = {mean}\sum_{{n}} \frac{{1}}{{K}} \cdot "
            r"\sum_{k} (1 - \frac{2 \sum p \cdot t + s}{\sum p + \sum t + s})"
        )
        expression = quotient(Sum(tuple(terms)), Number(classes))
        return Derivation(formula, weighted(trace, expression), notes=loss_settings(trace))

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return the chain rule through D and through the probabilities."""
        n, k, *rest = index
        classes = trace.values[trace.network.output].shape[1]
        slopes = []
        for j in range(classes):
            both, size = (
                Named(f"{letter}_{{{j}}}", part)
                for letter, part in zip("BS", self.overlap(trace, n, j), strict=True)
            )
            region = self.region(trace, (n, j, *rest))
            top = difference(both, Product((Number(2.0), region, size)))
            slopes.append(quotient(quotient(top, Product((size, size))), Number(classes)))
        chances = [self.probability(trace, (n, j, *rest)) for j in range(classes)]
        if classes == 1:
            expression: Expression = Product((slopes[0], chances[0], difference(Number(1.0), chances[0])))
        else:
            mean_slope = Sum(tuple(Product(pair) for pair in zip(slopes, chances, strict=True)))
            expression = Product((chances[k], difference(slopes[k], mean_slope)))
        formula = Formula(
            r"\frac{\partial E}{\partial z(k)} = p(k) \cdot (g(k) - \sum_{j} g(j) \cdot p(j)), "
            r"\quad g(k) = \frac{B(k) - 2 \cdot t(k) \cdot S(k)}{S(k)^{2}} / K"
            if classes > 1
            else r"\frac{\partial E}{\partial z} = g \cdot p \cdot (1 - p), "
            r"\quad g = \frac{B - 2 \cdot t \cdot S}{S^{2}}"
        )
        return Derivation(formula, weighted(trace, expression), notes=loss_settings(trace))


@explains_loss(KLDivergence)
class KLDivergenceExplainer(LossExplainer):
    """E = Σ t·(log t - log v); the gradient is v·Σt - t."""

    def value(self, trace: "Trace") -> Derivation:
        """Return the sum over examples, positions and classes; 0·log 0 is 0."""
        places = label_places(trace)
        terms: list[Expression] = []
        for place in places:
            softmax = softmax_at(trace, place, named=len(places) == 1)
            for k in range(len(softmax.entries)):
                t = target_of(trace, (place[0], k, *place[2:]))
                log_target = logarithm(t) if t.value() > 0 else Number(0.0)
                terms.append(Product((t, difference(log_target, softmax.log(k)))))
        _, mean = weight_of(trace)
        formula = Formula(rf"E = {mean}\sum_{{k}} t(k) \cdot (\log t(k) - \log v(k))")
        return Derivation(formula, weighted(trace, Sum(tuple(terms))), notes=(Note("maximum_taken_off"),))

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return v(k)·Σt - t(k)."""
        classes = trace.values[trace.network.output].shape[1]
        total = Sum(tuple(target_of(trace, (index[0], k, *index[2:])) for k in range(classes)))
        share = softmax_at(trace, index).share(index[1])
        _, mean = weight_of(trace)
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial z(k)}} = {mean}(v(k) \cdot \sum_{{j}} t(j) - t(k))"
        )
        return Derivation(
            formula, weighted(trace, difference(Product((share, total)), target_of(trace, index)))
        )
