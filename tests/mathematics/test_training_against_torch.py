"""The third ring: optimisers, clipping and ten steps of the lecture's network against PyTorch, in float64."""

import gzip

import numpy as np
import pytest
import torch
from torch.nn import functional as tf

from tatami import SGD, AdaGrad, Adam, AdamW, Program, RandomKey, RMSProp, build, clip_gradients
from tatami.optimizers import gradient_norm

STEPS = 20
RATE = 0.03

# name: (ours, torch's for a list of groups). PyTorch decays biases unless a group says otherwise; we never do.
PAIRS = {
    "plain": (SGD(RATE), lambda g: torch.optim.SGD(g, RATE)),
    "plain, decay": (SGD(RATE, weight_decay=0.1), lambda g: torch.optim.SGD(g, RATE, weight_decay=0.1)),
    "momentum": (SGD(RATE, momentum=0.9), lambda g: torch.optim.SGD(g, RATE, momentum=0.9)),
    "momentum, decay": (
        SGD(RATE, momentum=0.9, weight_decay=0.1),
        lambda g: torch.optim.SGD(g, RATE, momentum=0.9, weight_decay=0.1),
    ),
    "nesterov": (
        SGD(RATE, momentum=0.9, nesterov=True),
        lambda g: torch.optim.SGD(g, RATE, momentum=0.9, nesterov=True),
    ),
    "nesterov, decay": (
        SGD(RATE, momentum=0.5, nesterov=True, weight_decay=0.1),
        lambda g: torch.optim.SGD(g, RATE, momentum=0.5, nesterov=True, weight_decay=0.1),
    ),
    "adagrad": (AdaGrad(RATE), lambda g: torch.optim.Adagrad(g, RATE)),
    "adagrad, decay": (
        AdaGrad(RATE, weight_decay=0.1),
        lambda g: torch.optim.Adagrad(g, RATE, weight_decay=0.1),
    ),
    "rmsprop": (RMSProp(RATE), lambda g: torch.optim.RMSprop(g, RATE)),
    "rmsprop, decay": (
        RMSProp(RATE, rho=0.9, weight_decay=0.1),
        lambda g: torch.optim.RMSprop(g, RATE, alpha=0.9, weight_decay=0.1),
    ),
    "adam": (Adam(RATE), lambda g: torch.optim.Adam(g, RATE)),
    "adam, decay": (
        Adam(RATE, beta1=0.8, beta2=0.95, weight_decay=0.1),
        lambda g: torch.optim.Adam(g, RATE, betas=(0.8, 0.95), weight_decay=0.1),
    ),
    "adamw": (AdamW(RATE), lambda g: torch.optim.AdamW(g, RATE)),
    "adamw, decay": (
        AdamW(RATE, weight_decay=0.3),
        lambda g: torch.optim.AdamW(g, RATE, weight_decay=0.3),
    ),
}


def groups_without_decay_of_biases(leaves):
    weights = [leaf for (_, name), leaf in leaves.items() if name != "bias"]
    biases = [leaf for (_, name), leaf in leaves.items() if name == "bias"]
    return [{"params": weights}, {"params": biases, "weight_decay": 0.0}]


def leaves_of(parameters):
    return {
        (layer, name): torch.tensor(array, requires_grad=True)
        for layer, named in parameters.items()
        for name, array in named.items()
    }


@pytest.mark.parametrize("name", PAIRS)
def test_optimisers_over_twenty_steps(name):
    optimizer, make = PAIRS[name]
    key = RandomKey(1)
    parameters = {
        "conv1": {"weight": key.normal("w1", (3, 2, 3, 3)), "bias": key.normal("b1", (3,))},
        "dense1": {"weight": key.normal("w2", (4, 5))},
    }
    leaves = leaves_of(parameters)
    theirs = make(groups_without_decay_of_biases(leaves))
    state = optimizer.initialize(parameters)
    for step in range(STEPS):
        # Gradients of a quadratic bowl plus noise, different for every entry and step.
        gradients = {
            layer: {
                name: 0.5 * w + RandomKey(2, step=step).normal(f"{layer}.{name}", w.shape)
                for name, w in named.items()
            }
            for layer, named in parameters.items()
        }
        for (layer, parameter), leaf in leaves.items():
            leaf.grad = torch.tensor(gradients[layer][parameter])
        theirs.step()
        parameters, state = optimizer.update(parameters, gradients, state)
        for (layer, parameter), leaf in leaves.items():
            np.testing.assert_allclose(
                parameters[layer][parameter], leaf.detach().numpy(), rtol=1e-11, atol=1e-12
            )
    assert state.count == STEPS


