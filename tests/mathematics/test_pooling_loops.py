"""Pooling against a loop over windows that any reader can check, for every tie rule."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.mathematics.drawn import pooling_geometries

from tatami import Geometry, RandomKey, SettingError
from tatami.backends import TIE_RULES, ReferenceBackend
from tatami.layers import AveragePool, LpPool, MaxPool

OPS = ReferenceBackend()


def positions(geometry, output):
    """List the input positions that the window at an output position sees, row by row, padding left out."""
    seen = []
    for tap in np.ndindex(*geometry.kernel):
        at = tuple(
            i * step + t - before
            for i, step, t, (before, _) in zip(output, geometry.stride, tap, geometry.padding, strict=True)
        )
        if all(0 <= where < size for where, size in zip(at, geometry.size, strict=True)):
            seen.append(at)
    return seen


def windows(x, geometry):
    """Yield (place in y, places in x) for every window of every channel of every example."""
    for n, c in np.ndindex(*x.shape[:2]):
        for output in np.ndindex(*geometry.output_size):
            yield (n, c, *output), [(n, c, *at) for at in positions(geometry, output)]


def output_of(x, geometry):
    return np.zeros((*x.shape[:2], *geometry.output_size))


def few_values(geometry, seed, examples=2):
    """Draw from five values only, so that most windows hold ties."""
    u = RandomKey(seed).uniform("x", (examples, *geometry.input_shape))
    return np.floor(5 * u) - 2.0


def whole_upstream(shape, seed):
    # Multiples of 2520, so that sharing among up to ten equals stays a whole number.
    return 2520 * np.round(3 * RandomKey(seed).normal("dy", shape))


@given(geometry=pooling_geometries(), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("ties", TIE_RULES)
def test_max_pooling(ties, geometry, seed):
    x = few_values(geometry, seed)
    dy = whole_upstream(output_of(x, geometry).shape, seed)
    y, dx = output_of(x, geometry), np.zeros_like(x)
    for place, seen in windows(x, geometry):
        values = [x[at] for at in seen]
        y[place] = max(values)
        maxima = [at for at in seen if x[at] == y[place]]
        winners = maxima[:1] if ties == "first" else maxima
        for at in winners:
            dx[at] += dy[place] / (len(maxima) if ties == "even" else 1)
    actual, winner = OPS.max_pool(x, geometry)
    np.testing.assert_array_equal(actual, y)
    np.testing.assert_allclose(
        OPS.max_pool_gradient(dy, x, actual, winner, geometry, ties), dx, rtol=1e-13, atol=1e-9
    )


@given(geometry=pooling_geometries(), seed=st.integers(0, 1000), count_padding=st.booleans())
@settings(max_examples=60, deadline=None)
def test_average_pooling(geometry, seed, count_padding):
    x = few_values(geometry, seed)
    dy = RandomKey(seed).normal("dy", output_of(x, geometry).shape)
    y, dx = output_of(x, geometry), np.zeros_like(x)
    for place, seen in windows(x, geometry):
        size = np.prod(geometry.kernel) if count_padding else len(seen)
        y[place] = sum(x[at] for at in seen) / size
        for at in seen:
            dx[at] += dy[place] / size
    np.testing.assert_allclose(OPS.average_pool(x, geometry, count_padding), y, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(
        OPS.average_pool_gradient(dy, geometry, count_padding), dx, rtol=1e-13, atol=1e-14
    )


@given(
    geometry=pooling_geometries(),
    seed=st.integers(0, 1000),
    p=st.sampled_from([1.0, 1.5, 2.0, 3.0, 7.0]),
    normalise=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_lp_pooling(geometry, seed, p, normalise):
    x = few_values(geometry, seed)
    dy = RandomKey(seed).normal("dy", output_of(x, geometry).shape)
    y, dx = output_of(x, geometry), np.zeros_like(x)
    for place, seen in windows(x, geometry):
        factor = 1 / len(seen) if normalise else 1
        y[place] = (factor * sum(abs(x[at]) ** p for at in seen)) ** (1 / p)
        for at in seen:
            if y[place] > 0:
                dx[at] += factor * np.sign(x[at]) * (abs(x[at]) / y[place]) ** (p - 1) * dy[place]
    actual = OPS.lp_pool(x, geometry, p, normalise)
    np.testing.assert_allclose(actual, y, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(
        OPS.lp_pool_gradient(dy, x, actual, geometry, p, normalise), dx, rtol=1e-12, atol=1e-13
    )


def test_lp_pooling_neither_overflows_nor_underflows():
    geometry = Geometry.of((1, 2), 2)
    for size in (1e200, 1e-200, 0.0):
        x = np.array([[[3 * size, -4 * size]]])
        y = OPS.lp_pool(x, geometry, 2.0, False)
        np.testing.assert_allclose(y, [[[5 * size]]], rtol=1e-15)
        dx = OPS.lp_pool_gradient(np.ones_like(y), x, y, geometry, 2.0, False)
        np.testing.assert_allclose(dx, [[[0.6, -0.8]]] if size else [[[0, 0]]], rtol=1e-15)


def test_nan_is_not_lost_in_a_maximum():
    x = np.array([[[1.0, np.nan, 3.0, 4.0]]])
    y, _ = OPS.max_pool(x, Geometry.of((1, 4), 2, stride=2))
    assert np.isnan(y[0, 0, 0])
    assert y[0, 0, 1] == 4


def test_negative_inputs_win_over_the_padding():
    x = np.full((1, 1, 2), -7.0)
    y, _ = OPS.max_pool(x, Geometry.of((1, 2), 2, padding=1))
    assert y.tolist() == [[[-7, -7, -7]]]


@pytest.mark.parametrize(
    "layer", [MaxPool(2, padding=2), AveragePool(3, padding=[(0, 5)]), LpPool(1, padding=1)]
)
def test_a_window_that_sees_only_padding_is_refused(layer):
    with pytest.raises(
        SettingError, match=r"pool .*window \d+ on spatial axis 0 sees only padding; padding must"
    ):
        layer.output_shape((1, 6))


def test_the_check_for_windows_in_the_padding_finds_gaps_too():
    # Taps at -1 and 1 of an input of one position: the window straddles it.
    geometry = Geometry.of((1, 1), 2, padding=1, dilation=2)
    with pytest.raises(SettingError, match="window 0 on spatial axis 0 sees only padding"):
        geometry.require_input_in_every_window("pool1")
    Geometry.of((1, 2), 2, padding=1, dilation=2).require_input_in_every_window("pool1")
