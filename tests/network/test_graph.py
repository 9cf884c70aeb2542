"""The graph: order, cycles, names, shapes that do not fit, and errors that say what to do."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tatami import (
    Add,
    Concatenate,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Network,
    Program,
    ReLU,
    Sequential,
    SettingError,
    ShapeError,
    Sigmoid,
    TatamiError,
    UnknownNameError,
)
from tatami.network import INPUT


def names(network):
    return [node.name for node in network.nodes]


def test_given_order_is_kept_where_it_is_topological():
    network = Network(
        {
            "a": ReLU(),
            "left1": (ReLU(), "a"),
            "left2": ReLU(),
            "right1": (ReLU(), "a"),
            "right2": ReLU(),
            "sum": (Add(), ("left2", "right2")),
        },
        (3,),
    )
    assert names(network) == ["a", "left1", "left2", "right1", "right2", "sum"]


def test_layers_may_be_given_in_any_order():
    network = Network(
        {"sum": (Add(), ("b", "a")), "b": (Sigmoid(), "a"), "a": (ReLU(), INPUT)},
        (3,),
    )
    assert names(network) == ["a", "b", "sum"]
    assert network.output == "sum"


@given(data=st.data(), size=st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_every_node_comes_after_its_inputs(data, size):
    """Draw a random acyclic graph that ends in one node, and shuffle its entries."""
    labels = [f"n{number}" for number in range(size)]
    sources = {}
    for number, label in enumerate(labels):
        choices = [INPUT, *labels[:number]]
        sources[label] = data.draw(st.lists(st.sampled_from(choices), min_size=1, max_size=3))
    taken = {source for several in sources.values() for source in several}
    loose = [label for label in labels if label not in taken]
    sources["last"] = [*loose, loose[0]]
    entries = {
        label: (Add() if len(several) > 1 else ReLU(), several)
        for label, several in sorted(sources.items(), key=lambda item: data.draw(st.integers(0, 99)))
    }
    network = Network(entries, (2,))
    position = {name: number for number, name in enumerate([INPUT, *names(network)])}
    assert len(position) == len(entries) + 1
    for node in network.nodes:
        assert all(position[source] < position[node.name] for source in node.inputs)


def test_ten_thousand_layers_are_ordered_quickly_in_either_direction():
    forward = {f"r{number}": (ReLU(), f"r{number - 1}" if number else INPUT) for number in range(10_000)}
    backward = dict(reversed(forward.items()))
    assert names(Network(forward, (1,))) == names(Network(backward, (1,)))


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ({}, SettingError, "needs at least one layer"),
        ([Dense(3)], SettingError, "needs at least one layer: name -> layer"),
        (
            {"a": (ReLU(), "b"), "b": (ReLU(), "a"), "c": (ReLU(), INPUT)},
            SettingError,
            "the layers a, b wait for one another in a circle; a network has no loops",
        ),
        ({"a": (ReLU(), "a")}, SettingError, "the layers a wait for one another"),
        (
            {"dense1": Dense(3), "relu1": (ReLU(), "dnse1")},
            UnknownNameError,
            "unknown input of layer 'relu1': 'dnse1': did you mean 'dense1'",
        ),
        (
            {"a": (ReLU(), INPUT), "b": (ReLU(), INPUT)},
            SettingError,
            "has one output, but nothing takes the outputs of a, b; merge them with Add or Concatenate",
        ),
        ({"input": ReLU()}, SettingError, "a layer cannot be called 'input'"),
        ({"": ReLU()}, SettingError, "a layer cannot be called ''"),
        ({"a.b": ReLU()}, SettingError, "a layer cannot be called 'a.b': .*dots separate parameters"),
        ({3: ReLU()}, SettingError, "a layer cannot be called 3"),
        ({"a": "relu"}, SettingError, r"layer 'a': expected a layer such as Dense\(10\).*got 'relu'"),
        ({"a": (ReLU(), ())}, SettingError, "layer 'a': inputs are one or more names"),
        ({"a": (ReLU(), (3,))}, SettingError, "layer 'a': inputs are one or more names"),
        ({"a": (ReLU(), INPUT, INPUT)}, SettingError, "layer 'a': expected a layer"),
    ],
)
def test_graphs_that_are_none(layers, error, message):
    with pytest.raises(error, match=message):
        Network(layers, (4,))


@pytest.mark.parametrize(
    ("layers", "input_shape", "error", "message"),
    [
        # layer, what was expected, what came, what would fix it
        (
            [Convolution(4, 3), Dense(10)],
            (1, 8, 8),
            ShapeError,
            r"dense1 \(Dense\): expected a flat input \(features,\), got \(4, 6, 6\); put a Flatten before it",
        ),
        (
            [Flatten(), Convolution(4, 3)],
            (1, 8, 8),
            ShapeError,
            r"conv1 \(Convolution\): expected an input of shape \(C, W\).*got \(64,\); .*Flatten that stands too early",
        ),
        (
            [Convolution(4, 3), MaxPool(2), Convolution(4, 3), MaxPool(2), Convolution(4, 3, name="late")],
            (1, 10, 10),
            ShapeError,
            r"late \(Convolution\): the window is 3 wide on spatial axis 0, the padded input only 1 "
            r"\(input 1, padding \(0, 0\)\); use a smaller kernel",
        ),
        (
            [Convolution(4, (3, 3, 3))],
            (1, 8, 8),
            SettingError,
            r"conv1 \(Convolution\): kernel has 3 numbers, the input has 2 spatial axes; give one number or 2",
        ),
        (
            [Convolution(4, 3, groups=3)],
            (6, 8, 8),
            SettingError,
            r"conv1 \(Convolution\): groups must divide the input channels and the filters",
        ),
        (
            [Convolution(4, 3, padding="sme")],
            (1, 8, 8),
            SettingError,
            r"conv1 \(Convolution\): padding must be 'valid', 'same', numbers or pairs, got 'sme'",
        ),
        (
            [Convolution(4, 3, padding=[(1, 2, 3), 1])],
            (1, 8, 8),
            SettingError,
            r"padding of an axis is a number or a \(before, after\) pair, got \(1, 2, 3\)",
        ),
        ([Convolution(4, 3, padding=-1)], (1, 8, 8), SettingError, "padding must be whole numbers from 0"),
        (
            [Convolution(0, 3)],
            (1, 8, 8),
            SettingError,
            r"conv1 \(Convolution\): filters must be whole numbers from 1",
        ),
        ([Convolution(4, 3, stride=0)], (1, 8, 8), SettingError, "stride must be whole numbers from 1"),
        ([Dense(-5)], (4,), SettingError, r"dense1 \(Dense\): units must be whole numbers from 1 to"),
        (
            [GlobalAveragePool()],
            (4,),
            ShapeError,
            r"pool1 \(GlobalAveragePool\): expected an input with spatial axes",
        ),
        ([Add()], (4,), ShapeError, r"add1 \(Add\): joins two or more inputs, got 1"),
    ],
)
def test_shapes_that_do_not_fit(layers, input_shape, error, message):
    with pytest.raises(error, match=message):
        Sequential(*layers, input_shape=input_shape)


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (
            Add(),
            ((2, 4, 4), (3, 4, 4)),
            r"join \(Add\): all inputs must have one shape, got \(2, 4, 4\), \(3, 4, 4\)",
        ),
        (Concatenate(), ((2, 4, 4), (2, 4, 2)), r"join \(Concatenate\): inputs may differ in their channels"),
        (ReLU(), ((2, 4, 4), (2, 4, 4)), r"join \(ReLU\): takes one input, got 2; merge them with Add"),
    ],
)
def test_joins_that_do_not_fit(layer, shapes, message):
    # 1-channel images of 4 rows and 4 columns become the shapes of the case
    left, right = (Convolution(c, (5 - h, 5 - w)) for c, h, w in shapes)
    with pytest.raises(ShapeError, match=message):
        Network({"l": (left, INPUT), "r": (right, INPUT), "join": (layer, ("l", "r"))}, (1, 4, 4))


@pytest.mark.parametrize("shape", [(), 5, "", (1, 2, 3, 4, 5), None, {1: 2}])
def test_an_input_shape_must_be_one(shape):
    with pytest.raises(ShapeError, match=r"network: the input shape must be \(C, H, W\)"):
        Sequential(ReLU(), input_shape=shape)


@pytest.mark.parametrize("shape", [(0,), (1, -3, 3), (1.5, 2), (True, 2), ("1", 2), (2**21, 2)])
def test_input_sizes_must_be_whole_and_positive(shape):
    with pytest.raises(SettingError, match="network: input shape must be whole numbers from 1 to 1048576"):
        Sequential(ReLU(), input_shape=shape)


def test_sequential_names_and_numbers():
    network = Sequential(
        Convolution(2, 3),
        ReLU(),
        Convolution(2, 3),
        Flatten(),
        Dense(3, name="logits"),
        Dropout(0.1),
        input_shape=(1, 8, 8),
    )
    assert names(network) == ["conv1", "relu1", "conv2", "flatten1", "logits", "dropout1"]
    assert network["logits"].units == 3
    assert network["conv2"].name == "conv2"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sequential(input_shape=(3,)), SettingError, "needs at least one layer"),
        (
            lambda: Sequential(Dense(3, name="a"), Dense(3, name="a"), input_shape=(3,)),
            SettingError,
            "two layers are called 'a'; give one of them another name=",
        ),
        (
            lambda: Sequential(Dense(3, name="dense2"), Dense(3), input_shape=(3,)),
            SettingError,
            "two layers are called 'dense2'",
        ),
        (lambda: Sequential(Dense, input_shape=(3,)), SettingError, r"expected layers such as Dense\(10\)"),
        (
            lambda: Sequential(Dense(3), input_shape=(3,), name=3),
            SettingError,
            "name of a network must be a text",
        ),
        (
            lambda: Sequential(Dense(3), input_shape=(3,))["dens1"],
            UnknownNameError,
            "unknown layer of network 'dens1': did you mean 'dense1'",
        ),
    ],
)
def test_sequential_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layers", "input_shape", "message"),
    [
        ([Convolution(2**20, 1)], (1, 2**10, 2**10), r"conv1 \(Convolution\): an output of .* is more than"),
        (
            [Flatten(), Dense(2**20)],
            (3, 100, 100),
            "parameters are more than the 8,589,934,592 that are allowed",
        ),
        ([Convolution(1, 3, padding=2**20)], (1, 8, 8), "more than the 8,589,934,592 that are allowed"),
        ([Convolution(2**40, 1)], (1, 8, 8), "filters must be whole numbers from 1 to 1048576"),
        ([Convolution(1, 1, padding=2**40)], (1, 8, 8), "padding must be whole numbers from 0 to 1048576"),
    ],
)
def test_huge_sizes_are_refused_before_memory_is_touched(layers, input_shape, message):
    with pytest.raises(SettingError, match=message):
        Sequential(*layers, input_shape=input_shape)


def test_doubling_again_and_again_is_refused():
    layers = {f"c{n}": (Concatenate(), [f"c{n - 1}" if n else INPUT] * 2) for n in range(5000)}
    with pytest.raises(SettingError, match=r"c\d+ \(Concatenate\): an output of"):
        Network(layers, (1, 8, 8))


def test_equal_networks_are_equal_and_hash_alike():
    make = lambda units: Sequential(Dense(units), ReLU(), input_shape=(3,))  # noqa: E731
    assert make(4) == make(4)
    assert hash(make(4)) == hash(make(4))
    assert make(4) != make(5)
    assert make(4) != "network"
    assert repr(make(4)) == "<Network network: 2 layers, 3 -> 4, 16 parameters>"


def test_checking_parameters():
    network = Sequential(Dense(2), Dense(3), input_shape=(4,))
    good = network.initialize()
    network.check_parameters(good)
    without = {"dense1": good["dense1"]}
    for parameters, error, message in (
        (without, UnknownNameError, "the parameters of layer 'dense2' are missing"),
        (
            {**good, "dense3": good["dense1"]},
            UnknownNameError,
            "unknown layer with parameters of network 'dense3'",
        ),
        (
            {**good, "dense1": {"weight": good["dense1"]["weight"]}},
            UnknownNameError,
            "layer 'dense1' has the parameters bias, weight, got weight",
        ),
        (
            {**good, "dense1": {**good["dense1"], "bias": np.zeros(3)}},
            ShapeError,
            r"dense1.bias should have shape \(2,\), got \(3,\)",
        ),
    ):
        with pytest.raises(error, match=message):
            network.check_parameters(parameters)
        with pytest.raises(TatamiError, match=message):
            Program(network).forward(parameters, np.zeros((1, 4)))
