"""Normalisation: shift and scale values to mean 0 and variance 1, over one or another set of them.

All forms compute x̂ = (x - μ) / √(σ² + ε) with the mean μ and the biased variance σ² = 1/m Σ (x - μ)² of a set of m
values, and then y = γ·x̂ + β with a learned scale γ and bias β. They differ in the set (Qiita §6 (1) ii):

    batch      one channel, all examples of the batch
    layer      one example, all channels
    instance   one example, one channel
    group      one example, some channels
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Shape, check_positive
from tatami.initializers import Constant, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.layers.checks import require_number, require_spatial

Axes = tuple[int, ...]


@dataclass(frozen=True)
class BatchNormalization(Layer):
    """Normalise every channel over the examples (and positions) of the batch: y = γ(c)·x̂ + β(c).

    While training, μ and σ² are those of the batch, and running values follow them:

        running ← (1 - momentum)·running + momentum·batch ,

    with the unbiased variance m/(m - 1)·σ² for the running one. At prediction the running values take their place, so
    that an example's output does not depend on its company.

    Args:
        momentum: how far the running values move towards the batch's.
        epsilon: ε, keeps the root away from 0.
        affine: whether γ and β are learned; without them y = x̂.
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
    kind: ClassVar[str] = "batch_norm"

    def __post_init__(self) -> None:
        """Check momentum and ε."""
        super().__post_init__()
        if not 0 <= self.momentum <= 1:
            raise SettingError(f"{self.label}: momentum must be from 0 to 1, got {self.momentum!r}")
        require_number(self, "epsilon", above=0)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the input's shape."""
        return only_input(self, input_shapes)

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return scale (C,) and bias (C,)."""
        shape = only_input(self, input_shapes)[:1]
        return affine_specs(shape, self.scale_initializer, self.bias_initializer) if self.affine else {}

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
        return ", ".join(parts + ([] if self.affine else ["no scale and bias"]))


@dataclass(frozen=True, kw_only=True)
class ExampleNormalization(Layer, abstract=True):
    """Base of the normalisations within one example: they need no batch and no running values.

    A subclass says how the example is laid out as (N, sets, members), every set being normalised by itself.
    """

    epsilon: float = 1e-5
    affine: bool = True
    scale_initializer: Initializer = field(default_factory=lambda: Constant(1.0))
    bias_initializer: Initializer = field(default_factory=Zeros)

    def __post_init__(self) -> None:
        """Check ε."""
        super().__post_init__()
        require_number(self, "epsilon", above=0)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the input's shape."""
        shape = only_input(self, input_shapes)
        self.check(shape)
        return shape

    def check(self, shape: Shape) -> None:
        """Raise unless an input of this shape can be normalised."""

    @abstractmethod
    def sets(self, x: Array) -> tuple[Shape, Axes]:
        """Return the shape that x is looked at in, and the axes of it that one set spreads over."""

    @abstractmethod
    def affine_shape(self, shape: Shape) -> Shape:
        """Return the shape of scale and bias for an input of a shape."""

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return scale and bias."""
        shape = self.affine_shape(only_input(self, input_shapes))
        return affine_specs(shape, self.scale_initializer, self.bias_initializer) if self.affine else {}

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return γ·x̂ + β."""
        (x,) = inputs
        shape, axes = self.sets(x)
        x_hat, inverse, _, _ = standardise(ops, ops.xp.reshape(x, shape), axes, self.epsilon)
        x_hat = ops.xp.reshape(x_hat, x.shape)
        y = scaled(ops, x_hat, parameters, self.affine_view(x))
        return Forward(y, saved={"x_hat": x_hat, "inverse": inverse})

    def affine_view(self, x: Array) -> Shape:
        """Return the shape in which scale and bias broadcast over x."""
        shape = self.affine_shape(x.shape[1:])
        return (1, *shape, *(1,) * (x.ndim - 1 - len(shape)))

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``y = scale * x_hat + bias``: Σ dy·x̂, Σ dy, and `standardise_gradient` for x."""
        x_hat = saved["x_hat"]
        repeated = (0, *range(1 + len(self.affine_shape(dy.shape[1:])), dy.ndim))
        dx_hat, gradients = scaled_gradient(ops, dy, x_hat, parameters, self.affine_view(dy), repeated)
        shape, axes = self.sets(dy)
        dx = standardise_gradient(
            ops, ops.xp.reshape(dx_hat, shape), ops.xp.reshape(x_hat, shape), saved["inverse"], axes
        )
        return Backward((ops.xp.reshape(dx, dy.shape),), gradients)

    def settings(self) -> str:
        """Say if there is no scale and bias."""
        return "" if self.affine else "no scale and bias"


@dataclass(frozen=True)
class LayerNormalization(ExampleNormalization):
    """Normalise all values of one example together, or its channels at every position by themselves.

    Args:
        over: 'all' values of the example (default), or the 'channels' of each position, which suits sequences
            (features, time): every time step is normalised by itself.
        epsilon: ε, keeps the root away from 0.
        affine: whether scale and bias are learned; for 'all' one for each value (C, *spatial), for 'channels' (C,).
        scale_initializer, bias_initializer: initial values; ones and zeros by default.

    >>> LayerNormalization().parameter_specs((8, 4, 4))["scale"].shape
    (8, 4, 4)

    Source: Qiita §6 (1) ii, 'Layer'; Ba, Kiros, Hinton (2016). 'all' is PyTorch's LayerNorm over (C, *spatial).
    """

    over: Literal["all", "channels"] = "all"
    kind: ClassVar[str] = "layer_norm"

    def sets(self, x: Array) -> tuple[Shape, Axes]:
        """All axes of an example, or the channels."""
        return x.shape, (1,) if self.over == "channels" else tuple(range(1, x.ndim))

    def affine_shape(self, shape: Shape) -> Shape:
        """One for each value, or for each channel."""
        return shape[:1] if self.over == "channels" else shape

    def settings(self) -> str:
        """Return what is normalised together."""
        return ", ".join(filter(None, [f"over {self.over}", super().settings()]))


@dataclass(frozen=True)
class InstanceNormalization(ExampleNormalization):
    """Normalise every map of every example by itself.

    Args:
        epsilon: ε, keeps the root away from 0.
        affine: whether scale (C,) and bias (C,) are learned (PyTorch's default is not).
        scale_initializer, bias_initializer: initial values; ones and zeros by default.

    >>> InstanceNormalization().output_shape((8, 4, 4))
    (8, 4, 4)

    Source: Qiita §6 (1) ii, 'Instance'; Ulyanov, Vedaldi, Lempitsky (2016).
    """

    kind: ClassVar[str] = "instance_norm"

    def check(self, shape: Shape) -> None:
        """Raise unless a map has at least two values."""
        require_spatial(self, shape)
        if prod(shape[1:]) < 2:
            raise ShapeError(
                f"{self.label}: a map needs at least two positions to have a variance, got an input of {shape}"
            )

    def sets(self, x: Array) -> tuple[Shape, Axes]:
        """The spatial axes."""
        return x.shape, tuple(range(2, x.ndim))

    def affine_shape(self, shape: Shape) -> Shape:
        """One for each channel."""
        return shape[:1]


@dataclass(frozen=True)
class GroupNormalization(ExampleNormalization):
    """Normalise ``groups`` groups of neighbouring channels of one example, each together.

    Between instance normalisation (as many groups as channels) and layer normalisation (one group).

    Args:
        groups: number of groups; it must divide the channels.
        epsilon: ε, keeps the root away from 0.
        affine: whether scale (C,) and bias (C,) are learned.
        scale_initializer, bias_initializer: initial values; ones and zeros by default.

    >>> GroupNormalization(4).output_shape((8, 4, 4))
    (8, 4, 4)

    Source: Qiita §6 (1) ii, 'Group'; Wu and He (2018).
    """

    groups: int
    kind: ClassVar[str] = "group_norm"

    def check(self, shape: Shape) -> None:
        """Raise unless the groups divide the channels."""
        check_positive((self.groups,), "groups", self.label)
        if shape[0] % self.groups:
            raise ShapeError(
                f"{self.label}: {self.groups} groups do not divide the {shape[0]} channels of the input {shape}"
            )

    def sets(self, x: Array) -> tuple[Shape, Axes]:
        """The members of each group."""
        return (x.shape[0], self.groups, prod(x.shape[1:]) // self.groups), (2,)

    def affine_shape(self, shape: Shape) -> Shape:
        """One for each channel."""
        return shape[:1]

    def settings(self) -> str:
        """Return the number of groups."""
        return ", ".join(filter(None, [f"{self.groups} groups", super().settings()]))


@dataclass(frozen=True)
class LocalResponseNormalization(Layer):
    """Damp a unit by the activity of its neighbours in other channels: y(c) = x(c) / (k + α Σ_j x(j)²)^β.

    j runs over the ``size`` channels around c that exist: c - ⌊size/2⌋ … c + ⌊(size - 1)/2⌋. No parameters.

    Args:
        size: number of neighbouring channels.
        alpha, beta, k: α, β, k; the defaults are AlexNet's.

    >>> LocalResponseNormalization().output_shape((96, 55, 55))
    (96, 55, 55)

    Source: History, AlexNet; Krizhevsky, Sutskever, Hinton (2012), §3.3. PyTorch divides α by the size: its alpha is
    size times ours.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    kind: ClassVar[str] = "lrn"

    def __post_init__(self) -> None:
        """Check that the denominator is positive."""
        super().__post_init__()
        check_positive((self.size,), "size", self.label)
        require_number(self, "alpha", at_least=0)
        require_number(self, "k", above=0)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the input's shape."""
        return only_input(self, input_shapes)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return x·d^-β with d = k + α Σ x²."""
        (x,) = inputs
        before, after = self.size // 2, (self.size - 1) // 2
        d = self.k + self.alpha * channel_sums(ops, x * x, before, after)
        return Forward(x * d**-self.beta, saved={"x": x, "d": d})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = x * d ** -beta``.

        x(c) acts on its own numerator, and on d(j) of every channel j that counts c as a neighbour:
        dx(c) = dy(c)·d(c)^-β - 2αβ·x(c) Σ_j dy(j)·x(j)·d(j)^(-β-1). Seen from c those j lie mirrored around it.
        """
        x, d = saved["x"], saved["d"]
        power = d**-self.beta
        before, after = (self.size - 1) // 2, self.size // 2
        through_neighbours = channel_sums(ops, dy * x * power / d, before, after)
        return Backward((dy * power - 2 * self.alpha * self.beta * x * through_neighbours,))

    def settings(self) -> str:
        """Return the number of channels that are summed."""
        return f"size {self.size}, alpha {self.alpha:g}, beta {self.beta:g}, k {self.k:g}"


def affine_specs(shape: Shape, scale: Initializer, bias: Initializer) -> dict[str, ParameterSpec]:
    """Return the specs of γ and β."""
    return {"scale": ParameterSpec(shape, scale), "bias": ParameterSpec(shape, bias)}


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
    """Return γ·x̂ + β, or x̂ if there are none."""
    if not parameters:
        return x_hat
    return x_hat * ops.xp.reshape(parameters["scale"], view) + ops.xp.reshape(parameters["bias"], view)


def scaled_gradient(
    ops: Backend, dy: Array, x_hat: Array, parameters: LayerParameters, view: Shape, axes: Axes
) -> tuple[Array, dict[str, Array]]:
    """Return dx̂ and the gradients of ``y = scale * x_hat + bias``; scale and bias were repeated along the axes."""
    if not parameters:
        return dy, {}
    gradients = {"scale": ops.xp.sum(dy * x_hat, axis=axes), "bias": ops.xp.sum(dy, axis=axes)}
    return dy * ops.xp.reshape(parameters["scale"], view), gradients


def channel_sums(ops: Backend, values: Array, before: int, after: int) -> Array:
    """Return for every channel the sum over itself, ``before`` channels before it and ``after`` behind it."""
    channels = values.shape[1]
    zeros = ops.xp.zeros_like(values[:, :1])
    padded = ops.xp.concat([zeros] * before + [values] + [zeros] * after, axis=1)
    total = padded[:, :channels]
    for shift in range(1, before + after + 1):
        total = total + padded[:, shift : shift + channels]
    return total
