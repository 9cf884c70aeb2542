"""Transforms of signals (C, T) and spectrograms (C, F, T): the last axis is time."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.base import Partners, PointTransform, Range, Samples, Transform
from tatami.data.augmentation.draws import Draws
from tatami.data.augmentation.geometric import LARGEST_FACTOR
from tatami.data.augmentation.noise import box
from tatami.data.augmentation.resampling import cell


@dataclass(frozen=True)
class TimeTransform(Transform, abstract=True):
    """Base of the transforms that read a signal at other times."""

    def times(self, draws: Draws, length: int) -> NDArray[np.float64]:
        """Return (N, T): the time at which each point of the result is read."""
        raise NotImplementedError

    def transform(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Read images linearly and masks at the nearest points."""
        self.require_axes(samples, 1, "signals (C, T) or spectrograms (C, F, T)")
        images = samples.images
        length = images.shape[-1]
        times = self.times(draws, length)
        read = samples.with_images(at_times(images, times.astype(np.float32)))
        if samples.masks is None:
            return read
        nearest = np.floor(times + 0.5).astype(np.int64)
        inside = (nearest >= 0) & (nearest < length)
        shape = (len(images), *(1,) * (samples.masks.ndim - 2), length)
        at = np.broadcast_to(np.clip(nearest, 0, length - 1).reshape(shape), samples.masks.shape)
        masks = np.where(inside.reshape(shape), np.take_along_axis(samples.masks, at, axis=-1), 0)
        return replace(read, masks=masks.astype(samples.masks.dtype))


@dataclass(frozen=True)
class TimeShift(TimeTransform):
    """Move a signal in time by up to a share of its length; outside it is silent, or goes round.

    Attributes:
        share: the largest share, earlier or later.
        outside: 'silence' or 'wrap'.
    """

    share: float = 0.1
    outside: Literal["silence", "wrap"] = "silence"

    def __post_init__(self) -> None:
        """Check the share."""
        super().__post_init__()
        self.require_at_least(0, "share")

    def times(self, draws: Draws, length: int) -> NDArray[np.float64]:
        """T + whole points."""
        shift = np.round(draws.between("shift", -1, 1) * self.share * length)[:, None]
        times = np.arange(length)[None, :] + shift
        return np.asarray(times % length if self.outside == "wrap" else times)


@dataclass(frozen=True)
class Stretch(TimeTransform):
    """Play a signal faster or slower around its middle.

    Attributes:
        factors: the smallest and the largest factor; 1.1 makes it 10 % longer.
    """

    factors: Range = (0.9, 1.1)

    def __post_init__(self) -> None:
        """Check the factors."""
        super().__post_init__()
        self.require_range("factors", 1 / LARGEST_FACTOR, LARGEST_FACTOR)

    def times(self, draws: Draws, length: int) -> NDArray[np.float64]:
        """Middle + (t - middle)/f."""
        middle = (length - 1) / 2
        factors = draws.between("factor", *self.factors)[:, None]
        return np.asarray(middle + (np.arange(length)[None, :] - middle) / factors)


@dataclass(frozen=True)
class MaskTime(PointTransform):
    """Set a random stretch of time to ``fill``.

    Attributes:
        shares: the smallest and the largest part of the length.
        fill: the value.

    Source: Park et al. (2019), "SpecAugment".
    """

    shares: Range = (0.0, 0.2)
    fill: float = 0.0

    def __post_init__(self) -> None:
        """Check the shares."""
        super().__post_init__()
        self.require_range("shares", 0.0, 1.0)

    def axis(self, images: NDArray[np.float32]) -> int:
        """Return the axis on which a part is hidden."""
        return images.ndim - 1

    def pixels(self, images: NDArray[np.float32], draws: Draws) -> NDArray[Any]:
        """The fill inside, x outside."""
        sides = {self.axis(images): draws.between("share", *self.shares)}
        return np.where(box(images, draws, sides), np.float32(self.fill), images)


@dataclass(frozen=True)
class MaskFrequency(MaskTime):
    """Set a random band of frequencies of a spectrogram (C, F, T) to ``fill``."""

    def axis(self, images: NDArray[np.float32]) -> int:
        """Return the axis of the frequencies."""
        return images.ndim - 2

    def transform(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Check that there is a frequency axis."""
        self.require_axes(samples, 2, "spectrograms (C, F, T)")
        return super().transform(samples, draws, partners)


def at_times(images: NDArray[np.float32], times: NDArray[np.float32]) -> NDArray[np.float32]:
    """Read (N, C, …, T) at times (N, T), linear, silent outside."""
    length = images.shape[-1]
    first, share = cell(times, length, "constant")
    padded = np.zeros((*images.shape[:-1], length + 2), np.float32)
    padded[..., 1:-1] = images
    shape = (len(images), *(1,) * (images.ndim - 2), length)
    at = np.broadcast_to(first.astype(np.intp).reshape(shape), images.shape)
    before = np.take_along_axis(padded, at, axis=-1)
    after = np.take_along_axis(padded, at + 1, axis=-1)
    return np.asarray(before + share.reshape(shape) * (after - before))
