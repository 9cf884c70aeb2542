"""Layers that draw, that move numbers, and that read tokens, against the reference on every instruction set here.

Random layers must draw the reference's masks bit for bit. What moves numbers or takes maxima is compared for equality,
on integers; interpolation and means by the number of their terms.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.native.test_agreement import EVERY, KEY, compare, executor
from tests.native.test_layers_between_products import between, channel_counts, check_same_bits, every_isa

from tatami import layers, native
from tatami.errors import DataError
from tatami.layers import Layer
from tatami.losses import SquaredError
from tatami.network import Network, Sequential
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

some_positions = st.lists(st.integers(1, 5), min_size=1, max_size=3)
ratios = st.sampled_from((0.0, 0.5, 0.75))  # their factors are whole numbers


@every_isa
@EVERY
@given(
    channels=channel_counts,
    size=st.lists(st.integers(1, 5), max_size=3),
    ratio=ratios,
    kind=st.sampled_from(("units", "maps", "exact")),
    alone=st.booleans(),
    batch=st.integers(1, 6),
)
def test_dropouts_draw_the_same_masks(
    isa: str, channels: int, size: list[int], ratio: float, kind: str, alone: bool, batch: int
) -> None:
    layer: Layer = {
        "units": layers.Dropout(ratio),
        "maps": layers.ChannelDropout(ratio),
        "exact": layers.Dropout(ratio, exact=True),
    }[kind]
    network = Sequential(layer, input_shape=(channels, *size)) if alone else between(layer, channels, size)
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True)


@pytest.mark.parametrize("ratio", [0.2, 0.3, 1 / 3, 0.999])
def test_an_exact_number_is_dropped_of_the_whole_batch(ratio: float) -> None:
    network = Sequential(layers.Dropout(ratio, exact=True), input_shape=(7, 3))
    program = Program(network, backend="native")
    output = program.forward({}, np.ones((11, 7, 3), np.float32), training=True, key=KEY).output
    assert (output != 0).sum() == round(11 * 21 * (1 - ratio))


@every_isa
@EVERY
@given(
    features=channel_counts,
    units=channel_counts,
    ratio=ratios,
    bias=st.booleans(),
    activation=st.sampled_from((layers.Identity(), layers.ReLU(), layers.LeakyReLU(0.5))),
    readers=st.booleans(),
    batch=st.integers(1, 70),
)
def test_dropped_connections(
    isa: str, features: int, units: int, ratio: float, bias: bool, activation: Any, readers: bool, batch: int
) -> None:
    """Sums of many integers are exact, too; with a second reader the input's gradient is added to."""
    network = Network(
        {
            "first": layers.Dense(features),
            "layer": layers.DropConnect(units, ratio, activation, bias=bias),
            "last": layers.Dense(2),
            "other": (layers.Dense(2), "first" if readers else "layer"),
            "sum": (layers.Add(), ("last", "other")),
        },
        input_shape=(2,),
    )
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True, largest=1)


@pytest.mark.parametrize("activation", [layers.Sigmoid(), layers.GELU("tanh"), layers.GELU()])
def test_activations_behind_dropped_connections(activation: Any) -> None:
    network = Sequential(layers.DropConnect(5, 0.4, activation), input_shape=(20,))
    x = KEY.normal("x", (6, 20)).astype(np.float32)
    parameters = network.initialize(1)
    outputs, gradients = [], []
    for backend in ("reference", "native"):
        program = Program(network, SquaredError(), backend=backend)
        step = program.train_step(parameters, x, np.ones((6, 5), np.float32), key=KEY)
        outputs.append(step.output)
        gradients.append(step.gradients["drop_connect1"]["weight"])
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_an_average_over_samples_runs_on_the_reference() -> None:
    network = Sequential(layers.DropConnect(5, 0.4, layers.ReLU(), samples=3), input_shape=(20,))
    assert "reference layer" in Program(network, SquaredError(), backend="native").summary()


