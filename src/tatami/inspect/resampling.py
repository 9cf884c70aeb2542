"""Bringing maps to the size of the input, and smoothing them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def enlarge(maps: NDArray[Any], size: tuple[int, ...]) -> NDArray[np.float64]:
    """Resize the trailing axes of an array by linear interpolation, one axis after the other.

    Output position i of n stands at (i + ½)·m / n - ½ of the m input positions and is held at the borders, as
    frameworks do without aligned corners.

    Args:
        maps: (…, *spatial).
        size: new sizes of the last ``len(size)`` axes.

    >>> enlarge(np.array([[0.0, 4.0]]), (4,))
    array([[0., 1., 3., 4.]])
    """
    result = np.asarray(maps, dtype=np.float64)
    for number, new in enumerate(size):
        axis = result.ndim - len(size) + number
        old = result.shape[axis]
        positions = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        left = np.floor(positions).astype(np.int64)
        right = np.minimum(left + 1, old - 1)
        share = (positions - left).reshape((-1, *(1,) * (result.ndim - axis - 1)))
        result = np.take(result, left, axis) * (1 - share) + np.take(result, right, axis) * share
    return result


def blur(values: NDArray[Any], deviation: float, axes: tuple[int, ...]) -> NDArray[Any]:
    """Smooth along some axes with a Gaussian that is cut off at three deviations; borders are repeated.

    >>> blur(np.array([0.0, 0.0, 1.0, 0.0, 0.0]), 0.5, axes=(0,)).round(2)
    array([0.  , 0.11, 0.79, 0.11, 0.  ])
    """
    if deviation <= 0:
        return values
    reach = max(1, round(3 * deviation))
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / deviation) ** 2)
    kernel /= kernel.sum()
    result = values
    for axis in axes:
        last = result.shape[axis] - 1
        at = np.arange(result.shape[axis])
        taps = (
            share * np.take(result, np.clip(at + offset, 0, last), axis)
            for offset, share in zip(offsets, kernel, strict=True)
        )
        result = np.asarray(sum(taps), dtype=values.dtype)
    return result
