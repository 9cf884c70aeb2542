"""How chosen filters of a run grew, epoch by epoch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError, unknown_name
from tatami.network import Network
from tatami.training.filters import ChosenFilters, layers_with_filters
from tatami.training.growth import FILTERS, Growth
from tatami.training.model import load_model
from tatami.training.run_folder import RunFolder


@dataclass(frozen=True)
class FilterGrowth:
    """Filters of one layer at the moments that a run recorded.

    Attributes:
        layer: name of the layer.
        numbers: which of its filters.
        epochs: at which they were taken; 0 is before training.
        weights: (moments, filters, C, *kernel).
    """

    layer: str
    numbers: tuple[int, ...]
    epochs: tuple[int, ...]
    weights: NDArray[Any]

    def first(self, count: int) -> "FilterGrowth":
        """Return the first so many of the filters."""
        return FilterGrowth(self.layer, self.numbers[:count], self.epochs, self.weights[:, :count])


def filter_growth(run: str | Path, filters: str | None = None) -> FilterGrowth:
    """Return how filters of a run grew: of any layer that has some, any of them.

    Args:
        run: folder of the run.
        filters: 'conv2' or 'conv2[5,17]'; by default all that were recorded of the first layer.

    Raises:
        CheckpointError: there is no run.
        SettingError, UnknownNameError: the run did not record these filters.
    """
    folder = RunFolder.open(Path(run))
    return chosen_growth(Growth.load(folder.growth_file), load_model(folder.path).network, filters)


def chosen_growth(growth: Growth, network: Network, filters: str | None = None) -> FilterGrowth:
    """Return what `filter_growth` does, from a record and a network that are at hand."""
    layers = recorded_layers(growth, network)
    if not layers:
        raise SettingError(f"the run recorded no filters: {network.name} has none, or the record is lost")
    chosen = ChosenFilters(layers[0]) if filters is None else ChosenFilters.parse(filters)
    if chosen.layer not in layers:
        raise unknown_name("layer whose filters were recorded", chosen.layer, layers)
    recorded = growth.numbers(chosen.layer)
    numbers = chosen.numbers or tuple(recorded)
    missing = [number for number in numbers if number not in recorded]
    if missing:
        raise SettingError(
            f"{chosen.layer}: filter {missing[0]} was not recorded, {spans(recorded)} were; "
            f"begin a run with --watch '{chosen.layer}[{missing[0]}]'"
        )
    places = [recorded.index(number) for number in numbers]
    weights = growth.series(FILTERS)[chosen.layer][:, places]
    return FilterGrowth(chosen.layer, numbers, tuple(growth.epochs), weights)


def recorded_layers(growth: Growth, network: Network) -> list[str]:
    """Return the layers whose filters were recorded, in the order of the network."""
    series = growth.series(FILTERS) if growth.epochs else {}
    return [layer for layer in layers_with_filters(network) if layer in series]


def spans(numbers: list[int]) -> str:
    """Return numbers with neighbours joined.

    >>> spans([0, 1, 2, 5, 7, 8])
    '0 to 2, 5, 7 to 8'
    """
    runs = np.split(np.array(numbers), np.flatnonzero(np.diff(numbers) != 1) + 1)
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
