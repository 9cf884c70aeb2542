"""The losses beyond the lectures': gradients by differences, PyTorch's values, known numbers, errors."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as tf
from hypothesis import given, settings, strategies as st

from tatami import (
    BinaryCrossEntropy,
    DataError,
    Dense,
    Dice,
    EvidenceBound,
    Focal,
    Hinge,
    Huber,
    KLDivergence,
    RandomKey,
    Reshape,
    Sequential,
    SettingError,
    ShapeError,
    Sigmoid,
    SoftmaxCrossEntropy,
    SparseReconstruction,
    WeightedCrossEntropy,
    check_gradients,
)
from tatami.backends import ReferenceBackend
from tatami.losses import LOSSES, Loss

OPS = ReferenceBackend()
maps = st.tuples(st.integers(1, 4), st.integers(2, 4), st.lists(st.integers(1, 3), max_size=2))
reductions = st.sampled_from(["mean", "sum"])


def check(loss, shape, target):
    """Compare the gradient with central differences in float64; float32 must stay float32; JSON must come back."""
    output = RandomKey(4).normal("output", shape)
    gradient = loss.gradient(OPS, output, target)
    for index in np.ndindex(shape):
        moved = output.copy()
        moved[index] += 1e-6
        above = loss.value(OPS, moved, target)
        moved[index] -= 2e-6
        assert abs((above - loss.value(OPS, moved, target)) / 2e-6 - gradient[index]) < 1e-6
    single = target.astype(np.float32) if target.dtype == np.float64 else target
    assert loss.gradient(OPS, output.astype(np.float32), single).dtype == np.float32
    assert isinstance(loss.value(OPS, output.astype(np.float32), single), float)
    assert Loss.from_json(json.loads(json.dumps(loss.to_json()))) == loss


def compare_with_torch(loss, shape, target, function):
    output = RandomKey(3).normal("output", shape)
    tensor = torch.tensor(output, requires_grad=True)
    expected = function(tensor, torch.tensor(target))
    expected.backward()
    assert loss.value(OPS, output, target) == pytest.approx(float(expected.detach()), rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(loss.gradient(OPS, output, target), tensor.grad.numpy(), atol=1e-12)


def labels_of(shape, classes=None):
    drawn = RandomKey(1).uniform("labels", (shape[0], *shape[2:]))
    return (drawn * (classes or shape[1])).astype(np.int64)


def factor(reduction, shape):
    return 1 / shape[0] if reduction == "mean" else 1.0


@given(sizes=maps, reduction=reductions, smoothing=st.sampled_from([0.0, 0.1, 0.5]), weighted=st.booleans())
@settings(max_examples=10, deadline=None)
def test_weighted_cross_entropy(sizes, reduction, smoothing, weighted):
    shape = (sizes[0], sizes[1], *sizes[2])
    weights = tuple(0.5 + k for k in range(shape[1])) if weighted else None
    loss = WeightedCrossEntropy(reduction, smoothing, weights)
    labels = labels_of(shape)
    check(loss, shape, labels)

    def expected(output, target):
        tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        total = tf.cross_entropy(output, target, tensor, label_smoothing=smoothing, reduction="sum")
        return total * factor(reduction, shape)

    compare_with_torch(loss, shape, labels, expected)


def test_ignored_positions_cost_nothing():
    loss = WeightedCrossEntropy("sum", ignored_label=255)
    labels = np.array([[[0, 255], [1, 1]]])
    target = loss.target(labels, (2, 2, 2))
    check(loss, (1, 2, 2, 2), target)
    output = RandomKey(3).normal("output", (1, 2, 2, 2))
    expected = tf.cross_entropy(torch.tensor(output), torch.tensor(labels), ignore_index=255, reduction="sum")
    assert loss.value(OPS, output, target) == pytest.approx(float(expected))
    assert (loss.gradient(OPS, output, target)[:, :, 0, 1] == 0).all()
    with pytest.raises(DataError, match="label out of range"):
        loss.target(np.array([[[0, 254], [1, 1]]]), (2, 2, 2))


def test_plain_weighted_and_focal_are_softmax_cross_entropy():
    output, labels = RandomKey(1).normal("z", (4, 3)), np.array([0, 2, 1, 1])
    plain = SoftmaxCrossEntropy()
    for loss in (WeightedCrossEntropy(), Focal(gamma=0.0)):
        assert loss.value(OPS, output, labels) == pytest.approx(plain.value(OPS, output, labels))
        np.testing.assert_allclose(
            loss.gradient(OPS, output, labels), plain.gradient(OPS, output, labels), atol=1e-15
        )
        np.testing.assert_array_equal(loss.predict(OPS, output), plain.predict(OPS, output))


@given(sizes=maps, reduction=reductions, gamma=st.sampled_from([0.0, 1.0, 2.0, 3.5]), weighted=st.booleans())
@settings(max_examples=8, deadline=None)
def test_focal(sizes, reduction, gamma, weighted):
    shape = (sizes[0], sizes[1], *sizes[2])
    weights = tuple(0.5 + k for k in range(shape[1])) if weighted else None
    labels = labels_of(shape)
    check(Focal(reduction, gamma, weights), shape, labels)

    def expected(output, target):
        log_right = -tf.cross_entropy(output, target, reduction="none")
        each = -((1 - log_right.exp()) ** gamma) * log_right
        if weights is not None:
            each = each * torch.tensor(weights, dtype=torch.float64)[target]
        return each.sum() * factor(reduction, shape)

    compare_with_torch(Focal(reduction, gamma, weights), shape, labels, expected)


@given(n=st.integers(1, 4), classes=st.integers(2, 4), reduction=reductions, squared=st.booleans())
@settings(max_examples=8, deadline=None)
def test_hinge(n, classes, reduction, squared):
    shape = (n, classes)
    loss, labels = Hinge(reduction, 0.8, squared), labels_of((n, classes))
    check(loss, shape, labels)

    def expected(output, target):
        power = 2 if squared else 1
        total = tf.multi_margin_loss(output, target, p=power, margin=0.8, reduction="sum")
        return total * classes * factor(reduction, shape)  # PyTorch divides by the number of classes

    compare_with_torch(loss, shape, labels, expected)
    check(Hinge(squared=squared), (2, 3, 2), labels_of((2, 3, 2)))


@given(
    n=st.integers(1, 3),
    classes=st.integers(1, 3),
    size=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    reduction=reductions,
)
@settings(max_examples=8, deadline=None)
def test_dice(n, classes, size, reduction):
    shape = (n, classes, *size)
    loss, labels = Dice(reduction, 0.7), labels_of(shape, max(classes, 2))
    np.testing.assert_array_equal(loss.target(labels, shape[1:]), labels)
    check(loss, shape, labels)

    def expected(output, target):
        if classes == 1:
            p, t = torch.sigmoid(output), target[:, None].double()
        else:
            p = torch.softmax(output, 1)
            t = torch.movedim(tf.one_hot(target, classes), -1, 1).double()
        p, t = p.flatten(2), t.flatten(2)
        overlap = (2 * (p * t).sum(2) + 0.7) / (p.sum(2) + t.sum(2) + 0.7)
        return (1 - overlap.mean(1)).sum() * factor(reduction, shape)

    compare_with_torch(loss, shape, labels, expected)


def test_dice_of_a_perfect_prediction_is_0_and_of_a_wrong_one_nearly_1():
    labels = np.zeros((1, 10, 10), np.int64)
    labels[:, 5:] = 1
    output = np.where(labels[:, None] == np.arange(2).reshape(1, 2, 1, 1), 50.0, -50.0)
    assert Dice().value(OPS, output, labels) == pytest.approx(0, abs=1e-12)
    assert Dice().value(OPS, -output, labels) == pytest.approx(1 - 1 / 101)


@given(shape=st.lists(st.integers(1, 3), min_size=2, max_size=4).map(tuple), reduction=reductions)
@settings(max_examples=8, deadline=None)
def test_binary_cross_entropy(shape, reduction):
    loss, target = BinaryCrossEntropy(reduction), RandomKey(2).uniform("t", shape)
    check(loss, shape, target)
    compare_with_torch(
        loss,
        shape,
        target,
        lambda output, t: (
            tf.binary_cross_entropy_with_logits(output, t, reduction="sum") * factor(reduction, shape)
        ),
    )


def test_binary_cross_entropy_of_extreme_logits():
    loss, output = BinaryCrossEntropy("sum"), np.array([[1000.0], [-1000.0]])
    assert loss.value(OPS, output, np.array([[0.0], [0.0]])) == 1000
    np.testing.assert_array_equal(loss.predict(OPS, output), [[1], [0]])
    np.testing.assert_array_equal(loss.target(np.array([1, 0]), (1,)), [[1], [0]])


@given(sizes=maps, reduction=reductions)
@settings(max_examples=6, deadline=None)
def test_kl_divergence(sizes, reduction):
    shape = (sizes[0], sizes[1], *sizes[2])
    loss = KLDivergence(reduction)
    target = loss.draw_target(RandomKey(1), shape[0], shape[1:])
    check(loss, shape, target)

    def expected(output, t):
        return tf.kl_div(torch.log_softmax(output, 1), t, reduction="sum") * factor(reduction, shape)

    compare_with_torch(loss, shape, target, expected)
    assert loss.value(OPS, np.log(target), target) == pytest.approx(0, abs=1e-12)


@given(
    shape=st.lists(st.integers(1, 3), min_size=2, max_size=3).map(tuple),
    reduction=reductions,
    delta=st.sampled_from([0.3, 1.0]),
)
@settings(max_examples=6, deadline=None)
def test_huber(shape, reduction, delta):
    loss, target = Huber(reduction, delta), RandomKey(2).normal("t", shape)
    check(loss, shape, target)
    compare_with_torch(
        loss,
        shape,
        target,
        lambda output, t: tf.huber_loss(output, t, reduction="sum", delta=delta) * factor(reduction, shape),
    )


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_evidence_bound(likelihood, reduction):
    loss = EvidenceBound(reduction, likelihood, latent=2, beta=0.7)
    images = RandomKey(1).uniform("t", (3, 1, 2, 2))
    target = loss.target(images, (8,))
    check(loss, (3, 8), target)

    def expected(output, t):
        y, mean, log_variance = output[:, :4], output[:, 4:6], output[:, 6:]
        if likelihood == "gaussian":
            cost = 0.5 * tf.mse_loss(y, t, reduction="sum")
        else:
            cost = tf.binary_cross_entropy_with_logits(y, t, reduction="sum")
        normal = torch.distributions.Normal
        prior = normal(torch.zeros_like(mean), torch.ones_like(mean))
        divergence = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), prior).sum()
        return (cost + 0.7 * divergence) * factor(reduction, (3,))

    compare_with_torch(loss, (3, 8), target, expected)
    assert loss.predict(OPS, np.zeros((3, 8))).shape == (3, 4)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_sparse_reconstruction(likelihood, reduction):
    loss = SparseReconstruction(reduction, likelihood, hidden=2, activity=0.2, strength=0.5)
    target = loss.target(RandomKey(1).uniform("t", (3, 2)), (4,))
    # Hidden activations lie between 0 and 1.
    output = RandomKey(4).uniform("output", (3, 4))
    gradient = loss.gradient(OPS, output, target)
    tensor = torch.tensor(output, requires_grad=True)
    y, mean = tensor[:, :2], tensor[:, 2:].mean(0)
    t = torch.tensor(target)
    if likelihood == "gaussian":
        cost = 0.5 * ((y - t) ** 2).sum()
    else:
        cost = tf.binary_cross_entropy_with_logits(y, t, reduction="sum")
    penalty = 0.5 * (0.2 * (0.2 / mean).log() + 0.8 * (0.8 / (1 - mean)).log()).sum()
    expected = cost + 3 * penalty if reduction == "sum" else cost / 3 + penalty
    expected.backward()
    assert loss.value(OPS, output, target) == pytest.approx(float(expected.detach()))
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), atol=1e-12)


def test_the_penalty_is_0_where_the_activity_is_right():
    loss = SparseReconstruction(hidden=1, activity=0.25)
    output = np.array([[0.0, 0.0], [0.0, 0.5]])
    assert loss.value(OPS, output, np.zeros((2, 1))) == pytest.approx(0)


@pytest.mark.parametrize("name", LOSSES)
def test_networks_are_checked_through_every_loss(name):
    loss = LOSSES[name]()
    network = Sequential(Dense(6), input_shape=(3,))
    if name == "sparse_reconstruction":
        network = Sequential(Dense(6), Sigmoid(), input_shape=(3,))
    if name == "dice":
        network = Sequential(Dense(6), Reshape((2, 3)), input_shape=(3,))
    report = check_gradients(network, loss=loss)
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (
            lambda: BinaryCrossEntropy().target(np.array([[2.0]]), (1,)),
            DataError,
            "targets must be from 0 to 1",
        ),
        (lambda: BinaryCrossEntropy().target(np.array([[0.5]]), (2,)), ShapeError, "the output's shape"),
        (lambda: BinaryCrossEntropy().target(np.array([["a"]]), (1,)), DataError, "array of numbers"),
        (lambda: BinaryCrossEntropy().target(np.array([[math.nan]]), (1,)), DataError, "from 0 to 1"),
        (lambda: KLDivergence().target(np.array([[0.5, 0.4]]), (2,)), DataError, "one sums to 0.9"),
        (lambda: Huber(delta=0.0), SettingError, "delta must be above 0"),
        (lambda: Hinge(margin=-1.0), SettingError, "margin must be above 0"),
        (lambda: Focal(gamma=0.5), SettingError, "gamma must be 0 or at least 1"),
        (lambda: Dice(smoothing=0.0), SettingError, "smoothing must be above 0"),
        (lambda: WeightedCrossEntropy(label_smoothing=1.0), SettingError, "at least 0 and below 1"),
        (lambda: WeightedCrossEntropy(class_weights=(0.0,)), SettingError, "not all 0"),
        (
            lambda: WeightedCrossEntropy(class_weights=(1.0, 2.0)).target(np.array([0]), (3,)),
            ShapeError,
            "2 class weights for an output of 3 classes",
        ),
        (lambda: EvidenceBound(latent=0), SettingError, "latent must be whole numbers from 1"),
        (lambda: EvidenceBound(beta=-1.0), SettingError, "beta must be at least 0"),
        (lambda: EvidenceBound().target(np.zeros((2, 5)), (8,)), ShapeError, "does not fit to targets"),
        (
            lambda: EvidenceBound(likelihood="bernoulli").target(np.full((2, 4), 255), (8,)),
            DataError,
            "scale the data",
        ),
        (lambda: SparseReconstruction(activity=0.0), SettingError, "activity must be between 0 and 1"),
        (lambda: Dice().target(np.array([[2]]), (1, 1)), DataError, "label out of range"),
    ],
)
def test_errors(act, error, message):
    with pytest.raises(error, match=message):
        act()


@given(
    examples=st.integers(1, 4),
    outputs=st.integers(1, 4),
    reduction=reductions,
    weighted=st.booleans(),
    positive=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_binary_cross_entropy_with_weights_is_pytorchs(examples, outputs, reduction, weighted, positive):
    weights = tuple(0.5 + k for k in range(outputs)) if weighted else None
    counts = tuple(0.25 + 2 * k for k in range(outputs)) if positive else None
    loss = BinaryCrossEntropy(reduction, weights, counts)
    shape = (examples, outputs)
    target = RandomKey(1).uniform("target", shape)
    tensors = [None if w is None else torch.tensor(w, dtype=torch.float64) for w in (weights, counts)]

    def function(output, truth):
        total = tf.binary_cross_entropy_with_logits(
            output, truth, weight=tensors[0], pos_weight=tensors[1], reduction="sum"
        )
        return total * factor(reduction, shape)

    check(loss, shape, target)
    compare_with_torch(loss, shape, target, function)


def test_weights_of_a_yes_known_by_hand():
    """At z = 0 both answers cost log 2; a 'yes' that counts three times costs 3·log 2 and pulls three times as hard."""
    loss = BinaryCrossEntropy("sum", positive_weights=(3.0,))
    yes, no = np.array([[1.0]]), np.array([[0.0]])
    assert loss.value(OPS, np.zeros((1, 1)), yes) == pytest.approx(3 * math.log(2))
    assert loss.value(OPS, np.zeros((1, 1)), no) == pytest.approx(math.log(2))
    assert loss.gradient(OPS, np.zeros((1, 1)), yes) == -1.5
    assert loss.gradient(OPS, np.zeros((1, 1)), no) == 0.5
    assert loss.value(OPS, np.array([[-1000.0]]), yes) == pytest.approx(3000)  # nothing overflows


@given(sizes=maps, reduction=reductions, squared=st.booleans())
@settings(max_examples=10, deadline=None)
def test_hinge_with_class_weights_is_pytorchs(sizes, reduction, squared):
    shape = (sizes[0], sizes[1])
    weights = tuple(0.5 + k for k in range(shape[1]))
    loss = Hinge(reduction, 0.7, squared, weights)
    target = labels_of(shape)

    def function(output, truth):
        total = tf.multi_margin_loss(
            output,
            truth,
            2 if squared else 1,
            0.7,
            torch.tensor(weights, dtype=torch.float64),
            reduction="sum",
        )
        return total * shape[1] * factor(reduction, shape)

    check(loss, shape, target)
    compare_with_torch(loss, shape, target, function)


@given(sizes=maps, reduction=reductions, smoothing=st.sampled_from([0.0, 0.2]), weighted=st.booleans())
@settings(max_examples=10, deadline=None)
def test_weighted_cross_entropy_of_soft_targets_is_pytorchs(sizes, reduction, smoothing, weighted):
    shape = (sizes[0], sizes[1], *sizes[2])
    weights = tuple(0.5 + k for k in range(shape[1])) if weighted else None
    loss = WeightedCrossEntropy(reduction, smoothing, weights)
    shares = 0.1 + RandomKey(1).uniform("shares", shape)
    target = loss.target(shares / shares.sum(axis=1, keepdims=True), shape[1:])
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)

    def function(output, truth):
        total = tf.cross_entropy(output, truth, tensor, label_smoothing=smoothing, reduction="sum")
        return total * factor(reduction, shape)

    check(loss, shape, target)
    compare_with_torch(loss, shape, target, function)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BinaryCrossEntropy(output_weights=(-1.0,)),
            "output_weights must be at least 0 and not all 0",
        ),
        (
            lambda: BinaryCrossEntropy(positive_weights=()),
            "positive_weights must be at least 0 and not all 0",
        ),
        (lambda: Hinge(class_weights=(0.0, 0.0)), "Hinge: class_weights must be at least 0 and not all 0"),
        (
            lambda: BinaryCrossEntropy(positive_weights=(1.0, 2.0)).target(np.zeros((1, 3)), (3,)),
            "BinaryCrossEntropy: 2 positive weights for an output of 3 classes",
        ),
        (
            lambda: Hinge(class_weights=(1.0,)).target(np.array([0]), (3,)),
            "Hinge: 1 class weights for an output of 3 classes",
        ),
        (
            lambda: WeightedCrossEntropy().target(np.array([[0.5, 0.7]]), (2,)),
            "soft targets are shares of the classes",
        ),
    ],
)
def test_wrong_weights_and_shares(make, message):
    with pytest.raises((SettingError, ShapeError, DataError), match=message):
        make()
