"""Losses for classes: of whole examples, or of every position of a map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import DataError, SettingError, ShapeError
from tatami.geometry import Shape
from tatami.layers.activations import softmax
from tatami.layers.smooth_activations import sigmoid, softplus
from tatami.losses.base import Loss, check_labels
from tatami.random import RandomKey

SOFT_TARGET_TOLERANCE = 1e-4


@dataclass(frozen=True)
class FromLabels(Loss, abstract=True):
    """Base of the losses between logits (N, classes, *spatial) and class labels (N, *spatial)."""

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the labels as int64, checked against the number of classes."""
        labels = np.asarray(values)
        if labels.shape[1:] != output_shape[1:]:
            raise ShapeError(
                f"{type(self).__name__}: expected class labels of shape {('N', *output_shape[1:])} for an output of "
                f"shape {('N', *output_shape)}, got {labels.shape}"
            )
        check_labels(labels, output_shape[0])
        return labels.astype(np.int64)

    def predict(self, ops: Backend, output: Array) -> Array:
        """Return the probabilities v = softmax(z)."""
        return softmax(ops, output)

    def hits(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return 1 at the right class and 0 elsewhere, in the output's shape and dtype."""
        classes = ops.xp.reshape(ops.xp.arange(output.shape[1]), (1, -1, *(1,) * (output.ndim - 2)))
        return ops.xp.astype(ops.xp.expand_dims(target, axis=1) == classes, output.dtype)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(FromLabels):
    """E = -log v(r), with v = softmax(z) of the logits z and r the right class; fused, so ∂E/∂z = v - onehot(r).

    Computed as log Σ_j e^(z(j) - max) - (z(r) - max): nothing overflows and no logarithm of 0 is taken. The network
    ends in logits and needs no softmax layer of its own. Class labels (N,) count from 0; for maps, (N, C, *spatial)
    logits take labels (N, *spatial), and the sum over positions is divided by N only.

    Targets may also be soft, as mixed images have them: floating-point shares t (N, C, *spatial) that add up to 1 over
    the classes. Then E = -Σ_k t(k)·log v(k) and ∂E/∂z = v - t.

    >>> from tatami.backends import ReferenceBackend
    >>> loss = SoftmaxCrossEntropy()
    >>> loss.gradient(ReferenceBackend(), np.zeros((1, 2)), loss.target(np.array([[0.75, 0.25]]), (2,)))
    array([[-0.25,  0.25]])

    Source: Arai §3.2 and the calculation of δ in §3.3.
    """

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return labels as int64, or soft targets as they are, checked."""
        targets = np.asarray(values)
        if targets.dtype.kind != "f" or targets.shape[1:] != output_shape:
            return super().target(targets, output_shape)
        check_soft_targets(targets)
        return targets

    def hits(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return t in the output's shape and dtype: for labels 1 at the right class and 0 elsewhere."""
        if target.ndim == output.ndim:
            return ops.xp.astype(target, output.dtype)
        return super().hits(ops, output, target)

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return Σ log Σ_j e^(z(j) - max) - (z(r) - max), times 1/N for the mean."""
        xp = ops.xp
        shifted = output - xp.max(output, axis=1, keepdims=True)
        log_total = xp.log(xp.sum(xp.exp(shifted), axis=1))
        right = xp.sum(shifted * self.hits(ops, output, target), axis=1)
        return float(xp.sum(log_total - right)) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return v - onehot(r), times 1/N for the mean."""
        return (softmax(ops, output) - self.hits(ops, output, target)) * self.weight(output)


def check_soft_targets(targets: NDArray[Any]) -> None:
    """Raise unless the shares of the classes are at least 0 and add up to 1."""
    off = np.abs(targets.sum(axis=1, dtype=np.float64) - 1)
    if not (targets >= 0).all() or not (off <= SOFT_TARGET_TOLERANCE).all():
        example = int(np.argwhere(~(targets >= 0).all(axis=1) | ~(off <= SOFT_TARGET_TOLERANCE))[0][0])
        raise DataError(
            f"soft targets are shares of the classes, each at least 0 and together 1; example {example} has "
            f"{np.array2string(targets[example], threshold=8)}"
        )


@dataclass(frozen=True)
class WeightedCrossEntropy(FromLabels):
    """Softmax cross-entropy whose targets are softened, whose classes count differently, or some labels not at all.

    E = -Σ_k w(k)·t(k)·log v(k), v = softmax(z), t(k) = (1 - ε)·[k = r] + ε/K; ∂E/∂z(j) = v(j)·Σ_k w(k)·t(k) -
    w(j)·t(j).

    Args:
        reduction: 'mean' over the examples of the batch, or 'sum'.
        label_smoothing: ε, the share of certainty that is spread over all K classes.
        class_weights: w(k) for each class; by default all 1. Rare classes get more.
        ignored_label: positions with this label (which need not be a class) cost nothing, such as 255 for 'void'.

    >>> from tatami.backends import ReferenceBackend
    >>> loss = WeightedCrossEntropy(label_smoothing=0.2)
    >>> loss.gradient(ReferenceBackend(), np.zeros((1, 2)), np.array([0]))
    array([[-0.4,  0.4]])

    Source: Szegedy et al. (2016), label smoothing. PyTorch's 'mean' divides by Σ w(r) and leaves ignored examples out;
    ours divides by the number of examples, like every loss here.
    """

    label_smoothing: float = 0.0
    class_weights: Sequence[float] | None = None
    ignored_label: int | None = None

    def __post_init__(self) -> None:
        """Check ε and the weights."""
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise SettingError(
                f"WeightedCrossEntropy: label_smoothing must be at least 0 and below 1, got {self.label_smoothing!r}"
            )
        check_class_weights(self, self.class_weights)

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the labels as int64; ignored ones become -1."""
        require_weight_for_each_class(self, self.class_weights, output_shape)
        labels = np.asarray(values)
        if self.ignored_label is None or labels.dtype.kind not in "iu":
            return super().target(labels, output_shape)
        ignored = labels == self.ignored_label
        return np.where(ignored, -1, super().target(np.where(ignored, 0, labels), output_shape))

    def weighted_targets(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return w(k)·t(k), 0 for ignored labels, in the output's shape."""
        hits = self.hits(ops, output, target)
        t = (1 - self.label_smoothing) * hits + self.label_smoothing / output.shape[1]
        if self.ignored_label is not None:
            t = t * ops.xp.astype(ops.xp.expand_dims(target, axis=1) >= 0, output.dtype)
        return t if self.class_weights is None else t * class_column(ops, self.class_weights, output)

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return -Σ w·t·log v."""
        total = -ops.xp.sum(self.weighted_targets(ops, output, target) * log_softmax(ops, output))
        return float(total) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return v·Σ w·t - w·t."""
        wt = self.weighted_targets(ops, output, target)
        return (softmax(ops, output) * ops.xp.sum(wt, axis=1, keepdims=True) - wt) * self.weight(output)


@dataclass(frozen=True)
class Focal(FromLabels):
    """Cross-entropy that turns its attention to what is still wrong: E = -w(r)·(1 - v(r))^γ · log v(r).

    ∂E/∂z(j) = w(r)·(γ·(1 - v(r))^(γ-1)·v(r)·log v(r) - (1 - v(r))^γ)·([j = r] - v(j)); with γ = 0 that is v -
    onehot(r).

    Args:
        reduction: 'mean' over the examples of the batch, or 'sum'.
        gamma: γ, 0 or at least 1: how little the examples count that are already right.
        class_weights: w(k) for each class; by default all 1.

    >>> Focal().to_json()["gamma"]
    2.0

    Source: Lin, Goyal, Girshick, He, Dollár (2017), there with a sigmoid for each class.
    """

    gamma: float = 2.0
    class_weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check γ and the weights."""
        super().__post_init__()
        if self.gamma != 0 and not self.gamma >= 1:
            raise SettingError(f"Focal: gamma must be 0 or at least 1, got {self.gamma!r}")
        check_class_weights(self, self.class_weights)

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the labels as int64, checked."""
        require_weight_for_each_class(self, self.class_weights, output_shape)
        return super().target(values, output_shape)

    def chance(self, ops: Backend, output: Array, hits: Array) -> tuple[Array, Array, Array]:
        """Return log v(r), v(r) and 1 - v(r) as columns; the last as a sum of the others, so that it can be small."""
        v = softmax(ops, output)
        log_right = ops.xp.sum(log_softmax(ops, output) * hits, axis=1, keepdims=True)
        rest = ops.xp.sum(v * (1 - hits), axis=1, keepdims=True)
        return log_right, ops.xp.exp(log_right), rest

    def weights(self, ops: Backend, output: Array, hits: Array) -> Array | float:
        """Return w(r) as a column."""
        if self.class_weights is None:
            return 1.0
        return ops.xp.sum(hits * class_column(ops, self.class_weights, output), axis=1, keepdims=True)

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return -Σ w(r)·(1 - v(r))^γ·log v(r)."""
        hits = self.hits(ops, output, target)
        log_right, _, rest = self.chance(ops, output, hits)
        total = -ops.xp.sum(self.weights(ops, output, hits) * rest**self.gamma * log_right)
        return float(total) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return w(r)·(γ·(1 - v(r))^(γ-1)·v(r)·log v(r) - (1 - v(r))^γ)·(onehot(r) - v)."""
        hits = self.hits(ops, output, target)
        log_right, right, rest = self.chance(ops, output, hits)
        slope = -(rest**self.gamma)
        if self.gamma:
            slope = slope + self.gamma * rest ** (self.gamma - 1) * right * log_right
        factor = self.weights(ops, output, hits) * slope * self.weight(output)
        return factor * (hits - softmax(ops, output))


@dataclass(frozen=True)
class Hinge(FromLabels):
    """The right class should lead every other by a margin: E = Σ_{j ≠ r} max(0, m + z(j) - z(r)), or its squares.

    ∂E/∂z(j) = 1 for every j ≠ r within the margin, and ∂E/∂z(r) minus their number.

    Args:
        reduction: 'mean' over the examples of the batch, or 'sum'.
        margin: m.
        squared: whether to take max(0, …)².

    >>> from tatami.backends import ReferenceBackend
    >>> Hinge().value(ReferenceBackend(), np.array([[2.0, 1.5, 0.0]]), np.array([0]))
    0.5

    Source: Weston and Watkins (1999). PyTorch's MultiMarginLoss divides the sum by the number of classes.
    """

    margin: float = 1.0
    squared: bool = False

    def __post_init__(self) -> None:
        """Check the margin."""
        super().__post_init__()
        if not self.margin > 0:
            raise SettingError(f"Hinge: margin must be above 0, got {self.margin!r}")

    def excess(self, ops: Backend, output: Array, hits: Array) -> Array:
        """Return max(0, m + z(j) - z(r)) for j ≠ r, 0 for r."""
        right = ops.xp.sum(output * hits, axis=1, keepdims=True)
        excess = (self.margin + output - right) * (1 - hits)
        return ops.xp.maximum(excess, ops.xp.zeros_like(excess))

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return the sum of what is within the margin."""
        excess = self.excess(ops, output, self.hits(ops, output, target))
        total = ops.xp.sum(excess * excess if self.squared else excess)
        return float(total) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return 1 (or 2·excess) where within the margin, and minus their sum at the right class."""
        hits = self.hits(ops, output, target)
        excess = self.excess(ops, output, hits)
        pull = 2 * excess if self.squared else ops.xp.astype(excess > 0, output.dtype)
        return (pull - hits * ops.xp.sum(pull, axis=1, keepdims=True)) * self.weight(output)

    def predict(self, ops: Backend, output: Array) -> Array:
        """Return the scores: there are no probabilities here."""
        return output


@dataclass(frozen=True)
class Dice(FromLabels):
    """One minus the overlap of predicted and true regions, for maps whose classes are of very different size.

    With p = softmax(z) (for a single output channel p = sigmoid(z), the labels 0 and 1) and t the one-hot labels,
    for each example and class D = (2 Σ p·t + s) / (Σ p + Σ t + s), sums over positions; E = 1 - mean of D over the
    classes.

    Args:
        reduction: 'mean' over the examples of the batch, or 'sum'.
        smoothing: s, keeps an empty class at D = 1.

    >>> Dice().to_json()["smoothing"]
    1.0

    Source: Milletari, Navab, Ahmadi (2016), there with squares in the denominator.
    """

    smoothing: float = 1.0

    def __post_init__(self) -> None:
        """Check the smoothing."""
        super().__post_init__()
        if not self.smoothing > 0:
            raise SettingError(f"Dice: smoothing must be above 0, got {self.smoothing!r}")

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the labels as int64, checked; for one output channel they are 0 and 1."""
        return super().target(values, (max(output_shape[0], 2), *output_shape[1:]))

    def draw_target(self, key: RandomKey, examples: int, output_shape: Shape) -> NDArray[Any]:
        """Return random labels."""
        return super().draw_target(key, examples, (max(output_shape[0], 2), *output_shape[1:]))

    def predict(self, ops: Backend, output: Array) -> Array:
        """Return the probabilities p."""
        return sigmoid(ops, output) if output.shape[1] == 1 else softmax(ops, output)

    def regions(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return t: 1 in the region of a class, else 0."""
        if output.shape[1] == 1:
            return ops.xp.astype(ops.xp.expand_dims(target, axis=1), output.dtype)
        return self.hits(ops, output, target)

    def overlap(self, ops: Backend, p: Array, t: Array) -> tuple[Array, Array]:
        """Return numerator and denominator of D, (N, classes, 1, …)."""
        axes = tuple(range(2, p.ndim))
        both = 2 * ops.xp.sum(p * t, axis=axes, keepdims=True) + self.smoothing
        return both, ops.xp.sum(p + t, axis=axes, keepdims=True) + self.smoothing

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return Σ_n (1 - mean D)."""
        both, size = self.overlap(ops, self.predict(ops, output), self.regions(ops, output, target))
        total = float(ops.xp.sum(1 - both / size))
        return total / int(output.shape[1]) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return the gradient of ``D = both / size``: ∂D/∂p = (2t·size - both) / size², and on through p(z)."""
        p, t = self.predict(ops, output), self.regions(ops, output, target)
        both, size = self.overlap(ops, p, t)
        dp = (both - 2 * t * size) / (size * size) * (self.weight(output) / output.shape[1])
        if output.shape[1] == 1:
            return dp * p * (1 - p)
        return p * (dp - ops.xp.sum(dp * p, axis=1, keepdims=True))


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Every output answers a yes-or-no question of its own: E = -Σ t·log p + (1 - t)·log(1 - p), p = sigmoid(z).

    From logits z and fused, so ∂E/∂z = p - t; computed as Σ log(1 + e^z) - t·z, which neither overflows nor takes the
    logarithm of 0. Targets t are arrays of the output's shape with entries from 0 to 1, or for one output labels (N,).

    >>> from tatami.backends import ReferenceBackend
    >>> round(BinaryCrossEntropy().value(ReferenceBackend(), np.array([[0.0]]), np.array([[1.0]])), 6)
    0.693147

    Source: Bishop (2006), §4.3.2; DAY4's reconstruction of binary images.
    """

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the targets as an array of the output's shape."""
        values = np.asarray(values)
        if values.ndim == 1 and output_shape == (1,):
            values = values[:, np.newaxis]
        return shares(self, values, output_shape)

    def draw_target(self, key: RandomKey, examples: int, output_shape: Shape) -> NDArray[Any]:
        """Return random numbers from 0 to 1."""
        return key.uniform("target", (examples, *output_shape))

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return Σ log(1 + e^z) - t·z."""
        return float(ops.xp.sum(softplus(ops, output) - target * output)) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return p - t."""
        return (sigmoid(ops, output) - target) * self.weight(output)

    def predict(self, ops: Backend, output: Array) -> Array:
        """Return the probabilities p."""
        return sigmoid(ops, output)


@dataclass(frozen=True)
class KLDivergence(Loss):
    """How far softmax(z) is from a whole distribution t: E = Σ_k t(k)·log(t(k) / v(k)); ∂E/∂z = v - t.

    Targets (N, classes, *spatial) are at least 0 and sum to 1 over the classes; soft labels of a teacher, for example.

    >>> from tatami.backends import ReferenceBackend
    >>> KLDivergence().value(ReferenceBackend(), np.array([[0.0, 0.0]]), np.array([[0.5, 0.5]]))
    0.0

    Source: Kullback and Leibler (1951); Hinton, Vinyals, Dean (2015).
    """

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the distributions, checked."""
        t = shares(self, values, output_shape)
        wrong = np.flatnonzero(np.abs(t.sum(axis=1) - 1) > 1e-3)
        if wrong.size:
            raise DataError(
                f"KLDivergence: targets must sum to 1 over the classes, one sums to {t.sum(axis=1).flat[wrong[0]]:.4g}"
            )
        return t

    def draw_target(self, key: RandomKey, examples: int, output_shape: Shape) -> NDArray[Any]:
        """Return random distributions."""
        t = 0.1 + key.uniform("target", (examples, *output_shape))
        return np.asarray(t / t.sum(axis=1, keepdims=True))

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return Σ t·(log t - log v); 0·log 0 is 0."""
        xp = ops.xp
        log_target = xp.log(xp.where(target > 0, target, xp.ones_like(target)))
        return float(xp.sum(target * (log_target - log_softmax(ops, output)))) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return v·Σt - t, Σt being 1 but for rounding."""
        total = ops.xp.sum(target, axis=1, keepdims=True)
        return (softmax(ops, output) * total - target) * self.weight(output)

    def predict(self, ops: Backend, output: Array) -> Array:
        """Return the probabilities v = softmax(z)."""
        return softmax(ops, output)


def log_softmax(ops: Backend, z: Array) -> Array:
    """Return z - max - log Σ e^(z - max) over axis 1."""
    shifted = z - ops.xp.max(z, axis=1, keepdims=True)
    return shifted - ops.xp.log(ops.xp.sum(ops.xp.exp(shifted), axis=1, keepdims=True))


def class_column(ops: Backend, weights: Sequence[float], like: Array) -> Array:
    """Return one number for each class, shaped to broadcast over (N, classes, *spatial)."""
    column = np.array(weights, dtype=np.float64).reshape(1, -1, *(1,) * (like.ndim - 2))
    return ops.xp.astype(ops.asarray(column, "float64"), like.dtype)


def check_class_weights(loss: Loss, weights: Sequence[float] | None) -> None:
    """Raise unless the weights are at least 0 and not all 0."""
    if weights is not None and (not weights or min(weights) < 0 or max(weights) == 0):
        raise SettingError(
            f"{type(loss).__name__}: class_weights must be at least 0 and not all 0, got {list(weights)}"
        )


def require_weight_for_each_class(loss: Loss, weights: Sequence[float] | None, output_shape: Shape) -> None:
    """Raise unless there are as many weights as classes."""
    if weights is not None and len(weights) != output_shape[0]:
        raise ShapeError(
            f"{type(loss).__name__}: {len(weights)} class weights for an output of {output_shape[0]} classes"
        )


def shares(loss: Loss, values: NDArray[Any], output_shape: Shape) -> NDArray[Any]:
    """Return targets from 0 to 1 in the output's shape, checked."""
    values = np.asarray(values)
    if values.shape[1:] != output_shape:
        raise ShapeError(
            f"{type(loss).__name__}: targets should have the output's shape {('N', *output_shape)}, got {values.shape}"
        )
    if values.dtype.kind not in "buif":
        raise DataError(
            f"{type(loss).__name__}: expected an array of numbers as targets, got dtype {values.dtype}"
        )
    values = values.astype(np.float64, copy=False)
    if not bool(np.all((values >= 0) & (values <= 1))):
        raise DataError(f"{type(loss).__name__}: targets must be from 0 to 1; scale the data")
    return values
