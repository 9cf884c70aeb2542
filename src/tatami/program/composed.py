"""Layers that the native engine computes as two nodes, one behind the other, that both have kernels.

A transposed convolution is a convolution for every phase (the remainder of the output's place by the stride), and their
maps put side by side; a separable convolution is a depthwise one and a 1x1 one; a funnel (FReLU) is a depthwise
convolution and the larger of its output and its input; a recurrent layer in both directions is two walks, and their
outputs one behind the other; fixed filters are a convolution whose weights are no parameters, and behind those of a
short-time Fourier transform stand the powers; behind lost connections stands the layer's activation. The engine keeps
the weights of a transposed convolution in another order than the layer has them: the order is given as a permutation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends import ReferenceBackend
from tatami.geometry import Geometry, Shape
from tatami.layers import (
    GELU,
    GRU,
    LSTM,
    RNN,
    DropConnect,
    FilterBank,
    FReLU,
    Recurrent,
    SeparableConvolution,
    ShortTimeFourier,
    TransposedConvolution,
)
from tatami.layers.base import Layer
from tatami.program.native_layers import ACTIVATIONS, add_activation, add_walk, axes, stream_of, window

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Held:
    """Where the engine keeps a parameter: at which node, under which name, in which order (None: the layer's)."""

    node: int
    name: str
    order: Indices | None = None


@dataclass(frozen=True)
class Composed:
    """The nodes of one layer; the last one's output is the layer's.

    Attributes:
        constant: the weights of the first node where they are no parameters.
    """

    first: int
    last: int
    parameters: Mapping[str, Held]
    constant: NDArray[np.float64] | None = None


def is_composed(layer: Layer, shapes: tuple[Shape, ...]) -> bool:
    """Say whether a layer is computed as two nodes.

    The stride of a transposed convolution must divide its kernel: else some phases would have fewer taps than others.
    """
    if type(layer) in (SeparableConvolution, FReLU, FilterBank, ShortTimeFourier):
        return True
    if isinstance(layer, DropConnect):
        # Samples at prediction have no kernel.
        known = type(layer.activation) in (*ACTIVATIONS, GELU)
        return type(layer) is DropConnect and layer.samples == 0 and known
    if isinstance(layer, Recurrent):
        return type(layer) in (RNN, LSTM, GRU) and layer.direction == "both"
    if type(layer) is not TransposedConvolution or not isinstance(layer, TransposedConvolution):
        return False
    geometry = layer.mirrored(*shapes)
    whole = all(taps % step == 0 for taps, step in zip(geometry.kernel, geometry.stride, strict=True))
    return whole and set(geometry.dilation) == {1}


def add_composed(engine: Any, layer: Layer, inputs: list[int], shapes: tuple[Shape, ...]) -> Composed | None:
    """Describe a layer to the engine as two nodes, or return None where it is none of these."""
    if not is_composed(layer, shapes):
        return None
    if isinstance(layer, TransposedConvolution):
        return add_transposed(engine, layer, inputs[0], layer.mirrored(*shapes))
    if isinstance(layer, DropConnect):
        return add_drop_connect(engine, layer, inputs[0])
    if isinstance(layer, FilterBank):
        return add_filter_bank(engine, layer, inputs[0], layer.window(*shapes))
    if isinstance(layer, ShortTimeFourier):
        return add_short_time_fourier(engine, layer, inputs[0], layer.frames(shapes[0]))
    if isinstance(layer, FReLU):
        return add_funnel(engine, inputs[0], layer.window(*shapes))
    if isinstance(layer, Recurrent):
        return add_both_directions(engine, layer, inputs)
    assert isinstance(layer, SeparableConvolution)
    return add_separable(engine, layer, inputs[0], layer.window(*shapes))


def add_transposed(engine: Any, layer: TransposedConvolution, source: int, geometry: Geometry) -> Composed:
    """Describe a convolution for every phase, and their maps side by side."""
    taps = tuple(count // step for count, step in zip(geometry.kernel, geometry.stride, strict=True))
    reach = axes(tuple(count - 1 for count in taps), 0)
    phases = prod(geometry.stride)
    settings = (axes(taps, 1), [1, 1, 1], reach, reach, [1, 1, 1], geometry.groups, False)
    first = int(engine.add_convolution(source, layer.filters * phases, *settings))
    size, stride = axes(geometry.input_shape[1:], 1), axes(geometry.stride, 1)
    before = axes(tuple(pair[0] for pair in geometry.padding), 0)
    last = int(engine.add_interleave(first, size, stride, before, geometry.groups, layer.bias))
    held = {"weight": Held(first, "weight", order_of_phases(geometry, taps))}
    if layer.bias:
        held["bias"] = Held(last, "bias")
    return Composed(first, last, held)


def order_of_phases(geometry: Geometry, taps: Shape) -> Indices:
    """Return which of the layer's weights (C, K/groups, *kernel) stands where in the weights of all phases.

    The phase r of an axis has the taps r, r + s, r + 2s, …, the last one first. The convolution's filters are ordered
    by group, phase and filter of the group, its weights by input channel of the group and tap.
    """
    groups, rank = geometry.groups, len(taps)
    numbers = np.arange(prod(geometry.weight_shape)).reshape(geometry.weight_shape)
    split = [
        part for count, step in zip(taps, geometry.stride, strict=True) for part in (count, step)
    ]  # tap = position · stride + phase
    channels, filters = geometry.weight_shape[0] // groups, geometry.weight_shape[1]
    numbers = numbers.reshape(groups, channels, filters, *split)
    positions = tuple(3 + 2 * axis for axis in range(rank))
    phases = tuple(4 + 2 * axis for axis in range(rank))
    numbers = np.flip(numbers, positions).transpose(0, *phases, 2, 1, *positions)
    return np.ascontiguousarray(numbers.reshape(-1))


def add_both_directions(engine: Any, layer: Recurrent, inputs: list[int]) -> Composed:
    """Describe the walk forward, the walk back, and their outputs one behind the other."""
    walks = {prefix: add_walk(engine, layer, inputs, reverse) for prefix, reverse in layer.walks()}
    names = ("input_weight", "state_weight", "bias", *(("state_bias",) if isinstance(layer, GRU) else ()))
    held = {f"{prefix}{name}": Held(number, name) for prefix, number in walks.items() for name in names}
    first, second = walks.values()
    return Composed(first, int(engine.add_merge([first, second], True)), held)


def add_separable(engine: Any, layer: SeparableConvolution, source: int, depthwise: Geometry) -> Composed:
    """Describe the depthwise step and the pointwise one."""
    first = add_channelwise(engine, source, depthwise, False)
    ones, zeros = [1, 1, 1], [0, 0, 0]
    last = int(engine.add_convolution(first, layer.filters, ones, ones, zeros, zeros, ones, 1, layer.bias))
    held = {"depthwise_weight": Held(first, "weight"), "pointwise_weight": Held(last, "weight")}
    if layer.bias:
        held["bias"] = Held(last, "bias")
    return Composed(first, last, held)


def add_funnel(engine: Any, source: int, geometry: Geometry) -> Composed:
    """Describe the filter over the neighbourhood, and the larger of its output and its input."""
    first = add_channelwise(engine, source, geometry, True)
    last = int(engine.add_larger(source, first))
    return Composed(first, last, {"weight": Held(first, "weight"), "bias": Held(first, "bias")})


def add_drop_connect(engine: Any, layer: DropConnect, source: int) -> Composed:
    """Describe the dense layer that loses connections, and its activation."""
    ratio, stream = float(layer.ratio), stream_of(layer)
    first = int(engine.add_drop_connect(source, layer.units, ratio, stream, layer.bias))
    last = add_activation(engine, layer.activation, first)
    assert last is not None
    held = {"weight": Held(first, "weight")} | ({"bias": Held(first, "bias")} if layer.bias else {})
    return Composed(first, last, held)


def add_filter_bank(engine: Any, layer: FilterBank, source: int, geometry: Geometry) -> Composed:
    """Describe fixed filters, the same for every channel."""
    node = add_channelwise(engine, source, geometry, False)
    engine.fix_weights(node)
    return Composed(node, node, {}, np.tile(layer.kernels(), (geometry.channels, *(1,) * geometry.rank)))


def add_short_time_fourier(engine: Any, layer: ShortTimeFourier, source: int, frames: Geometry) -> Composed:
    """Describe filters with the waves of all frequencies, cosines and then sines, and the powers of their answers."""
    waves = np.concatenate([np.asarray(wave) for wave in layer.waves(ReferenceBackend(), np.float64)])
    geometry = replace(frames, filters=frames.channels * len(waves), groups=frames.channels)
    first = add_channelwise(engine, source, geometry, False)
    engine.fix_weights(first)
    last = int(engine.add_log_power(first, frames.channels, float(layer.gain)))
    return Composed(first, last, {}, np.tile(waves, (frames.channels, 1)))


def add_channelwise(engine: Any, source: int, geometry: Geometry, bias: bool) -> int:
    """Describe a convolution that keeps the channels apart."""
    settings = (*window(geometry), axes(geometry.dilation, 1), geometry.groups, bias)
    return int(engine.add_convolution(source, geometry.filters, *settings))
