"""A folder of images as a data set: one sub-folder for each class, with images in it at any depth.

::

    fruit/                      fruit/
      apple/  1.png  2.png        train/  apple/ …  pear/ …
      pear/   1.png  2.png        test/   apple/ …  pear/ …

Without ``train/`` and ``test/`` every fifth image of a class is kept for testing (`tatami.data.splits`); other
folders beside those two are not read. Names that begin with a dot are ignored, and so are files that are no
images. Every format is read that Pillow decodes (`tatami.data.image_formats`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tatami.data.class_folders import class_folders, files_with, is_folder
from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.image_files import ImageFile, checked_size, read_pixels, size_and_colour
from tatami.data.image_formats import OTHER_SUFFIXES, SUFFIXES
from tatami.data.on_demand import DecodedFiles
from tatami.data.splits import positions_within_class, split_off_test
from tatami.errors import DataError, SettingError

LARGEST_BYTES = 16 * 2**30
LARGEST_KEPT_BYTES = 2 * 2**30
FORMAT = ImageFormat(maximum=255)


def load_image_folder(
    folder: str | Path,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    *,
    on_demand: bool | None = None,
    skipped: list[str] | None = None,
) -> DatasetSplits:
    """Load a folder of class sub-folders.

    The images of the classes alternate, so that the first ones hold every class. Classes are in the order of
    their names; numbers in the order of numbers.

    Args:
        folder: the folder.
        size: (height, width), or one number for both, to resize to; without it all images must be of one size.
        channels: 1 for grey, 3 for colour; without it grey if all images are.
        on_demand: decode images when a batch needs them instead of keeping all; None does so above 2 GiB.
        skipped: images that cannot be read are left out, and why is added to this list; without it they are an error.

    Raises:
        DataError: no classes, one class, a class without images, images of different sizes, unreadable images.
        SettingError: a size or a number of channels that cannot be.
    """
    root = Path(folder).expanduser()
    if not is_folder(root):
        raise DataError(f"{root}: no such folder")
    if channels not in (None, 1, 3):
        raise SettingError(f"channels must be 1 (grey) or 3 (colour), got {channels!r}")
    wanted = None if size is None else checked_size(size)
    train_files, test_files = files_of_parts(root)
    if skipped is not None:
        train_files = readable(train_files, skipped)
        test_files = None if test_files is None else readable(test_files, skipped)
    headers = {path: size_and_colour(path) for path in [*flat(train_files), *flat(test_files or {})]}
    if channels is None:
        channels = 3 if any(has_colour for _, has_colour in headers.values()) else 1
    shape = (channels, *(wanted or common_size({path: found for path, (found, _) in headers.items()})))
    train = read_classes(root, train_files, shape, on_demand)
    if test_files is None:
        return split_off_test(train)
    return DatasetSplits(train=train, test=read_classes(root, test_files, shape, on_demand))


def files_of_parts(root: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]] | None]:
    """Return the image files of each class to train on, and those to test on if the folder keeps them apart."""
    train_root, test_root = root / "train", root / "test"
    if not any_class_folders(train_root):
        return files_of_classes(root), None
    train_files = files_of_classes(train_root)
    if not is_folder(test_root):
        return train_files, None
    return train_files, files_of_known_classes(test_root, tuple(train_files))


def flat(files: dict[str, list[Path]]) -> list[Path]:
    """Return the files of all classes, class by class."""
    return [path for paths in files.values() for path in paths]


def any_class_folders(folder: Path) -> bool:
    """Say whether a folder exists and has sub-folders."""
    return is_folder(folder) and bool(class_folders(folder))


def files_of_classes(root: Path) -> dict[str, list[Path]]:
    """Return the image files of each class, or raise if these are not at least two classes with images."""
    folders = class_folders(root)
    if not folders:
        hint = "; it holds images itself" if images_below(root) else ""
        raise DataError(
            f"{root}: expected a sub-folder for each class, found none{hint}; "
            f"put the images of each class into a folder with its name"
        )
    if len(folders) == 1:
        raise DataError(
            f"{root}: only one class, {next(iter(folders))!r}; a network needs at least two to tell apart: "
            f"add another sub-folder with images"
        )
    return {name: required_images(folder) for name, folder in folders.items()}


def files_of_known_classes(root: Path, classes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Return the image files of the classes that were seen in train/; raise for others."""
    folders = class_folders(root)
    unknown = sorted(set(folders) - set(classes))
    if unknown:
        raise DataError(
            f"{root}: no such class in train/: {', '.join(unknown)}; the classes are {', '.join(classes)}"
        )
    if not folders:
        raise DataError(f"{root}: expected a sub-folder for each class, found none")
    return {name: required_images(folders[name]) if name in folders else [] for name in classes}


