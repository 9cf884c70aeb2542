"""A class for every point of an image, or for every step of a sequence."""

from collections.abc import Sequence as Several
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tatami.data import Dataset, Preprocessing
from tatami.errors import DataError, ShapeError
from tatami.losses import Loss, SoftmaxCrossEntropy, WeightedCrossEntropy
from tatami.network import Network
from tatami.training.tasks.base import Array, Task, require_known_classes, rows
from tatami.training.tasks.classify import what_targets_are

NOT_COUNTED = -1


@dataclass(frozen=True)
class Maps(Task, abstract=True):
    """Base of the tasks whose targets are classes (N, *places); -1 says that a place does not count."""

    def default_loss(self, dataset: Dataset, preprocessing: Preprocessing) -> Loss:
        """Softmax cross-entropy at every place; what does not count costs nothing."""
        targets: Any = dataset.targets
        if targets is not None and targets.dtype.kind == "i" and int(np.asarray(targets).min()) < 0:
            return WeightedCrossEntropy(ignored_label=NOT_COUNTED)
        return SoftmaxCrossEntropy()

    def require_network(self, dataset: Dataset, network: Network, names: tuple[str, ...]) -> None:
        """Raise unless there is an output for each class at every place."""
        assert dataset.targets is not None
        places = tuple(dataset.targets.shape[1:])
        shape = network.output_shape
        binary = shape[:1] == (1,) and len(names) == 2
        if shape[1:] != places or (shape[0] != len(names) and not binary):
            raise ShapeError(
                f"network {network.name} has outputs of shape {shape}, task {self.name} needs "
                f"{(len(names), *places)}, a number for each class at every place; {self.remedy}"
            )
        require_known_classes(dataset.name, dataset.target_names, names)

    @property
    def remedy(self) -> str:
        """Say which networks have such outputs."""
        raise NotImplementedError

    def check_names(self, names: tuple[str, ...], network: Network) -> None:
        """One output stands for two classes."""
        if network.output_shape[0] != 1 or len(names) != 2:
            super().check_names(names, network)

    def answers(self, decoded: Array) -> Array:
        """Return the class of every place."""
        return most_probable(decoded)


