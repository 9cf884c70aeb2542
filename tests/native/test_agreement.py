"""Every kernel against the reference: random geometry, every instruction set here, sizes around the vector width.

Whole networks are compared, because that is what users run: output, loss, the gradient of every parameter, and with
keep=True every intermediate and its gradient. Integer-valued data make sums exact, so they are compared for equality.
"""

from collections.abc import Callable, Mapping
from math import prod, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings, strategies as st
from numpy.typing import NDArray

from tatami import layers, native
from tatami.backends.reference import ReferenceBackend
from tatami.errors import SettingError, ShapeError
from tatami.layers import Layer
from tatami.layers.activations import Activation
from tatami.losses import SoftmaxCrossEntropy, SquaredError
from tatami.network import Network, Parameters, Sequential
from tatami.program import Program, Step
from tatami.program.native import NativeExecutor
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

INSTRUCTION_SETS = native.available() or ("none",)
SIZES_AROUND_VECTORS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40)
EVERY = settings(max_examples=25, deadline=None)
KEY = RandomKey(seed=5, epoch=2, step=9)


@pytest.fixture(params=INSTRUCTION_SETS)
def isa(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def integers(key: RandomKey, stream: str, shape: tuple[int, ...], largest: int) -> NDArray[np.float32]:
    return np.floor(key.uniform(stream, shape) * (2 * largest + 1) - largest).astype(np.float32)


def integer_parameters(network: Network, largest: int = 2) -> Parameters:
    return {
        layer: {name: integers(KEY, f"{layer}.{name}", spec.shape, largest) for name, spec in specs.items()}
        for layer, specs in network.parameter_specs.items()
    }


def executor(
    network: Network, isa: str, loss: Any = None, threads: int = 2, precision: str = "f32"
) -> NativeExecutor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TATAMI_ISA", isa)
        return NativeExecutor(network, loss or SquaredError("sum"), threads, precision)


# How much more than the expected size of n random roundings, √n, an error may be. Winograd's transforms and the few
# roundings of a root or an exponential need most of it.
SPREAD = 8
# No sum is allowed more than this of the largest number of its array, however many terms it has.
MOST = 2e-5


def close(name: str, came: NDArray[Any], expected: NDArray[Any], allowed: float) -> None:
    """Compare with an absolute error; 0 asks for the same numbers."""
    assert came.shape == expected.shape, name
    assert np.isfinite(came).all(), name
    if allowed == 0:
        np.testing.assert_array_equal(came, expected, err_msg=name)
    else:
        error = float(np.abs(came - expected).max())
        assert error <= allowed, (
            f"{name}: {error:g} of {float(np.abs(expected).max()):g}, allowed {allowed:g}"
        )


def terms(network: Network, batch: int) -> int:
    """Return how many roundings a number may have gone through: the longest sum of every layer, added up.

    A layer's sums run over the window (forward), over the filters that see a pixel (input gradient), and over all
    positions of the batch (weight gradient).
    """
    total = 8
    for node in network.nodes:
        shapes = network.input_shapes(node)
        geometry = node.layer.window(*shapes)
        taps = prod(geometry.kernel) if geometry else 1
        if isinstance(
            node.layer, layers.Convolution | layers.TableConvolution | layers.LocallyConnected | layers.Dense
        ):
            positions = batch * prod(network.shapes[node.name][1:])
            total += max(shapes[0][0] * taps, network.shapes[node.name][0] * taps, positions)
            if isinstance(node.layer, layers.Dense):
                total += prod(shapes[0])
        else:
            total += prod(shapes[0][1:]) if "Global" in type(node.layer).__name__ else taps
    return total


class Allowance:
    """The errors that rounding may cause in every array of a training step.

    Of a sum of n products each rounding is at most 2^-24 of what the magnitudes of the terms add up to, and n of them
    add up like a random walk. Those sums come from the same step with every parameter, input and gradient replaced by
    its magnitude, in float64; a single value may cancel to nothing, so the largest of the array counts.
    """

    def __init__(
        self, network: Network, parameters: Parameters, x: NDArray[Any], expected: Step, most: float
    ) -> None:
        self.most = most
        magnitudes = {
            layer: {name: np.abs(array) for name, array in named.items()}
            for layer, named in parameters.items()
        }
        program = Program(network, SquaredError("sum"), precision="f64")
        doutput = np.abs(expected.value_gradients[network.output])
        output = program.forward(magnitudes, np.abs(x), training=True, key=KEY).output
        self.step = program.train_step(magnitudes, np.abs(x), output - doutput, key=KEY, keep=True)
        self.relative = SPREAD * sqrt(terms(network, len(x))) * 2.0**-24

    def of(self, sums: NDArray[Any], expected: NDArray[Any]) -> float:
        """Return the allowed error of an array."""
        largest = max(float(np.abs(expected).max()), 1e-3)
        return min(self.relative * max(float(np.abs(sums).max()), 1e-3), self.most * largest)


def runs_winograd(native_one: NativeExecutor, batch: int) -> bool:
    """Return whether a convolution takes Winograd's way, whose rounded constants make no sum of integers exact."""
    return any(
        "Winograd" in line for mode in range(3) for line in native_one.planned.engine.describe(mode, batch)
    )


def away_from_kinks(
    network: Network, values: Mapping[str, NDArray[Any]], allowed: Callable[[str], float]
) -> bool:
    """Return whether no error that is allowed moves an activation's slope or the winner of a 2x2 pooling."""
    ops = ReferenceBackend()
    for node in network.nodes:
        if isinstance(node.layer, Activation):
            x, error = values[node.inputs[0]].astype(np.float64), allowed(node.inputs[0])
            low, high = node.layer.function(ops, x - error), node.layer.function(ops, x + error)
            slopes = [node.layer.derivative(ops, x + e, y) for e, y in ((-error, low), (error, high))]
            if max(np.abs(high - low).max(), np.abs(slopes[1] - slopes[0]).max()) > 0.01:
                return False
        elif isinstance(node.layer, layers.MaxPool):
            x = values[node.inputs[0]]
            height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
            windows = x[..., :height, :width].reshape(*x.shape[:-2], height // 2, 2, width // 2, 2)
            ranked = np.sort(np.moveaxis(windows, -3, -2).reshape(*windows.shape[:-4], -1, 4), axis=-1)
            gap = ranked[..., 3] - ranked[..., 2]
            if (
                (gap > 0) & (gap <= 2 * allowed(node.inputs[0]))
            ).any():  # equal: on a plateau of the activation
                return False
    return True


def compare(
    network: Network,
    isa: str,
    batch: int = 3,
    exact: bool = False,
    largest: int = 2,
    most: float = MOST,
) -> None:
    """Compare forward, fused training and inspection with the reference.

    `exact` has integers compared for equality, but where Winograd's transforms round the weights.
    """
    native_one = executor(network, isa)
    winograd = runs_winograd(native_one, batch)
    exact = exact and not winograd
    parameters = integer_parameters(network, largest) if exact else network.initialize(seed=3)
    shape = (batch, *network.input_shape)
    target = integers(KEY, "target", (batch, *network.output_shape), largest)
    loss = SquaredError("sum")
    reference = Program(network, loss=loss, backend="reference")
    for attempt in range(100 if winograd else 1):
        key = RandomKey(KEY.seed, KEY.epoch, KEY.step + attempt)
        x = integers(key, "x", shape, largest) if exact else key.normal("x", shape).astype(np.float32)
        expected = reference.train_step(parameters, x, target, key=KEY, keep=True)
        allowance = None if exact else Allowance(network, parameters, x, expected, most)
        if allowance is None or not winograd:
            break
        errors = {name: allowance.of(allowance.step.values[name], v) for name, v in expected.values.items()}
        if away_from_kinks(network, expected.values, errors.__getitem__):
            break
    else:
        reject()
    poison(native_one, parameters, x)

    def check(name: str, came: NDArray[Any], wanted: NDArray[Any], sums: Callable[[Step], Any]) -> None:
        close(name, came, wanted, 0.0 if allowance is None else allowance.of(sums(allowance.step), wanted))

    def output(step: Step) -> Any:
        return step.values[network.output]

    came = native_one.forward(parameters, x, False, KEY, {}, False)
    check("forward", came.output, reference.forward(parameters, x).output, output)
    for keep in (True, False):
        step = native_one.train_step(parameters, x, target, KEY, {}, keep)
        assert step.loss == pytest.approx(expected.loss, rel=1e-4, abs=1e-6)
        check("output", step.output, expected.output, output)
        for layer, named in expected.gradients.items():
            for name, gradient in named.items():
                came_gradient = step.gradients[layer][name]
                check(
                    f"d{layer}.{name}",
                    came_gradient,
                    gradient,
                    lambda s, w=(layer, name): s.gradients[w[0]][w[1]],
                )  # type: ignore[misc]
        if keep:
            for name, value in expected.values.items():
                check(name, step.values[name], value, lambda s, n=name: s.values[n])  # type: ignore[misc]
                dvalue = expected.value_gradients[name]
                check(f"d{name}", step.value_gradients[name], dvalue, lambda s, n=name: s.value_gradients[n])  # type: ignore[misc]


def poison(native_one: NativeExecutor, parameters: Parameters, x: NDArray[Any]) -> None:
    """Fill every buffer with the traces of other data, a larger batch among them."""
    other = np.concatenate([x, x])[: len(x) + 1] * 1e3 + 7.0
    target = np.zeros((len(other), *native_one.network.output_shape), np.float32)
    native_one.train_step(parameters, other.astype(np.float32), target, RandomKey(1), {}, False)
    native_one.train_step(parameters, other.astype(np.float32), target, RandomKey(1), {}, True)
    native_one.forward(parameters, other.astype(np.float32), False, RandomKey(1), {}, False)


@st.composite
def convolutions(draw: st.DrawFn, ranks: tuple[int, ...] = (1, 2, 3)) -> Network:
    """Draw a network of one or two convolutions with any geometry that fits."""
    rank = draw(st.sampled_from(ranks))
    axis = {1: 20, 2: 9, 3: 5}[rank]
    size = tuple(draw(st.integers(1, axis)) for _ in range(rank))
    groups = draw(st.sampled_from((1, 1, 1, 2, 3)))
    depthwise = draw(st.sampled_from((False, False, False, True)))
    width = draw(st.sampled_from(SIZES_AROUND_VECTORS[: 15 if rank < 3 else 9]))
    channels = width * groups if not depthwise else width
    filters = draw(st.sampled_from(SIZES_AROUND_VECTORS[: 15 if rank < 3 else 9])) * groups
    if depthwise:
        groups, filters = channels, channels
    first_channels = draw(st.sampled_from((1, 3, channels)))
    stack: list[Layer] = []
    if first_channels != channels:
        stack.append(layers.Convolution(channels, 1))
    stack.append(
        layers.Convolution(
            filters,
            tuple(draw(st.integers(1, 4)) for _ in range(rank)),
            stride=tuple(draw(st.integers(1, 3)) for _ in range(rank)),
            padding=tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank)),
            dilation=tuple(draw(st.integers(1, 2)) for _ in range(rank)),
            groups=groups,
            bias=draw(st.booleans()),
        )
    )
    if draw(st.booleans()):
        stack.append(layers.ReLU())
        if draw(st.booleans()) and rank == 2:
            stack.append(layers.MaxPool(2))
    try:
        return Sequential(*stack, input_shape=(first_channels, *size))
    except ShapeError:
        return Sequential(layers.Convolution(filters, 1), input_shape=(first_channels, *size))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(network=convolutions(), batch=st.integers(1, 5))
