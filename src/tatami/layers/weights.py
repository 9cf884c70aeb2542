"""Weights and biases, as every layer has them that sums up products."""

from typing import Protocol

from tatami.backends.base import Array, Backend
from tatami.geometry import Shape
from tatami.initializers import Initializer, ParameterSpec
from tatami.layers.base import LayerParameters


class Weighted(Protocol):
    """The settings of such a layer: whether it has a bias, and what its parameters start from."""

    @property
    def bias(self) -> bool:
        """Whether b is added."""
        ...

    @property
    def weight_initializer(self) -> Initializer:
        """Initial value of the weight."""
        ...

    @property
    def bias_initializer(self) -> Initializer:
        """Initial value of the bias."""
        ...


def weight_and_bias(
    layer: Weighted, weight: Shape, bias: Shape, fan_in: int, fan_out: int
) -> dict[str, ParameterSpec]:
    """Return the specs of 'weight' and, if the layer has one, of 'bias'."""
    specs = {"weight": ParameterSpec(weight, layer.weight_initializer, fan_in, fan_out)}
    return specs | bias_spec(layer, bias, fan_in, fan_out)


def bias_spec(layer: Weighted, shape: Shape, fan_in: int, fan_out: int) -> dict[str, ParameterSpec]:
    """Return the spec of 'bias', or nothing if the layer has none."""
    return {"bias": ParameterSpec(shape, layer.bias_initializer, fan_in, fan_out)} if layer.bias else {}


def with_bias(ops: Backend, u: Array, parameters: LayerParameters) -> Array:
    """Return u + b(k) at every position of every map k, or u if there is no bias."""
    return u + along_channels(ops, parameters["bias"], u) if "bias" in parameters else u


def bias_gradient(ops: Backend, du: Array, parameters: LayerParameters) -> dict[str, Array]:
    """Return the gradient of ``u + bias``: b(k) is added everywhere, so du is summed over examples and positions."""
    return {"bias": ops.xp.sum(du, axis=(0, *range(2, du.ndim)))} if "bias" in parameters else {}


def along_channels(ops: Backend, values: Array, like: Array) -> Array:
    """Shape (C,) values so that they broadcast over (N, C, *spatial)."""
    return ops.xp.reshape(values, (1, -1, *(1,) * (like.ndim - 2)))
