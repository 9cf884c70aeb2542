"""Samples that belong together, such as those of a writer or a patient, and validation that does not tear them apart.

A network that has seen a writer knows the hand; validated on the same writer, it looks better than it is on others.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset
from tatami.data.splits import require_fraction
from tatami.errors import DataError, SettingError, unknown_name
from tatami.random import RandomKey

Counts = NDArray[np.int64]


def groups_of(dataset: Dataset, text: str) -> list[str]:
    """Return the group of each sample.

    Args:
        dataset: with columns, such as the CSV file's, or 'file' and 'folder' of a folder of images.
        text: the name of a column, or 'column:expression': what a regular expression finds in it, its first group if
            it has one.

    >>> files = np.array(["a/anna-1.png", "a/ben-1.png", "b/anna-2.png"])
    >>> data = Dataset("toy", np.zeros((3, 2)), np.array([0, 0, 1]), columns={"file": files})
    >>> groups_of(data, "file:([a-z]+)-")
    ['anna', 'ben', 'anna']

    Raises:
        SettingError: data without columns, or no regular expression.
        UnknownNameError: no such column.
        DataError: a sample in which nothing is found.
    """
    name, colon, expression = text.partition(":")
    if not dataset.columns:
        raise SettingError(
            f"{dataset.name}: nothing is known of its images to group them by; CSV files and folders of "
            f"images have columns"
        )
    if name not in dataset.columns:
        raise unknown_name("column", name, dataset.columns)
    values = [str(value) for value in dataset.columns[name]]
    if not colon:
        return values
    try:
        pattern = re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise SettingError(f"{expression!r} is not a regular expression: {error}") from error
    found = [pattern.search(value) for value in values]
    if None in found:
        raise DataError(f"{dataset.name}: {expression!r} finds nothing in {values[found.index(None)]!r}")
    return [match[1 if pattern.groups else 0] or "" for match in found if match is not None]


def numbered_groups(dataset: Dataset, groups: Sequence[object]) -> tuple[list[object], NDArray[np.int64]]:
    """Return the different groups in the order in which they come, and (N,) the number of each sample's group.

    Raises:
        SettingError: not one group for each sample.
    """
    if len(groups) != len(dataset):
        raise SettingError(f"{dataset.name}: {len(dataset)} samples need as many groups, got {len(groups)}")
    names = list(dict.fromkeys(groups))
    number = {name: at for at, name in enumerate(names)}
    return names, np.array([number[group] for group in groups], np.int64)


def split_off_validation_groups(
    dataset: Dataset, groups: Sequence[object], fraction: float, seed: int
) -> tuple[Dataset, Dataset]:
    """Divide the images to train on into those to learn from and those to validate on, and tear no group apart.

    Wanted are w[k] = round(fraction · n[k]) of the n[k] images of class k, as
    `tatami.data.splits.split_off_validation` takes them. Groups, in an order drawn from the seed, change sides as
    long as that makes Σ (w[k] - v[k])² smaller, where v[k] images of class k are for validation. Every class keeps
    images to learn from. Where every group is larger than is wanted, the one that comes nearest is taken.

    Args:
        dataset: the images to train on.
        groups: what each image belongs to, such as its writer.
        fraction: the share for validation, above 0 and below 1.
        seed: the seed of the run.

    >>> data = Dataset("toy", np.arange(8.0)[:, None], np.array([0, 1] * 4))
    >>> learn, validate = split_off_validation_groups(data, list("aabbccdd"), 0.25, seed=1)
    >>> len(learn), len(validate), validate.labels.tolist()
    (6, 2, [0, 1])

    Returns:
        The data set to learn from and the one to validate on, both in the order of ``dataset``.

    Raises:
        SettingError: a fraction out of range, or not one group for each sample.
        DataError: no group can be spared: there is only one, or each holds all images of a class.
    """
    require_fraction(fraction)
    names, members = numbered_groups(dataset, groups)
    if len(names) < 2:
        raise DataError(
            f"{dataset.name}: all {len(dataset)} images are of one group, {str(names[0])!r}; validating on it leaves "
            f"none to learn from. Group by something that tells more images apart, or validate on none"
        )
    counts = dataset.class_counts()
    held = classes_in_groups(members, dataset.labels, len(names))
    # The images of each class that are still wanted, and those that validation may yet take.
    wanted = np.minimum(np.round(fraction * counts).astype(np.int64), np.maximum(counts - 1, 0))
    spare = np.maximum(counts - 1, 0)
    order = RandomKey(seed).permutation("validation/groups", len(names)).tolist()
    for_validation = settled(held, wanted, spare, order)
    if not for_validation.any():
        for_validation[nearest(dataset, names, held, wanted, spare, order)] = True
    chosen = for_validation[members]
    return dataset.take(np.flatnonzero(~chosen)), dataset.take(np.flatnonzero(chosen))


def classes_in_groups(
    members: NDArray[np.int64], labels: NDArray[np.int64], groups: int
) -> list[tuple[Counts, Counts]]:
    """Return the classes of each group, and how many images of each it holds."""
    # Only the classes that are there: a table of all groups and all classes can be far larger than the data.
    classes = int(labels.max()) + 1
    pairs, counts = np.unique(members * classes + labels, return_counts=True)
    ends = np.searchsorted(pairs, np.arange(1, groups) * classes)
    return list(zip(np.split(pairs % classes, ends), np.split(counts, ends), strict=True))


def settled(
    held: list[tuple[Counts, Counts]], wanted: Counts, spare: Counts, order: list[int]
) -> NDArray[np.bool_]:
    """Return which groups validate: groups change sides until no single one brings the parts nearer to the wanted."""
    missing, left = wanted.copy(), spare.copy()
    taken = np.zeros(len(held), np.bool_)
    moving = True
    while moving:
        moving = False
        for group in order:
            classes, counts = held[group]
            change = -counts if taken[group] else counts
            # Σ (missing - change)² - Σ missing²; it is whole and falls with every move, so that this ends.
            if (change * (change - 2 * missing[classes])).sum() < 0 and (change <= left[classes]).all():
                missing[classes] -= change
                left[classes] -= change
                taken[group] = not taken[group]
                moving = True
    return taken


def nearest(
    dataset: Dataset, names: list[object], held: list[tuple[Counts, Counts]], wanted: Counts, spare: Counts,
    order: list[int],
) -> int:  # fmt: skip
    """Return the group that comes nearest to what is wanted, of those that leave every class images to learn from."""
    possible = [group for group in order if (held[group][1] <= spare[held[group][0]]).all()]
    if not possible:
        classes, counts = held[order[0]]
        label = int(classes[int(np.argmax(counts > spare[classes]))])
        raise DataError(
            f"{dataset.name}: none of {len(names)} groups can be validated on, as each holds all images of a class, "
            f"such as group {str(names[order[0]])!r} those of class {dataset.class_names[label]!r}; group by something "
            f"that divides the classes, or validate on none"
        )
    return min(
        possible,
        key=lambda group: int((held[group][1] * (held[group][1] - 2 * wanted[held[group][0]])).sum()),
    )
