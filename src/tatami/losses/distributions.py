"""Losses between probabilities and shares: yes-or-no questions, and whole distributions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import DataError, ShapeError
from tatami.geometry import Shape
from tatami.layers.activations import softmax
from tatami.layers.smooth_activations import sigmoid, softplus
from tatami.losses.base import Loss
from tatami.losses.labels import check_class_weights, class_column, log_softmax, require_weight_for_each_class
from tatami.random import RandomKey


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Every output answers a yes-or-no question of its own: E = -Σ t·log p + (1 - t)·log(1 - p), p = sigmoid(z).

    From logits z and fused, so ∂E/∂z = p - t; computed as Σ log(1 + e^z) - t·z, which neither overflows nor takes the
    logarithm of 0. Targets t are arrays of the output's shape with entries from 0 to 1, or for one output labels (N,).

    >>> from tatami.backends import ReferenceBackend
    >>> round(BinaryCrossEntropy().value(ReferenceBackend(), np.array([[0.0]]), np.array([[1.0]])), 6)
    0.693147

    Args:
        reduction: 'mean' over the examples of the batch, or 'sum'.
        output_weights: w(k) for each output (channel): E = -Σ w·(…); by default all 1.
        positive_weights: q(k) for each output, by which a 'yes' counts more than a 'no': E = -Σ q·t·log p + …; by
            default all 1. With ten times as many 'no' as 'yes' 10 makes both count alike.

    Source: Bishop (2006), §4.3.2; DAY4's reconstruction of binary images.
    """

    output_weights: Sequence[float] | None = None
    positive_weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check the weights."""
        super().__post_init__()
        check_class_weights(self, "output_weights")
        check_class_weights(self, "positive_weights")

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the targets as an array of the output's shape."""
        for setting in ("output_weights", "positive_weights"):
            require_weight_for_each_class(self, output_shape, setting)
        values = np.asarray(values)
        if values.ndim == 1 and output_shape == (1,):
            values = values[:, np.newaxis]
        return shares(self, values, output_shape)

    def draw_target(self, key: RandomKey, examples: int, output_shape: Shape) -> NDArray[Any]:
        """Return random numbers from 0 to 1."""
        return key.uniform("target", (examples, *output_shape))

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return Σ log(1 + e^z) - t·z; a 'yes' costs log(1 + e^-z) = log(1 + e^z) - z, q(k) times."""
        cost = softplus(ops, output) - target * output
        if self.positive_weights is not None:
            extra = class_column(ops, self.positive_weights, output) - 1
            cost = cost + extra * target * softplus(ops, -output)
        return float(ops.xp.sum(self.outputs_weighted(ops, cost))) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return p - t; a 'yes' pulls with p - 1, q(k) times."""
        p = sigmoid(ops, output)
        pull = p - target
        if self.positive_weights is not None:
            extra = class_column(ops, self.positive_weights, output) - 1
            pull = pull + extra * target * (p - 1)
        return self.outputs_weighted(ops, pull) * self.weight(output)

    def outputs_weighted(self, ops: Backend, values: Array) -> Array:
        """Return values of every output times its weight."""
        if self.output_weights is None:
            return values
        return values * class_column(ops, self.output_weights, values)

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
