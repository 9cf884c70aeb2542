"""Reading images at other places: bilinear interpolation for a whole batch at once.

Nothing but additions and multiplications of float32, each on its own, so that every machine gives the same bits.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Border = Literal["constant", "edge", "reflect"]
SMALLEST_DIVISOR = 1e-3


@dataclass(frozen=True)
class Outside:
    """What lies outside an image.

    Attributes:
        border: 'constant': the number ``fill``; 'edge': the nearest point; 'reflect': the image in a mirror.
        fill: that number.
    """

    border: Border = "constant"
    fill: float = 0.0


@dataclass(frozen=True, eq=False)
class Places:
    """For every point of the result the place (row, column) in the image that it is read from: (N, H, W) each."""

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]


def projected(matrices: NDArray[np.float64], height: int, width: int) -> Places:
    """Return the places that matrices (N, 3, 3) send the points of an image to.

    Points are (row, column, 1), counted from the middle of the image. An affine matrix has the last row (0, 0, 1).

    >>> places = projected(np.eye(3)[None], 2, 2)
    >>> places.rows[0].tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    middle = (height - 1) / 2, (width - 1) / 2
    row = (np.arange(height) - middle[0])[None, :, None]
    column = (np.arange(width) - middle[1])[None, None, :]

    def line(number: int, offset: float) -> NDArray[np.float32]:
        m = matrices[:, number, :, None, None]
        # The halves are rounded before they are added: one pass of float32 over the full size.
        upright = (m[:, 0] * row + offset).astype(np.float32)
        return np.asarray(upright + (m[:, 1] * column + m[:, 2]).astype(np.float32))

    if np.all(matrices[:, 2] == (0, 0, 1)):
        return Places(line(0, middle[0]), line(1, middle[1]))
    divisor = np.maximum(line(2, 0.0), np.float32(SMALLEST_DIVISOR))
    rows = np.divide(line(0, 0.0), divisor, dtype=np.float32)
    columns = np.divide(line(1, 0.0), divisor, dtype=np.float32)
    rows += np.float32(middle[0])
    columns += np.float32(middle[1])
    return Places(rows, columns)


def mirrored(places: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Send every place into 0 … size - 1 as if mirrors stood at both ends.

    >>> mirrored(np.array([-1.0, 0.5, 3.0], np.float32), 3).tolist()
    [1.0, 0.5, 1.0]
    """
    if size == 1:
        return np.zeros_like(places)
    period = np.float32(2 * (size - 1))
    inside = places - period * np.floor(places / period)
    return np.asarray(np.minimum(inside, period - inside))


def sample(images: NDArray[np.float32], places: Places, outside: Outside) -> NDArray[np.float32]:
    """Read images (N, C, H, W) at places (N, h, w), bilinear: (N, C, h, w)."""
    count, channels, height, width = images.shape
    padded = np.full((channels, count, height + 2, width + 2), np.float32(outside.fill))
    padded[:, :, 1:-1, 1:-1] = images.transpose(1, 0, 2, 3)
    rows, row_share = cell(places.rows, height, outside.border)
    columns, column_share = cell(places.columns, width, outside.border)
    stride = width + 2
    # Whole numbers below 2²⁴ are exact in float32, and counting in it is much faster than in int64.
    exact = np.dtype("float32" if padded[0].size < 2**24 else "float64")
    place = rows.astype(exact, copy=False) * stride
    place += columns
    place += (np.arange(count) * ((height + 2) * stride)).astype(exact)[:, None, None]
    at = place.astype(np.intp)
    result = np.empty((count, channels, *places.rows.shape[1:]), np.float32)
    for channel, pixels in enumerate(padded.reshape(channels, -1)):
        # mode='clip' spares NumPy a copy; the places are inside anyway.
        top = pixels.take(at, mode="clip")
        top += column_share * (pixels[1:].take(at, mode="clip") - top)
        bottom = pixels[stride:].take(at, mode="clip")
        bottom += column_share * (pixels[stride + 1 :].take(at, mode="clip") - bottom)
        bottom -= top
        bottom *= row_share
        np.add(top, bottom, out=result[:, channel])
    return result


def cell(
    places: NDArray[np.float32], size: int, border: Border
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the point before each place, counted in an image with one more point around it, and the share after it."""
    if border == "reflect":
        places = mirrored(places, size)
    low, high = (0.0, size - 1.0) if border != "constant" else (-1.0, float(size))
    share = np.clip(places, np.float32(low), np.float32(high))
    share += np.float32(1)
    first = np.floor(share)
    # The last place is read as the share 1 after the point before it, which stays within the padded image.
    np.minimum(first, np.float32(size), out=first)
    share -= first
    return first, share


def sample_nearest(masks: NDArray[Any], places: Places, outside: Outside) -> NDArray[Any]:
    """Read labels (N, H, W) at the nearest points; 0 outside where images have a constant."""
    count, height, width = masks.shape
    inside = np.ones(places.rows.shape, dtype=np.bool_)
    indices = []
    for values, size in ((places.rows, height), (places.columns, width)):
        if outside.border == "reflect":
            values = mirrored(values, size)
        nearest = np.floor(values + np.float32(0.5)).astype(np.int64)
        if outside.border == "constant":
            inside &= (nearest >= 0) & (nearest < size)
        indices.append(np.clip(nearest, 0, size - 1))
    read = masks[np.arange(count)[:, None, None], indices[0], indices[1]]
    return np.where(inside, read, 0).astype(masks.dtype)
