"""Layers that stand between the products against the reference: every instruction set here, integers for equality.

Rectifiers that learn or compare, and normalisation within an example. As in test_agreement whole networks are compared,
buffers poisoned first, fused and with everything kept.
"""

import hashlib
from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from tests.native.test_agreement import (
    EVERY,
    INSTRUCTION_SETS,
    KEY,
    SIZES_AROUND_VECTORS,
    SPREAD,
    close,
    compare,
    executor,
    poison,
)

from tatami import layers, native
from tatami.errors import ShapeError
from tatami.layers import Layer
from tatami.losses import SquaredError
from tatami.network import Network, Parameters, Sequential
from tatami.optimizers import SGD, AdamW
from tatami.program import Program
from tatami.program.native import PlannedNetwork
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

every_isa = pytest.mark.parametrize("isa", INSTRUCTION_SETS)
channel_counts = st.sampled_from(SIZES_AROUND_VECTORS)
spatial_sizes = st.lists(st.integers(1, 5), max_size=3)


def between(layer: Layer, channels: int, size: list[int], *behind: Layer) -> Network:
    """Put a layer between two products, so that its input's gradient is wanted; its input has two readers."""
    product: Callable[[int], Layer] = (
        (lambda count: layers.Convolution(count, 1)) if size else (lambda count: layers.Dense(count))
    )
    return Network(
        {
            "first": product(channels),
            "layer": layer,
            **{f"behind{number}": more for number, more in enumerate(behind)},
            "last": product(3),
            "other": (product(3), "first"),
            "sum": (layers.Add(), ("last", "other")),
        },
        input_shape=(2, *size),
    )


@every_isa
@EVERY
@given(
    channels=channel_counts,
    size=spatial_sizes,
    shared=st.booleans(),
    alone=st.booleans(),
    batch=st.integers(1, 20),
)
def test_learned_slopes(
    isa: str, channels: int, size: list[int], shared: bool, alone: bool, batch: int
) -> None:
    layer = layers.PReLU(shared)
    network = Sequential(layer, input_shape=(channels, *size)) if alone else between(layer, channels, size)
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True)


@every_isa
@EVERY
@given(channels=channel_counts, size=spatial_sizes, pieces=st.integers(1, 5), batch=st.integers(1, 4))
def test_maxout(isa: str, channels: int, size: list[int], pieces: int, batch: int) -> None:
    """Small integers make ties, in which the first one wins."""
    network = between(layers.Maxout(pieces), channels * pieces, size)
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True, largest=1)


@every_isa
@EVERY
@given(
    channels=channel_counts,
    size=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    kernel=st.sampled_from((1, 3, 5)),
    batch=st.integers(1, 4),
)
def test_funnels(isa: str, channels: int, size: list[int], kernel: int, batch: int) -> None:
    network = between(layers.FReLU(kernel), channels, size)
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True, largest=1)


@pytest.mark.parametrize("layer", [layers.Maxout(2), layers.FReLU(1), layers.PReLU()])
def test_nan_stays_nan(layer: Layer) -> None:
    """NaN wins every comparison, wherever it stands."""
    x = np.full((2, 6, 3), 1.0, np.float32)
    x[0, 1, 2] = x[1, 2, 0] = np.nan
    network = Sequential(layer, input_shape=(6, 3))
    parameters = network.initialize(1)
    wanted = Program(network, backend="reference").forward(parameters, x).output
    np.testing.assert_array_equal(Program(network, backend="native").forward(parameters, x).output, wanted)
    assert np.isnan(wanted).sum() == 2


@st.composite
def normalisations(draw: st.DrawFn) -> tuple[Layer, int, list[int]]:
    """Draw a normalisation within one example, channels and size."""
    affine = {"affine": draw(st.booleans()), "shift": draw(st.booleans()), "epsilon": 0.1}
    channels = draw(channel_counts)
    kind = draw(st.sampled_from(("all", "channels", "instance", "group")))
    size = draw(st.lists(st.integers(1, 5), min_size=kind == "instance", max_size=3))
    if kind in ("all", "channels"):
        return layers.LayerNormalization(kind, **affine), channels, size
    if kind == "instance":
        return layers.InstanceNormalization(**affine), channels, [size[0] + 1, *size[1:]]
    return layers.GroupNormalization(draw(st.integers(1, 3)), **affine), channels, size


def drawn_parameters(network: Network) -> Parameters:
    """Return normal numbers for all parameters, scales and biases among them."""
    return {
        layer: {
            name: KEY.normal(f"{layer}.{name}", spec.shape).astype(np.float32) for name, spec in specs.items()
        }
        for layer, specs in network.parameter_specs.items()
    }


