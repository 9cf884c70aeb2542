"""Activations and 2×2 poolings fused into convolutions, dense layers and normalisations, against the reference.

The reference computes in float64. Inputs and weights are small integers over 16, so that every sum that goes into an
activation is exact: the same number in float32 and float64, ties included, and no kink is missed by a rounding
(Winograd's transforms round; there inputs are drawn again until no kink is within the rounding). What is left are the
activation's own error, held to 1e-6 by test_activations.py, and the roundings of the sums that follow.
"""

from math import prod, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from tests.native.test_activations import ACTIVATIONS
from tests.native.test_agreement import away_from_kinks, executor, integers, poison, runs_winograd

from tatami import layers, native
from tatami.errors import ShapeError
from tatami.layers import Layer
from tatami.losses import SquaredError
from tatami.network import Network, Parameters, Sequential
from tatami.program import Program
from tatami.program.native import PREDICT, TRAIN, NativeExecutor
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

INSTRUCTION_SETS = native.available() or ("none",)
KEY = RandomKey(seed=11, epoch=1, step=3)
# The largest of numbers, and of weights times 16.
LARGEST = 3
# No activation here is steeper.
STEEPEST = 1.8
# Errors of y and of the slope that test_activations.py allows, with some room for exponents as large as 20.
OWN = 4e-6
SPREAD = 8 * 2.0**-24
POOLS = (None, layers.MaxPool(2), layers.AveragePool(2))


def parameters_of(network: Network) -> Parameters:
    """Return weights in sixteenths and biases in quarters."""
    return {
        layer: {
            name: integers(KEY, f"{layer}.{name}", spec.shape, LARGEST) / (16 if name == "weight" else 4)
            for name, spec in specs.items()
        }
        for layer, specs in network.parameter_specs.items()
    }


def check(network: Network, isa: str, batch: int, parameters: Parameters | None = None) -> NativeExecutor:
    """Compare prediction, a fused training step and one that keeps everything with the reference in float64."""
    native_one = executor(network, isa)
    rounds = runs_winograd(
        native_one, batch
    )  # even sums of integers: then numbers without ties, far from kinks
    parameters = parameters or (network.initialize(seed=3) if rounds else parameters_of(network))
    target = integers(KEY, "target", (batch, *network.output_shape), 1)
    reference = Program(network, loss=SquaredError("sum"), backend="reference", precision="f64")
    for attempt in range(300 if rounds else 1):
        key, shape = RandomKey(KEY.seed, KEY.epoch, KEY.step + attempt), (batch, *network.input_shape)
        x = key.normal("x", shape).astype(np.float32) if rounds else integers(KEY, "x", shape, LARGEST)
        expected = reference.train_step(parameters, x, target, key=KEY, keep=True)
        y = expected.values[network.output]
        y_error = OWN * max(1.0, float(np.abs(y).max()))
        if rounds:  # and so does what goes into the activation
            y_error += STEEPEST * max(
                SPREAD * sqrt(prod(named["weight"].shape[1:])) * float(np.abs(expected.values[layer]).max())
                for layer, named in parameters.items()
            )
        if not rounds or away_from_kinks(network, expected.values, lambda _, error=y_error: error):  # type: ignore[misc]
            break
    else:
        raise AssertionError("no input is away from all kinks")
    poison(native_one, parameters, x)
    came = native_one.forward(parameters, x, False, KEY, {}, False).output
    np.testing.assert_allclose(came, y, rtol=0, atol=y_error)
    alone = [native_one.forward(parameters, x[n : n + 1], False, KEY, {}, False).output for n in range(batch)]
    np.testing.assert_array_equal(np.concatenate(alone), came)
    sources = {node.name: node.inputs[0] for node in network.nodes}
    for keep in (True, False):
        step = native_one.train_step(parameters, x, target, KEY, {}, keep)
        np.testing.assert_allclose(step.output, y, rtol=0, atol=y_error)
        # The error of the gradient of a layer's sums: of the activation and dy, then of the layer behind.
        error = STEEPEST * y_error + OWN * float(np.abs(expected.value_gradients[network.output]).max())
        for layer in reversed(list(network.parameter_specs)):
            held = expected.values.get(sources[layer], x)
            du = np.abs(expected.value_gradients[layer])
            positions = batch * prod(du.shape[2:])
            sums = float(du.sum(axis=(0, *range(2, du.ndim))).max())
            for name, gradient in expected.gradients[layer].items():
                factor = float(np.abs(held).max()) if name == "weight" else 1.0
                allowed = factor * (positions * error + SPREAD * sqrt(positions) * sums) + 1e-30
                np.testing.assert_allclose(
                    step.gradients[layer][name], gradient, rtol=0, atol=allowed, err_msg=name
                )
            # Every pixel of the layer in front is seen by all filters at all taps.
            weight = parameters[layer]["weight"]
            seen = prod(weight.shape) / weight.shape[1]
            error = float(np.abs(weight).max()) * seen * (error + SPREAD * sqrt(seen) * float(du.max()))
    return native_one


