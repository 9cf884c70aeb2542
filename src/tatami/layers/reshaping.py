"""The same numbers in another order: reshape and permute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError, ShapeError
from tatami.geometry import LARGEST_SIZE, Shape, by_axis
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input


@dataclass(frozen=True)
class Reshape(Layer):
    """Read the numbers of an example, in their order, as another shape.

    Args:
        shape: of the output, without the batch axis; one entry may be -1 and is then what is left over.

    >>> Reshape((1, 28, -1)).output_shape((784,))
    (1, 28, 28)
    """

    shape: Sequence[int]
    kind: ClassVar[str] = "reshape"

    def __post_init__(self) -> None:
        """Check that the shape can be one."""
        super().__post_init__()
        sizes = [size for size in self.shape if size != -1]
        if (
            not self.shape
            or len(self.shape) - len(sizes) > 1
            or any(not 1 <= n <= LARGEST_SIZE for n in sizes)
        ):
            raise SettingError(
                f"{self.label}: shape must be positive whole numbers, one of them perhaps -1, got {self.shape}"
            )

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the shape with -1 filled in."""
        shape = only_input(self, input_shapes)
        known = prod(size for size in self.shape if size != -1)
        left_over = prod(shape) // known
        result = tuple(left_over if size == -1 else size for size in self.shape)
        if prod(result) != prod(shape) or not left_over:
            raise ShapeError(
                f"{self.label}: an input of shape {shape} has {prod(shape)} numbers, which do not make {self.shape}"
            )
        return result

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the same numbers in the new shape."""
        (x,) = inputs
        return Forward(ops.xp.reshape(x, (x.shape[0], *self.output_shape(x.shape[1:]))), saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = reshape(x)``: dy in the old shape."""
        return Backward((ops.xp.reshape(dy, saved["x"].shape),))

    def sees_everything(self) -> bool:
        """The place of an output does not tell which part of the input it comes from."""
        return True

    def settings(self) -> str:
        """Return the shape."""
        return by_axis(tuple(self.shape))


@dataclass(frozen=True)
class Permute(Layer):
    """Exchange the axes of an example.

    Args:
        axes: for each axis of the output the axis of the input, from 0, the batch axis not counted.

    The rows of an image become the steps of a sequence, (H, W) → (features W, time H):

    >>> Permute((1, 0)).output_shape((28, 20))
    (20, 28)
    """

    axes: Sequence[int]
    kind: ClassVar[str] = "permute"

    def __post_init__(self) -> None:
        """Check that every axis appears once."""
        super().__post_init__()
        if not self.axes or sorted(self.axes) != list(range(len(self.axes))):
            raise SettingError(
                f"{self.label}: axes must name each axis once, counted from 0, got {self.axes}"
            )

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the sizes in the new order."""
        shape = only_input(self, input_shapes)
        if len(shape) != len(self.axes):
            raise ShapeError(f"{self.label}: axes {self.axes} do not fit to an input of shape {shape}")
        return tuple(shape[axis] for axis in self.axes)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return y(j₀, j₁, …) = x(i₀, i₁, …), axis k of y being axis axes(k) of x."""
        (x,) = inputs
        return Forward(ops.xp.permute_dims(x, (0, *(axis + 1 for axis in self.axes))))

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = permute(x)``: the axes exchanged back."""
        back = [tuple(self.axes).index(axis) for axis in range(len(self.axes))]
        return Backward((ops.xp.permute_dims(dy, (0, *(axis + 1 for axis in back))),))

    def sees_everything(self) -> bool:
        """The place of an output does not tell which part of the input it comes from."""
        return True

    def settings(self) -> str:
        """Return the axes."""
        return f"axes {', '.join(map(str, self.axes))}"
