"""Data sets: what they check, and how they are divided."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tatami.data import Dataset, DatasetSplits, ImageFormat, split_off_test, split_off_validation
from tatami.errors import DataError, SettingError, ShapeError

IMAGES = np.zeros((4, 1, 3, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 1, 0])


def dataset(labels, class_names=()):
    labels = np.asarray(labels)
    images = np.arange(len(labels), dtype=np.float64)[:, None]
    return Dataset("toy", images, labels, class_names)


def test_bytes_stay_bytes_and_labels_become_64_bit():
    data = Dataset("toy", IMAGES, LABELS.astype(np.uint8))
    assert data.images.dtype == np.uint8
    assert data.images is IMAGES
    assert data.labels.dtype == np.int64
    assert data.class_names == ("0", "1")
    assert (len(data), data.image_shape) == (4, (1, 3, 3))
    assert str(data) == "toy: 4 images of shape (1, 3, 3), 2 classes"


def test_taking_some_images():
    data = dataset([0, 1, 1, 0], ("cat", "dog"))
    assert data.take([3, 1]).images.tolist() == [[3], [1]]
    assert data.take([3, 1]).labels.tolist() == [0, 1]
    assert data.first(2).labels.tolist() == [0, 1]
    assert data.first(9) is data
    assert data.class_counts().tolist() == [2, 2]
    with pytest.raises(SettingError, match="toy: at least one image is needed, asked for the first 0"):
        data.first(0)
    with pytest.raises(DataError, match="toy: no images"):
        data.take([])


@pytest.mark.parametrize(
    ("images", "labels", "names", "error", "message"),
    [
        (
            IMAGES,
            LABELS[:3],
            (),
            ShapeError,
            r"toy: 4 images need labels of shape \(4,\), .* got shape \(3,\)",
        ),
        (IMAGES, np.eye(4, dtype=int), (), ShapeError, r"one for each; got shape \(4, 4\)"),
        (
            IMAGES,
            LABELS * 1.0,
            (),
            DataError,
            "labels must be whole numbers .* got type float64; put the names",
        ),
        (IMAGES, LABELS - 1, (), DataError, "sample 0 has the label -1; labels count from 0"),
        (
            IMAGES,
            LABELS * 2,
            ("a", "b"),
            DataError,
            "sample 1 has the label 2, expected 0 to 1 for 2 classes$",
        ),
        (
            IMAGES,
            LABELS + 1,
            ("a", "b"),
            DataError,
            "sample 1 has the label 2, .*; labels count from 0, subtract 1",
        ),
        (IMAGES, LABELS, ("a", "a"), DataError, "two classes have the same name: a"),
        (IMAGES[:0], LABELS[:0], (), DataError, r"toy: no images: the array has shape \(0, 1, 3, 3\)"),
        (
            IMAGES[:, 0, 0, 0],
            LABELS,
            (),
            ShapeError,
            r"expected images of shape \(N, C, \*spatial\).* got \(4,\)",
        ),
        (
            IMAGES.astype("U1"),
            LABELS,
            (),
            DataError,
            "images must be whole or floating-point numbers, got type <U1",
        ),
    ],
)
def test_what_does_not_fit_is_refused(images, labels, names, error, message):
    with pytest.raises(error, match=message):
        Dataset("toy", images, labels, names)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_named(value):
    images = np.zeros((4, 1, 3, 3), dtype=np.float32)
    images[2, 0, 1, 2] = value
    images[3, 0, 0, 0] = value
    with pytest.raises(
        DataError, match=rf"toy: sample 2 holds {value} at \(0, 1, 2\); every value must be finite"
    ):
        Dataset("toy", images, LABELS)


def test_an_empty_class_is_named():
    data = dataset([0, 2, 0, 2], ("cat", "dog", "emu"))
    with pytest.raises(
        DataError, match="toy: no image of class 'dog'; add images of it or leave the class out"
    ):
        DatasetSplits(train=data, test=data)


def test_splits_that_do_not_fit_together_are_refused():
    data = dataset([0, 1])
    with pytest.raises(ShapeError, match=r"images to train on have shape \(1,\), those to test on \(2,\)"):
        DatasetSplits(data, Dataset("toy", np.zeros((2, 2)), np.array([0, 1])))
    with pytest.raises(DataError, match="the parts to train and to test on have different classes"):
        DatasetSplits(data, dataset([0, 1], ("a", "b")))


def test_limited_splits_keep_all_test_images():
    splits = DatasetSplits(dataset([0, 1, 0, 1]), dataset([0, 1, 1], ("0", "1")))
    limited = splits.limited(2)
    assert (len(limited.train), len(limited.test)) == (2, 3)
    assert (limited.name, limited.image_shape, limited.class_names) == ("toy", (1,), ("0", "1"))
    assert limited.format == ImageFormat()


def test_the_test_images_are_the_third_of_every_five_of_each_class():
    labels = np.array([0, 1] * 13)
    splits = split_off_test(dataset(labels))
    assert splits.test.images[:, 0].tolist() == [4, 5, 14, 15, 24, 25]
    assert len(splits.train) == 20


def test_too_few_images_to_keep_some_for_testing():
    with pytest.raises(DataError, match="no class has more than 2 images, so none can be kept for testing"):
        split_off_test(dataset([0, 0, 1, 1]))


@given(
    labels=st.lists(st.integers(0, 3), min_size=8, max_size=80),
    fraction=st.floats(0.2, 0.8),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_validation_part_is_stratified_and_a_function_of_the_seed(labels, fraction, seed):
    data = dataset(labels, tuple("abcd"))
    counts = data.class_counts()
    if (counts < 4).any():
        return
    learn, validate = split_off_validation(data, fraction, seed)
    both = np.concatenate([learn.images[:, 0], validate.images[:, 0]])
    assert sorted(both) == list(range(len(data)))
    assert (np.diff(learn.images[:, 0]) > 0).all()
    assert validate.class_counts().tolist() == [min(round(fraction * n), n - 1) for n in counts]
    again = split_off_validation(data, fraction, seed)[1]
    np.testing.assert_array_equal(again.images, validate.images)


def test_another_seed_validates_on_other_images():
    data = dataset([0, 1] * 50)
    parts = {tuple(split_off_validation(data, 0.2, seed)[1].images[:, 0]) for seed in range(5)}
    assert len(parts) == 5


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(SettingError, match="the validation fraction must be above 0 and below 1"):
        split_off_validation(dataset([0, 1] * 5), fraction, 0)


def test_too_few_images_to_validate_on():
    with pytest.raises(DataError, match=r"0\.1 of 4 images in 2 classes leaves none to validate on"):
        split_off_validation(dataset([0, 1, 0, 1]), 0.1, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"maximum": 0}, "maximum must be a positive number, got 0"),
        ({"maximum": float("inf")}, "maximum must be a positive number"),
        ({"background": "blue"}, "background must be 'any' or 'dark', got 'blue'"),
        ({"fill": 1.5}, r"fill must be above 0 and at most 1, got 1\.5"),
    ],
)
def test_an_image_format_checks_its_settings(settings, message):
    with pytest.raises(SettingError, match=message):
        ImageFormat(**settings)


def test_columns_go_with_their_images():
    data = Dataset(
        "toy", np.zeros((3, 2), np.uint8), np.array([0, 1, 1]), columns={"file": np.array(["a", "b", "c"])}
    )
    assert data.take([2, 0]).columns["file"].tolist() == ["c", "a"]
    with pytest.raises(ShapeError, match="toy: 3 images need as many values in the column 'file', got 1"):
        Dataset("toy", np.zeros((3, 2), np.uint8), np.zeros(3, int), columns={"file": np.array(["a"])})