def required_images(folder: Path) -> list[Path]:
    """Return the images of a class, or raise if there are none."""
    images = images_below(folder)
    if not images:
        raise DataError(f"{folder}: the class has no images; add some or remove the folder")
    return images


def images_below(folder: Path) -> list[Path]:
    """Return the images below a folder in the order of their names, also those of a kind that is not read."""
    return files_with(folder, (*SUFFIXES, *OTHER_SUFFIXES))


def common_size(sizes: dict[Path, tuple[int, int]]) -> tuple[int, int]:
    """Return the (height, width) that all images have, or raise naming two that differ."""
    first, wanted = next(iter(sizes.items()))
    for path, size in sizes.items():
        if size != wanted:
            raise DataError(
                f"{path} has {size[0]} x {size[1]} pixels (height x width), {first} has {wanted[0]} x {wanted[1]}; "
                f"all images must be of one size, or give the size to bring them to (size=)"
            )
    return wanted


def readable(files: dict[str, list[Path]], skipped: list[str]) -> dict[str, list[Path]]:
    """Return the files whose images can be decoded; say of the others why not."""
    kept: dict[str, list[Path]] = {}
    for name, paths in files.items():
        kept[name] = []
        for path in paths:
            try:
                read_pixels(path, 3)
                kept[name].append(path)
            except DataError as error:
                skipped.append(str(error))
        if not kept[name]:
            raise DataError(
                f"class {name!r}: none of its {len(paths)} images can be read; the first: {skipped[-1]}"
            )
    return kept


def read_classes(
    root: Path, files: dict[str, list[Path]], shape: tuple[int, int, int], on_demand: bool | None
) -> Dataset:
    """Read the images of all classes into one array, or say how to when they are needed; the classes in turn."""
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files.values()])
    order = np.lexsort((labels, positions_within_class(labels)))
    paths = flat(files)
    ordered = [paths[at] for at in order]
    files_of_images = DecodedFiles(ordered, shape, np.uint8, ImageFile(shape[0], shape[1:]))
    columns = file_columns(root, ordered)
    if on_demand or (on_demand is None and files_of_images.nbytes > LARGEST_KEPT_BYTES):
        return Dataset(
            root.resolve().name, cast(NDArray[Any], files_of_images), labels[order], tuple(files), FORMAT,
            columns=columns,
        )  # fmt: skip
    images = allocated(root, (len(paths), *shape))
    for image, path in zip(images, ordered, strict=True):
        image[...] = read_pixels(path, shape[0], shape[1:])
    return Dataset(root.resolve().name, images, labels[order], tuple(files), FORMAT, columns=columns)


def file_columns(root: Path, paths: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """Return what the places of files say: the ``file`` below the root, and the ``folder`` below that of the class."""
    places = [path.relative_to(root) for path in paths]
    files = [place.as_posix() for place in places]
    # Of class/anna/1.png the folder is anna, of class/1.png nothing; the class may lie in train/ or test/.
    above = 2 if any_class_folders(root / "train") else 1
    folders = ["/".join(place.parts[above:-1]) for place in places]
    return {"file": np.array(files, dtype=object), "folder": np.array(folders, dtype=object)}


def allocated(root: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an array for the images, unless they would take more memory than is sensible."""
    wanted = int(np.prod(shape, dtype=np.int64))
    if wanted > LARGEST_BYTES:
        raise DataError(
            f"{root}: {shape[0]:,} images of {shape[2]} x {shape[3]} pixels would take {wanted / 2**30:.0f} GiB, "
            f"more than the {LARGEST_BYTES / 2**30:.0f} GiB that are read; give a smaller size with size="
        )
    return np.empty(shape, dtype=np.uint8)
