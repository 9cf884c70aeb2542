"""Layers that are one linear map along each spatial axis: padding, up-sampling, adaptive averages.

Along one axis y = A x with a matrix A (outputs × inputs) of constants, and over several axes one after the other. That
is all there is to the forward pass, and dx = Aᵀ dy is all there is to the backward pass. Each row of A has a few
entries, near those of the row before, so A is kept by its rows and applied in blocks: a long signal never meets a
large matrix.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
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

# A block of the matrix has at most so many rows and, unless one row alone needs more, so many columns.
BLOCK_ROWS, BLOCK_COLUMNS = 256, 1024


@dataclass(frozen=True)
class Rows:
    """A matrix by its rows: row i has the entry weights(i, k) in column sources(i, k), and 0 elsewhere.

    >>> Rows(3, np.array([[0, 1], [1, 2]]), np.array([[0.5, 0.5], [0.25, 0.75]])).matrix()
    array([[0.5 , 0.5 , 0.  ],
           [0.  , 0.25, 0.75]])
    """

    inputs: int
    sources: NDArray[np.int64]
    weights: Matrix

    def matrix(self) -> Matrix:
        """Return the whole matrix (outputs, inputs)."""
        return self.block(0, len(self.sources), 0, self.inputs)

    def block(self, start: int, stop: int, low: int, high: int) -> Matrix:
        """Return the rows start … stop - 1 and the columns low … high - 1, outside of which those rows are 0."""
        block = np.zeros((stop - start, high - low))
        rows = np.arange(stop - start)[:, np.newaxis]
        # Sources that a row names twice add up.
        np.add.at(block, (rows, self.sources[start:stop] - low), self.weights[start:stop])
        return block

    def blocks(self) -> Iterator[tuple[slice, slice, Matrix]]:
        """Cut the matrix into blocks of neighbouring rows: (rows, columns, entries)."""
        first, last = self.sources.min(axis=1), self.sources.max(axis=1) + 1
        start = 0
        while start < len(first):
            stop = min(start + BLOCK_ROWS, len(first))
            low = np.minimum.accumulate(first[start:stop])
            high = np.maximum.accumulate(last[start:stop])
            # The span grows with every row; at least one row is taken.
            stop = start + max(1, int(np.searchsorted(high - low, BLOCK_COLUMNS, side="right")))
            rows, columns = slice(start, stop), slice(int(low[stop - start - 1]), int(high[stop - start - 1]))
            yield rows, columns, self.block(start, stop, columns.start, columns.stop)
            start = stop


@dataclass(frozen=True)
class Resampling(Layer, abstract=True):
    """Base: y = A₁ A₂ … x, one matrix for each spatial axis."""

    @abstractmethod
    def rows(self, size: Shape) -> list[Rows]:
        """Return A by its rows, for every spatial axis of an input of a size."""

    def matrices(self, size: Shape) -> list[Matrix]:
        """Return A (outputs, inputs), for every spatial axis of an input of a size."""
        return [rows.matrix() for rows in self.rows(size)]

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
        return Forward(along_axes(ops, x, self.rows(x.shape[2:])), saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = A x``: Aᵀ dy along every axis."""
        return Backward((along_axes_transposed(ops, dy, self.rows(saved["x"].shape[2:])),))


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

    def rows(self, size: Shape) -> list[Rows]:
        """Return for each axis a 1 where output i comes from."""
        pairs = self.pairs(len(size))
        return [padding_rows(n, pair, self.mode) for n, pair in zip(size, pairs, strict=True)]

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return A x, with the constant where A has nothing to bring."""
        forward = super().forward(ops, inputs, parameters, context)
        if self.value == 0:
            return forward
        x = forward.saved["x"]
        inside = along_axes(ops, ops.xp.ones_like(x[:1, :1]), self.rows(x.shape[2:]))
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

    def rows(self, size: Shape) -> list[Rows]:
        """Return the weights of the neighbours for each axis."""
        rows = []
        for n, factor in zip(size, self.factors(len(size)), strict=True):
            positions = np.arange(n * factor)
            if self.mode == "nearest":
                rows.append(Rows(n, (positions // factor)[:, np.newaxis], np.ones((n * factor, 1))))
            elif self.align_corners:
                rows.append(interpolation_rows(n, positions * ((n - 1) / max(n * factor - 1, 1))))
            else:
                rows.append(interpolation_rows(n, (positions + 0.5) / factor - 0.5))
        return rows

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

    def rows(self, size: Shape) -> list[Rows]:
        """Return for each axis 1 / |window| where the window sees."""
        rows = []
        for n, windows in zip(size, adaptive_bounds(self, self.output_size, size), strict=True):
            start, stop = (np.array(ends)[:, np.newaxis] for ends in zip(*windows, strict=True))
            seen = start + np.arange(int((stop - start).max()))
            inside = seen < stop
            # Places behind a window's end have the weight 0, wherever they stand.
            rows.append(Rows(n, np.where(inside, seen, start), inside / (stop - start)))
        return rows

    def sees_everything(self) -> bool:
        """Windows of unequal size: what an output sees is not followed."""
        return True

    def settings(self) -> str:
        """Return the output size."""
        return f"to {self.output_size}"


def along_axes(ops: Backend, x: Array, maps: list[Rows]) -> Array:
    """Return A x along the spatial axes, one matrix for each."""
    for axis, rows in enumerate(maps, start=2):
        lines = ops.xp.moveaxis(x, axis, -1)
        pieces = [
            ops.matmul(lines[..., columns], constants(ops, block.T, x)) for _, columns, block in rows.blocks()
        ]
        x = ops.xp.moveaxis(ops.xp.concat(pieces, axis=-1), -1, axis)
    return x


def along_axes_transposed(ops: Backend, dy: Array, maps: list[Rows]) -> Array:
    """Return Aᵀ dy along the spatial axes: every output hands its gradient back to the inputs that it was made of."""
    for axis, rows in enumerate(maps, start=2):
        lines = ops.xp.moveaxis(dy, axis, -1)
        dx = ops.xp.zeros((*lines.shape[:-1], rows.inputs), dtype=dy.dtype)
        for outputs, columns, block in rows.blocks():
            dx[..., columns] += ops.matmul(lines[..., outputs], constants(ops, block, dy))
        dy = ops.xp.moveaxis(dx, -1, axis)
    return dy


def constants(ops: Backend, values: Matrix, like: Array) -> Array:
    """Hand a matrix to the backend in another array's dtype."""
    return ops.xp.astype(ops.asarray(np.ascontiguousarray(values), "float64"), like.dtype)


