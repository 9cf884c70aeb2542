"""Poolings with gaps between their taps, and with windows that reach beyond the end."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from tests.layers.agreement import check, compare_with_torch
from torch.nn import functional as tf

from tatami import AveragePool, LpPool, MaxPool, Program, Sequential, SettingError, ShapeError, SquaredError
from tatami.layers import StochasticPool
from tatami.native import is_built

MAX_POOLS = {1: tf.max_pool1d, 2: tf.max_pool2d, 3: tf.max_pool3d}
AVERAGE_POOLS = {1: tf.avg_pool1d, 2: tf.avg_pool2d, 3: tf.avg_pool3d}


@st.composite
def windows(draw, gaps=True):
    """Draw (size, kernel, stride, padding, dilation) that both libraries take."""
    rank = draw(st.integers(1, 3))
    axis = st.tuples(
        st.integers(1, 9),
        st.integers(1, 3),
        st.integers(1, 4),
        st.integers(0, 1),
        st.integers(1, 3 if gaps else 1),
    )
    size, kernel, stride, padding, dilation = zip(*(draw(axis) for _ in range(rank)), strict=True)
    for n, k, p, d in zip(size, kernel, padding, dilation, strict=True):
        assume(2 * p <= k and (k - 1) * d + 1 <= n + 2 * p)
        # A window between whose taps the whole input falls sees only padding, which we refuse.
        assume(p < k and (p == 0 or d == 1))
    return size, kernel, stride, padding, dilation


@given(window=windows(), ceil=st.booleans())
@settings(max_examples=60, deadline=None)
def test_max_pool_is_pytorchs(window, ceil):
    size, kernel, stride, padding, dilation = window
    layer = MaxPool(kernel, stride, padding, dilation=dilation, ceil=ceil)
    function = MAX_POOLS[len(size)]
    compare_with_torch(
        layer, [(2, *size)], lambda x: function(x, kernel, stride, padding, dilation, ceil_mode=ceil)
    )


@given(window=windows(gaps=False))
@settings(max_examples=40, deadline=None)
def test_average_pool_to_the_end_is_pytorchs(window):
    size, kernel, stride, padding, _ = window
    assume(all(k <= n for n, k in zip(size, kernel, strict=True)))  # PyTorch asks for it in three dimensions
    layer = AveragePool(kernel, stride, padding, ceil=True)
    function = AVERAGE_POOLS[len(size)]
    compare_with_torch(
        layer,
        [(2, *size)],
        lambda x: function(x, kernel, stride, padding, ceil_mode=True, count_include_pad=False),
    )


def test_numbers_known_by_hand():
    x = np.array([[[1.0, 5, 2, 4, 3]]])

    def pooled(layer):
        network = Sequential(layer, input_shape=(1, 5))
        return (
            Program(network, SquaredError(), backend="reference", precision="f64")
            .predict({}, x)[0, 0]
            .tolist()
        )

    assert pooled(MaxPool(2)) == [5, 4]
    assert pooled(MaxPool(2, ceil=True)) == [5, 4, 3]
    assert pooled(MaxPool(2, stride=1, dilation=2)) == [2, 5, 3]
    assert pooled(MaxPool(2, stride=2, dilation=2, ceil=True)) == [2, 3]
    assert pooled(AveragePool(2, ceil=True)) == [3, 3, 3]
    assert pooled(LpPool(2, p=1, ceil=True)) == [3, 3, 3]
    # A window that would begin behind the input is not added.
    assert MaxPool(1, stride=3, ceil=True).output_shape((1, 5)) == (1, 2)
    assert MaxPool(2, stride=4, ceil=True).output_shape((1, 5)) == (1, 2)


def test_they_say_what_they_are():
    assert MaxPool(3, dilation=2, ceil=True).settings() == "window 3, dilation 2, to the end"
    with pytest.raises(SettingError, match="with ceil the last windows reach beyond the padding"):
        AveragePool(2, count_padding=True, ceil=True)
    with pytest.raises(ShapeError, match="the window is 5 wide"):
        MaxPool(3, dilation=2).output_shape((1, 4))
    check(StochasticPool(2, dilation=2, ceil=True), (2, 7))


@pytest.mark.skipif(not is_built(), reason="the kernels are not built")
@pytest.mark.parametrize(
    "layer", [MaxPool(2, ceil=True), MaxPool(2, stride=1, dilation=2), AveragePool(2, ceil=True)]
)
@pytest.mark.filterwarnings("ignore::tatami.program.native.SlowLayerWarning")
def test_the_native_backend_agrees(layer):
    network = Sequential(layer, input_shape=(3, 7, 5))
    x = torch.randn(4, 3, 7, 5, generator=torch.Generator().manual_seed(1)).numpy()
    outputs = [
        Program(network, SquaredError(), backend=backend).predict({}, x)
        for backend in ("reference", "native")
    ]
    np.testing.assert_allclose(*outputs, rtol=1e-6)
