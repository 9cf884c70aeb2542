"""The input itself, from less than the input or from a noisy one."""

from dataclasses import dataclass, replace
from math import log10, prod
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tatami.data import Dataset, Preprocessing, Scale
from tatami.errors import CheckpointError, SettingError, ShapeError
from tatami.layers import GaussianNoise
from tatami.losses import BinaryCrossEntropy, Loss, SquaredError
from tatami.losses.autoencoding import Reconstruction
from tatami.network import Network
from tatami.random import RandomKey
from tatami.training.tasks.base import Array, Task, rows

MOST_IMAGES_LOOKED_AT = 1000
LEAST_ERROR = 1e-12


@dataclass(frozen=True)
class Reconstruct(Task):
    """Give the input back: autoencoders of every kind. With noise the network sees a noisy input and is to clean it.

    PSNR = 10·log₁₀(peak² / MSE), in decibels; MSE is in units of the network's input.

    Args:
        noise: standard deviation of normal noise on the input, in units of the network's input; targets stay clean.
        peak: from the smallest to the largest value of the training data, preprocessed.

    >>> task = Reconstruct()
    >>> task.measures(task.tally(np.full((2, 4), 0.1), np.zeros((2, 4))))["psnr"]
    20.0
    """

    noise: float = 0.0
    peak: float = 1.0
    name: ClassVar[str] = "reconstruct"
    headline: ClassVar[str] = "psnr"

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        if self.noise < 0 or not self.peak > 0:
            raise SettingError(
                f"Reconstruct: noise must be at least 0 and peak above 0, got {self.noise!r} and {self.peak!r}"
            )

    def fitted(self, dataset: Dataset, preprocessing: Preprocessing) -> Self:
        """Take the range of values from the data to learn from."""
        if isinstance(preprocessing, Scale) and dataset.images.dtype.kind == "u":
            return replace(self, peak=1.0)
        some = preprocessing.apply(np.asarray(dataset.images[:MOST_IMAGES_LOOKED_AT]), np.float64)
        return replace(self, peak=float(np.ptp(some)) or 1.0)

    def names(self, dataset: Dataset) -> tuple[str, ...]:
        """Outputs are points of the input and have no names of their own."""
        return ()

    def default_loss(self, dataset: Dataset, preprocessing: Preprocessing) -> Loss:
        """Binary cross-entropy for numbers from 0 to 1, else squared error."""
        return BinaryCrossEntropy() if within_unit_range(dataset, preprocessing) else SquaredError()

    def adapted(self, loss: Loss, dataset: Dataset, preprocessing: Preprocessing) -> Loss:
        """Numbers that do not lie between 0 and 1 are no probabilities: their likelihood is normal."""
        if isinstance(loss, Reconstruction) and not within_unit_range(dataset, preprocessing):
            return replace(loss, likelihood="gaussian")
        return loss

    def require_data(self, dataset: Dataset) -> None:
        """Any data will do: targets are not looked at."""

    def require_network(self, dataset: Dataset, network: Network, names: tuple[str, ...]) -> None:
        """Raise unless the network gives back as many numbers as it takes, or more (its loss knows which)."""
        outputs, inputs = network.output_shape, network.input_shape
        fits = outputs == inputs or (len(outputs) == 1 and outputs[0] >= prod(inputs))
        if not fits:
            raise ShapeError(
                f"network {network.name} has outputs of shape {outputs}, task reconstruct needs the input's shape "
                f"{inputs}; choose --network autoencoder, convolutional_autoencoder or variational_autoencoder"
            )

    def check_names(self, names: tuple[str, ...], network: Network) -> None:
        """Raise if a checkpoint names the outputs."""
        if names:
            raise CheckpointError(f"it names {len(names)} classes, and a reconstruction has none")

    def batch(self, images: Array, targets: Array, key: RandomKey) -> tuple[Array, Array]:
        """Return noisy images, and the images themselves."""
        return noisy(images, self.noise, key), images

    def evaluation_batch(
        self, network: Network, images: Array, targets: Array, key: RandomKey
    ) -> tuple[Array, Array]:
        """Return the images with as much noise as the network was trained with."""
        return noisy(images, self.corruption(network), key), images

    def corruption(self, network: Network) -> float:
        """Return the noise that the network was trained to remove: the task's, or that of a layer at its entrance."""
        layers = (node.layer for node in network.nodes if node.inputs == ("input",))
        added = max((layer.std for layer in layers if isinstance(layer, GaussianNoise)), default=0.0)
        return max(self.noise, added)

    def decoded(self, predicted: Array, network: Network) -> Array:
        """Return reconstructions in the input's shape."""
        return predicted.reshape(len(predicted), *network.input_shape)

    def tally(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """Numbers, and the sum of their squared errors."""
        error = rows(predicted).astype(np.float64) - rows(targets)
        return np.array([error.size, float((error * error).sum())])

    def measures(self, tally: NDArray[np.float64]) -> dict[str, float]:
        """PSNR and MSE."""
        mse = float(tally[1] / max(tally[0], 1))
        return {"psnr": 10 * log10(self.peak**2 / max(mse, LEAST_ERROR)), "mse": mse}

    def scores(self, predicted: Array, targets: Array) -> NDArray[np.float64]:
        """The mean squared error."""
        error = rows(predicted).astype(np.float64) - rows(targets)
        return np.asarray((error * error).mean(axis=1))


def noisy(images: Array, std: float, key: RandomKey) -> Array:
    """Return images with normal noise, the same for the same key."""
    if std == 0:
        return images
    return (images + std * key.normal("corruption", images.shape)).astype(images.dtype)


def within_unit_range(dataset: Dataset, preprocessing: Preprocessing) -> bool:
    """Say whether every preprocessed number lies between 0 and 1, as far as is known beforehand."""
    if isinstance(preprocessing, Scale) and dataset.images.dtype.kind in "ub":
        return True
    if not isinstance(preprocessing, Scale):
        return False
    some = preprocessing.apply(np.asarray(dataset.images[:MOST_IMAGES_LOOKED_AT]), np.float64)
    return float(some.min()) >= 0 and float(some.max()) <= 1
