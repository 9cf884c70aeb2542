"""Transposed, unshared, separable and table convolutions; padding modes; up-sampling; the rarer poolings."""

from math import prod

import numpy as np
import pytest
import torch
import torch.nn.functional as tf
from hypothesis import assume, given, settings, strategies as st
from tests.layers.agreement import OPS, check, compare_with_torch, draw, run

from tatami import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    Convolution,
    LocallyConnected,
    MaxPool,
    MaxUnpool,
    Pad,
    RandomKey,
    SeparableConvolution,
    StochasticPool,
    TableConvolution,
    TransposedConvolution,
    Upsample,
)
from tatami.errors import SettingError, ShapeError
from tatami.layers import Context

CONVOLVE = (tf.conv1d, tf.conv2d, tf.conv3d)
TRANSPOSE = (tf.conv_transpose1d, tf.conv_transpose2d, tf.conv_transpose3d)
LINEAR = ("linear", "bilinear", "trilinear")


@st.composite
def windows(draw):
    rank = draw(st.integers(1, 3))
    numbers = [
        tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))
        for low, high in ((2, 5), (1, 3), (1, 3), (0, 1), (1, 2))
    ]
    return rank, *numbers


@given(window=windows(), groups=st.integers(1, 2), bias=st.booleans(), data=st.data())
@settings(max_examples=12, deadline=None)
def test_transposed_convolution(window, groups, bias, data):
    rank, size, kernel, stride, padding, dilation = window
    extra = tuple(data.draw(st.integers(0, step - 1)) for step in stride)
    layer = TransposedConvolution(2 * groups, kernel, stride, padding, extra, dilation, groups, bias)
    shape = (groups, *size)
    try:
        layer.output_shape(shape)
    except ShapeError:
        assume(False)
    check(layer, shape, sample=8)

    def expected(x, weight, bias=None):
        return TRANSPOSE[rank - 1](x, weight, bias, stride, padding, extra, groups, dilation)

    compare_with_torch(layer, [shape], expected)


def test_transposed_convolution_stamps_the_kernel():
    layer = TransposedConvolution(1, 2, stride=2, bias=False)
    weight = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    y = run(layer, [np.array([[[[1.0, 10.0]]]])], {"weight": weight}).output
    np.testing.assert_array_equal(y[0, 0], [[1, 2, 10, 20], [3, 4, 30, 40]])


@pytest.mark.parametrize("size", [7, 8])
def test_output_padding_chooses_the_size_that_a_strided_convolution_came_from(size):
    down = Convolution(4, 3, stride=2, padding=1).output_shape((2, size, size))
    up = TransposedConvolution(2, 3, stride=2, padding=1, output_padding=(size + 1) % 2)
    assert up.output_shape(down) == (2, size, size)
    same = TransposedConvolution(2, 3, stride=2, padding="same", output_padding=1)
    assert same.output_shape((4, 5, 5)) == (2, 10, 10)


@given(window=windows(), bias=st.booleans())
@settings(max_examples=8, deadline=None)
def test_locally_connected(window, bias):
    _, size, kernel, stride, padding, dilation = window
    layer = LocallyConnected(3, kernel, stride, padding, dilation, bias)
    shape = (2, *size)
    try:
        layer.output_shape(shape)
    except ShapeError:
        assume(False)
    check(layer, shape, sample=8)


@given(size=st.tuples(st.integers(3, 6), st.integers(3, 6)), stride=st.integers(1, 2))
@settings(max_examples=5, deadline=None)
def test_locally_connected_agrees_with_torch_unfold(size, stride):
    layer = LocallyConnected(3, (2, 3), stride, padding=1)
    output = layer.output_shape((2, *size))

    def expected(x, weight, bias):
        columns = tf.unfold(x, (2, 3), padding=1, stride=stride)
        filters = weight.reshape(3, 12, prod(output[1:]))
        return torch.einsum("ncp,kcp->nkp", columns, filters).reshape(-1, *output) + bias

    compare_with_torch(layer, [(2, *size)], expected)


def test_locally_connected_with_equal_filters_is_a_convolution():
    (x,), parameters = draw(Convolution(3, 3), [(2, 6, 5)])
    y = run(Convolution(3, 3), [x], parameters).output
    weight = np.broadcast_to(parameters["weight"][..., None, None], (3, 2, 3, 3, 4, 3))
    bias = np.broadcast_to(parameters["bias"][:, None, None], (3, 4, 3))
    local = run(LocallyConnected(3, 3), [x], {"weight": weight, "bias": bias}).output
    np.testing.assert_allclose(local, y, atol=1e-12)


