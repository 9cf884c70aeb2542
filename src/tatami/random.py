"""Random numbers that are a pure function of where they are used.

One counter-based generator, Philox4x32-10, serves initial values, shuffling and dropout. It keeps no
state: the number at position ``i`` of a stream depends on nothing but the seed, the epoch, the step, the
name of the stream and ``i``. A mask is therefore the same on every backend, for every number of threads,
and after a run that was killed and resumed.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The layout of
the counter is ours: (block, step, epoch, CRC-32 of the stream's name); the key is the 64-bit seed.
"""

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
WORD = 0xFFFFFFFF
LOW_WORD = np.uint64(WORD)
HALF = np.uint64(32)


def philox4x32(
    counter: tuple[NDArray[np.uint32], ...], key: tuple[int, int]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """Turn four arrays of counter words and a key of two words into four arrays of random words.

    One round maps (c0, c1, c2, c3) to (hi(M1·c2) ⊕ c1 ⊕ k0, lo(M1·c2), hi(M0·c0) ⊕ c3 ⊕ k1, lo(M0·c0)),
    with hi and lo the halves of the 64-bit product; after each of the ten rounds the key words grow by
    two constants.

    >>> zero = np.zeros(1, np.uint32)
    >>> [hex(word[0]) for word in philox4x32((zero, zero, zero, zero), (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    shape = np.broadcast(*counter).shape
    # Both products of a round are one operation of NumPy: c0 and c2 lie together, and so do c1 and c3.
    even, odd, product = (np.empty((2, *shape), np.uint64) for _ in range(3))
    even[0], odd[0], even[1], odd[1] = counter
    crossed = product[::-1]
    multipliers, round_keys = constants_of(key, len(shape))
    for round_key in round_keys:
        np.multiply(even, multipliers, out=product)
        np.right_shift(crossed, HALF, out=even)
        even ^= odd
        even ^= round_key
        np.bitwise_and(crossed, LOW_WORD, out=odd)
    words = np.empty((4, *shape), np.uint32)
    words[::2], words[1::2] = even, odd
    return words[0], words[1], words[2], words[3]


@functools.lru_cache(maxsize=64)
def constants_of(
    key: tuple[int, int], rank: int
) -> tuple[NDArray[np.uint64], tuple[NDArray[np.uint64], ...]]:
    """Return the multipliers and the key words of every round, to stand against (2, …) words with ``rank`` axes."""
    pair = (2, *(1,) * rank)
    rounds = [
        [(word + turn * step) & WORD for word, step in zip(key, KEY_INCREMENTS, strict=True)]
        for turn in range(ROUNDS)
    ]
    return np.array(MULTIPLIERS, np.uint64).reshape(pair), tuple(
        np.array(rounds, np.uint64).reshape(-1, *pair)
    )


@dataclass(frozen=True)
class RandomKey:
    """Where in a run random numbers are drawn: the seed, the epoch and the step.

    Streams are told apart by name, so that two layers never share a mask:

    >>> key = RandomKey(seed=1, epoch=0, step=3)
    >>> key.permutation("shuffle", 5)
    array([3, 2, 4, 1, 0])
    >>> key.keep_mask("dropout", (2, 4), ratio=0.5).shape
    (2, 4)
    """

    seed: int = 0
    epoch: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not fit into the words of the counter."""
        for field, bits in (("seed", 64), ("epoch", 32), ("step", 32)):
            value = getattr(self, field)
            if not isinstance(value, int | np.integer) or not 0 <= value < 2**bits:
                raise SettingError(
                    f"random key: {field} must be a whole number from 0 to 2^{bits} - 1, got {value!r:.40}"
                )
            object.__setattr__(self, field, int(value))

    def bits(self, stream: str, count: int) -> NDArray[np.uint32]:
        """Return the first ``count`` 32-bit words of a stream."""
        blocks = -(-count // 4)
        if blocks > WORD:
            raise SettingError(f"random stream {stream!r}: at most 2^34 words, asked for {count}")
        block = np.arange(blocks, dtype=np.uint32)
        counter = (
            block,
            np.full_like(block, self.step),
            np.full_like(block, self.epoch),
            np.full_like(block, zlib.crc32(stream.encode())),
        )
        words = philox4x32(counter, (self.seed & WORD, self.seed >> 32))
        return np.stack(words, axis=1).reshape(-1)[:count]

    def bits_of_samples(self, stream: str, samples: NDArray[np.int64], count: int) -> NDArray[np.uint32]:
        """Return (N, count) words: the first ``count`` of each sample's own part of a stream.

        The number of the sample stands in the counter where the step stands otherwise, so that the words of a sample
        do not depend on the batch, the step or the thread that it is drawn in.

        >>> key = RandomKey(seed=1, epoch=2)
        >>> both = key.bits_of_samples("angle", np.array([5, 9]), 3)
        >>> np.array_equal(both[1:], key.bits_of_samples("angle", np.array([9]), 3))
        True
        """
        if len(samples) and not (samples.min() >= 0 and samples.max() <= WORD):
            raise SettingError(f"random stream {stream!r}: numbers of samples go from 0 to 2^32 - 1")
        counter = (
            np.arange(-(-count // 4), dtype=np.uint32)[None, :],
            samples.astype(np.uint32)[:, None],
            np.array([[self.epoch]], dtype=np.uint32),
            np.array([[zlib.crc32(stream.encode())]], dtype=np.uint32),
        )
        words = philox4x32(counter, (self.seed & WORD, self.seed >> 32))
        return np.stack(words, axis=2).reshape(len(samples), -1)[:, :count]

    def uniform_of_samples(self, stream: str, samples: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        """Return (N, count) numbers uniform in [0, 1), of each sample its own; see `bits_of_samples`."""
        upper = (self.bits_of_samples(stream, samples, count) >> np.uint32(8)).astype(np.float64)
        return np.asarray(upper * 2.0**-24)

    def uniform(self, stream: str, shape: Sequence[int]) -> NDArray[np.float64]:
        """Return numbers uniform in [0, 1): the upper 24 bits of each word, times 2⁻²⁴."""
        upper = (self.bits(stream, prod(shape)) >> np.uint32(8)).astype(np.float64)
        return (upper * 2.0**-24).reshape(tuple(shape))

    def normal(self, stream: str, shape: Sequence[int]) -> NDArray[np.float64]:
        """Return standard normal numbers by Box and Muller's r·cos θ, r·sin θ with r = √(-2 ln(1 - u))."""
        count = prod(shape)
        pairs = -(-count // 2)
        uniforms = self.uniform(stream, (2, pairs))
        radius = np.sqrt(-2.0 * np.log1p(-uniforms[0]))
        angle = 2.0 * np.pi * uniforms[1]
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].reshape(tuple(shape))

    def permutation(self, stream: str, count: int) -> NDArray[np.int64]:
        """Return the numbers 0 … count - 1 in random order: the order of 64-bit random keys."""
        high, low = self.bits(stream, 2 * count).reshape(2, count).astype(np.uint64)
        return np.argsort((high << HALF) | low, kind="stable").astype(np.int64)

    def keep_mask(self, stream: str, shape: Sequence[int], ratio: float) -> NDArray[np.bool_]:
        """Return a mask that is False with probability ``ratio``.

        Compared as integers, so that every backend draws exactly the same mask: kept where the upper
        24 bits are at least round(ratio · 2²⁴).
        """
        threshold = np.uint32(round(ratio * 2**24))
        kept: NDArray[np.bool_] = (self.bits(stream, prod(shape)) >> np.uint32(8)) >= threshold
        return kept.reshape(tuple(shape))
