"""Loading data for a task: the same names, folders and files mean different targets for different tasks."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.class_folders import class_folders
from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat, check_finite
from tatami.data.files import IMAGE_NAMES
from tatami.data.image_files import checked_size, read_pixels, size_and_colour
from tatami.data.image_folder import common_size, images_below
from tatami.data.masks import has_pairs, kept, load_masks
from tatami.data.npz import read_arrays
from tatami.data.numbers import load_numbers
from tatami.data.on_demand import largest_value
from tatami.data.sources import NAMES, load
from tatami.data.splits import split_off_test
from tatami.data.texts import load_text, load_text_table
from tatami.errors import DataError, SettingError, unknown_name

TEXTS = (".txt", ".text", ".md")
TARGET_NAMES = ("targets", "masks", "labels", "y", "target")


def load_for_task(
    name: str,
    task: str | None = None,
    data_folder: str | Path | None = None,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    skipped: list[str] | None = None,
    targets: Sequence[str] = (),
    length: int | None = None,
) -> DatasetSplits:
    """Load a data set for a task.

    Args:
        name: a named data set, or the path of a folder or file.
        task: classify, regress, segment, reconstruct or sequence; None takes what the data are made for.
        data_folder: see `tatami.data.load`.
        size: (height, width) to bring images to.
        channels: 1 for grey, 3 for colour.
        skipped: see `tatami.data.load`.
        targets: columns of a CSV file to learn.
        length: letters in a piece of text.

    Raises:
        UnknownNameError: neither a known name nor a path.
        DataError: files are missing, damaged, or do not fit together.

    >>> load_for_task("shapes").train.target_names
    ('ground', 'disc', 'square')
    """
    place = Path(name).expanduser()
    suffix = place.suffix.lower()
    if name not in NAMES and place.is_file():
        if length is not None and suffix not in (*TEXTS, ".csv"):
            raise SettingError(f"{name}: a length is a setting of texts")
        if targets and suffix != ".csv":
            raise SettingError(f"{name}: columns to learn are a setting of CSV files")
        if suffix in TEXTS:
            return load_text(place, length)
        if suffix == ".csv" and has_column(place, "text") and not targets:
            return load_text_table(place, length)
        if suffix == ".csv" and (task == "regress" or targets):
            return load_numbers(place, targets, size, channels)
        if suffix == ".npz" and task != "classify":
            return load_arrays_for(place, task)
    elif targets or length is not None:
        what = "columns to learn are a setting of CSV files" if targets else "a length is a setting of texts"
        raise SettingError(f"{name}: {what}")
    if name not in NAMES and place.is_dir():
        if task in (None, "segment") and has_pairs(place):
            return load_masks(place, size, channels)
        if task == "reconstruct" and len(class_folders(train_part(place))) < 2:
            return load_plain_images(train_part(place), size, channels)
    return load(name, data_folder, size=size, channels=channels, skipped=skipped)


def train_part(folder: Path) -> Path:
    """Return a folder's train/ if it has one, else itself."""
    return folder / "train" if (folder / "train").is_dir() else folder