def test_convolutions_of_integers_are_exact(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch, exact=True)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(network=convolutions(ranks=(2,)), batch=st.integers(1, 20))
def test_convolutions(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(
    channels=st.sampled_from((4, 8, 15, 16, 17, 33)),
    size=st.tuples(st.integers(3, 12), st.integers(3, 22)),
    stride=st.sampled_from((1, 2, (1, 2), (2, 1))),
    padding=st.integers(0, 2),
    batch=st.integers(1, 4),
)
def test_depthwise_windows_of_3x3(
    isa: str, channels: int, size: tuple[int, int], stride: int | tuple[int, int], padding: int, batch: int
) -> None:
    """Rows of any length around the tile of four pixels, forwards, backwards and with the taps a stride leaves over."""
    network = Sequential(
        layers.Convolution(channels, 1),
        layers.Convolution(channels, 3, stride=stride, padding=padding, groups=channels),
        layers.ReLU(),
        input_shape=(2, *size),
    )
    compare(network, isa, batch, exact=True)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(
    filters=st.sampled_from((1, 4, 16, 17, 33, 48)),
    channels=st.sampled_from((1, 3, 16, 33)),
    kernel=st.sampled_from((1, 3, 5)),
    kind=st.sampled_from(("plain", "grouped", "depthwise")),
    affine=st.booleans(),
    bias=st.booleans(),
    tail=st.sampled_from((0, 1, 2)),
    batch=st.integers(1, 5),
)
def test_normalisation_folded_into_a_convolution(
    isa: str,
    filters: int,
    channels: int,
    kernel: int,
    kind: str,
    affine: bool,
    bias: bool,
    tail: int,
    batch: int,
) -> None:
    """Running values far from (0, 1): folded weights predict as the reference does, single images the same bits."""
    groups = {"plain": 1, "grouped": 2, "depthwise": channels}[kind]
    channels, filters = {
        "plain": (channels, filters),
        "grouped": (2 * channels, 2 * filters),
        "depthwise": (channels, channels),
    }[kind]
    network = Sequential(
        layers.Convolution(filters, kernel, padding="same", groups=groups, bias=bias),
        layers.BatchNormalization(affine=affine),
        *(layers.ReLU(), layers.MaxPool(2))[:tail],
        input_shape=(channels, 6, 7),
    )
    parameters = {
        layer: {
            name: KEY.normal(f"{layer}.{name}", spec.shape).astype(np.float32) for name, spec in specs.items()
        }
        for layer, specs in network.parameter_specs.items()
    }
    (norm,) = network.initial_state()
    state = {
        norm: {
            "running_mean": KEY.normal("mean", (filters,)).astype(np.float32) * 3,
            "running_variance": (KEY.uniform("variance", (filters,)) * 4 + 0.1).astype(np.float32),
        }
    }
    x = KEY.normal("x", (batch, *network.input_shape)).astype(np.float32)
    expected = (
        Program(network, backend="reference", precision="f64").forward(parameters, x, state=state).output
    )
    native_one = executor(network, isa)
    output = native_one.forward(parameters, x, False, KEY, state, False).output
    assert any(" + batch normalisation" in line for line in native_one.planned.engine.describe(0, batch))
    # Sums of kernel² · channels products and the bias, over a standard deviation of at least 0.3; twice for Winograd.
    products = kernel * kernel * channels / groups + 2
    largest = max(float(np.abs(expected).max()), 1e-3)
    close("output", output, expected, float(32 * np.sqrt(products) * np.finfo(np.float32).eps * largest))
    alone = [
        native_one.forward(parameters, x[n : n + 1], False, KEY, state, False).output for n in range(batch)
    ]
    np.testing.assert_array_equal(np.concatenate(alone), output)


@st.composite
def pooled_stacks(draw: st.DrawFn) -> Network:
    """Draw what the fused, sparse and Winograd kernels are for: 3×3 convolutions with stride 1, ReLU and pooling.

    Integers from -1 to 1 make ties and keep all sums below 2²⁴; compare() takes other numbers for Winograd's kernels.
    """
    filters = [draw(st.sampled_from((3, 15, 16, 17, 32, 33, 40, 65))) for _ in range(2)]
    padding = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(2)]
    pools = [draw(st.booleans()) for _ in range(2)]
    stack: list[Layer] = []
    for width, pool in zip(filters, pools, strict=True):
        stack += [layers.Convolution(width, 3, padding=padding), layers.ReLU()]
        if pool:
            stack.append(layers.MaxPool(2))
    size = (draw(st.integers(1, 14)), draw(st.integers(1, 14)))
    try:
        return Sequential(*stack, input_shape=(draw(st.sampled_from((1, 2, 17))), *size))
    except ShapeError:
        return Sequential(*stack, input_shape=(2, 14, 15))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=40, deadline=None)
