"""Layers that are one linear map along each spatial axis: padding, up-sampling, adaptive averages.

Along one axis y = A x with a small matrix A (outputs × inputs) of constants, and over several axes one after the
other. That is all there is to the forward pass, and dx = Aᵀ dy is all there is to the backward pass.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError
from tatami.geometry import (
    LARGEST_SIZE,
    Geometry,
    Padding,
    Pairs,
    PerAxis,
    Shape,
    check_positive,
    per_axis,
    resolve_padding,
)
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.layers.checks import require_spatial

Matrix = NDArray[np.float64]
PaddingMode = Literal["zero", "constant", "reflect", "replicate", "circular"]


@dataclass(frozen=True)
class Resampling(Layer, abstract=True):
    """Base: y = A₁ A₂ … x, one matrix for each spatial axis."""

    @abstractmethod
    def matrices(self, size: Shape) -> list[Matrix]:
        """Return A (outputs, inputs) for every spatial axis of an input of a size."""

    @abstractmethod
    def output_sizes(self, size: Shape) -> Shape:
        """Return the spatial size of the output, or raise if the settings do not fit to the input's."""

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (C, *output_size)."""
        shape = only_input(self, input_shapes)
        require_spatial(self, shape)
        sizes = self.output_sizes(shape[1:])
        check_positive(sizes, "output size", self.label)
        return (shape[0], *sizes)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return A x along every axis."""
        (x,) = inputs
        return Forward(along_axes(ops, x, self.matrices(x.shape[2:])), saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = A x``: Aᵀ dy along every axis."""
        matrices = self.matrices(saved["x"].shape[2:])
        return Backward((along_axes(ops, dy, [matrix.T for matrix in matrices]),))


@dataclass(frozen=True)
class Pad(Resampling):
    """Add rows around the input, filled by a mode.

    For (a b c d) and a padding of 2:

        zero        0 0 a b c d 0 0        constant    v v a b c d v v
        reflect     c b a b c d c b        replicate   a a a b c d d d
        circular    c d a b c d a b

    Args:
        padding: a number, one for each axis, or (before, after) pairs.
        mode: 'zero', 'constant', 'reflect' (padding below the size), 'replicate', 'circular' (padding up to the size).
        value: v, what 'constant' fills in.

    >>> Pad(2, "reflect").output_shape((3, 8, 8))
    (3, 12, 12)

    A `Convolution` with 'valid' padding behind it is a convolution with that padding mode.
    """

    padding: Padding
    mode: PaddingMode = "zero"
    value: float = 0.0
    kind: ClassVar[str] = "pad"

    def __post_init__(self) -> None:
        """Refuse what has no window to refer to, and a value that would not be used."""
        super().__post_init__()
        if isinstance(self.padding, str):
            raise SettingError(f"{self.label}: padding must be numbers or pairs, got {self.padding!r}")
        if self.value != 0 and self.mode != "constant":
            raise SettingError(f"{self.label}: value is filled in by mode 'constant', not by {self.mode!r}")

    def pairs(self, rank: int) -> Pairs:
        """Return (before, after) for each axis."""
        pairs = resolve_padding(self.padding, (1,) * rank, (1,) * rank, self.label)
        if any(not 0 <= side <= LARGEST_SIZE for pair in pairs for side in pair):
            raise SettingError(
                f"{self.label}: padding must be whole numbers from 0 to {LARGEST_SIZE}, got {self.padding}"
            )
        return pairs

    def output_sizes(self, size: Shape) -> Shape:
        """Return n + before + after for each axis."""
        pairs = self.pairs(len(size))
        furthest = {"reflect": [n - 1 for n in size], "circular": list(size)}.get(self.mode)
        if furthest and any(max(pair) > most for pair, most in zip(pairs, furthest, strict=True)):
            raise SettingError(
                f"{self.label}: mode {self.mode!r} can pad by at most {furthest} for an input of size {list(size)}, "
                f"got {[list(pair) for pair in pairs]}"
            )
        return tuple(n + before + after for n, (before, after) in zip(size, pairs, strict=True))

    def matrices(self, size: Shape) -> list[Matrix]:
        """Return for each axis a matrix whose row i has a 1 where output i comes from."""
        pairs = self.pairs(len(size))
        return [padding_matrix(n, pair, self.mode) for n, pair in zip(size, pairs, strict=True)]

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return A x, with the constant where A has nothing to bring."""
        forward = super().forward(ops, inputs, parameters, context)
        if self.value == 0:
            return forward
        x = forward.saved["x"]
        inside = along_axes(ops, ops.xp.ones_like(x[:1, :1]), self.matrices(x.shape[2:]))
        return Forward(forward.output + self.value * (1 - inside), saved=forward.saved)

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return a window of one tap: every output sees one position, moved by the padding."""
        shape = only_input(self, input_shapes)
        return Geometry.of(shape, 1, padding=self.pairs(len(shape) - 1), layer=self.label)

    def settings(self) -> str:
        """Return padding and mode."""
        value = f" {self.value:g}" if self.mode == "constant" else ""
        return f"padding {self.padding}, {self.mode}{value}"


@dataclass(frozen=True)
class Upsample(Resampling):
    """Enlarge every map by a whole factor.

    nearest   y(i) = x(⌊i / f⌋): every entry is repeated.
    linear    between neighbours by distance, for images 'bilinear', for volumes 'trilinear'. Output i lies at
              (i + ½)/f - ½ of the input, held at the edges; with ``align_corners`` at i·(n - 1)/(f·n - 1), so that the
              corners of both grids fall together.

    Args:
        factor: f, one number or one for each axis.
        mode: 'nearest' or 'linear'.
        align_corners: see above; only for 'linear'.

    >>> Upsample(2).output_shape((8, 7, 7))
    (8, 14, 14)

    Source: Long, Shelhamer, Darrell (2015); Odena et al. (2016), who use it with a convolution instead of a transposed
    one. Conventions as in PyTorch.
    """

    factor: PerAxis
    mode: Literal["nearest", "linear"] = "nearest"
    align_corners: bool = False
    kind: ClassVar[str] = "upsample"

    def __post_init__(self) -> None:
        """Refuse a setting that has no meaning."""
        super().__post_init__()
        if self.align_corners and self.mode != "linear":
            raise SettingError(f"{self.label}: align_corners needs mode 'linear', got {self.mode!r}")

    def factors(self, rank: int) -> Shape:
        """Return f for each axis."""
        factors = per_axis(self.factor, rank, "factor", self.label)
        check_positive(factors, "factor", self.label)
        return factors

    def output_sizes(self, size: Shape) -> Shape:
        """Return f·n for each axis."""
        return tuple(n * factor for n, factor in zip(size, self.factors(len(size)), strict=True))

    def matrices(self, size: Shape) -> list[Matrix]:
        """Return the weights of the neighbours for each axis."""
        factors = self.factors(len(size))
        matrices = []
        for n, factor in zip(size, factors, strict=True):
            positions = np.arange(n * factor)
            if self.mode == "nearest":
                matrices.append(np.eye(n)[positions // factor])
            elif self.align_corners:
                matrices.append(interpolation_matrix(n, positions * ((n - 1) / max(n * factor - 1, 1))))
            else:
                matrices.append(interpolation_matrix(n, (positions + 0.5) / factor - 0.5))
        return matrices

    def enlargement(self, *input_shapes: Shape) -> tuple[tuple[int, int, int], ...]:
        """Nearest: i = ⌊j / f⌋. Linear: the neighbours within one step of (j + ½)/f - ½."""
        factors = self.factors(len(only_input(self, input_shapes)) - 1)
        if self.mode == "nearest":
            return tuple((f, 1 - f, 0) for f in factors)
        return tuple((f, (1 - 3 * f) // 2 + 1, (f + 2) // 2 - 1) for f in factors)

    def sees_everything(self) -> bool:
        """With aligned corners the step between outputs is no simple fraction and is not followed."""
        return self.align_corners

    def settings(self) -> str:
        """Return factor and mode."""
        return f"factor {self.factor}, {self.mode}" + (", corners aligned" if self.align_corners else "")


@dataclass(frozen=True)
class AdaptiveAveragePool(Resampling):
    """Average into a fixed number of windows, whatever the input's size.

    Window i of m sees the positions ⌊i·n/m⌋ … ⌈(i + 1)·n/m⌉ - 1 of n; neighbours may overlap.

    Args:
        output_size: m, one number or one for each axis.

    >>> AdaptiveAveragePool(7).output_shape((512, 20, 31))
    (512, 7, 7)

    Source: the bins of He et al. (2014), spatial pyramid pooling; bounds as in PyTorch.
    """

    output_size: PerAxis
    kind: ClassVar[str] = "pool"

    def output_sizes(self, size: Shape) -> Shape:
        """Return m for each axis."""
        return per_axis(self.output_size, len(size), "output_size", self.label)

    def matrices(self, size: Shape) -> list[Matrix]:
        """Return for each axis 1 / |window| where the window sees."""
        bounds = adaptive_bounds(self, self.output_size, size)
        matrices = []
        for n, windows in zip(size, bounds, strict=True):
            matrix = np.zeros((len(windows), n))
            for row, (start, stop) in enumerate(windows):
                matrix[row, start:stop] = 1 / (stop - start)
            matrices.append(matrix)
        return matrices

    def sees_everything(self) -> bool:
        """Windows of unequal size: what an output sees is not followed."""
        return True

    def settings(self) -> str:
        """Return the output size."""
        return f"to {self.output_size}"


def along_axes(ops: Backend, x: Array, matrices: list[Any]) -> Array:
    """Return A x along the spatial axes, one matrix for each."""
    for axis, matrix in enumerate(matrices, start=2):
        transposed = ops.xp.astype(ops.asarray(np.ascontiguousarray(matrix.T), "float64"), x.dtype)
        x = ops.xp.moveaxis(ops.matmul(ops.xp.moveaxis(x, axis, -1), transposed), -1, axis)
    return x


def padding_matrix(n: int, pair: tuple[int, int], mode: str) -> Matrix:
    """Return the matrix that pads n entries.

    >>> padding_matrix(3, (1, 1), "reflect") @ [1, 2, 3]
    array([2., 1., 2., 3., 2.])
    """
    positions = np.arange(-pair[0], n + pair[1])
    if mode in ("zero", "constant"):
        found: Matrix = (positions[:, np.newaxis] == np.arange(n)).astype(np.float64)
        return found
    if mode == "reflect":
        sources = np.abs(positions)
        sources = np.where(sources > n - 1, 2 * (n - 1) - sources, sources)
    elif mode == "replicate":
        sources = np.clip(positions, 0, n - 1)
    else:
        sources = positions % n
    chosen: Matrix = np.eye(n)[sources]
    return chosen


def interpolation_matrix(n: int, positions: NDArray[Any]) -> Matrix:
    """Return the weights of the two neighbours of each position between 0 and n - 1, held at the edges.

    >>> interpolation_matrix(2, np.array([-0.25, 0.25])) @ [0, 4]
    array([0., 1.])
    """
    held = np.clip(positions, 0, n - 1)
    left = np.minimum(np.floor(held).astype(np.int64), n - 1)
    right = np.minimum(left + 1, n - 1)
    share = (held - left)[:, np.newaxis]
    weights: Matrix = (1 - share) * np.eye(n)[left] + share * np.eye(n)[right]
    return weights


def adaptive_bounds(layer: Layer, output_size: PerAxis, size: Shape) -> list[list[tuple[int, int]]]:
    """Return (start, stop) of every window of an adaptive pooling, for each axis."""
    counts = per_axis(output_size, len(size), "output_size", layer.label)
    check_positive(counts, "output_size", layer.label)
    return [[(i * n // m, -(-(i + 1) * n // m)) for i in range(m)] for n, m in zip(size, counts, strict=True)]
