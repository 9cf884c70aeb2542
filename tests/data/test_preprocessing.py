"""Preprocessing: fitted to the training images only, saved with the model."""

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tatami.data import (
    Dataset,
    ImageFormat,
    MinMax,
    Preprocessing,
    Scale,
    Standardise,
    Unchanged,
    fit_preprocessing,
    load,
)
from tatami.errors import DataError, SettingError, ShapeError, UnknownNameError

FORMAT = ImageFormat(maximum=16, background="dark", fill=0.5)


def random_data(seed=0, dtype=np.uint8, shape=(20, 3, 4, 5)):
    images = np.random.default_rng(seed).integers(0, 17, shape).astype(dtype)
    return Dataset("toy", images, np.arange(shape[0]) % 2, format=FORMAT)


EVERY = [
    ("none", {}),
    ("scale", {}),
    *(("min-max", {"extent": extent}) for extent in ("all", "channel", "feature")),
    *(("standardise", {"extent": extent}) for extent in ("all", "channel", "feature")),
    ("zca", {}),
    ("pca", {}),
]


@pytest.mark.parametrize(("name", "settings"), EVERY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reading_back_what_was_saved_gives_the_same_bits(name, settings, dtype):
    data = random_data()
    fitted = fit_preprocessing(name, data, **settings)
    back = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
    assert back == fitted
    assert back.format == FORMAT
    result = back.apply(data.images, dtype)
    assert result.dtype == dtype
    assert result.tobytes() == fitted.apply(data.images, dtype).tobytes()


@pytest.mark.parametrize(("name", "settings"), EVERY)
def test_the_data_stay_as_they_were(name, settings):
    data = random_data(dtype=np.float32)
    before = data.images.copy()
    fit_preprocessing(name, data, **settings).apply(data.images, np.float32)
    np.testing.assert_array_equal(data.images, before)


@pytest.mark.parametrize(("name", "settings"), EVERY)
def test_the_inverse_gives_the_images_back(name, settings):
    data = random_data()
    fitted = fit_preprocessing(name, data, **settings)
    white = fitted.apply(data.images, np.float64)
    before = white.copy()
    # The directions of a whitening are kept in float32.
    np.testing.assert_allclose(fitted.inverse(white), data.images, atol=1e-5)
    np.testing.assert_array_equal(white, before)


def test_numbers_known_by_hand():
    data = Dataset("toy", np.array([[[2, 4]], [[6, 8]]], dtype=np.uint8), np.array([0, 1]), format=FORMAT)
    other = np.array([[[5, 10]]], dtype=np.uint8)
    assert Unchanged.fit(data).apply(other).tolist() == [[[5, 10]]]
    assert Scale.fit(data).apply(other).tolist() == [[[5 / 16, 10 / 16]]]
    np.testing.assert_allclose(MinMax.fit(data).apply(other), [[[0.5, 8 / 6]]], rtol=1e-6)
    np.testing.assert_allclose(MinMax.fit(data, "feature").apply(other), [[[3 / 4, 6 / 4]]], rtol=1e-6)
    np.testing.assert_allclose(Standardise.fit(data).apply(other), [[[0, 5 / 5**0.5]]], rtol=1e-6)
    np.testing.assert_allclose(Standardise.fit(data, "feature").apply(other), [[[0.5, 2]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("extent", "axes"), [("all", (0, 1, 2, 3)), ("channel", (0, 2, 3)), ("feature", (0,))]
)
def test_standardised_training_data_have_mean_0_and_variance_1(extent, axes):
    data = random_data(shape=(40, 3, 4, 5))
    result = Standardise.fit(data, extent).apply(data.images, np.float64)
    np.testing.assert_allclose(result.mean(axis=axes), 0, atol=1e-12)
    np.testing.assert_allclose(result.var(axis=axes), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("extent", "axes"), [("all", (0, 1, 2, 3)), ("channel", (0, 2, 3)), ("feature", (0,))]
)
def test_min_max_training_data_reach_from_0_to_1(extent, axes):
    data = random_data(shape=(40, 3, 4, 5))
    result = MinMax.fit(data, extent).apply(data.images, np.float64)
    np.testing.assert_array_equal(result.min(axis=axes), 0)
    np.testing.assert_array_equal(result.max(axis=axes), 1)


def test_mean_and_deviation_are_those_of_numpy_for_many_chunks(monkeypatch):
    monkeypatch.setattr("tatami.data.preprocessing.LARGEST_CHUNK", 61)
    data = random_data(shape=(50, 3, 4, 5))
    fitted = Standardise.fit(data)
    np.testing.assert_allclose(fitted.mean, data.images.mean(axis=(0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(fitted.deviation, data.images.std(axis=(0, 2, 3)), rtol=1e-13)


@pytest.mark.parametrize("name", ["min-max", "standardise"])
def test_constant_data_become_0(name):
    digits = load("digits").train
    fitted = fit_preprocessing(name, digits, "feature")  # some corner pixels are 0 in every digit
    result = fitted.apply(digits.images)
    assert np.isfinite(result).all()
    constant = digits.images.min(axis=0) == digits.images.max(axis=0)
    assert constant.any()
    assert (result[:, constant] == 0).all()


@given(value=st.sampled_from([np.nan, np.inf]), name=st.sampled_from(["none", "scale", "standardise"]))
def test_nan_and_infinity_are_refused_with_the_sample(value, name):
    fitted = fit_preprocessing(name, random_data())
    images = np.zeros((3, 3, 4, 5))
    images[1, 2, 3, 4] = value
    with pytest.raises(DataError, match=r"images: sample 1 holds (nan|inf) at \(2, 3, 4\)"):
        fitted.apply(images)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"MinMax: fitted to images of shape \(3, 4, 5\), got \(1, 4, 5\)"):
        MinMax.fit(random_data()).apply(np.zeros((2, 1, 4, 5)))


def test_unknown_names_and_settings_are_refused():
    data = random_data()
    with pytest.raises(
        UnknownNameError, match="unknown preprocessing 'standardize': did you mean 'standardise'"
    ):
        fit_preprocessing("standardize", data)
    with pytest.raises(SettingError, match="extent must be one of all, channel, feature, got 'row'"):
        fit_preprocessing("min-max", data, "row")
    with pytest.raises(SettingError, match="Standardise: expected 1 numbers .* got 0; fit it to a data set"):
        Standardise()


@pytest.mark.parametrize(
    "change",
    [
        {"extent": "row"},
        {"mean": [1.0]},
        {"mean": [1.0, 2.0, float("nan")]},
        {"mean": ["a", "b", "c"]},
        {"mean": None},
        {"shape": [2**40, 2**40]},
        {"shape": "abc"},
        {"format": None},
        {"type": "Delete"},
    ],
)
def test_a_damaged_description_is_refused(change):
    description = Standardise.fit(random_data()).to_json() | change
    with pytest.raises((SettingError, UnknownNameError)):
        Preprocessing.from_json(description).apply(np.zeros((1, 3, 4, 5)))
