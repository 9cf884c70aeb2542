"""Layout, type and alignment of what comes in, and what memory held before, make no difference to what comes out."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from tatami import layers, native
from tatami.losses import SoftmaxCrossEntropy
from tatami.models import MODELS, build
from tatami.network import Network, Sequential
from tatami.program import Program
from tatami.program.native import NativeExecutor
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

INSTRUCTION_SETS = native.available() or ("none",)
KEY = RandomKey(seed=8)


@pytest.fixture(params=INSTRUCTION_SETS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TATAMI_ISA", request.param)
    return str(request.param)


def network_of_every_kernel() -> Network:
    """Fused pooling, Winograd, groups, depthwise, stride, dilation, every pooling, merge, dropout, dense."""
    return Network(
        {
            "conv1": layers.Convolution(17, 3, padding="same"),
            "relu1": layers.ReLU(),
            "pool1": layers.MaxPool(2),
            "conv2": layers.Convolution(18, 3, padding="same"),
            "relu2": layers.ReLU(),
            "conv3": layers.Convolution(18, 3, padding=1, stride=2, groups=18),
            "conv4": (layers.Convolution(18, 3, padding=2, dilation=2, stride=2, groups=3), "relu2"),
            "add1": (layers.Add(), ("conv3", "conv4")),
            "pool2": layers.MaxPool(3, stride=2, padding=1),
            "pool3": (layers.AveragePool(3, stride=2, padding=1), "add1"),
            "pool4": (layers.LpPool(3, stride=2, padding=1, p=3.0), "add1"),
            "join1": (layers.Concatenate(), ("pool2", "pool3", "pool4")),
            "tanh1": layers.Tanh(),
            "flatten1": layers.Flatten(),
            "dropout1": layers.Dropout(0.25),
            "dense1": layers.Dense(19),
            "sigmoid1": layers.Sigmoid(),
            "dense2": layers.Dense(5),
        },
        input_shape=(3, 14, 15),
    )


def batch_of(network: Network, examples: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    x = KEY.normal("x", (examples, *network.input_shape)).astype(np.float32)
    return x, np.arange(examples) % network.output_shape[0]


def misaligned(x: NDArray[Any]) -> NDArray[Any]:
    """Copy to an address that is no multiple of the item size."""
    memory = np.zeros(x.nbytes + 1, np.uint8)
    view = memory[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned
    return view


def strided(x: NDArray[Any]) -> NDArray[Any]:
    """Copy to memory with gaps, NaN between the numbers, the last axis running backwards."""
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
    view = wide[..., ::-2]
    view[...] = x
    return view


def channels_last(x: NDArray[Any]) -> NDArray[Any]:
    """Copy so that the channels lie side by side."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).transpose(0, 3, 1, 2)


def read_only(x: NDArray[Any]) -> NDArray[Any]:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS: list[Callable[[NDArray[Any]], NDArray[Any]]] = [
    misaligned,
    strided,
    channels_last,
    read_only,
    np.asfortranarray,
    lambda x: x.astype(np.float64),
    lambda x: x.astype(">f4"),
]


@pytest.mark.parametrize(
    "layout",
    LAYOUTS,
    ids=(["misaligned", "strided", "channels_last", "read_only", "fortran", "f64", "big_endian"]),
)
def test_layout_and_type_of_the_input_make_no_difference(
    layout: Callable[[NDArray[Any]], NDArray[Any]], isa: str
) -> None:
    network = network_of_every_kernel()
    parameters = network.initialize(seed=2)
    x, labels = batch_of(network, 5)
    program = Program(network, backend="native", threads=2)
    expected = program.train_step(parameters, x, labels, key=KEY, keep=True)
    other = {
        layer: {name: layout(a) if a.ndim == 4 else a for name, a in named.items()}
        for layer, named in parameters.items()
    }
    came = program.train_step(other, layout(x), labels.astype(np.uint8), key=KEY, keep=True)
    assert came.loss == expected.loss
    for name, value in expected.values.items():
        np.testing.assert_array_equal(came.values[name], value)
    for layer, named in expected.gradients.items():
        for name, gradient in named.items():
            np.testing.assert_array_equal(came.gradients[layer][name], gradient)
    np.testing.assert_array_equal(program.predict(other, layout(x)), program.predict(parameters, x))


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_nan_left_behind_in_every_buffer_is_not_seen(isa: str, precision: str) -> None:
    network = network_of_every_kernel()
    parameters = network.initialize(seed=2)
    x, labels = batch_of(network, 5)
    fresh = Program(network, backend="native", precision=precision, threads=2)
    used = Program(network, backend="native", precision=precision, threads=2)
    nan = np.full((9, *network.input_shape), np.nan, np.float32)
    for keep in (False, True):
        assert np.isnan(used.train_step(parameters, nan, np.zeros(9, int), key=KEY, keep=keep).loss)
        assert np.isnan(used.forward(parameters, nan, keep=keep).output).all()
    for keep in (False, True):
        expected = fresh.train_step(parameters, x, labels, key=KEY, keep=keep)
        came = used.train_step(parameters, x, labels, key=KEY, keep=keep)
        assert came.loss == expected.loss
        for layer, named in expected.gradients.items():
            for name, gradient in named.items():
                np.testing.assert_array_equal(
                    came.gradients[layer][name], gradient, err_msg=f"{layer}.{name}"
                )
        np.testing.assert_array_equal(
            used.forward(parameters, x, keep=keep).output, fresh.forward(parameters, x, keep=keep).output
        )


