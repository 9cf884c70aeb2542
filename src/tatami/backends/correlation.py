r"""Convolution as the lectures write it, twice: the direct sum, and im2col with a matrix product.

The direct form is the sum of Arai §2.2 and §3.2 and nothing else; it is meant to be understood:

    u(k, i, j) = Σ_c Σ_μ Σ_ν F(k, c, μ, ν) x(c, i + μ, j + ν)          (indices from 0)

Following the field, this *correlation* is called convolution. The im2col form (DAY4) gathers every window as a
row of a matrix, so that one matrix product does the work. Both forms have the same two gradients, derived
from the forward line by the chain rule, and are tested against each other.

All functions take 1, 2 or 3 spatial axes, any stride, padding and dilation, and groups. Shapes:

    x (N, C, *size)      weight (K, C / groups, *kernel)      y, dy (N, K, *output_size)
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import ShapeError
from tatami.geometry import Geometry

Array = NDArray[Any]
Index = Any  # tuples of integers and slices; NumPy's stubs know no type for them
EVERY_EXAMPLE = EVERY_CHANNEL = slice(None)


def pad(x: Array, geometry: Geometry, value: float = 0.0) -> Array:
    """Return x with its spatial axes padded by ``value``: (N, C, *padded_size)."""
    if all(pair == (0, 0) for pair in geometry.padding):
        return x
    return np.pad(x, ((0, 0), (0, 0), *geometry.padding), constant_values=value)


def check_shapes(
    geometry: Geometry, x: Array | None = None, weight: Array | None = None, dy: Array | None = None
) -> None:
    """Raise unless the arrays that are given have the shapes that the geometry says."""
    expectations = (
        ("x", x, geometry.input_shape, True),
        ("weight", weight, geometry.weight_shape, False),
        ("dy", dy, geometry.output_shape, True),
    )
    for name, array, shape, batched in expectations:
        if array is None:
            continue
        actual = array.shape[1:] if batched else array.shape
        if actual != shape:
            expected = ("N", *shape) if batched else shape
            raise ShapeError(
                f"correlation: {name} should have shape {expected}, got {array.shape} ({geometry})"
            )


# ---- the direct sum ----------------------------------------------------------------------------------------


def correlate_direct(x: Array, weight: Array, geometry: Geometry) -> Array:
    """Convolve by the definition, adding one term F(k, c, μ)·x(c, i + μ) after the other.

    The terms of every output are added in the order c, μ, ν of the formula, so that a hand calculation in
    the same order gives the same bits.

    >>> x = np.array([[[[16, 2, 3, 13], [5, 11, 10, 8], [9, 7, 6, 12], [4, 14, 15, 1]]]])
    >>> weight = np.array([[[[0, 1, 0], [1, 1, 1], [0, -1, 1]]]])
    >>> correlate_direct(x, weight, Geometry.of((1, 4, 4), 3, filters=1))[0, 0]
    array([[27, 38],
           [34, 21]])
    """
    check_shapes(geometry, x=x, weight=weight)
    padded = pad(x, geometry)
    y = np.zeros((x.shape[0], *geometry.output_shape), dtype=np.result_type(x, weight))
    for k, c, weight_channel in connections(geometry):
        for tap in geometry.taps():
            seen: Index = (EVERY_EXAMPLE, c, *geometry.tap_slices(tap))
            y[:, k] += weight[(k, weight_channel, *tap)] * padded[seen]
    return y


def correlate_input_gradient_direct(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """Return dx of `correlate_direct`.

    Forward: ``y[k, i] += weight[k, c, μ] * padded[c, stride·i + dilation·μ]``, so every y hands its gradient
    back to the inputs that it saw: ``dpadded[c, stride·i + dilation·μ] += weight[k, c, μ] * dy[k, i]``. For stride 1
    this is the full correlation of dy with the kernel turned by 180°.
    """
    check_shapes(geometry, weight=weight, dy=dy)
    shape = (dy.shape[0], geometry.channels, *geometry.padded_size)
    dpadded = np.zeros(shape, dtype=np.result_type(dy, weight))
    for k, c, weight_channel in connections(geometry):
        for tap in geometry.taps():
            seen: Index = (EVERY_EXAMPLE, c, *geometry.tap_slices(tap))
            dpadded[seen] += weight[(k, weight_channel, *tap)] * dy[:, k]
    return without_padding(dpadded, geometry)


def correlate_weight_gradient_direct(x: Array, dy: Array, geometry: Geometry) -> Array:
    """Return dweight of `correlate_direct`.

    Forward: ``y[k, i] += weight[k, c, μ] * padded[c, stride·i + dilation·μ]``, so
    ``dweight[k, c, μ] = Σ_n Σ_i dy[k, i] * padded[c, stride·i + dilation·μ]`` (Arai §3.3, second layer).
    """
    check_shapes(geometry, x=x, dy=dy)
    padded = pad(x, geometry)
    dweight = np.zeros(geometry.weight_shape, dtype=np.result_type(x, dy))
    for k, c, weight_channel in connections(geometry):
        for tap in geometry.taps():
            seen: Index = (EVERY_EXAMPLE, c, *geometry.tap_slices(tap))
            dweight[(k, weight_channel, *tap)] = np.sum(dy[:, k] * padded[seen])
    return dweight


def connections(geometry: Geometry) -> list[tuple[int, int, int]]:
    """List (filter k, input channel c, channel of the weight) of every connection; groups cut the rest."""
    channels = geometry.channels // geometry.groups
    filters = geometry.filters // geometry.groups
    return [
        (k, k // filters * channels + weight_channel, weight_channel)
        for k in range(geometry.filters)
        for weight_channel in range(channels)
    ]


def without_padding(dpadded: Array, geometry: Geometry) -> Array:
    """Drop the gradients of the padding: zeros are constants."""
    return dpadded[(EVERY_EXAMPLE, EVERY_EXAMPLE, *geometry.interior_slices())]


# ---- im2col ------------------------------------------------------------------------------------------------


def im2col(x: Array, geometry: Geometry) -> Array:
    """Gather every window of x as a row: (N·OH·OW, C·FH·FW), rows image by image, columns channel by channel.

    Row (n, i, j) holds the window that output (i, j) of image n sees, column (c, μ, ν) what tap (μ, ν) sees in
    channel c. One slice for each tap copies all windows at once (DAY4).

    >>> x = np.arange(1, 17).reshape(1, 1, 4, 4)
    >>> im2col(x, Geometry.of((1, 4, 4), 2, stride=2))
    array([[ 1,  2,  5,  6],
           [ 3,  4,  7,  8],
           [ 9, 10, 13, 14],
           [11, 12, 15, 16]])
    """
    check_shapes(geometry, x=x)
    padded = pad(x, geometry)
    # (C, *kernel, N, *output_size): a column of the matrix, one tap for all windows, is contiguous and copied at once.
    columns = np.empty(
        (geometry.channels, *geometry.kernel, x.shape[0], *geometry.output_size), dtype=x.dtype
    )
    for tap in geometry.taps():
        seen = padded[(EVERY_EXAMPLE, EVERY_EXAMPLE, *geometry.tap_slices(tap))]
        entry: Index = (EVERY_CHANNEL, *tap)
        columns[entry] = np.moveaxis(seen, 1, 0)
    return columns.reshape(geometry.channels * prod(geometry.kernel), -1).T


def col2im(columns: Array, geometry: Geometry) -> Array:
    """Add every row of an im2col matrix back to where its window stood: the transpose of `im2col`.

    Forward: every entry of x was *copied* to all windows that see it, so the gradients of the copies are *added*.

    >>> geometry = Geometry.of((1, 3), 2)
    >>> col2im(np.ones((2, 2)), geometry)
    array([[[1., 2., 1.]]])
    """
    positions = prod(geometry.output_size)
    examples = columns.shape[0] // positions
    expected = (examples * positions, geometry.channels * prod(geometry.kernel))
    if columns.shape != expected:
        raise ShapeError(f"col2im: columns should have shape {expected}, got {columns.shape} ({geometry})")
    windows = columns.T.reshape(geometry.channels, *geometry.kernel, examples, *geometry.output_size)
    padded = np.zeros((examples, geometry.channels, *geometry.padded_size), dtype=columns.dtype)
    for tap in geometry.taps():
        seen: Index = (EVERY_EXAMPLE, EVERY_EXAMPLE, *geometry.tap_slices(tap))
        entry: Index = (EVERY_CHANNEL, *tap)
        padded[seen] += np.moveaxis(windows[entry], 0, 1)
    return without_padding(padded, geometry)


def correlate_im2col(x: Array, weight: Array, geometry: Geometry) -> Array:
    """Convolve by one matrix product for each group: filters, flattened to rows, times windows.

    >>> x = np.arange(1, 37).reshape(1, 1, 6, 6)
    >>> weight = np.array([[[[0, 1, 0], [1, 1, 1], [0, 1, 0]]]])
    >>> correlate_im2col(x, weight, Geometry.of((1, 6, 6), 3, filters=1))[0, 0, 0]
    array([40, 45, 50, 55])
    """
    check_shapes(geometry, x=x, weight=weight)
    maps = [
        filters @ windows.T  # (K / groups, C·FH·FW / groups) @ (C·FH·FW / groups, N·OH·OW)
        for windows, filters in zip(
            grouped_columns(x, geometry), grouped_filters(weight, geometry), strict=True
        )
    ]
    y = joined(maps).reshape(geometry.filters, x.shape[0], *geometry.output_size)
    return np.ascontiguousarray(np.moveaxis(y, 0, 1))


def correlate_input_gradient_im2col(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """Return dx of `correlate_im2col`.

    Forward: ``maps = filters @ windows.T``, so ``dwindows.T = filters.T @ dmaps``, and `col2im` adds the windows up.
    """
    check_shapes(geometry, weight=weight, dy=dy)
    windows = [
        filters.T @ dmaps
        for dmaps, filters in zip(grouped_maps(dy, geometry), grouped_filters(weight, geometry), strict=True)
    ]
    return col2im(joined(windows).T, geometry)


def correlate_weight_gradient_im2col(x: Array, dy: Array, geometry: Geometry) -> Array:
    """Return dweight of `correlate_im2col`.

    Forward: ``maps = filters @ windows.T``, so ``dfilters = dmaps @ windows``.
    """
    check_shapes(geometry, x=x, dy=dy)
    filters = [
        dmaps @ windows
        for dmaps, windows in zip(grouped_maps(dy, geometry), grouped_columns(x, geometry), strict=True)
    ]
    return joined(filters).reshape(geometry.weight_shape)


def grouped_columns(x: Array, geometry: Geometry) -> list[Array]:
    """Cut the columns of im2col into the groups' channels: groups × (N·OH·OW, C·FH·FW / groups)."""
    return np.split(im2col(x, geometry), geometry.groups, axis=1)


def grouped_filters(weight: Array, geometry: Geometry) -> list[Array]:
    """Flatten every filter to a row and cut them into groups: groups × (K / groups, C·FH·FW / groups)."""
    return np.split(weight.reshape(geometry.filters, -1), geometry.groups)


def grouped_maps(dy: Array, geometry: Geometry) -> list[Array]:
    """Lay dy out like the matrix product's result and cut it into groups: groups × (K / groups, N·OH·OW)."""
    return np.split(np.moveaxis(dy, 1, 0).reshape(geometry.filters, -1), geometry.groups)


def joined(groups: list[Array]) -> Array:
    """Put the groups' rows below one another; a single group, the usual case, is not copied."""
    return groups[0] if len(groups) == 1 else np.concatenate(groups)