def compare_normalisation(network: Network, isa: str, batch: int, relu: bool) -> None:
    """Compare all values and gradients with float64.

    The mean, the deviation and their products in the gradient are sums over a set of m numbers and, for scale and bias,
    over the batch. ε = 0.1 keeps 1/√(σ² + ε) below 3.2; the gradient takes it times x̂ twice.
    """
    parameters = drawn_parameters(network)
    x = KEY.normal("x", (batch, *network.input_shape)).astype(np.float32)
    reference = Program(network, SquaredError("sum"), precision="f64")
    native_one = executor(network, isa)
    target = KEY.normal("target", (batch, *network.output_shape)).astype(np.float32)
    poison(native_one, parameters, x)
    expected = reference.train_step(parameters, x, target, key=KEY, keep=True)
    terms = prod(network.input_shape) + batch * prod(network.input_shape[1:]) + 8
    relative = SPREAD * sqrt(terms) * 2.0**-24
    steep = sqrt(1 / 0.1)

    def check(name: str, came: NDArray[Any], wanted: NDArray[Any], factor: float) -> None:
        sizes = max(float(np.abs(wanted).max()), 1.0)
        close(name, came, wanted, relative * factor * sizes)

    output = native_one.forward(parameters, x, False, KEY, {}, False).output
    wanted = reference.forward(parameters, x).output
    check("forward", output, wanted, steep)
    for keep in (True, False):
        step = native_one.train_step(parameters, x, target, KEY, {}, keep)
        check("output", step.output, expected.output, steep)
        for layer, named in expected.gradients.items():
            for name, gradient in named.items():
                largest = float(np.abs(expected.value_gradients[network.output]).max())
                check(f"d{layer}.{name}", step.gradients[layer][name], gradient, steep**2 * max(largest, 1.0))
        if keep:
            largest = float(np.abs(expected.value_gradients[network.output]).max())
            for name, value in expected.value_gradients.items():
                check(f"d{name}", step.value_gradients[name], value, steep**3 * max(largest, 1.0))
    alone = [native_one.forward(parameters, x[n : n + 1], False, KEY, {}, False).output for n in range(batch)]
    np.testing.assert_array_equal(np.concatenate(alone), output)
    if relu:
        assert any(line.endswith("+ ReLU") for line in native_one.planned.engine.describe(1, batch))


@every_isa
@EVERY
@given(drawn=normalisations(), relu=st.booleans(), batch=st.integers(1, 20))
def test_normalisation_within_an_example(
    isa: str, drawn: tuple[Layer, int, list[int]], relu: bool, batch: int
) -> None:
    layer, channels, size = drawn
    stack = [layer, layers.ReLU()] if relu else [layer]
    try:
        network = Sequential(*stack, input_shape=(channels, *size))
    except ShapeError:  # the groups do not divide the channels
        network = Sequential(*stack, input_shape=(channels * 6, *size))
    assert not executor(network, isa).planned.external
    compare_normalisation(network, isa, batch, relu)


@every_isa
@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("size", [[], [3, 5]])
def test_batch_normalisation_with_and_without_scale_and_bias(
    isa: str, affine: tuple[bool, bool], size: list[int]
) -> None:
    layer = layers.BatchNormalization(affine=affine[0], shift=affine[1], epsilon=0.1)
    network = Sequential(layer, layers.ReLU(), input_shape=(19, *size))
    native_one = executor(network, isa)
    assert not native_one.planned.external
    parameters, x = drawn_parameters(network), KEY.normal("x", (5, 19, *size)).astype(np.float32)
    state = {name: dict(named) for name, named in network.initial_state().items()}
    reference = Program(network, SquaredError("sum"), precision="f64")
    target = KEY.normal("target", x.shape).astype(np.float32)
    expected = reference.train_step(parameters, x, target, keep=True, state=state)
    step = native_one.train_step(parameters, x, target, RandomKey(), state, True)
    assert {layer: set(named) for layer, named in step.gradients.items()} == {
        layer: set(named) for layer, named in expected.gradients.items()
    }
    for name, gradient in expected.gradients.get("batch_norm1", {}).items():
        close(name, step.gradients["batch_norm1"][name], gradient, 1e-5 * float(np.abs(gradient).max()))
    wanted = expected.value_gradients["input"]
    close("dinput", step.value_gradients["input"], wanted, 1e-5 * float(np.abs(wanted).max()))


def rectified_and_normalised() -> Network:
    """A network in which each of these layers stands once."""
    return Sequential(
        layers.Convolution(24, 3, padding="same", bias=False),
        layers.GroupNormalization(4),
        layers.ReLU(),
        layers.FReLU(),
        layers.InstanceNormalization(),
        layers.PReLU(),
        layers.Maxout(2),
        layers.LayerNormalization(),
        layers.Convolution(16, 3),
        layers.LayerNormalization("channels"),
        layers.PReLU(shared=True),
        layers.BatchNormalization(shift=False),
        layers.Flatten(),
        layers.Dense(20),
        layers.LayerNormalization(),
        layers.Maxout(2),
        layers.Dense(4),
        input_shape=(3, 9, 8),
    )


