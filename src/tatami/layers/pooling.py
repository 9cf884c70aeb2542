"""Pooling layers: summaries of windows, without parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import ClassVar

from tatami.backends.base import Array, Backend, TieRule
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Geometry, Padding, PerAxis, Shape, by_axis
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input


@dataclass(frozen=True)
class Pool(Layer, abstract=True):
    """Base of the poolings over windows.

    Args:
        size: the window, one number or one for each axis.
        stride: its step; by default as large as the window, so that windows do not overlap.
        padding: as for a convolution; padded positions never win a maximum.
        dilation: distance between the entries that a window sees.
        ceil: whether rows at the end that fill no whole window get one that reaches beyond the input, so that
            ⌈(n - reach) / stride⌉ + 1 windows stand on an axis instead of ⌊…⌋ + 1. What lies beyond counts as padding.
    """

    size: PerAxis
    stride: PerAxis | None = None
    padding: Padding = "valid"
    dilation: PerAxis = field(default=1, kw_only=True)
    ceil: bool = field(default=False, kw_only=True)
    kind: ClassVar[str] = "pool"

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry for an input of that shape."""
        geometry = Geometry.of(
            only_input(self, input_shapes),
            self.size,
            stride=self.size if self.stride is None else self.stride,
            padding=self.padding,
            dilation=self.dilation,
            layer=self.label,
        )
        return to_the_end(geometry) if self.ceil else geometry

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (C, *output_size)."""
        geometry = self.window(*input_shapes)
        geometry.require_input_in_every_window(self.label)
        return geometry.output_shape

    def settings(self) -> str:
        """Return window, stride and padding."""
        size = self.size if isinstance(self.size, int) else by_axis(tuple(self.size))
        parts = [f"window {size}"]
        if self.stride is not None and self.stride != self.size:
            parts.append(f"stride {self.stride}")
        if self.padding != "valid":
            parts.append(f"padding {self.padding}")
        if self.dilation != 1:
            parts.append(f"dilation {self.dilation}")
        if self.ceil:
            parts.append("to the end")
        return ", ".join(parts)


@dataclass(frozen=True)
class MaxPool(Pool):
    """Keep the maximum of every window: y(i) = max x(m) over the window's positions m.

    Args:
        size, stride, padding: see `Pool`.
        ties: which of several equal maxima gets the gradient: 'first' in row order (default), 'all' of them the
            whole gradient (DSP's slide), or 'even', which shares it equally.

    >>> MaxPool(2).output_shape((32, 28, 28))
    (32, 14, 14)

    Source: Arai §3.2; DSP, pooling layer. Ties: MATLAB's and NumPy's first maximum.
    """

    ties: TieRule = "first"

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the maxima; keep where they stood."""
        (x,) = inputs
        y, winner = ops.max_pool(x, self.window(x.shape[1:]))
        return Forward(y, saved={"x": x, "y": y, "winner": winner})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = x[winner]``: dy goes to the winner, the other entries get nothing."""
        x = saved["x"]
        geometry = self.window(x.shape[1:])
        return Backward((ops.max_pool_gradient(dy, x, saved["y"], saved["winner"], geometry, self.ties),))


@dataclass(frozen=True)
class AveragePool(Pool):
    """Keep the mean of every window: y(i) = 1/|P(i)| Σ x(m), P(i) the window's positions.

    Args:
        size, stride, padding: see `Pool`.
        count_padding: whether padded zeros count as positions. By default they do not: the slides' P(i) holds units.
            (PyTorch counts them by default, TensorFlow and ONNX do not.)

    >>> AveragePool(2).output_shape((6, 28, 28))
    (6, 14, 14)

    Source: Arai §3.2; DSP, pooling layer.
    """

    count_padding: bool = False

    def __post_init__(self) -> None:
        """Refuse to count what lies behind the padding."""
        super().__post_init__()
        if self.ceil and self.count_padding:
            raise SettingError(
                f"{self.label}: with ceil the last windows reach beyond the padding, which cannot be counted; "
                f"leave count_padding out"
            )

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the means."""
        (x,) = inputs
        return Forward(ops.average_pool(x, self.window(x.shape[1:]), self.count_padding), saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = Σ x / |P|``: every entry of the window gets dy / |P|."""
        geometry = self.window(saved["x"].shape[1:])
        return Backward((ops.average_pool_gradient(dy, geometry, self.count_padding),))


@dataclass(frozen=True)
class LpPool(Pool):
    """Keep the p-norm of every window: y(i) = (1/|P(i)| Σ |x(m)|^p)^(1/p), p ≥ 1.

    p = 1 is the mean of magnitudes, p → ∞ approaches the maximum.

    Args:
        size, stride, padding: see `Pool`.
        p: the exponent, any number from 1.
        normalise: whether to divide by |P(i)| (the slides' form, default) or not (the norm; PyTorch's LPPool).

    >>> LpPool(2, p=3).output_shape((6, 28, 28))
    (6, 14, 14)

    Source: DSP, pooling layer, with |x| instead of x so that negative inputs and odd p are defined.
    """

    p: float = 2.0
    normalise: bool = True

    def __post_init__(self) -> None:
        """Check the exponent."""
        super().__post_init__()
        if not self.p >= 1:
            raise SettingError(f"{self.label}: p must be a finite number of at least 1, got {self.p!r}")

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the p-norms."""
        (x,) = inputs
        y = ops.lp_pool(x, self.window(x.shape[1:]), self.p, self.normalise)
        return Forward(y, saved={"x": x, "y": y})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = (m Σ |x|^p)^(1/p)``: m·sign(x)·(|x| / y)^(p - 1)·dy."""
        x = saved["x"]
        geometry = self.window(x.shape[1:])
        return Backward((ops.lp_pool_gradient(dy, x, saved["y"], geometry, self.p, self.normalise),))

    def settings(self) -> str:
        """Return the window and p."""
        return f"{super().settings()}, p {self.p:g}"


@dataclass(frozen=True)
class L2Pool(LpPool):
    """Keep the root of the mean square of every window: Lp pooling with p = 2.

    >>> L2Pool(2).p
    2.0
    """

    def __post_init__(self) -> None:
        """Refuse another exponent."""
        super().__post_init__()
        if self.p != 2:
            raise SettingError(f"{self.label}: p is 2 by definition, got {self.p}; use LpPool")


@dataclass(frozen=True)
class GlobalPool(Layer, abstract=True):
    """Base of the poolings over the whole map: (C, *spatial) becomes (C,)."""

    kind: ClassVar[str] = "pool"

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (C,)."""
        shape = only_input(self, input_shapes)
        if len(shape) < 2:
            raise ShapeError(f"{self.label}: expected an input with spatial axes, (C, *spatial), got {shape}")
        return (shape[0],)

    def sees_everything(self) -> bool:
        """Every output sees its whole map."""
        return True


@dataclass(frozen=True)
class GlobalAveragePool(GlobalPool):
    """Keep the mean of every map: y(c) = 1/(H·W) Σ_ij x(c, i, j).

    >>> GlobalAveragePool().output_shape((64, 7, 7))
    (64,)

    Source: DSP's average pooling with one window for the map; Lin, Chen, Yan, "Network in network" (2013).
    """

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the means of the maps."""
        (x,) = inputs
        return Forward(ops.xp.mean(x, axis=tuple(range(2, x.ndim))), saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = Σ x / n``: every position gets dy / n."""
        x = saved["x"]
        share = ops.xp.reshape(dy / prod(x.shape[2:]), (*dy.shape, *(1,) * (x.ndim - 2)))
        return Backward((share * ops.xp.ones_like(x),))


@dataclass(frozen=True)
class GlobalMaxPool(GlobalPool):
    """Keep the maximum of every map: y(c) = max_ij x(c, i, j); the first maximum gets the gradient.

    >>> GlobalMaxPool().output_shape((64, 7, 7))
    (64,)
    """

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the maxima of the maps; keep where they stood."""
        (x,) = inputs
        flat = ops.xp.reshape(x, (*x.shape[:2], -1))
        return Forward(ops.xp.max(flat, axis=2), saved={"x": x, "winner": ops.xp.argmax(flat, axis=2)})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = x[winner]``: dy at the winner, 0 elsewhere."""
        x, winner = saved["x"], saved["winner"]
        positions = ops.xp.arange(prod(x.shape[2:]))
        won = winner[:, :, None] == positions
        return Backward((ops.xp.reshape(won * dy[:, :, None], x.shape),))


def to_the_end(geometry: Geometry) -> Geometry:
    """Return the geometry padded so far at the end that the rows there which fill no whole window get one.

    A window is added only if it begins within the input or the padding in front of it: one that saw nothing but what
    was added would have nothing to say.

    >>> to_the_end(Geometry.of((1, 6), 3, stride=2)).output_size
    (3,)
    """
    padding = []
    axes = zip(
        *(geometry.size, geometry.padding, geometry.stride, geometry.padded_size),
        *(geometry.effective_kernel, geometry.output_size),
        strict=True,
    )
    for n, (before, after), step, padded, reach, count in axes:
        left = (padded - reach) % step
        is_needed = left > 0 and count * step < n + before
        padding.append((before, after + step - left if is_needed else after))
    return replace(geometry, padding=tuple(padding))
