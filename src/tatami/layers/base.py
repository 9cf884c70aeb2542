"""What every layer is: a frozen dataclass of settings with a forward and a hand-derived backward.

Layers keep no state. Parameters and state (running statistics) go in and come out; what backward needs is returned
by forward under a name. The gradient of ``x`` is called ``dx``, that of ``weight`` ``dweight``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.description import Described
from tatami.errors import ShapeError
from tatami.geometry import Geometry, Shape
from tatami.initializers import ParameterSpec
from tatami.random import RandomKey

LayerParameters = Mapping[str, Array]


@dataclass(frozen=True)
class Context:
    """Circumstances of a forward pass: training or not, where in the run, and the layer's state."""

    training: bool = False
    key: RandomKey = field(default_factory=RandomKey)
    state: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Forward:
    """What a forward pass of one layer returns: its output, what backward needs, and the new state."""

    output: Array
    saved: Mapping[str, Array] = field(default_factory=dict)
    state: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Backward:
    """What a backward pass of one layer returns: a gradient for each input and for each parameter."""

    dinputs: tuple[Array, ...]
    dparameters: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Layer(Described, family="layer", abstract=True):
    """Base of all layers. Shapes exclude the batch axis: (C, *spatial) or (features,).

    Attributes:
        name: how the network calls this layer; left empty, the network numbers it (conv1, conv2, …).
    """

    name: str = field(default="", kw_only=True)
    kind: ClassVar[str] = "layer"
    # Whether the inputs are numbers of things (tokens), not quantities: they have no derivative.
    takes_indices: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """What error messages call the layer."""
        return f"{self.name or self.kind} ({type(self).__name__})"

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the output's shape, or raise an error that names this layer."""
        raise NotImplementedError

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return what parameters the layer has for inputs of these shapes."""
        return {}

    def initial_state(self, *input_shapes: Shape) -> dict[str, Any]:
        """Return the state that the layer starts from, as NumPy arrays in float64."""
        return {}

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Compute the output from the inputs, arrays of shape (N, *input_shape)."""
        raise NotImplementedError

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Compute the gradients from dy, the gradient of the loss with respect to the output."""
        raise NotImplementedError

    def draw_input(self, key: RandomKey, stream: str, shape: Shape) -> NDArray[np.float64]:
        """Return a random input that the layer can take, (N, *shape), for checks."""
        return key.normal(stream, shape)

    def window(self, *input_shapes: Shape) -> Geometry | None:
        """Return the window that this layer moves over its input, if it has one."""
        return None

    def enlargement(self, *input_shapes: Shape) -> tuple[tuple[int, int, int], ...] | None:
        """Return (factor, low, high) for each axis if output j sees the inputs i with j + low ≤ factor·i ≤ j + high."""
        return None

    def sees_everything(self) -> bool:
        """Say whether every output unit sees the whole input, or its place does not tell what it sees."""
        return False

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return the multiply-adds of one forward pass of one example (of the sums of products, nothing else)."""
        return 0

    def settings(self) -> str:
        """Return the settings in a short line for summaries."""
        return ""


@dataclass(frozen=True)
class SameShape(Layer, abstract=True):
    """Base of the layers whose output has the shape of their one input."""

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the input's shape."""
        return only_input(self, input_shapes)


def only_input(layer: Layer, input_shapes: tuple[Shape, ...]) -> Shape:
    """Return the one input shape of a layer that takes a single input."""
    if len(input_shapes) != 1:
        raise ShapeError(
            f"{layer.label}: takes one input, got {len(input_shapes)}; merge them with Add or Concatenate"
        )
    return input_shapes[0]