@every_isa
@EVERY
@given(
    channels=channel_counts,
    size=st.lists(st.integers(1, 5), max_size=3),
    batch=st.integers(1, 6),
)
def test_normal_noise_and_samples(isa: str, channels: int, size: list[int], batch: int) -> None:
    """The angles' cosines may differ in the last of 53 bits, and σ is an exponential: all but equal numbers."""
    product: Layer = layers.Convolution(channels, 1) if size else layers.Dense(channels)
    network = Network(
        {
            "noise": layers.GaussianNoise(0.3),
            "mean": (product, "noise"),
            "log_variance": (product, "noise"),
            "sample": (layers.GaussianSample(), ("mean", "log_variance")),
            "sum": (layers.Add(), ("sample", "mean")),
        },
        input_shape=(3, *size),
    )
    native_one = executor(network, isa)
    assert not native_one.planned.external
    parameters = network.initialize(seed=3)
    x = KEY.normal("x", (batch, *network.input_shape)).astype(np.float32)
    reference = Program(network, SquaredError("sum"), precision="f64")
    expected = reference.train_step(
        parameters, x, np.zeros((batch, *network.output_shape)), key=KEY, keep=True
    )
    for keep in (True, False):
        step = native_one.train_step(
            parameters, x, np.zeros((batch, *network.output_shape), np.float32), KEY, {}, keep
        )
        np.testing.assert_allclose(step.output, expected.output, rtol=2e-6, atol=2e-6)
        for layer, named in expected.gradients.items():
            for name, gradient in named.items():
                allowed = 1e-5 * max(float(np.abs(gradient).max()), 1.0)
                np.testing.assert_allclose(step.gradients[layer][name], gradient, rtol=0, atol=allowed)
    predicted = native_one.forward(parameters, x, False, KEY, {}, False).output
    np.testing.assert_allclose(predicted, reference.forward(parameters, x).output, rtol=2e-6, atol=2e-6)


def test_noise_is_the_reference_s() -> None:
    """Rounded to 24 bits the numbers are equal but for a few: the libraries' cosines differ in the last of 53."""
    network = Sequential(layers.GaussianNoise(0.5), input_shape=(3, 7, 5))
    x = np.zeros((9, 3, 7, 5), np.float32)
    outputs = [
        Program(network, backend=backend).forward({}, x, training=True, key=KEY).output
        for backend in ("reference", "native")
    ]
    np.testing.assert_array_max_ulp(outputs[0], outputs[1], maxulp=1)
    assert (outputs[0] == outputs[1]).mean() > 0.999


@every_isa
@EVERY
@given(data=st.data(), channels=channel_counts, size=some_positions, batch=st.integers(1, 3))
def test_padding(isa: str, data: st.DataObject, channels: int, size: list[int], batch: int) -> None:
    mode = data.draw(st.sampled_from(("zero", "constant", "reflect", "replicate", "circular")))
    most = {"reflect": -1, "circular": 0}
    pairs = [
        tuple(data.draw(st.integers(0, n + most[mode] if mode in most else 4)) for _ in range(2))
        for n in size
    ]
    layer = layers.Pad(pairs, mode, 3.0 if mode == "constant" else 0.0)  # type: ignore[arg-type]
    network = Sequential(
        layers.Convolution(channels, 1), layer, layers.Convolution(3, 1), input_shape=(2, *size)
    )
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True)


@every_isa
@EVERY
@given(
    channels=channel_counts,
    size=some_positions,
    factor=st.sampled_from((1, 2, 4)),
    mode=st.sampled_from(("nearest", "linear", "corners")),
    batch=st.integers(1, 3),
)
def test_enlarging(isa: str, channels: int, size: list[int], factor: int, mode: str, batch: int) -> None:
    layer = layers.Upsample(
        factor, "nearest" if mode == "nearest" else "linear", align_corners=mode == "corners"
    )
    network = Sequential(
        layers.Convolution(channels, 1), layer, layers.Convolution(3, 1), input_shape=(2, *size)
    )
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=mode == "nearest")


