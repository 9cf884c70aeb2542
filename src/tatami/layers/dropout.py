"""Noise against over-fitting: units or maps that are left out at random while training, or disturbed."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError
from tatami.geometry import Shape
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, SameShape
from tatami.layers.checks import require_number
from tatami.random import RandomKey


@dataclass(frozen=True)
class Masked(SameShape, abstract=True):
    """Base of the layers that leave out units while training, and scale the rest: y = mask·x / (1 - ratio).

    Args:
        ratio: probability of dropping, 0 ≤ ratio < 1.
    """

    ratio: float = 0.5

    def __post_init__(self) -> None:
        """Check the ratio."""
        super().__post_init__()
        check_ratio(self, self.ratio)

    @abstractmethod
    def kept(self, key: RandomKey, shape: Shape) -> NDArray[np.bool_]:
        """Draw what is kept of an input (N, C, *spatial): a mask that broadcasts over it."""

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return mask·x / (1 - ratio) while training, else x."""
        (x,) = inputs
        if not context.training or self.ratio == 0:
            return Forward(x)
        scale = scaled_mask(ops, self.kept(context.key, x.shape), self.ratio, x)
        return Forward(x * scale, saved={"scale": scale})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = scale * x``: scale * dy, with the same mask."""
        return Backward((dy * saved["scale"] if "scale" in saved else dy,))

    def settings(self) -> str:
        """Return the ratio."""
        return f"ratio {self.ratio:g}"


@dataclass(frozen=True)
class Dropout(Masked):
    """Set each unit to zero with probability ``ratio`` while training, and scale the rest by 1/(1 - ratio).

    y = mask·x / (1 - ratio), mask 1 with probability 1 - ratio; at prediction y = x. The expected output is x in
    both cases, so no factor is needed at prediction (Qiita's factor, the probability of *keeping*, belongs to the form
    that does not scale while training).

    The mask is drawn from the counter-based generator by seed, epoch, step and the layer's name: the same on
    every backend and number of threads.

    Args:
        ratio: probability of dropping a unit, 0 ≤ ratio < 1.
        exact: keep exactly round((1 - ratio)·n) of the n units of the batch, chosen at random, as Arai's program does.

    >>> Dropout(0.2).output_shape((200,))
    (200,)

    Source: Arai's program drops an exact number over the whole batch; by default we draw every unit by itself
    (Srivastava et al., 2014). Arai's `Backward` forgets the mask in δ; here it is applied.
    """

    exact: bool = False
    kind: ClassVar[str] = "dropout"

    def kept(self, key: RandomKey, shape: Shape) -> NDArray[np.bool_]:
        """Draw for every unit, or an exact number of them."""
        if self.exact:
            return exact_mask(key, self.name, shape, self.ratio)
        return key.keep_mask(self.name, shape, self.ratio)

    def settings(self) -> str:
        """Return the ratio, and whether the number is exact."""
        return super().settings() + (", exact count" if self.exact else "")


@dataclass(frozen=True)
class ChannelDropout(Masked):
    """Dropout of whole maps: every channel of every example is dropped or kept as one.

    Neighbouring positions of a map say nearly the same, so dropping single positions hides little; dropping the map
    does. y(c, i) = mask(c)·x(c, i) / (1 - ratio) while training, else x.

    Args:
        ratio: probability of dropping a channel, 0 ≤ ratio < 1.

    >>> ChannelDropout(0.2).output_shape((8, 4, 4))
    (8, 4, 4)

    Source: Tompson et al. (2015), 'SpatialDropout'; PyTorch's Dropout1d, 2d and 3d.
    """

    kind: ClassVar[str] = "channel_dropout"

    def kept(self, key: RandomKey, shape: Shape) -> NDArray[np.bool_]:
        """Draw for every map of every example."""
        return key.keep_mask(self.name, (*shape[:2], *(1,) * (len(shape) - 2)), self.ratio)


@dataclass(frozen=True)
class GaussianNoise(SameShape):
    """Add normal noise while training: y = x + σ·z, z standard normal; at prediction y = x.

    In front of an autoencoder it makes the denoising one.

    Args:
        std: σ.

    >>> GaussianNoise(0.3).output_shape((1, 28, 28))
    (1, 28, 28)

    Source: DAY4, denoising autoencoder; Bishop (1995), training with noise as regularisation.
    """

    std: float = 0.1
    kind: ClassVar[str] = "noise"

    def __post_init__(self) -> None:
        """Check σ."""
        super().__post_init__()
        require_number(self, "std", at_least=0)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return x + σ·z while training, else x."""
        (x,) = inputs
        if not context.training or self.std == 0:
            return Forward(x)
        return Forward(x + self.std * normal_like(ops, context.key, self.name, x))

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = x + noise``: dy."""
        return Backward((dy,))

    def settings(self) -> str:
        """Return σ."""
        return f"std {self.std:g}"


def check_ratio(layer: Layer, ratio: float) -> None:
    """Raise unless 0 ≤ ratio < 1."""
    if not 0 <= ratio < 1:
        raise SettingError(f"{layer.label}: ratio must be at least 0 and below 1, got {ratio!r}")


def exact_mask(key: RandomKey, stream: str, shape: Shape, ratio: float) -> NDArray[np.bool_]:
    """Return a mask with exactly round((1 - ratio)·n) of its n entries True, at random places.

    >>> int(exact_mask(RandomKey(1), "dropout1", (4, 5), 0.2).sum())
    16
    """
    count = prod(shape)
    kept = np.zeros(count, dtype=np.bool_)
    kept[key.permutation(stream, count)[: round(count * (1 - ratio))]] = True
    return kept.reshape(shape)


def scaled_mask(ops: Backend, kept: NDArray[np.bool_], ratio: float, like: Array) -> Array:
    """Return 1 / (1 - ratio) where kept and 0 elsewhere, in another array's dtype."""
    return ops.asarray(kept, "bool") * ops.xp.asarray(1 / (1 - ratio), dtype=like.dtype)


def normal_like(ops: Backend, key: RandomKey, stream: str, like: Array) -> Array:
    """Return standard normal numbers in another array's shape and dtype."""
    return ops.xp.astype(ops.asarray(key.normal(stream, like.shape), "float64"), like.dtype)
