"""Precision bf16 against an emulation in NumPy that rounds at the same points.

The operands of convolutions and dense layers, the weights and the gradients that reach them included, are rounded to
bf16; sums and everything else stay float32. Where a convolution has few channels nothing is rounded, and where it goes
Winograd's way in pairs, the transformed patches and weights are. The emulation runs the reference layers, or
`winograd_of_pairs`, on rounded operands; the plan says which layer is computed how. Where a
number differs in its last float bit before it is rounded, bf16 may round it the other way, so whole networks are
compared with a tolerance of a few bf16 units; single layers see the same operands and must agree like float32.
"""

import hashlib
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from numpy.typing import NDArray
from tests.native.winograd_of_pairs import border, correlate, input_gradient, rounded

from tatami import layers, native
from tatami.backends import ReferenceBackend
from tatami.data import load_digits
from tatami.errors import ShapeError
from tatami.geometry import Geometry
from tatami.layers import Layer
from tatami.layers.base import Context
from tatami.losses import SquaredError
from tatami.models import build
from tatami.network import INPUT, Network, Parameters, Sequential
from tatami.optimizers import SGD, Adam, Optimizer
from tatami.program import Program
from tatami.program.native import INSPECT, TRAIN, NativeExecutor
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

Array = NDArray[Any]
INSTRUCTION_SETS = native.available() or ("none",)
WIDTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40)
EVERY = settings(max_examples=25, deadline=None)
KEY = RandomKey(seed=3, epoch=1, step=4)


def lines_of(planned: NativeExecutor, mode: int) -> dict[str, str]:
    """Return for each layer what the plan says about the kernel that it is part of."""
    lines = planned.planned.engine.describe(mode, 10)
    said = {}
    for name, number in planned.planned.number.items():
        line = lines[number]
        while line.startswith("fused into "):
            line = lines[int(line.removeprefix("fused into "))]
        said[name] = line
    return said


def window_of(layer: Layer, x: Array) -> Geometry:
    assert isinstance(layer, layers.Convolution)
    return layer.window(x.shape[1:])


def by_winograd(layer: Layer, line: str) -> tuple[bool, bool]:
    """Say whether a layer's output and its input's gradient are computed by Winograd's way in pairs of bf16."""
    if not isinstance(layer, layers.Convolution) or "Winograd of pairs" not in line:
        return False, False
    return True, "max pool" not in line and layer.filters % 2 == 0


def emulate(
    network: Network, parameters: Parameters, x: Array, target: Any, lines: Mapping[str, str]
) -> tuple[dict[str, Array], Parameters, dict[str, Array]]:
    """Return every value, the gradient of every parameter and of every value, for half the sum of squared errors."""
    ops = ReferenceBackend()
    values: dict[str, Array] = {INPUT: x}
    saved: dict[str, Mapping[str, Any]] = {}
    used: dict[str, Mapping[str, Array]] = {}
    for node in network.nodes:
        inputs = tuple(values[source] for source in node.inputs)
        weights: Mapping[str, Array] = parameters.get(node.name, {})
        if "bf16" in lines[node.name] and isinstance(node.layer, layers.Dense | layers.Convolution):
            inputs = tuple(rounded(value) for value in inputs)
            weights = {**weights, "weight": rounded(weights["weight"])}
        result = node.layer.forward(ops, inputs, weights, Context(True, KEY, {}))
        values[node.name], saved[node.name], used[node.name] = result.output, result.saved, weights
        if by_winograd(node.layer, lines[node.name])[0]:
            before, after = zip(*window_of(node.layer, inputs[0]).padding, strict=True)
            y = correlate(border(values[node.inputs[0]], before, after), parameters[node.name]["weight"])
            bias = weights.get("bias", np.zeros(y.shape[1], np.float32))
            values[node.name] = y + bias[:, None, None]
    dvalues: dict[str, Array] = {network.output: values[network.output] - target}
    gradients: Parameters = {}
    for node in reversed(network.nodes):
        dy = dvalues[node.name]
        if "bf16" in lines[node.name] and isinstance(node.layer, layers.Dense | layers.Convolution):
            dy = rounded(dy)
        back = node.layer.backward(ops, dy, saved[node.name], used[node.name])
        dinputs = back.dinputs
        if by_winograd(node.layer, lines[node.name])[1]:
            window = window_of(node.layer, saved[node.name]["x"])
            dinputs = (input_gradient(dy, parameters[node.name]["weight"], window.size, window.padding),)
        if back.dparameters:
            gradients[node.name] = dict(back.dparameters)
        for source, dx in zip(node.inputs, dinputs, strict=True):
            dvalues[source] = dvalues[source] + dx if source in dvalues else dx
    return values, gradients, dvalues


