"""Shifting, turning, scaling, shearing, flipping, cropping and tilting: one matrix for each sample.

A matrix sends a point of the result to the place in the image where it is read, both counted from the middle. Steps
that follow each other are multiplied first and the image is read once, which is faster and blurs less. On volumes and
videos (C, depth, H, W) the last two axes are transformed, all slices of a sample alike.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.base import Partners, Range, Samples, Transform
from tatami.data.augmentation.draws import Draws, rounded
from tatami.data.augmentation.resampling import Border, Outside, Places, projected, sample_nearest
from tatami.errors import SettingError

Matrices = NDArray[np.float64]
LARGEST_FACTOR = 100.0


@dataclass(frozen=True)
class Geometric(Transform, abstract=True):
    """Base of the transforms that move points.

    Attributes:
        border: what lies outside the image: 'constant', 'edge' or 'reflect'.
        fill: the constant, a share of the largest pixel value.
    """

    border: Border = "constant"
    fill: float = 0.0

    @property
    def outside(self) -> Outside:
        """What lies outside the image."""
        return Outside(self.border, self.fill)

    def matrices(self, draws: Draws, height: int, width: int) -> Matrices:
        """Return (N, 3, 3): where each point of the result is read."""
        raise NotImplementedError

    def chosen_matrices(self, draws: Draws, height: int, width: int) -> Matrices:
        """Return the matrices, the identity for samples that are not chosen."""
        chosen = draws.chosen("chosen", self.probability)
        return np.where(chosen[:, None, None], self.matrices(draws, height, width), np.eye(3))

    def apply(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Read every image and mask at the places of its matrix."""
        return read_through([self], samples, [draws])


@dataclass(frozen=True)
class Shift(Geometric):
    """Move by up to a share of the image's side, in whole and parts of points.

    Attributes:
        vertical: the largest share of the height, up or down.
        horizontal: the largest share of the width, left or right.
    """

    vertical: float = 0.1
    horizontal: float = 0.1

    def __post_init__(self) -> None:
        """Check the shares."""
        super().__post_init__()
        self.require_at_least(0, "vertical", "horizontal")

    def matrices(self, draws: Draws, height: int, width: int) -> Matrices:
        """(1, 0, dy), (0, 1, dx), (0, 0, 1)."""
        matrices = identities(len(draws))
        matrices[:, 0, 2] = draws.between("row", -1, 1) * self.vertical * height
        matrices[:, 1, 2] = draws.between("column", -1, 1) * self.horizontal * width
        return matrices


@dataclass(frozen=True)
class Rotate(Geometric):
    """Turn around the middle by up to ``degrees`` in either direction."""

    degrees: float = 10.0

    def __post_init__(self) -> None:
        """Check the angle."""
        super().__post_init__()
        self.require_at_least(0, "degrees")

    def matrices(self, draws: Draws, height: int, width: int) -> Matrices:
        """(cos, -sin), (sin, cos)."""
        angles = draws.between("angle", -1, 1) * math.radians(self.degrees)
        matrices = identities(len(draws))
        cosine, sine = rounded(np.cos(angles)), rounded(np.sin(angles))
        matrices[:, 0, 0], matrices[:, 0, 1] = cosine, -sine
        matrices[:, 1, 0], matrices[:, 1, 1] = sine, cosine
        return matrices


@dataclass(frozen=True)
class Zoom(Geometric):
    """Make larger or smaller around the middle.

    Attributes:
        factors: the smallest and the largest factor.
        separately: height and width each have a factor of their own.
    """

    factors: Range = (0.9, 1.1)
    separately: bool = False

    def __post_init__(self) -> None:
        """Check the factors."""
        super().__post_init__()
        self.require_range("factors", 1 / LARGEST_FACTOR, LARGEST_FACTOR)

    def matrices(self, draws: Draws, height: int, width: int) -> Matrices:
        """(1/f, 0), (0, 1/f)."""
        matrices = identities(len(draws))
        factors = draws.between("factor", *self.factors)
        matrices[:, 0, 0] = 1 / factors
        matrices[:, 1, 1] = 1 / (draws.between("width", *self.factors) if self.separately else factors)
        return matrices


@dataclass(frozen=True)
class Shear(Geometric):
    """Slant, as handwriting is slanted: every row is moved in proportion to its height.

    Attributes:
        horizontal: the largest slope of rows; 0.2 moves a point by a fifth of its distance from the middle row.
        vertical: the largest slope of columns.
    """

    horizontal: float = 0.2
    vertical: float = 0.0

    def __post_init__(self) -> None:
        """Check the slopes."""
        super().__post_init__()
        self.require_at_least(0, "horizontal", "vertical")

    def matrices(self, draws: Draws, height: int, width: int) -> Matrices:
        """(1, v), (h, 1)."""
        matrices = identities(len(draws))
        matrices[:, 1, 0] = draws.between("horizontal", -1, 1) * self.horizontal
        matrices[:, 0, 1] = draws.between("vertical", -1, 1) * self.vertical
        return matrices


