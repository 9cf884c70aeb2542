"""Receptive fields through layers that enlarge or rearrange: compared with what a gradient reaches."""

import numpy as np
import pytest
from tests.layers.agreement import OPS

from tatami import (
    LSTM,
    Add,
    Convolution,
    Dense,
    Flatten,
    Network,
    Pad,
    Permute,
    Reshape,
    Sequential,
    TransposedConvolution,
    Upsample,
)
from tatami.network import INPUT
from tatami.program.layerwise import LayerwiseExecutor


class OneUnit:
    """A loss that is one unit of the output, so that its gradient is what the unit sees."""

    def __init__(self, at):
        self.at = at

    def value(self, ops, output, target):
        return float(output[0, 0, self.at])

    def gradient(self, ops, output, target):
        dy = np.zeros_like(output)
        dy[0, 0, self.at] = 1
        return dy


def seen(network, at):
    """Return the first and last position of the input that unit ``at`` of the output depends on, if any."""
    executor = LayerwiseExecutor(network, OneUnit(at), OPS, "float64")
    parameters = network.initialize(1, "float64")
    x = np.ones((1, *network.input_shape))
    step = executor.train_step(parameters, x, np.zeros(1), None, {}, keep=True)
    positions = np.flatnonzero(np.abs(step.value_gradients[INPUT]).sum(axis=(0, 1)) > 1e-12)
    return (int(positions[0]), int(positions[-1])) if len(positions) else None


@pytest.mark.parametrize(
    "layers",
    [
        [Convolution(2, 3, stride=2), TransposedConvolution(2, 3, stride=2)],
        [Convolution(2, 2, stride=4), TransposedConvolution(2, 4, 2, padding=1), Convolution(2, 3)],
        [Convolution(2, 3, stride=2), Upsample(2), Convolution(2, 3, padding="same")],
        [Convolution(2, 3, stride=3), Upsample(3, "linear")],
        [Pad([(2, 1)], "replicate"), Convolution(2, 3)],
        [Convolution(2, 4, stride=4), Upsample(2, "linear"), TransposedConvolution(2, 3, 2, dilation=2)],
    ],
)
def test_the_field_holds_what_the_gradient_reaches(layers):
    network = Sequential(*layers, input_shape=(1, 40))
    field = network.receptive_fields()[network.output]
    assert not field.everything
    length = network.output_shape[1]
    touched = [set(), set()]
    for at in range(length // 3, 2 * length // 3):
        reached = seen(network, at)
        if reached is None:  # dilated stamps leave gaps
            continue
        first, last = reached
        assert field.jump[0] * at + field.first[0] <= first
        assert last <= field.jump[0] * at + field.last[0]
        touched[0].add(first - (field.jump[0] * at + field.first[0]))
        touched[1].add(field.jump[0] * at + field.last[0] - last)
    # Not much larger than needed: some unit reaches (nearly) each end.
    assert min(touched[0]) <= field.jump[0]
    assert min(touched[1]) <= field.jump[0]


def test_a_skip_connection_over_down_and_up():
    network = Network(
        {
            "first": Convolution(2, 3, padding="same"),
            "down": Convolution(2, 2, stride=2),
            "up": TransposedConvolution(2, 2, stride=2),
            "sum": (Add(), ("first", "up")),
        },
        (1, 8, 8),
    )
    assert network.receptive_fields()["sum"].jump == (1, 1)
    assert "up" in network.summary()


def test_rearranged_inputs_do_not_break_the_summary():
    network = Sequential(
        Flatten(), Reshape((2, 8)), Permute((1, 0)), Convolution(3, 2), input_shape=(1, 4, 4)
    )
    assert network.receptive_fields()["conv1"].everything
    assert "all" in network.summary()
    finer = Sequential(Upsample(2), Convolution(2, 3), input_shape=(1, 4, 4))
    assert finer.receptive_fields()["conv1"].everything
    assert "all" in Sequential(LSTM(3), Dense(2), input_shape=(2, 5)).summary()