def padding_rows(n: int, pair: tuple[int, int], mode: str) -> Rows:
    """Return the matrix that pads n entries.

    >>> padding_rows(3, (1, 1), "reflect").matrix() @ [1, 2, 3]
    array([2., 1., 2., 3., 2.])
    """
    positions = np.arange(-pair[0], n + pair[1])
    weights = np.ones((len(positions), 1))
    if mode == "reflect":
        sources = np.abs(positions)
        sources = np.where(sources > n - 1, 2 * (n - 1) - sources, sources)
    elif mode == "circular":
        sources = positions % n
    else:
        sources = np.clip(positions, 0, n - 1)
        if mode != "replicate":  # nothing comes from outside
            weights = (positions == sources).astype(np.float64)[:, np.newaxis]
    return Rows(n, sources[:, np.newaxis], weights)


def interpolation_rows(n: int, positions: NDArray[Any]) -> Rows:
    """Return the weights of the two neighbours of each position between 0 and n - 1, held at the edges.

    >>> interpolation_rows(2, np.array([-0.25, 0.25])).matrix() @ [0, 4]
    array([0., 1.])
    """
    held = np.clip(positions, 0, n - 1)
    left = np.minimum(np.floor(held).astype(np.int64), n - 1)
    right = np.minimum(left + 1, n - 1)
    share = held - left
    return Rows(n, np.stack([left, right], axis=1), np.stack([1 - share, share], axis=1))


def adaptive_bounds(layer: Layer, output_size: PerAxis, size: Shape) -> list[list[tuple[int, int]]]:
    """Return (start, stop) of every window of an adaptive pooling, for each axis."""
    counts = per_axis(output_size, len(size), "output_size", layer.label)
    check_positive(counts, "output_size", layer.label)
    return [[(i * n // m, -(-(i + 1) * n // m)) for i in range(m)] for n, m in zip(size, counts, strict=True)]
