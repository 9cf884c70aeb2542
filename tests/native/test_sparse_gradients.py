"""Convolutions behind fused ReLU and 2×2 pooling: gradients from the winners alone, on every edge of the map."""

import pytest
from hypothesis import given, settings, strategies as st
from tests.native.test_agreement import INSTRUCTION_SETS, compare

from tatami import layers, native
from tatami.errors import ShapeError
from tatami.layers import Layer
from tatami.network import Network, Sequential
from tatami.program import Program

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

# Around the width of a vector of any instruction set, and of a mask of filters.
COUNTS = (3, 15, 16, 17, 31, 32, 33, 40, 65)


@st.composite
def pooled_maps(draw: st.DrawFn) -> Network:
    """Draw a convolution and a pooled 3×3 one behind it, whose input gradient it needs, of any padding and size."""
    sides = st.tuples(st.integers(0, 2), st.integers(0, 2))
    stack: list[Layer] = [
        layers.Convolution(draw(st.sampled_from((2, 6, 16, 17, 33, 48))), draw(st.integers(1, 3)), padding=1),
        layers.ReLU(),
        layers.Convolution(draw(st.sampled_from(COUNTS)), 3, padding=(draw(sides), draw(sides))),
        layers.ReLU(),
        layers.MaxPool(2),
    ]
    channels = draw(st.sampled_from((1, 3)))
    try:
        return Sequential(*stack, input_shape=(channels, draw(st.integers(2, 11)), draw(st.integers(2, 11))))
    except ShapeError:
        return Sequential(*stack, input_shape=(channels, 6, 7))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=40, deadline=None)
@given(network=pooled_maps(), batch=st.integers(1, 4))
def test_whole_numbers(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch, exact=True, largest=1)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=15, deadline=None)
@given(network=pooled_maps(), batch=st.integers(1, 4))
def test_any_numbers(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch)


def test_sums_of_two_ways() -> None:
    """Where another layer reads the same map, the gradient from the winners is added to that layer's."""
    network = Network(
        {
            "first": layers.Convolution(16, 3, padding=1),
            "relu": (layers.ReLU(), "first"),
            "second": (layers.Convolution(20, 3, padding=1), "relu"),
            "second_relu": (layers.ReLU(), "second"),
            "pool": (layers.MaxPool(2), "second_relu"),
            "third": (layers.Convolution(20, 3, padding=1), "relu"),
            "third_relu": (layers.ReLU(), "third"),
            "third_pool": (layers.MaxPool(2), "third_relu"),
            "sum": (layers.Add(), ("pool", "third_pool")),
        },
        input_shape=(2, 7, 9),
    )
    compare(network, INSTRUCTION_SETS[-1], 3, exact=True, largest=1)
    assert str(Program(network, backend="native").summary()).count("sparse gradients") == 2
