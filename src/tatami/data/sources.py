"""Data sets by name, or a folder of images."""

import os
from itertools import islice
from pathlib import Path

import numpy as np

from tatami.data.cifar import CIFAR_SETS, load_cifar
from tatami.data.class_folders import class_folders, files_below, is_folder
from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.digits import load_digits
from tatami.data.files import load_arrays, load_table
from tatami.data.image_folder import load_image_folder
from tatami.data.katakana import FIFTEEN, NAMES as KATAKANA, SIZE, load_katakana
from tatami.data.made import MADE, load_made
from tatami.data.mnist import IDX_SETS, load_mnist
from tatami.data.signals import load_signals, load_spectrograms
from tatami.data.volumes import load_videos, load_volumes
from tatami.errors import DataError, SettingError, UnknownNameError, unknown_name

# What each name stands for, in a line.
DESCRIPTIONS = {
    "digits": "1,797 handwritten digits of 8x8 pixels, in the package",
    "mnist": "70,000 handwritten digits of 28x28 pixels",
    "fashion_mnist": "70,000 pieces of clothing, 28x28 pixels",
    "kmnist": "70,000 hiragana in old handwriting, 28x28 pixels",
    "cifar10": "60,000 colour photographs of 32x32 pixels, 10 classes",
    "cifar100": "60,000 colour photographs of 32x32 pixels, 100 classes",
    "katakana": "15 katakana written by a simulated hand, any size; --data FONT tests on a printed font",
    "katakana46": "the same with all 46 basic katakana",
    "shapes": "made: discs and squares with a mask for every image, 32x32 pixels (segment)",
    "gestures": "made: ten joints of a figure that waves, bends or jumps, over 24 moments",
    "tones": "made: signals of 256 samples: a tone, rising, falling or beating",
    "spectrograms": "made: the same signals as pictures of their frequencies over time",
    "blobs": "made: videos of 8 frames with a spot that moves right, left, down or up",
    "ellipsoids": "made: volumes of 16x16x16 with a body that is long along one axis",
    "adding": "made: sequences of 20 numbers, two of them marked; their sum is the target (regress)",
    "text": "made: pieces of simple English sentences; the next letter is the target (sequence)",
    "ox": "the two 3x3 images of the lecture's exercise",
}
NAMES = tuple(DESCRIPTIONS)
WITH_FILES = (*IDX_SETS, *CIFAR_SETS)
# What stands before a path with a colon, where the files alone do not say it: spectrograms:sounds, videos:clips.
KINDS = ("images", "signals", "spectrograms", "volumes", "videos")
DRAWN = {"katakana": FIFTEEN, "katakana46": KATAKANA}

CIRCLE = ((1, 1, 1), (1, 0, 1), (1, 1, 1))
CROSS = ((1, 0, 1), (0, 1, 0), (1, 0, 1))


