"""How a network grew: norms of its weights and gradients and its filters, over the epochs.

A run with a folder keeps them in ``growth.safetensors`` for the report. They are taken at the beginning and after at
most `MOST_MOMENTS` epochs spread over the run, from one batch that stays the same, so that they cost next to nothing.
Nothing that a run depends on is in this file: if it is lost, pictures are lost.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, numpy as safetensors_numpy

from tatami.network import Network, Parameters
from tatami.training.durable_files import write_durably
from tatami.training.filters import filters_of, recorded_filters

MOST_MOMENTS = 40
EPOCHS, WEIGHTS, GRADIENTS, FILTERS = "epochs", "weight_norms", "gradient_norms", "filters"
NUMBERS = "filter_numbers"


class Growth:
    """What was recorded: for each moment the epoch, and named arrays.

    Attributes:
        moments: epoch → name → array; names are 'weight_norms/layer.weight', 'gradient_norms/layer.weight',
            'filters/layer' and 'filter_numbers/layer', which of the layer's filters those are.

    >>> growth = Growth()
    >>> growth.moments[0] = {"weight_norms/conv1.weight": np.float32(2.0)}
    >>> growth.moments[3] = {"weight_norms/conv1.weight": np.float32(2.5)}
    >>> growth.epochs, growth.series("weight_norms")
    ([0, 3], {'conv1.weight': array([2. , 2.5], dtype=float32)})
    """

    def __init__(self) -> None:
        """Start empty."""
        self.moments: dict[int, dict[str, Any]] = {}

    @property
    def epochs(self) -> list[int]:
        """Epochs that were recorded; 0 is before training."""
        return sorted(self.moments)

    def series(self, group: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a group over the epochs: name → (moments, …)."""
        names = {name for moment in self.moments.values() for name in moment if name.startswith(f"{group}/")}
        return {
            name.removeprefix(f"{group}/"): np.stack([self.moments[epoch][name] for epoch in self.epochs])
            for name in sorted(names)
        }

    @staticmethod
    def is_due(epoch: int, epochs: int) -> bool:
        """Say whether an epoch of a run of so many is recorded.

        >>> [epoch for epoch in range(101) if Growth.is_due(epoch, 100)][:4]
        [0, 3, 6, 9]
        """
        return epoch % -(-max(epochs, 1) // MOST_MOMENTS) == 0 or epoch == epochs

    def numbers(self, layer: str) -> list[int]:
        """Return which filters of a layer were recorded."""
        series = self.series(NUMBERS)
        if layer in series:
            return [int(number) for number in series[layer][0]]
        return list(range(self.series(FILTERS)[layer].shape[1]))

    def record(
        self,
        epoch: int,
        network: Network,
        parameters: Parameters,
        gradients: Parameters,
        watch: Sequence[str] = (),
    ) -> None:
        """Take the norms and filters of a moment; ``watch`` names filters that must be among them."""
        moment: dict[str, Any] = {}
        for group, nested in ((WEIGHTS, parameters), (GRADIENTS, gradients)):
            for layer, named in nested.items():
                for name, values in named.items():
                    norm = np.linalg.norm(values.astype(np.float64))
                    moment[f"{group}/{layer}.{name}"] = np.float32(norm)
        for layer, numbers in recorded_filters(network, watch).items():
            moment[f"{FILTERS}/{layer}"] = filters_of(network, parameters, layer)[list(numbers)].astype(
                np.float32
            )
            moment[f"{NUMBERS}/{layer}"] = np.array(numbers, dtype=np.int64)
        self.moments[epoch] = moment

    def forget_after(self, epoch: int) -> None:
        """Forget what a run that is resumed at an epoch has not done yet."""
        self.moments = {at: moment for at, moment in self.moments.items() if at <= epoch}

    def save(self, path: Path) -> None:
        """Write the record.

        Raises:
            OSError: it cannot be written.
        """
        tensors = {
            f"{group}/{name}": np.ascontiguousarray(values)
            for group in (WEIGHTS, GRADIENTS, FILTERS, NUMBERS)
            for name, values in self.series(group).items()
        }
        tensors[EPOCHS] = np.array(self.epochs, dtype=np.int64)
        write_durably(path, safetensors_numpy.save(tensors))

    @classmethod
    def load(cls, path: Path) -> "Growth":
        """Read a record; what is missing or damaged counts as empty."""
        growth = cls()
        with contextlib.suppress(OSError, SafetensorError, ValueError, KeyError):
            growth.moments = moments_of(safetensors_numpy.load(path.read_bytes()))
        return growth


def moments_of(tensors: Mapping[str, NDArray[Any]]) -> dict[int, dict[str, Any]]:
    """Turn series back into moments; raise ValueError if they are not equally long."""
    epochs = [int(epoch) for epoch in tensors[EPOCHS]]
    series = {name: values for name, values in tensors.items() if name != EPOCHS}
    if any(values.ndim == 0 or len(values) != len(epochs) for values in series.values()):
        raise ValueError("series of different lengths")
    return {epoch: {name: values[at] for name, values in series.items()} for at, epoch in enumerate(epochs)}
