"""Noise while training: exact dropout, dropped channels and connections, Gaussian noise."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.layers.agreement import OPS, check, draw, run

from tatami import (
    ChannelDropout,
    DropConnect,
    Dropout,
    GaussianNoise,
    RandomKey,
    ReLU,
    Sigmoid,
    check_gradients,
)
from tatami.errors import SettingError, ShapeError
from tatami.layers import Context

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
ratios = st.sampled_from([0.0, 0.2, 0.5, 0.9])


@given(shape=shapes, ratio=ratios)
@settings(max_examples=6, deadline=None)
def test_gradients_with_the_same_mask(shape, ratio):
    for layer in (Dropout(ratio, exact=True), ChannelDropout(ratio), GaussianNoise(ratio)):
        check(layer, shape, sample=10)


@given(features=st.integers(1, 5), units=st.integers(1, 4), ratio=ratios)
@settings(max_examples=6, deadline=None)
def test_drop_connect_gradients(features, units, ratio):
    check(DropConnect(units, ratio, Sigmoid(), samples=3), (features,), sample=10)
    check(DropConnect(units, ratio, bias=False), (features,), sample=10)


def test_exact_dropout_keeps_an_exact_number_over_the_batch():
    x = np.ones((10, 200))
    y = run(Dropout(0.2, exact=True), [x], {}).output
    assert np.count_nonzero(y) == 1600
    np.testing.assert_allclose(y[y > 0], 1.25)
    assert len(set(np.count_nonzero(y, axis=1))) > 1  # over the batch, not for every example


def test_channels_are_dropped_as_one():
    y = run(ChannelDropout(0.5), [np.ones((6, 8, 4, 4))], {}).output
    assert np.all((y == 0).all(axis=(2, 3)) | (y == 2).all(axis=(2, 3)))
    assert 0 < np.count_nonzero(y) < y.size


@pytest.mark.parametrize("layer", [Dropout(0.3, exact=True), ChannelDropout(0.3), GaussianNoise(2.0)])
def test_prediction_leaves_the_input_alone(layer):
    x = RandomKey(0).normal("x", (2, 3, 4))
    np.testing.assert_array_equal(run(layer, [x], {}, training=False).output, x)


def test_gaussian_noise_has_its_deviation():
    y = run(GaussianNoise(0.5), [np.zeros((100, 1000))], {}).output
    assert abs(y.std() - 0.5) < 0.005
    assert abs(y.mean()) < 0.01


def test_drop_connect_drops_connections_not_units():
    x, weight = np.ones((2, 50)), np.ones((20, 50))
    forward = run(DropConnect(20, 0.5, bias=False), [x], {"weight": weight})
    assert np.count_nonzero(forward.saved["scale"]) not in (0, 1000)
    np.testing.assert_allclose(forward.output, np.tile(forward.saved["scale"].sum(axis=1), (2, 1)))


def test_drop_connect_predicts_with_the_moments_of_its_sums():
    layer = DropConnect(3, 0.5, ReLU(), samples=4000)
    inputs, parameters = draw(layer, [(6,)])
    predicted = run(layer, inputs, parameters, training=False).output
    drawn = [
        layer.forward(OPS, inputs, parameters, Context(True, RandomKey(9, step=step))).output
        for step in range(4000)
    ]
    # The sums of six terms are not quite normal, so only roughly equal; f of the mean is clearly off.
    np.testing.assert_allclose(predicted, np.mean(drawn, axis=0), atol=0.15)


def test_the_gradient_of_the_inference_rule():
    layer = DropConnect(2, 0.4, Sigmoid(), samples=5)
    inputs, parameters = draw(layer, [(3,)])

    def value():
        return run(layer, inputs, parameters, training=False).output

    forward = run(layer, inputs, parameters, training=False)
    backward = layer.backward(OPS, np.ones_like(forward.output), forward.saved, parameters)
    pairs = [(inputs[0], backward.dinputs[0])]
    pairs += [(parameters[name], backward.dparameters[name]) for name in parameters]
    for array, gradient in pairs:
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + 1e-6
            above = value().sum()
            array[index] = kept - 1e-6
            below = value().sum()
            array[index] = kept
            assert abs((above - below) / 2e-6 - gradient[index]) < 1e-7


def test_bad_settings():
    for layer in (ChannelDropout, Dropout, lambda ratio: DropConnect(2, ratio)):
        with pytest.raises(SettingError, match="ratio must be at least 0 and below 1, got 1.0"):
            layer(1.0)
    with pytest.raises(SettingError, match="std must be at least 0, got -1"):
        GaussianNoise(-1.0)
    with pytest.raises(ShapeError, match="put a Flatten before it"):
        DropConnect(2).output_shape((1, 2, 2))
    assert check_gradients(DropConnect(2, 0.0), (3,)).passed
