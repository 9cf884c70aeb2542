"""Convolutions that are wired in another way: unshared weights, depthwise separable, by a table of connections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np

from tatami.backends.base import Array, Backend
from tatami.description import plain
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Geometry, Padding, PerAxis, Shape, by_axis, check_positive
from tatami.initializers import He, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.layers.convolution import along_channels
from tatami.layers.windows import add_tap_views, tap_views

# Which of the six maps of S2 each of the sixteen maps of C3 sees. LeCun et al. (1998), table I.
LENET_C3 = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)


@dataclass(frozen=True)
class LocallyConnected(Layer):
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

    filters: int
    kernel: PerAxis
    stride: PerAxis = 1
    padding: Padding = "valid"
    dilation: PerAxis = 1
    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "local"

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry for an input of that shape."""
        return Geometry.of(
            only_input(self, input_shapes),
            self.kernel,
            filters=self.filters,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            layer=self.label,
        )

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (K, *output_size)."""
        return self.window(*input_shapes).output_shape

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (K, C, *kernel, *output_size) and bias (K, *output_size)."""
        geometry = self.window(*input_shapes)
        fan_in = geometry.channels * prod(geometry.kernel)
        fan_out = geometry.filters * prod(geometry.kernel)
        shape = (*geometry.weight_shape, *geometry.output_size)
        specs = {"weight": ParameterSpec(shape, self.weight_initializer, fan_in, fan_out)}
        if self.bias:
            specs["bias"] = ParameterSpec(geometry.output_shape, self.bias_initializer, fan_in, fan_out)
        return specs

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

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return K·OH·OW·C·FH·FW, as for a convolution."""
        return self.window(*input_shapes).multiply_adds

    def settings(self) -> str:
        """Return the settings that differ from the defaults."""
        return f"{self.filters} filters " + window_text(self, self.kernel)


@dataclass(frozen=True)
class SeparableConvolution(Layer):
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

    filters: int
    kernel: PerAxis
    stride: PerAxis = 1
    padding: Padding = "valid"
    dilation: PerAxis = 1
    multiplier: int = 1
    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "separable_conv"

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry of the depthwise step."""
        shape = only_input(self, input_shapes)
        check_positive((self.multiplier,), "multiplier", self.label)
        return Geometry.of(
            shape,
            self.kernel,
            filters=shape[0] * self.multiplier,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=shape[0],
            layer=self.label,
        )

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
        if self.bias:
            specs["bias"] = ParameterSpec((self.filters,), self.bias_initializer, channels, self.filters)
        return specs

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return u = P ⋆ (D ⋆ x) + b."""
        (x,) = inputs
        depthwise = self.window(x.shape[1:])
        v = ops.correlate(x, parameters["depthwise_weight"], depthwise)
        u = ops.correlate(v, parameters["pointwise_weight"], self.pointwise(depthwise))
        if self.bias:
            u = u + along_channels(ops, parameters["bias"], u)
        return Forward(u, saved={"x": x, "v": v})

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
        if self.bias:
            gradients["bias"] = ops.xp.sum(dy, axis=(0, *range(2, dy.ndim)))
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


@dataclass(frozen=True)
class TableConvolution(Layer):
    """A convolution in which a table says which input channels each filter sees.

    u(k, i) = Σ_{c ∈ table(k)} Σ_μ F(k, c, μ) x(c, s·i + d·μ - p) + b(k). Only the connections of the table have
    weights.

    Args:
        kernel, stride, padding, dilation: the window, as for `Convolution`.
        table: for each filter the numbers, from 0, of the channels that it sees; LeNet-5's C3 by default.
        bias: whether to add b(k).
        weight_initializer: initial value of the weight (connections, *kernel), filter by filter in the table's order.
        bias_initializer: initial value of the bias (K,); zeros by default.

    LeNet-5's third layer, with the 1,516 parameters of the paper:

    >>> layer = TableConvolution(5)
    >>> layer.output_shape((6, 14, 14))
    (16, 10, 10)
    >>> sum(prod(spec.shape) for spec in layer.parameter_specs((6, 14, 14)).values())
    1516

    Source: LeCun, Bottou, Bengio, Haffner (1998), §II B and table I: the asymmetry forces maps to see different things.
    """

    kernel: PerAxis
    table: Sequence[Sequence[int]] = LENET_C3
    stride: PerAxis = 1
    padding: Padding = "valid"
    dilation: PerAxis = 1
    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "table_conv"

    def __post_init__(self) -> None:
        """Check that every filter sees something, and nothing twice."""
        super().__post_init__()
        if not self.table or any(not row or len(set(row)) != len(row) for row in self.table):
            raise SettingError(
                f"{self.label}: table must name at least one channel for each filter, none of them twice"
            )

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry of the convolution in which every filter sees every channel."""
        shape = only_input(self, input_shapes)
        geometry = Geometry.of(
            shape,
            self.kernel,
            filters=len(self.table),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            layer=self.label,
        )
        for number, row in enumerate(self.table):
            if min(row) < 0 or max(row) >= geometry.channels:
                raise ShapeError(
                    f"{self.label}: the table's filter {number} sees channels {list(row)}, but the input {shape} "
                    f"has the channels 0 to {geometry.channels - 1}"
                )
        return geometry

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (K, *output_size)."""
        return self.window(*input_shapes).output_shape

    def connections(self) -> list[tuple[int, int]]:
        """List (filter, channel) of every connection."""
        return [(k, c) for k, row in enumerate(self.table) for c in row]

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (connections, *kernel) and bias (K,)."""
        geometry = self.window(*input_shapes)
        taps, count = prod(geometry.kernel), len(self.connections())
        fan_in = max(1, round(count / geometry.filters)) * taps
        fan_out = max(1, round(count / geometry.channels)) * taps
        specs = {"weight": ParameterSpec((count, *geometry.kernel), self.weight_initializer, fan_in, fan_out)}
        if self.bias:
            specs["bias"] = ParameterSpec((geometry.filters,), self.bias_initializer, fan_in, fan_out)
        return specs

    def placement(self, ops: Backend, geometry: Geometry, dtype: object) -> Array:
        """Return the matrix (K·C, connections) with a 1 where a connection's weight stands in the full weight."""
        connections = self.connections()
        matrix = np.zeros((geometry.filters * geometry.channels, len(connections)))
        for number, (k, c) in enumerate(connections):
            matrix[k * geometry.channels + c, number] = 1
        return ops.xp.astype(ops.asarray(matrix, "float64"), dtype)

    def full_weight(self, ops: Backend, weight: Array, geometry: Geometry) -> Array:
        """Return the weight (K, C, *kernel) with zeros where there is no connection."""
        rows = ops.xp.reshape(weight, (weight.shape[0], -1))
        full = ops.matmul(self.placement(ops, geometry, weight.dtype), rows)
        return ops.xp.reshape(full, geometry.weight_shape)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return u = F ⋆ x + b, F zero where the table has no connection."""
        (x,) = inputs
        geometry = self.window(x.shape[1:])
        u = ops.correlate(x, self.full_weight(ops, parameters["weight"], geometry), geometry)
        if self.bias:
            u = u + along_channels(ops, parameters["bias"], u)
        return Forward(u, saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``full = placement @ weight``, ``u = correlate(x, full) + bias``.

        dx and dfull as for a convolution; dweight = placementᵀ dfull picks out the connections.
        """
        x, weight = saved["x"], parameters["weight"]
        geometry = self.window(x.shape[1:])
        dfull = ops.xp.reshape(
            ops.correlate_weight_gradient(x, dy, geometry), (geometry.filters * geometry.channels, -1)
        )
        dweight = ops.matmul(self.placement(ops, geometry, weight.dtype).T, dfull)
        gradients = {"weight": ops.xp.reshape(dweight, weight.shape)}
        if self.bias:
            gradients["bias"] = ops.xp.sum(dy, axis=(0, *range(2, dy.ndim)))
        dx = ops.correlate_input_gradient(dy, self.full_weight(ops, weight, geometry), geometry)
        return Backward((dx,), gradients)

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return connections·OH·OW·FH·FW."""
        geometry = self.window(*input_shapes)
        return len(self.connections()) * prod(geometry.output_size) * prod(geometry.kernel)

    def settings(self) -> str:
        """Return filters, connections and what differs from the defaults."""
        text = f"{len(self.table)} filters, {len(self.connections())} connections, kernel "
        return text + window_text(self, self.kernel)


def window_text(layer: Layer, kernel: PerAxis) -> str:
    """Print the kernel, and stride, padding, dilation and bias where they differ from the defaults."""
    parts = [str(kernel) if isinstance(kernel, int) else by_axis(tuple(kernel))]
    defaults = {"stride": 1, "padding": "valid", "dilation": 1, "bias": True}
    parts += [
        f"{name} {plain(getattr(layer, name))}"
        for name, default in defaults.items()
        if getattr(layer, name) != default
    ]
    return ", ".join(parts)
