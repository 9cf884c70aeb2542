"""What a data set looks like in numbers: classes, brightness, duplicates, labels that may be wrong."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset
from tatami.data.preprocessing import mean_and_deviation

NEIGHBOURS = 5
MOST_COMPARED = 4000
MOST_FEATURES = 1024
BLOCK = 500


@dataclass(frozen=True)
class Duplicate:
    """Samples with exactly the same values, in the order of the data, and their labels."""

    samples: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def contradicts_itself(self) -> bool:
        """Whether the same image has two labels."""
        return len(set(self.labels)) > 1


@dataclass(frozen=True)
class Suspect:
    """A sample whose nearest neighbours all belong to one other class."""

    sample: int
    label: int
    neighbours: int


def channel_statistics(dataset: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of each channel (of all features together for vectors)."""
    axes = (0, *range(2, dataset.images.ndim)) if dataset.images.ndim > 2 else (0, 1)
    mean, deviation = mean_and_deviation(dataset.images, axes)
    return np.atleast_1d(mean).ravel(), np.atleast_1d(deviation).ravel() ** 2


def duplicates(dataset: Dataset) -> list[Duplicate]:
    """Return the groups of samples that are equal, by the SHA-256 of their bytes.

    >>> data = Dataset("toy", np.array([[1, 2], [3, 4], [1, 2]]), np.array([0, 1, 1]))
    >>> duplicates(data)
    [Duplicate(samples=(0, 2), labels=(0, 1))]
    """
    groups: dict[bytes, list[int]] = {}
    for number in range(len(dataset)):
        digest = hashlib.sha256(np.ascontiguousarray(dataset.images[number]).tobytes()).digest()
        groups.setdefault(digest, []).append(number)
    return [
        Duplicate(tuple(samples), tuple(int(dataset.labels[sample]) for sample in samples))
        for samples in groups.values()
        if len(samples) > 1
    ]


def suspicious_labels(dataset: Dataset) -> list[Suspect]:
    """Return samples whose five nearest neighbours agree on another class; look at them, some are only unusual.

    Of large data sets the first 4,000 samples are compared, by at most 1,024 evenly spread values each.
    """
    count = min(len(dataset), MOST_COMPARED)
    values = np.stack([features(dataset.images[number]) for number in range(count)])
    labels = dataset.labels[:count]
    if count <= NEIGHBOURS:
        return []
    squares = (values**2).sum(axis=1)
    suspects = []
    for start in range(0, count, BLOCK):
        rows = np.arange(start, min(start + BLOCK, count))
        distances = squares[rows, None] + squares[None] - 2 * values[rows] @ values.T
        distances[np.arange(len(rows)), rows] = np.inf
        nearest = labels[np.argpartition(distances, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]]
        agree = (nearest == nearest[:, :1]).all(axis=1) & (nearest[:, 0] != labels[rows])
        suspects += [
            Suspect(int(rows[at]), int(labels[rows[at]]), int(nearest[at, 0])) for at in np.flatnonzero(agree)
        ]
    return suspects


def features(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return at most 1,024 values of a sample, evenly spread."""
    flat = np.asarray(image, dtype=np.float64).ravel()
    return np.asarray(flat[:: -(-len(flat) // MOST_FEATURES)])
