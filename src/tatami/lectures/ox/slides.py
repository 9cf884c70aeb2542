"""The arithmetic of the ○× slides, right and as printed: the derivative once or twice, ties to one or to all.

Written apart from the library's layers on purpose: the walkthrough compares the two. Images are cut into their four
2×2 windows, so that a filter is a row of four numbers.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RATE = 0.1
CIRCLE: Array = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=np.float64)
CROSS: Array = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=np.float64)
# With this third ○ the slide's rule gives all ten filter numbers that the slide prints.
CIRCLE_WITHOUT_CORNER: Array = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=np.float64)
THREE_OF_EACH: Array = np.stack([CIRCLE] * 3 + [CROSS] * 3)
LIKELY_IMAGES: Array = np.stack([CIRCLE, CIRCLE, CIRCLE_WITHOUT_CORNER, CROSS, CROSS, CROSS])
# What the slide prints after one update, to five digits.
SLIDE_FILTERS: Array = np.array([[1.00005, 0.99996, 0.99996, -1.0], [0.99470, -1.00218, -1.00327, 0.99470]])
SLIDE_FILTER_BIASES: Array = np.array([0.99996, 0.99470])
TARGETS: Array = np.array([[1, 0]] * 3 + [[0, 1]] * 3, dtype=np.float64)


@dataclass(frozen=True)
class Weights:
    """The exercise's parameters: filters (2, 4), their biases, W (output, pooled unit) and the output's biases."""

    filters: Array
    filter_biases: Array
    output: Array
    output_biases: Array


START = Weights(
    np.array([[1, 1, 1, -1], [1, -1, -1, 1]], dtype=np.float64),
    np.ones(2),
    np.array([[1.5, -4.2], [-2.6, 3.5]]),
    np.ones(2),
)


@dataclass(frozen=True)
class Rule:
    """How δ goes back through the pooling: who of equal maxima gets it, and how often a′ is multiplied."""

    ties: Literal["first", "all"] = "first"
    derivatives: int = 1


RIGHT = Rule()
SLIDE = Rule("all", 2)


@dataclass(frozen=True)
class Answers:
    """A forward pass: the sums of the filters, the maps, the pooled units, the outputs and the cost of each image."""

    sums: Array
    maps: Array
    pooled: Array
    outputs: Array
    costs: Array


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + e^-z)."""
    answer: Array = 1 / (1 + np.exp(-z))
    return answer


def windows(images: Array) -> Array:
    """Cut every image into its four 2×2 windows, row by row: (N, 4 positions, 4 pixels)."""
    corners = [images[:, i : i + 2, j : j + 2].reshape(len(images), 4) for i in range(2) for j in range(2)]
    return np.stack(corners, axis=1)


def answer(weights: Weights, images: Array) -> Answers:
    """Run images forward."""
    sums = np.einsum("npk,fk->nfp", windows(images), weights.filters)
    maps = sigmoid(sums + weights.filter_biases[:, np.newaxis])
    pooled = maps.max(axis=2)
    outputs = sigmoid(pooled @ weights.output.T + weights.output_biases)
    return Answers(sums, maps, pooled, outputs, 0.5 * ((outputs - targets_of(images)) ** 2).sum(axis=1))


def targets_of(images: Array) -> Array:
    """Return (1, 0) for a ○, whose centre is empty, and (0, 1) for a ×."""
    cross = images[:, 1, 1]
    return np.stack([1 - cross, cross], axis=1)


def filter_deltas(weights: Weights, found: Answers, images: Array, rule: Rule) -> Array:
    """Return δ of every filter unit (N, filter, position) by a rule."""
    delta = (found.outputs - targets_of(images)) * found.outputs * (1 - found.outputs)
    into_pooled = delta @ weights.output
    if rule.ties == "all":
        winners: NDArray[Any] = found.maps == found.pooled[:, :, np.newaxis]
    else:
        winners = np.arange(4) == found.maps.argmax(axis=2)[:, :, np.newaxis]
    slope = (found.maps * (1 - found.maps)) ** rule.derivatives
    result: Array = into_pooled[:, :, np.newaxis] * winners * slope
    return result


def update(weights: Weights, images: Array, rule: Rule) -> Weights:
    """Return the weights after one step of gradient descent on the sum over the images."""
    found = answer(weights, images)
    delta = (found.outputs - targets_of(images)) * found.outputs * (1 - found.outputs)
    deltas = filter_deltas(weights, found, images, rule)
    return Weights(
        weights.filters - RATE * np.einsum("nfp,npk->fk", deltas, windows(images)),
        weights.filter_biases - RATE * deltas.sum(axis=(0, 2)),
        weights.output - RATE * delta.T @ found.pooled,
        weights.output_biases - RATE * delta.sum(axis=0),
    )


def train(images: Array, rule: Rule, updates: int) -> tuple[Weights, Array]:
    """Return the weights after so many updates and C_T before each of them and at the end."""
    weights, costs = START, []
    for _ in range(updates):
        costs.append(answer(weights, images).costs.sum())
        weights = update(weights, images, rule)
    costs.append(answer(weights, images).costs.sum())
    return weights, np.array(costs)
