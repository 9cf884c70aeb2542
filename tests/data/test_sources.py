"""Data sets by name: digits, MNIST from files, ox."""

import gzip
import hashlib
import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits as load_scikit_learn_digits

from tatami.data import ImageFormat, load, load_mnist, load_ox, read_idx, write_idx
from tatami.data.digits import FOLDER
from tatami.data.mnist import FILES, cache_folder
from tatami.errors import DataError, SettingError, UnknownNameError


def test_the_digits_are_those_of_the_repository_in_their_order():
    original = load_scikit_learn_digits()
    np.testing.assert_array_equal(read_idx(FOLDER / "images-idx3-ubyte.gz"), original.images)
    np.testing.assert_array_equal(read_idx(FOLDER / "labels-idx1-ubyte.gz"), original.target)


def test_the_digits_are_split_the_same_way_each_time():
    splits = load("digits")
    assert (splits.train.images.dtype, splits.train.images.max()) == (np.uint8, 16)
    assert (len(splits.train), len(splits.test), splits.image_shape) == (1438, 359, (1, 8, 8))
    assert splits.class_names == tuple("0123456789")
    assert splits.train.class_counts().min() >= 139
    assert splits.test.class_counts().min() >= 35
    content = hashlib.sha256(splits.test.images.tobytes() + splits.test.labels.tobytes()).hexdigest()
    assert content == "229e6fcafc8e618443f3226a1eacdd21d2e96f789a752b5b4681e4a0edfd8d5b"
    assert splits.format == ImageFormat(maximum=16, background="dark", fill=1.0)


def test_the_digits_travel_with_their_credit_and_licence():
    text = (FOLDER / "LICENSE.txt").read_text(encoding="utf-8")
    for words in ("Alpaydin", "Kaynak", "UCI Machine Learning Repository", "CC BY 4.0", "10.24432/C50P49"):
        assert words in text


def test_ox_is_the_two_images_of_the_exercise():
    splits = load("ox")
    assert splits.train.images[:, 0].tolist() == [
        [[1, 1, 1], [1, 0, 1], [1, 1, 1]],
        [[1, 0, 1], [0, 1, 0], [1, 0, 1]],
    ]
    assert splits.class_names == ("○", "×")
    assert load_ox().train.take([0, 0, 0, 1, 1, 1]).labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_real_mnist(mnist_folder):
    splits = load("mnist", mnist_folder)
    assert str(splits.train) == "mnist: 60000 images of shape (1, 28, 28), 10 classes"
    assert str(splits.test) == "mnist: 10000 images of shape (1, 28, 28), 10 classes"
    assert splits.train.class_counts().tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert splits.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert splits.train.images.dtype == np.uint8


@pytest.fixture
def folder(tmp_path):
    """Return a folder with four small files in the form of MNIST."""
    for file in FILES:
        shape = (20, 2, 3) if "images" in file.name else (20,)
        numbers = np.arange(20).repeat(np.prod(shape[1:], dtype=int)).reshape(shape) % 10
        write_idx(tmp_path / file.name, numbers.astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dotted", [True, False])
def test_files_gzip_or_not_and_with_either_spelling(folder, packed, dotted):
    for file in FILES:
        path = folder / file.name
        name = file.name.replace("-idx", ".idx") if dotted else file.name
        if packed:
            path.rename(folder / name)
        else:
            (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    splits = load("mnist", str(folder))
    assert splits.image_shape == (1, 2, 3)
    assert splits.test.labels.tolist() == [*range(10), *range(10)]


def test_a_folder_is_used_without_a_checksum_and_without_the_network(folder):
    assert len(load_mnist(folder, mirrors=["http://127.0.0.1:1/"]).train) == 20


def test_files_that_somebody_put_into_the_cache_are_used(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    shutil.copytree(folder, cache_folder(), ignore=shutil.ignore_patterns("home"))
    assert len(load_mnist(mirrors=[]).train) == 20


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "tatami" / "mnist"


def test_missing_files_are_named(folder):
    for file in FILES[:2]:
        (folder / file.name).unlink()
    with pytest.raises(
        DataError,
        match=r"lacks train-images-idx3-ubyte\.gz, train-labels-idx1-ubyte\.gz; it should hold these four files",
    ):
        load("mnist", folder)
    with pytest.raises(
        DataError, match=r"mnist: the folder .*/nowhere does not exist; it should hold these four"
    ):
        load("mnist", folder / "nowhere")


@pytest.mark.parametrize(
    ("which", "array", "message"),
    [
        (
            0,
            np.zeros((20, 4), np.uint8),
            r"train-images.*: expected images of shape \(N, H, W\), got shape \(20, 4\)",
        ),
        (
            1,
            np.zeros(19, np.uint8),
            r"train-labels.*: expected one label for each of the 20 images .* \(19,\)",
        ),
        (
            3,
            np.zeros((20, 1), np.uint8),
            r"t10k-labels.*: expected one label for each .* got shape \(20, 1\)",
        ),
        (
            1,
            np.arange(20, dtype=np.uint8),
            "mnist: sample 10 has the label 10, expected 0 to 9 for 10 classes",
        ),
        (1, np.arange(20, dtype=np.int8) - 1, "mnist: sample 0 has the label -1"),
        (1, np.zeros(20, np.uint8), "mnist: no image of class '1', '2'"),
        (2, np.zeros((20, 5, 5), np.uint8), r"train on have shape \(1, 2, 3\), those to test on \(1, 5, 5\)"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(folder, which, array, message):
    write_idx(folder / FILES[which].name, array)
    with pytest.raises((DataError, ValueError), match=message):
        load("mnist", folder)


def test_a_truncated_file_is_named(folder):
    path = folder / FILES[2].name
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(
        DataError, match=r"t10k-images-idx3-ubyte\.gz: the gzip data are truncated or damaged"
    ):
        load("mnist", folder)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(
        UnknownNameError,
        match="unknown dataset 'mnits': did you mean 'mnist'. Known: adding, .*, or the path of a folder",
    ):
        load("mnits")
    with pytest.raises(DataError, match="^pictures/of/cats: no such folder$"):
        load("pictures/of/cats")


def test_settings_that_a_dataset_does_not_have_are_refused(tmp_path):
    with pytest.raises(
        SettingError, match=r"digits: a data folder \(somewhere\) is only for mnist, fashion_mnist"
    ):
        load("digits", "somewhere")
    with pytest.raises(SettingError, match="a data folder .* is only for mnist, .*; name a folder of images"):
        load(tmp_path, tmp_path)
    with pytest.raises(SettingError, match="mnist: size and channels are settings of a folder of images"):
        load("mnist", size=14)