def executor(network: Network, isa: str, threads: int = 2, precision: str = "bf16") -> NativeExecutor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TATAMI_ISA", isa)
        return NativeExecutor(network, SquaredError("sum"), threads, precision)


def error_of(came: Array, expected: Array) -> float:
    assert came.shape == expected.shape
    assert np.isfinite(came).all()
    return float(np.abs(came - expected).max() / max(float(np.abs(expected).max()), 1e-3))


def away_from_kinks(network: Network, values: Mapping[str, Array]) -> bool:
    """Say whether the last bits of a sum decide no ReLU and no maximum."""
    for node in network.nodes:
        x = values[node.inputs[0]]
        close = 3e-6 * float(np.abs(x).max())
        if isinstance(node.layer, layers.ReLU) and (np.abs(x) <= close).any():
            return False
        if isinstance(node.layer, layers.MaxPool):
            sides = [slice(size // 2 * 2) for size in x.shape[2:]]
            whole = x[(..., *sides)]
            windows = np.stack([whole[(..., *part)] for part in _parts(x.ndim - 2)])
            ranked = np.sort(windows, axis=0)
            if len(ranked) > 1 and ((ranked[-1] - ranked[-2] <= close) & (ranked[-1] > 0)).any():
                return False
    return True


def _parts(rank: int) -> list[tuple[slice, ...]]:
    """Every position of a window of two along each axis."""
    return [tuple(slice(first, None, 2) for first in corner) for corner in product((0, 1), repeat=rank)]


def compare(network: Network, isa: str, batch: int, tolerance: float = 2e-5) -> None:
    """Compare output and gradients, fused and with everything kept, with the emulation; buffers hold old traces."""
    parameters = network.initialize(seed=2)
    x = KEY.normal("x", (batch, *network.input_shape)).astype(np.float32)
    # The target is chosen such that the gradient of the output is an odd number of eighths: a bf16 number on both
    # sides, and never a zero that the last bit of the output would change.
    planned = executor(network, isa)
    values = emulate(network, parameters, x, np.float32(0), lines_of(planned, TRAIN))[0]
    if tolerance < 1e-3:
        assume(away_from_kinks(network, values))
    output = values[network.output]
    target = output - (np.floor(4 * KEY.normal("dy", output.shape).astype(np.float32)) + np.float32(0.5)) / 4
    traces = np.concatenate([x, x])[: batch + 1] * 100 + 7
    wrong = np.zeros((len(traces), *network.output_shape), np.float32)
    for keep in (False, True):
        planned.train_step(parameters, traces.astype(np.float32), wrong, KEY, {}, keep)
    planned.forward(parameters, traces.astype(np.float32), False, KEY, {}, False)
    has_dropout = any(isinstance(node.layer, layers.Dropout) for node in network.nodes)
    if not has_dropout:
        assert error_of(planned.forward(parameters, x, False, KEY, {}, False).output, output) <= tolerance
    for keep in (False, True):
        step = planned.train_step(parameters, x, target, KEY, {}, keep)
        lines = lines_of(planned, INSPECT if keep else TRAIN)
        values, gradients, dvalues = emulate(network, parameters, x, target, lines)
        output = values[network.output]
        assert error_of(step.output, output) <= tolerance
        for layer, named in gradients.items():
            for name, gradient in named.items():
                error = error_of(step.gradients[layer][name], gradient)
                assert error <= tolerance, f"d{layer}.{name}: {error}"
        if keep:
            assert error_of(step.value_gradients[INPUT], dvalues[INPUT]) <= tolerance


@st.composite
def convolutions(draw: st.DrawFn) -> Network:
    """Draw one convolution of any geometry, perhaps with ReLU and pooling behind it."""
    rank = draw(st.sampled_from((1, 2, 2, 3)))
    size = tuple(draw(st.integers(1, {1: 20, 2: 9, 3: 4}[rank])) for _ in range(rank))
    channels = draw(st.sampled_from(WIDTHS))
    groups = draw(st.sampled_from((1, 1, 1, 2, 3)))
    convolution = layers.Convolution(
        groups * draw(st.sampled_from(WIDTHS)),
        tuple(draw(st.integers(1, 4)) for _ in range(rank)),
        stride=tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        padding=tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank)),
        dilation=tuple(draw(st.integers(1, 2)) for _ in range(rank)),
        groups=groups,
        bias=draw(st.booleans()),
    )
    stack: list[Layer] = [convolution]
    if draw(st.booleans()):  # slopes and shares that no rounding touches
        stack.append(
            draw(st.sampled_from((layers.ReLU(), layers.ReLU(), layers.LeakyReLU(0.5), layers.Identity())))
        )
        if draw(st.booleans()):
            stack.append(draw(st.sampled_from((layers.MaxPool(2), layers.MaxPool(2), layers.AveragePool(2)))))
    try:
        return Sequential(*stack, input_shape=(groups * channels, *size))
    except ShapeError:
        return Sequential(layers.Convolution(9, 1), layers.ReLU(), input_shape=(channels, *size))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(network=convolutions(), batch=st.integers(1, 20))
