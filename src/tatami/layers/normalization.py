"""Normalisation: shift and scale values to mean 0 and variance 1, over one or another set of them.

All forms compute x̂ = (x - μ) / √(σ² + ε) with the mean μ and the biased variance σ² = 1/m Σ (x - μ)² of a set of m
values, and then y = γ·x̂ + β with a learned scale γ and bias β. They differ in the set (Qiita §6 (1) ii):

    batch      one channel, all examples of the batch
    layer      one example, all channels
    instance   one example, one channel
    group      one example, some channels
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, Protocol

import numpy as np

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Shape
from tatami.initializers import Constant, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, LayerParameters, SameShape, only_input
from tatami.layers.checks import require_number

Axes = tuple[int, ...]


@dataclass(frozen=True)
class BatchNormalization(SameShape):
    """Normalise every channel over the examples (and positions) of the batch: y = γ(c)·x̂ + β(c).

    While training, μ and σ² are those of the batch, and running values follow them:

        running ← (1 - momentum)·running + momentum·batch ,

    with the unbiased variance m/(m - 1)·σ² for the running one. At prediction the running values take their place, so
    that an example's output does not depend on its company.

    Args:
        momentum: how far the running values move towards the batch's.
        epsilon: ε, keeps the root away from 0.
        affine: whether γ and β are learned; without them y = x̂.
        shift: whether there is a β beside γ.
        scale_initializer: initial value of γ, the parameter 'scale' (C,); ones by default.
        bias_initializer: initial value of β, the parameter 'bias' (C,); zeros by default.

    State: 'running_mean' and 'running_variance', both (C,).

    Raises:
        ShapeError: while training on a single value for each channel, which has no variance.

    >>> BatchNormalization().output_shape((64, 7, 7))
    (64, 7, 7)

    Source: Qiita §6 (1) ii; Ioffe and Szegedy (2015). Conventions as in PyTorch (momentum = 1 - Keras's).
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    affine: bool = True
    scale_initializer: Initializer = field(default_factory=lambda: Constant(1.0))
    bias_initializer: Initializer = field(default_factory=Zeros)
    shift: bool = field(default=True, kw_only=True)
    kind: ClassVar[str] = "batch_norm"

    def __post_init__(self) -> None:
        """Check momentum and ε."""
        super().__post_init__()
        if not 0 <= self.momentum <= 1:
            raise SettingError(f"{self.label}: momentum must be from 0 to 1, got {self.momentum!r}")
        require_number(self, "epsilon", above=0)

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return scale (C,) and bias (C,)."""
        return affine_specs(self, only_input(self, input_shapes)[:1])

    def initial_state(self, *input_shapes: Shape) -> dict[str, Any]:
        """Return mean 0 and variance 1."""
        shape = only_input(self, input_shapes)[:1]
        return {"running_mean": np.zeros(shape), "running_variance": np.ones(shape)}

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return γ·x̂ + β with the batch's mean and variance while training, else with the running ones."""
        (x,) = inputs
        per_channel = (1, -1, *(1,) * (x.ndim - 2))
        if not context.training:
            mean = ops.xp.reshape(context.state["running_mean"], per_channel)
            variance = ops.xp.reshape(context.state["running_variance"], per_channel)
            inverse = 1 / ops.xp.sqrt(variance + self.epsilon)
            x_hat = (x - mean) * inverse
            y = scaled(ops, x_hat, parameters, per_channel)
            return Forward(y, saved={"x_hat": x_hat, "fixed_inverse": inverse}, state=context.state)
        count = x.shape[0] * prod(x.shape[2:])
        if count < 2:
            raise ShapeError(
                f"{self.label}: needs at least two values of every channel while training, got a batch of shape "
                f"{x.shape}; use batches of two or more examples"
            )
        axes = (0, *range(2, x.ndim))
        x_hat, inverse, mean, variance = standardise(ops, x, axes, self.epsilon)
        y = scaled(ops, x_hat, parameters, per_channel)
        state = {
            "running_mean": self.follow(context.state["running_mean"], ops.xp.reshape(mean, (-1,))),
            "running_variance": self.follow(
                context.state["running_variance"], ops.xp.reshape(variance, (-1,)) * (count / (count - 1))
            ),
        }
        return Forward(y, saved={"x_hat": x_hat, "inverse": inverse}, state=state)

    def follow(self, running: Array, batch: Array) -> Array:
        """Return (1 - momentum)·running + momentum·batch."""
        return (1 - self.momentum) * running + self.momentum * batch

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``y = scale * x_hat + bias``.

        scale: Σ dy·x̂, bias: Σ dy, over examples and positions. x: see `standardise_gradient`; with the fixed running
        values x̂ is just a line through x, so dx = γ·dy / √(σ² + ε).
        """
        x_hat = saved["x_hat"]
        axes = (0, *range(2, dy.ndim))
        per_channel = (1, -1, *(1,) * (dy.ndim - 2))
        dx_hat, gradients = scaled_gradient(ops, dy, x_hat, parameters, per_channel, axes)
        if "fixed_inverse" in saved:
            return Backward((dx_hat * saved["fixed_inverse"],), gradients)
        return Backward((standardise_gradient(ops, dx_hat, x_hat, saved["inverse"], axes),), gradients)

    def settings(self) -> str:
        """Return the settings that differ from the defaults."""
        parts = [] if self.momentum == 0.1 else [f"momentum {self.momentum:g}"]
        return ", ".join(filter(None, [*parts, affine_text(self)]))


class Affine(Protocol):
    """The settings of γ and β: whether there are any, and what they start from."""

    @property
    def affine(self) -> bool:
        """Whether γ and β are learned."""
        ...

    @property
    def shift(self) -> bool:
        """Whether there is a β beside γ."""
        ...

    @property
    def scale_initializer(self) -> Initializer:
        """Initial value of γ."""
        ...

    @property
    def bias_initializer(self) -> Initializer:
        """Initial value of β."""
        ...


def affine_specs(layer: Affine, shape: Shape) -> dict[str, ParameterSpec]:
    """Return the specs of γ and β, those that there are."""
    if not layer.affine:
        return {}
    scale = {"scale": ParameterSpec(shape, layer.scale_initializer)}
    return scale | ({"bias": ParameterSpec(shape, layer.bias_initializer)} if layer.shift else {})


def affine_text(layer: Affine) -> str:
    """Say what of γ and β is missing."""
    if not layer.affine:
        return "no scale and bias"
    return "" if layer.shift else "no bias"


def standardise(ops: Backend, x: Array, axes: Axes, epsilon: float) -> tuple[Array, Array, Array, Array]:
    """Return x̂ = (x - μ) / √(σ² + ε), 1 / √(σ² + ε), μ and σ², the moments over some axes, which are kept as 1.

    >>> from tatami.backends import ReferenceBackend
    >>> standardise(ReferenceBackend(), np.array([[1.0, 3.0]]), (1,), 1e-12)[0]
    array([[-1.,  1.]])
    """
    mean = ops.xp.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    variance = ops.xp.mean(centred * centred, axis=axes, keepdims=True)
    inverse = 1 / ops.xp.sqrt(variance + epsilon)
    return centred * inverse, inverse, mean, variance


def standardise_gradient(ops: Backend, dx_hat: Array, x_hat: Array, inverse: Array, axes: Axes) -> Array:
    """Return dx of ``x_hat = (x - mean) * inverse``, where mean and inverse depend on x themselves.

    x enters three times: directly, through μ = 1/m Σ x, and through σ² = 1/m Σ (x - μ)². Added up,
    dx = (dx̂ - mean(dx̂) - x̂·mean(dx̂·x̂)) / √(σ² + ε): what would only shift or stretch the whole set is taken out.
    """
    shift = ops.xp.mean(dx_hat, axis=axes, keepdims=True)
    stretch = ops.xp.mean(dx_hat * x_hat, axis=axes, keepdims=True)
    return (dx_hat - shift - x_hat * stretch) * inverse


def scaled(ops: Backend, x_hat: Array, parameters: LayerParameters, view: Shape) -> Array:
    """Return γ·x̂ + β, without what there is not."""
    if "scale" in parameters:
        x_hat = x_hat * ops.xp.reshape(parameters["scale"], view)
    return x_hat + ops.xp.reshape(parameters["bias"], view) if "bias" in parameters else x_hat


def scaled_gradient(
    ops: Backend, dy: Array, x_hat: Array, parameters: LayerParameters, view: Shape, axes: Axes
) -> tuple[Array, dict[str, Array]]:
    """Return dx̂ and the gradients of ``y = scale * x_hat + bias``; scale and bias were repeated along the axes."""
    if not parameters:
        return dy, {}
    gradients = {"scale": ops.xp.sum(dy * x_hat, axis=axes)}
    if "bias" in parameters:
        gradients["bias"] = ops.xp.sum(dy, axis=axes)
    return dy * ops.xp.reshape(parameters["scale"], view), gradients
