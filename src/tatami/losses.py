"""Losses: what the network's output costs against the target, and the gradient to start backward from.

``reduction='mean'`` divides the sum over the batch by the number of examples (the convention here); 'sum' does not
(Arai's program and the slides' C_T).
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.description import Described
from tatami.errors import DataError, ShapeError
from tatami.geometry import Shape
from tatami.layers.activations import softmax
from tatami.random import RandomKey

Reduction = Literal["mean", "sum"]


class Objective(Protocol):
    """Anything that turns an output into the scalar that backward starts from."""

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return the scalar."""
        ...

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return its gradient with respect to the output."""
        ...


@dataclass(frozen=True)
class Loss(Described, family="loss", abstract=True):
    """Base of the losses.

    Args:
        reduction: 'mean' over the examples of the batch, or 'sum'.
    """

    reduction: Reduction = "mean"

    def weight(self, output: Array) -> float:
        """Return the factor of every example: 1/N or 1."""
        return 1 / output.shape[0] if self.reduction == "mean" else 1.0

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Check a batch of targets and bring it into the form that `value` and `gradient` take."""
        raise NotImplementedError

    def draw_target(self, key: RandomKey, examples: int, output_shape: Shape) -> NDArray[Any]:
        """Return random targets for checks: class labels if the loss takes them, else numbers of the output's shape."""
        labels = np.floor(key.uniform("target", (examples, *output_shape[1:])) * output_shape[0])
        try:
            return self.target(labels.astype(np.int64), output_shape)
        except ShapeError:
            return self.target(key.normal("target", (examples, *output_shape)), output_shape)

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return the loss of a batch."""
        raise NotImplementedError

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return the gradient of the loss with respect to the network's output."""
        raise NotImplementedError

    def predict(self, ops: Backend, output: Array) -> Array:
        """Return what the output means: probabilities for a loss that contains a softmax, else the output."""
        return output


@dataclass(frozen=True)
class SquaredError(Loss):
    """C = ½ Σ (y - t)², so that ∂C/∂y = y - t.

    Targets are arrays of the output's shape, or class labels (N,), which become one-hot rows.

    Source: DSP, cost function. (Qiita prints it with a minus sign; an error that could fall below zero is none.)
    """

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the targets as an array of the output's shape."""
        values = np.asarray(values)
        if values.ndim == 1 and np.issubdtype(values.dtype, np.integer) and len(output_shape) == 1:
            return one_hot(values, output_shape[0])
        if values.shape[1:] != output_shape:
            raise ShapeError(
                f"SquaredError: targets should have the output's shape {('N', *output_shape)} or be class labels "
                f"(N,), got {values.shape}"
            )
        if values.dtype.kind not in "buif":
            raise DataError(
                f"SquaredError: expected an array of numbers as targets, got dtype {values.dtype}"
            )
        return values

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return ½ Σ (y - t)², times 1/N for the mean."""
        difference = output - target
        return float(0.5 * ops.xp.sum(difference * difference)) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return y - t, times 1/N for the mean."""
        return (output - target) * self.weight(output)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """E = -log v(r), with v = softmax(z) of the logits z and r the right class; fused, so ∂E/∂z = v - onehot(r).

    Computed as log Σ_j e^(z(j) - max) - (z(r) - max): nothing overflows and no logarithm of 0 is taken. The network
    ends in logits and needs no softmax layer of its own. Class labels (N,) count from 0; for maps, (N, C, *spatial)
    logits take labels (N, *spatial), and the sum over positions is divided by N only.

    Source: Arai §3.2 and the calculation of δ in §3.3.
    """

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the labels as int64, checked against the number of classes."""
        labels = np.asarray(values)
        if labels.shape[1:] != output_shape[1:]:
            raise ShapeError(
                f"SoftmaxCrossEntropy: expected class labels of shape {('N', *output_shape[1:])} for an output of "
                f"shape {('N', *output_shape)}, got {labels.shape}"
            )
        check_labels(labels, output_shape[0])
        return labels.astype(np.int64)

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

    def predict(self, ops: Backend, output: Array) -> Array:
        """Return the probabilities v = softmax(z)."""
        return softmax(ops, output)

    def hits(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return 1 at the right class and 0 elsewhere, in the output's shape and dtype."""
        classes = ops.xp.reshape(ops.xp.arange(output.shape[1]), (1, -1, *(1,) * (output.ndim - 2)))
        return ops.xp.astype(ops.xp.expand_dims(target, axis=1) == classes, output.dtype)


def one_hot(labels: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Return rows with a 1 at the label and 0 elsewhere: (N, classes).

    >>> one_hot(np.array([0, 2]), 3)
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    check_labels(labels, classes)
    rows: NDArray[np.float64] = (labels[:, np.newaxis] == np.arange(classes)).astype(np.float64)
    return rows


def check_labels(labels: NDArray[Any], classes: int) -> None:
    """Raise unless every label is a whole number from 0 to classes - 1."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"class labels must be whole numbers, got an array of {labels.dtype}")
    wrong = np.argwhere((labels < 0) | (labels >= classes))
    if wrong.size:
        raise DataError(
            f"label out of range: example {wrong[0][0]} has label {labels[tuple(wrong[0])]}, the network has "
            f"{classes} outputs, so labels go from 0 to {classes - 1}; "
            f"count classes from 0 or give the network more outputs"
        )


LOSSES: dict[str, type[Loss]] = {"squared_error": SquaredError, "softmax_cross_entropy": SoftmaxCrossEntropy}
