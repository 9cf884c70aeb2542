"""What the layers do on given images: feature maps, the spread of their outputs, units that are dead."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError
from tatami.inspect.gradients import require_count
from tatami.inspect.walk import Walk, walk_forward
from tatami.layers.activations import Activation, Identity, Step
from tatami.network import INPUT, Network, Parameters

WALKED_BATCH = 128
# Below this slope next to nothing comes through: a unit that is never steeper learns nothing.
FLAT_SLOPE = 1e-3


def feature_maps(
    network: Network, parameters: Parameters, x: NDArray[Any], state: Parameters | None = None
) -> dict[str, NDArray[Any]]:
    """Return the output of every layer, and the input, by name: (N, C, *spatial) or (N, features).

    >>> import tatami
    >>> network = tatami.build("ox")
    >>> circle = np.array([[[[1, 1, 1], [1, 0, 1], [1, 1, 1]]]], float)
    >>> feature_maps(network, network.initialize(), circle)["conv1"][0, 0]
    array([[4., 2.],
           [2., 2.]], dtype=float32)
    """
    return dict(walk_forward(network, parameters, x, state).values)


def walks(
    network: Network, parameters: Parameters, images: NDArray[Any], state: Parameters | None
) -> Iterator[Walk]:
    """Walk through many images, a batch at a time."""
    if len(images) == 0:
        raise SettingError("there are no images to look at")
    for start in range(0, len(images), WALKED_BATCH):
        yield walk_forward(network, parameters, images[start : start + WALKED_BATCH], state)


@dataclass(frozen=True)
class Spread:
    """How the outputs of a layer are spread over many images.

    Attributes:
        counts: how many outputs fall into each bin.
        edges: limits of the bins, one more than counts.
        mean: of all outputs.
        deviation: their standard deviation.
        zeros: share of the outputs that are exactly 0.
    """

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    mean: float
    deviation: float
    zeros: float


def activation_histograms(
    network: Network,
    parameters: Parameters,
    images: NDArray[Any],
    *,
    bins: int = 40,
    state: Parameters | None = None,
) -> dict[str, Spread]:
    """Return how the outputs of every layer, and the input, are spread.

    Args:
        network: the network.
        parameters: layer → name → array.
        images: (N, *input_shape), preprocessed.
        bins: of the same width, from the smallest output to the largest.
        state: what layers carry; the initial state by default.

    >>> import tatami
    >>> network = tatami.build("ox")
    >>> spread = activation_histograms(network, network.initialize(), np.ones((1, 1, 3, 3)), bins=2)["conv1"]
    >>> spread.counts, spread.mean
    (array([4, 4]), 2.0)
    """
    require_count("bins", bins)
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for walk in walks(network, parameters, images, state):
        for name, value in walk.values.items():
            low[name] = min(low.get(name, np.inf), float(value.min()))
            high[name] = max(high.get(name, -np.inf), float(value.max()))
    edges = {name: np.histogram_bin_edges([low[name], high[name]], bins) for name in low}
    counts = {name: np.zeros(bins, dtype=np.int64) for name in low}
    sums, squares, zeros = dict.fromkeys(low, 0.0), dict.fromkeys(low, 0.0), dict.fromkeys(low, 0)
    for walk in walks(network, parameters, images, state):
        for name, value in walk.values.items():
            counts[name] += np.histogram(value, edges[name])[0]
            sums[name] += float(value.sum(dtype=np.float64))
            squares[name] += float(np.square(value, dtype=np.float64).sum())
            zeros[name] += int(np.count_nonzero(value == 0))
    spreads = {}
    for name in low:
        number = len(images) * prod(network.shapes[name])
        mean = sums[name] / number
        deviation = float(np.sqrt(max(0.0, squares[name] / number - mean * mean)))
        spreads[name] = Spread(counts[name], edges[name], mean, deviation, zeros[name] / number)
    return spreads


@dataclass(frozen=True)
class UnitActivity:
    """How often the units of an activation let gradients through.

    Attributes:
        awake: (K,) share of the images and positions at which each unit (each map of a convolution) has a slope that is
            not flat.
    """

    awake: NDArray[np.float64]

    @property
    def dead(self) -> NDArray[np.int64]:
        """Units that are flat everywhere on every image: no gradient comes through, so they cannot learn."""
        return np.flatnonzero(self.awake == 0).astype(np.int64)


def dead_units(
    network: Network,
    parameters: Parameters,
    images: NDArray[Any],
    *,
    flat: float = FLAT_SLOPE,
    state: Parameters | None = None,
) -> dict[str, UnitActivity]:
    """Return for every activation layer how often its units are awake, |f′(x)| > flat, and which never are.

    A ReLU sleeps where x ≤ 0, a sigmoid or tanh where it is saturated. The function asks the layer's own derivative, so
    one rule serves all of them. Layers without a kink or plateau (`Identity`) and `Step`, whose derivative is 0
    everywhere, are left out.

    Args:
        network: the network.
        parameters: layer → name → array.
        images: (N, *input_shape), preprocessed; many, for a unit may wait for a rare image.
        flat: largest |f′(x)| that counts as asleep.
        state: what layers carry; the initial state by default.

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Dense, ReLU
    >>> from tatami.network import Sequential
    >>> network = Sequential(Dense(2, weight_initializer=Given([[1, 1], [-1, -1]])), ReLU(), input_shape=(2,))
    >>> activity = dead_units(network, network.initialize(), np.array([[1.0, 2.0], [0.0, -1.0]]))["relu1"]
    >>> activity.awake, activity.dead
    (array([0.5, 0.5]), array([], dtype=int64))

    Source: Glorot, Bengio (2010) on saturation; Maas, Hannun, Ng (2013) on dead rectifiers.
    """
    awake: dict[str, NDArray[np.int64]] = {}
    for walk in walks(network, parameters, images, state):
        for node in network.nodes:
            layer = node.layer
            if not isinstance(layer, Activation) or isinstance(layer, Identity | Step):
                continue
            value = walk.values[node.name]
            slope = walk.ops.to_numpy(layer.derivative(walk.ops, walk.values[node.inputs[0]], value))
            places = (0, *range(2, slope.ndim))
            counted = np.count_nonzero(np.abs(slope) > flat, axis=places)
            awake[node.name] = awake.get(node.name, 0) + counted
    activities = {}
    for name, count in awake.items():
        positions = len(images) * prod(network.shapes[name][1:])
        activities[name] = UnitActivity(count / positions)
    return activities


def layer_names(network: Network, *, with_maps: bool = False) -> list[str]:
    """Return the names of the layers, or only of those whose outputs have spatial axes; never 'input'."""
    return [
        node.name
        for node in network.nodes
        if node.name != INPUT and (not with_maps or len(network.shapes[node.name]) > 1)
    ]