def check_same_bits(network: Network, shape: tuple[int, ...]) -> None:
    """Train and predict with 1 to 8 threads, and predict images alone and in other groups: the bits are equal."""
    x = RandomKey(1).normal("x", shape).astype(np.float32)
    target = RandomKey(2).normal("target", (len(x), *network.output_shape)).astype(np.float32)
    hashes, outputs = set(), []
    for threads in (1, 2, 3, 4, 8):
        program = Program(network, SquaredError(), backend="native", threads=threads)
        session = program.session(network.initialize(3), AdamW(0.01, weight_decay=0.1))
        for step in range(3):
            session.step(x, target, RandomKey(1, step=step), 0.01)
        trained = session.parameters
        blobs = [a.tobytes() for named in trained.values() for a in named.values()]
        hashes.add(hashlib.sha256(b"".join(blobs)).hexdigest())
        predict = program.predictor(trained, state=session.state)
        outputs.append(predict(x))
        outputs.append(np.concatenate([predict(x[:1]), predict(x[1:4]), predict(x[4:])]))
    assert len(hashes) == 1
    for output in outputs:
        np.testing.assert_array_equal(output, outputs[0])


def test_same_bits_for_any_threads_and_groups_of_images() -> None:
    check_same_bits(rectified_and_normalised(), (23, 3, 9, 8))


def test_nothing_of_such_a_network_runs_on_the_reference() -> None:
    program = Program(rectified_and_normalised(), SquaredError(), backend="native")
    summary = program.summary()
    assert "reference layer" not in summary
    for text in (
        "group normalisation + ReLU",
        "instance normalisation",
        "layer normalisation",
        "learned slopes",
    ):
        assert text in summary
    for text in ("learned slope ", "maxima of pieces", "larger of two"):
        assert text in summary


def test_training_with_decay_agrees_with_the_reference() -> None:
    """Scales and slopes decay, biases do not, on both backends."""
    network = rectified_and_normalised()
    x = RandomKey(1).normal("x", (7, 3, 9, 8)).astype(np.float32)
    target = RandomKey(2).normal("target", (7, 4)).astype(np.float32)
    trained = []
    for backend in ("reference", "native"):
        program = Program(network, SquaredError(), backend=backend)
        session = program.session(network.initialize(3), SGD(0.05, momentum=0.5, weight_decay=0.1))
        for step in range(3):
            session.step(x, target, RandomKey(1, step=step), 0.05)
        trained.append(session.parameters)
    for layer, named in trained[0].items():
        for name, wanted in named.items():
            np.testing.assert_allclose(
                trained[1][layer][name], wanted, rtol=2e-3, atol=2e-5, err_msg=f"{layer}.{name}"
            )


HOSTILE: list[tuple[str, tuple[Any, ...], str]] = [
    ("add_pieces", (0, 0), "pieces must be from 1"),
    ("add_pieces", (0, 4), "must divide the channels"),
    ("add_pieces", (7, 1), "no node 7"),
    ("add_larger", (0, 9), "no node 9"),
    ("add_larger", (0, 1), "must have one shape"),
    ("add_slopes", (-1, True), "no node -1"),
    ("add_example_norm", (0, 0, False, False, 1e-5, True, True), "groups must be from 1"),
    ("add_example_norm", (0, 4, False, False, 1e-5, True, True), "divide the channels"),
    ("add_example_norm", (0, 2, True, False, 1e-5, True, True), "only groups of channels"),
    ("add_example_norm", (0, 1, True, True, 1e-5, True, True), "everything"),
    ("add_example_norm", (0, 1, False, False, 0.0, True, True), "epsilon"),
    ("add_example_norm", (0, 1, False, False, float("nan"), True, True), "epsilon"),
    ("add_example_norm", (0, 1, False, False, 1e-5, False, True), "a bias needs a scale"),
    ("add_batch_norm", (0, 0.1, 1e-5, False, True), "a bias needs a scale"),
]


@pytest.mark.parametrize(("method", "arguments", "message"), HOSTILE)
def test_hostile_descriptions_are_refused(method: str, arguments: tuple[Any, ...], message: str) -> None:
    engine = native.kernels().Engine()
    engine.add_input([6, 2, 2])
    engine.add_flatten(0)
    with pytest.raises(ValueError, match=message):
        getattr(engine, method)(*arguments)


def test_the_plan_keeps_what_inspection_asks_for() -> None:
    """With everything kept nothing is fused, and values are those of the fused pass."""
    network = Sequential(layers.GroupNormalization(2), layers.ReLU(), layers.PReLU(), input_shape=(6, 4))
    planned = PlannedNetwork(network, 1)
    assert any("fused" in line for line in planned.engine.describe(1, 1))
    assert not any("fused" in line for line in planned.engine.describe(2, 1))
