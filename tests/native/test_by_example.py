"""Training steps that take every image through the whole network and back: the same bits as stage by stage."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tatami import layers, native
from tatami.layers import Layer
from tatami.losses import SoftmaxCrossEntropy
from tatami.network import Network, Sequential
from tatami.program.native import GRADIENT, TRAIN, VALUE, PlannedNetwork
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

KEY = RandomKey(seed=3)
BATCH = 37

STACKS: dict[str, list[Layer]] = {
    "depthwise": [
        layers.Convolution(8, 3, stride=2, padding=1),
        layers.ReLU(),
        layers.Convolution(8, 3, padding=1, groups=8),
        layers.ReLU(),
        layers.Convolution(20, 1),
        layers.ReLU(),
        layers.GlobalAveragePool(),
        layers.Dense(5),
    ],
    "pooled": [
        layers.Convolution(17, 3, padding="same"),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.Convolution(18, 3, padding="same"),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.MaxPool((3, 2)),
        layers.Flatten(),
        layers.Dense(7),
        layers.ReLU(),
        layers.Dropout(0.3),
        layers.Dense(5),
    ],
    "without dense": [layers.Convolution(5, 3), layers.Tanh(), layers.GlobalAveragePool()],
}


def made(stack: list[Layer], threads: int) -> PlannedNetwork:
    network: Network = Sequential(*stack, input_shape=(3, 12, 11))
    planned = PlannedNetwork(network, threads)
    planned.write(VALUE, network.initialize(seed=2))
    return planned


def batch() -> tuple[NDArray[Any], NDArray[Any]]:
    return KEY.normal("x", (BATCH, 3, 12, 11)).astype(np.float32), np.arange(BATCH, dtype=np.int64) % 5


def gradients(planned: PlannedNetwork) -> list[NDArray[Any]]:
    return [array for named in planned.read(GRADIENT).values() for array in named.values()]


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("threads", [1, 2, 3, 40])
def test_the_same_bits_as_stage_by_stage(name: str, threads: int) -> None:
    x, labels = batch()
    weight = SoftmaxCrossEntropy().weight(labels)
    at_once, in_pieces = made(STACKS[name], threads), made(STACKS[name], 1)
    for step in range(2):  # the second one meets what the first has left in every thread's place
        came = np.empty((BATCH, 5), np.float32)
        engine = at_once.engine
        loss, correct = engine.train_step(x, labels, None, weight, 1, 2, step, 0.0, False, came)
        engine = in_pieces.engine
        last = len(engine.stages(TRAIN, BATCH))
        engine.start(TRAIN, x, 1, 2, step, True)
        engine.run_forward(0, last)
        assert (loss, correct) == engine.run_loss(labels, None, weight)
        np.testing.assert_array_equal(came, in_pieces.value(in_pieces.network.output, BATCH))
        engine.run_backward(0, last)
        for one, other in zip(gradients(at_once), gradients(in_pieces), strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_was_not_kept_is_not_read() -> None:
    planned = made(STACKS["depthwise"], 2)
    x, labels = batch()
    planned.engine.train_step(x, labels, None, 1.0, 1, 2, 3, 0.0, False, np.empty((BATCH, 5), np.float32))
    with pytest.raises(ValueError, match="is not kept"):
        planned.value(planned.network.nodes[1].name, BATCH)


def test_the_plan_says_so() -> None:
    assert any(
        "image by image" in line for line in made(STACKS["depthwise"], 1).engine.describe(TRAIN, BATCH)
    )
    large = made([layers.Convolution(8, 3), layers.ReLU(), layers.Flatten(), layers.Dense(40)], 1)
    assert not any("image by image" in line for line in large.engine.describe(TRAIN, BATCH))