@every_isa
@EVERY
@given(
    data=st.data(),
    channels=channel_counts,
    size=some_positions,
    maximum=st.booleans(),
    batch=st.integers(1, 3),
)
def test_adaptive_poolings(
    isa: str, data: st.DataObject, channels: int, size: list[int], maximum: bool, batch: int
) -> None:
    """More windows than positions, too: they overlap."""
    windows = tuple(data.draw(st.integers(1, 6)) for _ in size)
    layer = layers.AdaptiveMaxPool(windows) if maximum else layers.AdaptiveAveragePool(windows)
    network = Sequential(
        layers.Convolution(channels, 1), layer, layers.Convolution(3, 1), input_shape=(2, *size)
    )
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=maximum)


@every_isa
@EVERY
@given(
    data=st.data(),
    channels=channel_counts,
    size=st.lists(st.integers(1, 5), max_size=3),
    batch=st.integers(1, 3),
)
def test_exchanged_axes(isa: str, data: st.DataObject, channels: int, size: list[int], batch: int) -> None:
    axes = tuple(data.draw(st.permutations(range(len(size) + 1))))
    network = Network(
        {
            "first": layers.Convolution(channels, 1) if size else layers.Dense(channels),
            "permute": layers.Permute(axes),
            "last": layers.Convolution(2, 1) if size else layers.Dense(2),
            "other": (layers.Flatten(), "first"),
            "dense": layers.Dense(2),
            "flat": (layers.Flatten(), "last"),
            "join": (layers.Concatenate(), ("flat", "dense")),
        },
        input_shape=(2, *size),
    )
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True, largest=1)


def reader_of_tokens(vocabulary: int, features: int, shape: tuple[int, ...]) -> Network:
    """A network whose input is tokens, read twice."""
    return Network(
        {
            "embedding": layers.Embedding(vocabulary, features),
            "conv": layers.Convolution(3, 1),
            "pool": layers.GlobalAveragePool(),
            **(
                {
                    "mask": (layers.PaddingMask(), "input"),
                    "join": (layers.Concatenate(), ("pool", "mask")),
                }
                if len(shape) == 1
                else {}
            ),
            "dense": layers.Dense(2),
        },
        input_shape=shape,
    )


