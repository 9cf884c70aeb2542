"""The small training loop of the walkthroughs: a curve, not a run that is saved."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.metrics import predicted_classes
from tatami.network import Network
from tatami.optimizers import Optimizer
from tatami.program import Program
from tatami.random import RandomKey

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """Images from 0 to 1 and their labels."""

    images: NDArray[np.floating[Any]]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Course:
    """How a training went: after which epochs was looked, the loss of training, both accuracies."""

    epochs: Array
    losses: Array
    training: Array
    test: Array


def digits(count: int | None = None) -> tuple[Examples, Examples]:
    """Return the digits of the package to train on (the first ``count``) and to test on, scaled to 0 … 1."""
    from tatami.data import load

    splits = load("digits")
    train = splits.train if count is None else splits.train.first(count)
    return scaled(train.images, train.labels, 16), scaled(splits.test.images, splits.test.labels, 16)


def scaled(images: NDArray[np.generic], labels: NDArray[np.int64], largest: float) -> Examples:
    """Divide the pixels by the largest value they can take."""
    return Examples(np.asarray(images, dtype=np.float32) / np.float32(largest), labels)


def accuracy(
    program: Program, parameters: dict[str, dict[str, NDArray[np.generic]]], data: Examples
) -> float:
    """Return the share of right answers."""
    answers = predicted_classes(program.predict(parameters, data.images))
    return float(np.mean(answers == data.labels))


def train(
    network: Network,
    optimizer: Optimizer,
    data: Examples,
    test: Examples,
    *,
    epochs: int,
    batch: int,
    seed: int,
    look_every: int = 1,
) -> Course:
    """Train on shuffled mini-batches and look at both accuracies every few epochs."""
    program = Program(network)
    session = program.session(network.initialize(seed), optimizer)
    seen: list[tuple[float, float, float, float]] = []
    step = 0
    for epoch in range(epochs):
        order = RandomKey(seed, epoch).permutation("lecture.shuffle", len(data.labels))
        losses = []
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            key = RandomKey(seed, epoch, step)
            losses.append(
                session.step(data.images[some], data.labels[some], key, optimizer.learning_rate).loss
            )
            step += 1
        if (epoch + 1) % look_every == 0:
            seen.append(
                (
                    epoch + 1.0,
                    float(np.mean(losses)),
                    accuracy(program, session.parameters, data),
                    accuracy(program, session.parameters, test),
                )
            )
    columns = np.array(seen, dtype=np.float64).T
    return Course(columns[0], columns[1], columns[2], columns[3])
