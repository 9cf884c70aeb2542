"""What every loss is: a frozen dataclass with a value and its gradient; and the checks of labels."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.description import Described
from tatami.errors import DataError, ShapeError
from tatami.geometry import Shape
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
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = np.argwhere((labels < 0) | (labels >= classes))
        raise DataError(
            f"label out of range: example {wrong[0][0]} has label {labels[tuple(wrong[0])]}, the network has "
            f"{classes} outputs, so labels go from 0 to {classes - 1}; "
            f"count classes from 0 or give the network more outputs"
        )
