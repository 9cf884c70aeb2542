"""The named architectures: the sizes of their papers, JSON, gradients, and a class or two that they learn.

Every network is trained on a small task to a stated score, above what a linear model reaches on the same data.
"""

import numpy as np
import pytest

from tatami import (
    Adam,
    BinaryCrossEntropy,
    Convolution,
    Dense,
    Flatten,
    Network,
    Program,
    RandomKey,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    SquaredError,
    UnknownNameError,
    build,
    check_gradients,
)
from tatami.data import synthetic
from tatami.data.digits import load_digits
from tatami.metrics import intersection_over_union
from tatami.models import autoencoders, classic, segmentation, sequences, volumes

SMALL = {
    "neocognitron_like": classic.neocognitron_like((1, 16, 16), 3, orientations=2),
    "lenet5_table": classic.lenet5_table(),
    "alexnet": classic.alexnet((3, 67, 67), 5, width=1 / 32),
    "zfnet": classic.zfnet((3, 96, 96), 5, width=1 / 32),
    "vgg": classic.vgg((1, 8, 8), 3, stages=((2, 2), (4,)), head=(6,)),
    "resnet": classic.resnet((2, 8, 8), 3, blocks=(1, 2), width=2),
    "deepface_like": classic.deepface_like((1, 20, 20), 3, width=2),
    "fcn": segmentation.fcn((1, 8, 8), 3, width=2),
    "unet": segmentation.unet((1, 8, 8), 3, width=2),
    "unet of volumes": segmentation.unet((1, 4, 4, 4), 2, width=1),
    "autoencoder": autoencoders.autoencoder((1, 4, 4), (6,), 2),
    "denoising_autoencoder": autoencoders.denoising_autoencoder((1, 4, 4), (6,), 2),
    "sparse_autoencoder": autoencoders.sparse_autoencoder((1, 4, 4), 5)[0],
    "convolutional_autoencoder": autoencoders.convolutional_autoencoder((1, 8, 8), width=4),
    "variational_autoencoder": autoencoders.variational_autoencoder((1, 4, 4), 6)[0],
    "signal_cnn": sequences.signal_cnn((1, 32), width=2),
    "spectrogram_cnn": sequences.spectrogram_cnn((1, 64), length=16, width=2),
    "skeleton_cnn": sequences.skeleton_cnn((2, 4, 12), width=2),
    "sequence_classifier": sequences.sequence_classifier((3, 5), 2, "gru", 3, depth=2, direction="both"),
    "char_rnn": sequences.char_rnn(6, 5, "rnn", 4, 3),
    "volume_cnn": volumes.volume_cnn((1, 8, 8, 8), width=2),
    "video_cnn": volumes.video_cnn((1, 4, 8, 8), width=2),
}
LOSSES = {
    **dict.fromkeys(
        ("autoencoder", "denoising_autoencoder", "convolutional_autoencoder"), BinaryCrossEntropy()
    ),
    "sparse_autoencoder": autoencoders.sparse_autoencoder((1, 4, 4), 5)[1],
    "variational_autoencoder": autoencoders.variational_autoencoder((1, 4, 4), 6)[1],
}


@pytest.mark.parametrize("name", SMALL)
def test_gradients_json_and_summary(name):
    network = SMALL[name]
    assert Network.from_json(network.to_json()) == network
    loss = LOSSES.get(name, SoftmaxCrossEntropy())
    report = check_gradients(network, loss=loss, sample=2)
    assert report.passed, str(report)
    assert "total" in network.summary()


def test_sizes_of_the_papers():
    network = classic.alexnet()
    assert network.parameter_count == 60_965_224
    assert [network.shapes[f"conv{n}"] for n in range(1, 6)] == [
        *((96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13))
    ]
    stages = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
    vgg16 = classic.vgg((3, 224, 224), 1000, stages, (4096, 4096), batch_normalization=False)
    assert vgg16.parameter_count == 138_357_544
    # With option B: the 0.27 million of the paper's table, 2,752 more for the two skips and their norms.
    assert classic.resnet((3, 32, 32), blocks=(3, 3, 3)).parameter_count == 272_474
    zfnet = classic.zfnet()
    assert [zfnet.shapes[f"conv{n}"][1] for n in range(1, 6)] == [110, 26, 13, 13, 13]
    assert zfnet.shapes["pool3"] == (256, 6, 6)
    lenet = classic.lenet5_table()
    assert lenet.shapes["table_conv1"] == (16, 10, 10)
    assert lenet.parameter_count == 156 + 1516 + 48120 + 10164 + 850


