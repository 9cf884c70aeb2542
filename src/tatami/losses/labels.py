"""What the losses between logits and class labels share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Shape
from tatami.layers.activations import softmax
from tatami.losses.base import Loss, check_labels


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


def log_softmax(ops: Backend, z: Array) -> Array:
    """Return z - max - log Σ e^(z - max) over axis 1."""
    shifted = z - ops.xp.max(z, axis=1, keepdims=True)
    return shifted - ops.xp.log(ops.xp.sum(ops.xp.exp(shifted), axis=1, keepdims=True))


def class_column(ops: Backend, weights: Sequence[float], like: Array) -> Array:
    """Return one number for each class, shaped to broadcast over (N, classes, *spatial)."""
    column = np.array(weights, dtype=np.float64).reshape(1, -1, *(1,) * (like.ndim - 2))
    return ops.xp.astype(ops.asarray(column, "float64"), like.dtype)


def weight_of_the_right(
    ops: Backend, weights: Sequence[float] | None, output: Array, hits: Array
) -> Array | float:
    """Return w(r) of every example and position, to broadcast over the classes."""
    if weights is None:
        return 1.0
    return ops.xp.sum(hits * class_column(ops, weights, output), axis=1, keepdims=True)


def check_class_weights(loss: Loss, setting: str = "class_weights") -> None:
    """Raise unless the weights are at least 0 and not all 0."""
    weights = getattr(loss, setting)
    if weights is not None and (not weights or min(weights) < 0 or max(weights) == 0):
        raise SettingError(
            f"{type(loss).__name__}: {setting} must be at least 0 and not all 0, got {list(weights)}"
        )


def require_weight_for_each_class(loss: Loss, output_shape: Shape, setting: str = "class_weights") -> None:
    """Raise unless there are as many weights as classes."""
    weights = getattr(loss, setting)
    if weights is not None and len(weights) != output_shape[0]:
        raise ShapeError(
            f"{type(loss).__name__}: {len(weights)} {setting.replace('_', ' ')} for an output of {output_shape[0]} "
            f"classes"
        )
