"""Every function of `tatami.models` is trained to a stated score above a linear model; a new one fails until it is.

The networks for images learn the orientation of bars, of which a linear model can only guess; autoencoders are compared
with the best linear ones; the others are trained in `test_architectures`, whose tests are named below.
"""

import numpy as np
import pytest
from tests.models import test_architectures
from tests.models.test_architectures import fit, right

import tatami.models
from tatami import BinaryCrossEntropy, Dense, Embedding, Flatten, RandomKey, Sequential, SoftmaxCrossEntropy
from tatami.data import synthetic
from tatami.data.digits import load_digits
from tatami.models import (
    alexnet,
    arai,
    autoencoder,
    deepface_like,
    denoising_autoencoder,
    lenet5,
    lenet5_table,
    mlp,
    neocognitron_like,
    perceptron,
    resnet,
    simple_convnet,
    small_convnet,
    text_classifier,
    variational_autoencoder,
    vgg,
    zfnet,
)

# Network, examples, epochs, learning rate. AlexNet and ZFNet are made narrow by their width factor.
IMAGES = {
    "alexnet": (lambda: alexnet((1, 67, 67), 4, width=1 / 16), 1000, 6, 0.002),
    "arai": (lambda: arai(classes=4), 1000, 5, 0.001),
    "deepface_like": (lambda: deepface_like(classes=4, width=4), 1500, 8, 0.002),
    "lenet5": (lambda: lenet5(classes=4), 2000, 12, 0.003),
    "lenet5_table": (lambda: lenet5_table(classes=4), 2000, 12, 0.003),
    "mlp": (lambda: mlp(classes=4), 3000, 15, 0.001),
    "neocognitron_like": (lambda: neocognitron_like(classes=4, orientations=4), 1000, 4, 0.005),
    "resnet": (lambda: resnet(classes=4, width=6), 1000, 4, 0.01),
    "simple_convnet": (lambda: simple_convnet(classes=4), 1000, 6, 0.002),
    "small_convnet": (lambda: small_convnet((1, 28, 28), 4), 1000, 5, 0.002),
    "vgg": (lambda: vgg(classes=4, stages=((8,), (16,)), head=(64,)), 1000, 8, 0.002),
    "zfnet": (lambda: zfnet((1, 96, 96), 4, width=1 / 16), 800, 6, 0.002),
}
ELSEWHERE = {
    **dict.fromkeys(test_architectures.TASKS, "test_classifiers_learn_what_a_linear_model_cannot"),
    **dict.fromkeys(("fcn", "unet"), "test_segmentation_tells_discs_from_squares"),
    "sequence_classifier": "test_recurrent_networks_add_two_marked_numbers",
    "char_rnn": "test_a_recurrent_network_spells",
    "convolutional_autoencoder": "test_a_convolutional_autoencoder_beats_a_linear_one",
    "sparse_autoencoder": "test_a_sparse_autoencoder_is_mostly_silent",
}
HERE = ("perceptron", "text_classifier", "autoencoder", "denoising_autoencoder", "variational_autoencoder")
# The exercise of one step by hand (tests/mathematics), and the half of a network that is trained as a whole.
NOT_TRAINED = ("ox", "variational_decoder")


def architectures():
    """List the functions that make networks."""
    return {
        name
        for name in tatami.models.__all__
        if "Network" in str(getattr(getattr(tatami.models, name), "__annotations__", {}).get("return"))
    } - {"build"}


def test_every_architecture_is_trained_somewhere():
    known = {*IMAGES, *ELSEWHERE, *HERE, *NOT_TRAINED}
    assert architectures() == known, (
        "add the network to one of the lists above, with a task that it is trained on"
    )
    for name in ELSEWHERE.values():
        assert hasattr(test_architectures, name)


def linear_share():
    """Return what one layer of weights reaches on the bars, of four classes."""
    x, labels = synthetic.bars(1500, seed=1)
    test_x, test_labels = synthetic.bars(300, seed=2)
    predict, _ = fit(perceptron(classes=4), SoftmaxCrossEntropy(), x, labels, 15, 0.005)
    return right(predict, test_x, test_labels)


def test_a_perceptron_can_only_guess_the_orientation_of_bars():
    assert linear_share() < 0.4


@pytest.mark.filterwarnings("ignore::tatami.program.native.SlowLayerWarning")
@pytest.mark.parametrize("name", IMAGES)
def test_image_networks_see_the_orientation_of_bars(name):
    make, count, epochs, rate = IMAGES[name]
    network = make()
    assert network.name == name
    side = network.input_shape[1]
    x, labels = synthetic.bars(count, side, seed=1)
    test_x, test_labels = synthetic.bars(300, side, seed=2)
    predict, _ = fit(network, SoftmaxCrossEntropy(), x, labels, epochs, rate)
    assert right(predict, test_x, test_labels) >= 0.9


