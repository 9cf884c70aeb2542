"""Windows in the array API: what the taps of a window see, and its transpose.

The backends have their own, faster forms for convolution and pooling; these serve the rarer layers on every backend.
"""

from collections.abc import Iterable
from typing import Any

from tatami.backends.base import Array, Backend
from tatami.geometry import Geometry, Pairs

EVERYTHING = slice(None)


def zero_padded(ops: Backend, x: Array, padding: Pairs) -> Array:
    """Return x (N, C, *spatial) with zeros before and after every spatial axis."""
    for axis, (before, after) in enumerate(padding, start=2):
        edges = [zeros_along(ops, x, axis, count) for count in (before, after)]
        if before or after:
            x = ops.xp.concat([edges[0], x, edges[1]], axis=axis)
    return x


def zeros_along(ops: Backend, x: Array, axis: int, count: int) -> Array:
    """Return zeros in x's shape but for ``count`` entries along one axis."""
    return ops.xp.zeros((*x.shape[:axis], count, *x.shape[axis + 1 :]), dtype=x.dtype)


def tap_views(ops: Backend, x: Array, geometry: Geometry) -> Array:
    """Return what every tap of the window sees: (taps, N, C, *output_size), zeros in the padding."""
    padded = zero_padded(ops, x, geometry.padding)
    return ops.xp.stack([padded[where] for where in tap_slices(geometry)])


def add_tap_views(ops: Backend, contributions: Iterable[Array], like: Array, geometry: Geometry) -> Array:
    """Add one array for each tap to the positions that the tap saw, and drop the padding: transpose of `tap_views`."""
    dpadded = ops.xp.zeros((like.shape[0], geometry.channels, *geometry.padded_size), dtype=like.dtype)
    for where, contribution in zip(tap_slices(geometry), contributions, strict=True):
        dpadded[where] += contribution
    interior: Any = (EVERYTHING, EVERYTHING, *geometry.interior_slices())
    return dpadded[interior]


def tap_slices(geometry: Geometry) -> list[Any]:
    """List the slices of the padded input that each tap sees, row by row."""
    return [(EVERYTHING, EVERYTHING, *geometry.tap_slices(tap)) for tap in geometry.taps()]