@every_isa
@EVERY
@given(
    vocabulary=st.sampled_from((1, 2, 5, 40)),
    features=channel_counts,
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    batch=st.integers(1, 20),
)
def test_embeddings(isa: str, vocabulary: int, features: int, shape: list[int], batch: int) -> None:
    network = reader_of_tokens(vocabulary, features, tuple(shape))
    native_one = executor(network, isa)
    assert not native_one.planned.external
    parameters = {
        layer: {
            name: np.floor(KEY.uniform(f"{layer}.{name}", spec.shape) * 5 - 2).astype(np.float32)
            for name, spec in specs.items()
        }
        for layer, specs in network.parameter_specs.items()
    }
    x = np.floor(KEY.uniform("x", (batch, *shape)) * vocabulary).astype(np.float32)
    target = np.zeros((batch, 2), np.float32)
    reference = Program(network, SquaredError("sum"), precision="f64")
    expected = reference.train_step(parameters, x, target, keep=True)
    # Terms cancel: rounding follows their magnitudes, which the same sums of positive numbers have.
    magnitudes = {
        layer: {name: np.abs(values) for name, values in named.items()} for layer, named in parameters.items()
    }
    terms = reference.train_step(magnitudes, x, target).gradients["embedding"]["weight"]
    allowed = 1e-5 * max(float(np.abs(terms).max()), 1.0)
    other = np.zeros((batch + 1, *shape), np.float32)
    native_one.train_step(parameters, other, np.full((batch + 1, 2), 1e3, np.float32), KEY, {}, True)
    for keep in (True, False):
        step = native_one.train_step(parameters, x, target, KEY, {}, keep)
        np.testing.assert_allclose(step.output, expected.output, rtol=1e-5, atol=1e-4)
        wanted = expected.gradients["embedding"]["weight"]
        np.testing.assert_allclose(step.gradients["embedding"]["weight"], wanted, rtol=0, atol=allowed)
        if keep:
            assert not step.value_gradients["input"].any()
            np.testing.assert_array_equal(step.values["embedding"], expected.values["embedding"])
    predicted = native_one.forward(parameters, x, False, KEY, {}, False).output
    np.testing.assert_allclose(predicted, expected.output, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("token", [-1.0, 5.0, 0.5, np.nan, np.inf])
@pytest.mark.parametrize("how", ["forward", "predictor", "step", "session"])
def test_tokens_that_are_not_in_the_vocabulary_are_refused(token: float, how: str) -> None:
    network = reader_of_tokens(5, 4, (6,))
    program = Program(network, SquaredError(), backend="native")
    parameters = network.initialize(1)
    x, target = np.zeros((3, 6), np.float32), np.zeros((3, 2), np.float32)
    x[1, 2] = token
    session = program.session(parameters, SGD(0.1))
    predict = program.predictor(parameters)
    calls: dict[str, Callable[[], object]] = {
        "forward": lambda: program.forward(parameters, x),
        "predictor": lambda: predict(x),
        "step": lambda: program.train_step(parameters, x, target),
        "session": lambda: session.step(x, target, RandomKey(1), 0.1),
    }
    with pytest.raises(DataError, match=r"a token must be a whole number from 0 to 4"):
        calls[how]()


def test_an_engine_that_gets_wrong_tokens_all_the_same_stays_within_its_table() -> None:
    engine = native.kernels().Engine("", 2)
    engine.add_input([3])
    engine.add_embedding(0, 4, [2, 3])
    engine.finish()
    x = np.array([[0, 4, 1e30], [-1, np.nan, 3]], np.float32)
    output = np.empty((2, 2, 3), np.float32)
    engine.predict(x, output)
    assert np.isnan(output[0, :, 1:]).all()
    assert not np.isnan(output[1, :, 2]).any()
    engine.train_step(x, None, np.zeros_like(output), 1.0, 0, 0, 0, 0.1, True, output)


def test_masks_of_sequences() -> None:
    network = Sequential(layers.PaddingMask(2.0), input_shape=(3, 5))
    x = np.full((2, 3, 5), 2.0, np.float32)
    x[0, 1, :3] = x[1, 2, 4] = np.nan
    output = Program(network, backend="native").forward({}, x).output
    np.testing.assert_array_equal(output, [[1, 1, 1, 0, 0], [0, 0, 0, 0, 1]])


def drawn_and_moved() -> Network:
    """A network with each of these layers."""
    return Network(
        {
            "noise": layers.GaussianNoise(0.1),
            "conv1": layers.Convolution(18, 3),
            "maps": layers.ChannelDropout(0.3),
            "pad": layers.Pad(2, "reflect"),
            "up": layers.Upsample(2, "linear"),
            "adaptive1": layers.AdaptiveAveragePool((7, 5)),
            "adaptive2": layers.AdaptiveMaxPool((4, 3)),
            "turned": layers.Permute((2, 0, 1)),
            "flat": layers.Flatten(),
            "exact": layers.Dropout(0.4, exact=True),
            "mean": layers.Dense(6),
            "log_variance": (layers.Dense(6), "exact"),
            "sample": (layers.GaussianSample(), ("mean", "log_variance")),
            "units": layers.Dropout(0.2),
            "connections": layers.DropConnect(40, 0.5, layers.ReLU()),
            "dense": layers.Dense(4),
        },
        input_shape=(3, 9, 8),
    )


def test_same_bits_for_any_threads_and_groups_of_images() -> None:
    check_same_bits(drawn_and_moved(), (23, 3, 9, 8))


def test_nothing_of_these_networks_runs_on_the_reference() -> None:
    summary = Program(drawn_and_moved(), SquaredError(), backend="native").summary()
    summary += Program(reader_of_tokens(5, 4, (6,)), SquaredError(), backend="native").summary()
    assert "reference layer" not in summary
    texts = (
        "noise",
        "dropout of maps",
        "dropout of an exact number",
        "normal sample",
        "resampling",
        "axes exchanged",
    )
    for text in (*texts, "adaptive max pool", "adaptive average pool", "embedding", "padding mask"):
        assert text in summary


def test_an_embedding_behind_another_layer_runs_on_the_reference() -> None:
    """Only tokens that are the network's input can be checked before they are there."""
    network = Sequential(layers.Reshape((2, 3)), layers.Embedding(4, 2), input_shape=(6,))
    program = Program(network, SquaredError(), backend="native")
    assert "reference layer" in program.summary()
    x = np.array([[0, 1, 2, 3, 2, 1]], np.float32)
    parameters = network.initialize(1)
    wanted = Program(network, backend="reference").forward(parameters, x).output
    np.testing.assert_array_equal(program.forward(parameters, x).output, wanted)


ONE = [[0], [0], [0]]
HOSTILE: list[tuple[str, tuple[Any, ...], str]] = [
    ("add_dropout", (0, 1.0, 0, False, False), "the ratio"),
    ("add_dropout", (0, float("nan"), 0, True, False), "the ratio"),
    ("add_dropout", (0, 0.5, 0, True, True), "of units, not of maps"),
    ("add_noise", (0, -1.0, 0), "the deviation"),
    ("add_noise", (0, float("inf"), 0), "the deviation"),
    ("add_sample", (0, 1, 0), "one shape"),
    ("add_sample", (0, 5, 0), "no node 5"),
    ("add_drop_connect", (0, 4, 0.5, 0, True), "needs a flat input"),
    ("add_drop_connect", (1, 0, 0.5, 0, True), "units must be from 1"),
    ("add_drop_connect", (1, 4, 1.0, 0, True), "the ratio"),
    ("add_resample", (1, [1, 1, 1], ONE, [[1.0]] * 3, 0.0), "with positions"),
    ("add_resample", (0, [1, 1, 0], ONE, [[1.0]] * 3, 0.0), "taps must be from 1"),
    ("add_resample", (0, [1, 1, 2], ONE, [[1.0]] * 3, 0.0), "every tap of every output"),
    ("add_resample", (0, [1, 1, 1], [[0], [0], []], [[1.0], [1.0], []], 0.0), "every tap of every output"),
    ("add_resample", (0, [1, 1, 1], ONE, [[1.0], [1.0], [1.0, 1.0]], 0.0), "every tap of every output"),
    ("add_resample", (0, [1, 1, 1], [[0], [2], [0]], [[1.0]] * 3, 0.0), "outside of the input"),
    ("add_resample", (0, [1, 1, 1], [[0], [0], [-1]], [[1.0]] * 3, 0.0), "outside of the input"),
    ("add_resample", (0, [1, 1, 1], ONE, [[1.0], [1.0], [float("nan")]], 0.0), "must be finite"),
    ("add_resample", (0, [1, 1, 1], ONE, [[1.0]] * 3, float("nan")), "must be finite"),
    ("add_adaptive_pool", (1, [1, 1, 1], True), "with positions"),
    ("add_adaptive_pool", (0, [1, 0, 1], True), "size must be from 1"),
    ("add_adaptive_pool", (0, [2**20, 2**20, 2**20], False), "2\\^40"),
    ("add_permute", (0, [0, 1]), "every axis of the input"),
    ("add_permute", (0, [0, 1, 1]), "each axis once"),
    ("add_permute", (0, [0, 1, 3]), "each axis once"),
    ("add_permute", (0, []), "1 to 4 axes"),
    ("add_permute", (1, [0, 1]), "every axis of the input"),
    ("add_embedding", (0, 0, [3, 6, 2, 2]), "vocabulary must be from 1"),
    ("add_embedding", (0, 4, [3, 6, 2, 1]), "one vector for every token"),
    ("add_embedding", (1, 4, [24]), "one vector for every token"),
    ("add_padding_mask", (0, 0.0), "one axis of time"),
]


@pytest.mark.parametrize(("method", "arguments", "message"), HOSTILE)
def test_hostile_descriptions_are_refused(method: str, arguments: tuple[Any, ...], message: str) -> None:
    engine = native.kernels().Engine()
    engine.add_input([6, 2, 2])
    engine.add_flatten(0)
    with pytest.raises(ValueError, match=message):
        getattr(engine, method)(*arguments)