def framed_texts(count, seed):
    """Make texts of 4 to 12 letters, filled up with 0: class 1 if the last letter is the first again."""
    key = RandomKey(seed)
    lengths = 4 + np.floor(key.uniform("lengths", (count,)) * 9).astype(int)
    first = 1 + np.floor(key.uniform("first", (count,)) * 4).astype(int)
    step = 1 + np.floor(key.uniform("step", (count,)) * 3).astype(int)
    labels = (key.uniform("labels", (count,)) < 0.5).astype(np.int64)
    last = np.where(labels == 1, first, (first - 1 + step) % 4 + 1)
    texts = 5 + np.floor(key.uniform("between", (count, 12)) * 4)
    texts[:, 0] = first
    texts[np.arange(count), lengths - 1] = last
    texts[np.arange(12) >= lengths[:, np.newaxis]] = 0
    return texts.astype(np.float32), labels


@pytest.mark.filterwarnings("ignore::tatami.program.native.SlowLayerWarning")
def test_a_text_classifier_compares_the_ends_of_texts_of_any_length():
    x, labels = framed_texts(1500, 1)
    test_x, test_labels = framed_texts(300, 2)
    network = text_classifier((12,), vocabulary=9, units=24, features=8)
    predict, _ = fit(network, SoftmaxCrossEntropy(), x, labels, 20, 0.02, clip=1.0)
    # A weight for every letter at every place.
    linear = Sequential(Embedding(9, 2), Flatten(), Dense(2), input_shape=(12,))
    guess, _ = fit(linear, SoftmaxCrossEntropy(), x, labels, 15, 0.01)
    assert right(predict, test_x, test_labels) >= 0.9
    assert right(guess, test_x, test_labels) < 0.7


# ---- autoencoders beside the best linear ones --------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """Return the package's digits with pixels from 0 to 1: to train on, and to test on."""
    data = load_digits()
    return data.train.images / np.float32(16), data.test.images / np.float32(16)


def linear_error(x, test_x, code):
    """Return the error that the directions of largest variance leave: no linear autoencoder of that code has less."""
    rows, test_rows = (images.reshape(len(images), -1).astype(np.float64) for images in (x, test_x))
    mean = rows.mean(axis=0)
    directions = np.linalg.svd(rows - mean, full_matrices=False)[2][:code]
    rest = test_rows - mean
    return ((rest - rest @ directions.T @ directions) ** 2).mean()


def test_an_autoencoder_keeps_more_in_its_code_than_a_linear_one(digits):
    x, test_x = digits
    predict, _ = fit(autoencoder((1, 8, 8), (64,), 6), BinaryCrossEntropy(), x, x, 25, 0.003)
    assert ((predict(test_x) - test_x) ** 2).mean() < 0.8 * linear_error(x, test_x, 6)


def test_so_does_a_variational_one(digits):
    x, test_x = digits
    network, loss = variational_autoencoder((1, 8, 8), 64, latent=4)
    predict, _ = fit(network, loss, x, x, 30, 0.003)
    error = ((predict(test_x).reshape(test_x.shape) - test_x) ** 2).mean()
    assert error < 0.9 * linear_error(x, test_x, 4)


def test_a_denoising_autoencoder_removes_more_than_the_best_linear_filter(digits):
    x, test_x = digits
    noise = 0.4
    network = denoising_autoencoder((1, 8, 8), (96,), 32, noise=noise)
    predict, _ = fit(network, BinaryCrossEntropy(), x, x, 30, 0.003)
    noisy = (test_x + noise * RandomKey(5).normal("noise", test_x.shape)).astype(np.float32)
    # Least squares from twenty noisy copies of every image to the clean one: a filter for the whole image at once.
    copies = x + noise * RandomKey(6).normal("noise", (20, *x.shape))
    rows = np.column_stack([copies.reshape(-1, 64), np.ones(20 * len(x))])
    weights = np.linalg.lstsq(rows, np.tile(x.reshape(-1, 64), (20, 1)), rcond=None)[0]
    filtered = np.column_stack([noisy.reshape(-1, 64), np.ones(len(noisy))]) @ weights
    linear = ((filtered - test_x.reshape(-1, 64)) ** 2).mean()
    assert ((predict(noisy) - test_x) ** 2).mean() < 0.95 * linear
