"""The gradient check itself: mistakes that people make in backward passes must be caught, and named."""

import dataclasses

import numpy as np
import pytest

from tatami import (
    Add,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Network,
    ReLU,
    Sequential,
    SettingError,
    ShapeError,
    Sigmoid,
    Softmax,
    SoftmaxCrossEntropy,
    SquaredError,
    Tanh,
    Xavier,
    build,
    check_gradients,
)
from tatami.layers import Backward
from tatami.models import MODELS


def mutant(cls, method, change):
    """Return a subclass of a layer or loss, one of whose methods is wrong."""
    original = getattr(cls, method)

    def wrong(self, *arguments):
        return change(self, original, *arguments)

    # abstract: it does not enter the list of layers that other tests and files know
    return type(f"Wrong{cls.__name__}", (cls,), {method: wrong}, abstract=True)


def without_bias_sum(self, original, ops, dy, saved, parameters):
    right = original(self, ops, dy, saved, parameters)
    return Backward(right.dinputs, {**right.dparameters, "bias": dy[0].reshape(dy.shape[1], -1).sum(axis=1)})


def assign_instead_of_add(self, original, ops, dy, saved, parameters):
    x = saved["x"]
    geometry = self.window(x.shape[1:])
    dx = np.zeros_like(x)
    for number, tap in enumerate(geometry.taps()):
        where = (slice(None), slice(None), *geometry.tap_slices(tap))
        won = saved["winner"] == number
        dx[where] = np.where(won, dy, dx[where])
    return Backward((dx,))


def unturned_filter(self, original, ops, dy, saved, parameters):
    right = original(self, ops, dy, saved, parameters)
    turned = {**parameters, "weight": parameters["weight"][..., ::-1, ::-1]}
    return Backward(original(self, ops, dy, saved, turned).dinputs, right.dparameters)


def forgotten_scale(self, original, ops, dy, saved, parameters):
    return Backward((dy * (saved["scale"] > 0),))


MUTANTS = {
    "bias not summed over the batch": (
        mutant(Dense, "backward", without_bias_sum)(3),
        (4,),
        "bias",
    ),
    "bias of a convolution not summed over the batch": (
        mutant(Convolution, "backward", without_bias_sum)(2, 2),
        (1, 3, 3),
        "bias",
    ),
    "overlapping windows assign instead of adding": (
        mutant(MaxPool, "backward", assign_instead_of_add)(2, stride=1),
        (1, 5, 5),
        "input",
    ),
    "filter not turned in the input gradient": (
        mutant(Convolution, "backward", unturned_filter)(2, 3),
        (1, 5, 5),
        "input",
    ),
    "dropout mask forgotten": (
        mutant(Dropout, "backward", lambda self, original, ops, dy, saved, p: Backward((dy,)))(0.5),
        (20,),
        "input",
    ),
    "dropout scale forgotten": (mutant(Dropout, "backward", forgotten_scale)(0.5), (20,), "input"),
    "softmax taken for a sigmoid": (
        mutant(
            Softmax,
            "backward",
            lambda self, original, ops, dy, saved, p: Backward((dy * saved["y"] * (1 - saved["y"]),)),
        )(),
        (4,),
        "input",
    ),
    "sigmoid's derivative taken twice (DSP's slide)": (
        mutant(Sigmoid, "derivative", lambda self, original, ops, x, y: (y * (1 - y)) ** 2)(),
        (5,),
        "input",
    ),
    "derivative of tanh at the output's place": (
        mutant(Tanh, "derivative", lambda self, original, ops, x, y: 1 - x * x)(),
        (5,),
        "input",
    ),
    "NaN in a gradient": (
        mutant(ReLU, "derivative", lambda self, original, ops, x, y: np.full_like(x, np.nan))(),
        (5,),
        "input",
    ),
}


@pytest.mark.parametrize("mistake", MUTANTS)
def test_a_wrong_backward_is_caught(mistake):
    layer, shape, tensor = MUTANTS[mistake]
    report = check_gradients(layer, shape)
    assert not report.passed
    assert {entry.tensor for entry in report.failures} == {tensor}
    assert "WRONG" in str(report)
    assert f"{type(layer).__name__}.{tensor}[" in str(report).splitlines()[-1]


def test_ones_as_upstream_gradient_would_not_have_caught_the_softmax():
    # Σ softmax = 1, so its gradient is 0: with dy = 1 even a backward that returns nothing would pass.
    y = np.array([[0.2, 0.3, 0.5]])
    dy = np.ones_like(y)
    np.testing.assert_allclose(y * (dy - np.sum(dy * y, axis=1, keepdims=True)), 0, atol=1e-15)


