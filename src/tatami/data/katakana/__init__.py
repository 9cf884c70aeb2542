"""Katakana written by a simulated hand: DAY4's group work without its data set.

The samples are drawn from strokes that are part of Tatami (`tatami.data.katakana.strokes`), so nothing is downloaded
and there are as many as one wants. A Japanese font file gives a second style, to test whether a network has learned
the characters or the hand.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.image_files import checked_size
from tatami.data.katakana.fonts import print_kana
from tatami.data.katakana.handwriting import Handwriting, write_kana
from tatami.data.katakana.strokes import FIFTEEN, NAMES
from tatami.errors import SettingError, unknown_name

__all__ = ["FIFTEEN", "NAMES", "Handwriting", "load_katakana"]

SIZE = 28
FORMAT = ImageFormat(maximum=255, background="dark", fill=0.76)
LARGEST_BYTES = 4 * 2**30
MOST_SAMPLES = 2**20


def load_katakana(
    classes: Sequence[str] = FIFTEEN,
    samples: int = 100,
    test_samples: int = 40,
    size: int | tuple[int, int] = SIZE,
    seed: int = 0,
    hand: Handwriting | None = None,
    font: str | Path | None = None,
) -> DatasetSplits:
    """Draw handwriting-like katakana, light on dark.

    Args:
        classes: kana, of the 46; by default the fifteen ア … ソ.
        samples: of each class to train on.
        test_samples: of each class to test on, by other writers.
        size: (height, width), or one number for both.
        seed: another seed gives other writers.
        hand: how differently they write.
        font: a font file with katakana; then the images to test on are printed in it.

    Raises:
        UnknownNameError: a class that is not among the 46 kana.
        SettingError: a number out of range.
        DataError: a font file that cannot be read or has no katakana.

    >>> print(load_katakana(samples=4, test_samples=2).train)
    katakana: 60 images of shape (1, 28, 28), 15 classes
    """
    for kana in classes:
        if kana not in NAMES:
            raise unknown_name("katakana", kana, NAMES)
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise SettingError(
            f"katakana: name at least two different classes, got {', '.join(classes) or 'none'}"
        )
    for name, count in (("samples", samples), ("test samples", test_samples)):
        if not 1 <= count <= MOST_SAMPLES:
            raise SettingError(f"katakana: {name} must be from 1 to {MOST_SAMPLES:,}, got {count}")
    shape = checked_size(size)
    if len(classes) * (samples + test_samples) * shape[0] * shape[1] > LARGEST_BYTES:
        raise SettingError("katakana: these samples would take more than 4 GiB; draw fewer or smaller ones")
    hand = hand or Handwriting()
    train = np.arange(samples)
    # Samples to test on are counted from the other end, so that more of one kind never repeat the other.
    test = 2**32 - 1 - np.arange(test_samples)
    written = {
        name: gathered([write_kana(kana, numbers, shape, seed, hand) for kana in classes], tuple(classes))
        for name, numbers in (("train", train), ("test", test))
        if name == "train" or font is None
    }
    if font is not None:
        printed = [print_kana(kana, test, shape, seed, Path(font)) for kana in classes]
        written["test"] = gathered(printed, tuple(classes))
    return DatasetSplits(train=written["train"], test=written["test"])


def gathered(images: Sequence[NDArray[np.uint8]], classes: tuple[str, ...]) -> Dataset:
    """Return the samples of all classes in turn, so that the first ones hold every class."""
    together = np.stack(images, axis=1).reshape(-1, 1, *images[0].shape[1:])
    labels = np.tile(np.arange(len(classes)), len(images[0]))
    return Dataset("katakana", together, labels, classes, FORMAT)
