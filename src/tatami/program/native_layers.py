"""How the layers that stand between the products are described to the native engine: one function for each kind.

A function gets the engine, the layer, the numbers of its inputs and their shapes, and returns the number of the node,
or None where a setting has no kernel.
"""

from collections.abc import Callable
from typing import Any

from tatami import layers
from tatami.geometry import Shape
from tatami.layers.base import Layer

Describe = Callable[[Any, Any, list[int], tuple[Shape, ...]], int | None]


def add_prelu(engine: Any, layer: layers.PReLU, inputs: list[int], shapes: tuple[Shape, ...]) -> int:
    """Describe a leaky ReLU with learned slopes."""
    return int(engine.add_slopes(inputs[0], layer.shared))


def add_maxout(engine: Any, layer: layers.Maxout, inputs: list[int], shapes: tuple[Shape, ...]) -> int:
    """Describe maxima over neighbouring channels."""
    return int(engine.add_pieces(inputs[0], layer.pieces))


def add_layer_norm(
    engine: Any, layer: layers.LayerNormalization, inputs: list[int], shapes: tuple[Shape, ...]
) -> int:
    """Describe a normalisation of everything, or of the channels of each position."""
    over_channels = layer.over == "channels"
    affine = (layer.affine, layer.affine and layer.shift)
    return int(
        engine.add_example_norm(inputs[0], 1, over_channels, not over_channels, layer.epsilon, *affine)
    )


def add_instance_norm(
    engine: Any, layer: layers.InstanceNormalization, inputs: list[int], shapes: tuple[Shape, ...]
) -> int:
    """Describe a normalisation of every map: as many groups as channels."""
    return add_norm_of_groups(engine, layer, inputs, shapes[0][0])


def add_group_norm(
    engine: Any, layer: layers.GroupNormalization, inputs: list[int], shapes: tuple[Shape, ...]
) -> int:
    """Describe a normalisation of groups of channels."""
    return add_norm_of_groups(engine, layer, inputs, layer.groups)


def add_norm_of_groups(
    engine: Any,
    layer: layers.InstanceNormalization | layers.GroupNormalization,
    inputs: list[int],
    groups: int,
) -> int:
    """Describe a normalisation of groups of channels, each over all positions."""
    affine = (layer.affine, layer.affine and layer.shift)
    return int(engine.add_example_norm(inputs[0], groups, False, False, layer.epsilon, *affine))


def add_recurrent(
    engine: Any, layer: layers.Recurrent, inputs: list[int], shapes: tuple[Shape, ...]
) -> int | None:
    """Describe a recurrent layer in one direction; both are two nodes, see `composed`."""
    return (
        None if layer.direction == "both" else add_walk(engine, layer, inputs, layer.direction == "reverse")
    )


def add_walk(engine: Any, layer: layers.Recurrent, inputs: list[int], reverse: bool) -> int:
    """Describe one walk of a recurrent layer through time; the second input is the mask."""
    if isinstance(layer, layers.RNN):
        cell = 1 if layer.activation == "relu" else 0
    else:
        cell = 2 if isinstance(layer, layers.LSTM) else 3
    every_step = layer.outputs == "all"
    return int(engine.add_recurrent(inputs, cell, layer.units, every_step, reverse, layer.truncate or 0))


DESCRIBED: dict[type[Layer], Describe] = {
    layers.PReLU: add_prelu,
    layers.Maxout: add_maxout,
    layers.LayerNormalization: add_layer_norm,
    layers.InstanceNormalization: add_instance_norm,
    layers.GroupNormalization: add_group_norm,
    layers.RNN: add_recurrent,
    layers.LSTM: add_recurrent,
    layers.GRU: add_recurrent,
}


def add_described(engine: Any, layer: Layer, inputs: list[int], shapes: tuple[Shape, ...]) -> int | None:
    """Describe a layer of this module to the engine, or return None where it is none of them."""
    describe = DESCRIBED.get(type(layer))
    return describe(engine, layer, inputs, shapes) if describe else None
