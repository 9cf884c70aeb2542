"""Tokens: embedding, padding masks, and the checks that know that tokens have no derivative."""

import numpy as np
import pytest
import torch
import torch.nn.functional as tf
from tests.layers.agreement import OPS, check, run

from tatami import (
    LSTM,
    Dense,
    Embedding,
    Layer,
    Network,
    PaddingMask,
    Program,
    Sequential,
    SoftmaxCrossEntropy,
    check_gradients,
)
from tatami.errors import DataError, ShapeError


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_embedding_agrees_with_torch(shape):
    layer = Embedding(7, 3)
    assert check_gradients(layer, shape).passed
    assert len(check_gradients(layer, shape).entries) == 21  # the weight only
    assert Layer.from_json(layer.to_json()) == layer
    tokens = np.random.default_rng(0).integers(0, 7, (5, *shape))
    weight = np.random.default_rng(1).standard_normal((7, 3))
    forward = run(layer, [tokens.astype(np.float32)], {"weight": weight})
    upstream = np.random.default_rng(2).standard_normal(forward.output.shape)
    backward = layer.backward(OPS, upstream, forward.saved, {"weight": weight})
    tensor = torch.tensor(weight, requires_grad=True)
    expected = torch.movedim(tf.embedding(torch.tensor(tokens), tensor), -1, 1)
    expected.backward(torch.tensor(upstream))
    np.testing.assert_array_equal(forward.output, expected.detach().numpy())
    np.testing.assert_allclose(backward.dparameters["weight"], tensor.grad.numpy(), atol=1e-12)
    np.testing.assert_array_equal(backward.dinputs[0], 0)


@pytest.mark.parametrize(("token", "shown"), [(7, "7"), (-1, "-1"), (0.5, "0.5"), (np.nan, "nan")])
def test_wrong_tokens_are_named(token, shown):
    with pytest.raises(DataError, match=rf"a whole number from 0 to 6, got {shown}"):
        run(Embedding(7, 2), [np.array([[1.0, token]])], {"weight": np.zeros((7, 2))})


def test_padding_mask():
    check(PaddingMask(), (4,))
    check(PaddingMask(), (2, 3))
    np.testing.assert_array_equal(run(PaddingMask(), [np.array([[3.0, 1, 0, 0]])], {}).output, [[1, 1, 0, 0]])
    sequence = np.array([[[0.0, 2, 0], [1, 2, 0]]])
    np.testing.assert_array_equal(run(PaddingMask(), [sequence], {}).output, [[1, 1, 0]])
    with pytest.raises(ShapeError, match="expected tokens"):
        PaddingMask().output_shape((1, 2, 3))


def test_sentences_of_different_lengths_in_one_batch():
    network = Network(
        {
            "words": (Embedding(6, 4), "input"),
            "mask": (PaddingMask(), "input"),
            "lstm": (LSTM(3), ("words", "mask")),
            "dense": Dense(2),
        },
        input_shape=(5,),
    )
    report = check_gradients(network, sample=10)
    assert report.passed, str(report)
    assert Network.from_json(network.to_json()) == network
    parameters = network.initialize(1)
    padded = Program(network).predict(parameters, np.array([[3, 5, 2, 0, 0]]))
    short = Network(
        {node.name: (node.layer, node.inputs) for node in network.nodes},
        input_shape=(3,),
    )
    np.testing.assert_allclose(padded, Program(short).predict(parameters, np.array([[3, 5, 2]])), atol=1e-6)


def test_network_of_tokens_is_checked_through_a_loss():
    network = Sequential(Embedding(5, 3), LSTM(4, "all"), input_shape=(6,))
    assert check_gradients(network, loss=SoftmaxCrossEntropy(), sample=10).passed
