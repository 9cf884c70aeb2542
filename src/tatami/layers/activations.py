"""Activation functions: y = f(x), entry by entry (softmax: over the channels)."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.layers.base import Backward, Context, Forward, LayerParameters, SameShape


@dataclass(frozen=True)
class Activation(SameShape, abstract=True):
    """Base of the activations without parameters: a function and its derivative."""

    @abstractmethod
    def function(self, ops: Backend, x: Array) -> Array:
        """Return f(x)."""

    @abstractmethod
    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return f′(x), with y = f(x) at hand."""

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return y = f(x)."""
        (x,) = inputs
        y = self.function(ops, x)
        return Forward(y, saved={"x": x, "y": y})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx = f′(x)·dy of ``y = f(x)``."""
        return Backward((self.derivative(ops, saved["x"], saved["y"]) * dy,))


@dataclass(frozen=True)
class Identity(Activation):
    """f(x) = x: the output of a regression. Source: Qiita §4 (2)."""

    kind: ClassVar[str] = "identity"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return x."""
        return x

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return 1."""
        return ops.xp.ones_like(x)


@dataclass(frozen=True)
class Step(Activation):
    """f(x) = 1 where x > 0, else 0; f(0) = 0. The perceptron's unit.

    Its derivative is 0 wherever it has one, and is taken as 0 at the jump: nothing in front of a step learns by
    gradients. Source: DSP, activation functions.
    """

    kind: ClassVar[str] = "step"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return x > 0 as a number."""
        return ops.xp.astype(x > 0, x.dtype)

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return 0."""
        return ops.xp.zeros_like(x)


@dataclass(frozen=True)
class Sigmoid(Activation):
    """f(x) = 1 / (1 + e^-x), f′ = f·(1 - f). Source: DSP, activation functions."""

    kind: ClassVar[str] = "sigmoid"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return the sigmoid, with the exponential of -|x| so that it cannot overflow."""
        small = ops.xp.exp(-ops.xp.abs(x))
        return ops.xp.where(x >= 0, 1 / (1 + small), small / (1 + small))

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return y·(1 - y)."""
        return y * (1 - y)


@dataclass(frozen=True)
class Tanh(Activation):
    """f(x) = (e^x - e^-x) / (e^x + e^-x), f′ = 1 - f². Source: DSP, activation functions."""

    kind: ClassVar[str] = "tanh"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return tanh x."""
        return ops.xp.tanh(x)

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return 1 - y²."""
        return 1 - y * y


@dataclass(frozen=True)
class ReLU(Activation):
    """f(x) = max(0, x), f′ = 1 where x > 0, else 0; f′(0) = 0. Source: Arai §3.2."""

    kind: ClassVar[str] = "relu"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return max(0, x); NaN stays NaN."""
        return ops.xp.maximum(x, ops.xp.zeros_like(x))

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return x > 0 as a number."""
        return ops.xp.astype(x > 0, x.dtype)


@dataclass(frozen=True)
class Softmax(SameShape):
    """y(k) = e^x(k) / Σ_j e^x(j), over the channels (axis 1): positive numbers that sum to 1.

    For classification leave it out and train with `SoftmaxCrossEntropy`, which contains it.
    Source: Arai §3.2, fourth layer, with the maximum subtracted as the remark there advises.
    """

    kind: ClassVar[str] = "softmax"

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the probabilities."""
        (x,) = inputs
        y = softmax(ops, x)
        return Forward(y, saved={"y": y})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx. ∂y(k)/∂x(j) = y(k)·([k = j] - y(j)), so dx(j) = y(j)·(dy(j) - Σ_k dy(k)·y(k))."""
        y = saved["y"]
        return Backward((y * (dy - ops.xp.sum(dy * y, axis=1, keepdims=True)),))


def softmax(ops: Backend, x: Array) -> Array:
    """Return e^(x - max) / Σ e^(x - max) over axis 1; subtracting a constant changes nothing but the overflow."""
    exponentials = ops.xp.exp(x - ops.xp.max(x, axis=1, keepdims=True))
    return exponentials / ops.xp.sum(exponentials, axis=1, keepdims=True)
