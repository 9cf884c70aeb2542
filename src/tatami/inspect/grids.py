"""Arranging arrays of any number of spatial axes on a plane, so that they can be looked at."""

from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_ROWS, MOST_FILTERS, MOST_CHANNELS = 64, 16, 16


def plane(values: NDArray[Any]) -> NDArray[Any]:
    """Return one map as a plane (rows, columns): a line becomes a row, a volume its slices side by side.

    >>> plane(np.zeros(5)).shape, plane(np.zeros((4, 5))).shape, plane(np.zeros((3, 4, 5))).shape
    ((1, 5), (4, 5), (4, 17))
    """
    if values.ndim <= 1:
        return values.reshape(1, -1)
    if values.ndim == 2:
        return values
    return tile(values.reshape(-1, *values.shape[-2:]), columns=len(values))


def picture(example: NDArray[Any]) -> NDArray[Any]:
    """Return an example (C, *spatial) or (features,) as a plane (H, W), or (H, W, 3) if it has three colours.

    Several channels that are no colours are put side by side.

    >>> picture(np.zeros((1, 4, 5))).shape, picture(np.zeros((3, 4, 5))).shape, picture(np.zeros((2, 4, 5))).shape
    ((4, 5), (4, 5, 3), (4, 11))
    """
    if example.ndim < 2:
        return plane(example)
    if example.ndim == 2:  # (C, W): each channel is a row
        return example
    if example.shape[0] == 3 and example.ndim == 3:
        return np.moveaxis(example, 0, -1)
    if len(example) == 1:
        return plane(example[0])
    return tile(np.stack([plane(channel) for channel in example]), columns=len(example))


def tile(planes: NDArray[Any], columns: int | None = None, gap: int = 1) -> NDArray[Any]:
    """Put planes (K, H, W) side by side in rows, with a gap of NaN between them.

    Args:
        planes: (K, *spatial) with any number of spatial axes.
        columns: planes in a row; by default the grid is about square.
        gap: how many entries lie between two planes.

    >>> tile(np.ones((3, 2, 2)), columns=2).shape
    (5, 5)
    """
    flat = np.stack([plane(one) for one in planes]) if planes.ndim != 3 else planes
    count, height, width = flat.shape
    across = min(count, columns or ceil(sqrt(count * max(1.0, height / width))))
    down = ceil(count / across)
    grid = np.full((down * (height + gap) - gap, across * (width + gap) - gap), np.nan)
    for number, one in enumerate(flat):
        top, left = number // across * (height + gap), number % across * (width + gap)
        grid[top : top + height, left : left + width] = one
    return grid


def filter_strip(filters: NDArray[Any], most_columns: int = 12) -> tuple[NDArray[Any], list[int]]:
    """Arrange filters that were taken at several moments: a row for each filter, a column for each moment.

    Of a filter over several channels the one is shown whose weights are the largest at the end. Each filter is divided
    by its largest magnitude over all moments, so that one sees it grow.

    Args:
        filters: (moments, K, C, *kernel).
        most_columns: of more moments as many, evenly spread, are shown.

    Returns:
        The plane, and the numbers of the moments that are shown.

    >>> strip, moments = filter_strip(np.ones((30, 4, 1, 3, 3)), most_columns=5)
    >>> strip.shape, moments
    ((15, 19), [0, 7, 14, 22, 29])
    """
    count = min(len(filters), most_columns)
    moments = np.linspace(0, len(filters) - 1, count).round().astype(int).tolist()
    strongest = strongest_channels(filters[-1])
    chosen = filters[moments][:, np.arange(filters.shape[1]), strongest]  # (moments, K, *kernel)
    chosen = np.moveaxis(chosen, 0, 1)
    largest = np.abs(chosen).max(axis=tuple(range(1, chosen.ndim)), keepdims=True)
    shown = chosen / np.where(largest > 0, largest, 1)
    return tile(shown.reshape(-1, *shown.shape[2:]), columns=count), moments


def strongest_channels(filters: NDArray[Any]) -> NDArray[np.int64]:
    """Return for each filter (K, C, *kernel) the channel with the largest norm.

    >>> strongest_channels(np.array([[[1, 0], [0, 3]], [[2, 2], [1, 1]]]))
    array([1, 0])
    """
    squares = np.square(filters, dtype=np.float64)
    return np.asarray(squares.sum(axis=tuple(range(2, filters.ndim))).argmax(axis=1), dtype=np.int64)


def filter_grid(filters: NDArray[Any]) -> NDArray[Any]:
    """Arrange filters (K, C, *kernel) on a plane, so many as can be told apart.

    Filters of one channel make a square grid, others a row for each filter, with a column for each channel; those of a
    dense layer, (K, features), are the rows of a matrix.

    >>> filter_grid(np.ones((16, 1, 3, 3))).shape, filter_grid(np.ones((4, 8, 3, 3))).shape
    ((15, 15), (15, 31))
    """
    if filters.ndim == 2:
        return filters[:MOST_ROWS]
    if filters.shape[1] == 1:
        return tile(filters[:MOST_ROWS, 0])
    shown = filters[:MOST_FILTERS, :MOST_CHANNELS]
    return tile(shown.reshape(-1, *shown.shape[2:]), columns=shown.shape[1])
