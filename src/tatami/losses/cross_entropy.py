"""Cross-entropies: of classes that exclude each other, weighted or not, and focused on what is still wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import DataError, SettingError
from tatami.layers.activations import softmax
from tatami.losses.labels import (
    FromLabels,
    check_class_weights,
    class_column,
    log_softmax,
    require_weight_for_each_class,
    weight_of_the_right,
)

SOFT_TARGET_TOLERANCE = 1e-4


@dataclass(frozen=True)
class FromLabelsOrShares(FromLabels, abstract=True):
    """Base of the losses whose targets may also be soft: floating-point shares of the classes that add up to 1."""

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


@dataclass(frozen=True)
class SoftmaxCrossEntropy(FromLabelsOrShares):
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
class WeightedCrossEntropy(FromLabelsOrShares):
    """Softmax cross-entropy whose targets are softened, whose classes count differently, or some labels not at all.

    E = -Σ_k w(k)·t(k)·log v(k), v = softmax(z), t(k) = (1 - ε)·[k = r] + ε/K; ∂E/∂z(j) = v(j)·Σ_k w(k)·t(k) -
    w(j)·t(j). Targets may also be soft, shares (N, C, *spatial) that add up to 1; they take the place of [k = r].

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
        check_class_weights(self)

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the labels as int64; ignored ones become -1."""
        require_weight_for_each_class(self, output_shape)
        labels = np.asarray(values)
        if self.ignored_label is None or labels.dtype.kind not in "iu":
            return super().target(labels, output_shape)
        ignored = labels == self.ignored_label
        return np.where(ignored, -1, super().target(np.where(ignored, 0, labels), output_shape))

    def weighted_targets(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return w(k)·t(k), 0 for ignored labels, in the output's shape."""
        hits = self.hits(ops, output, target)
        t = (1 - self.label_smoothing) * hits + self.label_smoothing / output.shape[1]
        if self.ignored_label is not None and target.ndim < output.ndim:
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
        check_class_weights(self)

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the labels as int64, checked."""
        require_weight_for_each_class(self, output_shape)
        return super().target(values, output_shape)

    def chance(self, ops: Backend, output: Array, hits: Array) -> tuple[Array, Array, Array]:
        """Return log v(r), v(r) and 1 - v(r) as columns; the last as a sum of the others, so that it can be small."""
        v = softmax(ops, output)
        log_right = ops.xp.sum(log_softmax(ops, output) * hits, axis=1, keepdims=True)
        rest = ops.xp.sum(v * (1 - hits), axis=1, keepdims=True)
        return log_right, ops.xp.exp(log_right), rest

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return -Σ w(r)·(1 - v(r))^γ·log v(r)."""
        hits = self.hits(ops, output, target)
        log_right, _, rest = self.chance(ops, output, hits)
        total = -ops.xp.sum(
            weight_of_the_right(ops, self.class_weights, output, hits) * rest**self.gamma * log_right
        )
        return float(total) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return w(r)·(γ·(1 - v(r))^(γ-1)·v(r)·log v(r) - (1 - v(r))^γ)·(onehot(r) - v)."""
        hits = self.hits(ops, output, target)
        log_right, right, rest = self.chance(ops, output, hits)
        slope = -(rest**self.gamma)
        if self.gamma:
            slope = slope + self.gamma * rest ** (self.gamma - 1) * right * log_right
        factor = weight_of_the_right(ops, self.class_weights, output, hits) * slope * self.weight(output)
        return factor * (hits - softmax(ops, output))
