"""Windows of a rarer kind against the reference: gaps, ties, unpooling, random entries, fixed filters, frequencies."""

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.native.test_agreement import EVERY, KEY, compare, executor
from tests.native.test_layers_between_products import channel_counts, check_same_bits, every_isa

from tatami import layers, native
from tatami.errors import SettingError, ShapeError
from tatami.layers import Layer
from tatami.layers.fixed_filters import gabor_filters
from tatami.losses import SquaredError
from tatami.network import Network, Sequential
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")


@every_isa
@EVERY
@given(data=st.data(), channels=channel_counts, batch=st.integers(1, 3))
def test_poolings_with_gaps_and_ties(isa: str, data: st.DataObject, channels: int, batch: int) -> None:
    """Small integers make ties; two or four of them share without rounding, three do not."""
    rank = data.draw(st.sampled_from((1, 2, 3)))
    size = tuple(data.draw(st.integers(1, 8)) for _ in range(rank))
    window = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    stride = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    dilation = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    padding = tuple((data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, w - 1))) for w in window)
    kind = data.draw(st.sampled_from(("first", "all", "even", "average", "lp")))
    common: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    ties: Literal["all", "even", "first"] = kind if kind in ("all", "even") else "first"
    pool: Layer = {
        "average": layers.AveragePool(window, **common),
        "lp": layers.LpPool(window, p=3.0, **common),
    }.get(kind, layers.MaxPool(window, ties=ties, **common))
    try:
        network = Sequential(layers.Convolution(channels, 1), layers.ReLU(), pool, input_shape=(2, *size))
    except (ShapeError, SettingError):  # a window larger than the input, or one that sees only padding
        network = Sequential(pool, input_shape=(channels, *(9 for _ in size)))
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=kind in ("first", "all"), largest=1, most=1e-5)


@pytest.mark.parametrize("ties", ["all", "even"])
def test_pairs_whose_ties_count_are_not_fused_as_those_of_the_first(ties: Any) -> None:
    network = Sequential(
        layers.Convolution(3, 1), layers.ReLU(), layers.MaxPool(2, ties=ties), input_shape=(2, 4, 4)
    )
    assert not any("pool" in line and "conv" in line for line in described(network))
    dilated = Sequential(layers.Convolution(3, 1), layers.MaxPool(2, dilation=2), input_shape=(2, 8, 8))
    assert not any("pool" in line and "conv" in line for line in described(dilated))


def described(network: Network) -> list[str]:
    planned = Program(network, SquaredError(), backend="native").executor.planned  # type: ignore[union-attr]
    return [line for mode in (0, 1) for line in planned.engine.describe(mode, 1)]


@every_isa
@EVERY
@given(data=st.data(), channels=channel_counts, batch=st.integers(1, 3))
def test_unpooling(isa: str, data: st.DataObject, channels: int, batch: int) -> None:
    """Windows may overlap: values then add up. What the pooling looked at has other readers."""
    rank = data.draw(st.sampled_from((1, 2, 3)))
    size = tuple(data.draw(st.integers(3, 6)) for _ in range(rank))
    window = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    stride = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    network = Network(
        {
            "before": layers.Convolution(channels, 1),
            "pool": layers.MaxPool(window, stride),
            "middle": layers.Convolution(channels, 1),
            "unpool": (layers.MaxUnpool(window, stride), ("middle", "before")),
            "last": layers.Convolution(2, 1),
            "other": (layers.Convolution(2, 1), data.draw(st.sampled_from(("before", "unpool")))),
            "sum": (layers.Add(), ("last", "other")),
        },
        input_shape=(2, *size),
    )
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True, largest=1)


