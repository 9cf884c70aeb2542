"""Contact sheets: many samples on one picture, drawn with Pillow alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.pillow import pillow
from tatami.errors import DataError

GAP = 2
PAPER = 232
LEAST_TILE = 84
CURVE_HEIGHT = 32


def tile_of(example: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return one sample (C, *spatial) or (features,) as a picture (H, W, 3).

    Grey and colour images as they are, signals (C, T) as curves, the middle slice of volumes and videos.

    >>> tile_of(np.zeros((1, 4, 5)), 0, 1).shape
    (4, 5, 3)
    """
    shade = np.clip((example.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1)
    if shade.ndim == 1:
        shade = shade[None]
    if shade.ndim == 2:
        return np.repeat(curves(shade)[..., None], 3, axis=2)
    while shade.ndim > 3:
        shade = shade[:, shade.shape[1] // 2]
    colours = shade if len(shade) == 3 else np.repeat(shade[:1], 3, axis=0)
    return np.round(255 * colours.transpose(1, 2, 0)).astype(np.uint8)


def curves(signal: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draw channels (C, T) in 0 … 1 as curves, one below the other: (C·32, T)."""
    channels, length = signal.shape
    picture = np.full((channels, CURVE_HEIGHT, length), 255, np.uint8)
    rows = np.round((1 - signal) * (CURVE_HEIGHT - 1)).astype(np.int64)
    place = np.arange(CURVE_HEIGHT)[None, :, None]
    before = np.concatenate([rows[:, :1], rows[:, :-1]], axis=1)
    upper, lower = np.minimum(rows, before)[:, None], np.maximum(rows, before)[:, None]
    picture[(place >= upper) & (place <= lower)] = 30
    return picture.reshape(channels * CURVE_HEIGHT, length)


def contact_sheet(
    rows: Sequence[Sequence[NDArray[Any]]], low: float, high: float, *, as_ink: bool = False
) -> NDArray[np.uint8]:
    """Put samples into rows, enlarged so that small ones can be seen.

    Args:
        rows: of samples, all of one shape; a row may be shorter than others.
        low: what is drawn black.
        high: what is drawn white.
        as_ink: the other way round: light strokes on a dark ground are drawn like ink on paper.

    Returns:
        (height, width, 3) bytes.
    """
    if not rows or not rows[0]:
        raise DataError("a contact sheet needs at least one sample")
    tiles = [[tile_of(sample, low, high) for sample in row] for row in rows]
    height, width = tiles[0][0].shape[:2]
    scale = max(1, -(-LEAST_TILE // max(height, width)))
    across = max(map(len, tiles))
    step = height * scale + GAP, width * scale + GAP
    sheet = np.full((len(rows) * step[0] + GAP, across * step[1] + GAP, 3), PAPER, np.uint8)
    for down, row in enumerate(tiles):
        for right, tile in enumerate(row):
            drawn = 255 - tile if as_ink else tile
            large = drawn.repeat(scale, axis=0).repeat(scale, axis=1)
            top, left = GAP + down * step[0], GAP + right * step[1]
            sheet[top : top + large.shape[0], left : left + large.shape[1]] = large
    return sheet


def write_sheet(path: str | Path, sheet: NDArray[np.uint8]) -> None:
    """Write a contact sheet as PNG."""
    pillow("Image").fromarray(sheet).save(path, format="PNG")