@dataclass(frozen=True)
class Segment(Maps):
    """Name the class of every point of an image; softmax cross-entropy, or Dice.

    Args:
        palette: (red, green, blue) of each class, in which masks are drawn; those of the data set if it has some.

    >>> task = Segment()
    >>> truth, seen = np.array([[0, 0, 1, 1]]), np.array([[[0.9, 0.2, 0.1, 0.1], [0.1, 0.8, 0.9, 0.9]]])
    >>> {name: round(value, 3) for name, value in task.measures(task.tally(seen, truth)).items()}
    {'mean_iou': 0.583, 'pixel_accuracy': 0.75}
    """

    palette: Several[Several[int]] = ()
    name: ClassVar[str] = "segment"
    headline: ClassVar[str] = "mean_iou"

    @property
    def remedy(self) -> str:
        """U-Net and FCN."""
        return "choose --network unet or fcn"

    def fitted(self, dataset: Dataset, preprocessing: Preprocessing) -> Self:
        """Take over the colours of the masks."""
        return replace(self, palette=dataset.target_colours) if dataset.target_colours else self

    def require_data(self, dataset: Dataset) -> None:
        """Raise unless there is a mask for each image."""
        if not dataset.has_masks:
            raise DataError(
                f"data set {dataset.name} has {what_targets_are(dataset)}; --task segment needs a mask for each image: "
                f"a folder with images/ and masks/, an .npz file with x and masks, or 'shapes'"
            )

    def tally(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """Points that are of a class and seen as it, seen as it, and of it: three numbers for each class."""
        classes = max(2, predicted.shape[1])
        counted = targets != NOT_COUNTED
        true, seen = targets[counted].astype(np.int64), most_probable(predicted)[counted]
        sums = [np.bincount(part, minlength=classes)[:classes] for part in (true[true == seen], seen, true)]
        return np.concatenate(sums).astype(np.float64)

    def measures(self, tally: NDArray[np.float64]) -> dict[str, float]:
        """The mean IoU over the classes that occur, and the share of points whose class is right."""
        overlaps = self.overlaps(tally)
        both, _, true = tally.reshape(3, -1)
        known = overlaps[np.isfinite(overlaps)]
        return {
            "mean_iou": float(known.mean()) if known.size else 0.0,
            "pixel_accuracy": float(both.sum() / max(true.sum(), 1)),
        }

    def overlaps(self, tally: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return |both| / |either| of every class, NaN where there are neither."""
        both, seen, true = tally.reshape(3, -1)
        either = seen + true - both
        return np.asarray(np.where(either > 0, both / np.maximum(either, 1), np.nan))

    def scores(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """The share of the counted points whose class is wrong."""
        counted = rows(targets != NOT_COUNTED)
        wrong = rows(most_probable(predicted) != targets) & counted
        return np.asarray(wrong.sum(axis=1) / np.maximum(counted.sum(axis=1), 1))


@dataclass(frozen=True)
class Sequence(Maps):
    """Name a class at every step of a sequence: the next letter of a text, for example; softmax cross-entropy.

    The perplexity is e to the mean of -log p(true class): among so many equally likely classes the network hesitates.

    >>> task = Sequence()
    >>> task.measures(task.tally(np.full((1, 4, 3), 0.25), np.array([[0, 1, -1]])))["perplexity"]
    4.0
    """

    name: ClassVar[str] = "sequence"
    headline: ClassVar[str] = "perplexity"

    @property
    def remedy(self) -> str:
        """The network that reads letters, or recurrent layers that give all outputs."""
        return "choose --network char_rnn, or recurrent layers with outputs 'all'"

    def require_data(self, dataset: Dataset) -> None:
        """Raise unless there is a class for every step."""
        if dataset.targets is None or dataset.targets.dtype.kind == "f":
            raise DataError(
                f"data set {dataset.name} has {what_targets_are(dataset)}, not a class for every step; --task sequence "
                f"needs a text file, an .npz file with whole numbers y (N, time), or 'text'"
            )

    def tally(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """Steps, those whose class is right, and Σ -log p."""
        counted = targets != NOT_COUNTED
        right = (most_probable(predicted) == targets) & counted
        return np.array([counted.sum(), right.sum(), surprise(predicted, targets)[counted].sum()], np.float64)

    def measures(self, tally: NDArray[np.float64]) -> dict[str, float]:
        """Perplexity, and the share of steps whose class is right."""
        steps = max(tally[0], 1.0)
        return {
            "perplexity": float(np.exp(min(tally[2] / steps, 700.0))),
            "step_accuracy": float(tally[1] / steps),
        }

    def scores(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """The mean of -log p over the steps."""
        counted = rows(targets != NOT_COUNTED)
        lost = rows(surprise(predicted, targets)) * counted
        return np.asarray(lost.sum(axis=1) / np.maximum(counted.sum(axis=1), 1))


def most_probable(predicted: Array) -> NDArray[np.int64]:
    """Return the class of every place from probabilities (N, classes, *places); one output stands for two classes."""
    places: NDArray[np.int64] = (
        (predicted[:, 0] > 0.5).astype(np.int64)
        if predicted.shape[1] == 1
        else np.argmax(predicted, axis=1).astype(np.int64)
    )
    return places


def surprise(predicted: Array, targets: Array) -> NDArray[np.float64]:
    """Return -log p of the true class at every place (of class 0 where none counts)."""
    places = np.maximum(targets, 0)[:, np.newaxis].astype(np.int64)
    chances = np.take_along_axis(predicted, places, axis=1)[:, 0].astype(np.float64)
    return np.asarray(-np.log(np.maximum(chances, 1e-300)))
