"""Recurrent kernels against the reference in float64: cells, directions, masks, truncation, every instruction set here.

Sizes stand around the vector width and around the blocks of images that pass through time together.
"""

from math import prod, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from tests.native.test_agreement import KEY, MOST, SPREAD, close, compare, executor, poison

from tatami import layers, native
from tatami.backends import ReferenceBackend
from tatami.layers.base import Context
from tatami.losses import SquaredError
from tatami.network import INPUT, LayerEntry, Network, Sequential
from tatami.optimizers import SGD, Adam
from tatami.program import Program, Step
from tatami.random import RandomKey
from tatami.training.checkpoint import weights_sha256

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

INSTRUCTION_SETS = native.available() or ("none",)
SIZES = (1, 3, 4, 5, 8, 15, 16, 17, 32, 33, 40)
EVERY = settings(max_examples=25, deadline=None)
CELLS = (layers.RNN, layers.LSTM, layers.GRU)


def roundings(network: Network, batch: int) -> int:
    """Return how many roundings a number may have gone through.

    A state is a sum of features + units products, and some ten operations of its cell, at each step; its gradient the
    same with gates · units; a weight's gradient adds up batch · time products.
    """
    total = 8
    for node in network.nodes:
        shapes = network.input_shapes(node)
        if isinstance(node.layer, layers.Recurrent):
            (features, time), units = shapes[0], node.layer.units
            total += time * (features + (1 + node.layer.gates) * units + 20) + batch * time
        else:
            total += prod(shapes[0])
    return total


class Scales:
    """The size of the terms that each number is a sum of: a sum of few may cancel to far less than its terms are."""

    def __init__(self, network: Network, expected: Step) -> None:
        self.inputs = {node.name: node.inputs for node in network.nodes}
        self.expected = expected

    def largest(self, *arrays: NDArray[Any]) -> float:
        return max(1e-3, *(float(np.abs(array).max()) for array in arrays))

    def of_value(self, name: str) -> float:
        """A value: at least as large as what it is made of, times weights around 1."""
        values = self.expected.values
        return self.largest(values[name], *(values[source] for source in self.inputs.get(name, ())))

    def of_gradient(self, name: str) -> float:
        """A value's gradient: as large as the gradients behind it."""
        gradients = self.expected.value_gradients
        behind = [node for node, inputs in self.inputs.items() if name in inputs]
        return self.largest(gradients[name], *(gradients[node] for node in behind))

    def of_parameter(self, layer: str, name: str) -> float:
        """A parameter's gradient: the sum over the batch of the output's gradient times the input."""
        gradient = np.abs(self.expected.value_gradients[layer])
        summed = gradient.sum(axis=(0, *range(2, gradient.ndim)))
        inputs = [self.expected.values[source] for source in self.inputs[layer]]
        return self.largest(self.expected.gradients[layer][name], summed * self.largest(*inputs))


def compare_recurrent(network: Network, isa: str, batch: int) -> None:
    """Compare prediction, training and inspection with float64, relative to the terms of each array's sums."""
    native_one = executor(network, isa)
    assert not native_one.planned.external
    parameters = network.initialize(seed=3)
    x = KEY.normal("x", (batch, *network.input_shape)).astype(np.float32)
    target = KEY.normal("target", (batch, *network.output_shape)).astype(np.float32)
    program = Program(network, SquaredError("sum"), precision="f64")
    expected = program.train_step(parameters, x, target, key=KEY, keep=True)
    scales = Scales(network, expected)
    # An activation may be off by 1e-6 (test_activations.py), the same way at every time, and the state carries it on.
    own = 1e-6 * network.input_shape[0] * (len(network.nodes) - 1)
    relative = min(MOST, SPREAD * sqrt(roundings(network, batch)) * 2.0**-24) + own

    poison(native_one, parameters, x)
    output = native_one.forward(parameters, x, False, KEY, {}, False).output
    close("forward", output, expected.output, relative * scales.of_value(network.output))
    for keep in (True, False):
        step = native_one.train_step(parameters, x, target, KEY, {}, keep)
        assert step.loss == pytest.approx(expected.loss, rel=1e-4, abs=1e-6)
        close("output", step.output, expected.output, relative * scales.of_value(network.output))
        for layer, named in expected.gradients.items():
            for name, wanted in named.items():
                allowed = relative * scales.of_parameter(layer, name)
                close(f"d{layer}.{name}", step.gradients[layer][name], wanted, allowed)
        for name, value in expected.values.items() if keep else ():
            close(name, step.values[name], value, relative * scales.of_value(name))
            wanted = expected.value_gradients[name]
            close(f"d{name}", step.value_gradients[name], wanted, relative * scales.of_gradient(name))


