"""Windows of few floats behind ReLU and pooling: every filter's lane chooses its winner's input."""

import pytest
from hypothesis import given, settings, strategies as st
from tests.native.test_agreement import INSTRUCTION_SETS, compare

from tatami import layers, native
from tatami.errors import ShapeError
from tatami.network import Network, Sequential

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")


@st.composite
def small_windows(draw: st.DrawFn) -> Network:
    """Draw a first convolution whose windows have rows of less than 16 floats, at any stride and distance of rows."""
    channels = draw(st.sampled_from((1, 1, 2, 3, 5)))
    kernel = (draw(st.integers(1, 6)), draw(st.integers(1, 15 // channels)))
    convolution = layers.Convolution(
        draw(st.sampled_from((1, 4, 15, 16, 17, 30, 32, 33, 50))),
        kernel,
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        padding=((draw(st.integers(0, 2)), draw(st.integers(0, 2))), (draw(st.integers(0, 3)), 1)),
        dilation=(draw(st.integers(1, 3)), 1),
        bias=draw(st.booleans()),
    )
    size = (draw(st.integers(2, 24)), draw(st.integers(2, 24)))
    for shape in (size, (30, 60)):
        try:
            return Sequential(convolution, layers.ReLU(), layers.MaxPool(2), input_shape=(channels, *shape))
        except ShapeError:
            continue
    raise AssertionError(f"no image is large enough for {convolution}")


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=40, deadline=None)
@given(network=small_windows(), batch=st.integers(1, 3))
def test_small_windows(isa: str, network: Network, batch: int) -> None:
    compare(network, isa, batch, exact=True)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("stride", [1, 2])
def test_images_of_several_bands(isa: str, stride: int) -> None:
    convolution = layers.Convolution(20, 5, stride=stride, padding=1, dilation=(2, 1))
    network = Sequential(convolution, layers.ReLU(), layers.MaxPool(2), input_shape=(1, 75, 301))
    compare(network, isa, 2, exact=True, largest=1)
