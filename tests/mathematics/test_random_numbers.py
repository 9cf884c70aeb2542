"""The counter-based generator: known answers, and numbers that look as random as they should."""

import math

import numpy as np
import pytest

from tatami import RandomKey, SettingError
from tatami.random import philox4x32


def words(text):
    return tuple(int(word, 16) for word in text.split())


# Random123's kat_vectors, philox4x32 10: counter, key, result.
KNOWN_ANSWERS = [
    ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers_of_random123(counter, key, answer):
    arrays = tuple(np.array([word], dtype=np.uint32) for word in words(counter))
    assert tuple(int(word[0]) for word in philox4x32(arrays, words(key))) == words(answer)


def test_bits_are_the_blocks_of_the_documented_counter():
    # Counter (block, step, epoch, CRC-32 of the stream), key (low, high word of the seed), written out here again.
    key = RandomKey(seed=0x299F31D0A4093822, epoch=7, step=11)
    stream = 0xCBF43926  # CRC-32 of "123456789", the check value of its specification
    block = tuple(np.array([word], dtype=np.uint32) for word in (2, 11, 7, stream))
    expected = np.concatenate(philox4x32(block, (0xA4093822, 0x299F31D0)))
    np.testing.assert_array_equal(key.bits("123456789", 12)[8:], expected)


def test_a_longer_draw_starts_with_the_shorter_one():
    key = RandomKey(5)
    for count in (0, 1, 3, 4, 5):
        np.testing.assert_array_equal(key.bits("s", count), key.bits("s", 100)[:count])


def test_uniform_moments_and_range():
    u = RandomKey(1).uniform("u", (200_000,))
    assert u.min() >= 0
    assert u.max() < 1
    # Five standard errors: σ = 1/√12 for the mean, √(1/180) for the variance.
    assert abs(u.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / u.size)
    assert abs(u.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / u.size)
    counts = np.bincount((u * 64).astype(int), minlength=64)
    chi_squared = ((counts - u.size / 64) ** 2 / (u.size / 64)).sum()
    assert 63 - 5 * math.sqrt(126) < chi_squared < 63 + 5 * math.sqrt(126)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 5 / math.sqrt(u.size)


def test_normal_moments_and_tails():
    z = RandomKey(2).normal("z", (200_001,))
    assert z.shape == (200_001,)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 5 * math.sqrt(variance / z.size)
    for bound in (0.5, 1, 2, 3):
        inside = math.erf(bound / math.sqrt(2))
        assert abs((abs(z) < bound).mean() - inside) < 5 * math.sqrt(inside * (1 - inside) / z.size)


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_permutation_holds_every_number_once(count):
    order = RandomKey(3).permutation("shuffle", count)
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


def test_every_permutation_of_three_is_as_likely():
    orders = [tuple(RandomKey(4, step=step).permutation("shuffle", 3)) for step in range(3000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert max(abs(count - 500) for count in counts) < 5 * math.sqrt(3000 * 5 / 36)


@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.5, 0.9])
def test_keep_mask_drops_that_share(ratio):
    mask = RandomKey(6).keep_mask("dropout1", (400, 250), ratio)
    assert mask.dtype == bool
    assert abs((~mask).mean() - ratio) <= 5 * math.sqrt(ratio * (1 - ratio) / mask.size)


def test_masks_of_two_layers_steps_epochs_and_seeds_differ_and_are_unrelated():
    base = RandomKey(1).keep_mask("dropout1", (10_000,), 0.5)
    others = {
        "layer": RandomKey(1).keep_mask("dropout2", (10_000,), 0.5),
        "step": RandomKey(1, step=1).keep_mask("dropout1", (10_000,), 0.5),
        "epoch": RandomKey(1, epoch=1).keep_mask("dropout1", (10_000,), 0.5),
        "seed": RandomKey(2).keep_mask("dropout1", (10_000,), 0.5),
        "high word of the seed": RandomKey(1 + 2**32).keep_mask("dropout1", (10_000,), 0.5),
    }
    for other in others.values():
        assert abs((base == other).mean() - 0.5) < 5 * 0.5 / 100
    np.testing.assert_array_equal(base, RandomKey(1).keep_mask("dropout1", (10_000,), 0.5))


def test_step_and_epoch_are_not_confused():
    assert not np.array_equal(RandomKey(0, epoch=1).bits("s", 8), RandomKey(0, step=1).bits("s", 8))


@pytest.mark.parametrize(
    "settings", [{"seed": -1}, {"seed": 2**64}, {"epoch": 2**32}, {"step": -1}, {"seed": 1.5}, {"seed": "1"}]
)
def test_a_key_that_does_not_fit_is_refused(settings):
    (field,) = settings
    with pytest.raises(SettingError, match=f"random key: {field} must be a whole number from 0"):
        RandomKey(**settings)


def test_numpy_numbers_are_whole_numbers():
    assert RandomKey(np.int64(3)) == RandomKey(3)
    RandomKey(2**64 - 1, 2**32 - 1, 2**32 - 1).bits("s", 5)
