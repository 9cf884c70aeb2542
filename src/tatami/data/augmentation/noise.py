"""Noise, and hiding a part of the image. Points stay where they are."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.base import PointTransform, Range, against
from tatami.data.augmentation.draws import Draws
from tatami.errors import SettingError


@dataclass(frozen=True)
class PixelNoise(PointTransform):
    """Add normal noise to every value; its deviation is drawn for each sample from 0 to ``deviation``."""

    deviation: float = 0.1

    def __post_init__(self) -> None:
        """Check the deviation."""
        super().__post_init__()
        self.require_at_least(0, "deviation")

    def pixels(self, images: NDArray[np.float32], draws: Draws) -> NDArray[Any]:
        """Return x + s·n."""
        noise = draws.normal("noise", *images.shape[1:])
        noise *= against(draws.between("deviation", 0, self.deviation), images)
        noise += images
        return noise


@dataclass(frozen=True)
class Speckle(PointTransform):
    """Multiply every value by 1 + normal noise, as in radar and ultrasound images."""

    deviation: float = 0.2

    def __post_init__(self) -> None:
        """Check the deviation."""
        super().__post_init__()
        self.require_at_least(0, "deviation")

    def pixels(self, images: NDArray[np.float32], draws: Draws) -> NDArray[Any]:
        """x·(1 + s·n)."""
        noise = draws.normal("noise", *images.shape[1:])
        noise *= against(draws.between("deviation", 0, self.deviation), images)
        return images + images * noise


@dataclass(frozen=True)
class SaltAndPepper(PointTransform):
    """Set a share of the points to the largest or the smallest value, all channels alike.

    Attributes:
        share: the largest share; drawn for each sample from 0.
    """

    share: float = 0.05

    def __post_init__(self) -> None:
        """Check the share."""
        super().__post_init__()
        self.require_at_least(0, "share")
        if self.share > 1:
            raise SettingError(f"SaltAndPepper: share must be at most 1, got {self.share!r}")

    def pixels(self, images: NDArray[np.float32], draws: Draws) -> NDArray[Any]:
        """1 where u < s/2, 0 where u < s, else x."""
        points = draws.uniform("points", 1, *images.shape[2:]).astype(np.float32)
        share = against(draws.between("share", 0, self.share), images)
        salted = np.where(points < share / 2, np.float32(1), images)
        return np.where((points >= share / 2) & (points < share), np.float32(0), salted)


@dataclass(frozen=True)
class Erase(PointTransform):
    """Hide a rectangle: cut-out with a constant, random erasing with noise.

    Attributes:
        sides: the smallest and the largest side of the rectangle, as a share of the image's side.
        content: 'constant' (the value ``fill``) or 'noise' (uniform in 0 … 1).
        fill: the constant.

    Source: DeVries, Taylor (2017), "Improved regularization of convolutional neural networks with cutout"; Zhong et
    al. (2020), "Random erasing data augmentation".
    """

    sides: Range = (0.2, 0.4)
    content: Literal["constant", "noise"] = "constant"
    fill: float = 0.0

    def __post_init__(self) -> None:
        """Check the sides."""
        super().__post_init__()
        self.require_range("sides", 0.0, 1.0)

    def pixels(self, images: NDArray[np.float32], draws: Draws) -> NDArray[Any]:
        """The fill or noise inside a box along all spatial axes, x outside."""
        sides = {axis: draws.between(f"side{axis}", *self.sides) for axis in range(2, images.ndim)}
        hidden = box(images, draws, sides)
        if self.content == "constant":
            return np.where(hidden, np.float32(self.fill), images)
        return np.where(hidden, draws.uniform("noise", *images.shape[1:]).astype(np.float32), images)


def box(
    images: NDArray[np.float32], draws: Draws, sides: dict[int, NDArray[np.float64]]
) -> NDArray[np.bool_]:
    """Return where a box of given sides (shares, for some axes) lies, at a random place inside the image."""
    inside = np.ones((len(images), *(1,) * (images.ndim - 1)), dtype=np.bool_)
    for axis, side in sides.items():
        size = images.shape[axis]
        length = np.round(side * size).astype(np.int64)
        start = np.floor(draws.uniform(f"start{axis}") * (size - length + 1)).astype(np.int64)
        shape = [1] * images.ndim
        shape[axis] = size
        place = np.arange(size).reshape(shape)
        low = start.reshape(-1, *(1,) * (images.ndim - 1))
        inside = inside & (place >= low) & (place < low + length.reshape(low.shape))
    return inside
