"""Losses of margins between classes and of overlaps of regions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError
from tatami.geometry import Shape
from tatami.layers.activations import softmax
from tatami.layers.smooth_activations import sigmoid
from tatami.losses.labels import (
    FromLabels,
    check_class_weights,
    require_weight_for_each_class,
    weight_of_the_right,
)
from tatami.random import RandomKey


@dataclass(frozen=True)
class Hinge(FromLabels):
    """The right class should lead every other by a margin: E = Σ_{j ≠ r} max(0, m + z(j) - z(r)), or its squares.

    ∂E/∂z(j) = 1 for every j ≠ r within the margin, and ∂E/∂z(r) minus their number.

    Args:
        reduction: 'mean' over the examples of the batch, or 'sum'.
        margin: m.
        squared: whether to take max(0, …)².
        class_weights: w(k) for each class, by which the cost of an example of that class counts; by default all 1.

    >>> import numpy as np
    >>> from tatami.backends import ReferenceBackend
    >>> Hinge().value(ReferenceBackend(), np.array([[2.0, 1.5, 0.0]]), np.array([0]))
    0.5

    Source: Weston and Watkins (1999). PyTorch's MultiMarginLoss divides the sum by the number of classes.
    """

    margin: float = 1.0
    squared: bool = False
    class_weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check the margin and the weights."""
        super().__post_init__()
        check_class_weights(self)
        if not self.margin > 0:
            raise SettingError(f"Hinge: margin must be above 0, got {self.margin!r}")

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the labels as int64, checked."""
        require_weight_for_each_class(self, output_shape)
        return super().target(values, output_shape)

    def excess(self, ops: Backend, output: Array, hits: Array) -> Array:
        """Return max(0, m + z(j) - z(r)) for j ≠ r, 0 for r."""
        right = ops.xp.sum(output * hits, axis=1, keepdims=True)
        excess = (self.margin + output - right) * (1 - hits)
        return ops.xp.maximum(excess, ops.xp.zeros_like(excess))

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return the sum of what is within the margin."""
        hits = self.hits(ops, output, target)
        excess = self.excess(ops, output, hits)
        costs = weight_of_the_right(ops, self.class_weights, output, hits)
        total = ops.xp.sum(costs * (excess * excess if self.squared else excess))
        return float(total) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return 1 (or 2·excess) where within the margin, and minus their sum at the right class."""
        hits = self.hits(ops, output, target)
        excess = self.excess(ops, output, hits)
        pull = 2 * excess if self.squared else ops.xp.astype(excess > 0, output.dtype)
        pull = pull * weight_of_the_right(ops, self.class_weights, output, hits)
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