def described(native_one: NativeExecutor, mode: int) -> str:
    return " | ".join(native_one.planned.engine.describe(mode, 1))


@st.composite
def fused_convolutions(draw: st.DrawFn) -> tuple[Layer, Layer | None, Network]:
    """Draw a convolution of any channels from 1 to 17 and windows from 1 to 7, an activation, and a pooling."""
    activation = draw(st.sampled_from(ACTIVATIONS))
    rank = draw(st.sampled_from((1, 2, 2, 2)))
    pool = draw(st.sampled_from(POOLS))
    channels, filters = draw(st.integers(1, 17)), draw(st.integers(1, 17))
    kind = draw(st.sampled_from(("plain", "plain", "plain", "grouped", "depthwise")))
    groups = 1
    if kind == "grouped":
        channels, filters, groups = 2 * channels, 2 * filters, 2
    if kind == "depthwise":
        filters = groups = channels
    size = tuple(draw(st.integers(1, 21)) for _ in range(rank))
    convolution = layers.Convolution(
        filters,
        tuple(draw(st.integers(1, 7)) for _ in range(rank)),
        stride=draw(st.sampled_from((1, 1, 2))),
        padding=draw(st.integers(0, 3)),
        groups=groups,
        bias=draw(st.booleans()),
    )
    first = () if draw(st.booleans()) else (layers.Convolution(channels, 1),)
    shape = (1 if first else channels, *size)
    stack: list[Layer] = [*first, convolution, activation, *((pool,) if pool else ())]
    try:
        return activation, pool, Sequential(*stack, input_shape=shape)
    except ShapeError:
        return activation, None, Sequential(layers.Convolution(filters, 1), activation, input_shape=shape)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=120, deadline=None)
@given(drawn=fused_convolutions(), batch=st.integers(1, 4))
def test_convolution_activation_and_pooling(
    isa: str, drawn: tuple[Layer, Layer | None, Network], batch: int
) -> None:
    check(drawn[2], isa, batch)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 4),
    filters=st.integers(1, 12),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    size=st.tuples(st.integers(1, 9), st.integers(9, 70)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.integers(1, 2),
    step=st.integers(1, 2),
    activation=st.sampled_from((None, *ACTIVATIONS)),
    pool=st.sampled_from(POOLS),
    batch=st.integers(1, 5),
)
def test_few_filters_of_the_input(
    isa: str,
    channels: int,
    filters: int,
    kernel: tuple[int, int],
    size: tuple[int, int],
    padding: tuple[int, int],
    dilation: int,
    step: int,
    activation: Layer | None,
    pool: Layer | None,
    batch: int,
) -> None:
    """Vectors of pixels, where vectors of filters would be mostly empty: rows of any length around the vectors."""
    convolution = layers.Convolution(filters, kernel, padding=padding, dilation=dilation, stride=(step, 1))
    stack: list[Layer] = [convolution, *((activation,) if activation else ()), *((pool,) if pool else ())]
    try:
        network = Sequential(*stack, input_shape=(channels, *size))
    except ShapeError:
        network = Sequential(layers.Convolution(filters, 1), input_shape=(channels, *size))
    check(network, isa, batch)


