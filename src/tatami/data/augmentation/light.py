"""Brightness, contrast, gamma and colour. Points stay where they are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.base import PointTransform, Range, against
from tatami.data.augmentation.draws import Draws
from tatami.errors import ShapeError

# How much red, green and blue count for the eye (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Brightness(PointTransform):
    """Add up to ``amount`` of the largest value, or take it away."""

    amount: float = 0.2

    def __post_init__(self) -> None:
        """Check the amount."""
        super().__post_init__()
        self.require_at_least(0, "amount")

    def pixels(self, images: NDArray[np.float32], draws: Draws) -> NDArray[Any]:
        """Return x + b."""
        return images + against(draws.between("amount", -self.amount, self.amount), images)


@dataclass(frozen=True)
class Contrast(PointTransform):
    """Multiply the distance from the middle of the range: ½ + f·(x - ½).

    Attributes:
        factors: the smallest and the largest f.
    """

    factors: Range = (0.7, 1.3)

    def __post_init__(self) -> None:
        """Check the factors."""
        super().__post_init__()
        self.require_range("factors", 0.0, 100.0)

    def pixels(self, images: NDArray[np.float32], draws: Draws) -> NDArray[Any]:
        """½ + f·(x - ½)."""
        half = np.float32(0.5)
        return half + against(draws.between("factor", *self.factors), images) * (images - half)


@dataclass(frozen=True)
class Gamma(PointTransform):
    """Darken or lighten the middle tones: x^γ, of values in 0 … 1.

    Attributes:
        exponents: the smallest and the largest γ, both equally likely to lighten and to darken.
    """

    exponents: Range = (0.7, 1.4)

    def __post_init__(self) -> None:
        """Check the exponents."""
        super().__post_init__()
        self.require_range("exponents", 0.05, 20.0)

    def pixels(self, images: NDArray[np.float32], draws: Draws) -> NDArray[Any]:
        """x^γ by a table of 4,096 steps, so that a library's last bit has no say."""
        exponents = draws.between("exponent", *self.exponents)
        steps = np.linspace(0.0, 1.0, 4097)
        tables = np.round(steps[None, :] ** exponents[:, None] * 2.0**20) / 2.0**20
        at = np.round(np.clip(images, 0, 1) * 4096).astype(np.int64).reshape(len(images), -1)
        return np.take_along_axis(tables, at, axis=1).reshape(images.shape)


@dataclass(frozen=True)
class Saturation(PointTransform):
    """Make colours paler or stronger: g + f·(x - g) with the grey value g of each point; for red, green, blue.

    Attributes:
        factors: the smallest and the largest f; 0 is grey.
    """

    factors: Range = (0.6, 1.4)

    def __post_init__(self) -> None:
        """Check the factors."""
        super().__post_init__()
        self.require_range("factors", 0.0, 100.0)

    def pixels(self, images: NDArray[np.float32], draws: Draws) -> NDArray[Any]:
        """Return g + f·(x - g)."""
        if images.shape[1] != len(LUMA):
            raise ShapeError(
                f"Saturation: expected colour images (3, H, W), got samples of shape {images.shape[1:]}"
            )
        red, green, blue = (np.float32(share) for share in LUMA)
        grey = (images[:, :1] * red + images[:, 1:2] * green) + images[:, 2:] * blue
        mixed = grey + against(draws.between("factor", *self.factors), images) * (images - grey)
        return np.asarray(mixed)
