"""Metrics of a classifier: numbers for people, computed from outputs and labels, without gradients."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import DataError, ShapeError


def predicted_classes(outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class with the largest output for every example, the first of equals: (N,) from (N, classes)."""
    classes: NDArray[np.int64] = np.argmax(outputs, axis=1).astype(np.int64)
    return classes


def accuracy(outputs: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the share of examples whose largest output stands at their label.

    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    predicted = predicted_classes(outputs)
    check_alike(predicted, labels)
    return float(np.mean(predicted == labels))


def confusion_matrix(predicted: NDArray[Any], labels: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Count how often each true class (row) was taken for each class (column).

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    check_alike(predicted, labels)
    for name, values in (("predicted classes", predicted), ("labels", labels)):
        if values.min() < 0 or values.max() >= classes:
            raise DataError(
                f"confusion matrix: the {name} go from {values.min()} to {values.max()}, "
                f"with {classes} classes they must go from 0 to {classes - 1}"
            )
    cells = np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def intersection_over_union(
    predicted: NDArray[Any], labels: NDArray[Any], classes: int
) -> NDArray[np.float64]:
    """Return for every class the overlap of predicted and true pixels: |both| / |either|, NaN where there are neither.

    >>> intersection_over_union(np.array([[0, 1, 1]]), np.array([[0, 0, 1]]), 2)
    array([0.5, 0.5])
    """
    cells = confusion_matrix(predicted.reshape(-1), labels.reshape(-1), classes).astype(np.float64)
    both = np.diag(cells)
    either = cells.sum(axis=0) + cells.sum(axis=1) - both
    shares: NDArray[np.float64] = np.where(either > 0, both / np.where(either > 0, either, 1), np.nan)
    return shares


def check_alike(predicted: NDArray[Any], labels: NDArray[Any]) -> None:
    """Raise unless there is one label for every prediction, and at least one (NumPy would repeat what is missing)."""
    if predicted.shape != labels.shape:
        raise ShapeError(f"{predicted.shape} predicted classes came with {labels.shape} labels")
    if not predicted.size:
        raise DataError("there are no examples to measure")