@every_isa
@EVERY
@given(data=st.data(), channels=channel_counts, batch=st.integers(1, 5))
def test_stochastic_pooling_chooses_the_same_entries(
    isa: str, data: st.DataObject, channels: int, batch: int
) -> None:
    """While training all is exact on integers; the mean at prediction is a quotient."""
    rank = data.draw(st.sampled_from((1, 2, 3)))
    size = tuple(data.draw(st.integers(3, 6)) for _ in range(rank))
    window = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    padding = tuple((data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, w - 1))) for w in window)
    stride = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    network = Sequential(
        layers.Convolution(channels, 1),
        layers.StochasticPool(window, stride, padding),
        layers.Convolution(2, 1),
        input_shape=(2, *size),
    )
    native_one = executor(network, isa)
    assert not native_one.planned.external
    parameters = {
        layer: {
            name: np.floor(KEY.uniform(f"{layer}.{name}", spec.shape) * 5 - 2).astype(np.float32)
            for name, spec in specs.items()
        }
        for layer, specs in network.parameter_specs.items()
    }
    x = np.floor(KEY.uniform("x", (batch, *network.input_shape)) * 5 - 2).astype(np.float32)
    target = np.zeros((batch, *network.output_shape), np.float32)
    reference = Program(network, SquaredError("sum"), backend="reference")
    expected = reference.train_step(parameters, x, target, key=KEY, keep=True)
    native_one.train_step(parameters, x[::-1] + 1, target, RandomKey(1), {}, True)
    for keep in (True, False):
        step = native_one.train_step(parameters, x, target, KEY, {}, keep)
        np.testing.assert_array_equal(step.output, expected.output)
        for layer, named in expected.gradients.items():
            for name, gradient in named.items():
                np.testing.assert_array_equal(step.gradients[layer][name], gradient)
        if keep:
            for name, value in expected.value_gradients.items():
                np.testing.assert_array_equal(step.value_gradients[name], value)
    predicted = native_one.forward(parameters, x, False, KEY, {}, False).output
    wanted = reference.forward(parameters, x).output
    allowed = 1e-5 * max(float(np.abs(wanted).max()), 1.0)
    np.testing.assert_allclose(predicted, wanted, rtol=0, atol=allowed)


@every_isa
@EVERY
@given(
    channels=st.sampled_from((1, 2, 3, 8, 17)),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    stride=st.sampled_from((1, 2)),
    padding=st.sampled_from(("same", "valid")),
    relu=st.booleans(),
    batch=st.integers(1, 3),
)
def test_fixed_filters(
    isa: str, channels: int, size: tuple[int, int], stride: int, padding: Any, relu: bool, batch: int
) -> None:
    network = Sequential(
        layers.Convolution(channels, 1),
        layers.FilterBank(stride=stride, padding=padding),
        *([layers.ReLU()] if relu else []),
        layers.Convolution(2, 1),
        input_shape=(2, *size),
    )
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True, largest=1)


@pytest.mark.parametrize("size", [(3, 3), (5, 5), (9, 9)])
def test_no_step_moves_fixed_filters(size: tuple[int, int]) -> None:
    """Not by decay, momentum or clipping, nor where one window sees everything."""
    network = Sequential(
        layers.Convolution(1, 1, bias=False),  # filters of mean 0 would leave a bias nothing but roundings
        layers.FilterBank(gabor_filters(3, 3), padding="valid"),
        layers.Flatten(),
        layers.Dense(2),
        input_shape=(2, *size),
    )
    x = RandomKey(1).normal("x", (5, 2, *size)).astype(np.float32)
    target = RandomKey(2).normal("target", (5, 2)).astype(np.float32)
    trained = []
    for backend in ("reference", "native"):
        program = Program(network, SquaredError(), backend=backend)
        for clip in (None, 0.1):
            optimizer = SGD(0.1, momentum=0.5, weight_decay=0.1)
            session = program.session(network.initialize(3), optimizer, clip_norm=clip)
            for step in range(3):
                session.step(x, target, RandomKey(1, step=step), 0.001)
            trained.append(session.parameters)
    for wanted, came in ((trained[0], trained[2]), (trained[1], trained[3])):
        for layer, named in wanted.items():
            for name, values in named.items():
                np.testing.assert_allclose(came[layer][name], values, rtol=1e-5, atol=1e-5)


