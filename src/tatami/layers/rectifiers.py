"""The relatives of ReLU: straight on the right of 0, different on the left, where ReLU learns nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Geometry, PerAxis, Shape, check_positive, per_axis
from tatami.initializers import Constant, He, Initializer, ParameterSpec, Zeros
from tatami.layers.activations import Activation
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, SameShape, only_input
from tatami.layers.checks import require_number
from tatami.layers.convolution import Sliding
from tatami.layers.weights import along_channels, bias_gradient, with_bias

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """f(x) = x where x > 0, else s·x with a small slope s, so that negative inputs still learn.

    f′ = 1 where x > 0, else s; f′(0) = s.

    Args:
        slope: s.

    >>> LeakyReLU(0.1).output_shape((8, 4, 4))
    (8, 4, 4)

    Source: Qiita §4 (2); Maas, Hannun, Ng (2013).
    """

    slope: float = 0.01
    kind: ClassVar[str] = "leaky_relu"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return x or s·x."""
        return ops.xp.where(x > 0, x, self.slope * x)

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return 1 or s."""
        ones = ops.xp.ones_like(x)
        return ops.xp.where(x > 0, ones, self.slope * ones)

    def settings(self) -> str:
        """Return the slope."""
        return f"slope {self.slope:g}"


@dataclass(frozen=True)
class PReLU(SameShape):
    """Leaky ReLU whose slope is learned: y = x where x > 0, else a(c)·x, one a for each channel or one for all.

    Args:
        shared: one slope for all channels instead of one for each.
        slope_initializer: initial value of the slope (C,) or (1,); 0.25 by default.

    >>> PReLU().parameter_specs((8, 4, 4))["slope"].shape
    (8,)

    Source: He, Zhang, Ren, Sun (2015), who do not decay the slopes.
    """

    shared: bool = False
    slope_initializer: Initializer = field(default_factory=lambda: Constant(0.25))
    kind: ClassVar[str] = "prelu"

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return slope (C,) or (1,)."""
        channels = 1 if self.shared else only_input(self, input_shapes)[0]
        return {"slope": ParameterSpec((channels,), self.slope_initializer)}

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return x or a·x."""
        (x,) = inputs
        return Forward(
            ops.xp.where(x > 0, x, along_channels(ops, parameters["slope"], x) * x), saved={"x": x}
        )

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``y = where(x > 0, x, a * x)``.

        x: dy where x > 0, else a·dy. a: every x ≤ 0 of the channel contributes x·dy.
        """
        x = saved["x"]
        dx = ops.xp.where(x > 0, dy, along_channels(ops, parameters["slope"], x) * dy)
        left = ops.xp.where(x > 0, ops.xp.zeros_like(x), x * dy)
        if self.shared:
            return Backward((dx,), {"slope": ops.xp.reshape(ops.xp.sum(left), (1,))})
        return Backward((dx,), {"slope": ops.xp.sum(left, axis=(0, *range(2, x.ndim)))})

    def settings(self) -> str:
        """Say whether the slope is shared."""
        return "one slope" if self.shared else "a slope for each channel"


@dataclass(frozen=True)
class ELU(Activation):
    """f(x) = x where x > 0, else α·(e^x - 1): levels out at -α, so that the mean output is nearer to 0.

    f′ = 1 where x > 0, else α·e^x = f(x) + α.

    Args:
        alpha: α.

    >>> ELU().output_shape((8,))
    (8,)

    Source: Qiita §4 (2); Clevert, Unterthiner, Hochreiter (2016).
    """

    alpha: float = 1.0
    kind: ClassVar[str] = "elu"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return x or α·(e^x - 1); the exponential sees no positive number, so that it cannot overflow."""
        return ops.xp.where(x > 0, x, self.alpha * ops.xp.expm1(negative_part(ops, x)))

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return 1 or α·e^x."""
        return ops.xp.where(x > 0, ops.xp.ones_like(x), self.alpha * ops.xp.exp(negative_part(ops, x)))

    def settings(self) -> str:
        """Return α."""
        return f"alpha {self.alpha:g}"


@dataclass(frozen=True)
class SELU(Activation):
    """f(x) = λ·ELU(x) with the λ ≈ 1.0507 and α ≈ 1.6733 for which mean 0 and variance 1 are a stable fixed point.

    Meant for weights with variance 1/n (`Xavier`).

    >>> SELU().output_shape((8,))
    (8,)

    Source: Klambauer, Unterthiner, Mayr, Hochreiter (2017).
    """

    kind: ClassVar[str] = "selu"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return λ·x or λα·(e^x - 1)."""
        left = SELU_SCALE * SELU_ALPHA * ops.xp.expm1(negative_part(ops, x))
        return ops.xp.where(x > 0, SELU_SCALE * x, left)

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return λ or λα·e^x."""
        left = SELU_SCALE * SELU_ALPHA * ops.xp.exp(negative_part(ops, x))
        return ops.xp.where(x > 0, SELU_SCALE * ops.xp.ones_like(x), left)


