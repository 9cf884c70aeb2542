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
# Correlation from which two pictures are taken for one: JPEG, noise and light leave more, another hand leaves less.
LEAST_ALIKE = 0.995
MOST_PAIRS = 1000
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


@dataclass(frozen=True)
class NearDuplicate:
    """Two samples that are nearly the same picture, and the correlation of the two."""

    samples: tuple[int, int]
    alike: float


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
        groups.setdefault(fingerprint(dataset, number), []).append(number)
    return [
        Duplicate(tuple(samples), tuple(int(dataset.labels[sample]) for sample in samples))
        for samples in groups.values()
        if len(samples) > 1
    ]


def suspicious_labels(dataset: Dataset) -> list[Suspect]:
    """Return samples whose five nearest neighbours agree on another class; look at them, some are only unusual.

    Of large data sets the first 4,000 samples are compared, by the means of at most 1,024 blocks each.
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


def near_duplicates(dataset: Dataset) -> list[NearDuplicate]:
    """Return pairs of samples that are nearly the same picture: saved again, a little brighter, with noise.

    Compared are the means of at most 1,024 blocks of each sample, by their correlation; equal samples are `duplicates`
    and left out here. Of large data sets the first 4,000 samples are compared, and at most 1,000 pairs returned, the
    most alike first.

    >>> ramp = np.arange(64.0).reshape(1, 8, 8)
    >>> data = Dataset("toy", np.stack([ramp, ramp[:, ::-1], ramp * 0.9 + 5]), np.array([0, 1, 0]))
    >>> [near.samples for near in near_duplicates(data)]
    [(0, 2)]
    """
    count = min(len(dataset), MOST_COMPARED)
    values = np.stack([features(dataset.images[number]) for number in range(count)])
    values -= values.mean(axis=1, keepdims=True)
    lengths = np.sqrt((values**2).sum(axis=1, keepdims=True))
    # A flat picture has nothing to be compared by.
    values = np.where(lengths > 0, values / np.maximum(lengths, 1e-30), 0)
    found: list[NearDuplicate] = []
    for start in range(0, count, BLOCK):
        alike = values[start : start + BLOCK] @ values.T
        for row, column in np.argwhere(alike >= LEAST_ALIKE):
            first, second = int(start + row), int(column)
            if first < second and not np.array_equal(dataset.images[first], dataset.images[second]):
                found.append(NearDuplicate((first, second), float(alike[row, column])))
        found = sorted(found, key=lambda near: (-near.alike, near.samples))[:MOST_PAIRS]
    return found


def in_both(train: Dataset, test: Dataset) -> list[tuple[int, int]]:
    """Return pairs of a sample to train on and one to test on that are equal: what is tested has been seen."""
    seen: dict[bytes, int] = {}
    for number in range(len(train)):
        seen.setdefault(fingerprint(train, number), number)
    prints = ((fingerprint(test, number), number) for number in range(len(test)))
    return [(seen[found], number) for found, number in prints if found in seen]


def fingerprint(dataset: Dataset, number: int) -> bytes:
    """Return the SHA-256 of a sample's values."""
    return hashlib.sha256(np.ascontiguousarray(dataset.images[number]).tobytes()).digest()


def features(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return at most 1,024 values of a sample: the means of blocks of an image, evenly spread values of a vector.

    >>> features(np.arange(16.0).reshape(1, 4, 4)).size, features(np.zeros((3, 100, 200))).size <= MOST_FEATURES
    (16, True)
    """
    values = np.asarray(image, dtype=np.float64)
    if values.ndim > 1:
        rank = values.ndim - 1
        side = max(1, int((MOST_FEATURES / values.shape[0]) ** (1 / rank)))
        for axis, size in enumerate(values.shape[1:], start=1):
            block = -(-size // side)
            starts = np.arange(0, size, block)
            sizes = np.diff([*starts, size]).reshape(-1, *(1,) * (rank - axis))
            values = np.add.reduceat(values, starts, axis=axis) / sizes
    flat = values.ravel()
    return np.asarray(flat[:: -(-len(flat) // MOST_FEATURES)])
