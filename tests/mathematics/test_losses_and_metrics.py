"""Losses by hand, their errors, and the metrics."""

import math

import numpy as np
import pytest

from tatami import DataError, ShapeError, SoftmaxCrossEntropy, SquaredError, TatamiError, UnknownNameError
from tatami.backends import ReferenceBackend
from tatami.losses import LOSSES, Loss, one_hot
from tatami.metrics import accuracy, confusion_matrix, predicted_classes

OPS = ReferenceBackend()
LOGITS = np.log([[1.0, 2.0, 5.0], [4.0, 3.0, 3.0]])  # softmax: (1, 2, 5) / 8 and (4, 3, 3) / 10
LABELS = np.array([2, 1])


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 0.5), ("sum", 1.0)])
def test_cross_entropy_by_hand(reduction, factor):
    loss = SoftmaxCrossEntropy(reduction)
    assert loss.value(OPS, LOGITS, LABELS) == pytest.approx(factor * -(math.log(5 / 8) + math.log(3 / 10)))
    # δ = v - r (Arai §3.3)
    np.testing.assert_allclose(
        loss.gradient(OPS, LOGITS, LABELS), factor * np.array([[1 / 8, 2 / 8, -3 / 8], [0.4, -0.7, 0.3]])
    )
    np.testing.assert_allclose(loss.predict(OPS, LOGITS), [[1 / 8, 2 / 8, 5 / 8], [0.4, 0.3, 0.3]])


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 0.5), ("sum", 1.0)])
def test_squared_error_by_hand(reduction, factor):
    loss = SquaredError(reduction)
    output, target = np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([[0.0, 2.0], [3.0, 0.0]])
    # +½Σ(y - t)²; Qiita prints a minus sign, and no error can fall below zero
    assert loss.value(OPS, output, target) == factor * 0.5 * (1 + 9 + 1)
    np.testing.assert_array_equal(loss.gradient(OPS, output, target), factor * (output - target))
    assert loss.predict(OPS, output) is output


def test_huge_logits_cost_what_they_should():
    logits, labels = np.array([[1e4, 0.0], [-1e4, 0.0]]), np.array([1, 0])
    loss = SoftmaxCrossEntropy("sum")
    assert loss.value(OPS, logits, labels) == 2e4
    np.testing.assert_array_equal(loss.gradient(OPS, logits, labels), [[1, -1], [-1, 1]])


def test_adding_a_constant_to_the_logits_changes_nothing():
    loss = SoftmaxCrossEntropy()
    shifted = LOGITS + np.array([[700.0], [-3.0]])
    assert loss.value(OPS, shifted, LABELS) == pytest.approx(loss.value(OPS, LOGITS, LABELS), rel=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SquaredError()])
def test_the_gradient_keeps_the_precision(loss, dtype):
    output = LOGITS.astype(dtype)
    target = loss.target(LABELS, (3,))
    target = target if target.dtype == np.int64 else target.astype(dtype)
    assert loss.gradient(OPS, output, target).dtype == dtype
    assert isinstance(loss.value(OPS, output, target), float)


def test_squared_error_takes_labels_or_targets():
    loss = SquaredError()
    np.testing.assert_array_equal(loss.target(np.array([1, 0]), (2,)), [[0, 1], [1, 0]])
    targets = np.array([[0.5, 2], [1, 1]])
    np.testing.assert_array_equal(loss.target(targets, (2,)), targets)
    np.testing.assert_array_equal(one_hot(np.array([2]), 3), [[0, 0, 1]])


@pytest.mark.parametrize(
    ("loss", "values", "shape", "error", "message"),
    [
        (
            SoftmaxCrossEntropy(),
            [0, 3],
            (3,),
            DataError,
            "example 1 has label 3, the network has 3 outputs, so labels",
        ),
        (SoftmaxCrossEntropy(), [-1, 0], (3,), DataError, "example 0 has label -1"),
        (
            SoftmaxCrossEntropy(),
            [0.0, 1.0],
            (3,),
            DataError,
            "class labels must be whole numbers, got .* float64",
        ),
        (SoftmaxCrossEntropy(), [[0, 1]], (3,), ShapeError, r"expected class labels of shape \('N',\)"),
        (SoftmaxCrossEntropy(), [[0, 1], [5, 0]], (3, 2), DataError, "example 1 has label 5"),
        (SquaredError(), [0, 7], (3,), DataError, "example 1 has label 7"),
        (SquaredError(), [[0.0, 1.0]], (3,), ShapeError, "targets should have the output's shape"),
        (SquaredError(), [["a", "b"]], (2,), DataError, "expected an array of numbers as targets"),
    ],
)
def test_targets_that_do_not_fit(loss, values, shape, error, message):
    with pytest.raises(error, match=message):
        loss.target(np.array(values), shape)


def test_an_unknown_reduction_is_suggested():
    with pytest.raises(
        UnknownNameError, match="unknown reduction of SquaredError 'men': did you mean 'mean'"
    ):
        SquaredError("men")


@pytest.mark.parametrize("cls", LOSSES.values())
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_json(cls, reduction):
    assert Loss.from_json(cls(reduction).to_json()) == cls(reduction)


def test_every_loss_has_a_name_for_the_command_line():
    assert set(LOSSES.values()) == set(Loss.members.values())


# ---- metrics -----------------------------------------------------------------------------------------------


def test_metrics_by_hand():
    outputs = np.array([[0.1, 0.9, 0.0], [0.5, 0.5, 0.0], [0.0, 0.2, 0.8], [0.0, 0.0, 0.0]])
    labels = np.array([1, 1, 2, 0])
    predicted = predicted_classes(outputs)
    assert predicted.tolist() == [1, 0, 2, 0]  # the first of equals
    assert accuracy(outputs, labels) == 0.75
    assert confusion_matrix(predicted, labels, 3).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert np.trace(confusion_matrix(predicted, labels, 3)) / len(labels) == accuracy(outputs, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: accuracy(np.zeros((4, 3)), np.zeros((4, 1), int)),
            r"\(4,\) predicted classes came with \(4, 1\)",
        ),
        (lambda: accuracy(np.zeros((4, 3)), np.zeros(1, int)), "predicted classes came with"),
        (lambda: accuracy(np.zeros((0, 3)), np.zeros(0, int)), "there are no examples"),
        (lambda: confusion_matrix(np.array([0, 3]), np.array([0, 1]), 3), "predicted classes go from 0 to 3"),
        (lambda: confusion_matrix(np.array([0, 1]), np.array([-1, 1]), 3), "labels go from -1 to 1"),
    ],
)
def test_metrics_of_what_does_not_fit(call, message):
    with pytest.raises(TatamiError, match=message):
        call()
