"""The kernels on tile registers (amx), run on the emulation of these registers: the same packing, cutting and sums.

What is compared: every product of a network with the reference on rounded operands; the emulated instruction with its
definition written out in NumPy; two compilations of the emulation with each other. The emulation also watches the rules
whose violation would end a process on a processor with tiles.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.native import test_bf16 as bf16

from tatami import layers, native
from tatami.backends import ReferenceBackend
from tatami.errors import SettingError, ShapeError
from tatami.layers import Layer
from tatami.layers.base import Context
from tatami.losses import SquaredError
from tatami.models import build
from tatami.network import INPUT, Network, Sequential
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.program.native import NativeExecutor

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

EMULATED = "amx_emulated"
# With tiles wherever there are any: the processor's own where it has them.
TILES = tuple(isa for isa in native.available() if isa == "amx") + native.emulated() or ("none",)
EDGES = (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 40)
EVERY = settings(max_examples=30, deadline=None)


@pytest.fixture(autouse=True)
def rules_are_kept() -> Iterator[None]:
    """No kernel breaks a rule of the registers."""
    yield
    assert native.kernels().tile_misuse() == ""


@st.composite
def convolutions(draw: st.DrawFn) -> Network:
    """Draw one convolution of any geometry and any groups, perhaps with ReLU and pooling behind it."""
    rank = draw(st.sampled_from((1, 2, 2, 2, 3)))
    size = tuple(draw(st.integers(1, {1: 40, 2: 18, 3: 4}[rank])) for _ in range(rank))
    groups = draw(st.sampled_from((1, 1, 1, 2, 3)))
    convolution = layers.Convolution(
        groups * draw(st.sampled_from(EDGES)),
        tuple(draw(st.integers(1, 4)) for _ in range(rank)),
        stride=tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        padding=tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank)),
        dilation=tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        groups=groups,
        bias=draw(st.booleans()),
    )
    stack: list[Layer] = [convolution]
    if draw(st.booleans()):
        stack.append(
            draw(st.sampled_from((layers.ReLU(), layers.ReLU(), layers.LeakyReLU(0.5), layers.ELU(0.0))))
        )
        if draw(st.booleans()):
            stack.append(draw(st.sampled_from((layers.MaxPool(2), layers.MaxPool(2), layers.AveragePool(2)))))
    try:
        return Sequential(*stack, input_shape=(groups * draw(st.sampled_from(EDGES)), *size))
    except ShapeError:
        return Sequential(layers.Convolution(17, 1), layers.ReLU(), input_shape=(33, *size))


@pytest.mark.parametrize("isa", TILES)
@EVERY
@given(network=convolutions(), batch=st.integers(1, 5))
def test_convolutions(isa: str, network: Network, batch: int) -> None:
    bf16.compare(network, isa, batch)


@pytest.mark.parametrize("isa", TILES)
@EVERY
@given(
    channels=st.sampled_from(EDGES),
    filters=st.sampled_from(EDGES),
    size=st.tuples(st.sampled_from((4, 15, 16, 17, 31, 32, 33)), st.integers(2, 9)),
    kernel=st.integers(1, 5),
    batch=st.integers(1, 3),
)
def test_pooled_convolutions(
    isa: str, channels: int, filters: int, size: tuple[int, int], kernel: int, batch: int
) -> None:
    network = Sequential(
        layers.Convolution(filters, kernel, padding="same"),
        layers.ReLU(),
        layers.MaxPool(2),
        input_shape=(channels, *size),
    )
    bf16.compare(network, isa, batch)


@pytest.mark.parametrize("isa", TILES)
@EVERY
@given(
    features=st.sampled_from((*EDGES, 127, 128, 129, 200)),
    units=st.sampled_from(EDGES),
    batch=st.sampled_from((1, 2, 15, 16, 17, 31, 32, 33, 70)),
    activation=st.sampled_from((None, layers.ReLU(), layers.LeakyReLU(0.5), layers.ELU(0.0))),
)
def test_dense_layers(isa: str, features: int, units: int, batch: int, activation: Layer | None) -> None:
    stack: list[Layer] = [layers.Dense(units)] + ([activation] if activation else [])
    bf16.compare(Sequential(*stack, input_shape=(features,)), isa, batch)


def test_networks_of_many_layers() -> None:
    """Roundings that fall the other way spread: a few bf16 units are allowed here."""
    bf16.compare(build("arai", input_shape=(1, 28, 28), classes=10), EMULATED, 5, 1e-2)


def test_summary_says_what_runs_on_tiles() -> None:
    planned = bf16.executor(build("arai", input_shape=(1, 28, 28), classes=10), EMULATED)
    lines = planned.planned.engine.describe(1, 10)  # training, ten images
    assert sum("bf16, tiles" in line for line in lines) == 5


def test_weights_have_the_same_bits_for_every_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TATAMI_ISA", EMULATED)
    network = build("arai", input_shape=(1, 12, 12), classes=10)
    trained = [
        bf16.train(network, threads, SGD(0.05, momentum=0.5), range(3))[0] for threads in (1, 2, 3, 4, 8)
    ]
    assert len({bf16.digest(parameters) for parameters in trained}) == 1


def test_predictions_do_not_depend_on_the_grouping_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TATAMI_ISA", EMULATED)
    network = build("arai", input_shape=(1, 12, 12), classes=10)
    program = Program(network, backend="native", precision="bf16", threads=2)
    parameters = network.initialize(seed=1)
    x = bf16.KEY.normal("x", (50, 1, 12, 12)).astype(np.float32)
    together = program.forward(parameters, x).output
    for size in (1, 7, 16, 33):
        pieces = [program.forward(parameters, x[i : i + size]).output for i in range(0, 50, size)]
        np.testing.assert_array_equal(np.concatenate(pieces), together)


def test_a_large_batch_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of a batch after larger and smaller ones are those that it has alone."""
    network = Sequential(layers.Dense(9), layers.ReLU(), layers.Dense(5), input_shape=(20,))
    parameters = network.initialize(seed=2)
    x = bf16.KEY.normal("x", (100, 20)).astype(np.float32)
    target = bf16.KEY.normal("t", (100, 5)).astype(np.float32)
    used, alone = (bf16.executor(network, EMULATED) for _ in range(2))
    for count in (100, 10, 64, 33):
        used.train_step(parameters, x[:count] * np.float32(1e30), target[:count], bf16.KEY, {}, False)
    for count in (40, 64):
        came = used.train_step(parameters, x[:count], target[:count], bf16.KEY, {}, False).gradients
        expected = alone.train_step(parameters, x[:count], target[:count], bf16.KEY, {}, False).gradients
        assert bf16.digest(came) == bf16.digest(expected)