@st.composite
def stacks(draw: st.DrawFn) -> Network:
    """Draw one or two recurrent layers, perhaps with a mask, between layers that need and give gradients."""
    cell = draw(st.sampled_from(CELLS))
    truncate = draw(st.sampled_from((None, None, 1, 2, 3)))
    settings_of_rnn = {"activation": draw(st.sampled_from(("tanh", "relu")))} if cell is layers.RNN else {}

    def layer(units: int, outputs: Any) -> layers.Recurrent:
        direction = draw(st.sampled_from(("forward", "reverse", "both")))
        return cell(units, outputs, direction, truncate=truncate, **settings_of_rnn)

    features, time = draw(st.sampled_from(SIZES)), draw(st.integers(1, 6))
    masked = draw(st.booleans())
    named: dict[str, LayerEntry] = {}
    sources: tuple[str, ...] = (INPUT,)
    if masked:  # of the input's first channel, which is 0 or 1
        named["first"] = (layers.Convolution(1, 1, bias=False), INPUT)
        named["mask"] = (layers.Reshape((time,)), "first")
        named["conv"] = (layers.Convolution(features, 1), INPUT)
        sources = ("conv", "mask")
    last = draw(st.sampled_from(("last", "all")))
    if draw(st.booleans()):
        named["below"] = (layer(draw(st.sampled_from(SIZES)), "all"), sources)
        sources = ("below", *sources[1:])
    named["above"] = (layer(draw(st.sampled_from(SIZES)), last), sources)
    if last == "last":
        named["scores"] = layers.Dense(3)
    return Network(named, (features, time))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(network=stacks(), batch=st.sampled_from((1, 2, 3, 13, 29, 61)))
def test_agreement(isa: str, network: Network, batch: int) -> None:
    compare_recurrent(network, isa, batch)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(
    units=st.sampled_from(SIZES),
    features=st.sampled_from(SIZES),
    time=st.integers(1, 3),
    direction=st.sampled_from(("forward", "reverse", "both")),
    outputs=st.sampled_from(("last", "all")),
    batch=st.sampled_from((1, 5, 30)),
)
def test_relu_units_on_integers_are_exact(
    isa: str, units: int, features: int, time: int, direction: Any, outputs: Any, batch: int
) -> None:
    """States grow at most to 33 · 40² · … with weights from -1 to 1 and three steps: below 2²⁴."""
    layer = layers.RNN(units, outputs, direction, activation="relu")
    compare(Sequential(layer, input_shape=(features, time)), isa, batch, exact=True, largest=1)


def deep(cell: type[layers.Recurrent]) -> Network:
    """Both directions with a mask below one direction, so that every path is walked."""
    return Network(
        {
            "first": (layers.Convolution(1, 1, bias=False), INPUT),
            "mask": layers.Reshape((7,)),
            "both": (cell(19, "all", "both"), (INPUT, "mask")),
            "above": (cell(33, truncate=3), ("both", "mask")),
            "scores": layers.Dense(4),
        },
        (5, 7),
    )