@dataclass(frozen=True)
class HardSigmoid(Activation):
    """f(x) = s·x + ½, cut off below 0 and above 1: a sigmoid from straight lines.

    f′ = s where 0 < s·x + ½ < 1, else 0.

    Args:
        slope: s; 1/6 as in PyTorch and ONNX's HardSwish. Keras and Theano take 0.2.

    >>> HardSigmoid(0.2).output_shape((8,))
    (8,)

    Source: Courbariaux, Bengio, David (2015).
    """

    slope: float = 1 / 6
    kind: ClassVar[str] = "hard_sigmoid"

    def __post_init__(self) -> None:
        """Check the slope."""
        super().__post_init__()
        require_number(self, "slope", above=0)

    def function(self, ops: Backend, x: Array) -> Array:
        """Return s·x + ½ within 0 … 1; NaN stays NaN."""
        return ops.xp.clip(self.slope * x + 0.5, 0.0, 1.0)

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return s on the ramp, else 0."""
        on_ramp = (y > 0) & (y < 1)
        return self.slope * ops.xp.astype(on_ramp, x.dtype)

    def settings(self) -> str:
        """Return the slope."""
        return f"slope {self.slope:g}"


@dataclass(frozen=True)
class FReLU(Sliding):
    """The funnel: y = max(x, T(x)), T a learned filter over the neighbourhood, one for each channel.

    T(x)(c, i) = Σ_μ F(c, μ) x(c, i + μ - p) + b(c), a depthwise convolution with 'same' padding. Where ReLU asks 'is
    it positive?', the funnel asks 'is it more than its surroundings say?'.

    Args:
        kernel: taps of T, odd, one number or one for each axis.
        weight_initializer: initial value of the weight (C, 1, *kernel).
        bias_initializer: initial value of the bias (C,).

    >>> FReLU().output_shape((8, 14, 14))
    (8, 14, 14)

    Source: Qiita §4 (2); Ma, Zhang, Sun (2020). Changed: their T ends in a batch normalisation; here T has a
    bias, and a `BatchNormalization` may be put in front.
    """

    kernel: PerAxis = 3
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "frelu"

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry of T: one filter for each channel, padded to the input's size."""
        shape = only_input(self, input_shapes)
        taps = per_axis(self.kernel, len(shape) - 1, "kernel", self.label)
        if any(count % 2 == 0 for count in taps):
            raise SettingError(
                f"{self.label}: kernel must be odd, so that it has a centre, got {self.kernel}"
            )
        return Geometry.of(shape, taps, filters=shape[0], padding="same", groups=shape[0], layer=self.label)

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (C, 1, *kernel) and bias (C,)."""
        geometry = self.window(*input_shapes)
        taps = prod(geometry.kernel)
        return {
            "weight": ParameterSpec(geometry.weight_shape, self.weight_initializer, taps, taps),
            "bias": ParameterSpec((geometry.channels,), self.bias_initializer, taps, taps),
        }

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return max(x, T(x)); where both are equal, x counts as the winner."""
        (x,) = inputs
        funnel = ops.correlate(x, parameters["weight"], self.window(x.shape[1:]))
        funnel = with_bias(ops, funnel, parameters)
        return Forward(ops.xp.maximum(x, funnel), saved={"x": x, "x_won": x >= funnel})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``y = maximum(x, T(x))``: dy goes to x where it won, else through T."""
        x, x_won = saved["x"], saved["x_won"]
        geometry = self.window(x.shape[1:])
        nothing = ops.xp.zeros_like(dy)
        dfunnel = ops.xp.where(x_won, nothing, dy)
        dx = ops.xp.where(x_won, dy, nothing)
        dx = dx + ops.correlate_input_gradient(dfunnel, parameters["weight"], geometry)
        gradients = {"weight": ops.correlate_weight_gradient(x, dfunnel, geometry)}
        gradients |= bias_gradient(ops, dfunnel, parameters)
        return Backward((dx,), gradients)

    def settings(self) -> str:
        """Return the kernel."""
        return f"kernel {self.kernel}"


@dataclass(frozen=True)
class Maxout(Layer):
    """Keep the largest of every ``pieces`` consecutive channels: y(c) = max_j x(c·pieces + j), position by position.

    A pooling over channels instead of positions. Behind a `Dense` of units·pieces sums it is the maxout unit of a
    fully connected layer, behind a `Convolution` the one over maps; what stands in front stays linear. The first
    of several equal maxima gets the gradient.

    Args:
        pieces: how many channels become one; it must divide their number.

    >>> Maxout(2).output_shape((64, 7, 7)), Maxout(4).output_shape((400,))
    ((32, 7, 7), (100,))

    Source: History, 'Maxout' (pooling lowers the resolution, maxout the number of channels); Goodfellow et al. (2013).
    """

    pieces: int = 2
    kind: ClassVar[str] = "maxout"

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (C / pieces, *spatial)."""
        shape = only_input(self, input_shapes)
        check_positive((self.pieces,), "pieces", self.label)
        if shape[0] % self.pieces:
            raise ShapeError(
                f"{self.label}: {self.pieces} pieces do not divide the {shape[0]} channels of the input {shape}; "
                f"give the layer before it a multiple of {self.pieces}"
            )
        return (shape[0] // self.pieces, *shape[1:])

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the maxima; keep which piece won."""
        (x,) = inputs
        pieces = ops.xp.reshape(x, (x.shape[0], x.shape[1] // self.pieces, self.pieces, *x.shape[2:]))
        return Forward(ops.xp.max(pieces, axis=2), saved={"x": x, "winner": ops.xp.argmax(pieces, axis=2)})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = x[winner]``: dy at the winner, 0 elsewhere."""
        numbers = ops.xp.reshape(ops.xp.arange(self.pieces), (1, 1, -1, *(1,) * (dy.ndim - 2)))
        won = ops.xp.expand_dims(saved["winner"], axis=2) == numbers
        return Backward((ops.xp.reshape(won * ops.xp.expand_dims(dy, axis=2), saved["x"].shape),))

    def settings(self) -> str:
        """Return the number of pieces."""
        return f"{self.pieces} pieces"


def negative_part(ops: Backend, x: Array) -> Array:
    """Return min(x, 0)."""
    return ops.xp.minimum(x, ops.xp.zeros_like(x))
