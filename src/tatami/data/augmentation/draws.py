"""The random numbers of one step of a pipeline: for each sample its own, whatever batch it comes in.

They are a pure function of (seed, epoch, sample, step in the pipeline). No thread, no batch and no earlier draw has
an influence, so images are the same for any number of workers and after a run that was resumed. What goes through a
function of the C library is rounded afterwards, so that another library's last bit does not make another image.
"""

import functools
from dataclasses import dataclass
from math import prod
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.random import RandomKey

QUANTILES = 2**16
ROUNDING = 2.0**24


@dataclass(frozen=True, eq=False)
class Draws:
    """Where random numbers are drawn: the seed and epoch, the step in the pipeline, and the samples.

    >>> draws = Draws(RandomKey(seed=1, epoch=3), step=0, samples=np.array([4, 2]))
    >>> draws.between("angle", -10, 10).shape
    (2,)
    >>> one = Draws(RandomKey(seed=1, epoch=3), step=0, samples=np.array([2]))
    >>> bool(draws.between("angle", -10, 10)[1] == one.between("angle", -10, 10)[0])
    True

    Attributes:
        key: seed and epoch.
        step: the transform's place in the pipeline, counted from 0.
        samples: (N,) places in the data set.
    """

    key: RandomKey
    step: int
    samples: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def stream(self, name: str) -> str:
        """Return the name of a stream of this step."""
        return f"augmentation/{self.step}/{name}"

    def uniform(self, name: str, *shape: int) -> NDArray[np.float64]:
        """Return (N, *shape) numbers uniform in [0, 1)."""
        numbers = self.key.uniform_of_samples(self.stream(name), self.samples, prod(shape))
        return numbers.reshape(len(self), *shape)

    def between(self, name: str, low: float, high: float) -> NDArray[np.float64]:
        """Return (N,) numbers uniform in [low, high)."""
        return low + (high - low) * self.uniform(name)

    def chosen(self, name: str, probability: float) -> NDArray[np.bool_]:
        """Return (N,) True with a probability."""
        if probability >= 1:
            return np.ones(len(self), dtype=np.bool_)
        return np.asarray(self.uniform(name) < probability)

    def normal(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Return (N, *shape) standard normal numbers from a table of 65,536 quantiles, so at most 4.3 from 0.

        Each word of the generator gives two: fast, and free of logarithms that differ from machine to machine.
        """
        count = prod(shape)
        pairs = -(-count // 2)
        words = self.key.bits_of_samples(self.stream(name), self.samples, pairs)
        halves = np.empty((len(words), 2 * pairs), np.intp)
        np.bitwise_and(words, np.uint32(QUANTILES - 1), out=halves[:, :pairs])
        np.right_shift(words, np.uint32(16), out=halves[:, pairs:])
        # mode='clip' spares NumPy a copy; every half is a place in the table.
        return normal_quantiles().take(halves[:, :count], mode="clip").reshape(len(self), *shape)

    def beta(self, name: str, alpha: float) -> NDArray[np.float64]:
        """Return (N,) numbers of the distribution Beta(α, α) with 0 < α ≤ 1.

        Of 32 pairs (U, V) the first with X + Y ≤ 1 for X = U^(1/α), Y = V^(1/α) gives X / (X + Y).

        Source: Jöhnk (1964), "Erzeugung von betaverteilten und gammaverteilten Zufallszahlen".
        """
        pairs = self.uniform(name, 32, 2) ** (1 / alpha)
        sums = pairs.sum(axis=2)
        accepted = (sums <= 1) & (sums > 0)
        first = np.argmax(accepted, axis=1)
        at = np.arange(len(self))
        found = accepted[at, first]
        ratio = pairs[at, first, 0] / np.where(found, sums[at, first], 1)
        return rounded(np.where(found, ratio, 0.5))


@functools.cache
def normal_quantiles() -> NDArray[np.float32]:
    """Return the quantiles (i + ½) / 65536 of the standard normal distribution, rounded to 2⁻²⁰."""
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse(0.5 + (place + 0.5) / QUANTILES) for place in range(QUANTILES // 2)])
    upper = np.round(upper * 2.0**20) / 2.0**20
    return np.concatenate([-upper[::-1], upper]).astype(np.float32)


def rounded(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Round to multiples of 2⁻²⁴, far finer than a picture and far coarser than the last bit of a library."""
    return np.asarray(np.round(numbers * ROUNDING) / ROUNDING)
