"""Convolutions wired by a table and windows with weights of their own, against the reference."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.native.test_agreement import EVERY, INSTRUCTION_SETS, KEY, compare, executor

from tatami import layers, native
from tatami.errors import ShapeError
from tatami.layers import Layer
from tatami.models import build
from tatami.network import Network, Sequential
from tatami.optimizers import Adam
from tatami.program import Program
from tatami.random import RandomKey
from tatami.training.checkpoint import weights_sha256

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")


@st.composite
def windows(draw: st.DrawFn, rank: int) -> dict[str, Any]:
    """Draw the geometry of a window."""
    return {
        "kernel": tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        "stride": tuple(draw(st.integers(1, 2)) for _ in range(rank)),
        "padding": tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(rank)),
        "dilation": tuple(draw(st.integers(1, 2)) for _ in range(rank)),
        "bias": draw(st.booleans()),
    }


@st.composite
def wired(draw: st.DrawFn) -> Network:
    """Draw a convolution with any table, fused with ReLU and pooling or not, behind one that needs its gradient."""
    rank = draw(st.sampled_from((1, 2, 2, 2, 3)))
    channels = draw(st.sampled_from((1, 3, 6, 16, 17)))
    filters = draw(st.sampled_from((1, 4, 16, 17, 33)))
    row = st.lists(st.integers(0, channels - 1), min_size=1, max_size=channels, unique=True)
    table = tuple(tuple(draw(row)) for _ in range(filters))
    stack: list[Layer] = [layers.Convolution(channels, 1)]
    if draw(st.booleans()):  # what Winograd and the sparse gradients are for
        stack.append(layers.TableConvolution((3,) * rank, table, padding=1))
    else:
        stack.append(layers.TableConvolution(table=table, **draw(windows(rank))))
    stack += [layers.ReLU(), layers.MaxPool(2)][: draw(st.integers(0, 2))]
    size = tuple(draw(st.integers(1, {1: 12, 2: 8, 3: 4}[rank])) for _ in range(rank))
    try:
        return Sequential(*stack, input_shape=(2, *size))
    except ShapeError:
        return Sequential(stack[0], layers.TableConvolution(1, table), input_shape=(2, *size))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(network=wired(), batch=st.integers(1, 5))
def test_tables_on_integers_are_exact(isa: str, network: Network, batch: int) -> None:
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True, largest=1)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(network=wired(), batch=st.integers(1, 5))
def test_tables(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("isa", [*INSTRUCTION_SETS, "amx_emulated"])
def test_weights_outside_the_table_never_move(
    isa: str, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps of LeNet-5 with decay and a bound on the gradients' norm: the reference's losses."""
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = build("lenet5_table")
    x = KEY.uniform("x", (20, *network.input_shape)).astype(np.float32)
    labels = np.arange(20) % 10
    losses, hashes = [], set()
    for backend, threads in (("reference", 1), ("native", 1), ("native", 3), ("native", 8)):
        same = precision if backend == "native" else "f32"
        program = Program(network, backend=backend, precision=same, threads=threads)
        session = program.session(network.initialize(seed=1), Adam(0.003, weight_decay=0.01), clip_norm=1.0)
        losses.append([session.step(x, labels, RandomKey(1, step=step), 0.003).loss for step in range(10)])
        if backend == "native":
            hashes.add(weights_sha256(session.parameters))
            assert not session.planned.external  # type: ignore[attr-defined]
    assert len(hashes) == 1
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5 if precision == "f32" else 0.02)


@pytest.mark.parametrize(
    "table", [[], [[]], [[0], []], [[2]], [[-1]], [[0, 0]], [[2**40]], [[0], [1], [1, 0, 1]]]
)
def test_hostile_tables_are_refused(table: list[list[int]]) -> None:
    engine = native.kernels().Engine("", 1)
    engine.add_input([2, 6, 6])
    with pytest.raises(ValueError, match="filter|channel"):
        engine.add_table_convolution(0, table, [1, 3, 3], [1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1], True)