def test_nothing_beside_an_output_is_written(isa: str) -> None:
    network = network_of_every_kernel()
    executor = NativeExecutor(network, SoftmaxCrossEntropy(), 2)
    executor.load(network.initialize(seed=2))
    x, _ = batch_of(network, 5)
    memory = np.full(7 * 5 + 32, np.nan, np.float32)
    output = memory[16 : 16 + 5 * 5].reshape(5, 5)
    executor.planned.engine.predict(x, output)
    assert np.isfinite(output).all()
    assert np.isnan(memory[:16]).all()
    assert np.isnan(memory[16 + 25 :]).all()


UNIT_ROUNDOFF = 2.0**-24


@settings(max_examples=30, deadline=None)
@given(
    channels=st.sampled_from((1, 3, 15, 16, 17, 33, 64)),
    filters=st.sampled_from((1, 7, 16, 31, 33)),
    window=st.sampled_from((1, 2, 3, 5)),
    stride=st.integers(1, 2),
    batch=st.integers(1, 6),
)
@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_rounding_stays_within_the_bound_of_the_number_of_terms(
    isa: str, channels: int, filters: int, window: int, stride: int, batch: int
) -> None:
    """|error| <= γ(n) · Σ|a·b|, γ(n) = n·u / (1 - n·u) for any order of n products; 8 times that with Winograd.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, §3.1.
    """
    network = Sequential(
        layers.Convolution(filters, window, stride=stride, padding=1), input_shape=(channels, 7, 6)
    )
    parameters = network.initialize(seed=4)
    x = KEY.normal("x", (batch, *network.input_shape)).astype(np.float32)
    magnitudes = {"conv1": {name: np.abs(array) for name, array in parameters["conv1"].items()}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TATAMI_ISA", isa)
        came = Program(network, backend="native", threads=2).forward(parameters, x).output
    exact = Program(network, precision="f64").forward(parameters, x).output
    bound = Program(network, precision="f64").forward(magnitudes, np.abs(x)).output
    terms = channels * window**2 + 1
    gamma = terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)
    winograd = window == 3 and stride == 1 and min(channels, filters) >= 16
    if winograd:  # its intermediate sums may be larger than those of the definition
        bound = bound.max()
    assert (np.abs(came - exact) <= (8 if winograd else 1) * gamma * bound).all()


@pytest.mark.filterwarnings("ignore::tatami.program.native.SlowLayerWarning")
@pytest.mark.parametrize("name", sorted(MODELS))
def test_named_networks_keep_the_same_values_and_gradients(name: str) -> None:
    network = build(name)
    parameters = network.initialize(seed=1)
    x, labels = batch_of(network, 3)
    program = Program(network, backend="native", threads=2)
    expected = Program(network, precision="f64").train_step(parameters, x, labels, key=KEY, keep=True)
    came = program.train_step(parameters, x, labels, key=KEY, keep=True)
    assert came.loss == pytest.approx(expected.loss, rel=1e-5)
    for kept, wanted in ((came.values, expected.values), (came.value_gradients, expected.value_gradients)):
        assert set(kept) == set(wanted)
        for layer, value in wanted.items():
            assert kept[layer].shape == value.shape
            np.testing.assert_allclose(kept[layer], value, rtol=0, atol=2e-5 * max(np.abs(value).max(), 1e-6))
    for layer, named in expected.gradients.items():
        for parameter, gradient in named.items():
            error = np.abs(came.gradients[layer][parameter] - gradient).max()
            assert error <= 5e-5 * max(np.abs(gradient).max(), 1e-6), f"{layer}.{parameter}"


TRAIN_AND_PRINT = """
import json
import numpy as np
from tatami.models import build
from tatami.native import instruction_set
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.random import RandomKey
network = build("simple_convnet")
x = RandomKey(1).uniform("x", (20, *network.input_shape)).astype(np.float32)
program = Program(network, backend="native", threads=2)
session = program.session(network.initialize(seed=1), SGD(0.05, momentum=0.9))
losses = [session.step(x, np.arange(20) % 10, RandomKey(1, step=s), 0.05).loss for s in range(5)]
print(json.dumps({"isa": instruction_set(), "losses": losses}))
"""


def test_every_instruction_set_forced_from_outside_learns_the_same() -> None:
    losses = {}
    for name in INSTRUCTION_SETS:
        run = subprocess.run(
            [sys.executable, "-c", TRAIN_AND_PRINT],
            env={**os.environ, "TATAMI_ISA": name},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        came = json.loads(run.stdout)
        assert came["isa"] == name
        losses[name] = came["losses"]
    for name in INSTRUCTION_SETS:
        np.testing.assert_allclose(losses[name], losses[INSTRUCTION_SETS[0]], rtol=1e-4)
