"""Noise against over-fitting: units, maps or connections that are left out at random while training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Shape, check_positive
from tatami.initializers import He, Initializer, ParameterSpec, Zeros
from tatami.layers.activations import Activation, Identity
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.layers.checks import require_number
from tatami.random import RandomKey


@dataclass(frozen=True)
class Dropout(Layer):
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

    ratio: float = 0.5
    exact: bool = False
    kind: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        """Check the ratio."""
        super().__post_init__()
        check_ratio(self, self.ratio)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the input's shape."""
        return only_input(self, input_shapes)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return mask·x / (1 - ratio) while training, else x."""
        (x,) = inputs
        if not context.training or self.ratio == 0:
            return Forward(x)
        if self.exact:
            kept = exact_mask(context.key, self.name, x.shape, self.ratio)
        else:
            kept = context.key.keep_mask(self.name, x.shape, self.ratio)
        scale = scaled_mask(ops, kept, self.ratio, x)
        return Forward(x * scale, saved={"scale": scale})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = scale * x``: scale * dy, with the same mask."""
        return Backward((dy * saved["scale"] if "scale" in saved else dy,))

    def settings(self) -> str:
        """Return the ratio."""
        return f"ratio {self.ratio:g}" + (", exact count" if self.exact else "")


@dataclass(frozen=True)
class ChannelDropout(Layer):
    """Dropout of whole maps: every channel of every example is dropped or kept as one.

    Neighbouring positions of a map say nearly the same, so dropping single positions hides little; dropping the map
    does. y(c, i) = mask(c)·x(c, i) / (1 - ratio) while training, else x.

    Args:
        ratio: probability of dropping a channel, 0 ≤ ratio < 1.

    >>> ChannelDropout(0.2).output_shape((8, 4, 4))
    (8, 4, 4)

    Source: Tompson et al. (2015), 'SpatialDropout'; PyTorch's Dropout1d, 2d and 3d.
    """

    ratio: float = 0.5
    kind: ClassVar[str] = "channel_dropout"

    def __post_init__(self) -> None:
        """Check the ratio."""
        super().__post_init__()
        check_ratio(self, self.ratio)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the input's shape."""
        return only_input(self, input_shapes)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return mask·x / (1 - ratio) while training, else x."""
        (x,) = inputs
        if not context.training or self.ratio == 0:
            return Forward(x)
        maps = (*x.shape[:2], *(1,) * (x.ndim - 2))
        scale = scaled_mask(ops, context.key.keep_mask(self.name, maps, self.ratio), self.ratio, x)
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
class GaussianNoise(Layer):
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

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the input's shape."""
        return only_input(self, input_shapes)

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