@st.composite
def own_weights(draw: st.DrawFn) -> Network:
    """Draw windows with weights of their own, with a layer before them that needs its gradient or none."""
    rank = draw(st.sampled_from((1, 2, 2, 3)))
    channels = draw(st.sampled_from((1, 3, 4, 16, 17, 40)))
    filters = draw(st.sampled_from((1, 4, 15, 16, 17, 33)))
    layer = layers.LocallyConnected(filters, **draw(windows(rank)))
    size = tuple(draw(st.integers(1, {1: 9, 2: 6, 3: 3}[rank])) for _ in range(rank))
    before: list[Layer] = [layers.Convolution(channels, 1)] if draw(st.booleans()) else []
    after: list[Layer] = [layers.Convolution(2, 3, padding=1)] if draw(st.booleans()) else []
    try:
        return Sequential(*before, layer, *after, input_shape=(2 if before else channels, *size))
    except ShapeError:
        return Sequential(layers.LocallyConnected(filters, 1), input_shape=(channels, *size))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(network=own_weights(), batch=st.sampled_from((1, 2, 5, 15, 31)))
def test_own_weights_on_integers_are_exact(isa: str, network: Network, batch: int) -> None:
    assert not executor(network, isa).planned.external
    compare(network, isa, batch, exact=True, largest=1)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@EVERY
@given(network=own_weights(), batch=st.sampled_from((1, 2, 5, 15, 31)))
def test_own_weights(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch)


def face() -> Network:
    return Sequential(
        layers.Convolution(5, 3),
        layers.ReLU(),
        layers.LocallyConnected(17, 3, padding=1),
        layers.ReLU(),
        layers.LocallyConnected(4, 2, stride=2, bias=False),
        layers.Flatten(),
        layers.Dense(10),
        input_shape=(1, 10, 11),
    )


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_own_weights_are_the_same_bits_for_any_number_of_threads(
    isa: str, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ten losses are the reference's, with decay of the weights but not of the biases and a bound on the norm."""
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = face()
    x = KEY.uniform("x", (37, *network.input_shape)).astype(np.float32)
    labels = np.arange(37) % 10
    losses, hashes = [], set()
    for backend, threads in (("reference", 1), *(("native", threads) for threads in (1, 2, 3, 4, 8))):
        same = precision if backend == "native" else "f32"
        program = Program(network, backend=backend, precision=same, threads=threads)
        session = program.session(network.initialize(seed=1), Adam(0.003, weight_decay=0.01), clip_norm=1.0)
        losses.append([session.step(x, labels, RandomKey(1, step=step), 0.003).loss for step in range(10)])
        if backend == "native":
            hashes.add(weights_sha256(session.parameters))
    assert len(hashes) == 1
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5 if precision == "f32" else 0.02)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_own_weights_predict_the_same_in_any_grouping(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = face()
    x = KEY.normal("x", (33, *network.input_shape)).astype(np.float32)
    predict = Program(network, backend="native", threads=2).predictor(network.initialize(seed=1))
    whole = predict(x)
    for size in (1, 2, 13, 14, 29):
        pieces = [predict(x[at : at + size]) for at in range(0, len(x), size)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_the_summary_says_where_they_run() -> None:
    places = Program(face(), backend="native").where_layers_run()
    assert places["local1"]["training"].startswith("window with its own weights everywhere + bias")


@pytest.mark.parametrize(
    ("kernel", "stride", "before", "filters"),
    [
        ([1, 0, 3], [1, 1, 1], [0, 0, 0], 4),
        ([1, 3, 3], [1, 0, 1], [0, 0, 0], 4),
        ([1, 9, 3], [1, 1, 1], [0, 0, 0], 4),
        ([1, 3, 3], [1, 1, 1], [0, -1, 0], 4),
        ([1, 3, 3], [1, 1, 1], [0, 0, 0], 0),
        ([1, 3, 3], [1, 1, 1], [0, 0, 0], 2**40),
        ([1, 2**20, 2**20], [1, 1, 1], [0, 2**20, 2**20], 4),
    ],
)
def test_hostile_windows_are_refused(
    kernel: list[int], stride: list[int], before: list[int], filters: int
) -> None:
    engine = native.kernels().Engine("", 1)
    engine.add_input([2, 6, 6])
    with pytest.raises(ValueError, match="must be|larger than|more than"):
        engine.add_local(0, filters, kernel, stride, before, [0, 0, 0], [1, 1, 1], True)
