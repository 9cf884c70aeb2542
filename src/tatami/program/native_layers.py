"""How the layers that stand between the products are described to the native engine: one function for each kind.

A function gets the engine, the layer, the numbers of its inputs and their shapes, and returns the number of the node,
or None where a setting has no kernel.
"""

import zlib
from collections.abc import Callable
from typing import Any

from tatami import layers
from tatami.geometry import Geometry, Shape
from tatami.layers.base import Layer
from tatami.layers.rectifiers import SELU_ALPHA, SELU_SCALE
from tatami.layers.resampling import Resampling

# The engine's number of an activation, and where its settings stand.
ACTIVATIONS: dict[type[Layer], tuple[int, Callable[[Any], tuple[float, ...]]]] = {
    layers.Identity: (0, lambda layer: ()),
    layers.Step: (1, lambda layer: ()),
    layers.Sigmoid: (2, lambda layer: ()),
    layers.Tanh: (3, lambda layer: ()),
    layers.ReLU: (4, lambda layer: ()),
    layers.LeakyReLU: (5, lambda layer: (layer.slope,)),
    layers.ELU: (6, lambda layer: (layer.alpha, 1.0)),
    layers.SELU: (6, lambda layer: (SELU_ALPHA, SELU_SCALE)),
    layers.Softplus: (7, lambda layer: ()),
    layers.Swish: (8, lambda layer: (layer.beta,)),
    layers.Mish: (9, lambda layer: ()),
    layers.HardSigmoid: (12, lambda layer: (layer.slope,)),
}
GELU_FORMS = {"exact": 10, "tanh": 11}
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


def axes(values: Shape, fill: int) -> list[int]:
    """Write the numbers of 1, 2 or 3 axes as (depth, height, width)."""
    return [fill] * (3 - len(values)) + list(values)


def window(geometry: Geometry) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return kernel, stride, padding before and after along depth, height and width."""
    return (
        axes(geometry.kernel, 1),
        axes(geometry.stride, 1),
        axes(tuple(pair[0] for pair in geometry.padding), 0),
        axes(tuple(pair[1] for pair in geometry.padding), 0),
    )


def stream_of(layer: Layer) -> int:
    """Return the number of the stream that a layer draws from: that of its name."""
    return zlib.crc32(layer.name.encode())


def add_dropout(engine: Any, layer: layers.Dropout, inputs: list[int], shapes: tuple[Shape, ...]) -> int:
    """Describe a dropout of units."""
    return int(engine.add_dropout(inputs[0], float(layer.ratio), stream_of(layer), False, layer.exact))


def add_channel_dropout(
    engine: Any, layer: layers.ChannelDropout, inputs: list[int], shapes: tuple[Shape, ...]
) -> int:
    """Describe a dropout of maps."""
    return int(engine.add_dropout(inputs[0], float(layer.ratio), stream_of(layer), True, False))


def add_noise(engine: Any, layer: layers.GaussianNoise, inputs: list[int], shapes: tuple[Shape, ...]) -> int:
    """Describe normal noise."""
    return int(engine.add_noise(inputs[0], float(layer.std), stream_of(layer)))


def add_sample(
    engine: Any, layer: layers.GaussianSample, inputs: list[int], shapes: tuple[Shape, ...]
) -> int:
    """Describe a draw from a normal distribution."""
    return int(engine.add_sample(*inputs, stream_of(layer)))


def add_resampling(engine: Any, layer: Resampling, inputs: list[int], shapes: tuple[Shape, ...]) -> int:
    """Describe a linear map along each axis by its rows; axes that the input has not are left as they are."""
    rows = layer.rows(shapes[0][1:])
    missing = 3 - len(rows)
    taps = [1] * missing + [axis.sources.shape[1] for axis in rows]
    sources = [[0]] * missing + [axis.sources.reshape(-1).tolist() for axis in rows]
    weights = [[1.0]] * missing + [axis.weights.reshape(-1).tolist() for axis in rows]
    fill = float(layer.value) if isinstance(layer, layers.Pad) else 0.0
    return int(engine.add_resample(inputs[0], taps, sources, weights, fill))


def add_adaptive_pool(
    engine: Any,
    layer: layers.AdaptiveAveragePool | layers.AdaptiveMaxPool,
    inputs: list[int],
    shapes: tuple[Shape, ...],
) -> int:
    """Describe a pooling into a fixed number of windows."""
    size = axes(layer.output_shape(*shapes)[1:], 1)
    return int(engine.add_adaptive_pool(inputs[0], size, isinstance(layer, layers.AdaptiveMaxPool)))


def add_permute(
    engine: Any, layer: layers.Permute, inputs: list[int], shapes: tuple[Shape, ...]
) -> int | None:
    """Describe exchanged axes."""
    return int(engine.add_permute(inputs[0], list(layer.axes))) if len(layer.axes) <= 4 else None


def add_embedding(
    engine: Any, layer: layers.Embedding, inputs: list[int], shapes: tuple[Shape, ...]
) -> int | None:
    """Describe a table of vectors; only tokens that are the network's input are checked before they get there."""
    shape = layer.output_shape(*shapes)
    if inputs != [0] or len(shape) > 4:
        return None
    return int(engine.add_embedding(inputs[0], layer.vocabulary, shape))