@pytest.mark.parametrize("largest", [0.1, 1.0, 1e6])
def test_clipping(largest):
    key = RandomKey(3)
    gradients = {
        "a": {"weight": key.normal("a", (4, 5)), "bias": key.normal("b", (4,))},
        "c": {"weight": key.normal("c", (7,))},
    }
    leaves = leaves_of(gradients)
    for (layer, name), leaf in leaves.items():
        leaf.grad = torch.tensor(gradients[layer][name])
    norm = torch.nn.utils.clip_grad_norm_(leaves.values(), largest)
    assert gradient_norm(gradients) == pytest.approx(float(norm), rel=1e-14)
    clipped = clip_gradients(gradients, largest)
    for (layer, name), leaf in leaves.items():
        # torch divides by the norm plus 1e-6, so that its gradients stay a little below the bound
        np.testing.assert_allclose(clipped[layer][name], leaf.grad.numpy(), rtol=2e-6 / float(norm) + 1e-14)
    assert gradient_norm(clipped) <= largest * (1 + 1e-12)


# ---- ten steps of arai -------------------------------------------------------------------------------------

BATCH = 100
TRAINING_STEPS = 10


def read_idx(path, offset):
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=offset)


@pytest.fixture(scope="module")
def digits(mnist_folder):
    images = read_idx(mnist_folder / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    labels = read_idx(mnist_folder / "t10k-labels-idx1-ubyte.gz", 8)
    count = BATCH * TRAINING_STEPS
    return images[:count] / 255.0, labels[:count].astype(np.int64)


def torch_arai(leaves, x, key):
    """Run arai in PyTorch's functional form, with the mask that our generator draws."""
    p = {f"{layer}.{name}": leaf for (layer, name), leaf in leaves.items()}
    x = tf.max_pool2d(torch.relu(tf.conv2d(x, p["conv1.weight"], p["conv1.bias"], padding=1)), 2)
    x = tf.max_pool2d(torch.relu(tf.conv2d(x, p["conv2.weight"], p["conv2.bias"], padding=1)), 2)
    x = torch.relu(tf.linear(x.flatten(1), p["dense1.weight"], p["dense1.bias"]))
    x = torch.relu(tf.linear(x, p["dense2.weight"], p["dense2.bias"]))
    kept = torch.tensor(key.keep_mask("dropout1", tuple(x.shape), 0.2))
    return tf.linear(x * kept / 0.8, p["dense3.weight"], p["dense3.bias"])


@pytest.mark.slow
def test_ten_steps_of_arai_on_mnist(digits):
    images, labels = digits
    network = build("arai")
    parameters = network.initialize(seed=4, dtype="float64")
    optimizer = SGD(0.01, momentum=0.2)
    leaves = leaves_of(parameters)
    theirs = torch.optim.SGD(leaves.values(), 0.01, momentum=0.2)
    session = Program(network, precision="f64").session(parameters, optimizer)
    losses = []
    for step in range(TRAINING_STEPS):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        key = RandomKey(seed=4, epoch=0, step=step)
        ours = session.step(images[batch], labels[batch], key, 0.01).loss
        theirs.zero_grad()
        loss = tf.cross_entropy(
            torch_arai(leaves, torch.tensor(images[batch]), key), torch.tensor(labels[batch])
        )
        loss.backward()
        theirs.step()
        losses.append((ours, float(loss.detach())))
    ours, expected = np.array(losses).T
    # The issue asks for 1e-5; in float64 rounding leaves far less.
    np.testing.assert_allclose(ours, expected, rtol=1e-11)
    assert expected[-1] < expected[0]
    for (layer, name), leaf in leaves.items():
        np.testing.assert_allclose(
            session.parameters[layer][name], leaf.detach().numpy(), rtol=1e-9, atol=1e-12
        )
