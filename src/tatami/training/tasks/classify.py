"""One class for each example."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tatami.data import Dataset, Preprocessing
from tatami.errors import DataError, SettingError, ShapeError
from tatami.losses import Loss, SoftmaxCrossEntropy
from tatami.metrics import predicted_classes
from tatami.network import Network
from tatami.training.tasks.base import Array, Task, require_known_classes


@dataclass(frozen=True)
class Classify(Task):
    """Name the class of each example; softmax cross-entropy by default.

    >>> Classify().to_json()
    {'type': 'Classify'}
    """

    name: ClassVar[str] = "classify"
    headline: ClassVar[str] = "accuracy"
    takes_mixing: ClassVar[bool] = True

    def names(self, dataset: Dataset) -> tuple[str, ...]:
        """The classes."""
        return dataset.class_names

    def default_loss(self, dataset: Dataset, preprocessing: Preprocessing) -> Loss:
        """Softmax cross-entropy."""
        return SoftmaxCrossEntropy()

    def require_data(self, dataset: Dataset) -> None:
        """Raise if the targets are not classes."""
        if dataset.targets is not None:
            other = natural_task(dataset)
            raise DataError(
                f"data set {dataset.name} has {what_targets_are(dataset)}, not a class for each example; "
                f"train with --task {other}"
            )

    def require_network(self, dataset: Dataset, network: Network, names: tuple[str, ...]) -> None:
        """Raise unless there is one output for each class."""
        outputs = network.output_shape
        if len(outputs) != 1:
            raise ShapeError(
                f"network {network.name} has outputs of shape {outputs}; a classifier has (classes,)"
            )
        if len(names) != outputs[0]:
            raise SettingError(
                f"network {network.name} has {outputs[0]} outputs, there are {len(names)} classes; "
                f"give the last layer {len(names)} units"
            )
        require_known_classes(dataset.name, dataset.class_names, names)

    def check_names(self, names: tuple[str, ...], network: Network) -> None:
        """Raise unless the network's outputs are the classes."""
        if len(network.output_shape) != 1:
            names = ()
        super().check_names(names, network)

    def tally(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """Examples, and those whose class is right."""
        right = np.count_nonzero(predicted_classes(predicted) == targets)
        return np.array([len(targets), right], np.float64)

    def measures(self, tally: NDArray[np.float64]) -> dict[str, float]:
        """The share of examples whose class is right."""
        return {"accuracy": float(tally[1] / tally[0]) if tally[0] else 0.0}

    def scores(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """One minus what the true class got."""
        return 1 - predicted[np.arange(len(targets)), targets].astype(np.float64)


def natural_task(dataset: Dataset) -> str:
    """Return the task that the targets of a data set are for.

    >>> images = np.zeros((4, 1, 6, 6), np.uint8)
    >>> natural_task(Dataset("labelled", images, np.zeros(4, np.int64)))
    'classify'
    >>> natural_task(Dataset("masks", images, np.zeros(4, np.int64), targets=images[:, 0], target_names=("ground",)))
    'segment'
    """
    if dataset.targets is None:
        return "classify"
    if dataset.targets.dtype.kind == "f":
        return "regress"
    return "segment" if dataset.has_masks and dataset.images.ndim > 3 else "sequence"


def what_targets_are(dataset: Dataset) -> str:
    """Say what the targets of a data set are."""
    return {
        "classify": "a class for each example",
        "regress": "numbers as targets",
        "segment": "a mask for each image",
        "sequence": "a class for every step",
    }[natural_task(dataset)]
