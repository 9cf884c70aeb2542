"""The named networks: what they are made of, other data, and unknown names."""

import numpy as np
import pytest

from tatami import (
    Program,
    RandomKey,
    ShapeError,
    SoftmaxCrossEntropy,
    SquaredError,
    TatamiError,
    UnknownNameError,
    build,
)
from tatami.models import MODELS, recipe


def kinds(network):
    return [type(node.layer).__name__ for node in network.nodes]


def test_arai_is_the_program_of_the_lecture():
    network = build("arai")
    assert kinds(network) == [
        *("Convolution", "ReLU", "MaxPool", "Convolution", "ReLU", "MaxPool", "Flatten"),
        *("Dense", "ReLU", "Dense", "ReLU", "Dropout", "Dense"),
    ]
    assert network["dropout1"].ratio == 0.2
    assert network.input_shape == (1, 28, 28)
    parameters = network.initialize(seed=1, dtype="float64")
    assert not any(named["bias"].any() for named in parameters.values())
    # He: √(2/n), n the inputs of one unit
    for layer, n in (("conv2", 288), ("dense1", 3136), ("dense2", 100)):
        assert parameters[layer]["weight"].std() == pytest.approx((2 / n) ** 0.5, rel=0.03)


def test_ox_starts_from_the_slides_numbers():
    parameters = build("ox").initialize()
    assert parameters["conv1"]["weight"].tolist() == [[[[1, 1], [1, -1]]], [[[1, -1], [-1, 1]]]]
    assert parameters["conv1"]["bias"].tolist() == [1, 1]
    np.testing.assert_allclose(parameters["dense1"]["weight"], [[1.5, -4.2], [-2.6, 3.5]], rtol=1e-6)
    assert parameters["dense1"]["bias"].tolist() == [1, 1]
    assert recipe("ox").loss == SquaredError("sum")


def test_lenet5_and_simple_convnet_are_those_of_their_sources():
    assert kinds(build("lenet5")) == [
        *("Convolution", "Tanh", "AveragePool", "Convolution", "Tanh", "AveragePool", "Convolution", "Tanh"),
        *("Flatten", "Dense", "Tanh", "Dense"),
    ]
    simple = build("simple_convnet")
    assert kinds(simple) == ["Convolution", "ReLU", "MaxPool", "Flatten", "Dense", "ReLU", "Dense"]
    assert simple.shapes["pool1"] == (30, 12, 12)


@pytest.mark.parametrize("name", ["arai", "lenet5", "mlp", "perceptron", "simple_convnet"])
def test_networks_for_other_data(name):
    network = build(name, input_shape=(3, 32, 32), classes=4)
    assert network.name == name
    assert network.output_shape == (4,)
    x = RandomKey(1).uniform("x", (2, 3, 32, 32))
    step = Program(network, MODELS[name].loss).train_step(network.initialize(), x, np.array([0, 3]))
    assert np.isfinite(step.loss)
    assert MODELS[name].loss == SoftmaxCrossEntropy()


def test_images_too_small_for_a_network_name_the_layer():
    with pytest.raises(
        ShapeError, match=r"conv2 \(Convolution\): the window is 5 wide .*use a smaller kernel"
    ):
        build("lenet5", input_shape=(1, 8, 8))


def test_ox_for_other_data_says_that_its_numbers_do_not_fit():
    with pytest.raises(
        TatamiError, match="starts from given numbers for 1x3x3 images of 2 classes, the data are 1x8x8 of 10"
    ):
        build("ox", input_shape=(1, 8, 8), classes=10)


def test_an_unknown_network_is_suggested():
    with pytest.raises(UnknownNameError, match="unknown network 'lenet': did you mean 'lenet5'"):
        build("lenet")
