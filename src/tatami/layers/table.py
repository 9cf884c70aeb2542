"""Convolutions that are wired by a table: which filter sees which channel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Geometry, Padding, PerAxis, Shape
from tatami.initializers import He, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, LayerParameters, only_input
from tatami.layers.convolution import Sliding, window_text
from tatami.layers.weights import bias_gradient, weight_and_bias, with_bias

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
class TableConvolution(Sliding):
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

    def connections(self) -> list[tuple[int, int]]:
        """List (filter, channel) of every connection."""
        return [(k, c) for k, row in enumerate(self.table) for c in row]

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (connections, *kernel) and bias (K,)."""
        geometry = self.window(*input_shapes)
        taps, count = prod(geometry.kernel), len(self.connections())
        fan_in = max(1, round(count / geometry.filters)) * taps
        fan_out = max(1, round(count / geometry.channels)) * taps
        weight = (count, *geometry.kernel)
        return weight_and_bias(self, weight, (geometry.filters,), fan_in, fan_out)

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
        return Forward(with_bias(ops, u, parameters), saved={"x": x})

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
        gradients |= bias_gradient(ops, dy, parameters)
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
