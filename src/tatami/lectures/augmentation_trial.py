"""The experiment of the walkthrough on augmentation: twenty katakana of each class, one network, many policies."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tatami import native
from tatami.data import Batches, Dataset, Handwriting, Scale, load_katakana
from tatami.data.augmentation import (
    Elastic,
    Erase,
    Flip,
    Mixup,
    Pipeline,
    PixelNoise,
    Rotate,
    Shear,
    Shift,
    Zoom,
)
from tatami.layers import Convolution, Dense, Flatten, MaxPool, ReLU
from tatami.metrics import predicted_classes
from tatami.network import Network, Parameters, Sequential
from tatami.optimizers import Adam
from tatami.program import Program
from tatami.random import RandomKey

Array = NDArray[np.float64]

SIZE, EACH, TEST_EACH = 16, 20, 40
EPOCHS, BATCH, RATE, LOOK = 24, 25, 0.004, 2
# The twenty come from careful writers who write much alike; those to test on are by all kinds of people.
CAREFUL = Handwriting(
    pen=(6.0, 7.0), speed=0.3, jitter=1.0, wander=0.8, slant=0.03, turn=1.5, sizes=(0.74, 0.8), shift=1.0,
    joins=2.0, rounding=0.0,
)  # fmt: skip

SHIFT = Shift(vertical=0.08, horizontal=0.08)
ROTATE = Rotate(degrees=12)
STRETCH = (Zoom(factors=(0.85, 1.15), separately=True), Shear(horizontal=0.15))
POLICIES: dict[str, Pipeline | None] = {
    "none": None,
    "shift": Pipeline((SHIFT,)),
    "rotate": Pipeline((ROTATE,)),
    "stretch": Pipeline(STRETCH),
    "flip": Pipeline((Flip(),)),
    "elastic": Pipeline((Elastic(),)),
    "noise": Pipeline((PixelNoise(deviation=0.15),)),
    "hide": Pipeline((Erase(),)),
    "mix": Pipeline((Mixup(),)),
    "all": Pipeline((ROTATE, *STRETCH, SHIFT, Elastic(), PixelNoise(deviation=0.1), Erase(probability=0.5))),
}


@dataclass(frozen=True, eq=False)
class Trial:
    """One training: the test accuracy on the way and at the end, and what was learned."""

    epochs: Array
    test: Array
    accuracy: float
    parameters: Parameters


def network() -> Network:
    """Return the network that all policies train."""
    return Sequential(
        Convolution(8, 3, padding="same"), ReLU(), MaxPool(2),
        Convolution(16, 3, padding="same"), ReLU(), MaxPool(2),
        Flatten(), Dense(15),
        input_shape=(1, SIZE, SIZE), name="small",
    )  # fmt: skip


def backend() -> str:
    """Return the faster of the backends that are here; both come to the same accuracies."""
    return "native" if native.is_built() else "reference"


@cache
def data(seed: int) -> tuple[Dataset, Dataset]:
    """Return twenty samples of each class by careful writers, and those of other writers to test on."""
    learning = load_katakana(samples=EACH, test_samples=1, size=SIZE, seed=seed, hand=CAREFUL).train
    testing = load_katakana(samples=1, test_samples=TEST_EACH, size=SIZE, seed=seed).test
    return learning, testing


def answers(parameters: Parameters, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the classes that a trained network sees in images."""
    program = Program(network(), backend=backend())
    return predicted_classes(program.predict(parameters, images.astype(np.float32) / np.float32(255)))


@cache
def trial(policy: str, seed: int) -> Trial:
    """Train with a policy; the seed draws samples, first weights, order and variations."""
    learning, testing = data(seed)
    optimizer = Adam(RATE)
    session = Program(network(), backend=backend()).session(network().initialize(seed), optimizer)
    batches = Batches(learning, BATCH, seed, preprocessing=Scale.fit(learning), augmentation=POLICIES[policy])
    seen = []
    for epoch in range(EPOCHS):
        for batch in batches.epoch(epoch):
            key = RandomKey(seed, epoch, batch.step)
            session.step(batch.images, batch.targets, key, optimizer.learning_rate)
        if (epoch + 1) % LOOK == 0:
            right = answers(session.parameters, testing.images) == testing.labels
            seen.append((epoch + 1.0, float(right.mean())))
    epochs, test = np.array(seen, dtype=np.float64).T
    return Trial(epochs, test, float(test[-1]), session.parameters)


def trials(policy: str, first_seed: int, count: int) -> list[Trial]:
    """Train with a policy from several seeds."""
    return [trial(policy, first_seed + number) for number in range(count)]
