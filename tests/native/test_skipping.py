"""1×1 windows over what ReLU left, or gradients that went back through it: zeros are skipped, nothing else changes."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.native.test_agreement import INSTRUCTION_SETS, KEY, compare, executor

from tatami import layers, native
from tatami.network import Sequential

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=25, deadline=None)
@given(
    channels=st.sampled_from((1, 5, 16, 33, 63, 64, 65, 130)),
    middle=st.sampled_from((64, 128)),
    filters=st.sampled_from((3, 64, 65, 128, 150)),
    size=st.tuples(st.integers(1, 6), st.integers(1, 9)),
    batch=st.integers(1, 3),
    relu=st.booleans(),
)
def test_zeros_are_skipped(
    isa: str, channels: int, middle: int, filters: int, size: tuple[int, int], batch: int, relu: bool
) -> None:
    network = Sequential(
        layers.Convolution(channels, 3, padding=1),
        layers.ReLU(),
        layers.Convolution(middle, 1),
        *([layers.ReLU()] if relu else []),
        layers.Convolution(filters, 1, bias=False),
        layers.ReLU(),
        input_shape=(1, *size),
    )
    compare(network, isa, batch, exact=True, largest=1)
    compare(network, isa, batch)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_a_nan_is_not_taken_for_a_zero(isa: str) -> None:
    network = Sequential(
        layers.Convolution(16, 1), layers.ReLU(), layers.Convolution(64, 1), input_shape=(1, 2, 2)
    )
    x = KEY.normal("x", (1, 1, 2, 2)).astype(np.float32)
    x[0, 0, 1, 1] = np.nan
    output = executor(network, isa).forward(network.initialize(seed=1), x, False, KEY, {}, False).output
    np.testing.assert_array_equal(np.isnan(output).all(axis=1)[0], [[False, False], [False, True]])
