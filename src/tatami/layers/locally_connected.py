"""Convolutions without shared weights: every position has filters of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.geometry import Geometry, Shape
from tatami.initializers import He, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, LayerParameters
from tatami.layers.convolution import SlidingFilters, window_text
from tatami.layers.weights import weight_and_bias
from tatami.layers.windows import add_tap_views, tap_views


@dataclass(frozen=True)
class LocallyConnected(SlidingFilters):
    """A convolution whose weights are not shared: another filter for every position.

    u(k, i) = Σ_c Σ_μ F(k, c, μ, i) x(c, s·i + d·μ - p) + b(k, i). For images that are aligned beforehand, where the
    same place always shows the same part of the object.

    Args:
        filters: K, number of output channels.
        kernel, stride, padding, dilation: the window, as for `Convolution`.
        bias: whether to add b(k, i), one for every output.
        weight_initializer: initial value of the weight (K, C, *kernel, *output_size); He by default.
        bias_initializer: initial value of the bias (K, *output_size); zeros by default.

    >>> LocallyConnected(16, 9).output_shape((16, 25, 25))
    (16, 17, 17)

    Source: History, DeepFace ('non-shared kernels'); Taigman, Yang, Ranzato, Wolf (2014).
    """

    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "local"

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry for an input of that shape."""
        return self.geometry(input_shapes, self.filters)

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (K, C, *kernel, *output_size) and bias (K, *output_size)."""
        geometry = self.window(*input_shapes)
        fan_in = geometry.channels * prod(geometry.kernel)
        fan_out = geometry.filters * prod(geometry.kernel)
        shape = (*geometry.weight_shape, *geometry.output_size)
        return weight_and_bias(self, shape, geometry.output_shape, fan_in, fan_out)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return u: for each position the windows of all examples times that position's filters."""
        (x,) = inputs
        geometry = self.window(x.shape[1:])
        windows = self.windows(ops, x, geometry)
        rows = ops.matmul(windows, self.filters_by_position(ops, parameters["weight"], geometry))
        u = ops.xp.reshape(ops.xp.permute_dims(rows, (1, 2, 0)), (x.shape[0], *geometry.output_shape))
        if self.bias:
            u = u + parameters["bias"]
        return Forward(u, saved={"x": x})

    def windows(self, ops: Backend, x: Array, geometry: Geometry) -> Array:
        """Return every window as a row: (positions, N, C·taps)."""
        taps, positions = prod(geometry.kernel), prod(geometry.output_size)
        seen = ops.xp.reshape(tap_views(ops, x, geometry), (taps, *x.shape[:2], positions))
        rows = ops.xp.permute_dims(seen, (3, 1, 2, 0))
        return ops.xp.reshape(rows, (positions, x.shape[0], geometry.channels * taps))

    def filters_by_position(self, ops: Backend, weight: Array, geometry: Geometry) -> Array:
        """Return the weight as one matrix for each position: (positions, C·taps, K)."""
        columns = ops.xp.reshape(weight, (self.filters, -1, prod(geometry.output_size)))
        return ops.xp.permute_dims(columns, (2, 1, 0))

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``rows = windows @ filters`` at every position, and ``u = rows + bias``.

        dwindows = drows filtersᵀ, added up where windows overlap; dfilters = windowsᵀ drows, not summed over positions;
        dbias = Σ_n dy.
        """
        x, weight = saved["x"], parameters["weight"]
        geometry = self.window(x.shape[1:])
        taps, positions = prod(geometry.kernel), prod(geometry.output_size)
        drows = ops.xp.permute_dims(ops.xp.reshape(dy, (x.shape[0], self.filters, positions)), (2, 0, 1))
        filters = self.filters_by_position(ops, weight, geometry)
        dwindows = ops.matmul(drows, ops.xp.permute_dims(filters, (0, 2, 1)))
        dseen = ops.xp.reshape(dwindows, (positions, x.shape[0], geometry.channels, taps))
        dseen = ops.xp.reshape(
            ops.xp.permute_dims(dseen, (3, 1, 2, 0)), (taps, *x.shape[:2], *geometry.output_size)
        )
        dx = add_tap_views(ops, [dseen[tap] for tap in range(taps)], x, geometry)
        dfilters = ops.matmul(ops.xp.permute_dims(self.windows(ops, x, geometry), (0, 2, 1)), drows)
        gradients = {"weight": ops.xp.reshape(ops.xp.permute_dims(dfilters, (2, 1, 0)), weight.shape)}
        if self.bias:
            gradients["bias"] = ops.xp.sum(dy, axis=0)
        return Backward((dx,), gradients)

    def settings(self) -> str:
        """Return the settings that differ from the defaults."""
        return f"{self.filters} filters {window_text(self, self.kernel)}"
