"""Bringing other data to what a model was trained on: the same letters, and the same classes by their names."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tatami.data.dataset import Dataset, DatasetSplits
from tatami.data.texts import TextFormat
from tatami.errors import DataError


def matched(splits: DatasetSplits, form: object, names: Sequence[str]) -> DatasetSplits:
    """Return data whose letters and classes of places are numbered as a model numbers them.

    Args:
        splits: other data.
        form: the image format of the model.
        names: what its outputs mean.

    Raises:
        DataError: a letter or class that the model does not know.
    """
    return DatasetSplits(
        train=matched_part(splits.train, form, names), test=matched_part(splits.test, form, names)
    )


def matched_part(dataset: Dataset, form: object, names: Sequence[str]) -> Dataset:
    """Return one part of the data, numbered alike."""
    if isinstance(form, TextFormat) and isinstance(dataset.format, TextFormat):
        known = {letter: number for number, letter in enumerate(form.vocabulary)}
        stranger = next((letter for letter in dataset.format.vocabulary if letter not in known), None)
        if stranger is not None and not form.padded:
            raise DataError(
                f"data set {dataset.name} holds the letter {stranger!r}, which was not in the text that the model "
                f"learned from"
            )
        table = np.array([known.get(letter, 1) for letter in dataset.format.vocabulary])
        images = table[np.asarray(dataset.images, np.int64)].astype(np.int32)
        dataset = replace(dataset, images=images, format=form)
    targets = dataset.targets
    if targets is None or targets.dtype.kind == "f" or tuple(names) == dataset.target_names:
        return dataset
    unknown = [name for name in dataset.target_names if name not in names]
    if unknown:
        raise DataError(
            f"data set {dataset.name} has the class {unknown[0]!r}, the model knows: {', '.join(map(repr, names))}"
        )
    # The last place of the table is for -1, what does not count.
    places = np.array([*(list(names).index(name) for name in dataset.target_names), -1])
    return replace(
        dataset,
        targets=places[np.asarray(targets, np.int64)].astype(np.int32),
        target_names=tuple(names),
        target_colours=(),
    )
