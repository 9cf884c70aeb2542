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


def roc_curve(
    scores: NDArray[Any], positive: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return what a threshold on a score costs and brings, for every threshold, from the strictest to the loosest.

    Args:
        scores: (N,), larger means 'positive' (an anomaly, for example, with the reconstruction error as its score).
        positive: (N,), whether an example really is.

    Returns:
        The shares of the others that are taken for positive, the shares of the positive ones that are found, and the
        thresholds: an example counts as positive from this score on.

    >>> false_alarms, found, thresholds = roc_curve(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1]))
    >>> false_alarms, found, thresholds
    (array([0. , 0. , 0.5, 1. ]), array([0. , 0.5, 1. , 1. ]), array([inf, 0.9, 0.4, 0.1]))
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive).astype(bool)
    check_alike(scores, positive)
    if scores.ndim != 1:
        raise ShapeError(
            f"ROC curve: expected one score for each example, got scores of shape {scores.shape}"
        )
    if positive.all() or not positive.any():
        raise DataError("ROC curve: there must be examples of both kinds")
    if not np.isfinite(scores).all():
        raise DataError("ROC curve: a score is NaN or infinite")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    # Equal scores fall on the same side of every threshold: only the last of each run is a point of the curve.
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    found = np.cumsum(positive[order])[ends]
    false_alarms = ends + 1 - found
    return (
        np.concatenate([[0.0], false_alarms / np.sum(~positive)]),
        np.concatenate([[0.0], found / np.sum(positive)]),
        np.concatenate([[np.inf], ranked[ends]]),
    )


def area_under_curve(scores: NDArray[Any], positive: NDArray[Any]) -> float:
    """Return the area under the ROC curve: the chance that a positive example scores higher than another one.

    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1]))
    0.875
    """
    false_alarms, found, _ = roc_curve(scores, positive)
    return float(np.sum(np.diff(false_alarms) * (found[1:] + found[:-1]) / 2))


def check_alike(predicted: NDArray[Any], labels: NDArray[Any]) -> None:
    """Raise unless there is one label for every prediction, and at least one (NumPy would repeat what is missing)."""
    if predicted.shape != labels.shape:
        raise ShapeError(f"{predicted.shape} predicted classes came with {labels.shape} labels")
    if not predicted.size:
        raise DataError("there are no examples to measure")
