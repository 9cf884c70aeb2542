"""Dividing a data set, class by class, so that every part has the same mixture of classes."""

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits
from tatami.errors import DataError, SettingError
from tatami.random import RandomKey

# Of every five images of a class the third one is for testing: 20 %, and never the only one.
TEST_PERIOD = 5
TEST_POSITION = 2


def positions_within_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for every sample how many samples of the same class stand before it.

    >>> positions_within_class(np.array([3, 1, 3, 3, 1]))
    array([0, 0, 1, 2, 1])
    """
    order = np.argsort(labels, kind="stable")
    sorted_labels = labels[order]
    first_of_class = np.searchsorted(sorted_labels, sorted_labels, side="left")
    positions = np.empty(len(labels), dtype=np.int64)
    positions[order] = np.arange(len(labels)) - first_of_class
    return positions


def split_off_test(dataset: Dataset) -> DatasetSplits:
    """Divide a data set that comes without test images by a fixed rule, with nothing random in it.

    Samples 2, 7, 12, … of each class, counted from 0 in the order of the data, are for testing: 20 %.

    Raises:
        DataError: no class has three images, so that nothing would be left to test on.
    """
    tested = positions_within_class(dataset.labels) % TEST_PERIOD == TEST_POSITION
    if not tested.any():
        raise DataError(
            f"{dataset.name}: no class has more than {TEST_POSITION} images, so none can be kept for testing; "
            f"add images, or divide them yourself into train/ and test/"
        )
    return DatasetSplits(
        train=dataset.take(np.flatnonzero(~tested)), test=dataset.take(np.flatnonzero(tested))
    )


def split_off_validation(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Divide the images to train on into those to learn from and those to validate on, at random in each class.

    Of the n images of a class, round(fraction · n) are for validation, but never all of them. The choice
    depends on nothing but the seed.

    Args:
        dataset: the images to train on.
        fraction: the share for validation, above 0 and below 1.
        seed: the seed of the run.

    Returns:
        The data set to learn from and the one to validate on, both in the order of ``dataset``.

    Raises:
        SettingError: a fraction out of range.
        DataError: too few images for a validation part.
    """
    require_fraction(fraction)
    key = RandomKey(seed)
    chosen = np.zeros(len(dataset), dtype=np.bool_)
    for label in range(len(dataset.class_names)):
        members = np.flatnonzero(dataset.labels == label)
        if len(members):
            count = min(round(fraction * len(members)), len(members) - 1)
            chosen[members[key.permutation(f"validation/{label}", len(members))[:count]]] = True
    if not chosen.any():
        raise DataError(
            f"{dataset.name}: {fraction:g} of {len(dataset)} images in {len(dataset.class_names)} classes leaves "
            f"none to validate on; use a larger fraction or more images"
        )
    return dataset.take(np.flatnonzero(~chosen)), dataset.take(np.flatnonzero(chosen))


def require_fraction(fraction: float) -> None:
    """Raise unless a share can be split off."""
    if not 0 < fraction < 1:
        raise SettingError(f"the validation fraction must be above 0 and below 1, got {fraction!r}")
