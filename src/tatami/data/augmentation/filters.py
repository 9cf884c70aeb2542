"""Blurring, sharpening and the elastic distortion, all by a Gaussian along each axis."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.base import Partners, PointTransform, Range, Samples, against
from tatami.data.augmentation.draws import Draws, rounded
from tatami.data.augmentation.engines import NUMPY, Engine
from tatami.data.augmentation.geometric import Geometric, Matrices, read_at
from tatami.data.augmentation.resampling import Places, projected
from tatami.errors import SettingError

# A Gaussian is cut off where it has fallen to about 1 %.
DEVIATIONS = 3.0
LARGEST_DEVIATION = 64.0


def gaussian_taps(deviations: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return (N, taps) of normalised Gaussians around the middle tap; a deviation of 0 leaves an image as it is.

    >>> gaussian_taps(np.array([0.0])).tolist()
    [[1.0]]
    """
    radius = math.ceil(DEVIATIONS * float(deviations.max(initial=0.0)))
    distance = np.arange(-radius, radius + 1)[None, :]
    width = np.maximum(deviations, 1e-3)[:, None]
    taps = rounded(np.exp(-0.5 * (distance / width) ** 2))
    # Each sample has a cut of its own, so that it does not depend on the others in its batch.
    taps[np.abs(distance) > np.ceil(DEVIATIONS * deviations)[:, None]] = 0
    # Added one after the other: how NumPy groups a sum is its own affair.
    total = sum((taps[:, place] for place in range(taps.shape[1])), start=np.zeros(len(taps)))
    return (taps / total[:, None]).astype(np.float32)


def blurred(
    images: NDArray[np.float32], deviations: NDArray[np.float64], engine: Engine = NUMPY
) -> NDArray[np.float32]:
    """Blur each sample with a Gaussian of its own deviation, in points, along its last two axes (a signal's last)."""
    return engine.filtered(images, gaussian_taps(deviations), min(2, images.ndim - 2))


@dataclass(frozen=True)
class Blur(PointTransform):
    """Blur with a Gaussian.

    Attributes:
        deviations: the smallest and the largest deviation, in points.
    """

    deviations: Range = (0.3, 1.0)

    def __post_init__(self) -> None:
        """Check the deviations."""
        super().__post_init__()
        self.require_range("deviations", 0.0, LARGEST_DEVIATION)

    def transform(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Blur the images; masks stay."""
        deviations = draws.between("deviation", *self.deviations)
        return samples.with_images(blurred(samples.images, deviations, samples.engine))


@dataclass(frozen=True)
class Sharpen(PointTransform):
    """Add what a blur of 1 point takes away: x + a·(x - blurred x).

    Attributes:
        amounts: the smallest and the largest a.
    """

    amounts: Range = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Check the amounts."""
        super().__post_init__()
        self.require_range("amounts", 0.0, 100.0)

    def transform(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Sharpen the images; masks stay."""
        images = samples.images
        detail = images - blurred(images, np.ones(len(images)), samples.engine)
        amounts = against(draws.between("amount", *self.amounts), images)
        return samples.with_images(images + amounts * detail)


@dataclass(frozen=True)
class Elastic(Geometric):
    """Displace every point at random, neighbours by nearly the same, like a hand that trembles.

    Both displacements are uniform in [-1, 1], blurred with a Gaussian and made as large as ``amount`` says.

    Attributes:
        amount: root mean square of either displacement, as a share of the shorter side. Simard's α = 34 with σ = 4 on
            28×28 points is about 0.05.
        smoothness: deviation of the Gaussian, as a share of the shorter side: 1/7 is Simard's 4 points of 28.

    Source: Simard, Steinkraus, Platt (2003), "Best practices for convolutional neural networks applied to visual
    document analysis".
    """

    amount: float = 0.04
    smoothness: float = 1 / 7

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self.require_at_least(0, "amount", "smoothness")
        if self.smoothness > 1:
            raise SettingError(f"Elastic: smoothness must be at most 1, got {self.smoothness!r}")

    def matrices(self, draws: Draws, height: int, width: int) -> Matrices:
        """Points are not moved by a matrix."""
        raise NotImplementedError

    def apply(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Read every image and mask at displaced places."""
        self.require_axes(samples, 2, "images (C, H, W), volumes or videos")
        count, (height, width) = len(samples.images), samples.images.shape[-2:]
        field = (draws.uniform("field", 2, height, width) * 2 - 1).astype(np.float32)
        side = min(height, width)
        deviation = np.array([min(self.smoothness * side, LARGEST_DEVIATION)])
        moved = blurred(field, np.repeat(deviation, count), samples.engine)
        # A uniform number in [-1, 1] has the variance 1/3; each pass multiplies it by the sum of the squared taps.
        left = sum(float(tap) ** 2 for tap in gaussian_taps(deviation)[0]) / math.sqrt(3)
        moved *= np.float32(self.amount * side / left)
        moved *= against(draws.chosen("chosen", self.probability), moved)
        still = projected(np.tile(np.eye(3), (count, 1, 1)), height, width)
        places = Places(still.rows + moved[:, 0], still.columns + moved[:, 1])
        return read_at(samples, places, self.outside)
