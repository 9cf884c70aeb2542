"""The filters of a layer: its weights as pictures."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError
from tatami.network import Network, Parameters
from tatami.training.filters import filters_of, layers_with_filters


def filters(network: Network, parameters: Parameters, layer: str | None = None) -> NDArray[np.float64]:
    """Return the weights of a layer, each filter divided by its largest magnitude: 0 stays 0, the extremes are ±1.

    Args:
        network: the network.
        parameters: layer → name → array.
        layer: a convolution of any kind, or a dense layer (its weights get the shape of the maps that it takes); by
            default the first layer that has filters.

    Returns:
        (K, C / groups, *kernel), see `tatami.training.filters.filters_of`; for a dense layer (units, *shape of its
        input before Flatten).

    Raises:
        UnknownNameError, SettingError: no such layer, or one without filters.

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Convolution
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
    return normalised(filters_of(network, parameters, chosen))


def normalised(weight: NDArray[Any]) -> NDArray[np.float64]:
    """Divide each filter by its largest magnitude; a filter of zeros stays one."""
    values = np.asarray(weight, dtype=np.float64)
    flat = np.abs(values).reshape(len(values), prod(values.shape[1:]))
    largest = flat.max(axis=1, initial=0).reshape(-1, *(1,) * (values.ndim - 1))
    return values / np.where(largest > 0, largest, 1)