@dataclass(frozen=True)
class DropConnect(Layer):
    """A dense layer that loses connections, not units, while training: y = f((M ∘ W)x / (1 - ratio) + b).

    M has the shape of W, 1 with probability 1 - ratio and else 0, and is drawn anew for every mini-batch. With M random
    each u(k) = Σ_i M(k,i) W(k,i) x(i) / (1 - ratio) + b(k) has

        mean      μ(k) = Σ_i W(k,i) x(i) + b(k)
        variance  σ²(k) = ratio / (1 - ratio) · Σ_i W(k,i)² x(i)² .

    At prediction the rule is y = f(μ), or, with ``samples`` above 0, the mean of f(μ + σ·z) over that many standard
    normal z: the sum of many independent terms is nearly normal, and f of the mean is not the mean of f.

    Args:
        units: number of outputs.
        ratio: probability of dropping a connection, 0 ≤ ratio < 1.
        activation: f, part of the layer because the inference rule averages behind it.
        samples: Z, normal draws at prediction; 0 takes f of the mean.
        bias: whether to add b(k); it is never dropped.
        weight_initializer: initial value of the weight (units, features); He by default.
        bias_initializer: initial value of the bias (units,); zeros by default.

    >>> DropConnect(100, 0.5).output_shape((3136,))
    (100,)

    Source: History, 'Dropconnect' (M of the shape of W, drawn for each mini-batch, half of the connections, the average
    at prediction); Wan, Zeiler, Zhang, LeCun, Fergus (2013). Changed: they draw a mask for every example, which needs
    the weights once for each.
    """

    units: int
    ratio: float = 0.5
    activation: Activation = field(default_factory=Identity)
    samples: int = 0
    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "drop_connect"

    def __post_init__(self) -> None:
        """Check the ratio and the number of samples."""
        super().__post_init__()
        check_ratio(self, self.ratio)
        require_number(self, "samples", at_least=0)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (units,)."""
        shape = only_input(self, input_shapes)
        if len(shape) != 1:
            raise ShapeError(
                f"{self.label}: expected a flat input (features,), got {shape}; put a Flatten before it"
            )
        check_positive((self.units,), "units", self.label)
        return (self.units,)

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (units, features) and bias (units,)."""
        (features,) = only_input(self, input_shapes)
        specs = {
            "weight": ParameterSpec((self.units, features), self.weight_initializer, features, self.units)
        }
        if self.bias:
            specs["bias"] = ParameterSpec((self.units,), self.bias_initializer, features, self.units)
        return specs

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return f of the sums over the connections that are kept, or by the inference rule."""
        (x,) = inputs
        weight = parameters["weight"]
        if context.training and self.ratio > 0:
            kept = context.key.keep_mask(self.name, weight.shape, self.ratio)
            scale = scaled_mask(ops, kept, self.ratio, x)
            return self.activate(ops, self.sums(ops, x, weight * scale, parameters), {"x": x, "scale": scale})
        mean = self.sums(ops, x, weight, parameters)
        if self.samples == 0 or self.ratio == 0:
            return self.activate(ops, mean, {"x": x})
        variance = self.ratio / (1 - self.ratio) * ops.matmul(x * x, (weight * weight).T)
        deviation = ops.xp.sqrt(variance)
        # One z for all examples: a prediction must not depend on which others share its batch.
        shape = (self.samples, 1, self.units)
        noise = normal_like(ops, context.key, self.name, ops.xp.zeros(shape, dtype=x.dtype))
        forward = self.activate(
            ops, mean + deviation * noise, {"x": x, "deviation": deviation, "noise": noise}
        )
        return Forward(ops.xp.mean(forward.output, axis=0), saved=forward.saved)

    def sums(self, ops: Backend, x: Array, weight: Array, parameters: LayerParameters) -> Array:
        """Return u = x Wᵀ + b."""
        u = ops.matmul(x, weight.T)
        return u + parameters["bias"] if self.bias else u

    def activate(self, ops: Backend, u: Array, saved: dict[str, Array]) -> Forward:
        """Return f(u), and keep both."""
        y = self.activation.function(ops, u)
        return Forward(y, saved={**saved, "u": u, "y": y})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``u = x @ (scale * weight).T + bias``, ``y = f(u)``.

        du = f′(u)·dy, dx = du (scale ∘ W), dweight = scale ∘ (duᵀ x), dbias = Σ_n du. Behind the average over samples
        u_z = μ + σ z each gets dy / Z, so that dμ = Σ_z du_z and dσ = Σ_z z·du_z; and from σ² = c Σ W² x² follow
        dσ² = dσ / 2σ, dx += 2c·x (dσ² W²), dweight += 2c·W (dσ²ᵀ x²).
        """
        x, weight = saved["x"], parameters["weight"]
        slope = self.activation.derivative(ops, saved["u"], saved["y"])
        scale = saved.get("scale", 1.0)
        du = ops.xp.sum(slope * dy, axis=0) / self.samples if "noise" in saved else slope * dy
        dx = ops.matmul(du, weight * scale)
        dweight = ops.matmul(du.T, x) * scale
        if "noise" in saved:
            deviation = saved["deviation"]
            ddeviation = ops.xp.sum(slope * dy * saved["noise"], axis=0) / self.samples
            # Where nothing varies, σ has no derivative; we take 0.
            safe = ops.xp.where(deviation > 0, deviation, ops.xp.ones_like(deviation))
            dvariance = ops.xp.where(deviation > 0, ddeviation / (2 * safe), ops.xp.zeros_like(deviation))
            factor = 2 * self.ratio / (1 - self.ratio)
            dx = dx + factor * x * ops.matmul(dvariance, weight * weight)
            dweight = dweight + factor * weight * ops.matmul(dvariance.T, x * x)
        gradients = {"weight": dweight}
        if self.bias:
            gradients["bias"] = ops.xp.sum(du, axis=0)
        return Backward((dx,), gradients)

    def sees_everything(self) -> bool:
        """Every output sees every input."""
        return True

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return units · features."""
        (features,) = only_input(self, input_shapes)
        return self.units * features

    def settings(self) -> str:
        """Return units, ratio, activation and inference rule."""
        parts = [f"{self.units} units", f"ratio {self.ratio:g}"]
        if not isinstance(self.activation, Identity):
            parts.append(type(self.activation).__name__)
        if self.samples:
            parts.append(f"{self.samples} samples")
        return ", ".join(parts)


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
