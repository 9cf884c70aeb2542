"""Normalisation within one example: of the whole layer, of a map, or of a group of maps."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar, Literal

from tatami.backends.base import Array, Backend
from tatami.errors import ShapeError
from tatami.geometry import Shape, check_positive
from tatami.initializers import Constant, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.layers.checks import require_number, require_spatial
from tatami.layers.normalization import (
    Axes,
    affine_specs,
    affine_text,
    scaled,
    scaled_gradient,
    standardise,
    standardise_gradient,
)


@dataclass(frozen=True, kw_only=True)
class ExampleNormalization(Layer, abstract=True):
    """Base of the normalisations within one example: they need no batch and no running values.

    A subclass says how the example is laid out as (N, sets, members), every set being normalised by itself.
    """

    epsilon: float = 1e-5
    affine: bool = True
    scale_initializer: Initializer = field(default_factory=lambda: Constant(1.0))
    bias_initializer: Initializer = field(default_factory=Zeros)
    shift: bool = True

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
        return affine_specs(self, self.affine_shape(only_input(self, input_shapes)))

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
        """Say what of scale and bias is missing."""
        return affine_text(self)


@dataclass(frozen=True)
class LayerNormalization(ExampleNormalization):
    """Normalise all values of one example together, or its channels at every position by themselves.

    Args:
        over: 'all' values of the example (default), or the 'channels' of each position, which suits sequences
            (features, time): every time step is normalised by itself.
        epsilon: ε, keeps the root away from 0.
        affine: whether scale and bias are learned; for 'all' one for each value (C, *spatial), for 'channels' (C,).
        scale_initializer, bias_initializer: initial values; ones and zeros by default.
        shift: whether there is a bias beside the scale.

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
        shift: whether there is a bias beside the scale.

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
        shift: whether there is a bias beside the scale.

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