def test_planes_are_chosen_by_geometry() -> None:
    """Six filters of a picture's rows, not thirty; nor behind another layer, nor where everything is kept."""
    isa = native.available()[0]
    lanes = {"baseline": 4, "avx2": 8}.get(isa, 16)
    few = lanes // 2 - 2 if lanes > 4 else 2
    network = Sequential(
        layers.Convolution(few, 5, padding=2),
        layers.Tanh(),
        layers.Convolution(few, 5),
        input_shape=(1, 28, 28),
    )
    lines = executor(network, isa).planned.engine.describe(TRAIN, 1)
    assert [("in planes" in line) for line in lines if "convolution" in line] == [True, False]
    assert not any("in planes" in line for line in executor(network, isa).planned.engine.describe(2, 1))
    many = Sequential(layers.Convolution(30, 5), input_shape=(1, 28, 28))
    assert "in planes" not in described(executor(many, isa), PREDICT)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_every_activation_and_pooling(activation: Layer, pool: Layer | None, isa: str) -> None:
    """Few and many filters, 5×5 and Winograd's 3×3; what is fused is said."""
    for channels, filters, kernel in ((1, 6, 5), (16, 17, 3), (3, 33, 4)):
        network = Sequential(
            layers.Convolution(channels, 1),
            layers.Convolution(filters, kernel, padding=1),
            activation,
            *((pool,) if pool else ()),
            input_shape=(1, 9, 12),
        )
        native_one = check(network, isa, 1 if kernel == 3 else 3)
        for mode in (PREDICT, TRAIN):
            text = described(native_one, mode)
            assert (
                "max pool" if isinstance(pool, layers.MaxPool) else "average pool"
            ) in text or pool is None
            assert "activation" not in text
            assert "fused into" in text


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_dense_and_normalisation(activation: Layer, isa: str) -> None:
    dense = Sequential(
        layers.Dense(19), activation, layers.Dense(17, bias=False), activation, input_shape=(5,)
    )
    native_one = executor(dense, isa)
    normalised = Sequential(
        layers.Convolution(5, 3), layers.BatchNormalization(), activation, input_shape=(2, 6, 7)
    )
    for network, key in ((dense, "dense"), (normalised, "batch normalisation")):
        native_one = executor(network, isa)
        parameters = network.initialize(seed=4)
        x = KEY.normal("x", (6, *network.input_shape)).astype(np.float32)
        target = np.zeros((6, *network.output_shape), np.float32)
        reference = Program(network, loss=SquaredError("sum"), backend="reference", precision="f64")
        state = network.initial_state()
        expected = reference.train_step(parameters, x, target, key=KEY, state=state)
        poison_state = {name: {k: v.copy() for k, v in own.items()} for name, own in state.items()}
        for keep in (True, False):
            step = native_one.train_step(parameters, x, target, KEY, poison_state, keep)
            np.testing.assert_allclose(step.output, expected.output, rtol=0, atol=2e-5)
            for layer, named in expected.gradients.items():
                for name, gradient in named.items():
                    # Sums of at most 252 products, each with the activation's error and a few roundings.
                    largest = max(1.0, float(np.abs(gradient).max()))
                    np.testing.assert_allclose(
                        step.gradients[layer][name],
                        gradient,
                        rtol=0,
                        atol=2e-5 * sqrt(252) * largest,
                        err_msg=name,
                    )
        text = described(native_one, TRAIN)
        assert f"{key}" in text
        assert "| activation" not in text


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize(
    "activation", [layers.ReLU(), layers.LeakyReLU(0.5), layers.LeakyReLU(-0.5), layers.Identity()], ids=str
)
@pytest.mark.parametrize("pool", POOLS[1:], ids=str)
def test_ties_are_the_reference_s(activation: Layer, pool: Layer, isa: str) -> None:
    """Integers from -1 to 1 tie everywhere; slopes of ½ keep everything exact, so gradients have to be equal."""
    network = Sequential(
        layers.Convolution(7, 1),
        layers.Convolution(9, 3, padding=1),
        activation,
        pool,
        input_shape=(1, 8, 10),
    )
    parameters = {
        layer: {name: integers(KEY, f"{layer}{name}", spec.shape, 1) for name, spec in specs.items()}
        for layer, specs in network.parameter_specs.items()
    }
    x = integers(KEY, "x", (5, *network.input_shape), 1)
    target = np.zeros((5, *network.output_shape), np.float32)
    expected = Program(network, loss=SquaredError("sum"), backend="reference").train_step(
        parameters, x, target, key=KEY
    )
    native_one = executor(network, isa)
    poison(native_one, parameters, x)
    for keep in (False, True):
        step = native_one.train_step(parameters, x, target, KEY, {}, keep)
        np.testing.assert_array_equal(step.output, expected.output)
        for layer, named in expected.gradients.items():
            for name, gradient in named.items():
                np.testing.assert_array_equal(
                    step.gradients[layer][name], gradient, err_msg=f"{layer}.{name}"
                )


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("pool", POOLS[1:], ids=str)
def test_saturation(pool: Layer, isa: str) -> None:
    """Where tanh is 1 for different sums the first one wins, and nothing flows back; no NaN from far out."""
    network = Sequential(layers.Convolution(3, 1), layers.Tanh(), pool, input_shape=(1, 4, 6))
    parameters = network.initialize(seed=1)
    weight = np.array([[[[9.1]]], [[[9.2]]], [[[1e30]]]], np.float32)
    parameters = {layer: {"weight": weight, "bias": np.zeros(3, np.float32)} for layer in parameters}
    x = np.array([1, 1.01, 1.02, 1, 2, 1, 1, 2] * 3, np.float32).reshape(1, 1, 4, 6)
    native_one = executor(network, isa)
    step = native_one.train_step(parameters, x, np.zeros((1, 3, 2, 3), np.float32), KEY, {}, False)
    kept = native_one.train_step(parameters, x, np.zeros((1, 3, 2, 3), np.float32), KEY, {}, True)
    np.testing.assert_array_equal(step.output, kept.output)
    for layer, named in kept.gradients.items():
        for name, gradient in named.items():
            assert np.isfinite(step.gradients[layer][name]).all()
            # 1 - y² of the last bit below 1 is 1.2e-7; 24 pixels of it.
            np.testing.assert_allclose(step.gradients[layer][name], gradient, rtol=0, atol=24 * 2e-7 * 2)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("activation", [layers.Tanh(), layers.GELU(), layers.ReLU()], ids=str)