@given(network=pooled_stacks(), batch=st.integers(1, 4))
def test_stacks_of_pooled_convolutions(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch, exact=True, largest=1)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(network=pooled_stacks(), batch=st.integers(1, 3))
def test_whole_numbers_stay_whole_on_the_way_forward_in_training(
    isa: str, network: Network, batch: int
) -> None:
    """What decides kinks and winners is exact on integers: the 2×2 tiles of Winograd know halves only."""
    parameters = integer_parameters(network, 1)
    x = integers(KEY, "x", (batch, *network.input_shape), 1)
    target = integers(KEY, "target", (batch, *network.output_shape), 1)
    native_one = executor(network, isa)
    poison(native_one, parameters, x)
    expected = Program(network, SquaredError("sum"), backend="reference").train_step(parameters, x, target)
    came = native_one.train_step(parameters, x, target, KEY, {}, False)
    np.testing.assert_array_equal(came.output, expected.output)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=40, deadline=None)
@given(
    channels=st.sampled_from((16, 17, 32, 33)),
    filters=st.sampled_from((16, 17, 31, 33, 48)),
    size=st.tuples(st.integers(3, 13), st.integers(3, 13)),
    padding=st.tuples(
        st.tuples(st.integers(0, 2), st.integers(0, 2)), st.tuples(st.integers(0, 2), st.integers(0, 2))
    ),
    tail=st.sampled_from((0, 1, 2)),
    bias=st.booleans(),
    batch=st.integers(1, 2),
)
def test_winograd_tiles(
    isa: str,
    channels: int,
    filters: int,
    size: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    tail: int,
    bias: bool,
    batch: int,
) -> None:
    """Maps of every remainder by 4: whole and half tiles, the fused maxima, and both gradients."""
    network = Sequential(
        layers.Convolution(channels, 1),
        layers.Convolution(filters, 3, padding=padding, bias=bias),
        *(layers.ReLU(), layers.MaxPool(2))[:tail],
        input_shape=(3, *(max(n, 4 - sum(pad)) for n, pad in zip(size, padding, strict=True))),
    )
    compare(network, isa, batch)


