"""Which layers have filters, and which of them a run records while they grow."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from numpy.typing import NDArray

from tatami.errors import SettingError, unknown_name
from tatami.layers import (
    Convolution,
    Dense,
    Flatten,
    FReLU,
    SeparableConvolution,
    TableConvolution,
    TransposedConvolution,
)
from tatami.network import INPUT, Network, Node, Parameters

SLIDING = (Convolution, SeparableConvolution, TableConvolution, TransposedConvolution, FReLU)
# Numbers that are kept of all layers together at one moment, unless they are asked for by name.
KEPT, MOST_ASKED_FOR = 2**16, 2**20
MOST_FILTERS = 64


def layers_with_filters(network: Network) -> list[str]:
    """Return the names of the layers that move filters over their input, and of the dense layers."""
    return [node.name for node in network.nodes if isinstance(node.layer, (*SLIDING, Dense))]


def filters_of(network: Network, parameters: Parameters, layer: str) -> NDArray[Any]:
    """Return the weights of a layer as filters.

    Returns:
        (K, C / groups, *kernel). The depthwise filters of a separable convolution are (C·m, 1, *kernel), a table's
        (connections, 1, *kernel), those of a transposed convolution (C, K / groups, *kernel); for a dense layer
        (units, *shape of its input before Flatten).

    >>> import tatami
    >>> network = tatami.build("arai")
    >>> filters_of(network, network.initialize(), "dense1").shape
    (100, 64, 7, 7)
    """
    node = node_of(network, layer)
    if isinstance(node.layer, SeparableConvolution):
        return parameters[layer]["depthwise_weight"]
    weight = parameters[layer]["weight"]
    if isinstance(node.layer, TableConvolution):
        return weight[:, None]
    if isinstance(node.layer, Dense):
        return weight.reshape(len(weight), *shape_before_flattening(network, node))
    return weight


def node_of(network: Network, layer: str) -> Node:
    """Return the node of a layer that has filters, or raise with the nearest name."""
    known = layers_with_filters(network)
    if layer not in known:
        raise unknown_name(f"layer with filters of {network.name}", layer, known)
    return next(node for node in network.nodes if node.name == layer)


def filter_shape(network: Network, layer: str) -> tuple[int, ...]:
    """Return the shape that `filters_of` gives, without the numbers."""
    node = node_of(network, layer)
    specs = network.parameter_specs[layer]
    if isinstance(node.layer, SeparableConvolution):
        return specs["depthwise_weight"].shape
    shape = specs["weight"].shape
    if isinstance(node.layer, TableConvolution):
        return (shape[0], 1, *shape[1:])
    if isinstance(node.layer, Dense):
        return (shape[0], *shape_before_flattening(network, node))
    return shape


def shape_before_flattening(network: Network, node: Node) -> tuple[int, ...]:
    """Return the shape of the maps that a dense layer sees, through Flatten and what does not change the shape.

    >>> import tatami
    >>> network = tatami.build("arai")
    >>> shape_before_flattening(network, next(node for node in network.nodes if node.name == "dense1"))
    (64, 7, 7)
    """
    nodes = {other.name: other for other in network.nodes}
    shape = network.input_shapes(node)[0]
    at = node.inputs[0]
    while at != INPUT and len(nodes[at].inputs) == 1:
        source = nodes[at].inputs[0]
        if isinstance(nodes[at].layer, Flatten):
            return network.shapes[source]
        if network.shapes[source] != shape:
            break
        at = source
    return shape


@dataclass(frozen=True)
class ChosenFilters:
    """Filters of a layer that somebody asks for.

    Attributes:
        layer: its name.
        numbers: which of them, from 0; all if empty.
    """

    layer: str
    numbers: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "ChosenFilters":
        """Read conv2, or conv2[5,17].

        Raises:
            SettingError: not of that form.

        >>> ChosenFilters.parse("conv2[5, 17]"), ChosenFilters.parse("conv1")
        (ChosenFilters(layer='conv2', numbers=(5, 17)), ChosenFilters(layer='conv1', numbers=()))
        """
        match = re.fullmatch(r"([^\[\]]+?)(?:\[(\s*\d{1,9}\s*(?:,\s*\d{1,9}\s*)*)\])?", text.strip())
        if match is None:
            raise SettingError(
                f"filters are named by their layer, such as conv2, and by their numbers, such as conv2[5,17]; "
                f"got {text!r:.60}"
            )
        numbers = tuple(int(number) for number in match[2].split(",")) if match[2] else ()
        return cls(match[1], tuple(dict.fromkeys(numbers)))

    def numbers_in(self, network: Network) -> tuple[int, ...]:
        """Return the numbers, checked; all of the layer if none are named.

        Raises:
            UnknownNameError: the network has no such layer, or it has no filters.
            SettingError: the layer has fewer filters.
        """
        count = filter_shape(network, self.layer)[0]
        for number in self.numbers:
            if number >= count:
                raise SettingError(
                    f"{self.layer} has the filters 0 to {count - 1}, there is no filter {number}"
                )
        return self.numbers or tuple(range(count))


def recorded_filters(network: Network, asked: Sequence[str] = ()) -> Mapping[str, tuple[int, ...]]:
    """Return which filters a run records: those that are asked for, and of the other layers as many as cost little.

    Args:
        network: the network.
        asked: such as 'conv2[5,17]'.

    Raises:
        UnknownNameError, SettingError: filters that there are not, or more than can be kept.

    >>> import tatami
    >>> chosen = recorded_filters(tatami.build("arai"), ["conv2[5,17]"])
    >>> chosen["conv2"], len(chosen["conv1"])
    ((5, 17), 32)
    """
    chosen: dict[str, tuple[int, ...]] = {}
    for text in asked:
        wanted = ChosenFilters.parse(text)
        both = (*chosen.get(wanted.layer, ()), *wanted.numbers_in(network))
        chosen[wanted.layer] = tuple(dict.fromkeys(both))
    numbers = sum(len(which) * size_of(network, layer) for layer, which in chosen.items())
    if numbers > MOST_ASKED_FOR:
        raise SettingError(
            f"the filters to watch have {numbers:,} weights, at most {MOST_ASKED_FOR:,} are kept; name fewer of them"
        )
    layers = [layer for layer in layers_with_filters(network) if is_seen(network, layer)]
    share = KEPT // max(1, len(layers))
    kept = 0
    for layer in layers:
        if layer in chosen:
            continue
        size = size_of(network, layer)
        count = min(filter_shape(network, layer)[0], MOST_FILTERS, max(1, share // size))
        if kept + count * size <= KEPT:
            chosen[layer] = tuple(range(count))
            kept += count * size
    return chosen


def size_of(network: Network, layer: str) -> int:
    """Return how many weights one filter of a layer has."""
    return prod(filter_shape(network, layer)[1:])


def is_seen(network: Network, layer: str) -> bool:
    """Say whether the filters of a layer are pictures by themselves: they slide, or weigh the input itself."""
    sliding = isinstance(network[layer], SLIDING)
    shape = filter_shape(network, layer)
    return sliding or (shape[1:] == network.input_shape and len(shape) > 2)
