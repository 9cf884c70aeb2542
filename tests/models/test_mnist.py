"""What networks reach on a part of MNIST within half a minute each; `benchmarks/accuracy.py` trains on all of it."""

import numpy as np
import pytest

from tatami import SGD, Adam, BinaryCrossEntropy, Dense, Flatten, Program, RandomKey, Sequential
from tatami.data import load_mnist
from tatami.layers import LSTM, Permute, Reshape
from tatami.models import (
    denoising_autoencoder,
    lenet5,
    lenet5_table,
    resnet,
    variational_autoencoder,
    variational_decoder,
)
from tatami.native import is_built
from tatami.schedules import Cosine
from tatami.training.run import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_built(), reason="takes minutes without the kernels"),
    pytest.mark.filterwarnings("ignore::tatami.program.native.SlowLayerWarning"),
]


@pytest.fixture(scope="module")
def digits(mnist_folder):
    """Return MNIST with the first 20,000 images to train on."""
    return load_mnist(mnist_folder).limited(20_000)


def rows_reader():
    return Sequential(Reshape((28, 28)), Permute((1, 0)), LSTM(64), Dense(10), input_shape=(1, 28, 28))


def perceptron():
    return Sequential(Flatten(), Dense(10), input_shape=(1, 28, 28))


@pytest.mark.parametrize(
    ("make", "optimizer", "epochs", "share"),
    [
        (perceptron, Adam(0.003), 3, 0.88),
        (lenet5, Adam(0.003), 4, 0.97),
        (lenet5_table, Adam(0.003), 4, 0.97),
        (resnet, SGD(0.1, momentum=0.9, weight_decay=5e-4), 3, 0.98),
        (rows_reader, Adam(0.005), 3, 0.94),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_classifiers(digits, make, optimizer, epochs, share):
    run = train(
        make(),
        digits,
        epochs=epochs,
        batch_size=50,
        optimizer=optimizer,
        schedule=Cosine(),
        preprocessing="standardise",
        backend="native",
        seed=1,
    )
    assert run.test.accuracy >= share
    if make is perceptron:  # what a linear model reaches; every other bar lies above
        assert run.test.accuracy < 0.93


@pytest.fixture(scope="module")
def pixels(digits):
    """Return the images with pixels from 0 to 1."""
    return tuple(part.images.astype(np.float32) / 255 for part in (digits.train, digits.test))


def reconstructing(network, loss, x, epochs, rate=0.002):
    session = Program(network, loss, backend="native").session(network.initialize(1), Adam(rate))
    for epoch in range(epochs):
        order = RandomKey(0, epoch=epoch).permutation("order", len(x))
        for at in range(0, len(x), 100):
            batch = x[order[at : at + 100]]
            session.step(batch, batch, RandomKey(0, epoch, at), rate)
    return session.parameters


def test_a_denoising_autoencoder_takes_most_of_the_noise_away(pixels):
    x, clean = pixels
    network, loss = denoising_autoencoder(code=64), BinaryCrossEntropy()
    parameters = reconstructing(network, loss, x, 8)
    noisy = (clean + 0.5 * RandomKey(1).normal("noise", clean.shape)).astype(np.float32)
    denoised = Program(network, loss, backend="native").predict(parameters, noisy)
    before, after = (((images - clean) ** 2).mean() for images in (noisy, denoised))
    assert after < 0.12 * before


def test_samples_of_a_variational_autoencoder_look_like_digits(pixels):
    x, clean = pixels
    network, loss = variational_autoencoder(latent=8)
    parameters = reconstructing(network, loss, x, 10)
    program = Program(network, loss, backend="native")
    assert (
        program.train_step(parameters, clean[:2000], clean[:2000]).loss < 135
    )  # nats; 206 for the mean image
    decoder = variational_decoder(latent=8)
    mine = {layer: parameters[layer] for layer in decoder.parameter_specs}
    codes = RandomKey(1).normal("codes", (200, 8)).astype(np.float32)
    samples = Program(decoder, BinaryCrossEntropy(), backend="native").predict(mine, codes).reshape(200, -1)
    known = x[:6000].reshape(6000, -1)
    distances = (samples**2).sum(axis=1)[:, None] - 2 * samples @ known.T + (known**2).sum(axis=1)
    # To the nearest digit a sample has less than half of the way that digits have to the mean one.
    assert distances.min(axis=1).mean() < 0.5 * ((known - known.mean(axis=0)) ** 2).sum(axis=1).mean()
    # And they are not all the same one.
    assert len(set(distances.argmin(axis=1).tolist())) > 100
