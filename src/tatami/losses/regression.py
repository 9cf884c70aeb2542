"""Losses that compare numbers with numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import DataError, SettingError, ShapeError
from tatami.losses.base import Loss, one_hot


@dataclass(frozen=True)
class Regression(Loss, abstract=True):
    """Base: targets are arrays of the output's shape, or class labels (N,), which become one-hot rows."""

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the targets as an array of the output's shape."""
        values = np.asarray(values)
        if values.ndim == 1 and np.issubdtype(values.dtype, np.integer) and len(output_shape) == 1:
            return one_hot(values, output_shape[0])
        if values.shape[1:] != output_shape:
            raise ShapeError(
                f"{type(self).__name__}: targets should have the output's shape {('N', *output_shape)} or be class "
                f"labels (N,), got {values.shape}"
            )
        if values.dtype.kind not in "buif":
            raise DataError(
                f"{type(self).__name__}: expected an array of numbers as targets, got dtype {values.dtype}"
            )
        return values


@dataclass(frozen=True)
class SquaredError(Regression):
    """C = ½ Σ (y - t)², so that ∂C/∂y = y - t.

    Targets are arrays of the output's shape, or class labels (N,), which become one-hot rows.

    Source: DSP, cost function. (Qiita prints it with a minus sign; an error that could fall below zero is none.)
    """

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return ½ Σ (y - t)², times 1/N for the mean."""
        difference = output - target
        return float(0.5 * ops.xp.sum(difference * difference)) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return y - t, times 1/N for the mean."""
        return (output - target) * self.weight(output)


@dataclass(frozen=True)
class Huber(Regression):
    """Squared near the target, straight far from it, so that outliers pull with a bounded force.

    C = Σ ½d² where |d| ≤ δ, else δ·(|d| - ½δ), with d = y - t; ∂C/∂y = d cut off at ±δ.

    Args:
        reduction: 'mean' over the examples of the batch, or 'sum'.
        delta: δ.

    >>> from tatami.backends import ReferenceBackend
    >>> Huber().value(ReferenceBackend(), np.array([[0.5, 3.0]]), np.array([[0.0, 0.0]]))
    2.625

    Source: Huber (1964).
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        """Check δ."""
        super().__post_init__()
        if not self.delta > 0:
            raise SettingError(f"Huber: delta must be above 0, got {self.delta!r}")

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return Σ ½d² or δ·(|d| - ½δ): with q = min(|d|, δ) both are q·(|d| - ½q)."""
        size = ops.xp.abs(output - target)
        q = ops.xp.minimum(size, self.delta * ops.xp.ones_like(size))
        return float(ops.xp.sum(q * (size - 0.5 * q))) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return d cut off at ±δ."""
        return ops.xp.clip(output - target, -self.delta, self.delta) * self.weight(output)
