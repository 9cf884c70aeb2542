"""Calibration: whether a model that says 90 % is right nine times out of ten."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import DataError, ShapeError
from tatami.inspect.gradients import require_count


@dataclass(frozen=True)
class Calibration:
    """Confidence and accuracy in bins of confidence, (j - 1)/bins < p ≤ j/bins; bins without an image hold NaN.

    Attributes:
        edges: limits of the bins, one more than bins.
        counts: images in each bin.
        confidence: their mean probability for the predicted class.
        accuracy: the share of them that is right.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error: Σ_j n(j)/n · |accuracy(j) - confidence(j)|."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(np.sum(self.counts[filled] * gaps) / self.counts.sum())


def calibration(probabilities: NDArray[Any], labels: NDArray[Any], *, bins: int = 10) -> Calibration:
    """Compare how sure a model is with how often it is right.

    Args:
        probabilities: (N, classes).
        labels: (N,) true classes.
        bins: of equal width from 0 to 1.

    >>> sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> curve = calibration(sure, np.array([0, 1, 1, 1]), bins=2)
    >>> curve.counts, curve.accuracy, round(curve.error, 3)
    (array([0, 4]), array([ nan, 0.75]), 0.05)

    Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017), eq. 3.
    """
    require_count("bins", bins)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ShapeError(
            f"calibration: expected probabilities (N, classes) and labels (N,), got {probabilities.shape} and "
            f"{labels.shape}"
        )
    if len(labels) == 0:
        raise DataError("calibration: there are no examples")
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = np.argmax(probabilities, axis=1) == labels
    at = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(at, minlength=bins)
    filled = np.where(counts > 0, counts, np.nan)
    return Calibration(
        np.linspace(0, 1, bins + 1),
        counts.astype(np.int64),
        np.bincount(at, confidence, bins) / filled,
        np.bincount(at, right, bins) / filled,
    )