@given(window=windows(), multiplier=st.integers(1, 2), bias=st.booleans())
@settings(max_examples=8, deadline=None)
def test_separable_convolution(window, multiplier, bias):
    rank, size, kernel, stride, padding, dilation = window
    layer = SeparableConvolution(3, kernel, stride, padding, dilation, multiplier, bias)
    shape = (2, *size)
    try:
        layer.output_shape(shape)
    except ShapeError:
        assume(False)
    check(layer, shape, sample=8)

    def expected(x, depthwise_weight, pointwise_weight, bias=None):
        v = CONVOLVE[rank - 1](x, depthwise_weight, None, stride, padding, dilation, 2)
        return CONVOLVE[rank - 1](v, pointwise_weight, bias)

    compare_with_torch(layer, [shape], expected)


@given(size=st.lists(st.integers(3, 5), min_size=1, max_size=3), bias=st.booleans())
@settings(max_examples=5, deadline=None)
def test_table_convolution(size, bias):
    table = ((0, 2), (1,), (2, 0, 1))
    layer = TableConvolution(3, table, padding=1, bias=bias)
    shape = (3, *size)
    check(layer, shape, sample=8)

    def expected(x, weight, bias=None):
        full = torch.zeros(3, 3, *weight.shape[1:], dtype=weight.dtype)
        for number, (k, c) in enumerate(layer.connections()):
            full = full.clone()
            full[k, c] = weight[number]
        return CONVOLVE[len(size) - 1](x, full, bias, padding=1)

    compare_with_torch(layer, [shape], expected)


@given(
    size=st.lists(st.integers(2, 4), min_size=1, max_size=3),
    pair=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    mode=st.sampled_from(["zero", "constant", "reflect", "replicate", "circular"]),
)
@settings(max_examples=15, deadline=None)
def test_padding_modes(size, pair, mode):
    layer = Pad([pair] * len(size), mode, value=2.5 if mode == "constant" else 0.0)
    shape = (2, *size)
    check(layer, shape, sample=8)
    torch_mode = {"zero": "constant"}.get(mode, mode)

    def expected(x):
        value = {"value": 2.5} if mode == "constant" else {}
        return tf.pad(x, pair * len(size), torch_mode, **value)

    compare_with_torch(layer, [shape], expected)


def test_padding_by_hand():
    x = np.array([[[1.0, 2.0, 3.0, 4.0]]])
    expected = {
        "zero": [0, 0, 1, 2, 3, 4, 0, 0],
        "reflect": [3, 2, 1, 2, 3, 4, 3, 2],
        "replicate": [1, 1, 1, 2, 3, 4, 4, 4],
        "circular": [3, 4, 1, 2, 3, 4, 1, 2],
    }
    for mode, values in expected.items():
        np.testing.assert_array_equal(run(Pad(2, mode), [x], {}).output[0, 0], values)
    np.testing.assert_array_equal(run(Pad([(1, 0)], "constant", 7.0), [x], {}).output[0, 0], [7, 1, 2, 3, 4])


@given(
    size=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    factor=st.integers(1, 3),
    mode=st.sampled_from(["nearest", "linear", "corners"]),
)
@settings(max_examples=12, deadline=None)
def test_upsampling(size, factor, mode):
    layer = Upsample(factor, "nearest" if mode == "nearest" else "linear", mode == "corners")
    shape = (2, *size)
    check(layer, shape, sample=8)

    def expected(x):
        if mode == "nearest":
            return tf.interpolate(x, scale_factor=factor, mode="nearest")
        return tf.interpolate(
            x, scale_factor=factor, mode=LINEAR[len(size) - 1], align_corners=mode == "corners"
        )

    compare_with_torch(layer, [shape], expected)


