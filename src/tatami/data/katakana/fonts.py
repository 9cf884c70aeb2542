"""Katakana printed in a font that the user has: the second style, which tests what was learned from the first."""

from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.draws import Draws
from tatami.data.augmentation.geometric import Rotate, Shift, Zoom, product
from tatami.data.augmentation.resampling import Outside, projected, sample
from tatami.data.image_formats import LARGEST_PIXELS
from tatami.data.katakana.strokes import NAMES
from tatami.data.pillow import pillow
from tatami.errors import DataError
from tatami.random import RandomKey

# How much of the image a character fills.
FILL = 0.78
OVERSAMPLING = 4


def print_kana(
    kana: str, samples: NDArray[np.int64], size: tuple[int, int], seed: int, font: Path
) -> NDArray[np.uint8]:
    """Print samples of one kana, light on dark, each a little turned, scaled and shifted: (N, height, width).

    Raises:
        DataError: the font cannot be read, or has no such character.
    """
    glyph = glyph_of(kana, size, font)
    draws = [Draws(RandomKey(seed, NAMES.index(kana)), step, samples) for step in range(3)]
    matrices = Rotate(degrees=4).matrices(draws[0], *size)
    matrices = product(matrices, Zoom(factors=(0.88, 1.08)).matrices(draws[1], *size))
    matrices = product(matrices, Shift(vertical=0.05, horizontal=0.05).matrices(draws[2], *size))
    images = np.broadcast_to(glyph.astype(np.float32), (len(samples), 1, *size))
    return np.round(sample(images, projected(matrices, *size), Outside())[:, 0]).astype(np.uint8)


def glyph_of(kana: str, size: tuple[int, int], font: Path) -> NDArray[np.uint8]:
    """Return one character in the middle of an image."""
    finer = max(1, min(OVERSAMPLING, isqrt(LARGEST_PIXELS // (size[0] * size[1]))))
    side = max(1, round(min(size) * FILL * finer))
    try:
        face = pillow("ImageFont").truetype(str(font), side)
        box = face.getbbox(kana)
        # What a font draws for a character that it lacks is what it draws for one that no font has.
        missing = bytes(face.getmask(kana)) == bytes(face.getmask("\U0010fffd"))
    except (OSError, ValueError, MemoryError) as error:
        raise DataError(f"{font}: not a font file that can be read ({error})") from error
    if missing or box[2] <= box[0] or box[3] <= box[1]:
        raise DataError(f"{font}: the font has no {kana}; name a Japanese one")
    picture = pillow("Image").new("L", (size[1] * finer, size[0] * finer), 0)
    place = (
        (picture.width - box[0] - box[2]) / 2,
        (picture.height - box[1] - box[3]) / 2,
    )
    pillow("ImageDraw").Draw(picture).text(place, kana, fill=255, font=face)
    return np.asarray(picture.resize((size[1], size[0]), pillow("Image").Resampling.BOX))
