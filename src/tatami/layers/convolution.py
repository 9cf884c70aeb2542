"""The convolutional layer, and what all layers share that slide windows over their input."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.description import plain
from tatami.geometry import Geometry, Padding, PerAxis, Shape, by_axis
from tatami.initializers import He, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.layers.weights import bias_gradient, weight_and_bias, with_bias

WINDOW_SETTINGS = ("stride", "padding", "output_padding", "dilation", "groups", "bias")


@dataclass(frozen=True)
class Sliding(Layer, abstract=True):
    """Base of the layers that slide one window over their input and sum up products at every position."""

    @abstractmethod
    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry for an input of that shape."""

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (K, *output_size)."""
        return self.window(*input_shapes).output_shape

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return K·OH·OW·C/groups·FH·FW."""
        return self.window(*input_shapes).multiply_adds


@dataclass(frozen=True)
class SlidingFilters(Sliding, abstract=True):
    """Base of the layers that slide K filters.

    Args:
        filters: K, number of output channels.
        kernel: taps of the window, one number or one for each axis.
        stride: step of the window.
        padding: 'valid' (none), 'same', a number, one for each axis, or (before, after) pairs.
        dilation: distance between taps.
    """

    filters: int
    kernel: PerAxis
    stride: PerAxis = 1
    padding: Padding = "valid"
    dilation: PerAxis = 1

    def geometry(self, input_shapes: tuple[Shape, ...], filters: int, groups: int = 1) -> Geometry:
        """Return the geometry of this window with so many filters in so many groups."""
        return Geometry.of(
            only_input(self, input_shapes),
            self.kernel,
            filters=filters,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=groups,
            layer=self.label,
        )


@dataclass(frozen=True)
class Convolution(SlidingFilters):
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

    groups: int = 1
    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "conv"

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry for an input of that shape."""
        return self.geometry(input_shapes, self.filters, self.groups)

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (K, C / groups, *kernel) and bias (K,)."""
        geometry = self.window(*input_shapes)
        taps = prod(geometry.kernel)
        fan_in = geometry.channels // geometry.groups * taps
        fan_out = geometry.filters // geometry.groups * taps
        return weight_and_bias(self, geometry.weight_shape, (self.filters,), fan_in, fan_out)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return u = F ⋆ x + b."""
        (x,) = inputs
        geometry = self.window(x.shape[1:])
        u = with_bias(ops, ops.correlate(x, parameters["weight"], geometry), parameters)
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
        gradients |= bias_gradient(ops, dy, parameters)
        return Backward((ops.correlate_input_gradient(dy, parameters["weight"], geometry),), gradients)

    def settings(self) -> str:
        """Return the settings that differ from the defaults."""
        return f"{self.filters} filters {window_text(self, self.kernel)}"


def window_text(layer: Layer, kernel: PerAxis) -> str:
    """Print the kernel, and what else is said of the window where it differs from the layer's defaults."""
    parts = [str(kernel) if isinstance(kernel, int) else by_axis(tuple(kernel))]
    defaults = {entry.name: entry.default for entry in dataclasses.fields(layer)}
    parts += [
        f"{name} {plain(getattr(layer, name))}"
        for name in WINDOW_SETTINGS
        if name in defaults and getattr(layer, name) != defaults[name]
    ]
    return ", ".join(parts)
