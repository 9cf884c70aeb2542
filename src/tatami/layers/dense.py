"""The fully connected layer, and the flattening that comes before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.errors import ShapeError
from tatami.geometry import Shape, check_positive
from tatami.initializers import He, Initializer, ParameterSpec, Zeros
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.layers.weights import bias_gradient, weight_and_bias, with_bias


@dataclass(frozen=True)
class FullyConnected(Layer, abstract=True):
    """Base of the layers in which every unit sums over all inputs.

    Args:
        units: number of outputs.
    """

    units: int

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (units,)."""
        shape = only_input(self, input_shapes)
        if len(shape) != 1:
            raise ShapeError(
                f"{self.label}: expected a flat input (features,), got {shape}; put a Flatten before it"
            )
        check_positive((self.units,), "units", self.label)
        return (self.units,)

    def sees_everything(self) -> bool:
        """Every output sees every input."""
        return True

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return units · features."""
        (features,) = only_input(self, input_shapes)
        return self.units * features


@dataclass(frozen=True)
class Dense(FullyConnected):
    """Connect every input to every output: u(k) = Σ_i W(k, i) x(i) + b(k).

    Args:
        units: number of outputs.
        bias: whether to add b(k).
        weight_initializer: initial value of the weight (units, features); He by default.
        bias_initializer: initial value of the bias (units,); zeros by default.

    >>> Dense(100).output_shape((3136,))
    (100,)

    Source: Arai §3.2, third layer; gradients §3.3.
    """

    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "dense"

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (units, features) and bias (units,)."""
        (features,) = only_input(self, input_shapes)
        return weight_and_bias(self, (self.units, features), (self.units,), features, self.units)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return u = x Wᵀ + b for every row x."""
        (x,) = inputs
        u = with_bias(ops, ops.matmul(x, parameters["weight"].T), parameters)
        return Forward(u, saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``u = x @ weight.T + bias``.

        dx = dy W, dweight = dyᵀ x (Arai: δ(k)·v(i), summed over the batch), dbias = Σ_n dy.
        """
        gradients = {"weight": ops.matmul(dy.T, saved["x"])} | bias_gradient(ops, dy, parameters)
        return Backward((ops.matmul(dy, parameters["weight"]),), gradients)

    def settings(self) -> str:
        """Return the number of units."""
        return f"{self.units} units" + ("" if self.bias else ", no bias")


@dataclass(frozen=True)
class Flatten(Layer):
    """Lay a map out as a vector, channel by channel, row by row, column by column.

    v = (x(1,1,1), …, x(1,1,W), x(1,2,1), …, x(C,H,W)).

    >>> Flatten().output_shape((64, 7, 7))
    (3136,)

    Source: Arai §3.2, 'vectorisation'.
    """

    kind: ClassVar[str] = "flatten"

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (C·H·W,)."""
        return (prod(only_input(self, input_shapes)),)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the vectors."""
        (x,) = inputs
        return Forward(ops.xp.reshape(x, (x.shape[0], prod(x.shape[1:]))), saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``v = reshape(x)``: the same numbers in the map's shape."""
        return Backward((ops.xp.reshape(dy, saved["x"].shape),))
