"""Anomalies are what an autoencoder that has only seen normal examples cannot give back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data import Dataset
from tatami.errors import DataError, SettingError
from tatami.metrics import area_under_curve, roc_curve
from tatami.program import Program
from tatami.training.model import EVALUATION_BATCH, Model
from tatami.training.tasks import Reconstruct


@dataclass(frozen=True)
class Detection:
    """How well a threshold tells anomalies from normal examples.

    Attributes:
        area: area under the ROC curve: the chance that an anomaly scores higher than a normal example.
        found: share of the anomalies above the threshold.
        false_alarms: share of the normal examples above it.
        curve: shares of false alarms and of anomalies found, over all thresholds.
    """

    area: float
    found: float
    false_alarms: float
    curve: tuple[NDArray[np.float64], NDArray[np.float64]]


def reconstruction_errors(model: Model, images: Any, program: Program | None = None) -> NDArray[np.float64]:
    """Return how badly a model gives each raw image back: the mean squared error, in units of the network's input.

    No noise is added, even if the network was trained to remove some.

    Raises:
        SettingError: a model of another task.
    """
    if not isinstance(model.task, Reconstruct):
        raise SettingError(
            f"network {model.network.name} was trained to {model.task.name}; anomalies are found by one that was "
            f"trained with --task reconstruct on normal examples"
        )
    planned = program or model.program()
    scores = []
    for start in range(0, len(images), EVALUATION_BATCH):
        clean = model.preprocessing.apply(np.asarray(images[start : start + EVALUATION_BATCH]), planned.dtype)
        predicted = planned.predict(model.parameters, clean, state=model.state)
        scores.append(model.task.scores(predicted, clean))
    if not scores:
        raise DataError("there is no image to score")
    return np.concatenate(scores)


def threshold_for(scores: NDArray[np.float64], false_alarms: float) -> float:
    """Return the smallest score of normal examples that leaves at most a share of them above it.

    What scores higher counts as an anomaly. With 0 it is the largest score.

    Args:
        scores: of normal examples that the network has not learned from.
        false_alarms: the share of normal examples that may raise a false alarm, from 0 up to, but not including, 1.

    >>> threshold_for(np.arange(1.0, 101.0), 0.05)
    95.0
    """
    if not 0 <= false_alarms < 1:
        raise SettingError(f"false alarms: a share from 0 up to, but not including, 1, got {false_alarms!r}")
    if not len(scores):
        raise DataError("there is no normal example to choose a threshold by")
    allowed = int(np.floor(false_alarms * len(scores) + 1e-9))
    return float(np.sort(scores)[len(scores) - 1 - allowed])


def detection(scores: NDArray[np.float64], strange: NDArray[np.bool_], threshold: float) -> Detection:
    """Measure a threshold on examples of which it is known whether they are strange.

    Raises:
        DataError: only examples of one kind.

    >>> measured = detection(np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, False, True, True]), 0.15)
    >>> measured.area, measured.found, measured.false_alarms
    (1.0, 1.0, 0.5)
    """
    false_alarms, found, _ = roc_curve(scores, strange)
    above = scores > threshold
    return Detection(
        area=area_under_curve(scores, strange),
        found=float(above[strange].mean()),
        false_alarms=float(above[~strange].mean()),
        curve=(false_alarms, found),
    )


def normal_examples(learned: Dataset, validation: Dataset | None) -> tuple[Dataset, str]:
    """Return the examples that a threshold is chosen by, and what they are: those to validate on, if there are any."""
    return (learned, "training") if validation is None else (validation, "validation")
