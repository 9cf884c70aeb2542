"""Occlusion: cover a patch of the input and see what the score loses."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError
from tatami.geometry import PerAxis, check_positive, per_axis
from tatami.inspect.gradients import scores
from tatami.inspect.units import Target, resolve_target
from tatami.network import Network, Parameters

OCCLUDED_BATCH = 128


def occlusion(
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    *,
    window: PerAxis | None = None,
    stride: PerAxis | None = None,
    fill: float = 0.0,
    state: Parameters | None = None,
) -> NDArray[np.float64]:
    """Return how much the score falls when a window of the input, all channels of it, is filled with one value.

    For every window P of the sliding positions d(P) = S(x) - S(x with x(c, i) = fill for i ∈ P). A place gets the mean
    of d over the windows that cover it: positive where covering it hurts.

    Args:
        network: the network.
        parameters: layer → name → array.
        x: a batch (N, *input_shape), preprocessed.
        target: a class for all examples, one for each, or a `Unit`.
        state: what layers carry; the initial state by default.
        window: sizes of the patch, one number or one for each axis; about a quarter of the input by default.
        stride: its step; about a third of the window by default. The last window is cut off at the border.
        fill: what covers; 0 is the ground of the digits.

    Returns:
        (N, *spatial); for flat inputs (N, features).

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Dense
    >>> from tatami.network import Sequential
    >>> network = Sequential(Dense(1, weight_initializer=Given([[1, 10, 100]])), input_shape=(3,))
    >>> occlusion(network, network.initialize(), np.ones((1, 3)), target=0, window=2, stride=1)
    array([[ 11. ,  60.5, 110. ]])

    Source: Zeiler, Fergus, "Visualizing and understanding convolutional networks" (2013), §4.2. Changed: they record
    the score at the window's centre; we spread its fall over the window, so that the map has the size of the input.
    """
    spatial = network.input_shape[1:] or network.input_shape
    size = window_size(window, spatial)
    step = (
        tuple(max(1, side // 3) for side in size)
        if stride is None
        else per_axis(stride, len(spatial), "stride", "occlusion")
    )
    check_positive(step, "stride", "occlusion")
    if not np.isfinite(fill):
        raise SettingError(f"occlusion: fill must be finite, got {fill!r}")
    windows = sliding_windows(spatial, size, step)
    chosen = resolve_target(network, target, len(x))
    whole = scores(network, parameters, x, chosen, state).astype(np.float64)
    total = np.zeros((len(x), *spatial))
    covered = np.zeros(spatial)
    for where in windows:
        covered[where] += 1
    for number, example in enumerate(x):
        for start in range(0, len(windows), OCCLUDED_BATCH):
            some = windows[start : start + OCCLUDED_BATCH]
            patched = np.repeat(example[None], len(some), axis=0)
            for copy, where in zip(patched, some, strict=True):
                copy[(slice(None), *where) if copy.ndim > 1 else where] = fill
            asked = chosen.of_examples([number] * len(some))
            falls = whole[number] - scores(network, parameters, patched, asked, state)
            for where, fall in zip(some, falls, strict=True):
                total[number][where] += fall
    return total / np.maximum(covered, 1)


def window_size(window: PerAxis | None, spatial: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sizes of the patch, within the input."""
    if window is None:
        return tuple(max(1, round(side / 4)) for side in spatial)
    size = per_axis(window, len(spatial), "window", "occlusion")
    check_positive(size, "window", "occlusion")
    return tuple(min(side, whole) for side, whole in zip(size, spatial, strict=True))


def sliding_windows(
    spatial: Sequence[int], size: Sequence[int], step: Sequence[int]
) -> list[tuple[slice, ...]]:
    """List the windows, row by row; the last on each axis reaches the end and may be cut off there.

    >>> sliding_windows((5,), (2,), (2,))
    [(slice(0, 2, None),), (slice(2, 4, None),), (slice(4, 5, None),)]
    """
    axes = []
    for whole, side, hop in zip(spatial, size, step, strict=True):
        count = -(-(whole - side) // hop) + 1
        axes.append([slice(at * hop, min(at * hop + side, whole)) for at in range(count)])
    return list(product(*axes))