def test_the_same_bits_on_any_number_of_threads(activation: Layer, pool: Layer | None, isa: str) -> None:
    network = Sequential(
        layers.Convolution(6, 5, padding=2),
        activation,
        *((pool,) if pool else ()),
        layers.Convolution(16, 5),
        activation,
        *((pool,) if pool else ()),
        layers.Flatten(),
        layers.Dense(12),
        activation,
        input_shape=(1, 28, 28),
    )
    parameters = network.initialize(seed=2)
    x = KEY.normal("x", (21, 1, 28, 28)).astype(np.float32)
    target = np.zeros((21, 12), np.float32)
    results: list[Any] = []
    for threads in (1, 2, 3, 4, 8):
        native_one = executor(network, isa, threads=threads)
        step = native_one.train_step(parameters, x, target, KEY, {}, False)
        arrays: list[NDArray[Any]] = [
            step.output,
            native_one.forward(parameters, x[:1], False, KEY, {}, False).output,
        ]
        results.append([*arrays, *(a for named in step.gradients.values() for a in named.values())])
    for other in results[1:]:
        for one, another in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, another)


def test_inspection_keeps_every_intermediate() -> None:
    """With keep=True nothing is fused: sums, activations and pooled values are all there, and their gradients."""
    network = Sequential(
        layers.Convolution(6, 3),
        layers.Tanh(),
        layers.AveragePool(2),
        layers.Flatten(),
        layers.Dense(3),
        layers.GELU(),
        input_shape=(1, 8, 8),
    )
    step = Program(network, loss=SquaredError("sum"), backend="native").train_step(
        network.initialize(seed=1),
        np.ones((2, 1, 8, 8), np.float32),
        np.zeros((2, 3), np.float32),
        key=KEY,
        keep=True,
    )
    assert set(step.values) >= {node.name for node in network.nodes}
    assert set(step.value_gradients) >= {node.name for node in network.nodes}
