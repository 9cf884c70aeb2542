"""Threads that make batches: in order, bounded, and gone when nobody takes batches any more."""

import threading
import time

import numpy as np
import pytest

from tatami.data import Batches, Dataset
from tatami.data.augmentation import POLICIES
from tatami.data.folds import group_folds, stratified_folds
from tatami.data.on_demand import DecodedFiles
from tatami.data.workers import AHEAD, made_ahead
from tatami.errors import DataError, SettingError
from tatami.random import RandomKey
from tatami.training.run import train

DATA = Dataset("some", (RandomKey(1).uniform("x", (30, 1, 8, 8)) * 255).astype(np.uint8), np.arange(30) % 3)


def data_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("tatami-data")]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_any_number_of_workers_gives_the_same_batches(workers):
    options = {"batch_size": 4, "seed": 3, "augmentation": POLICIES["handwriting"]}
    alone = [batch.images.tobytes() for batch in Batches(DATA, **options).epoch(2)]
    many = [batch.images.tobytes() for batch in Batches(DATA, workers=workers, **options).epoch(2)]
    assert many == alone
    assert data_threads() == []


def test_workers_wait_when_nobody_takes():
    begun = []

    def make(number):
        begun.append(number)
        return number

    results = made_ahead(make, range(1000), workers=2)
    assert next(results) == 0
    for _ in range(50):
        time.sleep(0.001)
    assert len(begun) <= 2 * AHEAD
    results.close()
    assert data_threads() == []
    assert len(begun) <= 2 * AHEAD


def test_an_error_of_a_worker_is_raised_in_its_turn():
    def make(number):
        if number == 3:
            raise DataError("file 3 is damaged")
        return number

    results = made_ahead(make, range(10), workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="file 3 is damaged"):
        next(results)
    assert data_threads() == []
    with pytest.raises(SettingError, match="workers must be at least 0, got -1"):
        made_ahead(make, range(3), workers=-1)


def test_training_with_workers_ends_in_the_same_bits_and_leaks_nothing(tmp_path):
    options = {"epochs": 2, "batch_size": 5, "augmentation": POLICIES["mixup"]}
    alone = train("perceptron", DATA, **options)
    assert train("perceptron", DATA, workers=3, **options).weights_sha256 == alone.weights_sha256
    assert data_threads() == []


def test_a_file_that_breaks_a_worker_is_named(tmp_path):
    def decode(path):
        if path.name == "17":
            raise DataError(f"{path}: the image is damaged")
        return np.zeros((1, 4, 4), np.uint8)

    images = DecodedFiles([tmp_path / str(number) for number in range(30)], (1, 4, 4), np.uint8, decode)
    data = Dataset("files", images, np.arange(30) % 2)
    with pytest.raises(DataError, match="17: the image is damaged"):
        train("perceptron", data, workers=2, epochs=1, batch_size=3, preprocessing="none")
    assert data_threads() == []


def test_stratified_folds_test_every_image_once():
    data = Dataset("some", np.arange(53)[:, None], np.arange(53) % 3)
    folds = stratified_folds(data, 5, seed=4)
    tested = np.concatenate([fold.test.images[:, 0] for fold in folds])
    assert sorted(tested) == list(range(53))
    assert {len(fold.test) for fold in folds} <= {10, 11}
    for fold in folds:
        assert not set(fold.test.images[:, 0]) & set(fold.train.images[:, 0])
        assert np.ptp(fold.test.class_counts()) <= 2
    again = stratified_folds(data, 5, seed=4)
    np.testing.assert_array_equal(again[2].test.images, folds[2].test.images)
    assert (stratified_folds(data, 5, seed=5)[2].test.images != folds[2].test.images).any()
    with pytest.raises(DataError, match="class '2' has 17 images, too few for 18 folds"):
        stratified_folds(data, 18)
    with pytest.raises(SettingError, match="at least 2 folds, got 1"):
        stratified_folds(data, 1)


def test_groups_are_never_torn_apart():
    data = Dataset("some", np.arange(60)[:, None], np.arange(60) % 2)
    writers = [f"writer {number // 5}" for number in range(60)]
    for fold in group_folds(data, writers, 4, seed=1):
        assert len(fold.test) == 15
        tested = {writers[number] for number in fold.test.images[:, 0]}
        assert not tested & {writers[number] for number in fold.train.images[:, 0]}
    with pytest.raises(DataError, match="12 groups cannot be divided into 13 folds"):
        group_folds(data, writers, 13)
    with pytest.raises(SettingError, match="60 samples need as many groups, got 3"):
        group_folds(data, ["a", "b", "c"], 2)
