"""The third ring: values and gradients of the layers and losses against PyTorch, in float64.

Both sides add the same products in another order, so they agree to rounding: a relative error of 1e-12 against the
largest entry leaves room for sums of thousands of terms.
"""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from tests.mathematics.drawn import geometries, pooling_geometries
from torch.nn import functional as tf

from tatami import (
    AveragePool,
    Convolution,
    Dense,
    GlobalAveragePool,
    GlobalMaxPool,
    LpPool,
    MaxPool,
    RandomKey,
    ReLU,
    Sigmoid,
    Softmax,
    SoftmaxCrossEntropy,
    SquaredError,
    Tanh,
)
from tatami.backends import ReferenceBackend
from tatami.layers import Context

OPS = ReferenceBackend()
CONVOLUTIONS = {1: tf.conv1d, 2: tf.conv2d, 3: tf.conv3d}
MAX_POOLS = {1: tf.max_pool1d, 2: tf.max_pool2d, 3: tf.max_pool3d}
AVERAGE_POOLS = {1: tf.avg_pool1d, 2: tf.avg_pool2d, 3: tf.avg_pool3d}
LP_POOLS = {1: tf.lp_pool1d, 2: tf.lp_pool2d, 3: tf.lp_pool3d}


def normal(name, shape, seed=0):
    return RandomKey(seed).normal(name, shape)


def agree(actual, expected):
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    assert actual.shape == expected.shape
    scale = max(1e-300, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=1e-12)


def compare(layer, x, parameters, torch_function, seed=0):
    """Compare output, input gradient and parameter gradients of a layer with a function of torch tensors."""
    result = layer.forward(OPS, (x,), parameters, Context(training=True))
    dy = normal("dy", result.output.shape, seed)
    backward = layer.backward(OPS, dy, result.saved, parameters)
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in {"x": x, **parameters}.items()}
    output = torch_function(**leaves)
    output.backward(torch.tensor(dy))
    agree(result.output, output)
    agree(backward.dinputs[0], leaves["x"].grad)
    assert set(backward.dparameters) == set(parameters)
    for name, gradient in backward.dparameters.items():
        agree(gradient, leaves[name].grad)


def torch_padded(x, padding, value=0.0):
    """Pad in torch, whose `pad` takes the last axis first."""
    return tf.pad(x, [side for pair in reversed(padding) for side in pair], value=value)


@given(geometry=geometries(), bias=st.booleans(), examples=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_convolution(geometry, bias, examples, seed):
    layer = Convolution(
        geometry.filters,
        geometry.kernel,
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        groups=geometry.groups,
        bias=bias,
    )
    parameters = {"weight": normal("w", geometry.weight_shape, seed)}
    if bias:
        parameters["bias"] = normal("b", (geometry.filters,), seed)

    def function(x, weight, bias=None):
        return CONVOLUTIONS[geometry.rank](
            torch_padded(x, geometry.padding),
            weight,
            bias,
            stride=geometry.stride,
            dilation=geometry.dilation,
            groups=geometry.groups,
        )

    compare(layer, normal("x", (examples, *geometry.input_shape), seed), parameters, function, seed)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_is_that_of_torch(kernel, dilation):
    # torch warns (once) that an even kernel needs a padded copy of the input, and pads at the end as we do.
    layer = Convolution(2, kernel, padding="same", dilation=dilation, bias=False)
    x, weight = normal("x", (2, 3, 9)), normal("w", (2, 3, kernel))
    ours = layer.forward(OPS, (x,), {"weight": weight}, Context()).output
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same' with even kernel")
        theirs = tf.conv1d(torch.tensor(x), torch.tensor(weight), padding="same", dilation=dilation)
    agree(ours, theirs)


def pooling_layer(cls, geometry, **settings):
    return cls(geometry.kernel, stride=geometry.stride, padding=geometry.padding, **settings)


@given(geometry=pooling_geometries(), ties=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_max_pool_gives_ties_to_the_first(geometry, ties, seed):
    x = normal("x", (2, *geometry.input_shape), seed)
    x = np.floor(x) if ties else x

    def function(x):
        padded = torch_padded(x, geometry.padding, value=-torch.inf)
        return MAX_POOLS[geometry.rank](padded, geometry.kernel, geometry.stride)

    compare(pooling_layer(MaxPool, geometry), x, {}, function, seed)


@given(geometry=pooling_geometries(), count_padding=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_average_pool(geometry, count_padding, seed):
    def function(x):
        pool = AVERAGE_POOLS[geometry.rank]
        total = pool(torch_padded(x, geometry.padding), geometry.kernel, geometry.stride)
        if count_padding:
            return total
        inside = torch_padded(torch.ones_like(x), geometry.padding)
        return total / pool(inside, geometry.kernel, geometry.stride)

    layer = pooling_layer(AveragePool, geometry, count_padding=count_padding)
    compare(layer, normal("x", (2, *geometry.input_shape), seed), {}, function, seed)


@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 1), (3, 2, 1), (4, 3, 2), (3, 1, (1, 0))])
def test_average_pool_counts_padding_as_torch_does(count_padding, size, stride, padding):
    layer = AveragePool(size, stride=stride, padding=padding, count_padding=count_padding)
    compare(
        layer,
        normal("x", (2, 3, 7, 6)),
        {},
        lambda x: tf.avg_pool2d(x, size, stride, padding, count_include_pad=count_padding),
    )


