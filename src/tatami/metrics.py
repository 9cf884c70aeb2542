"""Metrics of a classifier: numbers for people, computed from outputs and labels, without gradients."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def predicted_classes(outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class with the largest output for every example, the first of equals: (N,) from (N, classes)."""
    classes: NDArray[np.int64] = np.argmax(outputs, axis=1).astype(np.int64)
    return classes


def accuracy(outputs: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the share of examples whose largest output stands at their label.

    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    return float(np.mean(predicted_classes(outputs) == labels))


def confusion_matrix(predicted: NDArray[Any], labels: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Count how often each true class (row) was taken for each class (column).

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    cells = np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)
