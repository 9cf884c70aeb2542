"""Anomalies by the error of reconstruction: ROC curve and area as in scikit-learn, a threshold from validation data."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import roc_auc_score, roc_curve as sklearn_curve

from tatami import Adam, BinaryCrossEntropy, DataError, Program, RandomKey, ShapeError
from tatami.data.digits import load_digits
from tatami.metrics import area_under_curve, roc_curve
from tatami.models import autoencoder


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
@settings(max_examples=50, deadline=None)
def test_the_curve_is_that_of_scikit_learn(pairs):
    scores = np.array([score for score, _ in pairs], float)
    positive = np.array([truth for _, truth in pairs])
    if positive.all() or not positive.any():
        with pytest.raises(DataError, match="examples of both kinds"):
            roc_curve(scores, positive)
        return
    for ours, theirs in zip(
        roc_curve(scores, positive), sklearn_curve(positive, scores, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(ours, theirs)
    assert area_under_curve(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_errors():
    with pytest.raises(DataError, match="NaN or infinite"):
        roc_curve(np.array([1.0, np.nan]), np.array([0, 1]))
    with pytest.raises(ShapeError, match="came with"):
        roc_curve(np.array([1.0, 2.0]), np.array([0, 1, 1]))
    with pytest.raises(ShapeError, match="one score for each example"):
        roc_curve(np.ones((2, 2)), np.array([[0, 1], [0, 1]]))


def test_an_autoencoder_of_zeros_and_ones_finds_the_other_digits():
    data = load_digits()
    known = data.train.labels < 2
    x = data.train.images.astype(np.float32) / 16
    normal = x[known]
    training, validation = normal[:-60], normal[-60:]
    network = autoencoder((1, 8, 8), (32,), 6)
    program = Program(network, BinaryCrossEntropy())
    session = program.session(network.initialize(1), Adam(0.005))
    for step in range(400):
        batch = training[RandomKey(0, step=step).permutation("batch", len(training))[:30]]
        session.step(batch, batch, RandomKey(0, step=step), 0.005)

    def errors(images):
        return ((program.predict(session.parameters, images) - images) ** 2).mean(axis=(1, 2, 3))

    test_x, strange = data.test.images.astype(np.float32) / 16, data.test.labels >= 2
    scores = errors(test_x)
    assert area_under_curve(scores, strange) > 0.97
    # The threshold that lets 95 % of normal validation images pass does so on the test images, and finds most others.
    threshold = np.quantile(errors(validation), 0.95)
    assert (scores[~strange] <= threshold).mean() > 0.85
    assert (scores[strange] > threshold).mean() > 0.85
