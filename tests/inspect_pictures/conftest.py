"""A small network that has learned the digits, for all pictures."""

import pytest

import tatami
from tatami.layers import Convolution, Dense, Flatten, MaxPool, ReLU
from tatami.optimizers import Adam
from tatami.training.run import train


@pytest.fixture(scope="session")
def digits():
    return tatami.load("digits")


def small_network():
    return tatami.Sequential(
        Convolution(6, 3, padding="same"),
        ReLU(),
        MaxPool(2),
        Convolution(8, 3, padding="same"),
        ReLU(),
        Flatten(),
        Dense(24),
        ReLU(),
        Dense(10),
        input_shape=(1, 8, 8),
        name="small",
    )


@pytest.fixture(scope="session")
def run(digits, tmp_path_factory):
    """A run folder with a network that is right on most digits."""
    return train(
        small_network(),
        digits,
        epochs=6,
        batch_size=50,
        optimizer=Adam(0.005),
        validation=0.1,
        backend="reference",
        out=tmp_path_factory.mktemp("runs") / "digits",
        source={"dataset": "digits", "data_folder": None, "size": None, "channels": None, "limit": None},
    )


@pytest.fixture(scope="session")
def model(run):
    return run.model


@pytest.fixture(scope="session")
def examples(digits, model):
    """Six test images as the network sees them, in float64, with their labels."""
    images = model.preprocessing.apply(digits.test.images[:6], "float64")
    return images, digits.test.labels[:6]


@pytest.fixture(scope="session")
def doubled(model):
    """The learned parameters in float64."""
    return {
        layer: {name: values.astype("float64") for name, values in named.items()}
        for layer, named in model.parameters.items()
    }
