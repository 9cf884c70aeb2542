"""Backward passes that keep only what excites: guided back-propagation and the deconvolution network.

They differ from the gradient in one rule, at the rectifiers. With y = max(0, x) and a signal dy that comes from above:

    gradient                    dx = [x > 0] · dy             what the unit let through
    deconvolution network       dx = max(0, dy)               what excites further up
    guided back-propagation     dx = [x > 0] · max(0, dy)     both

Every other layer runs its own backward: a convolution hands the signal back through its turned filters, a max pooling
puts it where the maximum stood (the 'switches' of Zeiler and Fergus are the winners that the layer keeps).
"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.inspect.gradients import input_gradient
from tatami.inspect.units import Target
from tatami.inspect.walk import Rules
from tatami.layers import ReLU
from tatami.layers.base import Layer, LayerParameters
from tatami.network import Network, Parameters


def only_exciting(
    ops: Backend, layer: Layer, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
) -> tuple[Array, ...]:
    """Return max(0, dy), the rule of the deconvolution network."""
    return (ops.xp.maximum(dy, ops.xp.zeros_like(dy)),)


def exciting_and_let_through(
    ops: Backend, layer: Layer, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
) -> tuple[Array, ...]:
    """Return [x > 0] · max(0, dy), the rule of guided back-propagation."""
    (rectified,) = only_exciting(ops, layer, dy, saved, parameters)
    return (ops.xp.where(saved["x"] > 0, rectified, ops.xp.zeros_like(dy)),)


GUIDED_RULES: Rules = {ReLU: exciting_and_let_through}
DECONVOLUTION_RULES: Rules = {ReLU: only_exciting}


def guided_backpropagation(
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    *,
    state: Parameters | None = None,
) -> NDArray[Any]:
    """Return the guided gradient: at every ReLU dx = [x > 0] · max(0, dy).

    Activations other than ReLU keep their own backward.

    Args:
        network: the network.
        parameters: layer → name → array.
        x: a batch (N, *input_shape), preprocessed.
        target: a class for all examples, one for each, or a `Unit`.
        state: what layers carry; the initial state by default.

    Returns:
        (N, *input_shape).

    >>> import numpy as np
    >>> from tatami.initializers import Given
    >>> from tatami.layers import Dense
    >>> from tatami.network import Sequential
    >>> weights = Given([[1, 0], [0, 1]]), Given([[2, -3]])
    >>> layers = Dense(2, weight_initializer=weights[0]), ReLU(), Dense(1, weight_initializer=weights[1])
    >>> network = Sequential(*layers, input_shape=(2,))
    >>> guided_backpropagation(network, network.initialize(), np.array([[1.0, 1.0]]), target=0)  # the gradient: 2, -3
    array([[2., 0.]], dtype=float32)

    Source: Springenberg, Dosovitskiy, Brox, Riedmiller, "Striving for simplicity" (2014), figure 1.
    """
    return input_gradient(network, parameters, x, target, state=state, rules=GUIDED_RULES)


def deconvolution(
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    *,
    state: Parameters | None = None,
) -> NDArray[Any]:
    """Return what a deconvolution network rebuilds from one unit: at every ReLU dx = max(0, dy).

    The way back runs through unpooling (each value goes to where its maximum stood), rectification and the turned
    filters; no bias is added. The way starts from 1 at the unit; Zeiler and Fergus start from the unit's activation
    a > 0, which multiplies the picture by a and changes nothing else. For their pictures of a filter take
    ``Unit(layer, (channel,), over="maximum")``, the strongest position of its map.

    Args:
        network: the network.
        parameters: layer → name → array.
        x: a batch (N, *input_shape), preprocessed.
        target: a class for all examples, one for each, or a `Unit`.
        state: what layers carry; the initial state by default.

    Returns:
        (N, *input_shape).

    >>> import numpy as np
    >>> from tatami.initializers import Given
    >>> from tatami.inspect.units import Unit
    >>> from tatami.layers import Convolution, MaxPool
    >>> from tatami.network import Sequential
    >>> layers = Convolution(1, 2, weight_initializer=Given([[[[1, 2], [3, 4]]]])), ReLU(), MaxPool(2)
    >>> network = Sequential(*layers, input_shape=(1, 3, 3))
    >>> x = np.array([[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]], float)  # the convolution gives 4 3 / 2 1
    >>> deconvolution(network, network.initialize(), x, Unit("pool1", (0, 0, 0)))[0, 0]
    array([[1., 2., 0.],
           [3., 4., 0.],
           [0., 0., 0.]], dtype=float32)

    Source: Zeiler, Fergus, "Visualizing and understanding convolutional networks" (2013), §2.1.
    """
    return input_gradient(network, parameters, x, target, state=state, rules=DECONVOLUTION_RULES)
