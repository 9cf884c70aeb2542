"""Convolutions in two cheaper steps: over space within every channel, then over the channels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.geometry import Geometry, Shape, check_positive
from tatami.initializers import He, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, LayerParameters, only_input
from tatami.layers.convolution import SlidingFilters, window_text
from tatami.layers.weights import bias_gradient, bias_spec, with_bias


@dataclass(frozen=True)
class SeparableConvolution(SlidingFilters):
    """A convolution in two steps: first every channel by itself over space, then all channels at every position.

    v(c·m + j, i) = Σ_μ D(c·m + j, μ) x(c, s·i + d·μ - p)          depthwise, m filters for each channel
    u(k, i) = Σ_c P(k, c) v(c, i) + b(k)                           pointwise, a 1×1 convolution

    C·m·taps + C·m·K weights instead of C·K·taps.

    Args:
        filters: K, number of output channels.
        kernel, stride, padding, dilation: the window of the first step, as for `Convolution`.
        multiplier: m, depthwise filters for each channel.
        bias: whether to add b(k).
        weight_initializer: initial value of 'depthwise_weight' (C·m, 1, *kernel) and 'pointwise_weight' (K, C·m, 1, …).
        bias_initializer: initial value of the bias (K,); zeros by default.

    >>> SeparableConvolution(64, 3, padding="same").output_shape((32, 14, 14))
    (64, 14, 14)

    Source: Sifre (2014); Chollet (2017). Nothing stands between the two steps, as in Keras.
    """

    multiplier: int = 1
    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "separable_conv"

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry of the depthwise step."""
        channels = only_input(self, input_shapes)[0]
        check_positive((self.multiplier,), "multiplier", self.label)
        return self.geometry(input_shapes, channels * self.multiplier, groups=channels)

    def pointwise(self, depthwise: Geometry) -> Geometry:
        """Return the geometry of the pointwise step."""
        return Geometry.of(depthwise.output_shape, 1, filters=self.filters, layer=self.label)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (K, *output_size)."""
        return self.pointwise(self.window(*input_shapes)).output_shape

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return depthwise_weight (C·m, 1, *kernel), pointwise_weight (K, C·m, 1, …) and bias (K,)."""
        depthwise = self.window(*input_shapes)
        pointwise = self.pointwise(depthwise)
        taps, channels = prod(depthwise.kernel), pointwise.channels
        specs = {
            "depthwise_weight": ParameterSpec(
                depthwise.weight_shape, self.weight_initializer, taps, taps * self.multiplier
            ),
            "pointwise_weight": ParameterSpec(
                pointwise.weight_shape, self.weight_initializer, channels, self.filters
            ),
        }
        return specs | bias_spec(self, (self.filters,), channels, self.filters)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return u = P ⋆ (D ⋆ x) + b."""
        (x,) = inputs
        depthwise = self.window(x.shape[1:])
        v = ops.correlate(x, parameters["depthwise_weight"], depthwise)
        u = ops.correlate(v, parameters["pointwise_weight"], self.pointwise(depthwise))
        return Forward(with_bias(ops, u, parameters), saved={"x": x, "v": v})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``v = correlate(x, depthwise)``, ``u = correlate(v, pointwise) + bias``, u first."""
        x, v = saved["x"], saved["v"]
        depthwise = self.window(x.shape[1:])
        pointwise = self.pointwise(depthwise)
        dv = ops.correlate_input_gradient(dy, parameters["pointwise_weight"], pointwise)
        gradients = {
            "depthwise_weight": ops.correlate_weight_gradient(x, dv, depthwise),
            "pointwise_weight": ops.correlate_weight_gradient(v, dy, pointwise),
        }
        gradients |= bias_gradient(ops, dy, parameters)
        dx = ops.correlate_input_gradient(dv, parameters["depthwise_weight"], depthwise)
        return Backward((dx,), gradients)

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return those of both steps."""
        depthwise = self.window(*input_shapes)
        return depthwise.multiply_adds + self.pointwise(depthwise).multiply_adds

    def settings(self) -> str:
        """Return the settings that differ from the defaults."""
        multiplier = "" if self.multiplier == 1 else f", multiplier {self.multiplier}"
        return f"{self.filters} filters " + window_text(self, self.kernel) + multiplier