def test_equal_values_of_a_winograd_tile_have_the_first_as_winner(isa: str) -> None:
    """Without weights every output is its bias: the first of each window of four gets the whole gradient."""
    network = Sequential(
        layers.Convolution(16, 3, padding="same"), layers.ReLU(), layers.MaxPool(2), input_shape=(16, 11, 14)
    )
    zeros = {
        "conv1": {"weight": np.zeros((16, 16, 3, 3), np.float32), "bias": np.arange(16, dtype=np.float32) - 3}
    }
    x = integers(KEY, "x", (2, *network.input_shape), 3)
    target = integers(KEY, "target", (2, *network.output_shape), 3)
    native_one = executor(network, isa)
    assert runs_winograd(native_one, 2)
    expected = Program(network, SquaredError("sum"), backend="reference").train_step(zeros, x, target)
    came = native_one.train_step(zeros, x, target, KEY, {}, False)
    np.testing.assert_array_equal(came.output, expected.output)
    for name, gradient in expected.gradients["conv1"].items():
        np.testing.assert_array_equal(came.gradients["conv1"][name], gradient)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(
    features=st.sampled_from(SIZES_AROUND_VECTORS),
    units=st.sampled_from(SIZES_AROUND_VECTORS),
    batch=st.integers(1, 70),
    relu=st.booleans(),
)
def test_dense_layers(isa: str, features: int, units: int, batch: int, relu: bool) -> None:
    stack: list[Layer] = [layers.Dense(units)]
    if relu:
        stack.append(layers.ReLU())
    network = Sequential(*stack, layers.Dense(3), input_shape=(features,))
    compare(network, isa, batch, exact=True)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(data=st.data())
