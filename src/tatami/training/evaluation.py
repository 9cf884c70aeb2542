"""How good a model is on images whose targets are known.

`Evaluation` is of classes: loss, accuracy, which classes it confuses and which images it misjudges. `TaskEvaluation` is
of every other task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.metrics import confusion_matrix, predicted_classes


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a set of images.

    Args:
        loss: as the loss's reduction says: mean or sum over the images.
        probabilities: (N, classes) as predicted.
        labels: (N,) true classes.
    """

    loss: float
    probabilities: NDArray[np.floating]
    labels: NDArray[np.int64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) classes with the highest probability."""
        return predicted_classes(self.probabilities)

    @property
    def correct(self) -> int:
        """Number of images classified correctly."""
        return int(np.count_nonzero(self.predicted == self.labels))

    @property
    def accuracy(self) -> float:
        """Share of images classified correctly."""
        return self.correct / len(self.labels)

    @property
    def measures(self) -> dict[str, float]:
        """What was measured beside the loss."""
        return {"accuracy": self.accuracy}

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes): rows are true classes, columns predicted ones."""
        return confusion_matrix(self.predicted, self.labels, self.probabilities.shape[1])

    def worst(self, count: int) -> NDArray[np.int64]:
        """Return the numbers of the images whose true class got the lowest probability, the worst first."""
        true = self.probabilities[np.arange(len(self.labels)), self.labels]
        return np.argsort(true, kind="stable")[:count].astype(np.int64)


@dataclass(frozen=True)
class TaskEvaluation:
    """What was measured on a set of examples, for any task but classification.

    Args:
        task: name of the task.
        loss: as the loss's reduction says: mean or sum over the examples.
        measures: by name, the most important first (`tatami.training.measures`).
        predictions: (N, …) what the model says: numbers, the class of every place, or reconstructions.
        targets: (N, …) what is true, alike.
        scores: (N,) how far off each example is; larger is worse.
        tally: sums that the measures follow from.
    """

    task: str
    loss: float
    measures: Mapping[str, float]
    predictions: NDArray[Any]
    targets: NDArray[Any]
    scores: NDArray[np.float64]
    tally: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.scores)

    def worst(self, count: int) -> NDArray[np.int64]:
        """Return the numbers of the examples that are furthest off, the worst first."""
        return np.argsort(-self.scores, kind="stable")[:count].astype(np.int64)


@dataclass(frozen=True)
class Confusion:
    """How often one class was taken for another."""

    true_class: str
    predicted_class: str
    count: int
    of: int


def most_confused(confusion: NDArray[np.int64], class_names: Sequence[str], count: int) -> list[Confusion]:
    """Return the pairs of classes that are confused most often.

    >>> pairs = most_confused(np.array([[9, 1], [3, 7]]), ["cat", "dog"], 5)
    >>> [(pair.true_class, pair.predicted_class, pair.count, pair.of) for pair in pairs]
    [('dog', 'cat', 3, 10), ('cat', 'dog', 1, 10)]
    """
    totals = confusion.sum(axis=1)
    pairs = [
        Confusion(class_names[row], class_names[column], int(confusion[row, column]), int(totals[row]))
        for row, column in np.argwhere(confusion > 0)
        if row != column
    ]
    return sorted(pairs, key=lambda pair: -pair.count)[:count]
