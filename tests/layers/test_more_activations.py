"""The activations beyond ReLU: known numbers, gradients, PyTorch's values."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as tf
from hypothesis import given, settings, strategies as st
from tests.layers.agreement import OPS, check, compare_with_torch, run

from tatami import ELU, GELU, SELU, FReLU, HardSigmoid, LeakyReLU, Maxout, Mish, PReLU, Softplus, Swish
from tatami.errors import SettingError, ShapeError, UnknownNameError
from tatami.layers.smooth_activations import complementary_error_function

PLAIN = {
    "leaky_relu": (LeakyReLU(0.02), lambda x: tf.leaky_relu(x, 0.02)),
    "elu": (ELU(0.7), lambda x: tf.elu(x, 0.7)),
    "selu": (SELU(), tf.selu),
    "softplus": (Softplus(), tf.softplus),
    "silu": (Swish(), tf.silu),
    "swish": (Swish(1.7), lambda x: x * torch.sigmoid(1.7 * x)),
    "mish": (Mish(), tf.mish),
    "gelu": (GELU(), tf.gelu),
    "gelu_tanh": (GELU("tanh"), lambda x: tf.gelu(x, approximate="tanh")),
    "hard_sigmoid": (HardSigmoid(), lambda x: tf.relu6(x + 3) / 6),
    "prelu": (PReLU(), lambda x, slope: tf.prelu(x, slope)),
    "prelu_shared": (PReLU(shared=True), lambda x, slope: tf.prelu(x, slope)),
}
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize("name", PLAIN)
@given(shape=shapes)
@settings(max_examples=4, deadline=None)
def test_derivatives_and_agreement_with_torch(name, shape):
    layer, function = PLAIN[name]
    check(layer, shape, sample=8)
    compare_with_torch(layer, [shape], function)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_from_zero_nothing_overflows_and_nan_stays(name, dtype):
    layer = PLAIN[name][0]
    x = np.array([[-1e30, -800, -90, -20, 0, 20, 90, 800, 1e30]], dtype).reshape(9, 1)
    parameters = {"slope": np.full(1, 0.25, dtype)} if name.startswith("prelu") else {}
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        # GELU by tanh cubes its input; only that may leave float32.
        forward = run(layer, [x], parameters)
        dx = layer.backward(OPS, np.ones_like(x), forward.saved, parameters).dinputs[0]
    if name != "gelu_tanh":
        assert np.isfinite(forward.output).all()
        assert np.isfinite(dx).all()
    with np.errstate(invalid="ignore"):
        assert np.isnan(run(layer, [np.full((1, 1), np.nan, dtype)], parameters).output).all()


def test_numbers_known_by_hand():
    x = np.array([[-2.0, 0.0, 3.0]])
    np.testing.assert_array_equal(run(LeakyReLU(0.5), [x], {}).output, [[-1, 0, 3]])
    np.testing.assert_allclose(run(ELU(), [x], {}).output, [[math.exp(-2) - 1, 0, 3]])
    np.testing.assert_allclose(run(HardSigmoid(0.2), [x], {}).output, [[0.1, 0.5, 1.0]])
    np.testing.assert_allclose(run(Softplus(), [x], {}).output[0, 1], math.log(2))
    np.testing.assert_allclose(run(Swish(), [x], {}).output[0, 2], 3 / (1 + math.exp(-3)))
    np.testing.assert_allclose(run(GELU(), [x], {}).output[0, 2], 3 * 0.5 * (1 + math.erf(3 / math.sqrt(2))))
    np.testing.assert_allclose(run(Mish(), [x], {}).output[0, 2], 3 * math.tanh(math.log(1 + math.exp(3))))


def test_selu_keeps_mean_0_and_variance_1():
    x = np.random.default_rng(0).standard_normal((200_000, 1))
    y = run(SELU(), [x], {}).output
    assert abs(y.mean()) < 0.01
    assert abs(y.var() - 1) < 0.02


def test_the_complementary_error_function_is_exact():
    x = np.linspace(-10, 20, 3001)
    expected = np.array([math.erfc(value) for value in x])
    y = complementary_error_function(OPS, x)
    np.testing.assert_allclose(y[x < 5], expected[x < 5], rtol=3e-15)
    np.testing.assert_allclose(y, expected, rtol=5e-14)


@given(
    channels=st.integers(1, 3),
    size=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    kernel=st.sampled_from([1, 3]),
)
@settings(max_examples=6, deadline=None)
def test_frelu(channels, size, kernel):
    shape = (channels, *size)
    check(FReLU(kernel), shape, sample=10)
    convolve = [tf.conv1d, tf.conv2d, tf.conv3d][len(size) - 1]

    def funnel(x, weight, bias):
        return torch.maximum(x, convolve(x, weight, bias, padding=kernel // 2, groups=channels))

    compare_with_torch(FReLU(kernel), [shape], funnel)


@given(pieces=st.integers(1, 3), groups=st.integers(1, 3), size=st.lists(st.integers(1, 4), max_size=3))
@settings(max_examples=8, deadline=None)
def test_maxout(pieces, groups, size):
    shape = (pieces * groups, *size)
    check(Maxout(pieces), shape, sample=10)

    def torch_maxout(x):
        return x.reshape(len(x), groups, pieces, *size).amax(dim=2)

    compare_with_torch(Maxout(pieces), [shape], torch_maxout)


def test_maxout_keeps_the_largest_of_neighbouring_channels_and_the_first_of_equals():
    x = np.array([[1.0, 3.0, 5.0, 5.0]])
    forward = run(Maxout(2), [x], {})
    np.testing.assert_array_equal(forward.output, [[3, 5]])
    dx = Maxout(2).backward(OPS, np.array([[1.0, 2.0]]), forward.saved, {}).dinputs[0]
    np.testing.assert_array_equal(dx, [[0, 1, 2, 0]])


def test_wrong_settings_are_named():
    with pytest.raises(SettingError, match="LeakyReLU: slope must be a finite number, got 'steep'"):
        LeakyReLU("steep")
    with pytest.raises(UnknownNameError, match="did you mean 'tanh'"):
        GELU("tan")
    with pytest.raises(ShapeError, match="3 pieces do not divide the 4 channels"):
        Maxout(3).output_shape((4, 2, 2))
    with pytest.raises(SettingError, match="kernel must be odd"):
        FReLU(2).output_shape((4, 3, 3))
