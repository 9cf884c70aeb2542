"""The geometry of a convolution or a pooling: one validated object for forward and both gradients.

A window of ``kernel`` taps, ``dilation`` apart, moves over the padded input in steps of ``stride``. For each
axis the output has floor((n + before + after - ((k - 1)·dilation + 1)) / stride) + 1 positions, which is the
lectures' floor((H + 2P - FH)/S) + 1 when nothing is dilated and both sides are padded alike. A pooling is the
same with one window per channel: ``groups = channels = filters``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from tatami.errors import SettingError, ShapeError

Shape = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Padding = str | int | Sequence[int | Sequence[int]]
PerAxis = int | Sequence[int]

# Sizes are multiplied freely further up; below this bound no product of three of them overflows 64 bits.
LARGEST_SIZE = 2**20


def is_whole(value: object) -> bool:
    """Say whether a value is an int (and not a bool)."""
    return isinstance(value, int) and not isinstance(value, bool)


def per_axis(value: PerAxis, rank: int, argument: str, layer: str) -> Shape:
    """Repeat one number for every axis, or check that there is one for each.

    >>> per_axis(3, 2, "kernel", "conv1")
    (3, 3)
    """
    if isinstance(value, int):
        return (value,) * rank
    if not isinstance(value, tuple | list):
        raise SettingError(
            f"{layer}: {argument} must be a whole number or one for each axis, got {value!r:.40}"
        )
    values = tuple(value)
    if len(values) != rank:
        raise SettingError(
            f"{layer}: {argument} has {len(values)} numbers, the input has {rank} spatial axes; "
            f"give one number or {rank} of them, got {list(values)}"
        )
    return values


def resolve_padding(padding: Padding, kernel: Shape, dilation: Shape, layer: str) -> Pairs:
    """Turn 'valid', 'same', numbers or pairs into (before, after) for every axis.

    'same' pads (k - 1)·dilation zeros in all, for an even number of taps the extra one at the end
    (Arai's exercise 2 and program); with stride 1 the output is as large as the input.

    >>> resolve_padding("same", (2, 3), (1, 1), "conv1")
    ((0, 1), (1, 1))
    >>> resolve_padding([(1, 0), (2, 2)], (3, 3), (1, 1), "conv1")
    ((1, 0), (2, 2))
    """
    rank = len(kernel)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * rank
        if padding == "same":
            totals = [(taps - 1) * step for taps, step in zip(kernel, dilation, strict=True)]
            return tuple((total // 2, total - total // 2) for total in totals)
        raise SettingError(f"{layer}: padding must be 'valid', 'same', numbers or pairs, got {padding!r:.40}")
    if isinstance(padding, int):
        return ((padding, padding),) * rank
    if not isinstance(padding, tuple | list):
        raise SettingError(f"{layer}: padding must be 'valid', 'same', numbers or pairs, got {padding!r:.40}")
    entries: tuple[int | Sequence[int], ...] = tuple(padding)
    if len(entries) != rank:
        raise SettingError(
            f"{layer}: padding has {len(entries)} entries, the input has {rank} spatial axes; "
            f"give one entry, a number or a (before, after) pair, for each axis"
        )
    pairs = []
    for entry in entries:
        pair = (entry, entry) if isinstance(entry, int) else entry
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise SettingError(
                f"{layer}: padding of an axis is a number or a (before, after) pair, got {entry!r:.40}"
            )
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


@dataclass(frozen=True)
class Geometry:
    """Sizes of one convolution or pooling over 1, 2 or 3 spatial axes.

    Build it with `Geometry.of`, which accepts the short forms and names the layer in its errors.

    >>> print(Geometry.of((1, 28, 28), kernel=3, filters=32, padding="same", layer="conv1"))
    (1, 28, 28) -> (32, 28, 28), kernel 3x3, stride 1x1, padding 1:1x1:1
    """

    channels: int
    filters: int
    size: Shape
    kernel: Shape
    stride: Shape
    padding: Pairs
    dilation: Shape
    groups: int = 1

    @classmethod
    def of(
        cls,
        input_shape: Shape,
        kernel: PerAxis,
        *,
        filters: int | None = None,
        stride: PerAxis = 1,
        padding: Padding = "valid",
        dilation: PerAxis = 1,
        groups: int = 1,
        layer: str = "convolution",
    ) -> "Geometry":
        """Validate the settings of a window for inputs of shape (C, *spatial).

        Args:
            input_shape: (C, W), (C, H, W) or (C, D, H, W), without the batch axis.
            kernel: taps, one number for all axes or one for each.
            filters: output channels K; without it a pooling over every channel by itself.
            stride: step of the window.
            padding: 'valid', 'same', a number, one for each axis, or (before, after) pairs.
            dilation: distance between taps.
            groups: number of groups that the channels and filters are split into.
            layer: what error messages call it.

        Raises:
            SettingError: a number that is not a whole one, not positive, or does not divide.
            ShapeError: an input of another rank, or a window that does not fit into the padded input.
        """
        rank = len(input_shape) - 1
        if rank not in (1, 2, 3):
            raise ShapeError(
                f"{layer}: expected an input of shape (C, W), (C, H, W) or (C, D, H, W), got {input_shape}; "
                f"a flat vector needs Reshape or comes from a Flatten that stands too early"
            )
        channels = input_shape[0]
        taps = per_axis(kernel, rank, "kernel", layer)
        gaps = per_axis(dilation, rank, "dilation", layer)
        check_positive(taps, "kernel", layer)
        check_positive(gaps, "dilation", layer)
        geometry = cls(
            channels=channels,
            filters=channels if filters is None else filters,
            size=tuple(input_shape[1:]),
            kernel=taps,
            stride=per_axis(stride, rank, "stride", layer),
            padding=resolve_padding(padding, taps, gaps, layer),
            dilation=gaps,
            groups=channels if filters is None else groups,
        )
        geometry.validate(layer)
        return geometry

    def validate(self, layer: str) -> None:
        """Raise unless every size is positive, the groups divide, and a window fits at least once."""
        check_positive((self.channels,), "input channels", layer)
        check_positive((self.filters,), "filters", layer)
        check_positive(self.size, "input size", layer)
        check_positive(self.stride, "stride", layer)
        check_positive((self.groups,), "groups", layer)
        for pair in self.padding:
            if not all(is_whole(side) and 0 <= side <= LARGEST_SIZE for side in pair):
                raise SettingError(
                    f"{layer}: padding must be whole numbers from 0 to {LARGEST_SIZE}, got {pair}"
                )
        if self.channels % self.groups or self.filters % self.groups:
            raise SettingError(
                f"{layer}: groups must divide the input channels and the filters, got groups={self.groups}, "
                f"channels={self.channels}, filters={self.filters}"
            )
        for axis, (padded, window) in enumerate(zip(self.padded_size, self.effective_kernel, strict=True)):
            if window > padded:
                raise ShapeError(
                    f"{layer}: the window is {window} wide on spatial axis {axis}, the padded input only {padded} "
                    f"(input {self.size[axis]}, padding {self.padding[axis]}); use a smaller kernel or dilation, "
                    f"more padding, or fewer poolings before it"
                )

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    @property
    def effective_kernel(self) -> Shape:
        """Extent of the window on each axis, gaps of the dilation included: (k - 1)·dilation + 1."""
        return tuple((taps - 1) * gap + 1 for taps, gap in zip(self.kernel, self.dilation, strict=True))

    @property
    def padded_size(self) -> Shape:
        """Spatial size of the input after padding."""
        return tuple(n + before + after for n, (before, after) in zip(self.size, self.padding, strict=True))

    @property
    def output_size(self) -> Shape:
        """Spatial size of the output: floor((padded - effective kernel) / stride) + 1."""
        return tuple(
            (padded - window) // step + 1
            for padded, window, step in zip(self.padded_size, self.effective_kernel, self.stride, strict=True)
        )

    @property
    def input_shape(self) -> Shape:
        """(C, *spatial) of the input."""
        return (self.channels, *self.size)

    @property
    def output_shape(self) -> Shape:
        """(K, *spatial) of the output."""
        return (self.filters, *self.output_size)

    @property
    def weight_shape(self) -> Shape:
        """(K, C / groups, *kernel)."""
        return (self.filters, self.channels // self.groups, *self.kernel)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one forward convolution of one example, padding counted like data."""
        return prod(self.output_shape) * (self.channels // self.groups) * prod(self.kernel)

    def taps(self) -> Iterable[Shape]:
        """Every (μ, ν, …) of the kernel, row by row."""
        return product(*(range(taps) for taps in self.kernel))

    def tap_slices(self, tap: Shape) -> tuple[slice, ...]:
        """Slices of the padded input's spatial axes that a tap sees: one element for each output position."""
        return tuple(
            slice(at * gap, at * gap + (count - 1) * step + 1, step)
            for at, gap, count, step in zip(tap, self.dilation, self.output_size, self.stride, strict=True)
        )

    def interior_slices(self) -> tuple[slice, ...]:
        """Slices that cut the input out of its padded version."""
        return tuple(
            slice(before, before + n) for n, (before, _) in zip(self.size, self.padding, strict=True)
        )

    def require_input_in_every_window(self, layer: str) -> None:
        """Raise if some window lies wholly in the padding: a pooling has nothing to look at there."""
        for axis in range(self.rank):
            before, gap = self.padding[axis][0], self.dilation[axis]
            count = self.output_size[axis]
            # Without gaps between the taps only the outermost windows can miss the input.
            for position in (0, count - 1) if gap == 1 else range(count):
                start = position * self.stride[axis] - before
                first_inside = start + max(0, -(start // gap)) * gap
                if first_inside >= min(self.size[axis], start + self.effective_kernel[axis]):
                    raise SettingError(
                        f"{layer}: pooling window {position} on spatial axis {axis} sees only padding; "
                        f"padding must be smaller than the window, got padding {self.padding[axis]} "
                        f"for a window of {self.effective_kernel[axis]}"
                    )

    def __str__(self) -> str:
        """Print the geometry in one line."""
        parts = [
            f"{self.input_shape} -> {self.output_shape}",
            f"kernel {by_axis(self.kernel)}",
            f"stride {by_axis(self.stride)}",
            "padding " + "x".join(f"{before}:{after}" for before, after in self.padding),
        ]
        if any(gap != 1 for gap in self.dilation):
            parts.append(f"dilation {by_axis(self.dilation)}")
        if self.groups != 1:
            parts.append(f"groups {self.groups}")
        return ", ".join(parts)


def by_axis(values: Shape) -> str:
    """Join numbers with x: 3x3."""
    return "x".join(str(value) for value in values)


def check_positive(values: Shape, argument: str, layer: str) -> None:
    """Raise unless every value is a whole number from 1 to `LARGEST_SIZE`."""
    for value in values:
        if not is_whole(value) or not 1 <= value <= LARGEST_SIZE:
            raise SettingError(
                f"{layer}: {argument} must be whole numbers from 1 to {LARGEST_SIZE}, got {value!r}"
            )
