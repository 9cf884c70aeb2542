"""Mixing a sample with another one of the data set. Labels become shares of the classes.

The other one is drawn from the whole data set, not from the batch, and comes through the earlier steps of the
pipeline with its own random numbers: so the result depends on nothing but (seed, epoch, sample).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.base import Partners, Samples, Transform, against
from tatami.data.augmentation.draws import Draws
from tatami.data.augmentation.noise import box
from tatami.errors import SettingError


@dataclass(frozen=True)
class Mixing(Transform, abstract=True):
    """Base of the transforms that need another sample."""

    def require_no_masks(self, samples: Samples) -> None:
        """Raise for samples with masks: what is half one class and half another has no label."""
        if samples.masks is not None:
            raise SettingError(f"{type(self).__name__} mixes images point by point; with masks use CutMix")


@dataclass(frozen=True)
class WithShare(Mixing, abstract=True):
    """Base of mixup and CutMix, with λ ~ Beta(α, α).

    Attributes:
        alpha: α, above 0 and at most 1; the smaller, the nearer λ to 0 or 1.
    """

    alpha: float = 0.4

    def __post_init__(self) -> None:
        """Check α."""
        super().__post_init__()
        if not 0.01 <= self.alpha <= 1:
            raise SettingError(f"{type(self).__name__}: alpha must be from 0.01 to 1, got {self.alpha!r}")


@dataclass(frozen=True)
class Mixup(WithShare):
    """λ·x + (1 - λ)·x' with the label λ·t + (1 - λ)·t'.

    Source: Zhang et al. (2018), "mixup: Beyond empirical risk minimization".
    """

    def transform(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Mix images and labels."""
        self.require_no_masks(samples)
        share = draws.beta("share", self.alpha)
        other = partners(draws.uniform("partner"))
        mine = against(share, samples.images)
        images = mine * samples.images + (np.float32(1) - mine) * other.images
        return replace(samples.with_images(images), targets=mixed(samples, other, share))


@dataclass(frozen=True)
class CutMix(WithShare):
    """A box of the other sample is pasted in; labels are mixed in proportion to the areas, masks with the images.

    Source: Yun et al. (2019), "CutMix: Regularization strategy to train strong classifiers with localizable features".
    """

    def transform(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Paste images and masks, mix labels."""
        self.require_axes(samples, 1, "samples with spatial axes")
        images = samples.images
        axes = range(max(2, images.ndim - 2), images.ndim)
        area = 1 - draws.beta("share", self.alpha)
        # The square root is exact on every machine; a signal has one axis and needs none.
        side = np.sqrt(area) if len(axes) == 2 else area
        pasted = box(images, draws, {axis: side for axis in axes})
        other = partners(draws.uniform("partner"))
        whole = np.prod([images.shape[axis] for axis in axes])
        share = 1 - np.count_nonzero(pasted.reshape(len(images), -1), axis=1) / whole
        mixture = replace(
            samples.with_images(np.where(pasted, other.images, images)), targets=mixed(samples, other, share)
        )
        if samples.masks is None or other.masks is None:
            return mixture
        return replace(mixture, masks=np.where(pasted[:, 0], other.masks, samples.masks))


@dataclass(frozen=True)
class SamplePairing(Mixing):
    """The average of two images with the label of the first.

    Source: Inoue (2018), "Data augmentation by pairing samples for images classification".
    """

    probability: float = 0.5

    def transform(self, samples: Samples, draws: Draws, partners: Partners) -> Samples:
        """Average the images."""
        self.require_no_masks(samples)
        other = partners(draws.uniform("partner"))
        return samples.with_images((samples.images + other.images) * np.float32(0.5))


def mixed(samples: Samples, other: Samples, share: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return share·t + (1 - share)·t'."""
    mine = share.astype(np.float32)[:, None]
    return mine * samples.shares() + (np.float32(1) - mine) * other.shares()
