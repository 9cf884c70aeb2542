"""Signals: one axis, windows of any length, pooled in pairs; their gradients come from the winners alone."""

import pytest
from hypothesis import given, settings, strategies as st
from tests.native.test_agreement import INSTRUCTION_SETS, compare

from tatami import layers, native
from tatami.errors import ShapeError
from tatami.layers import Layer
from tatami.network import Network, Sequential

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")


@st.composite
def pooled_signals(draw: st.DrawFn) -> Network:
    """Draw two convolutions of one axis with ReLU and mostly pooling, filters around the width of a mask."""
    stack: list[Layer] = []
    for channels in ((1, 3, 16, 17, 33), (3, 16, 31, 32, 33, 63, 64, 65, 70)):
        filters = draw(st.sampled_from(channels))
        kernel = draw(st.integers(1, 10))
        padding = ((draw(st.integers(0, 4)), draw(st.integers(0, 4))),)
        stack += [layers.Convolution(filters, kernel, padding=padding), layers.ReLU()]
        if draw(st.integers(0, 3)):
            stack.append(layers.MaxPool(2))
    channels = draw(st.sampled_from((1, 2, 3, 17)))
    try:
        return Sequential(*stack, input_shape=(channels, draw(st.integers(6, 40))))
    except ShapeError:
        return Sequential(*stack, input_shape=(channels, 41))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=40, deadline=None)
@given(network=pooled_signals(), batch=st.integers(1, 4))
def test_pooled_signals(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch, exact=True, largest=1)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=15, deadline=None)
@given(network=pooled_signals(), batch=st.integers(1, 4))
def test_pooled_signals_of_any_numbers(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch)