def test_convolutions_round_their_operands(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(
    filters=st.lists(st.sampled_from((8, 16, 17, 32, 40)), min_size=2, max_size=2),
    padding=st.integers(0, 2),
    size=st.tuples(st.integers(8, 14), st.integers(8, 14)),
    batch=st.integers(1, 5),
)
def test_sparse_gradients_of_pooled_convolutions(
    isa: str, filters: list[int], padding: int, size: tuple[int, int], batch: int
) -> None:
    """The sparse kernels."""
    network = Sequential(
        layers.Convolution(filters[0], 3, padding=padding),
        layers.ReLU(),
        layers.MaxPool(2),
        input_shape=(filters[1], *size),
    )
    compare(network, isa, batch)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(
    channels=st.sampled_from((16, 17, 18, 32, 40, 64)),
    filters=st.sampled_from((16, 17, 30, 32, 33, 64)),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    size=st.tuples(st.integers(3, 11), st.integers(3, 18)),
    layers_behind=st.integers(0, 2),
    batch=st.integers(1, 4),
)
def test_windows_of_three_by_three_go_winograds_way(
    isa: str,
    channels: int,
    filters: int,
    padding: tuple[int, ...],
    size: tuple[int, int],
    layers_behind: int,
    batch: int,
) -> None:
    """Odd numbers of channels, filters, rows and columns; the layer in front gives pixels whole vectors."""
    stack: list[Layer] = [
        layers.ReLU(),
        layers.Convolution(filters, 3, padding=(padding[:2], padding[2:])),
        *(layers.ReLU(), layers.MaxPool(2))[:layers_behind],
    ]
    try:
        network = Sequential(*stack, input_shape=(channels, *size))
    except ShapeError:
        return
    compare(network, isa, batch)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(
    features=st.sampled_from(WIDTHS),
    units=st.sampled_from(WIDTHS),
    batch=st.integers(1, 70),
    activation=st.sampled_from((None, layers.ReLU(), layers.LeakyReLU(0.5), layers.ELU(0.0))),
)
def test_dense_layers_round_their_operands(
    isa: str, features: int, units: int, batch: int, activation: Layer | None
) -> None:
    stack: list[Layer] = [layers.Dense(units)] + ([activation] if activation else [])
    compare(Sequential(*stack, input_shape=(features,)), isa, batch)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_networks_of_many_layers(isa: str) -> None:
    """Roundings that fall the other way spread: a few bf16 units are allowed here."""
    network = Network(
        {
            "conv1": layers.Convolution(9, 3, padding="same"),
            "relu1": layers.ReLU(),
            "conv2": (layers.Convolution(9, 3, padding=2, dilation=2), "relu1"),
            "add1": (layers.Add(), ("conv2", "relu1", "conv1")),
            "conv3": (layers.Convolution(16, 1), "relu1"),
            "join1": (layers.Concatenate(), ("add1", "conv3")),
            "pool1": layers.MaxPool(2),
            "flatten1": layers.Flatten(),
            "dropout1": layers.Dropout(0.5),
            "dense1": layers.Dense(7),
            "tanh1": layers.Tanh(),
            "dense2": layers.Dense(4),
        },
        input_shape=(2, 6, 7),
    )
    compare(network, isa, 6, 1e-2)
    compare(build("arai", input_shape=(1, 28, 28), classes=10), isa, 5, 1e-2)


def test_rounding_of_the_emulation() -> None:
    """Known values: ties go to the even neighbour, large numbers to infinity."""
    x = np.array([1.0, 1.00390625, 1.01171875, -1.0039064, 3.4e38, 0.0, 1 / 3], np.float32)
    with np.errstate(over="ignore"):
        expected = np.array([1.0, 1.0, 1.015625, -1.0078125, np.inf, 0.0, 0.333984375], np.float32)
    np.testing.assert_array_equal(rounded(x), expected)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_rounding_has_the_same_bits_on_every_instruction_set(isa: str) -> None:
    """Numbers of all sizes, denormal and infinite ones too, come back as the gradient of a bias."""
    drawn = (KEY.uniform("bits", (4000,)) * 2**32).astype(np.uint64).astype(np.uint32).view(np.float32)
    known = np.array(
        [0, -0.0, 1e-45, -1e-39, 2.0**-126, 1.17549e-38, 3.39e38, 3.4e38, np.inf, 1 / 3], np.float32
    )
    x = np.concatenate([known, drawn[~np.isnan(drawn)]])
    network = Sequential(layers.Dense(len(x)), input_shape=(1,))
    parameters = {
        "dense1": {"weight": np.zeros((len(x), 1), np.float32), "bias": np.zeros(len(x), np.float32)}
    }
    step = executor(network, isa).train_step(
        parameters, np.ones((1, 1), np.float32), -x[None], KEY, {}, False
    )
    came = step.gradients["dense1"]["bias"] + np.float32(0)  # one zero, not two
    np.testing.assert_array_equal(came.view(np.uint32), (rounded(x) + np.float32(0)).view(np.uint32))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(
    channels=st.sampled_from((1, 2, 3, 8, 17)),
    groups=st.sampled_from(("one", "depthwise")),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    batch=st.integers(1, 5),
)
def test_few_channels_are_multiplied_as_they_are(
    isa: str, channels: int, groups: str, kernel: int, stride: int, batch: int
) -> None:
    """Depthwise convolutions and those of fewer than eight channels give what they give in f32, bit for bit."""
    network = Sequential(
        layers.Convolution(
            channels, kernel, stride=stride, padding=1, groups=channels if groups == "depthwise" else 1
        ),
        input_shape=(channels, 7, 8),
    )
    compare(network, isa, batch)
    if channels < 8 or groups == "depthwise":
        parameters = network.initialize(seed=2)
        x = KEY.normal("x", (batch, *network.input_shape)).astype(np.float32)
        outputs = [
            executor(network, isa, precision=precision).forward(parameters, x, False, KEY, {}, False).output
            for precision in ("f32", "bf16")
        ]
        np.testing.assert_array_equal(*outputs)


def digest(parameters: Parameters) -> str:
    pieces = [
        array.tobytes() for _, named in sorted(parameters.items()) for _, array in sorted(named.items())
    ]
    return hashlib.sha256(b"".join(pieces)).hexdigest()


def train(
    network: Network,
    threads: int,
    optimizer: Optimizer,
    steps: range,
    start: Any = None,
    precision: str = "bf16",
) -> tuple[Parameters, Any]:
    program = Program(network, backend="native", precision=precision, threads=threads)
    parameters, state = start or (network.initialize(seed=4), None)
    session = program.session(parameters, optimizer, optimizer_state=state)
    for step in steps:
        key = RandomKey(4, step=step)
        x = key.normal("x", (37, *network.input_shape)).astype(np.float32)
        labels = (key.uniform("labels", (37,)) * network.output_shape[0]).astype(np.int64)
        session.step(x, labels, key, 0.05)
    return session.parameters, session.optimizer_state


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_weights_have_the_same_bits_for_every_number_of_threads(
    isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = build("arai", input_shape=(1, 28, 28), classes=10)
    digests = {digest(train(network, t, SGD(0.05, momentum=0.5), range(3))[0]) for t in (1, 2, 3, 4, 8)}
    assert len(digests) == 1


@pytest.mark.parametrize("optimizer", [SGD(0.05, momentum=0.5), Adam(0.01)], ids=["momentum", "adam"])
def test_resuming_from_float32_state_ends_in_the_same_bits(optimizer: Optimizer) -> None:
    network = build("arai", input_shape=(1, 28, 28), classes=10)
    through = train(network, 2, optimizer, range(6))
    halfway = train(network, 2, optimizer, range(3))
    assert all(array.dtype == np.float32 for named in halfway[0].values() for array in named.values())
    resumed = train(network, 2, optimizer, range(3, 6), halfway)
    assert digest(through[0]) == digest(resumed[0])


def test_predictions_do_not_depend_on_the_grouping_of_images() -> None:
    network = build("arai", input_shape=(1, 28, 28), classes=10)
    program = Program(network, backend="native", precision="bf16", threads=2)
    parameters = network.initialize(seed=1)
    x = KEY.normal("x", (33, 1, 28, 28)).astype(np.float32)
    together = program.forward(parameters, x).output
    for size in (1, 7, 32):
        pieces = [program.forward(parameters, x[i : i + size]).output for i in range(0, 33, size)]
        np.testing.assert_array_equal(np.concatenate(pieces), together)
    predict = program.predictor(parameters)
    np.testing.assert_array_equal(predict(x), together)
    one = np.concatenate(
        [predict(x[i : i + 1]) for i in range(4)]
    )  # rows of one image shared out over threads
    np.testing.assert_array_equal(one, together[:4])


def test_summary_says_what_runs_in_bf16() -> None:
    network = build("arai", input_shape=(1, 28, 28), classes=10)
    planned = executor(network, INSTRUCTION_SETS[0])
    lines = planned.planned.engine.describe(1, 10)  # training, ten images
    assert sum("bf16" in line for line in lines) == 4  # the wide convolution, three dense layers


def test_training_reaches_the_accuracy_of_float32() -> None:
    """Arai's network on the digits of the package: the same start, batches and masks in both precisions."""
    digits = load_digits()
    network = build("arai", input_shape=(1, 8, 8), classes=10)
    x = digits.train.images.astype(np.float32) / 16
    test_x = digits.test.images.astype(np.float32) / 16
    accuracies = {}
    for precision in ("f32", "bf16"):
        program = Program(network, backend="native", precision=precision, threads=2)
        session = program.session(network.initialize(seed=6), SGD(0.02, momentum=0.9))
        for epoch in range(12):
            rate = 0.02 if epoch < 8 else 0.002
            order = RandomKey(6, epoch=epoch).permutation("order", len(x))
            for step, first in enumerate(range(0, len(x), 50)):
                rows = order[first : first + 50]
                session.step(x[rows], digits.train.labels[rows], RandomKey(6, epoch=epoch, step=step), rate)
        guesses = program.predict(session.parameters, test_x).argmax(axis=1)
        accuracies[precision] = float((guesses == digits.test.labels).mean())
    assert accuracies["bf16"] >= 0.97
    assert abs(accuracies["bf16"] - accuracies["f32"]) <= 0.015