def test_a_number_that_is_none_stays_in_its_windows() -> None:
    """What a tile reads beyond a window is never multiplied."""
    network = Sequential(layers.Convolution(5, 3), input_shape=(3, 6, 20))
    parameters = network.initialize(seed=2)
    x = bf16.KEY.normal("x", (2, 3, 6, 20)).astype(np.float32)
    x[0, 1, 2, 9] = np.nan
    x[1, 2, 5, 19] = np.inf
    came = bf16.executor(network, EMULATED).forward(parameters, x, False, bf16.KEY, {}, False).output
    touched = np.zeros(came.shape, bool)
    touched[0, :, 0:3, 7:10] = True
    touched[1, :, 3, 17] = True
    np.testing.assert_array_equal(np.isfinite(came), ~touched)


def test_emulations_agree() -> None:
    """The check at load, run on the emulation compiled for this processor's vectors and for the plainest ones."""
    assert native.kernels().check_emulation() == ""


def test_tiles_are_used_only_where_the_check_was_passed() -> None:
    missing, checked = native.kernels().tiles()
    assert bool(missing) != bool(checked)
    assert ("amx" in native.available()) == (missing == "")
    assert EMULATED not in native.available()
    assert native.tile_support() in (checked, f"not used: {missing}")


def test_the_emulation_is_chosen_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TATAMI_ISA", raising=False)
    assert native.instruction_set() != EMULATED
    monkeypatch.setenv("TATAMI_ISA", EMULATED)
    assert native.instruction_set() == EMULATED


def by_definition(left: bf16.Array, right: bf16.Array, words: int) -> bf16.Array:
    """Return left · right in the order and with the roundings of TDPBF16PS, `words` pairs of bf16 at a time.

    Products of bf16 and their sums are exact in float64 here, so rounding to float32 afterwards is rounding once.
    """
    total = np.zeros((len(left), right.shape[1]), np.float32)
    for first in range(0, left.shape[1], 2 * words):
        sums = [np.zeros_like(total), np.zeros_like(total)]
        for k in range(first, first + 2 * words):
            product = left[:, k, None].astype(np.float64) * right[None, k].astype(np.float64)
            sums[k % 2] = (sums[k % 2] + product).astype(np.float32)
        total = total + (sums[0] + sums[1])
    return total


