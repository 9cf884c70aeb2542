"""What every task is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tatami.data import Dataset, Preprocessing
from tatami.data.augmentation import Pipeline
from tatami.description import Described
from tatami.errors import CheckpointError, DataError, SettingError
from tatami.losses import Loss
from tatami.network import Network
from tatami.random import RandomKey

Array = NDArray[Any]


@dataclass(frozen=True)
class Task(Described, family="task", abstract=True):
    """Base of the tasks: small, written with a run's settings, and all that a model knows about its outputs."""

    name: ClassVar[str] = ""
    headline: ClassVar[str] = ""
    takes_mixing: ClassVar[bool] = False

    def fitted(self, dataset: Dataset, preprocessing: Preprocessing) -> Self:
        """Return the task with what has to be known of the data to learn from, such as the scale of the targets."""
        return self

    def names(self, dataset: Dataset) -> tuple[str, ...]:
        """Return what the outputs mean, in order."""
        return dataset.target_names

    def default_loss(self, dataset: Dataset, preprocessing: Preprocessing) -> Loss:
        """Return the loss of a network that does not bring its own."""
        raise NotImplementedError

    def adapted(self, loss: Loss, dataset: Dataset, preprocessing: Preprocessing) -> Loss:
        """Return a network's own loss as the data need it."""
        return loss

    def require_data(self, dataset: Dataset) -> None:
        """Raise unless the data set has targets of this task."""
        raise NotImplementedError

    def require_network(self, dataset: Dataset, network: Network, names: tuple[str, ...]) -> None:
        """Raise unless the network's output is what the task needs."""
        raise NotImplementedError

    def check_names(self, names: tuple[str, ...], network: Network) -> None:
        """Raise unless a checkpoint has a name for every output."""
        if len(names) != network.output_shape[0]:
            raise CheckpointError(
                f"it names {len(names)} classes for outputs of shape {network.output_shape}"
            )

    def require_augmentation(self, pipeline: Pipeline | None) -> None:
        """Raise if a pipeline makes of images what the targets cannot follow."""
        if pipeline is not None and pipeline.mixes and not self.takes_mixing:
            raise SettingError(
                f"task {self.name}: the augmentation mixes images, and their targets cannot be mixed alike; "
                f"leave mixup, CutMix and sample pairing out of the pipeline"
            )

    def batch(self, images: Array, targets: Array, key: RandomKey) -> tuple[Array, Array]:
        """Return what the network and the loss get of preprocessed images and their targets."""
        return images, targets

    def evaluation_batch(
        self, network: Network, images: Array, targets: Array, key: RandomKey
    ) -> tuple[Array, Array]:
        """Return the same where a model is measured."""
        return self.batch(images, targets, key)

    def tally(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """Return numbers that add up over batches, from which `measures` follow.

        Args:
            predicted: what the loss says that the output means.
            targets: what the loss compared with.
        """
        raise NotImplementedError

    def measures(self, tally: NDArray[np.float64]) -> dict[str, float]:
        """Return the measures of a tally, the most important first."""
        raise NotImplementedError

    def decoded(self, predicted: Array, network: Network) -> Array:
        """Return predictions in the units of the data."""
        return predicted

    def answers(self, decoded: Array) -> Array:
        """Return what is kept of predictions where a model is measured."""
        return decoded

    def truth(self, targets: Array) -> Array:
        """Return targets in the units of the data."""
        return targets

    def scores(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """Return how far off each example is: (N,), larger is worse."""
        raise NotImplementedError


def require_known_classes(name: str, classes: Sequence[str], known: tuple[str, ...]) -> None:
    """Raise if a data set has more classes than a model was trained on."""
    if len(classes) > len(known):
        raise DataError(
            f"data set {name} has {len(classes)} classes, the model was trained on {len(known)}: {', '.join(known)}"
        )


def rows(values: Array) -> Array:
    """Return (N, everything else)."""
    return values.reshape(len(values), -1)