def test_poolings(isa: str, data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from((1, 2, 3)))
    size = tuple(data.draw(st.integers(3, 8)) for _ in range(rank))
    window = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    stride = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    padding = tuple((data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, w - 1))) for w in window)
    channels = data.draw(st.sampled_from(SIZES_AROUND_VECTORS))
    kind = data.draw(
        st.sampled_from(("max", "average", "counted", "lp", "l2", "global max", "global average"))
    )
    pool: Layer = {
        "max": layers.MaxPool(window, stride=stride, padding=padding),
        "average": layers.AveragePool(window, stride=stride, padding=padding),
        "counted": layers.AveragePool(window, stride=stride, padding=padding, count_padding=True),
        "lp": layers.LpPool(window, stride=stride, padding=padding, p=3.0),
        "l2": layers.L2Pool(window, stride=stride, padding=padding, normalise=False),
        "global max": layers.GlobalMaxPool(),
        "global average": layers.GlobalAveragePool(),
    }[kind]
    compare(Sequential(pool, input_shape=(channels, *size)), isa, exact=kind.endswith("max"))


@pytest.mark.parametrize(
    "layer",
    [layers.Identity(), layers.Step(), layers.Sigmoid(), layers.Tanh(), layers.ReLU(), layers.Softmax()],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("shape", [(19,), (5, 3, 4)], ids=str)
def test_activations(layer: Layer, shape: tuple[int, ...], isa: str) -> None:
    compare(Sequential(layer, input_shape=shape), isa, most=1e-6)


@pytest.mark.parametrize("shape", [(37,), (5, 3, 4)], ids=str)
def test_dropout_draws_the_same_mask(shape: tuple[int, ...], isa: str) -> None:
    compare(Sequential(layers.Dropout(0.3), input_shape=shape), isa, batch=7, exact=True)


def test_graphs_with_merges_and_a_flatten_that_is_not_free(isa: str) -> None:
    network = Network(
        {
            "conv1": layers.Convolution(9, 3, padding="same"),
            "relu1": layers.ReLU(),
            "conv2": (layers.Convolution(9, 3, padding=2, dilation=2), "relu1"),
            "add1": (layers.Add(), ("conv2", "relu1", "conv1")),
            "conv3": (layers.Convolution(5, 1), "relu1"),
            "join1": (layers.Concatenate(), ("add1", "conv3")),
            "pool1": layers.MaxPool(2),
            "flatten1": layers.Flatten(),
            "dropout1": layers.Dropout(0.5),
            "dense1": layers.Dense(7),
            "pool2": (layers.GlobalMaxPool(), "join1"),
            "dense2": (layers.Dense(7), "pool2"),
            "join2": (layers.Concatenate(), ("dense1", "dense2", "flatten1")),
            "dense3": layers.Dense(4),
        },
        input_shape=(2, 6, 7),
    )
    compare(network, isa, batch=6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_softmax_cross_entropy(reduction: Any, isa: str) -> None:
    network = Sequential(layers.Dense(11), input_shape=(6,))
    parameters = network.initialize(seed=1)
    x = KEY.normal("x", (9, 6)).astype(np.float32)
    labels = np.arange(9) % 11
    loss = SoftmaxCrossEntropy(reduction)
    expected = Program(network, loss=loss, backend="reference").train_step(parameters, x, labels)
    step = executor(network, isa, loss).train_step(parameters, x, labels, KEY, {}, False)
    assert step.loss == pytest.approx(expected.loss, rel=1e-6)
    wanted = expected.gradients["dense1"]["weight"]
    close("dweight", step.gradients["dense1"]["weight"], wanted, 1e-6 * float(np.abs(wanted).max()))


def test_softmax_cross_entropy_for_maps(isa: str) -> None:
    network = Sequential(layers.Convolution(4, 3, padding="same"), input_shape=(2, 5, 6))
    parameters = network.initialize(seed=1)
    x = KEY.normal("x", (3, 2, 5, 6)).astype(np.float32)
    labels = (np.arange(90) % 4).reshape(3, 5, 6)
    loss = SoftmaxCrossEntropy()
    expected = Program(network, loss=loss, backend="reference").train_step(parameters, x, labels)
    step = executor(network, isa, loss).train_step(parameters, x, labels, KEY, {}, False)
    assert step.loss == pytest.approx(expected.loss, rel=1e-6)
    wanted = expected.gradients["conv1"]["weight"]
    close("dweight", step.gradients["conv1"]["weight"], wanted, 2e-6 * float(np.abs(wanted).max()))


@st.composite
def composed_layers(draw: st.DrawFn) -> Network:
    """Draw a layer that the engine computes as two nodes, between others that need its input's gradient."""
    rank = draw(st.sampled_from((1, 2, 2, 3)))
    sizes = SIZES_AROUND_VECTORS[: 11 if rank < 3 else 6]  # more would add up to more than 2²⁴
    groups = draw(st.sampled_from((1, 1, 2)))
    channels, filters = draw(st.sampled_from(sizes)) * groups, draw(st.sampled_from(sizes)) * groups
    stack: list[Layer] = [layers.Convolution(channels, 1)]
    if draw(st.booleans()):
        stride = tuple(draw(st.integers(1, 3)) for _ in range(rank))
        taps = tuple(step * draw(st.integers(1, 2)) for step in stride)
        cut = tuple((draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))) for count in taps)
        more = tuple(draw(st.integers(0, step - 1)) for step in stride)
        bias = draw(st.booleans())
        stack.append(layers.TransposedConvolution(filters, taps, stride, cut, more, groups=groups, bias=bias))
    else:
        kernel = tuple(draw(st.integers(1, 3)) for _ in range(rank))
        multiplier = draw(st.integers(1, 3))
        stack.append(
            layers.SeparableConvolution(
                filters, kernel, padding="same", multiplier=multiplier, bias=draw(st.booleans())
            )
        )
    if draw(st.booleans()):
        stack.append(layers.ReLU())
    stack.append(layers.Convolution(2, 3, padding=1))
    size = tuple(draw(st.integers(1, {1: 12, 2: 6, 3: 4}[rank])) for _ in range(rank))
    try:
        return Sequential(*stack, input_shape=(3, *size))
    except (ShapeError, SettingError):  # everything is cut away
        return Sequential(layers.TransposedConvolution(filters, 2, stride=2), input_shape=(3, *size))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(network=composed_layers(), batch=st.integers(1, 5))