def batch_of(network: Network, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return KEY.normal("x", (count, *network.input_shape)).astype(np.float32), np.arange(count) % 4


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("cell", CELLS)
def test_weights_are_the_same_bits_for_any_number_of_threads(
    cell: type[layers.Recurrent], precision: Any, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = deep(cell)
    x, labels = batch_of(network, 61)

    def trained(threads: int) -> str:
        program = Program(network, precision=precision, backend="native", threads=threads)
        session = program.session(network.initialize(seed=1), SGD(0.05, momentum=0.9))
        for step in range(3):
            session.step(x, labels, RandomKey(1, step=step), 0.05)
        return weights_sha256(session.parameters)

    assert len({trained(threads) for threads in (1, 2, 3, 4, 8)}) == 1


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("cell", CELLS)
def test_predictions_do_not_depend_on_grouping(
    cell: type[layers.Recurrent], precision: Any, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = deep(cell)
    x, _ = batch_of(network, 67)
    program = Program(network, precision=precision, backend="native", threads=2)
    predict = program.predictor(network.initialize(seed=1))
    whole = predict(x)
    for sizes in ((67,), (1, 66), (30, 37), (14, 14, 39)):
        pieces = [predict(part) for part in np.split(x, np.cumsum(sizes)[:-1])]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(np.concatenate([predict(one[None]) for one in x[:5]]), whole[:5])


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("cell", CELLS)
def test_ten_losses_equal_the_references(
    cell: type[layers.Recurrent], isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = deep(cell)
    x, labels = batch_of(network, 40)
    losses = []
    for backend in ("reference", "native"):
        session = Program(network, backend=backend).session(
            network.initialize(seed=2), Adam(0.01, weight_decay=0.01)
        )
        losses.append([session.step(x, labels, RandomKey(1, step=step), 0.01).loss for step in range(10)])
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("cell", CELLS)
def test_ten_losses_equal_those_of_pytorch(
    cell: type[layers.Recurrent], isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two layers of PyTorch's, both directions, the same initial values, data and optimiser."""
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = Sequential(cell(20, "all", "both"), cell(17), layers.Dense(4), input_shape=(6, 9))
    parameters = network.initialize(seed=4)
    x, labels = batch_of(network, 33)
    session = Program(network, backend="native").session(parameters, SGD(0.1))
    ours = [session.step(x, labels, RandomKey(1, step=step), 0.1).loss for step in range(10)]

    kind = {layers.RNN: torch.nn.RNN, layers.LSTM: torch.nn.LSTM, layers.GRU: torch.nn.GRU}[cell]
    first, second = kind(6, 20, batch_first=True, bidirectional=True), kind(40, 17, batch_first=True)
    dense = torch.nn.Linear(17, 4)
    names = {"input_weight": "weight_ih_l0", "state_weight": "weight_hh_l0", "bias": "bias_ih_l0"}
    with torch.no_grad():
        for module, layer in zip((first, second), network.nodes, strict=False):
            module.bias_hh_l0.zero_()
            if module is first:
                module.bias_hh_l0_reverse.zero_()
            for name, values in parameters[layer.name].items():
                suffix = "_reverse" if name.startswith("reverse_") else ""
                name = name.removeprefix("reverse_")
                if name != "state_bias":  # zeros, as PyTorch's second bias now is
                    getattr(module, names[name] + suffix).copy_(torch.from_numpy(np.array(values)))
        dense.weight.copy_(torch.from_numpy(np.array(parameters["dense1"]["weight"])))
        dense.bias.copy_(torch.from_numpy(np.array(parameters["dense1"]["bias"])))
    # PyTorch's two biases are one here, but for the proposal's of a GRU: the second one stays as it is.
    moved = [
        value
        for module in (first, second)
        for name, value in module.named_parameters()
        if "bias_hh" not in name
    ]
    inner = [
        value for module in (first, second) for name, value in module.named_parameters() if "bias_hh" in name
    ]
    optimizer = torch.optim.SGD([*moved, *dense.parameters()], lr=0.1)
    theirs = []
    for _ in range(10):
        for value in (*moved, *inner, *dense.parameters()):
            value.grad = None
        states, _ = second(first(torch.from_numpy(x).permute(0, 2, 1))[0])
        loss = torch.nn.functional.cross_entropy(dense(states[:, -1]), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        if cell is layers.GRU:
            with torch.no_grad():
                for value in inner:
                    units = len(value) // 3
                    value[2 * units :] -= 0.1 * value.grad[2 * units :]
        theirs.append(float(loss.detach()))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_the_summary_says_where_recurrent_layers_run() -> None:
    network = Sequential(
        layers.LSTM(3, "all", "both"), layers.GRU(3, direction="reverse"), input_shape=(2, 4)
    )
    places = Program(network, SquaredError(), backend="native").where_layers_run()
    assert places["lstm1"]["training"] == "LSTM: products + gates, then concatenate"
    assert places["gru1"]["predicting"] == "GRU: products + gates, backwards in time"


@pytest.mark.parametrize(
    ("inputs", "cell", "units", "truncate"),
    [
        ([], 2, 5, 0),
        ([0, 0], 2, 5, 0),
        ([0, 0, 0], 2, 5, 0),
        ([7], 2, 5, 0),
        ([0], -1, 5, 0),
        ([0], 4, 5, 0),
        ([0], 2, 0, 0),
        ([0], 2, -3, 0),
        ([0], 2, 2**21, 0),
        ([0], 2, 2**63 - 1, 0),
        ([0], 2, 2**20, 0),
        ([0], 2, 5, -1),
        ([0], 2, 5, 2**21),
    ],
)
def test_hostile_descriptions_are_refused(inputs: list[int], cell: int, units: int, truncate: int) -> None:
    engine = native.kernels().Engine("", 1)
    engine.add_input([3, 4])
    with pytest.raises((ValueError, TypeError)):
        engine.add_recurrent(inputs, cell, units, True, False, truncate)


@pytest.mark.parametrize("shape", [[3], [3, 2, 4], [3, 2, 2, 4]])
def test_only_sequences_are_taken(shape: list[int]) -> None:
    engine = native.kernels().Engine("", 1)
    engine.add_input(shape)
    with pytest.raises(ValueError, match="needs a sequence"):
        engine.add_recurrent([0], 2, 5, True, False, 0)


def test_long_sequences_of_many_units_end_in_an_error() -> None:
    engine = native.kernels().Engine("", 1)
    engine.add_input([1, 2**20])
    with pytest.raises(ValueError, match="2\\^40"):
        engine.add_recurrent([0], 2, 2**14, True, False, 0)


class RoundedOperands(ReferenceBackend):
    """The textbook with the operands of every product rounded to bf16: to the nearest, halves to even."""

    def matmul(self, a: Any, b: Any) -> Any:
        return super().matmul(rounded(a), rounded(b))


def rounded(values: NDArray[Any]) -> NDArray[np.float64]:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    upper = (bits + (((bits >> 16) & 1) + 0x7FFF).astype(np.uint32)) & np.uint32(0xFFFF0000)
    return upper.view(np.float32).astype(np.float64)


@pytest.mark.parametrize("isa", [*INSTRUCTION_SETS, "amx_emulated"])
@EVERY
@given(
    cell=st.sampled_from(CELLS),
    units=st.sampled_from(SIZES),
    features=st.sampled_from(SIZES),
    time=st.integers(1, 5),
    reverse=st.booleans(),
    outputs=st.sampled_from(("last", "all")),
    batch=st.sampled_from((1, 2, 5, 30)),
)
def test_bf16_rounds_the_operands_of_products(
    isa: str, cell: Any, units: int, features: int, time: int, reverse: bool, outputs: Any, batch: int
) -> None:
    """Against the textbook that rounds at the same points.

    A state that lies where rounding tips over may be rounded the other way, by one part in 128: such a step is seen in
    the largest errors, but on the average both agree to float32's digits.
    """
    layer = cell(units, outputs, "reverse" if reverse else "forward")
    network = Sequential(layer, input_shape=(features, time))
    (name,) = network.parameter_specs
    parameters = network.initialize(seed=3)
    x = KEY.normal("x", (batch, features, time)).astype(np.float32)
    target = KEY.normal("target", (batch, *network.output_shape)).astype(np.float32)
    native_one = executor(network, isa, precision="bf16")
    poison(native_one, parameters, x)
    step = native_one.train_step(parameters, x, target, KEY, {}, True)

    ops = RoundedOperands()
    exact = {key: np.asarray(values, np.float64) for key, values in parameters[name].items()}
    forward = layer.forward(ops, (x.astype(np.float64),), exact, Context(training=True))
    backward = layer.backward(ops, step.output.astype(np.float64) - target, forward.saved, exact)
    pairs = [
        ("output", step.output, forward.output),
        ("dx", step.value_gradients[INPUT], backward.dinputs[0]),
    ]
    pairs += [(key, step.gradients[name][key], wanted) for key, wanted in backward.dparameters.items()]
    for key, came, wanted in pairs:
        largest = max(1e-3, float(np.abs(wanted).max()))
        error = np.abs(came - wanted) / largest
        assert error.max() <= 2.0**-6, key
        assert np.median(error) <= 1e-4, key