def has_column(table: Path, column: str) -> bool:
    """Say whether a CSV file has a column."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            return column in next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8 ({error})") from error


def load_plain_images(
    folder: Path, size: int | tuple[int, int] | None = None, channels: int | None = None
) -> DatasetSplits:
    """Load the images of a folder, without classes; every fifth is for testing.

    Raises:
        DataError: no images, or of different sizes.
    """
    paths = images_below(folder)
    if not paths:
        raise DataError(f"{folder}: expected images, or a sub-folder of images for each class; found neither")
    headers = {path: size_and_colour(path) for path in paths}
    depth = channels or (3 if any(colour for _, colour in headers.values()) else 1)
    spatial = (
        checked_size(size) if size else common_size({path: found for path, (found, _) in headers.items()})
    )
    images = kept(paths, (depth, *spatial), np.uint8, lambda path: read_pixels(path, depth, spatial))
    labels = np.zeros(len(paths), np.int64)
    return split_off_test(
        Dataset(folder.resolve().name, images, labels, (folder.resolve().name,), ImageFormat(maximum=255))
    )


def load_arrays_for(place: Path, task: str | None) -> DatasetSplits:
    """Load an ``.npz`` file with x and what the task needs: y as numbers, masks or classes of steps, or nothing.

    ``x_test`` with its targets is for testing, else every fifth example. ``names`` may name the classes or numbers;
    ``lengths`` say how many steps of a padded sequence count: what comes behind becomes 0, its targets do not count.
    """
    known = read_arrays(place)

    def part(suffix: str) -> Dataset | None:
        images = next((known[name + suffix] for name in IMAGE_NAMES if name + suffix in known), None)
        if images is None:
            return None
        targets = next((known[name + suffix] for name in TARGET_NAMES if name + suffix in known), None)
        lengths = known.get(f"lengths{suffix}")
        return dataset_of(place, task, images, targets, lengths, known.get("names"))

    train, test = part("") or part("_train"), part("_test")
    if train is None:
        raise DataError(f"{place}: expected the array x (or images), it holds {', '.join(known) or 'none'}")
    return DatasetSplits(train=train, test=test) if test else split_off_test(train)


def dataset_of(
    place: Path,
    task: str | None,
    images: NDArray[Any],
    targets: NDArray[Any] | None,
    lengths: NDArray[Any] | None,
    names: NDArray[Any] | None,
) -> Dataset:
    """Return arrays as a data set; labels (N,) of whole numbers stay labels."""
    if images.dtype.kind not in "uif":
        raise DataError(f"{place}: expected numbers for x, got {images.dtype}")
    if images.ndim == 3 and task in ("segment", "reconstruct"):
        images = images[:, None]
    if lengths is not None:
        images, targets = cut_off(place, images, targets, lengths)
    check_finite(place.stem, images)
    top = 255.0 if images.dtype == np.uint8 else max(1.0, largest_value(images))
    form = ImageFormat(maximum=top)
    given = tuple(str(name) for name in names) if names is not None else ()
    nothing = np.zeros(len(images), np.int64)
    if targets is None:
        if task not in (None, "reconstruct"):
            raise DataError(f"{place}: task {task} needs targets: an array y (or masks) beside x")
        return Dataset(place.stem, images, nothing, ("",), form)
    if targets.dtype.kind not in "buif":
        raise DataError(f"{place}: expected numbers for y, got {targets.dtype}")
    if task == "regress" or targets.dtype.kind == "f":
        values = targets.astype(np.float32)
        values = values[:, None] if values.ndim == 1 else values
        return Dataset(
            place.stem, images, nothing, ("",), form, values, given or numbered("y", values.shape[1])
        )
    if targets.ndim == 1:
        return Dataset(place.stem, images, targets, given, form)
    classes = targets.astype(np.int32)
    count = max(int(classes.max()) + 1, 2)
    return Dataset(place.stem, images, nothing, ("",), form, classes, given or numbered("", count))


def numbered(stem: str, count: int) -> tuple[str, ...]:
    """Return names that are numbers; a single one needs none.

    >>> numbered("y", 1), numbered("", 2)
    (('y',), ('0', '1'))
    """
    return (stem,) if count == 1 and stem else tuple(f"{stem}{number}" for number in range(count))


def cut_off(
    place: Path, images: NDArray[Any], targets: NDArray[Any] | None, lengths: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return sequences that are 0 behind their ends, and targets of steps that do not count there."""
    steps = images.shape[-1]
    if (
        lengths.shape != (len(images),)
        or lengths.dtype.kind not in "ui"
        or lengths.min() < 1
        or lengths.max() > steps
    ):
        raise DataError(f"{place}: expected a length from 1 to {steps} for each of {len(images)} sequences")
    present = np.arange(steps) < lengths[:, None]
    along = present.reshape(len(images), *(1,) * (images.ndim - 2), steps)
    if targets is not None and targets.ndim == 2 and targets.shape[1] == steps and targets.dtype.kind in "ui":
        targets = np.where(present, targets.astype(np.int64), -1)
    return images * along.astype(images.dtype), targets


def only_classes(splits: DatasetSplits, names: Sequence[str]) -> DatasetSplits:
    """Return the examples of some classes, to train and to test on.

    Raises:
        UnknownNameError: no such class.
    """
    for name in names:
        if name not in splits.class_names:
            raise unknown_name(f"class of {splits.name}", name, splits.class_names)
    wanted = [splits.class_names.index(name) for name in names]

    def part(dataset: Dataset) -> Dataset:
        at = np.flatnonzero(np.isin(dataset.labels, wanted))
        if not len(at):
            raise DataError(f"{dataset.name}: no example of {', '.join(names)}")
        chosen = dataset.take(at)
        labels = np.searchsorted(np.sort(wanted), chosen.labels)
        return replace(
            chosen, labels=labels, class_names=tuple(splits.class_names[k] for k in sorted(wanted))
        )

    return DatasetSplits(train=part(splits.train), test=part(splits.test))
