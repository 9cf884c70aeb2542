"""Convolutions of any geometry: every output and every gradient, bit for bit in the order listed."""

import numpy as np
from hypothesis import given, settings, strategies as st

from tatami import Convolution, RandomKey, Sequential, SquaredError, TransposedConvolution, trace


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 2))
    groups = draw(st.integers(1, 2))

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    layer = Convolution(
        groups * draw(st.integers(1, 2)),
        axes(1, 3),
        stride=axes(1, 2),
        padding=[(draw(st.integers(0, 1)), draw(st.integers(0, 2))) for _ in range(rank)],
        dilation=axes(1, 2),
        groups=groups,
        bias=draw(st.booleans()),
    )
    return layer, (groups * draw(st.integers(1, 2)), *axes(5, 6))


def everything(kept, name):
    layer = kept[name]
    yield from (kept.explain(name, at) for at in np.ndindex(layer.output.shape))
    yield from (kept.explain_gradient(f"{name}.input", at) for at in np.ndindex(layer.input.shape))
    for parameter, gradient in layer.dparameters.items():
        yield from (kept.explain_gradient(f"{name}.{parameter}", at) for at in np.ndindex(gradient.shape))


@given(case=convolutions(), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_every_entry_of_a_convolution(case, seed):
    layer, shape = case
    network = Sequential(layer, input_shape=shape)
    key = RandomKey(seed)
    target = key.normal("target", network.output_shape)
    kept = trace(network, network.initialize(seed), key.normal("x", shape), target, SquaredError())
    for explanation in everything(kept, "conv1"):
        assert explanation.check(), str(explanation)
        assert explanation.exact == (explanation.subject.kind != "parameter gradient")
        assert explanation.combination in ("sum", "product", "copy")


def test_every_entry_of_a_transposed_convolution():
    layer = TransposedConvolution(4, (3, 2), stride=(2, 1), padding=1, output_padding=(1, 0), groups=2)
    network = Sequential(layer, input_shape=(2, 3, 3))
    key = RandomKey(3)
    target = key.normal("target", network.output_shape)
    kept = trace(network, network.initialize(1), key.normal("x", (2, 3, 3)), target, SquaredError())
    for explanation in everything(kept, network.nodes[0].name):
        assert explanation.check(), str(explanation)
