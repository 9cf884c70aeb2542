"""The transposed convolution, which the lectures call deconvolution: from a small map to a large one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError, ShapeError
from tatami.geometry import (
    Geometry,
    Padding,
    PerAxis,
    Shape,
    check_positive,
    per_axis,
    resolve_padding,
)
from tatami.initializers import He, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.layers.convolution import window_text
from tatami.layers.weights import bias_gradient, weight_and_bias, with_bias


@dataclass(frozen=True)
class TransposedConvolution(Layer):
    """Every input stamps the kernel, times its value, into the output; where stamps overlap they add up.

    y(k, s·i + d·μ - p) += Σ_c F(c, k, μ) x(c, i), then + b(k). It is the input gradient of the `Convolution` with
    the same kernel, stride s, padding p and dilation d, and so turns that layer's output size back into its input size:

        (n - 1)·s - (p before + p after) + (taps - 1)·d + 1 + output_padding .

    A strided convolution maps several input sizes to one; ``output_padding`` chooses among them.

    Args:
        filters: K, number of output channels.
        kernel, stride, dilation: of the convolution that is turned around, one number or one for each axis.
        padding: likewise: what is cut from the output's edges. 'same' with output_padding = stride - 1 makes the output
            ``stride`` times as large as the input.
        output_padding: rows added at the end of the output, from 0 to stride - 1, one number or one for each axis.
        groups: the channels and filters are split into this many groups that do not see each other.
        bias: whether to add b(k).
        weight_initializer: initial value of the weight (C, K / groups, *kernel); He by default.
        bias_initializer: initial value of the bias (K,); zeros by default.

    >>> TransposedConvolution(8, 2, stride=2).output_shape((16, 7, 7))
    (8, 14, 14)

    Source: Qiita, 'Deconvolution' (§5 (2) ii, remark); Zeiler et al. (2010). It does not invert a convolution.
    """

    filters: int
    kernel: PerAxis
    stride: PerAxis = 1
    padding: Padding = "valid"
    output_padding: PerAxis = 0
    dilation: PerAxis = 1
    groups: int = 1
    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "transposed_conv"

    def mirrored(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry of the convolution whose input gradient this layer computes: output → input."""
        shape = only_input(self, input_shapes)
        rank = len(shape) - 1
        if rank not in (1, 2, 3):
            raise ShapeError(
                f"{self.label}: expected an input of shape (C, W), (C, H, W) or (C, D, H, W), got {shape}"
            )
        taps = per_axis(self.kernel, rank, "kernel", self.label)
        strides = per_axis(self.stride, rank, "stride", self.label)
        gaps = per_axis(self.dilation, rank, "dilation", self.label)
        extra = per_axis(self.output_padding, rank, "output_padding", self.label)
        for values, argument in ((taps, "kernel"), (strides, "stride"), (gaps, "dilation")):
            check_positive(values, argument, self.label)
        if any(not 0 <= rows < step for rows, step in zip(extra, strides, strict=True)):
            raise SettingError(
                f"{self.label}: output_padding must be from 0 to stride - 1, got {list(extra)} for stride "
                f"{list(strides)}"
            )
        padding = resolve_padding(self.padding, taps, gaps, self.label)
        size = tuple(
            (n - 1) * step - before - after + (count - 1) * gap + 1 + rows
            for n, step, (before, after), count, gap, rows in zip(
                shape[1:], strides, padding, taps, gaps, extra, strict=True
            )
        )
        if any(n < 1 for n in size):
            raise ShapeError(
                f"{self.label}: the output for an input of {shape} would have size {size}; use less padding"
            )
        return Geometry.of(
            (self.filters, *size),
            taps,
            filters=shape[0],
            stride=strides,
            padding=padding,
            dilation=gaps,
            groups=self.groups,
            layer=self.label,
        )

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (K, *output_size)."""
        return self.mirrored(*input_shapes).input_shape

    def enlargement(self, *input_shapes: Shape) -> tuple[tuple[int, int, int], ...]:
        """Output j was stamped by the inputs i with 0 ≤ j + p - s·i ≤ (taps - 1)·d."""
        geometry = self.mirrored(*input_shapes)
        return tuple(
            (step, before - reach + 1, before)
            for step, (before, _), reach in zip(
                geometry.stride, geometry.padding, geometry.effective_kernel, strict=True
            )
        )

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (C, K / groups, *kernel) and bias (K,)."""
        geometry = self.mirrored(*input_shapes)
        taps = prod(geometry.kernel)
        # An output sums over about taps / stride of the stamps of every channel.
        stamps = max(1, taps // prod(geometry.stride))
        fan_in = geometry.filters // geometry.groups * stamps
        fan_out = geometry.channels // geometry.groups * taps
        return weight_and_bias(self, geometry.weight_shape, (self.filters,), fan_in, fan_out)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the stamps' sum + b: the input gradient of the mirrored convolution, with x in dy's place."""
        (x,) = inputs
        y = ops.correlate_input_gradient(x, parameters["weight"], self.mirrored(x.shape[1:]))
        return Forward(with_bias(ops, y, parameters), saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``y = correlate_input_gradient(x, weight) + bias``.

        The transpose of a transpose is the map itself: dx is the convolution of dy. weight: F(c, k, μ) met x(c, i)
        at the output s·i + d·μ - p, so its gradient is that of a convolution with input dy and upstream gradient x.
        """
        x = saved["x"]
        geometry = self.mirrored(x.shape[1:])
        gradients = {"weight": ops.correlate_weight_gradient(dy, x, geometry)}
        gradients |= bias_gradient(ops, dy, parameters)
        return Backward((ops.correlate(dy, parameters["weight"], geometry),), gradients)

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return C·H·W·K/groups·FH·FW: every input stamps once."""
        return self.mirrored(*input_shapes).multiply_adds

    def settings(self) -> str:
        """Return the settings that differ from the defaults."""
        return f"{self.filters} filters {window_text(self, self.kernel)}"
