"""Greedy layer-wise pre-training, and the perceptron that cannot learn XOR beside the network that can."""

import numpy as np
import pytest

from tatami import (
    SGD,
    Adam,
    DataError,
    Dense,
    Flatten,
    Given,
    Normal,
    Program,
    RandomKey,
    Sequential,
    SettingError,
    Sigmoid,
    SquaredError,
    Step,
    build,
)
from tatami.data.digits import load_digits
from tatami.pretraining import autoencoder_of, pretrained

XOR = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])


def train(network, start, x, labels, optimizer, steps, batch=None):
    session = Program(network).session(start, optimizer)
    for step in range(steps):
        chosen = slice(None) if batch is None else RandomKey(0, step=step).permutation("s", len(x))[:batch]
        session.step(x[chosen], labels[chosen], RandomKey(0, step=step), optimizer.learning_rate)
    return session.parameters


def test_a_perceptron_cannot_learn_xor_and_two_layers_can():
    x, labels = XOR
    perceptron = build("perceptron", (2,), 2)
    two_layers = Sequential(
        Dense(4, weight_initializer=Normal(1.0)),
        Sigmoid(),
        Dense(2, weight_initializer=Normal(1.0)),
        input_shape=(2,),
    )
    right = {}
    for network in (perceptron, two_layers):
        end = train(network, network.initialize(1), x, labels, Adam(0.05), 400)
        right[network] = (Program(network).predict(end, x).argmax(axis=1) == labels).sum()
    assert right[perceptron] < 4  # no line separates the corners
    assert right[two_layers] == 4


def test_two_layers_of_steps_compute_xor_with_weights_set_by_hand():
    network = Sequential(
        Dense(2, weight_initializer=Given([[1, 1], [1, 1]]), bias_initializer=Given([-0.5, -1.5])),  # or, and
        Step(),
        Dense(1, weight_initializer=Given([[1, -1]]), bias_initializer=Given([-0.5])),  # or, but not and
        Step(),
        input_shape=(2,),
    )
    outputs = Program(network, SquaredError()).predict(network.initialize(), XOR[0])
    assert outputs[:, 0].tolist() == XOR[1].tolist()


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.train.images / np.float32(16), data.test.images / np.float32(16), data


def deep_network():
    wide = Normal(0.05)
    return Sequential(
        Flatten(),
        *(layer for _ in range(3) for layer in (Dense(32, weight_initializer=wide), Sigmoid())),
        Dense(10, weight_initializer=wide),
        input_shape=(1, 8, 8),
    )


def test_pretrained_layers_keep_what_their_input_says(digits):
    x, test_x, _ = digits
    network = deep_network()
    start = pretrained(network, x, epochs=4, optimizer=Adam(0.01))
    for layer in ("dense1", "dense2", "dense3"):
        assert not np.array_equal(start[layer]["weight"], network.initialize(0)[layer]["weight"])
    np.testing.assert_array_equal(start["dense4"]["weight"], network.initialize(0)["dense4"]["weight"])
    # The code of the third layer still tells images apart; from small random weights it hardly does.
    spread = {}
    for name, parameters in (("pretrained", start), ("random", network.initialize(0))):
        values = Program(network).forward(parameters, test_x, keep=True).values["sigmoid3"]
        spread[name] = values.std(axis=0).mean()
    assert spread["pretrained"] > 20 * spread["random"]
    again = pretrained(network, x, epochs=4, optimizer=Adam(0.01))
    np.testing.assert_array_equal(again["dense3"]["weight"], start["dense3"]["weight"])


def test_a_deep_sigmoid_network_learns_from_there_and_not_from_small_random_weights(digits):
    x, test_x, data = digits
    network = deep_network()
    starts = {
        "pretrained": pretrained(network, x, epochs=15, optimizer=Adam(0.01)),
        "random": network.initialize(0),
    }
    scores = {}
    for name, start in starts.items():
        end = train(network, start, x, data.train.labels, SGD(1.0, momentum=0.5), 500, batch=50)
        predicted = Program(network).predict(end, test_x).argmax(axis=1)
        scores[name] = (predicted == data.test.labels).mean()
    assert scores["pretrained"] > 0.9
    assert scores["random"] < 0.3


def test_errors():
    with pytest.raises(DataError, match="3 examples do not make a mini-batch of 50"):
        pretrained(deep_network(), np.zeros((3, 1, 8, 8), np.float32))
    with pytest.raises(SettingError, match="epochs must be at least 1"):
        pretrained(deep_network(), np.zeros((60, 1, 8, 8), np.float32), epochs=0)
    assert autoencoder_of(Dense(3), Sigmoid(), 5).output_shape == (5,)
