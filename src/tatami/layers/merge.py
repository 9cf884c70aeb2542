"""Layers that join several inputs into one: what makes a network a graph and not a chain."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add, mul
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.errors import ShapeError
from tatami.geometry import Shape
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters


@dataclass(frozen=True)
class EntryByEntry(Layer, abstract=True):
    """Base of the layers that join inputs of one shape, entry by entry."""

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the common shape."""
        require_several(self, input_shapes)
        if len(set(input_shapes)) != 1:
            raise ShapeError(
                f"{self.label}: all inputs must have one shape, got {', '.join(map(str, input_shapes))}"
            )
        return input_shapes[0]


@dataclass(frozen=True)
class Add(EntryByEntry):
    """y = x₁ + x₂ + …, all of the same shape (the skip connection of residual networks).

    >>> Add().output_shape((8, 4, 4), (8, 4, 4))
    (8, 4, 4)
    """

    kind: ClassVar[str] = "add"

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the sum."""
        return Forward(reduce(add, inputs), saved=numbered(inputs))

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dy for every input: ∂(x₁ + x₂)/∂x₁ = 1."""
        return Backward((dy,) * len(saved))


@dataclass(frozen=True)
class Concatenate(Layer):
    """Stack the inputs along the channels: (C₁, *spatial), (C₂, *spatial) → (C₁ + C₂, *spatial).

    >>> Concatenate().output_shape((8, 4, 4), (3, 4, 4))
    (11, 4, 4)
    """

    kind: ClassVar[str] = "concatenate"

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (ΣC, *spatial)."""
        require_several(self, input_shapes)
        if len({shape[1:] for shape in input_shapes}) != 1:
            shapes = ", ".join(map(str, input_shapes))
            raise ShapeError(f"{self.label}: inputs may differ in their channels (axis 0) only, got {shapes}")
        return (sum(shape[0] for shape in input_shapes), *input_shapes[0][1:])

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the inputs one behind the other."""
        return Forward(ops.xp.concat(inputs, axis=1), saved=numbered(inputs))

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Cut dy where the inputs were joined."""
        pieces, start = [], 0
        for number in range(len(saved)):
            channels = saved[f"x{number}"].shape[1]
            pieces.append(dy[:, start : start + channels])
            start += channels
        return Backward(tuple(pieces))


@dataclass(frozen=True)
class Multiply(EntryByEntry):
    """y = x₁ · x₂ · …, entry by entry, all of the same shape: a gate, if one of them is a sigmoid.

    >>> Multiply().output_shape((8, 4, 4), (8, 4, 4))
    (8, 4, 4)
    """

    kind: ClassVar[str] = "multiply"

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the product."""
        return Forward(reduce(mul, inputs), saved=numbered(inputs))

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return for every input dy times the product of the others: ∂(x₁·x₂·x₃)/∂x₁ = x₂·x₃, no division by x₁."""
        inputs = [saved[f"x{number}"] for number in range(len(saved))]
        return Backward(
            tuple(reduce(mul, inputs[:number] + inputs[number + 1 :], dy) for number in range(len(inputs)))
        )


def require_several(layer: Layer, input_shapes: tuple[Shape, ...]) -> None:
    """Raise unless the layer joins at least two inputs."""
    if len(input_shapes) < 2:
        raise ShapeError(f"{layer.label}: joins two or more inputs, got {len(input_shapes)}")


def numbered(inputs: tuple[Array, ...]) -> dict[str, Array]:
    """Return the inputs under the names that backward asks for: x0, x1 and so on."""
    return {f"x{number}": x for number, x in enumerate(inputs)}
