"""Cross-validation: every sample is tested on once, by a network that has not learned from it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits
from tatami.errors import DataError, SettingError
from tatami.random import RandomKey


def stratified_folds(dataset: Dataset, count: int, seed: int = 0) -> list[DatasetSplits]:
    """Divide a data set into ``count`` parts with the same mixture of classes; each is once the one to test on.

    Raises:
        SettingError: fewer than two parts.
        DataError: a class has fewer images than there are parts.
    """
    require_count(dataset, count)
    key = RandomKey(seed)
    part = np.empty(len(dataset), np.int64)
    turn = 0
    for label, name in enumerate(dataset.class_names):
        members = np.flatnonzero(dataset.labels == label)
        if len(members) < count:
            raise DataError(
                f"{dataset.name}: class {name!r} has {len(members)} images, too few for {count} folds; use fewer folds"
            )
        order = key.permutation(f"folds/{label}", len(members))
        # The next class goes on where this one ended, so that the parts differ by one image at most.
        part[members[order]] = (turn + np.arange(len(members))) % count
        turn += len(members)
    return splits_of(dataset, part, count)


def group_folds(dataset: Dataset, groups: Sequence[object], count: int, seed: int = 0) -> list[DatasetSplits]:
    """Divide a data set so that samples of a group (a writer, a patient) never lie in two parts.

    Groups are dealt out from the largest to the smallest, each to the smallest part so far.

    Raises:
        SettingError: fewer than two parts, or not one group for each sample.
        DataError: fewer groups than parts, or a part whose absence leaves a class without images to train on.
    """
    require_count(dataset, count)
    if len(groups) != len(dataset):
        raise SettingError(f"{dataset.name}: {len(dataset)} samples need as many groups, got {len(groups)}")
    names = list(dict.fromkeys(groups))
    if len(names) < count:
        raise DataError(
            f"{dataset.name}: {len(names)} groups cannot be divided into {count} folds; use fewer folds"
        )
    number = {name: at for at, name in enumerate(names)}
    members = np.array([number[group] for group in groups])
    sizes = np.bincount(members)
    shuffled = RandomKey(seed).permutation("groups", len(names))
    loads = np.zeros(count, np.int64)
    part_of_group = np.empty(len(names), np.int64)
    for group in sorted(shuffled.tolist(), key=lambda group: -int(sizes[group])):
        part_of_group[group] = int(np.argmin(loads))
        loads[part_of_group[group]] += sizes[group]
    return splits_of(dataset, part_of_group[members], count)


def require_count(dataset: Dataset, count: int) -> None:
    """Raise unless there are at least two folds."""
    if count < 2:
        raise SettingError(f"{dataset.name}: cross-validation needs at least 2 folds, got {count}")


def splits_of(dataset: Dataset, part: NDArray[np.int64], count: int) -> list[DatasetSplits]:
    """Return for each part the data set without it, and it alone."""
    return [
        DatasetSplits(
            train=dataset.take(np.flatnonzero(part != number)),
            test=dataset.take(np.flatnonzero(part == number)),
        )
        for number in range(count)
    ]