@dataclass(frozen=True)
class Flip(Geometric):
    """Mirror half of the samples, left to right or top to bottom; not for letters and digits.

    Attributes:
        horizontal: mirror left to right.
        vertical: mirror top to bottom.
    """

    horizontal: bool = True
    vertical: bool = False

    def matrices(self, draws: Draws, height: int, width: int) -> Matrices:
        """(±1, 0), (0, ±1)."""
        matrices = identities(len(draws))
        if self.vertical:
            matrices[:, 0, 0] = np.where(draws.uniform("vertical") < 0.5, -1, 1)
        if self.horizontal:
            matrices[:, 1, 1] = np.where(draws.uniform("horizontal") < 0.5, -1, 1)
        return matrices


@dataclass(frozen=True)
class Crop(Geometric):
    """Cut out a part of the image and enlarge it to the size of the whole.

    Attributes:
        sides: the smallest and the largest side of the part, as a share of the image's side.
    """

    sides: Range = (0.8, 1.0)

    def __post_init__(self) -> None:
        """Check the shares."""
        super().__post_init__()
        self.require_range("sides", 1 / LARGEST_FACTOR, 1.0)

    def matrices(self, draws: Draws, height: int, width: int) -> Matrices:
        """(s, 0, dy), (0, s, dx), with the part inside the image."""
        matrices = identities(len(draws))
        side = draws.between("side", *self.sides)
        matrices[:, 0, 0] = matrices[:, 1, 1] = side
        matrices[:, 0, 2] = draws.between("row", -0.5, 0.5) * (1 - side) * height
        matrices[:, 1, 2] = draws.between("column", -0.5, 0.5) * (1 - side) * width
        return matrices


@dataclass(frozen=True)
class Perspective(Geometric):
    """Tilt the image as if seen from the side.

    Attributes:
        strength: how much nearer or farther an edge may come: 0.2 makes it up to a fifth larger or smaller.
    """

    strength: float = 0.2

    def __post_init__(self) -> None:
        """Check the strength."""
        super().__post_init__()
        self.require_at_least(0, "strength")
        if self.strength > 0.9:
            raise SettingError(f"Perspective: strength must be at most 0.9, got {self.strength!r}")

    def matrices(self, draws: Draws, height: int, width: int) -> Matrices:
        """(1, 0, 0), (0, 1, 0), (p, q, 1): points are divided by 1 + p·row + q·column."""
        matrices = identities(len(draws))
        # Both tilts together change the divisor in a corner by no more than the strength.
        matrices[:, 2, 0] = draws.between("row", -1, 1) * self.strength / height
        matrices[:, 2, 1] = draws.between("column", -1, 1) * self.strength / width
        return matrices


def identities(count: int) -> Matrices:
    """Return N identity matrices."""
    return np.tile(np.eye(3), (count, 1, 1))


def product(first: Matrices, second: Matrices) -> Matrices:
    """Return the products of N pairs of 3×3 matrices, without BLAS, whose sums differ from machine to machine."""
    columns = (first[:, :, k, None] * second[:, None, k, :] for k in range(3))
    return np.asarray(sum(columns, start=np.zeros_like(first)))


def read_through(steps: Sequence[Geometric], samples: Samples, draws: Sequence[Draws]) -> Samples:
    """Apply steps that follow each other and agree about the outside; images are read once."""
    steps[0].require_axes(samples, 2, "images (C, H, W), volumes or videos")
    height, width = samples.images.shape[-2:]
    matrices = identities(len(samples.images))
    for step, drawn in zip(steps, draws, strict=True):
        matrices = product(matrices, step.chosen_matrices(drawn, height, width))
    return read_at(samples, projected(matrices, height, width), steps[0].outside)


def read_at(samples: Samples, places: Places, outside: Outside) -> Samples:
    """Read images bilinearly and masks at the nearest points; slices of volumes and frames of videos alike."""
    images = samples.images
    channels = images.reshape(len(images), -1, *images.shape[-2:])
    read = samples.with_images(samples.engine.sample(channels, places, outside).reshape(images.shape))
    if samples.masks is None:
        return read
    return replace(
        read, masks=read_masks(samples.masks, lambda layer: sample_nearest(layer, places, outside))
    )


def read_masks(masks: NDArray[Any], read: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    """Read every slice of masks (N, *spatial) alike."""
    slices = masks.reshape(len(masks), -1, *masks.shape[-2:])
    done = [read(slices[:, number]) for number in range(slices.shape[1])]
    return np.stack(done, axis=1).reshape(masks.shape)
