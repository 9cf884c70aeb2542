"""Cross-validation: every sample is tested on once, by a network that has not learned from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits
from tatami.data.groups import numbered_groups
from tatami.errors import DataError, SettingError
from tatami.random import RandomKey


@dataclass(frozen=True, eq=False)
class Folds(Sequence[DatasetSplits]):
    """The folds of a data set; each is made when it is asked for, so that the images are not held many times.

    Attributes:
        dataset: what is divided.
        part: (N,) the fold, from 0, that each sample is tested in.
        folds: how many there are.

    Raises:
        DataError: without a fold there is a class without images to train on.
    """

    dataset: Dataset
    part: NDArray[np.int64]
    folds: int

    def __post_init__(self) -> None:
        """Check that every fold can be learned from."""
        names = self.dataset.class_names
        for number in range(self.folds):
            left = np.bincount(self.dataset.labels[self.part != number], minlength=len(names))
            if (left == 0).any():
                raise DataError(
                    f"{self.dataset.name}: all images of class {names[int(np.argmin(left))]!r} would be tested on in "
                    f"one fold, none is left to learn from; use fewer folds or smaller groups"
                )

    def __len__(self) -> int:
        """Return the number of folds."""
        return self.folds

    @overload
    def __getitem__(self, number: int) -> DatasetSplits: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[DatasetSplits]: ...

    def __getitem__(self, number: int | slice) -> DatasetSplits | Sequence[DatasetSplits]:
        """Return the images to learn from and those to test on in one fold."""
        if isinstance(number, slice):
            return [self[one] for one in range(self.folds)[number]]
        chosen = self.part == range(self.folds)[number]
        return DatasetSplits(
            train=self.dataset.take(np.flatnonzero(~chosen)), test=self.dataset.take(np.flatnonzero(chosen))
        )


def stratified_folds(dataset: Dataset, count: int, seed: int = 0) -> Folds:
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
    return Folds(dataset, part, count)


def group_folds(dataset: Dataset, groups: Sequence[object], count: int, seed: int = 0) -> Folds:
    """Divide a data set so that samples of a group (a writer, a patient) never lie in two parts.

    Groups are dealt out from the largest to the smallest, each to the smallest part so far.

    Raises:
        SettingError: fewer than two parts, or not one group for each sample.
        DataError: fewer groups than parts, or a part whose absence leaves a class without images to train on.
    """
    require_count(dataset, count)
    names, members = numbered_groups(dataset, groups)
    if len(names) < count:
        raise DataError(
            f"{dataset.name}: {len(names)} groups cannot be divided into {count} folds; use fewer folds"
        )
    sizes = np.bincount(members)
    shuffled = RandomKey(seed).permutation("groups", len(names))
    loads = np.zeros(count, np.int64)
    part_of_group = np.empty(len(names), np.int64)
    for group in sorted(shuffled.tolist(), key=lambda group: -int(sizes[group])):
        part_of_group[group] = int(np.argmin(loads))
        loads[part_of_group[group]] += sizes[group]
    return Folds(dataset, part_of_group[members], count)


def require_count(dataset: Dataset, count: int) -> None:
    """Raise unless there are at least two folds."""
    if count < 2:
        raise SettingError(f"{dataset.name}: cross-validation needs at least 2 folds, got {count}")
