"""Pooling as the lectures write it: the maximum, the mean or the p-norm of every window, channel by channel.

Let P(i) be the set of input positions that window i sees, padding left out. DSP's slides give

    max      y(i) = max_{m ∈ P(i)} x(m)
    average  y(i) = 1/|P(i)| Σ_{m ∈ P(i)} x(m)
    Lp       y(i) = (1/|P(i)| Σ_{m ∈ P(i)} |x(m)|^p)^(1/p)

Windows may overlap, so the gradients *add* into dx. Shapes: x (N, C, *size), y and dy (N, C, *output_size).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import TieRule
from tatami.backends.correlation import EVERY_EXAMPLE, pad, without_padding
from tatami.errors import ShapeError
from tatami.geometry import Geometry

Array = NDArray[Any]


def stack_taps(x: Array, geometry: Geometry, padding_value: float) -> Array:
    """Return what every tap of the window sees: (taps, N, C, *output_size), taps row by row."""
    if x.shape[1:] != geometry.input_shape:
        raise ShapeError(
            f"pooling: x should have shape {('N', *geometry.input_shape)}, got {x.shape} ({geometry})"
        )
    padded = pad(x, geometry, padding_value)
    return np.stack([padded[where] for where in tap_positions(geometry)])


def add_taps(contributions: Iterator[Array], like: Array, geometry: Geometry) -> Array:
    """Add one array for each tap back to the input positions that the tap saw, and drop the padding."""
    padded = np.zeros((like.shape[0], geometry.channels, *geometry.padded_size), dtype=like.dtype)
    for where, contribution in zip(tap_positions(geometry), contributions, strict=True):
        padded[where] += contribution
    return without_padding(padded, geometry)


def tap_positions(geometry: Geometry) -> list[tuple[slice, ...]]:
    """List the slices of the padded input that each tap sees."""
    return [(EVERY_EXAMPLE, EVERY_EXAMPLE, *geometry.tap_slices(tap)) for tap in geometry.taps()]


def max_pool(x: Array, geometry: Geometry) -> tuple[Array, Array]:
    """Return the maximum of every window and the number of the tap where it first stands.

    >>> x = np.array([[[[1, 2, 0, 7], [0, 9, 2, 3], [3, 0, 1, 2], [2, 4, 0, 1]]]], float)
    >>> y, winner = max_pool(x, Geometry.of((1, 4, 4), 2, stride=2))
    >>> y[0, 0], winner[0, 0]
    (array([[9., 7.],
           [4., 2.]]), array([[3, 1],
           [3, 1]]))
    """
    seen = stack_taps(x, geometry, -np.inf)
    winner = np.argmax(seen, axis=0)  # the first of equal maxima, as the convention asks
    return np.take_along_axis(seen, winner[np.newaxis], axis=0)[0], winner


def max_pool_gradient(
    dy: Array, x: Array, y: Array, winner: Array, geometry: Geometry, ties: TieRule
) -> Array:
    """Return dx of `max_pool`.

    Forward: ``y[i] = x[winner(i)]``, so ``dx[winner(i)] += dy[i]`` and nothing elsewhere. Where several entries share
    the maximum the derivative is not defined; ``ties`` chooses: 'first' takes the first in row order, 'all' gives
    each of them the whole dy (DSP's eq. 7: ∂y/∂x is 1 wherever x is the maximum), 'even' shares dy equally.
    """
    taps = int(np.prod(geometry.kernel))
    if ties == "first":
        return add_taps((dy * (winner == tap) for tap in range(taps)), dy, geometry)
    maximal = stack_taps(x, geometry, -np.inf) == y
    share = dy / maximal.sum(axis=0) if ties == "even" else dy
    return add_taps((share * maximal[tap] for tap in range(taps)), dy, geometry)


def window_sizes(geometry: Geometry, dtype: Any, count_padding: bool) -> Array:
    """Return |P(i)|, the number of entries in every window: (1, 1, *output_size), padding counted or not."""
    if count_padding:
        return np.full((1, 1, *geometry.output_size), np.prod(geometry.kernel), dtype=dtype)
    ones = np.ones((1, 1, *geometry.size), dtype=dtype)
    padded = pad(ones, geometry)
    sizes: Array = np.add.reduce([padded[where] for where in tap_positions(geometry)])
    return sizes


def average_pool(x: Array, geometry: Geometry, count_padding: bool) -> Array:
    """Return the mean of every window.

    >>> average_pool(np.array([[[1.0, 3.0, 5.0]]]), Geometry.of((1, 3), 2, padding=[(1, 0)]), False)
    array([[[1., 2., 4.]]])
    """
    total: Array = np.add.reduce(stack_taps(x, geometry, 0.0))
    return total / window_sizes(geometry, x.dtype, count_padding)


def average_pool_gradient(dy: Array, geometry: Geometry, count_padding: bool) -> Array:
    """Return dx of `average_pool`.

    Forward: ``y[i] = Σ x[m] / |P(i)|``, so every entry of the window gets ``dy[i] / |P(i)|``.
    """
    share = dy / window_sizes(geometry, dy.dtype, count_padding)
    return add_taps((share for _ in geometry.taps()), dy, geometry)


def lp_pool(x: Array, geometry: Geometry, p: float, normalise: bool) -> Array:
    """Return the p-norm of every window, p ≥ 1.

    The largest |x| of the window is taken out of the root first, so that |x|^p cannot overflow.

    >>> lp_pool(np.array([[[3.0, 4.0]]]), Geometry.of((1, 2), 2), 2.0, normalise=False)
    array([[[5.]]])
    """
    magnitude = np.abs(stack_taps(x, geometry, 0.0))
    largest = magnitude.max(axis=0)
    ratio = magnitude / np.where(largest > 0, largest, 1)
    mean = np.add.reduce(ratio**p) * lp_factor(geometry, x.dtype, normalise)
    return np.asarray(largest * mean ** (1 / p), dtype=x.dtype)


def lp_pool_gradient(dy: Array, x: Array, y: Array, geometry: Geometry, p: float, normalise: bool) -> Array:
    """Return dx of `lp_pool`.

    Forward: ``y = (m Σ |x|^p)^(1/p)``. By the chain rule ∂y/∂x = 1/p · (m Σ |x|^p)^(1/p - 1) · m·p·|x|^(p - 1)·sign(x)
    = m·sign(x)·(|x| / y)^(p - 1). Where the whole window is zero the norm has no derivative; we take 0.
    """
    seen = stack_taps(x, geometry, 0.0)
    nonzero = y > 0
    share = np.where(nonzero, dy, 0) * lp_factor(geometry, x.dtype, normalise)
    ratio = np.abs(seen) / np.where(nonzero, y, 1)
    slopes = np.sign(seen) * ratio ** (p - 1)
    return add_taps((np.asarray(share * slope, dtype=dy.dtype) for slope in slopes), dy, geometry)


def lp_factor(geometry: Geometry, dtype: Any, normalise: bool) -> Array:
    """Return m: 1 / |P(i)| for the slides' mean form, 1 for the plain norm."""
    sizes = window_sizes(geometry, dtype, count_padding=False)
    return 1 / sizes if normalise else np.ones_like(sizes)
