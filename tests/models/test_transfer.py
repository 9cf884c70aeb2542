"""Transfer: cutting, new heads, adopted parameters, frozen layers and rates of their own."""

import numpy as np
import pytest

from tatami import (
    SGD,
    Adam,
    Convolution,
    Dense,
    Flatten,
    MaxPool,
    Program,
    RandomKey,
    ReLU,
    Sequential,
    SettingError,
    UnknownNameError,
    build,
)
from tatami.data.digits import load_digits
from tatami.models import resnet
from tatami.transfer import adopted, cut, frozen, with_head


def test_a_part_computes_what_the_whole_computes_there():
    network = build("lenet5")
    parameters = network.initialize(1)
    x = RandomKey(1).uniform("x", (2, 1, 28, 28))
    part = cut(network, "tanh2")
    mine = {layer: parameters[layer] for layer in part.parameter_specs}
    whole = Program(network).forward(parameters, x, keep=True)
    np.testing.assert_array_equal(Program(part).forward(mine, x).output, whole.values["tanh2"])
    branches = cut(resnet((1, 8, 8), width=2), "stage2_block1_add")
    assert branches.output == "stage2_block1_add"
    with pytest.raises(UnknownNameError, match="did you mean 'conv3'"):
        cut(network, "conv33")


def test_a_new_head_gets_names_that_were_never_used():
    network = with_head(build("mlp"), ReLU(), Dense(3), after="relu1")
    assert [node.name for node in network.nodes] == ["flatten1", "dense1", "relu1", "relu3", "dense4"]
    old = build("mlp").initialize(1)
    start = adopted(network, old, seed=2)
    np.testing.assert_array_equal(start["dense1"]["weight"], old["dense1"]["weight"])
    assert start["dense4"]["weight"].shape == (3, 256)
    again = with_head(build("mlp"), Dense(3, name="dense3"), after="relu2")
    np.testing.assert_array_equal(  # same name, other shape: drawn anew
        adopted(again, old, seed=2)["dense3"]["weight"], again.initialize(2)["dense3"]["weight"]
    )


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_frozen_layers_stay_and_slow_ones_move_slowly(optimizer, backend):
    if backend == "native":
        pytest.importorskip("tatami.native._kernels")
    network = build("mlp", (1, 4, 4), 3)
    start = network.initialize(1)
    x, labels = RandomKey(1).uniform("x", (6, 1, 4, 4)), np.array([0, 1, 2, 0, 1, 2])
    rates = (("dense1", 0.0), ("dense2", 0.1))
    settings = {"weight_decay": 0.1, "l1": 0.01, "max_norm": 0.1, "average": 0.9}
    program = Program(network, backend=backend)
    session = program.session(start, optimizer(0.01, rates=rates, **settings))
    session.step(x, labels, RandomKey(), 0.01)
    np.testing.assert_array_equal(session.parameters["dense1"]["weight"], start["dense1"]["weight"])
    plain = program.session(start, SGD(0.01))
    slow = program.session(start, SGD(0.01, rates=rates))
    for each in (plain, slow):
        each.step(x, labels, RandomKey(), 0.01)
    moved, little = (
        each.parameters["dense2"]["weight"] - start["dense2"]["weight"] for each in (plain, slow)
    )
    np.testing.assert_allclose(little, 0.1 * moved, atol=1e-7)


def test_what_was_learned_on_some_digits_helps_with_the_others():
    data = load_digits()
    x, test_x = (part.images / np.float32(16) for part in (data.train, data.test))
    low = data.train.labels < 5

    def train(network, parameters, x, labels, optimizer, epochs):
        session = Program(network).session(parameters, optimizer)
        for epoch in range(epochs):
            order = RandomKey(0, epoch=epoch).permutation("shuffle", len(x))
            for at in range(0, len(x), 20):
                chosen = order[at : at + 20]
                session.step(x[chosen], labels[chosen], RandomKey(0, epoch, at), optimizer.learning_rate)
        return session.parameters

    first = Sequential(
        Convolution(6, 3), ReLU(), MaxPool(2), Flatten(), Dense(12), ReLU(), Dense(5), input_shape=(1, 8, 8)
    )
    learned = train(first, first.initialize(1), x[low], data.train.labels[low], SGD(0.2), 8)
    network = with_head(first, Dense(5, name="new"), after="relu2")
    few = np.flatnonzero(~low)[:30]
    test = data.test.labels >= 5
    scores = {}
    for name, start, rates in (
        ("transfer", adopted(network, learned, seed=2), frozen(network, except_for=["new"])),
        ("random", network.initialize(2), frozen(network, except_for=["new"])),
    ):
        ended = train(network, start, x[few], data.train.labels[few] - 5, SGD(0.1, rates=rates), 20)
        predicted = Program(network).predict(ended, test_x[test]).argmax(axis=1) + 5
        scores[name] = (predicted == data.test.labels[test]).mean()
    # Of five classes, from thirty images: frozen layers that have learned against frozen layers drawn at random.
    assert scores["transfer"] > 0.6 > 0.5 > scores["random"]


def test_a_network_says_how_its_layers_are_frozen():
    network = build("mlp", (1, 4, 4), 3)
    start = network.initialize(1)
    rates = (*network.freeze("dense1"), ("dense2", 0.5))
    assert rates == (("dense1", 0.0), ("dense2", 0.5))
    session = Program(network).session(start, SGD(0.1, rates=rates))
    session.step(RandomKey(1).uniform("x", (4, 1, 4, 4)), np.array([0, 1, 2, 0]), RandomKey(), 0.1)
    np.testing.assert_array_equal(session.parameters["dense1"]["weight"], start["dense1"]["weight"])
    assert not np.array_equal(session.parameters["dense2"]["weight"], start["dense2"]["weight"])
    assert network.freeze() == ()
    with pytest.raises(UnknownNameError, match="layer with parameters of mlp 'relu1'"):
        network.freeze("relu1")


def test_errors():
    with pytest.raises(SettingError, match="rates are pairs of a layer's name and a factor"):
        SGD(rates=(("conv1", -1.0),))
    with pytest.raises(SettingError, match="rates are pairs"):
        SGD(rates=((1.0, "conv1"),))
    with pytest.raises(UnknownNameError, match="layer with parameters of mlp 'dense9'"):
        frozen(build("mlp"), ["dense9"])
    network = build("mlp", (1, 4, 4), 3)
    session = Program(network).session(network.initialize(), SGD(rates=(("dens1", 0.0),)))
    with pytest.raises(UnknownNameError, match="did you mean 'dense1'"):
        session.step(np.zeros((1, 1, 4, 4)), np.array([0]), RandomKey(), 0.1)
