"""Whitening: by hand, by its definition, against scikit-learn, and refused where it does not fit."""

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.decomposition import PCA

from tatami.data import Dataset, ImageFormat, PCAWhitening, Preprocessing, ZCAWhitening, load, whitening
from tatami.errors import SettingError, ShapeError, UnknownNameError

BOTH = pytest.mark.parametrize("cls", [ZCAWhitening, PCAWhitening])


def random_data(seed=0, count=200, shape=(2, 3, 2)):
    """Return images whose features follow one another."""
    random = np.random.default_rng(seed)
    features = int(np.prod(shape))
    images = random.normal(size=(count, features)) @ random.normal(size=(features, features)) + 3
    return Dataset("toy", images.reshape(count, *shape), np.arange(count) % 2, format=ImageFormat(maximum=1))


def covariance_of(values):
    rows = values.reshape(len(values), -1)
    return np.cov(rows.T, bias=True)


def test_numbers_known_by_hand():
    # Four points on a diamond, stretched by 3 along (1, 1): variances 9 along (1, 1) and 1 along (1, -1).
    images = np.array([[3, 3], [-3, -3], [1, -1], [-1, 1]]) + np.array([10.0, 20.0])
    data = Dataset("diamond", images, np.array([0, 1, 0, 1]))
    pca = PCAWhitening.fit(data, epsilon=0)
    np.testing.assert_allclose(pca.deviations, [3, 1])
    np.testing.assert_allclose(pca.basis[:, 0], [0.5**0.5, 0.5**0.5], rtol=1e-7)
    root = 2**0.5
    along = pca.apply(images, np.float64)
    np.testing.assert_allclose(np.abs(along), [[root, 0], [root, 0], [0, root], [0, root]], atol=1e-6)
    np.testing.assert_allclose(along[0], [root, 0], atol=1e-6)
    zca = ZCAWhitening.fit(data, epsilon=0).apply(images, np.float64)
    np.testing.assert_allclose(zca, [[1, 1], [-1, -1], [1, -1], [-1, 1]], atol=1e-6)
    # ε = 0.6 of the mean variance 5 adds 3 to both.
    damped = PCAWhitening.fit(data, epsilon=0.6)
    np.testing.assert_allclose(damped.deviations, [12**0.5, 2])


@BOTH
@given(seed=st.integers(0, 50), shape=st.sampled_from([(5,), (1, 4), (2, 3, 2), (1, 2, 2, 3)]))
def test_the_training_data_become_white(cls, seed, shape):
    data = random_data(seed, shape=shape)
    values = cls.fit(data, epsilon=0).apply(data.images, np.float64)
    features = int(np.prod(shape))
    np.testing.assert_allclose(covariance_of(values), np.eye(features), atol=2e-3)
    np.testing.assert_allclose(values.reshape(len(values), -1).mean(axis=0), 0, atol=1e-6)


@BOTH
@pytest.mark.parametrize("epsilon", [0.01, 1.0, 30])
def test_a_direction_keeps_the_share_of_its_variance_that_epsilon_leaves(cls, epsilon):
    data = random_data()
    variances = np.sort(np.linalg.eigvalsh(covariance_of(data.images)))
    values = cls.fit(data, epsilon=epsilon).apply(data.images, np.float64)
    left = np.sort(np.linalg.eigvalsh(covariance_of(values)))
    np.testing.assert_allclose(left, variances / (variances + epsilon * variances.mean()), rtol=1e-4)


def test_zca_is_the_white_image_nearest_to_the_original():
    """Of all whitenings the symmetric one has the largest mean correlation with the centred data."""
    data = random_data()
    centred = data.images.reshape(200, -1) - data.images.reshape(200, -1).mean(axis=0)
    zca, pca = (
        cls.fit(data, epsilon=0).apply(data.images, np.float64).reshape(200, -1)
        for cls in (ZCAWhitening, PCAWhitening)
    )
    matrix = ZCAWhitening.fit(data, epsilon=0).whitening_matrix()
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    assert (zca * centred).sum() > (pca * centred).sum()
    assert ((zca - centred) ** 2).sum() < ((pca - centred) ** 2).sum()


def test_pca_is_that_of_scikit_learn():
    data = load("digits").train
    rows = data.images.reshape(len(data), -1).astype(np.float64)
    kept = 30  # of the weakest directions nothing but rounding is left
    theirs = PCA(kept, whiten=True).fit(rows)
    ours = PCAWhitening.fit(data, epsilon=0)
    values = ours.apply(data.images, np.float64).reshape(len(data), -1)[:, :kept]
    expected = theirs.transform(rows) * np.sqrt(len(data) / (len(data) - 1))  # they divide by n - 1
    signs = np.sign((values * expected).sum(axis=0))
    np.testing.assert_allclose(values, expected * signs, atol=2e-4)
    np.testing.assert_allclose(
        np.square(ours.deviations[:kept]) * len(data) / (len(data) - 1), theirs.explained_variance_, rtol=1e-6
    )


