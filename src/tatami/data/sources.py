"""Data sets by name: the digits in the package, MNIST, the two images ○ and ×, a folder of images."""

import os
from pathlib import Path

import numpy as np

from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.digits import load_digits
from tatami.data.image_folder import load_image_folder
from tatami.data.mnist import load_mnist
from tatami.errors import DataError, SettingError, UnknownNameError, unknown_name

NAMES = ("digits", "mnist", "ox")

CIRCLE = ((1, 1, 1), (1, 0, 1), (1, 1, 1))
CROSS = ((1, 0, 1), (0, 1, 0), (1, 0, 1))


def load(
    name: str | Path,
    data_folder: str | Path | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
) -> DatasetSplits:
    """Load a data set.

    Args:
        name: 'digits', 'mnist', 'ox', or the path of a folder with one sub-folder of images for each class.
        data_folder: where the files of 'mnist' lie; without it they are taken from the cache or downloaded.
        size: for a folder of images: (height, width), or one number for both, to resize to.
        channels: for a folder of images: 1 for grey, 3 for colour.

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
    if text in NAMES:
        if size is not None or channels is not None:
            raise SettingError(f"{text}: size and channels are settings of a folder of images")
        if text == "mnist":
            return load_mnist(data_folder)
        require_no_folder(text, data_folder)
        return load_digits() if text == "digits" else load_ox()
    require_no_folder(text, data_folder)
    if Path(text).expanduser().is_dir():
        return load_image_folder(text, size=size, channels=channels)
    if isinstance(name, Path) or text.startswith(("~", ".")) or "/" in text or os.sep in text:
        raise DataError(f"{text}: no such folder")
    raise UnknownNameError(f"{unknown_name('dataset', text, NAMES)}, or the path of a folder of images")


def require_no_folder(name: str, data_folder: str | Path | None) -> None:
    """Raise if a folder is given to a data set that has no files to look for."""
    if data_folder is not None:
        raise SettingError(
            f"{name}: a data folder ({data_folder}) is only for 'mnist'; name a folder of images itself as the dataset"
        )


def load_ox() -> DatasetSplits:
    """Return the two 3×3 images of the lecture's exercise, 0 and 1, to train and to test on.

    The exercise trains on three of each: ``load_ox().train.take([0, 0, 0, 1, 1, 1])``.
    """
    images = np.array([[CIRCLE], [CROSS]], dtype=np.uint8)
    both = Dataset("ox", images, np.array([0, 1]), ("○", "×"), ImageFormat(maximum=1, background="dark"))
    return DatasetSplits(train=both, test=both)