def load(
    name: str | Path,
    data_folder: str | Path | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skipped: list[str] | None = None,
) -> DatasetSplits:
    """Load a data set.

    Args:
        name: one of `NAMES`, such as 'digits', 'mnist' or 'katakana', or the path of a folder with one sub-folder of
            images, WAV files or volumes for each class, or of a .csv or .npz file. 'spectrograms:FOLDER' turns WAV
            files into spectrograms, 'videos:FOLDER' takes each folder of images within a class as one video.
        data_folder: where the files of 'mnist' and the like lie; without it they are taken from the cache or
            downloaded. For 'katakana': a font file; the images to test on are then printed in it.
        size: (height, width), or one number for both: to resize the images of a folder to, or to draw katakana in.
        channels: for a folder of images: 1 for grey, 3 for colour.
        skipped: for a folder of images: leave out those that cannot be read, and add why to this list.

    Returns:
        The images to train on and those to test on.

    Raises:
        UnknownNameError: neither a known name nor a folder.
        DataError: files are missing, unreadable or damaged, or do not fit together.
        SettingError: a setting that this data set does not have.

    >>> print(load("ox").train)
    ox: 2 images of shape (1, 3, 3), 2 classes
    """
    text = os.fspath(name)
    if text in DRAWN:
        require_no_channels(text, channels)
        return load_katakana(DRAWN[text], size=SIZE if size is None else size, font=data_folder)
    if text in NAMES:
        if size is not None or channels is not None:
            raise SettingError(f"{text}: size and channels are settings of a folder of images")
        if text in IDX_SETS:
            return load_mnist(data_folder, kind=IDX_SETS[text])
        if text in CIFAR_SETS:
            return load_cifar(CIFAR_SETS[text], data_folder)
        require_no_folder(text, data_folder)
        if text in MADE:
            return load_made(text)
        return load_digits() if text == "digits" else load_ox()
    require_no_folder(text, data_folder)
    kind, path = kind_and_path(text)
    place = Path(path).expanduser()
    if is_folder(place):
        return load_folder(place, kind, size, channels, skipped)
    if kind is not None:
        raise DataError(f"{path}: no such folder")
    if place.suffix.lower() == ".csv":
        return load_table(place, size, channels)
    if place.suffix.lower() == ".npz":
        return load_arrays(place)
    if isinstance(name, Path) or text.startswith(("~", ".")) or "/" in text or os.sep in text:
        raise DataError(f"{text}: no such folder")
    raise UnknownNameError(f"{unknown_name('dataset', text, NAMES)}, or the path of a folder of images")


def kind_and_path(text: str) -> tuple[str | None, str]:
    """Divide what was named into the kind of the samples, if it is said, and the path.

    >>> kind_and_path("videos:clips"), kind_and_path("photographs")
    (('videos', 'clips'), (None, 'photographs'))
    """
    kind, colon, path = text.partition(":")
    return (kind, path) if colon and kind in KINDS else (None, text)


def load_folder(
    folder: Path,
    kind: str | None,
    size: int | tuple[int, int] | None,
    channels: int | None,
    skipped: list[str] | None,
) -> DatasetSplits:
    """Load a folder of class folders: images, WAV files, or volumes are told by the first files, or by the kind."""
    kind = kind or kind_of_files(folder)
    if kind == "images":
        return load_image_folder(folder, size=size, channels=channels, skipped=skipped)
    if kind == "videos":
        return load_videos(folder, size, channels)
    if size is not None or channels is not None:
        raise SettingError(f"{folder}: size and channels are settings of images and videos, these are {kind}")
    return {"signals": load_signals, "spectrograms": load_spectrograms, "volumes": load_volumes}[kind](folder)


def kind_of_files(folder: Path) -> str:
    """Say what the first files below the first class folders are; images where they are neither sounds nor volumes."""
    endings = {
        path.suffix.lower()
        for place in list(class_folders(folder).values())[:3]
        for path in islice(files_below(place), 50)
    }
    return "signals" if ".wav" in endings else "volumes" if ".npy" in endings else "images"


def require_no_folder(name: str, data_folder: str | Path | None) -> None:
    """Raise if a folder is given to a data set that has no files to look for."""
    if data_folder is not None:
        raise SettingError(
            f"{name}: a data folder ({data_folder}) is only for {', '.join(WITH_FILES)}; name a folder of images "
            f"itself as the dataset"
        )


def require_no_channels(name: str, channels: int | None) -> None:
    """Raise if channels are chosen for a data set that has its own."""
    if channels is not None:
        raise SettingError(f"{name}: channels are a setting of a folder of images")


def load_ox() -> DatasetSplits:
    """Return the two 3×3 images of the lecture's exercise, 0 and 1, to train and to test on.

    The exercise trains on three of each: ``load_ox().train.take([0, 0, 0, 1, 1, 1])``.
    """
    images = np.array([[CIRCLE], [CROSS]], dtype=np.uint8)
    both = Dataset("ox", images, np.array([0, 1]), ("○", "×"), ImageFormat(maximum=1, background="dark"))
    return DatasetSplits(train=both, test=both)
