"""Initial values: the deviations that Xavier and He promise, and numbers that others do not disturb."""

import math

import numpy as np
import pytest
import torch

from tatami import (
    Constant,
    Convolution,
    Dense,
    Given,
    He,
    Normal,
    Program,
    RandomKey,
    ReLU,
    Sequential,
    SettingError,
    ShapeError,
    Uniform,
    UnknownNameError,
    Xavier,
    Zeros,
)
from tatami.initializers import Initializer, ParameterSpec

SHAPE = (200, 50, 3, 3)
FAN_IN, FAN_OUT = 50 * 9, 200 * 9


def draw(initializer, shape=SHAPE):
    return initializer.draw(ParameterSpec(shape, initializer, FAN_IN, FAN_OUT), "conv1.weight", RandomKey(1))


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize(
    ("fan", "n"), [("in", FAN_IN), ("out", FAN_OUT), ("average", (FAN_IN + FAN_OUT) / 2)]
)
@pytest.mark.parametrize(("cls", "gain"), [(Xavier, 1), (He, 2)])
def test_deviation_of_xavier_and_he(cls, gain, distribution, fan, n):
    values = draw(cls(distribution, fan))
    std = math.sqrt(gain / n)  # Qiita prints √2/n for He, a slip
    kurtosis = 3 if distribution == "normal" else 1.8
    assert abs(values.mean()) < 5 * std / math.sqrt(values.size)
    assert abs(values.var() / std**2 - 1) < 5 * math.sqrt((kurtosis - 1) / values.size)
    if distribution == "uniform":
        assert np.abs(values).max() <= math.sqrt(3) * std


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (He(), lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu")),
        (He("uniform"), lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="relu")),
        (
            He("normal", "out"),
            lambda w: torch.nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
        ),
        (Xavier("normal", "average"), torch.nn.init.xavier_normal_),
        (Xavier("uniform", "average"), torch.nn.init.xavier_uniform_),
    ],
)
def test_deviation_is_that_of_torch(ours, theirs):
    torch.manual_seed(0)
    expected = theirs(torch.empty(SHAPE, dtype=torch.float64)).numpy()
    assert draw(ours).std() == pytest.approx(expected.std(), rel=0.02)


def test_fans_of_the_layers():
    spec = Convolution(200, 3).parameter_specs((50, 8, 8))["weight"]
    assert (spec.fan_in, spec.fan_out) == (FAN_IN, FAN_OUT)
    grouped = Convolution(8, (3, 5), groups=2).parameter_specs((4, 8, 8))["weight"]
    assert (grouped.fan_in, grouped.fan_out) == (2 * 15, 4 * 15)
    dense = Dense(7).parameter_specs((11,))["weight"]
    assert (dense.fan_in, dense.fan_out) == (11, 7)


def test_he_keeps_the_size_of_activations_through_twenty_relu_layers():
    layers = [layer for _ in range(20) for layer in (Dense(256), ReLU())]
    network = Sequential(*layers, input_shape=(256,))
    x = RandomKey(1).normal("x", (64, 256))
    y = Program(network, precision="f64").forward(network.initialize(1, "float64"), x).output
    assert 0.3 < np.sqrt((y**2).mean()) / np.sqrt((x**2).mean()) < 3


def test_simple_ones():
    assert not draw(Zeros()).any()
    assert (draw(Constant(0.3)) == 0.3).all()
    normal, uniform = draw(Normal(0.02)), draw(Uniform(-1, 3))
    assert normal.std() == pytest.approx(0.02, rel=0.02)
    assert uniform.min() >= -1
    assert uniform.max() < 3
    assert uniform.mean() == pytest.approx(1, abs=0.02)
    assert draw(Given([[1, 2]]), (1, 2)).tolist() == [[1, 2]]


def test_a_layer_more_does_not_change_what_the_others_start_from():
    small = Sequential(Dense(4, name="a"), Dense(3, name="b"), input_shape=(5,)).initialize(7)
    large = Sequential(
        Dense(4, name="a"), Dense(4, name="new"), Dense(3, name="b"), input_shape=(5,)
    ).initialize(7)
    for layer in ("a", "b"):
        np.testing.assert_array_equal(small[layer]["weight"], large[layer]["weight"])
    assert not np.array_equal(large["a"]["weight"][:4, :4], large["new"]["weight"])


def test_seeds_and_dtypes():
    network = Sequential(Dense(4), input_shape=(5,))
    one, again, other = (network.initialize(seed)["dense1"]["weight"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(
        network.initialize(1, "float64")["dense1"]["weight"].astype(np.float32), one
    )
    with pytest.raises(
        UnknownNameError, match="unknown dtype of parameters 'float16': did you mean 'float64'"
    ):
        network.initialize(dtype="float16")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Normal(-1), SettingError, "Normal: std must be at least 0, got -1"),
        (lambda: Uniform(1, 1), SettingError, "Uniform: low must be below high, got 1 and 1"),
        (lambda: Constant("one"), SettingError, "Constant: value must be a finite number, got 'one'"),
        (lambda: He("gauss"), UnknownNameError, "unknown distribution of He 'gauss'"),
        (lambda: Xavier(fan="both"), UnknownNameError, "unknown fan of Xavier 'both'"),
        (
            lambda: draw(Given([[1, 2]])),
            ShapeError,
            r"conv1.weight: given initial values have shape \(1, 2\)",
        ),
        (lambda: draw(Given([[1], [1, 2]])), SettingError, "not a regular array of numbers"),
        (lambda: draw(Given([10**400])), SettingError, "not a regular array of numbers"),
        (lambda: draw(Given(["a"])), SettingError, "not a regular array of numbers"),
    ],
)
def test_wrong_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "initializer",
    [Zeros(), Constant(2.0), Given([[1.0]]), Normal(), Uniform(), Xavier(), He("uniform", "out")],
)
def test_json(initializer):
    assert Initializer.from_json(initializer.to_json()) == initializer
