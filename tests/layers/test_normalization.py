"""Normalisation: moments, running values, gradients through the statistics, PyTorch's values."""

import numpy as np
import pytest
import torch
import torch.nn.functional as tf
from hypothesis import given, settings, strategies as st
from tests.layers.agreement import OPS, check, compare_with_torch, draw, run

from tatami import (
    SGD,
    BatchNormalization,
    Convolution,
    Dense,
    Flatten,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LocalResponseNormalization,
    Program,
    RandomKey,
    Sequential,
)
from tatami.errors import SettingError, ShapeError
from tatami.layers import Context

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
maps = st.lists(st.integers(2, 4), min_size=2, max_size=4).map(tuple)


@given(shape=shapes, affine=st.booleans())
@settings(max_examples=8, deadline=None)
def test_batch_normalization(shape, affine):
    layer = BatchNormalization(affine=affine)
    check(layer, shape, sample=10)

    def expected(x, scale=None, bias=None):
        return tf.batch_norm(x, None, None, scale, bias, training=True)

    compare_with_torch(layer, [shape], expected)


@given(shape=shapes)
@settings(max_examples=5, deadline=None)
def test_batch_normalization_at_prediction_uses_the_running_values(shape):
    layer = BatchNormalization()
    (x,), parameters = draw(layer, [shape])
    mean, variance = RandomKey(1).normal("m", shape[:1]), 0.5 + RandomKey(1).uniform("v", shape[:1])
    state = {"running_mean": mean, "running_variance": variance}
    forward = layer.forward(OPS, (x,), parameters, Context(False, state=state))
    tensor = torch.tensor(x, requires_grad=True)
    weights = [torch.tensor(parameters[name], requires_grad=True) for name in ("scale", "bias")]
    expected = tf.batch_norm(tensor, torch.tensor(mean), torch.tensor(variance), *weights)
    np.testing.assert_allclose(forward.output, expected.detach().numpy(), atol=1e-12)
    upstream = RandomKey(3).normal("dy", x.shape)
    expected.backward(torch.tensor(upstream))
    backward = layer.backward(OPS, upstream, forward.saved, parameters)
    np.testing.assert_allclose(backward.dinputs[0], tensor.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(backward.dparameters["scale"], weights[0].grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(backward.dparameters["bias"], weights[1].grad.numpy(), atol=1e-12)


def test_running_values_follow_the_batches_as_in_torch():
    layer, module = BatchNormalization(momentum=0.3), torch.nn.BatchNorm2d(3, momentum=0.3).double()
    state = layer.initial_state((3, 4, 4))
    parameters = {"scale": np.ones(3), "bias": np.zeros(3)}
    for step in range(4):
        x = RandomKey(1, step=step).normal("x", (5, 3, 4, 4)) * 2 + 1
        state = layer.forward(OPS, (x,), parameters, Context(True, state=state)).state
        module(torch.tensor(x))
    np.testing.assert_allclose(state["running_mean"], module.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(state["running_variance"], module.running_var.numpy(), rtol=1e-12)


def test_biased_variance_to_normalise_and_unbiased_to_remember():
    x = np.array([[1.0], [3.0]])
    forward = run(BatchNormalization(momentum=1.0, epsilon=1e-12, affine=False), [x], {})
    np.testing.assert_allclose(forward.output, [[-1], [1]])
    np.testing.assert_allclose(forward.state["running_mean"], [2])
    np.testing.assert_allclose(forward.state["running_variance"], [2])


def test_one_value_has_no_variance():
    with pytest.raises(ShapeError, match="use batches of two or more examples"):
        run(BatchNormalization(affine=False), [np.ones((1, 3))], {})
    run(BatchNormalization(affine=False), [np.ones((1, 3))], {}, training=False)
    with pytest.raises(ShapeError, match="at least two positions"):
        InstanceNormalization().output_shape((3, 1, 1))


@given(shape=shapes, affine=st.booleans())
@settings(max_examples=8, deadline=None)
def test_layer_normalization(shape, affine):
    check(LayerNormalization(affine=affine), shape, sample=10)
    check(LayerNormalization("channels", affine=affine), shape, sample=10)

    def over_all(x, scale=None, bias=None):
        return tf.layer_norm(x, shape, scale, bias)

    def over_channels(x, scale=None, bias=None):
        return torch.movedim(tf.layer_norm(torch.movedim(x, 1, -1), shape[:1], scale, bias), -1, 1)

    compare_with_torch(LayerNormalization(affine=affine), [shape], over_all)
    compare_with_torch(LayerNormalization("channels", affine=affine), [shape], over_channels)


@given(shape=maps, affine=st.booleans())
@settings(max_examples=6, deadline=None)
def test_instance_normalization(shape, affine):
    layer = InstanceNormalization(affine=affine)
    check(layer, shape, sample=10)
    compare_with_torch(
        layer, [shape], lambda x, scale=None, bias=None: tf.instance_norm(x, weight=scale, bias=bias)
    )


@given(
    groups=st.integers(1, 3),
    members=st.integers(1, 3),
    size=st.lists(st.integers(2, 3), max_size=3),
    affine=st.booleans(),
)
@settings(max_examples=8, deadline=None)
def test_group_normalization(groups, members, size, affine):
    layer = GroupNormalization(groups, affine=affine)
    shape = (groups * members, *size)
    check(layer, shape, sample=10)
    compare_with_torch(layer, [shape], lambda x, scale=None, bias=None: tf.group_norm(x, groups, scale, bias))


@given(shape=maps, size=st.integers(1, 6))
@settings(max_examples=8, deadline=None)
def test_local_response_normalization(shape, size):
    layer = LocalResponseNormalization(size, alpha=0.3, beta=0.6, k=1.5)
    check(layer, shape, sample=10)
    # PyTorch divides alpha by the size.
    compare_with_torch(layer, [shape], lambda x: tf.local_response_norm(x, size, 0.3 * size, 0.6, 1.5))


def test_local_response_by_hand():
    layer = LocalResponseNormalization(3, alpha=1.0, beta=1.0, k=1.0)
    y = run(layer, [np.array([[1.0, 2.0, 0.0]])], {}).output
    np.testing.assert_allclose(y, [[1 / 6, 2 / 6, 0]])


def test_statistics_are_carried_through_a_training_session():
    network = Sequential(Convolution(2, 3), BatchNormalization(), Flatten(), Dense(2), input_shape=(1, 5, 5))
    program = Program(network, precision="f64")
    session = program.session(network.initialize(1, "float64"), SGD(0.1))
    x, labels = RandomKey(0).normal("x", (6, 1, 5, 5)), np.array([0, 1, 0, 1, 1, 0])
    for step in range(20):
        session.step(x, labels, RandomKey(0, step=step), 0.1)
    state = session.state["batch_norm1"]
    assert not np.allclose(state["running_mean"], 0)
    single = program.predict(session.parameters, x[:1], session.state)
    np.testing.assert_allclose(single, program.predict(session.parameters, x, session.state)[:1])


def test_bad_settings():
    with pytest.raises(SettingError, match="momentum must be from 0 to 1"):
        BatchNormalization(momentum=1.5)
    with pytest.raises(SettingError, match="epsilon must be above 0"):
        LayerNormalization(epsilon=0.0)
    with pytest.raises(ShapeError, match="3 groups do not divide the 4 channels"):
        GroupNormalization(3).output_shape((4, 2, 2))
    with pytest.raises(SettingError, match="k must be above 0"):
        LocalResponseNormalization(k=0.0)
