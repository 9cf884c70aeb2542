"""Numbers for each example."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tatami.data import Dataset, Preprocessing
from tatami.errors import DataError, SettingError, ShapeError
from tatami.losses import Loss, SquaredError
from tatami.network import Network
from tatami.training.tasks.base import Array, Task, rows
from tatami.training.tasks.classify import what_targets_are

COUNT, ABSOLUTE, SQUARED, SUM, SQUARES = range(5)


@dataclass(frozen=True)
class Regress(Task):
    """Say numbers; the network's output is taken as it is, squared error by default.

    The network learns (target - mean) / deviation of the training data, so that numbers of any size are learned alike;
    what comes out, and RMSE and MAE, are in the units of the data. R² = 1 - Σ(y - t)² / Σ(t - mean of t)²: 1 is
    perfect, 0 is no better than always saying the mean.

    Args:
        mean: of each number over the training data.
        deviation: likewise.

    >>> Regress((10.0,), (2.0,)).decoded(np.array([[0.5]]), None)
    array([[11.]])
    """

    mean: Sequence[float] = ()
    deviation: Sequence[float] = ()
    name: ClassVar[str] = "regress"
    headline: ClassVar[str] = "r2"

    def __post_init__(self) -> None:
        """Check that there are as many means as deviations."""
        super().__post_init__()
        if len(self.mean) != len(self.deviation) or not all(value > 0 for value in self.deviation):
            raise SettingError(
                f"Regress: expected as many deviations above 0 as means, got {self.mean} and {self.deviation}"
            )

    def fitted(self, dataset: Dataset, preprocessing: Preprocessing) -> Self:
        """Take mean and deviation from the targets to learn from; a deviation of 0 counts as 1."""
        assert dataset.targets is not None
        columns = np.moveaxis(np.asarray(dataset.targets, np.float64), 1, 0)
        flat = columns.reshape(len(columns), -1)
        deviation = flat.std(axis=1)
        return replace(
            self,
            mean=tuple(float(value) for value in flat.mean(axis=1)),
            deviation=tuple(float(value) or 1.0 for value in deviation),
        )

    def default_loss(self, dataset: Dataset, preprocessing: Preprocessing) -> Loss:
        """Half the squared error."""
        return SquaredError()

    def require_data(self, dataset: Dataset) -> None:
        """Raise unless the targets are numbers."""
        if dataset.targets is None or dataset.targets.dtype.kind != "f":
            raise DataError(
                f"data set {dataset.name} has {what_targets_are(dataset)}; --task regress needs numbers: a CSV file "
                f"with a numeric column (--target NAME), an .npz file with floating-point y, or 'adding'"
            )

    def require_network(self, dataset: Dataset, network: Network, names: tuple[str, ...]) -> None:
        """Raise unless there is one output for each number, at every step if the targets have steps."""
        assert dataset.targets is not None
        expected = (len(names), *dataset.targets.shape[2:])
        if network.output_shape != expected:
            raise ShapeError(
                f"network {network.name} has outputs of shape {network.output_shape}, task regress needs {expected}, "
                f"one for each of: {', '.join(names)}; give the last layer {len(names)} units"
            )

    def numbers(self, values: Sequence[float], like: Array) -> Array:
        """Return mean or deviation so that it stands against (N, numbers, …)."""
        return np.array(values, like.dtype).reshape(1, -1, *(1,) * (like.ndim - 2))

    def batch(self, images: Array, targets: Array, key: object) -> tuple[Array, Array]:
        """Return the targets in deviations from the mean."""
        values = targets.astype(np.float64)
        scaled = (values - self.numbers(self.mean, values)) / self.numbers(self.deviation, values)
        return images, scaled.astype(images.dtype)

    def decoded(self, predicted: Array, network: Network | None) -> Array:
        """Return predictions in the units of the data."""
        return predicted * self.numbers(self.deviation, predicted) + self.numbers(self.mean, predicted)

    def truth(self, targets: Array) -> Array:
        """Return targets in the units of the data."""
        return self.decoded(targets, None)

    def tally(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """Count, Σ|e|, Σe², Σt and Σt² of each number, in deviations."""
        t = np.moveaxis(targets.astype(np.float64), 1, 0).reshape(targets.shape[1], -1)
        e = np.moveaxis(predicted.astype(np.float64), 1, 0).reshape(t.shape) - t
        sums = np.stack(
            [
                np.full(len(t), float(t.shape[1])),
                np.abs(e).sum(axis=1),
                (e * e).sum(axis=1),
                t.sum(axis=1),
                (t * t).sum(axis=1),
            ]
        )
        return np.asarray(sums.reshape(-1))

    def measures(self, tally: NDArray[np.float64]) -> dict[str, float]:
        """R², RMSE and MAE; of several numbers their means (RMSE: root of the mean square)."""
        sums = tally.reshape(5, -1)
        deviation = np.array(self.deviation)
        count = np.maximum(sums[COUNT], 1)
        total = sums[SQUARES] - sums[SUM] ** 2 / count
        explained = np.where(total > 1e-12 * count, 1 - sums[SQUARED] / np.maximum(total, 1e-300), 0.0)
        return {
            "r2": float(np.mean(explained)),
            "rmse": float(np.sqrt(np.mean(sums[SQUARED] / count * deviation**2))),
            "mae": float(np.mean(sums[ABSOLUTE] / count * deviation)),
        }

    def scores(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """The root of the mean square of the errors, in deviations."""
        error = rows(predicted).astype(np.float64) - rows(targets)
        return np.asarray(np.sqrt((error * error).mean(axis=1)))