@every_isa
@EVERY
@given(
    channels=st.sampled_from((1, 2, 9)),
    length=st.sampled_from((2, 3, 8, 31, 64)),
    hop=st.sampled_from((1, 5, 16)),
    frames=st.integers(1, 4),
    loudness=st.sampled_from((1e-4, 1.0, 30.0)),
    batch=st.integers(1, 3),
)
def test_short_time_fourier(
    isa: str, channels: int, length: int, hop: int, frames: int, loudness: float, batch: int
) -> None:
    """Sums of `length` products, their squares and a logarithm: quiet signals keep their digits, too."""
    time = length + hop * (frames - 1)
    network = Sequential(layers.ShortTimeFourier(length, hop), input_shape=(channels, time))
    native_one = executor(network, isa)
    assert not native_one.planned.external
    x = (loudness * KEY.normal("x", (batch, channels, time))).astype(np.float32)
    target = KEY.normal("target", (batch, *network.output_shape)).astype(np.float32)
    reference = Program(network, SquaredError("sum"), precision="f64")
    expected = reference.train_step({}, x, target, keep=True)
    step = native_one.train_step({}, x, target, KEY, {}, True)
    relative = 8 * np.sqrt(length + 8) * 2.0**-24
    largest = float(np.abs(expected.output).max())
    np.testing.assert_allclose(step.output, expected.output, rtol=0, atol=4 * relative * largest)
    wanted = expected.value_gradients["input"]
    allowed = 4 * relative * (1 + largest) * max(float(np.abs(wanted).max()), 1e-30)
    np.testing.assert_allclose(step.value_gradients["input"], wanted, rtol=0, atol=allowed)


def rare_network() -> Network:
    """A network with each of these layers that takes images."""
    return Network(
        {
            "filters": layers.FilterBank(),
            "before": layers.Convolution(12, 3, padding="same"),
            "pool": layers.MaxPool(2, ties="even"),
            "middle": layers.Convolution(12, 3, padding="same"),
            "unpool": (layers.MaxUnpool(2), ("middle", "before")),
            "gaps": layers.AveragePool(2, dilation=2),
            "stochastic": layers.StochasticPool(2),
            "flat": layers.Flatten(),
            "dense": layers.Dense(4),
        },
        input_shape=(3, 8, 10),
    )


def test_same_bits_for_any_threads_and_groups_of_images() -> None:
    check_same_bits(rare_network(), (23, 3, 8, 10))


def test_nothing_of_these_networks_runs_on_the_reference() -> None:
    summary = Program(rare_network(), SquaredError(), backend="native").summary()
    signal = Sequential(layers.ShortTimeFourier(8, 4), input_shape=(2, 40))
    summary += Program(signal, SquaredError(), backend="native").summary()
    assert "reference layer" not in summary
    for text in ("unpooling", "stochastic pool", "then logarithms of powers"):
        assert text in summary


ONE, NONE, TWO = [1, 1, 1], [0, 0, 0], [1, 2, 2]
HOSTILE: list[tuple[str, tuple[Any, ...], str]] = [
    ("add_max_pool", (0, TWO, TWO, NONE, NONE, [1, 0, 1]), "dilation must be from 1"),
    ("add_max_pool", (0, TWO, TWO, NONE, NONE, [1, 4, 1]), "larger than the padded input"),
    ("add_max_pool", (0, TWO, ONE, [0, 1, 0], [0, 8, 0], [1, 5, 1]), "sees only padding"),
    ("add_max_pool", (0, TWO, TWO, NONE, NONE, ONE, 3), "ties"),
    ("add_max_pool", (0, TWO, TWO, NONE, NONE, ONE, -1), "ties"),
    ("add_unpool", (0, 0, TWO, TWO, NONE, NONE), "the shape that the pooling gives"),
    ("add_unpool", (1, 0, [1, 4, 4], ONE, NONE, NONE), "the shape that the pooling gives"),
    ("add_unpool", (0, 9, TWO, TWO, NONE, NONE), "no node 9"),
    ("add_stochastic_pool", (1, TWO, TWO, NONE, NONE, ONE, 0), "with positions"),
    ("add_log_power", (0, 1, 1.0), "frames of a signal"),
    ("add_log_power", (2, 4, 1.0), "a real and an imaginary part"),
    ("add_log_power", (2, 0, 1.0), "groups must be from 1"),
    ("add_log_power", (2, 1, float("inf")), "gain"),
    ("add_log_power", (2, 1, 0.0), "gain"),
    ("fix_weights", (0,), "only a convolution"),
    ("fix_weights", (5,), "no node 5"),
]


@pytest.mark.parametrize(("method", "arguments", "message"), HOSTILE)
def test_hostile_descriptions_are_refused(method: str, arguments: tuple[Any, ...], message: str) -> None:
    engine = native.kernels().Engine()
    engine.add_input([6, 4, 4])
    engine.add_flatten(0)
    engine.add_reshape(0, [6, 16])
    with pytest.raises(ValueError, match=message):
        getattr(engine, method)(*arguments)
    assert engine.add_softmax(1) == 3  # nothing was left behind