@pytest.mark.parametrize("features", [32, 64, 96, 20])
def test_the_emulation_is_the_definition(features: int) -> None:
    """The manual's order of additions, bit for bit."""
    network = Sequential(layers.Dense(20, bias=False), input_shape=(features,))
    x = bf16.rounded(bf16.KEY.normal("x", (21, features)).astype(np.float32))
    weight = bf16.rounded(bf16.KEY.normal("w", (20, features)).astype(np.float32))
    executor = bf16.executor(network, EMULATED)
    came = executor.forward({"dense1": {"weight": weight}}, x, False, bf16.KEY, {}, False).output
    expected = by_definition(x, weight.T, min(16, features // 2))
    np.testing.assert_array_equal(came.view(np.uint32), expected.view(np.uint32))


def test_the_emulation_has_no_denormal_numbers() -> None:
    """Operands and sums below the smallest normal number are zero."""
    network = Sequential(layers.Dense(1, bias=False), input_shape=(2,))
    executor = bf16.executor(network, EMULATED)
    for x, weight, expected in (
        (1e-39, 1e10, 0.0),  # the operand is denormal
        (1e-20, 1e-20, 0.0),  # the product is
        (2.0**-63, 2.0**-63, 2.0**-126),
    ):
        factors = np.array([[x, 0.0]], np.float32), np.array([[weight, 0.0]], np.float32)
        came = executor.forward({"dense1": {"weight": factors[1]}}, factors[0], False, bf16.KEY, {}, False)
        assert came.output[0, 0] == np.float32(expected)


# The upper half keeps a number to 2^-8 of its size, both halves to 2^-17. Dropped are the losses of both factors and
# the product of their lower halves: 2^-15 of the product's size. Adding up in float32 comes on top, as always.
DROPPED = 2.0**-15


def single_layers() -> st.SearchStrategy[Network]:
    """Draw one convolution or dense layer."""
    return st.one_of(
        st.builds(
            lambda channels, filters, kernel, stride, size: Sequential(
                layers.Convolution(filters, kernel, stride=stride, padding=1), input_shape=(channels, *size)
            ),
            st.sampled_from(EDGES),
            st.sampled_from(EDGES),
            st.integers(1, 3),
            st.integers(1, 2),
            st.tuples(st.integers(3, 9), st.integers(3, 18)),
        ),
        st.builds(
            lambda features, units: Sequential(layers.Dense(units), input_shape=(features,)),
            st.sampled_from((*EDGES, 200)),
            st.sampled_from(EDGES),
        ),
    )


@EVERY
@given(network=single_layers(), batch=st.sampled_from((1, 2, 17, 33)))
def test_three_products_of_bf16_are_nearly_one_of_floats(network: Network, batch: int) -> None:
    """Output and gradients against float64, each number within the share of the sum of its products' sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TATAMI_ISA", EMULATED)
        planned = NativeExecutor(network, SquaredError("sum"), 2, "bf16x3")
    parameters = network.initialize(seed=2)
    name, layer = next((node.name, node.layer) for node in network.nodes)
    x = bf16.KEY.normal("x", (batch, *network.input_shape)).astype(np.float32)
    output = planned.forward(parameters, x, False, bf16.KEY, {}, False).output
    target = output - bf16.KEY.normal("dy", output.shape).astype(np.float32)
    dy = output - target  # as the engine computes it
    step = planned.train_step(parameters, x, target, bf16.KEY, {}, True)
    ops, context = ReferenceBackend(), Context(True, bf16.KEY, {})
    weights = {key: array.astype(np.float64) for key, array in parameters[name].items()}
    sizes = {"weight": np.abs(weights["weight"]), "bias": np.abs(weights["bias"])}
    exact = layer.forward(ops, (x.astype(np.float64),), weights, context)
    most = layer.forward(ops, (np.abs(x).astype(np.float64),), sizes, context)
    back = layer.backward(ops, dy.astype(np.float64), exact.saved, weights)
    most_back = layer.backward(ops, np.abs(dy).astype(np.float64), most.saved, sizes)
    weight_gradient = step.gradients[name]["weight"]
    for terms, came, expected, bound in (
        (weights["weight"][0].size + 1, step.output, exact.output, most.output),
        (dy[:, 0].size, weight_gradient, back.dparameters["weight"], most_back.dparameters["weight"]),
        (weights["weight"][:, 0].size, step.value_gradients[INPUT], back.dinputs[0], most_back.dinputs[0]),
    ):
        assert came.dtype == np.float32
        share = DROPPED + terms * 2.0**-24  # float32 rounds every addition
        assert (np.abs(came - expected) <= share * bound + 1e-30).all()


def test_three_products_are_far_closer_than_one() -> None:
    """The names keep what they promise: bf16x3 is some hundred times as exact as bf16."""
    network = build("arai", input_shape=(1, 12, 12), classes=10)
    parameters = network.initialize(seed=2)
    x = bf16.KEY.normal("x", (20, 1, 12, 12)).astype(np.float32)
    exact = Program(network, backend="reference", precision="f64").forward(parameters, x).output
    errors = {}
    for precision in ("bf16", "bf16x3"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TATAMI_ISA", EMULATED)
            program = Program(network, backend="native", precision=precision)
        errors[precision] = bf16.error_of(program.forward(parameters, x).output, exact)
    assert errors["bf16x3"] < 2e-5
    assert errors["bf16"] > 100 * errors["bf16x3"]


def test_three_products_keep_bits_for_every_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TATAMI_ISA", EMULATED)
    network = build("arai", input_shape=(1, 12, 12), classes=10)
    trained = [
        bf16.train(network, threads, SGD(0.05), range(2), precision="bf16x3")[0] for threads in (1, 2, 3, 8)
    ]
    assert len({bf16.digest(parameters) for parameters in trained}) == 1


@pytest.mark.parametrize("isa", [isa for isa in native.available() if isa != "amx"])
def test_three_products_are_refused_without_tiles(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = Sequential(layers.Dense(2), input_shape=(3,))
    with pytest.raises(SettingError, match=f"computes on {isa} .*use 'f32', which is faster here"):
        Program(network, precision="bf16x3")
    with pytest.raises(ValueError, match="need tile registers"):
        native.kernels().Engine(isa, 1, 3)
    with pytest.raises(ValueError, match="products must be"):
        native.kernels().Engine(isa, 1, 2)
