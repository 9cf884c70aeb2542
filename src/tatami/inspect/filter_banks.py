"""The filters of a layer: its weights as pictures."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError, unknown_name
from tatami.layers import Convolution, Dense, Flatten
from tatami.network import INPUT, Network, Node, Parameters


def filters(network: Network, parameters: Parameters, layer: str | None = None) -> NDArray[np.float64]:
    """Return the weights of a layer, each filter divided by its largest magnitude: 0 stays 0, the extremes are ±1.

    Args:
        network: the network.
        parameters: layer → name → array.
        layer: a convolution, or a dense layer (its weights get the shape of the maps that it takes); by default the
            first layer that has filters.

    Returns:
        (K, C / groups, *kernel); for a dense layer (units, *shape of its input before Flatten).

    Raises:
        UnknownNameError, SettingError: no such layer, or one without filters.

    >>> from tatami.initializers import Given
    >>> from tatami.network import Sequential
    >>> network = Sequential(Convolution(1, 2, weight_initializer=Given([[[[0, 1], [2, -4]]]])), input_shape=(1, 3, 3))
    >>> filters(network, network.initialize())[0, 0]
    array([[ 0.  ,  0.25],
           [ 0.5 , -1.  ]])
    """
    named = layers_with_filters(network)
    if not named:
        raise SettingError(f"{network.name} has no layer with filters")
    chosen = named[0] if layer is None else layer
    if chosen not in named:
        raise unknown_name(f"layer with filters of {network.name}", chosen, named)
    node = next(node for node in network.nodes if node.name == chosen)
    weight = np.asarray(parameters[chosen]["weight"], dtype=np.float64)
    if isinstance(node.layer, Dense):
        weight = weight.reshape(len(weight), *shape_before_flattening(network, node))
    return normalised(weight)


def layers_with_filters(network: Network) -> list[str]:
    """Return the names of the convolutions and dense layers."""
    return [node.name for node in network.nodes if isinstance(node.layer, Convolution | Dense)]


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


def normalised(weight: NDArray[Any]) -> NDArray[np.float64]:
    """Divide each filter by its largest magnitude; a filter of zeros stays one."""
    values = np.asarray(weight, dtype=np.float64)
    flat = np.abs(values).reshape(len(values), prod(values.shape[1:]))
    largest = flat.max(axis=1, initial=0).reshape(-1, *(1,) * (values.ndim - 1))
    return values / np.where(largest > 0, largest, 1)