def add_padding_mask(
    engine: Any, layer: layers.PaddingMask, inputs: list[int], shapes: tuple[Shape, ...]
) -> int:
    """Describe the mask of a padded sequence."""
    return int(engine.add_padding_mask(inputs[0], float(layer.value)))


TIES = {"first": 0, "all": 1, "even": 2}


def add_max_pool(engine: Any, layer: layers.MaxPool, inputs: list[int], shapes: tuple[Shape, ...]) -> int:
    """Describe maxima of windows."""
    geometry = layer.window(*shapes)
    gaps = axes(geometry.dilation, 1)
    return int(engine.add_max_pool(inputs[0], *window(geometry), gaps, TIES[layer.ties]))


def add_average_pool(
    engine: Any, layer: layers.AveragePool, inputs: list[int], shapes: tuple[Shape, ...]
) -> int:
    """Describe means of windows."""
    geometry = layer.window(*shapes)
    gaps = axes(geometry.dilation, 1)
    return int(engine.add_average_pool(inputs[0], *window(geometry), layer.count_padding, gaps))


def add_lp_pool(engine: Any, layer: layers.LpPool, inputs: list[int], shapes: tuple[Shape, ...]) -> int:
    """Describe p-norms of windows."""
    geometry = layer.window(*shapes)
    gaps = axes(geometry.dilation, 1)
    return int(engine.add_lp_pool(inputs[0], *window(geometry), float(layer.p), layer.normalise, gaps))


def add_unpool(engine: Any, layer: layers.MaxUnpool, inputs: list[int], shapes: tuple[Shape, ...]) -> int:
    """Describe the way back from maxima to where they stood."""
    return int(engine.add_unpool(*inputs, *window(layer.pool.window(shapes[1]))))


def add_stochastic_pool(
    engine: Any, layer: layers.StochasticPool, inputs: list[int], shapes: tuple[Shape, ...]
) -> int:
    """Describe a random entry of every window."""
    geometry = layer.window(*shapes)
    gaps = axes(geometry.dilation, 1)
    return int(engine.add_stochastic_pool(inputs[0], *window(geometry), gaps, stream_of(layer)))


DESCRIBED: dict[type[Layer], Describe] = {
    layers.PReLU: add_prelu,
    layers.Maxout: add_maxout,
    layers.LayerNormalization: add_layer_norm,
    layers.InstanceNormalization: add_instance_norm,
    layers.GroupNormalization: add_group_norm,
    layers.RNN: add_recurrent,
    layers.LSTM: add_recurrent,
    layers.GRU: add_recurrent,
    layers.Dropout: add_dropout,
    layers.ChannelDropout: add_channel_dropout,
    layers.GaussianNoise: add_noise,
    layers.GaussianSample: add_sample,
    layers.Pad: add_resampling,
    layers.Upsample: add_resampling,
    layers.AdaptiveAveragePool: add_adaptive_pool,
    layers.AdaptiveMaxPool: add_adaptive_pool,
    layers.Permute: add_permute,
    layers.Embedding: add_embedding,
    layers.PaddingMask: add_padding_mask,
    layers.MaxPool: add_max_pool,
    layers.AveragePool: add_average_pool,
    layers.LpPool: add_lp_pool,
    layers.L2Pool: add_lp_pool,
    layers.MaxUnpool: add_unpool,
    layers.StochasticPool: add_stochastic_pool,
}


def add_activation(engine: Any, layer: Layer, source: int) -> int | None:
    """Describe an activation without parameters, or return None where it is none."""
    if type(layer) in ACTIVATIONS:
        number, settings_of = ACTIVATIONS[type(layer)]
        return int(engine.add_activation(source, number, *map(float, settings_of(layer))))
    if type(layer) is layers.GELU and isinstance(layer, layers.GELU):
        return int(engine.add_activation(source, GELU_FORMS[layer.form]))
    return None


def add_described(engine: Any, layer: Layer, inputs: list[int], shapes: tuple[Shape, ...]) -> int | None:
    """Describe a layer of this module to the engine, or return None where it is none of them."""
    describe = DESCRIBED.get(type(layer))
    return describe(engine, layer, inputs, shapes) if describe else add_activation(engine, layer, inputs[0])
