"""The convolutional layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.description import plain
from tatami.geometry import Geometry, Padding, PerAxis, Shape, by_axis
from tatami.initializers import He, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input


@dataclass(frozen=True)
class Convolution(Layer):
    """Slide K learned filters over the input and add a bias to each map.

    u(k, i, j) = Σ_c Σ_μ Σ_ν F(k, c, μ, ν) x(c, s·i + d·μ - p, s·j + d·ν - p) + b(k), indices from 0, with stride s,
    dilation d and p zeros of padding in front. One, two or three spatial axes, told by the input.

    Args:
        filters: K, number of output channels.
        kernel: taps of the window, one number or one for each axis.
        stride: step of the window.
        padding: 'valid' (none), 'same', a number, one for each axis, or (before, after) pairs.
        dilation: distance between taps.
        groups: the channels and filters are split into this many groups that do not see each other.
        bias: whether to add b(k).
        weight_initializer: initial value of the weight (K, C / groups, *kernel); He by default.
        bias_initializer: initial value of the bias (K,); zeros by default.

    Raises:
        SettingError, ShapeError: when the network is built, naming this layer.

    >>> Convolution(32, 3, padding="same").output_shape((1, 28, 28))
    (32, 28, 28)

    Source: Arai §3.2 and §3.3; the sum is a cross-correlation, as in every framework.
    """

    filters: int
    kernel: PerAxis
    stride: PerAxis = 1
    padding: Padding = "valid"
    dilation: PerAxis = 1
    groups: int = 1
    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "conv"

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry for an input of that shape."""
        return Geometry.of(
            only_input(self, input_shapes),
            self.kernel,
            filters=self.filters,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            layer=self.label,
        )

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (K, *output_size)."""
        return self.window(*input_shapes).output_shape

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (K, C / groups, *kernel) and bias (K,)."""
        geometry = self.window(*input_shapes)
        taps = prod(geometry.kernel)
        fan_in = geometry.channels // geometry.groups * taps
        fan_out = geometry.filters // geometry.groups * taps
        specs = {"weight": ParameterSpec(geometry.weight_shape, self.weight_initializer, fan_in, fan_out)}
        if self.bias:
            specs["bias"] = ParameterSpec((self.filters,), self.bias_initializer, fan_in, fan_out)
        return specs

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return u = F ⋆ x + b."""
        (x,) = inputs
        geometry = self.window(x.shape[1:])
        u = ops.correlate(x, parameters["weight"], geometry)
        if self.bias:
            u = u + along_channels(ops, parameters["bias"], u)
        return Forward(u, saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``u = correlate(x, weight) + bias``.

        bias: it is added at every position, so its gradient sums dy over examples and positions.
        weight: dF(k, c, μ) = Σ_n Σ_i dy(k, i)·x(c, s·i + d·μ - p).
        x: every u hands its gradient back to the inputs it saw; a full correlation with the kernel turned by 180°.
        """
        x = saved["x"]
        geometry = self.window(x.shape[1:])
        gradients = {"weight": ops.correlate_weight_gradient(x, dy, geometry)}
        if self.bias:
            gradients["bias"] = ops.xp.sum(dy, axis=(0, *range(2, dy.ndim)))
        return Backward((ops.correlate_input_gradient(dy, parameters["weight"], geometry),), gradients)

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return K·OH·OW·C/groups·FH·FW."""
        return self.window(*input_shapes).multiply_adds

    def settings(self) -> str:
        """Return the settings that differ from the defaults."""
        kernel = self.kernel if isinstance(self.kernel, int) else by_axis(tuple(self.kernel))
        parts = [f"{self.filters} filters {kernel}"]
        defaults = {"stride": 1, "padding": "valid", "dilation": 1, "groups": 1, "bias": True}
        parts += [
            f"{name} {plain(getattr(self, name))}"
            for name, default in defaults.items()
            if getattr(self, name) != default
        ]
        return ", ".join(parts)


def along_channels(ops: Backend, values: Array, like: Array) -> Array:
    """Shape (C,) values so that they broadcast over (N, C, *spatial)."""
    return ops.xp.reshape(values, (1, -1, *(1,) * (like.ndim - 2)))