@given(geometry=pooling_geometries(), p=st.sampled_from([1.0, 2.0, 2.5, 3.0]), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_lp_pool_without_the_mean_is_torchs(geometry, p, seed):
    # torch leaves out the magnitude, so the inputs are positive here; the loops of the second ring hold the signs.
    x = 0.1 + np.abs(normal("x", (2, *geometry.input_shape), seed))

    def function(x):
        # lp_pool1d takes its kernel as a number only
        kernel = geometry.kernel if geometry.rank > 1 else geometry.kernel[0]
        return LP_POOLS[geometry.rank](torch_padded(x, geometry.padding), p, kernel, geometry.stride)

    compare(pooling_layer(LpPool, geometry, p=p, normalise=False), x, {}, function, seed)


@pytest.mark.parametrize("spatial", [(7,), (4, 3), (2, 3, 4)])
def test_global_pools(spatial):
    axes = tuple(range(2, 2 + len(spatial)))
    x = normal("x", (3, 4, *spatial))
    compare(GlobalAveragePool(), x, {}, lambda x: x.mean(dim=axes))
    compare(GlobalMaxPool(), x, {}, lambda x: x.amax(dim=axes))


@given(examples=st.integers(1, 4), features=st.integers(1, 6), units=st.integers(1, 6), bias=st.booleans())
@settings(max_examples=20, deadline=None)
def test_dense(examples, features, units, bias):
    parameters = {"weight": normal("w", (units, features))}
    if bias:
        parameters["bias"] = normal("b", (units,))
    compare(
        Dense(units, bias=bias),
        normal("x", (examples, features)),
        parameters,
        lambda x, weight, bias=None: tf.linear(x, weight, bias),
    )


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (Sigmoid(), torch.sigmoid),
        (Tanh(), torch.tanh),
        (ReLU(), torch.relu),
        (Softmax(), lambda x: torch.softmax(x, dim=1)),
    ],
)
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4), (2, 3, 2, 2)])
@pytest.mark.parametrize("scale", [1, 40])
def test_activations(layer, function, shape, scale):
    x = scale * normal("x", shape)
    x.flat[0] = 0.0
    compare(layer, x, {}, lambda x: function(x))


@given(
    examples=st.integers(1, 6),
    classes=st.integers(1, 6),
    spatial=st.sampled_from([(), (3,), (2, 2)]),
    scale=st.sampled_from([1.0, 1e3]),
    reduction=st.sampled_from(["mean", "sum"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_softmax_cross_entropy(examples, classes, spatial, scale, reduction, seed):
    logits = scale * normal("z", (examples, classes, *spatial), seed)
    labels = (RandomKey(seed).uniform("r", (examples, *spatial)) * classes).astype(np.int64)
    loss = SoftmaxCrossEntropy(reduction)
    target = loss.target(labels, logits.shape[1:])
    leaf = torch.tensor(logits, requires_grad=True)
    expected = tf.cross_entropy(leaf, torch.tensor(labels), reduction="sum")
    if reduction == "mean":  # torch divides by the positions too
        expected = expected / examples
    expected.backward()
    assert loss.value(OPS, logits, target) == pytest.approx(float(expected.detach()), rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(loss.gradient(OPS, logits, target), leaf.grad.numpy(), rtol=0, atol=1e-13)
    agree(loss.predict(OPS, logits), torch.softmax(leaf, dim=1))


@given(shape=st.sampled_from([(4, 3), (2, 3, 4)]), reduction=st.sampled_from(["mean", "sum"]))
@settings(max_examples=8, deadline=None)
def test_squared_error(shape, reduction):
    output, target = normal("y", shape), normal("t", shape)
    loss = SquaredError(reduction)
    leaf = torch.tensor(output, requires_grad=True)
    expected = tf.mse_loss(leaf, torch.tensor(target), reduction="sum") / 2
    expected = expected / shape[0] if reduction == "mean" else expected
    expected.backward()
    assert loss.value(OPS, output, target) == pytest.approx(float(expected.detach()), rel=1e-13)
    agree(loss.gradient(OPS, output, target), leaf.grad)