@pytest.mark.parametrize("mistake", ["bias not summed over the batch", "NaN in a gradient"])
def test_the_report_of_a_network_names_the_layer(mistake):
    wrong, _, tensor = MUTANTS[mistake]
    good = Dense(3) if isinstance(wrong, Dense) else ReLU()
    network = Sequential(
        Flatten(),
        Dense(4, name="first"),
        dataclasses.replace(wrong, name="culprit"),
        Tanh(),
        dataclasses.replace(good, name="innocent"),
        Dense(3, name="last"),
        input_shape=(1, 2, 2),
    )
    report = check_gradients(network, loss=SoftmaxCrossEntropy())
    assert not report.passed
    if tensor == "bias":
        assert {(entry.layer, entry.tensor) for entry in report.failures} == {("culprit", "bias")}
        assert "culprit.bias" in str(report).splitlines()[-1]
        rows = {(row["layer"], row["tensor"]): row["passed"] for row in report.rows()}
        assert not rows.pop(("culprit", "bias"))
        assert all(rows.values())


def test_a_mistake_deep_in_a_network_of_tiny_gradients_is_caught():
    # Behind eight sigmoids every derivative is below 1e-4; an absolute tolerance would pass anything.
    block = (Dense(5, weight_initializer=Xavier()), Sigmoid())
    wrong = mutant(Sigmoid, "derivative", lambda self, original, ops, x, y: 1.01 * y * (1 - y))
    layers = [layer for _ in range(8) for layer in block]
    right = Sequential(*layers, input_shape=(4,))
    assert check_gradients(right).passed
    layers[1] = wrong()
    report = check_gradients(Sequential(*layers, input_shape=(4,)))
    assert max(abs(entry.backward) for entry in report.failures) < 1e-3
    assert {entry.layer for entry in report.failures} == {"input", "dense1"}


@pytest.mark.parametrize("loss", [SquaredError, SoftmaxCrossEntropy])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_whose_gradient_has_the_wrong_factor_is_caught(loss, reduction):
    network = Sequential(Dense(3), input_shape=(4,))
    assert check_gradients(network, loss=loss(reduction)).passed
    wrong = mutant(loss, "gradient", lambda self, original, *arguments: 2 * original(self, *arguments))
    assert not check_gradients(network, loss=wrong(reduction)).passed


@pytest.mark.parametrize("name", MODELS)
def test_the_named_networks_pass(name):
    report = check_gradients(build(name), loss=MODELS[name].loss, sample=6)
    assert report.passed, str(report)


def test_a_graph_with_a_fork_and_a_shared_input_passes():
    network = Network(
        {
            "conv1": Convolution(2, 3, padding="same"),
            "relu1": ReLU(),
            "conv2": (Convolution(2, 3, padding="same"), "relu1"),
            "twice": (Add(), ("conv2", "conv2", "relu1")),
            "flatten": Flatten(),
            "dense": Dense(2),
        },
        (1, 4, 4),
    )
    assert check_gradients(network).passed


def test_loss_over_maps_passes():
    network = Sequential(Convolution(3, 1), input_shape=(1, 2, 2))
    assert check_gradients(network, loss=SoftmaxCrossEntropy()).passed


def test_sampling_compares_that_many_and_says_so():
    report = check_gradients(Dense(10), (20,), sample=7)
    assert report.sizes == {"Dense.input": 40, "Dense.weight": 200, "Dense.bias": 10}
    assert len(report.entries) == 21
    assert " 7 of 200 " in str(report)
    assert "21 derivatives compared, all agree" in str(report)
    assert [row["compared"] for row in report.rows()] == [7, 7, 7]
    again = check_gradients(Dense(10), (20,), sample=7)
    assert [entry.index for entry in again.entries] == [entry.index for entry in report.entries]


def test_checking_changes_nothing():
    network = build("ox")
    before = network.initialize(dtype="float64")
    check_gradients(network, loss=SquaredError("sum"))
    np.testing.assert_array_equal(
        before["conv1"]["weight"], network.initialize(dtype="float64")["conv1"]["weight"]
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_gradients(Dense(3)), SettingError, r"dense \(Dense\) needs input_shapes, such as"),
        (lambda: check_gradients(Dense(3), (4,), sample=0), SettingError, "sample must be at least 1"),
        (lambda: check_gradients(Dense(3), (1, 2, 2)), ShapeError, "put a Flatten before it"),
        (lambda: check_gradients(Add(), (3,)), ShapeError, "joins two or more inputs"),
        (lambda: check_gradients("ox"), SettingError, "expected a network or a layer, got 'ox'"),
    ],
)
def test_misuse_is_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()