@given(size=st.lists(st.integers(1, 6), min_size=1, max_size=3), count=st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_adaptive_pooling(size, count):
    shape, rank = (2, *size), len(size)
    average = (tf.adaptive_avg_pool1d, tf.adaptive_avg_pool2d, tf.adaptive_avg_pool3d)[rank - 1]
    largest = (tf.adaptive_max_pool1d, tf.adaptive_max_pool2d, tf.adaptive_max_pool3d)[rank - 1]
    check(AdaptiveAveragePool(count), shape, sample=8)
    check(AdaptiveMaxPool(count), shape, sample=8)
    compare_with_torch(AdaptiveAveragePool(count), [shape], lambda x: average(x, count))
    compare_with_torch(AdaptiveMaxPool(count), [shape], lambda x: largest(x, count))


@given(size=st.lists(st.integers(2, 5), min_size=1, max_size=3))
@settings(max_examples=5, deadline=None)
def test_unpooling_puts_maxima_back(size):
    before = (2, *size)
    pooled = MaxPool(2).output_shape(before)
    check(MaxUnpool(2), pooled, before, sample=8)
    rank = len(size)
    pool = (tf.max_pool1d, tf.max_pool2d, tf.max_pool3d)[rank - 1]
    unpool = (tf.max_unpool1d, tf.max_unpool2d, tf.max_unpool3d)[rank - 1]

    def expected(x, looked_at):
        _, switches = pool(looked_at, 2, return_indices=True)
        return unpool(x, switches, 2, output_size=size)

    compare_with_torch(MaxUnpool(2), [pooled, before], expected)


def test_unpooling_by_hand():
    before = np.array([[[[1.0, 2.0], [4.0, 3.0]]]])
    y = run(MaxUnpool(2), [np.array([[[[9.0]]]]), before], {}).output
    np.testing.assert_array_equal(y[0, 0], [[0, 0], [9, 0]])


@given(size=st.lists(st.integers(2, 5), min_size=1, max_size=2), stride=st.integers(1, 2))
@settings(max_examples=6, deadline=None)
def test_stochastic_pooling(size, stride):
    layer = StochasticPool(2, stride)
    check(layer, (2, *size), sample=8)

    def weighted_mean(x):
        a = torch.relu(x)
        numbers = a.unfold(2, 2, stride)
        if len(size) == 2:
            numbers = numbers.unfold(3, 2, stride).flatten(-2)
        total = numbers.sum(-1)
        return (numbers**2).sum(-1) / torch.where(total > 0, total, 1)

    compare_with_torch(layer, [(2, *size)], weighted_mean, training=False)


def test_stochastic_pooling_draws_by_size():
    x = np.tile(np.array([1.0, 3.0]), (1, 1, 5000))
    y = run(StochasticPool(2), [x], {}).output
    assert set(np.unique(y)) == {1.0, 3.0}
    assert abs((y == 3).mean() - 0.75) < 0.03
    np.testing.assert_allclose(run(StochasticPool(2), [x], {}, training=False).output, 2.5)
    nothing = run(StochasticPool(2), [-x], {}, training=False).output
    np.testing.assert_array_equal(nothing, 0)
    context = Context(True, RandomKey(1, step=1))
    assert not np.array_equal(StochasticPool(2).forward(OPS, (x,), {}, context).output, y)


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (Pad([(300, 500)], "reflect"), lambda x: tf.pad(x, (300, 500), "reflect")),
        (Pad([(300, 500)], "circular"), lambda x: tf.pad(x, (300, 500), "circular")),
        (Pad([(2000, 3)], "replicate"), lambda x: tf.pad(x, (2000, 3), "replicate")),
        (Pad([(2000, 3)]), lambda x: tf.pad(x, (2000, 3))),
        (Upsample(3, "linear"), lambda x: tf.interpolate(x, scale_factor=3, mode="linear")),
        (Upsample(3), lambda x: tf.interpolate(x, scale_factor=3)),
        (AdaptiveAveragePool(3), lambda x: tf.adaptive_avg_pool1d(x, 3)),
        (AdaptiveAveragePool(2000), lambda x: tf.adaptive_avg_pool1d(x, 2000)),
    ],
)
def test_long_signals_are_resampled_in_blocks(layer, function):
    compare_with_torch(layer, [(2, 3001)], function)
    largest = max(block.size for rows in layer.rows((3001,)) for _, _, block in rows.blocks())
    assert largest <= 256 * 1024


def test_bad_settings():
    with pytest.raises(SettingError, match=r"output_padding must be from 0 to stride - 1, got \[1, 1\]"):
        TransposedConvolution(2, 2, output_padding=1).output_shape((1, 4, 4))
    with pytest.raises(ShapeError, match="use less padding"):
        TransposedConvolution(2, 2, padding=3).output_shape((1, 4, 4))
    with pytest.raises(SettingError, match="can pad by at most"):
        Pad(4, "reflect").output_shape((1, 4, 4))
    with pytest.raises(SettingError, match="value is filled in by mode 'constant'"):
        Pad(1, "zero", 3.0)
    with pytest.raises(SettingError, match="align_corners needs mode 'linear'"):
        Upsample(2, align_corners=True)
    with pytest.raises(ShapeError, match="but the values have shape"):
        MaxUnpool(2).output_shape((1, 3, 3), (1, 4, 4))
    with pytest.raises(ShapeError, match="filter 3 sees channels"):
        TableConvolution(5).output_shape((5, 14, 14))
    with pytest.raises(SettingError, match="none of them twice"):
        TableConvolution(5, ((0, 0),))
    for layer in (Pad(1), Upsample(2), AdaptiveMaxPool(2), AdaptiveAveragePool(2)):
        with pytest.raises(ShapeError, match="expected an input of shape"):
            layer.output_shape((4,))