# ---- training ----------------------------------------------------------------------------------------------


def fit(network, loss, x, target, epochs, learning_rate=0.01, batch=32, clip=None):
    """Train with Adam, the rate falling to zero in the last quarter; return a function that predicts."""
    program = Program(network, loss)
    session = program.session(network.initialize(1), Adam(learning_rate), clip_norm=clip)
    count, steps = 0, epochs * (len(x) // batch)
    for epoch in range(epochs):
        order = RandomKey(0, epoch=epoch).permutation("shuffle", len(x))
        for start in range(0, len(x) - batch + 1, batch):
            chosen, count = order[start : start + batch], count + 1
            rate = learning_rate * min(1.0, 4 * (1 - (count - 1) / steps))
            session.step(x[chosen], target[chosen], RandomKey(0, epoch, count), rate)
    return lambda inputs: program.predict(session.parameters, inputs, session.state), session


def right(predict, x, labels):
    return (predict(x).argmax(axis=1) == labels).mean()


def linear_score(x, labels, test_x, test_labels):
    linear = Sequential(Flatten(), Dense(int(labels.max()) + 1), input_shape=x.shape[1:])
    predict, _ = fit(linear, SoftmaxCrossEntropy(), x, labels, 15, 0.005)
    return right(predict, test_x, test_labels)


TASKS = {
    "signal_cnn": (synthetic.tones_and_chirps, sequences.signal_cnn(width=12), 600, 12, 0.8),
    "spectrogram_cnn": (synthetic.tones_and_chirps, sequences.spectrogram_cnn(), 400, 12, 0.85),
    "skeleton_cnn": (synthetic.gestures, sequences.skeleton_cnn(), 600, 16, 0.9),
    "video_cnn": (synthetic.moving_blobs, volumes.video_cnn(width=4), 200, 9, 0.8),
    "volume_cnn": (
        lambda count, seed: synthetic.ellipsoids(count, 12, seed),
        volumes.volume_cnn((1, 12, 12, 12), width=4),
        300,
        9,
        0.85,
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_classifiers_learn_what_a_linear_model_cannot(name):
    make, network, count, epochs, score = TASKS[name]
    x, labels = make(count, seed=1)
    test_x, test_labels = make(200, seed=2)
    predict, _ = fit(network, SoftmaxCrossEntropy(), x, labels, epochs)
    assert right(predict, test_x, test_labels) >= score
    assert linear_score(x, labels, test_x, test_labels) < score - 0.2


@pytest.mark.parametrize(
    ("network", "epochs", "rate"),
    [
        (segmentation.fcn((1, 24, 24), width=8), 20, 0.005),
        (segmentation.unet((1, 24, 24), width=4), 10, 0.01),
    ],
    ids=["fcn", "unet"],
)
def test_segmentation_tells_discs_from_squares(network, epochs, rate):
    x, masks = synthetic.shapes_with_masks(160, 24, seed=1)
    test_x, test_masks = synthetic.shapes_with_masks(50, 24, seed=2)
    predict, _ = fit(network, SoftmaxCrossEntropy(), x, masks, epochs, rate, batch=10)
    shares = intersection_over_union(predict(test_x).argmax(axis=1), test_masks, 3)
    # A pixel alone says that there is something, not what: a 1×1 convolution finds one of the two shapes at best.
    pixel_by_pixel = Sequential(Convolution(3, 1), input_shape=(1, 24, 24))
    alone, _ = fit(pixel_by_pixel, SoftmaxCrossEntropy(), x, masks, 5, batch=10)
    linear = intersection_over_union(alone(test_x).argmax(axis=1), test_masks, 3)
    assert shares.mean() >= 0.7
    assert linear.mean() < 0.55


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrent_networks_add_two_marked_numbers(cell):
    x, sums = synthetic.adding_problem(600, time=10, seed=1)
    test_x, test_sums = synthetic.adding_problem(200, time=10, seed=2)
    network = sequences.sequence_classifier((2, 10), 1, cell, units=16)
    predict, _ = fit(network, SquaredError(), x, sums, 15, 0.02, clip=1.0)
    linear, _ = fit(Sequential(Flatten(), Dense(1), input_shape=(2, 10)), SquaredError(), x, sums, 30)
    error = ((predict(test_x) - test_sums) ** 2).mean()
    assert error < 0.02
    assert error < 0.3 * ((linear(test_x) - test_sums) ** 2).mean()


def test_a_recurrent_network_spells():
    tokens, following = synthetic.character_text(200, time=24, seed=1)
    test_tokens, test_following = synthetic.character_text(50, time=24, seed=2)
    letters = len(synthetic.ALPHABET)
    network = sequences.char_rnn(letters, 24, units=32)
    predict, _ = fit(network, SoftmaxCrossEntropy(), tokens, following, 12, 0.02, clip=50.0)
    # The best guess from the last letter alone, counted.
    pairs = np.zeros((letters, letters))
    np.add.at(pairs, (tokens.astype(int), following), 1)
    by_pairs = (pairs.argmax(axis=1)[test_tokens.astype(int)] == test_following).mean()
    assert right(predict, test_tokens, test_following) > max(0.8, by_pairs + 0.15)


def test_an_lstm_reads_the_rows_of_a_digit():
    data = load_digits()
    x = data.train.images[:, 0].transpose(0, 2, 1) / np.float32(16)  # (features: columns, time: rows)
    test_x = data.test.images[:, 0].transpose(0, 2, 1) / np.float32(16)
    network = sequences.sequence_classifier((8, 8), 10, "lstm", units=32)
    predict, _ = fit(network, SoftmaxCrossEntropy(), x, data.train.labels, 8, 0.02, clip=1.0)
    assert right(predict, test_x, data.test.labels) > 0.93


@pytest.fixture(scope="module")
def digits():
    """Return the package's digits with pixels from 0 to 1: to train on, and to test on."""
    data = load_digits()
    return data.train.images / np.float32(16), data.test.images / np.float32(16)


@pytest.mark.parametrize(
    ("network", "epochs", "rate"),
    [
        (classic.resnet((1, 8, 8), width=6, blocks=(1, 1)), 3, 0.01),
        (classic.vgg((1, 8, 8), stages=((8,), (16,)), head=(64,)), 5, 0.01),
        (classic.deepface_like((1, 24, 24), width=4), 3, 0.002),
        (classic.neocognitron_like((1, 16, 16), orientations=4), 3, 0.01),
    ],
    ids=lambda value: value.name if isinstance(value, Network) else "",
)
def test_classic_networks_read_digits(network, epochs, rate):
    data = load_digits()
    side = network.input_shape[1] // 8
    x, test_x = (
        np.kron(part.images / np.float32(16), np.ones((side, side), np.float32))
        for part in (data.train, data.test)
    )
    predict, _ = fit(network, SoftmaxCrossEntropy(), x, data.train.labels, epochs, rate)
    assert right(predict, test_x, data.test.labels) > 0.9


def test_an_autoencoder_reconstructs(digits):
    x, test_x = digits
    predict, _ = fit(autoencoders.autoencoder((1, 8, 8), (48,), 12), BinaryCrossEntropy(), x, x, 8)
    error = ((predict(test_x) - test_x) ** 2).mean()
    assert error < 0.35 * test_x.var(axis=0).mean()  # much less than the mean image leaves


def test_a_convolutional_autoencoder_beats_a_linear_one():
    images = np.asarray(synthetic.shapes_with_masks(1200)[0], np.float32)
    images = (images - images.min()) / (images.max() - images.min())
    x, test_x = images[:1000], images[1000:]
    network = autoencoders.convolutional_autoencoder(x.shape[1:])
    linear = Sequential(
        *(node.layer for node in network.nodes if not isinstance(node.layer, ReLU)), input_shape=x.shape[1:]
    )
    error = {}
    for candidate in (network, linear):
        predict, _ = fit(candidate, BinaryCrossEntropy(), x, x, 6, 0.004)
        error[candidate.name] = ((predict(test_x) - test_x) ** 2).mean() / test_x.var(axis=0).mean()
    assert error[network.name] < min(0.3, error[linear.name])


def test_a_denoising_autoencoder_removes_noise(digits):
    x, test_x = digits
    network = autoencoders.denoising_autoencoder((1, 8, 8), (64,), 24, noise=0.4)
    predict, _ = fit(network, BinaryCrossEntropy(), x, x, 10)
    noisy = (test_x + 0.4 * RandomKey(5).normal("noise", test_x.shape)).astype(np.float32)
    before = ((noisy - test_x) ** 2).mean()
    assert ((predict(noisy) - test_x) ** 2).mean() < 0.35 * before


def error_of_principal_components(x, test_x, count):
    """Return what the best linear code of so many numbers leaves, as a share of what the mean image leaves."""
    x, test_x = x.reshape(len(x), -1), test_x.reshape(len(test_x), -1)
    mean = x.mean(axis=0)
    components = np.linalg.svd(x - mean, full_matrices=False)[2][:count]
    rest = (test_x - mean) @ (np.eye(len(mean)) - components.T @ components)
    return (rest**2).mean() / test_x.var(axis=0).mean()


def test_a_sparse_autoencoder_is_mostly_silent(digits):
    x, test_x = digits
    activity, error = {}, {}
    for strength in (0.0, 1.0):
        network, loss = autoencoders.sparse_autoencoder((1, 8, 8), 48, activity=0.1, strength=strength)
        _, session = fit(network, loss, x, x, 15)
        kept = Program(network, loss).forward(session.parameters, test_x, keep=True)
        activity[strength] = kept.values["hidden"].mean()
        predicted = Program(network, loss).predict(session.parameters, test_x)
        rest = predicted - test_x.reshape(len(test_x), -1)
        error[strength] = (rest**2).mean() / test_x.var(axis=0).mean()
    assert abs(activity[1.0] - 0.1) < 0.05
    assert activity[0.0] > 0.2
    # A tenth of 48 units speaks for an image: better than as many principal components, which are the same for all.
    assert error[1.0] < 0.5 * error_of_principal_components(x, test_x, 5)


def test_a_variational_autoencoder_reconstructs_and_samples(digits):
    x, test_x = digits
    network, loss = autoencoders.variational_autoencoder((1, 8, 8), 64, latent=4)
    predict, session = fit(network, loss, x, x, 12)
    error = ((predict(test_x).reshape(test_x.shape) - test_x) ** 2).mean()
    assert error < 0.65 * test_x.var(axis=0).mean()
    decoder = autoencoders.variational_decoder((1, 8, 8), 64, latent=4)
    mine = {layer: session.parameters[layer] for layer in decoder.parameter_specs}
    codes = RandomKey(1).normal("codes", (100, 4))
    images = Program(decoder, BinaryCrossEntropy()).predict(mine, codes)
    assert images.shape == (100, 1, 8, 8)
    # Samples look like digits: each lies nearer to some digit than digits lie to the mean one.
    nearest = ((images[:, None] - x[None, :600]) ** 2).mean(axis=(2, 3, 4)).min(axis=1)
    assert nearest.mean() < 0.5 * x.var(axis=0).mean()


def test_named_networks():
    for name in ("deepface_like", "lenet5_table", "neocognitron_like", "resnet", "vgg"):
        assert build(name).name == name
        assert build(name, (3, 32, 32), 4).output_shape == (4,)
    with pytest.raises(UnknownNameError, match="did you mean 'lstm'"):
        sequences.sequence_classifier(cell="lst")


def test_synthetic_data_are_the_same_for_the_same_seed_and_new_for_another():
    for make in (
        synthetic.bars,
        synthetic.shapes_with_masks,
        synthetic.tones_and_chirps,
        synthetic.gestures,
        synthetic.moving_blobs,
        synthetic.ellipsoids,
        synthetic.adding_problem,
        synthetic.character_text,
    ):
        (x, target), (again, target_again), (other, _) = make(4, seed=3), make(4, seed=3), make(4, seed=4)
        np.testing.assert_array_equal(x, again)
        np.testing.assert_array_equal(target, target_again)
        assert x.dtype == np.float32
        assert not np.array_equal(x, other)
        with pytest.raises(ValueError, match="count must be at least 1"):
            make(0)
