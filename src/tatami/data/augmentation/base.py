"""What a transform is, and what goes through a pipeline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.draws import Draws
from tatami.data.augmentation.engines import NUMPY, Engine
from tatami.description import Described
from tatami.errors import SettingError, ShapeError

Range = Sequence[float]


@dataclass(frozen=True, eq=False)
class Samples:
    """Images on their way through a pipeline.

    Attributes:
        images: (N, C, *spatial) float32, divided by the largest value that a pixel can take.
        targets: (N,) labels, or (N, classes) shares of the classes after images were mixed.
        classes: number of classes.
        masks: (N, *spatial) a label for every position, or None.
        engine: who reads images at other places.
    """

    images: NDArray[np.float32]
    targets: NDArray[Any]
    classes: int
    masks: NDArray[Any] | None = None
    engine: Engine = NUMPY

    def with_images(self, images: NDArray[Any]) -> "Samples":
        """Return the same with other images."""
        return replace(self, images=images.astype(np.float32, copy=False))

    def shares(self) -> NDArray[np.float32]:
        """Return the targets as shares of the classes (N, classes)."""
        if self.targets.ndim == 2:
            return np.asarray(self.targets, dtype=np.float32)
        hits: NDArray[np.bool_] = self.targets[:, None] == np.arange(self.classes)
        return hits.astype(np.float32)


# From numbers in [0, 1), one for each sample: other samples of the data set, as they come to the same step.
Partners = Callable[[NDArray[np.float64]], Samples]


@dataclass(frozen=True)
class Transform(Described, family="transform", abstract=True):
    """Base of the transforms.

    Amounts are shares of the largest pixel value or of the image's side unless said otherwise, so that a pipeline
    means the same for every data set.

    Attributes:
        probability: the share of the samples that are transformed.
    """

    probability: float = 1.0

    def __post_init__(self) -> None:
        """Check the probability."""
        super().__post_init__()
        if not 0 < self.probability <= 1:
            raise SettingError(
                f"{type(self).__name__}: probability must be above 0 and at most 1, got {self.probability!r}"
            )

    def require_at_least(self, low: float, *names: str) -> None:
        """Raise unless settings are at least so large."""
        for name in names:
            if getattr(self, name) < low:
                raise SettingError(
                    f"{type(self).__name__}: {name} must be at least {low:g}, got {getattr(self, name)!r}"
                )

    def require_range(self, name: str, low: float, high: float) -> None:
        """Raise unless a setting is a pair (lowest, highest) within limits."""
        pair = getattr(self, name)
        if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high:
            raise SettingError(
                f"{type(self).__name__}: {name} must be two numbers, the lowest and the highest, "
                f"from {low:g} to {high:g}, got {pair!r}"
            )

    def require_axes(self, samples: Samples, least: int, what: str) -> None:
        """Raise unless the samples have enough spatial axes."""
        if samples.images.ndim - 2 < least:
            raise ShapeError(
                f"{type(self).__name__}: expected {what}, got samples of shape {samples.images.shape[1:]}"
            )

    def apply(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Return the transformed samples: those that are not chosen stay as they are.

        Args:
            samples: what comes into this step.
            draws: the random numbers of this step.
            partners: gives other samples of the data set, for transforms that mix.
        """
        transformed = self.transform(samples, draws, partners)
        chosen = draws.chosen("chosen", self.probability)
        if chosen.all():
            return transformed
        return select(chosen, transformed, samples)

    def transform(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Return all samples transformed."""
        raise NotImplementedError


@dataclass(frozen=True)
class PointTransform(Transform, abstract=True):
    """Base of the transforms that leave every point where it is: masks and labels stay."""

    def transform(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Change the images only."""
        return samples.with_images(self.pixels(samples.images, draws))

    def pixels(self, images: NDArray[np.float32], draws: Draws) -> NDArray[Any]:
        """Return the changed images."""
        raise NotImplementedError


def select(chosen: NDArray[np.bool_], yes: Samples, no: Samples) -> Samples:
    """Take samples from one or from the other."""

    def pick(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        return np.where(chosen.reshape(-1, *(1,) * (first.ndim - 1)), first, second)

    same = yes.targets.shape == no.targets.shape
    targets = pick(yes.targets, no.targets) if same else pick(yes.shares(), no.shares())
    masks = None if yes.masks is None or no.masks is None else pick(yes.masks, no.masks)
    return Samples(pick(yes.images, no.images), targets, yes.classes, masks, yes.engine)


def against(numbers: NDArray[Any], images: NDArray[Any]) -> NDArray[np.float32]:
    """Return (N,) numbers in a shape that stands against (N, C, *spatial)."""
    return numbers.astype(np.float32).reshape(-1, *(1,) * (images.ndim - 1))