@BOTH
def test_fewer_images_than_features_and_constant_images(cls):
    few = random_data(count=4)
    values = cls.fit(few).apply(few.images, np.float32)
    assert np.isfinite(values).all()
    same = Dataset("same", np.full((3, 1, 2, 2), 7, np.uint8), np.array([0, 1, 0]))
    fitted = cls.fit(same)
    assert (fitted.apply(same.images) == 0).all()
    assert (fitted.inverse(np.zeros((1, 1, 2, 2), np.float32)) == 7).all()


@BOTH
def test_the_numbers_do_not_depend_on_the_size_of_the_pieces(cls, monkeypatch):
    data = random_data()
    whole = cls.fit(data)
    monkeypatch.setattr("tatami.data.on_demand.CHUNK_BYTES", 700)
    pieces = cls.fit(data)
    np.testing.assert_allclose(pieces.deviations, whole.deviations, rtol=1e-9)
    np.testing.assert_allclose(pieces.basis, whole.basis, atol=1e-6)


@BOTH
def test_an_image_is_whitened_as_in_company(cls):
    data = random_data()
    fitted = cls.fit(data)
    together = fitted.apply(data.images, np.float64)
    alone = fitted.apply(data.images[5:6], np.float64)
    np.testing.assert_allclose(alone[0], together[5], rtol=1e-10, atol=1e-10)


@BOTH
@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 61, 60), (2**20, 2**20, 2**20)])
def test_images_too_large_are_refused_before_memory_is_taken(cls, shape):
    with pytest.raises(
        SettingError, match=rf"{cls.__name__}: images of shape .* features, and the covariance"
    ):
        whitening.feature_count(cls.__name__, shape)
    with pytest.raises(SettingError, match="make the images smaller, or use 'standardise'"):
        cls(shape=shape)


def test_the_message_says_how_much_it_would_be():
    images = np.zeros((2, 3, 64, 64), np.uint8)
    data = Dataset("large", images, np.array([0, 1]))
    with pytest.raises(
        SettingError, match=r"12,288 features, .* takes 1\.21 GB; whitening takes at most 3,600"
    ):
        ZCAWhitening.fit(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": []}, "shape must be the sizes of an image"),
        ({"shape": [2, -3]}, "shape must be the sizes of an image"),
        ({"shape": "abc"}, "shape must be a list of"),
        ({"shape": [1, 3, 2]}, "expected 6 numbers as mean"),
        ({"epsilon": -0.1}, "epsilon must be a finite number of at least 0, got -0.1"),
        ({"epsilon": "much"}, "epsilon must be a finite number"),
        (
            {"mean": [1.0]},
            "expected 12 numbers as mean of images .* got 1; fit it to a data set with ZCAWhitening",
        ),
        ({"mean": [float("nan")] * 12}, "mean must be a list of"),
        ({"deviations": [1.0] * 11}, "expected 12 numbers as deviations"),
        ({"deviations": [0.0] * 12}, "every number of deviations must be above 0"),
        ({"directions": ""}, "directions of 12 features are a text of 768 letters, got 0"),
        ({"directions": "!" * 768}, "directions are not base64 text"),
        ({"directions": "ä" * 768}, "directions are not base64 text"),
        ({"directions": "//9/" * 192}, "every number of directions must be finite"),
        ({"directions": "A" * 770}, "got 770"),
        ({"directions": 3}, "directions must be a text"),
    ],
)
def test_a_damaged_description_is_refused(change, message):
    description = ZCAWhitening.fit(random_data()).to_json() | change
    with pytest.raises(SettingError, match=message):
        Preprocessing.from_json(json.loads(json.dumps(description)))


@BOTH
def test_other_errors(cls):
    fitted = cls.fit(random_data())
    with pytest.raises(ShapeError, match=r"fitted to images of shape \(2, 3, 2\), got \(3, 2, 2\)"):
        fitted.apply(np.zeros((1, 3, 2, 2)))
    with pytest.raises(ShapeError, match="fitted to images of shape"):
        fitted.inverse(np.zeros((1, 12)))
    with pytest.raises(SettingError, match="epsilon must be a finite number of at least 0"):
        cls.fit(random_data(), epsilon=float("inf"))
    with pytest.raises(SettingError, match=rf"use {cls.__name__}\.fit"):
        cls()
    with pytest.raises(UnknownNameError):
        Preprocessing.from_json({"type": "Whitening"})
