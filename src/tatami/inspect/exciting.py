"""The images of a data set that excite a unit most: what a unit has learned to look for, in examples."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.inspect.activations import walks
from tatami.inspect.gradients import require_count
from tatami.inspect.units import Unit
from tatami.network import Network, Parameters


@dataclass(frozen=True)
class Excitement:
    """The images that excite the units of a layer most, the strongest first.

    Attributes:
        images: (K, count) numbers of the images, for each of the K channels (or units) of the layer.
        scores: (K, count) the strongest output of the channel on that image.
        positions: (K, count, axes) where on the map it stood; no axes for a layer without maps.
    """

    images: NDArray[np.int64]
    scores: NDArray[np.float64]
    positions: NDArray[np.int64]


def most_exciting(
    network: Network,
    parameters: Parameters,
    images: NDArray[Any],
    layer: str,
    *,
    count: int = 9,
    state: Parameters | None = None,
) -> Excitement:
    """Find for every channel of a layer the images on which the maximum of its map is largest.

    Args:
        network: the network.
        parameters: layer → name → array.
        images: (N, *input_shape), preprocessed.
        layer: name of the layer.
        count: how many images for each channel; fewer if there are not so many.
        state: what layers carry; the initial state by default.

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Convolution
    >>> network = Network({"edge": Convolution(1, (1, 2), weight_initializer=Given([[[[-1, 1]]]]))}, (1, 1, 3))
    >>> images = np.array([[[[0, 1, 3]]], [[[0, 5, 0]]], [[[1, 1, 1]]]], float)
    >>> found = most_exciting(network, network.initialize(), images, "edge", count=2)
    >>> found.images, found.scores, found.positions[0]
    (array([[1, 0]]), array([[5., 2.]]), array([[0, 0],
           [0, 1]]))

    Source: Zeiler, Fergus (2013), figure 2.
    """
    require_count("count", count)
    Unit(layer).check(network)
    channels, *spatial = network.shapes[layer]
    maxima, places = [], []
    for walk in walks(network, parameters, images, state):
        flat = walk.values[layer].reshape(-1, channels, prod(spatial))
        places.append(np.argmax(flat, axis=2))
        maxima.append(np.take_along_axis(flat, places[-1][..., None], axis=2)[..., 0])
    scores, at = np.concatenate(maxima).T.astype(np.float64), np.concatenate(places).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    chosen = np.take_along_axis(at, order, axis=1)
    positions = (
        np.stack(np.unravel_index(chosen, tuple(spatial)), axis=-1)
        if spatial
        else np.zeros((*chosen.shape, 0))
    )
    return Excitement(
        order.astype(np.int64), np.take_along_axis(scores, order, axis=1), positions.astype(np.int64)
    )


def seen_patch(network: Network, layer: str, position: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the slices of the input's spatial axes that the unit at a position of a map sees, cut at the borders.

    >>> import tatami
    >>> seen_patch(tatami.build("arai"), "conv2", (0, 5))
    (slice(0, 5, None), slice(7, 15, None))
    """
    field = network.receptive_fields()[layer]
    size = network.input_shape[1:]
    if field.everything or len(position) != len(size):
        return tuple(slice(0, whole) for whole in size)
    return tuple(
        slice(max(0, jump * at + first), min(whole, jump * at + last + 1))
        for at, first, last, jump, whole in zip(
            position, field.first, field.last, field.jump, size, strict=True
        )
    )
