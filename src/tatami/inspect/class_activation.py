"""Grad-CAM: which places of a layer's maps speak for a class."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError, ShapeError
from tatami.inspect.resampling import enlarge
from tatami.inspect.units import Target, resolve_target
from tatami.inspect.walk import walk_forward
from tatami.layers import Dropout
from tatami.network import Network, Parameters


def grad_cam(
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    *,
    layer: str | None = None,
    full_size: bool = True,
    state: Parameters | None = None,
) -> NDArray[np.float64]:
    """Return L = max(0, Σ_k α(k) A(k)), the maps A(k) of a layer weighed by their mean gradients α(k).

    α(k) = 1/Z Σ_i ∂S/∂A(k, i) over the Z positions of a map.

    Args:
        network: the network.
        parameters: layer → name → array.
        x: a batch (N, *input_shape), preprocessed.
        target: a class for all examples, one for each, or a `Unit`.
        state: what layers carry; the initial state by default.
        layer: whose maps; by default the last ones that tell places apart, see `last_maps`.
        full_size: whether to enlarge the map to the input by linear interpolation.

    Returns:
        (N, *spatial) of the input, or of the layer.

    Raises:
        SettingError: no layer with maps, or inputs without places.

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Convolution, Dense, GlobalAveragePool
    >>> from tatami.network import Sequential
    >>> convolution = Convolution(2, 1, weight_initializer=Given([[[[1]]], [[[-1]]]]))
    >>> dense = Dense(1, weight_initializer=Given([[4, 8]]))
    >>> network = Sequential(convolution, GlobalAveragePool(), dense, input_shape=(1, 2, 2))
    >>> x = np.array([[[[1, 0], [0, -3]]]], float)  # the gradients of the maps are 1 and 2, so L = max(0, x - 2x)
    >>> grad_cam(network, network.initialize(), x, target=0)
    array([[[0., 0.],
            [0., 3.]]])

    Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks" (2017), eq. 1 and 2.
    """
    name = last_maps(network) if layer is None else layer
    shape = network.shapes.get(name, ())
    if len(shape) < 2:
        raise SettingError(
            f"Grad-CAM needs a layer with maps (C, *spatial); {name!r} of {network.name} has {shape}"
        )
    walk = walk_forward(network, parameters, x, state)
    chosen = resolve_target(network, target, len(x))
    gradients = walk.backward({chosen.layer: chosen.gradient(walk.values[chosen.layer])})
    maps = walk.values[name]
    if name not in gradients:
        raise ShapeError(f"Grad-CAM: {chosen.layer} does not depend on {name!r}; choose a layer before it")
    places = tuple(range(2, maps.ndim))
    weights = gradients[name].mean(axis=places, keepdims=True)
    heat = np.maximum(0, (weights * maps).sum(axis=1)).astype(np.float64)
    spatial = network.input_shape[1:]
    return enlarge(heat, spatial) if full_size and len(spatial) == len(places) else heat


def last_maps(network: Network) -> str:
    """Return the last layer that still tells places apart: behind a convolution, no pooling, more than one position.

    >>> import tatami
    >>> last_maps(tatami.build("arai")), last_maps(tatami.build("lenet5"))  # whose third convolution has one position
    ('relu2', 'tanh2')
    """
    convolved: set[str] = set()
    candidates = []
    for node in network.nodes:
        specs = network.parameter_specs.get(node.name, {})
        if any(len(spec.shape) > 2 for spec in specs.values()) or convolved.intersection(node.inputs):
            convolved.add(node.name)
            shape = network.shapes[node.name]
            if len(shape) > 1 and prod(shape[1:]) > 1 and node.layer.kind not in ("pool", Dropout.kind):
                candidates.append(node.name)
    if not candidates:
        raise SettingError(
            f"Grad-CAM needs maps, and {network.name} has no convolution; name a layer= with maps"
        )
    return candidates[-1]