def test_layers_of_two_nodes_on_integers_are_exact(isa: str, network: Network, batch: int) -> None:
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True, largest=1)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(
    channels=st.sampled_from(SIZES_AROUND_VECTORS),
    size=st.lists(st.integers(1, 5), max_size=3),
    neighbours=st.integers(1, 9),
    alpha=st.sampled_from((0.0, 1e-4, 0.1, 3.0)),
    beta=st.sampled_from((0.75, 0.5, 2.0)),
    k=st.sampled_from((2.0, 1.0, 0.01)),
)
def test_local_response_normalisation(
    isa: str, channels: int, size: list[int], neighbours: int, alpha: float, beta: float, k: float
) -> None:
    layer = layers.LocalResponseNormalization(neighbours, alpha, beta, k)
    network = Sequential(layer, input_shape=(channels, *size))
    assert not executor(network, isa).planned.external
    reference = Program(network, SquaredError("sum"), precision="f64")
    native_one = executor(network, isa)
    x = KEY.normal("x", (3, *network.input_shape)).astype(np.float32)
    target = KEY.normal("target", x.shape).astype(np.float32)
    poison(native_one, {}, x)
    expected = reference.train_step({}, x, target, keep=True)
    came = native_one.train_step({}, x, target, KEY, {}, True)
    # A sum of positive terms, its logarithm and its power: relative to each number; gradients are differences.
    np.testing.assert_allclose(came.output, expected.output, rtol=4e-6)
    dx, wanted = came.value_gradients["input"], expected.value_gradients["input"]
    close("dinput", dx, wanted, 1e-5 * max(float(np.abs(wanted).max()), 1e-3))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(channels=st.sampled_from((1, 3, 8, 9)), batch=st.integers(1, 3), data=st.data())
def test_products_and_other_shapes(isa: str, channels: int, batch: int, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    more = data.draw(st.sampled_from(([], ["conv1"], ["input"])))
    factors = data.draw(st.permutations(["conv1", "conv2", *more]))
    network = Network(
        {
            "conv1": (layers.Convolution(2, 1), "input"),
            "conv2": (layers.Convolution(2, 3, padding=1), "input"),
            "product": (layers.Multiply(), tuple(factors)),
            "turned": layers.Reshape((width, 2, height)),
            "conv3": layers.Convolution(channels, 1),
            "flat": layers.Reshape((-1,)),
            "dense1": layers.Dense(2),
            "back": layers.Reshape((1, 1, 2)),
        },
        input_shape=(2, height, width),
    )
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True, largest=1)
