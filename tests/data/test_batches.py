"""Mini-batches: a pure function of (seed, epoch, step)."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tatami.data import Batches, Dataset, ImageFormat, Scale
from tatami.errors import DataError, SettingError
from tatami.random import RandomKey

DATA = Dataset(
    "toy", np.arange(10, dtype=np.uint8)[:, None], np.arange(10) % 2, format=ImageFormat(maximum=10)
)


def seen(batches):
    return [batch.indices.tolist() for batch in batches]


@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 1000),
)
def test_an_epoch_shows_every_image_once(count, batch_size, seed, epoch):
    data = Dataset("toy", np.arange(count)[:, None], np.zeros(count, int))
    batches = Batches(data, min(batch_size, count), seed)
    pieces = list(batches.epoch(epoch))
    assert len(pieces) == batches.steps
    assert [piece.step for piece in pieces] == list(range(batches.steps))
    assert sorted(np.concatenate([piece.indices for piece in pieces])) == list(range(count))
    assert all(len(piece) == batches.batch_size for piece in pieces[:-1])


@given(start=st.integers(0, 4), epoch=st.integers(0, 3))
def test_an_epoch_can_start_in_the_middle(start, epoch):
    batches = Batches(DATA, 3, seed=5)
    whole = seen(batches.epoch(epoch))
    assert seen(batches.epoch(epoch, start)) == whole[start:]
    assert [batches.batch(epoch, step).indices.tolist() for step in range(4)] == whole


def test_the_order_is_the_generators():
    expected = RandomKey(seed=7, epoch=2).permutation("shuffle", 10)
    np.testing.assert_array_equal(Batches(DATA, 10, seed=7).batch(2, 0).indices, expected)


def test_seed_and_epoch_change_the_order():
    orders = {
        tuple(Batches(DATA, 10, seed).batch(epoch, 0).indices) for seed in range(3) for epoch in range(3)
    }
    assert len(orders) == 9


def test_without_shuffling_the_data_come_in_their_order():
    assert seen(Batches(DATA, 4, shuffle=False).epoch(3)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_the_smaller_last_batch_can_be_dropped():
    batches = Batches(DATA, 4, shuffle=False, drop_last=True)
    assert batches.steps == 2
    assert seen(batches.epoch(0)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_are_preprocessed_and_labels_go_with_them(dtype):
    batch = Batches(DATA, 4, seed=3, preprocessing=Scale.fit(DATA), dtype=dtype).batch(0, 1)
    assert batch.images.dtype == dtype
    np.testing.assert_allclose(batch.images[:, 0], batch.indices / 10, rtol=1e-7)
    np.testing.assert_array_equal(batch.labels, batch.indices % 2)


def test_bad_settings_are_refused():
    with pytest.raises(
        DataError,
        match="toy: the batch size 11 is larger than the data, 10 images; use a batch size of at most 10",
    ):
        Batches(DATA, 11)
    with pytest.raises(SettingError, match="batch size must be at least 1, got 0"):
        Batches(DATA, 0)
    with pytest.raises(SettingError, match="toy: an epoch has 3 steps, counted from 0; there is no step 3"):
        Batches(DATA, 4).batch(0, 3)
    with pytest.raises(SettingError, match="there is no step 4"):
        Batches(DATA, 4).epoch(0, start=4)
    assert seen(Batches(DATA, 4).epoch(0, start=3)) == []
