"""Samples in class folders that are no images: from their files to a data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tatami.data.class_folders import class_folders, files_with, is_folder, visible
from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.image_folder import any_class_folders, file_columns
from tatami.data.on_demand import DecodedFiles
from tatami.data.splits import positions_within_class, split_off_test
from tatami.errors import DataError

LARGEST_KEPT_BYTES = 2 * 2**30


@dataclass(frozen=True)
class ClassFiles:
    """The files, or folders, of each class: those to train on, and those to test on if they are kept apart."""

    train: dict[str, list[Path]]
    test: dict[str, list[Path]] | None = None

    @property
    def paths(self) -> list[Path]:
        """All of them, class by class."""
        return [path for part in (self.train, self.test or {}) for paths in part.values() for path in paths]


def files_by_class(root: Path, suffixes: Sequence[str]) -> ClassFiles:
    """Return the files of each class folder, at any depth; raise if there are too few classes, or one is empty."""
    return by_class(root, lambda place: files_with(place, suffixes), " or ".join(suffixes) + " files")


def folders_by_class(root: Path) -> ClassFiles:
    """Return the sub-folders of each class folder; raise if there are fewer than two classes or an empty one."""
    return by_class(
        root, lambda place: [path for path in visible(place) if is_folder(path)], "sub-folders with frames"
    )


def by_class(root: Path, find: Callable[[Path], list[Path]], what: str) -> ClassFiles:
    """Return what is found in each class folder, below train/ and test/ where they are."""
    if not is_folder(root):
        raise DataError(f"{root}: no such folder")
    if not any_class_folders(root / "train"):
        return ClassFiles(found_in(root, find, what))
    train = found_in(root / "train", find, what)
    if not is_folder(root / "test"):
        return ClassFiles(train)
    test = found_in(root / "test", find, what, least=1)
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise DataError(f"{root / 'test'}: no such class in train/: {', '.join(unknown)}")
    return ClassFiles(train, {name: test.get(name, []) for name in train})


def found_in(
    root: Path, find: Callable[[Path], list[Path]], what: str, least: int = 2
) -> dict[str, list[Path]]:
    """Return what is found in each class folder of one part."""
    found = {name: find(place) for name, place in class_folders(root).items()}
    if len(found) < least:
        raise DataError(f"{root}: expected at least two sub-folders, one for each class, found {len(found)}")
    for name, paths in found.items():
        if not paths:
            raise DataError(f"{root / name}: the class has no {what}; add some or remove it")
    return found


def in_turn(
    root: Path,
    files: ClassFiles,
    decode: Callable[[Path], NDArray[Any]],
    sample: tuple[tuple[int, ...], Any],
    sample_format: ImageFormat,
) -> DatasetSplits:
    """Return the samples of all classes in turn, in memory or above 2 GiB on demand; without test/ they are divided.

    Args:
        root: the folder with the classes.
        files: of each class.
        decode: reads one.
        sample: shape and type of a sample.
        sample_format: what the samples have in common.
    """

    def part(found: dict[str, list[Path]]) -> Dataset:
        labels = np.repeat(np.arange(len(found)), [len(paths) for paths in found.values()])
        order = np.lexsort((labels, positions_within_class(labels)))
        paths = [path for each in found.values() for path in each]
        ordered = [paths[at] for at in order]
        samples = DecodedFiles(ordered, *sample, decode)
        images = np.asarray(samples) if samples.nbytes <= LARGEST_KEPT_BYTES else cast(NDArray[Any], samples)
        return Dataset(
            root.resolve().name, images, labels[order], tuple(found), sample_format,
            columns=file_columns(root, ordered),
        )  # fmt: skip

    if files.test is None:
        return split_off_test(part(files.train))
    return DatasetSplits(train=part(files.train), test=part(files.test))
