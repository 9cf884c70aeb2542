"""A small data set and network that several tests train."""

import numpy as np
import pytest

from tatami.data import Dataset, DatasetSplits
from tatami.layers import Dense, Dropout, Flatten, ReLU
from tatami.network import Sequential
from tatami.random import RandomKey

CLASSES = ("left", "right", "top")


def stripes(count, seed):
    """Return noisy 4x4 images with a bright half: left, right or top."""
    key = RandomKey(seed)
    labels = np.arange(count) % len(CLASSES)
    images = 60 * key.uniform("noise", (count, 1, 4, 4))
    halves = ((slice(None), slice(0, 2)), (slice(None), slice(2, 4)), (slice(0, 2), slice(None)))
    for image, label in zip(images, labels, strict=True):
        image[0][halves[label]] += 120
    return Dataset("stripes", images.astype(np.uint8), labels, CLASSES)


@pytest.fixture(scope="session")
def data():
    return DatasetSplits(train=stripes(60, 1), test=stripes(30, 2))


@pytest.fixture(scope="session")
def network():
    layers = Flatten(), Dense(12), ReLU(), Dropout(0.2), Dense(3)
    return Sequential(*layers, input_shape=(1, 4, 4), name="small")
