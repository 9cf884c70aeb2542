"""Whitening: images are turned so that their pixels no longer follow one another.

Neighbouring pixels are nearly the same, so most of what an image holds, it holds many times. With the mean μ and the
covariance C = 1/n Σ (x - μ)(x - μ)ᵀ of the images to train on, and C = U diag(λ) Uᵀ with the variances λ along the
directions that are the columns of U,

    PCA    y = diag(1 / s) Uᵀ (x - μ)            along the directions, the strongest first
    ZCA    y = U diag(1 / s) Uᵀ (x - μ)          turned back: of all white y the nearest to x

have, with s = √λ, the identity as their covariance. Directions along which nothing but noise varies would be blown up
by 1/√λ, so s = √(λ + ε·λ̄), λ̄ being the mean of all λ: a direction keeps the variance λ / (λ + ε·λ̄), which is nearly 1
for the strong ones.
"""

import base64
import binascii
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset
from tatami.data.on_demand import chunks
from tatami.data.preprocessing import Numbers, Preprocessing, as_numbers, mean_and_deviation
from tatami.description import is_finite_number
from tatami.errors import SettingError
from tatami.geometry import LARGEST_SIZE
from tatami.single_thread import SingleThreadedProducts

# The covariance of so many features has 100 MB, and its directions as text (which run.json and every checkpoint hold)
# 69 MB; the header of a safetensors file may have 100.
MOST_FEATURES = 3600
DIRECTION_TYPE = np.dtype("<f4")

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Whitening(Preprocessing, abstract=True):
    """Base of the whitenings; `fit` takes all numbers from the images to train on.

    Args:
        format: what the images of the training data had in common.
        shape: (C, *spatial) of the images that the numbers were taken from; all their F features are whitened together.
        epsilon: ε, at least 0, as a share of the mean variance.
        mean: μ, F numbers.
        deviations: s, F numbers, the largest first.
        directions: U (F, F) in row order, its float32 numbers (little-endian) as base64 text.
    """

    shape: tuple[int, ...] = ()
    epsilon: float = 0.1
    mean: Numbers = ()
    deviations: Numbers = ()
    directions: str = ""

    def __post_init__(self) -> None:
        """Check what may have been read from a file, sizes before anything is decoded."""
        super().__post_init__()
        name = type(self).__name__
        features = feature_count(name, self.shape)
        check_epsilon(name, self.epsilon)
        for what, numbers in (("mean", self.mean), ("deviations", self.deviations)):
            if len(numbers) != features:
                raise SettingError(
                    f"{name}: expected {features} numbers as {what} of images {self.shape}, got {len(numbers)}; "
                    f"fit it to a data set with {name}.fit"
                )
            if not np.isfinite(numbers).all():
                raise SettingError(f"{name}: every number of {what} must be finite")
        if min(self.deviations) <= 0:
            raise SettingError(f"{name}: every number of deviations must be above 0")
        length = base64_length(features * features * DIRECTION_TYPE.itemsize)
        if len(self.directions) != length:
            raise SettingError(
                f"{name}: directions of {features} features are a text of {length} letters, got {len(self.directions)}"
            )
        if not np.isfinite(self.basis).all():
            raise SettingError(f"{name}: every number of directions must be finite")

    @classmethod
    def fit(cls, dataset: Dataset, epsilon: float = 0.1) -> Self:
        """Take mean, variances and directions from the images to train on.

        Args:
            dataset: the images to train on, without those to validate and to test on.
            epsilon: ε, how much of the mean variance is added to each.

        Raises:
            SettingError: more features than a covariance matrix in memory allows, or an ε below 0.
        """
        features = feature_count(cls.__name__, dataset.image_shape)
        check_epsilon(cls.__name__, epsilon)
        mean, _ = mean_and_deviation(dataset.images, (0,))
        with SingleThreadedProducts():
            variances, basis = directions_of(covariance(dataset, mean.ravel(), features))
        spread = variances.mean() * epsilon
        deviations = np.sqrt(variances + spread)
        # Constant images have no variance at all; they become 0, whatever they are divided by.
        deviations = np.where(deviations > 0, deviations, 1.0)
        return cls(
            format=dataset.format,
            shape=dataset.image_shape,
            epsilon=float(epsilon),
            mean=as_numbers(mean),
            deviations=as_numbers(deviations),
            directions=base64.b64encode(basis.astype(DIRECTION_TYPE).tobytes()).decode("ascii"),
        )

    @cached_property
    def basis(self) -> Matrix:
        """Return U (F, F)."""
        features = len(self.mean)
        try:
            data = base64.b64decode(self.directions, validate=True)
        except (binascii.Error, ValueError) as error:
            raise SettingError(f"{type(self).__name__}: directions are not base64 text: {error}") from error
        return np.frombuffer(data, DIRECTION_TYPE).astype(np.float64).reshape(features, features)

    @cached_property
    def matrices(self) -> dict[str, NDArray[Any]]:
        """Return the matrices that were asked for so far, by direction and floating type."""
        return {}

    @abstractmethod
    def whitening_matrix(self) -> Matrix:
        """Return M of y = (x - μ) M, for rows x."""

    @abstractmethod
    def colouring_matrix(self) -> Matrix:
        """Return the inverse of M."""

    def matrix(self, dtype: np.dtype[Any], *, back: bool) -> NDArray[Any]:
        """Return M, or its inverse, in a floating type; it is computed once."""
        key = f"{dtype.str}{back}"
        if key not in self.matrices:
            with SingleThreadedProducts():
                computed = self.colouring_matrix() if back else self.whitening_matrix()
            self.matrices[key] = computed.astype(dtype)
        return self.matrices[key]

    def transform(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return (x - μ) M in the images' shape."""
        rows = self.rows(images) - np.array(self.mean, dtype=images.dtype)
        with SingleThreadedProducts():
            white = rows @ self.matrix(images.dtype, back=False)
        return np.asarray(white).reshape(images.shape)

    def inverse(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the images that white values (N, *shape) were made of: μ + y M⁻¹."""
        rows = self.rows(values)
        with SingleThreadedProducts():
            images = rows @ self.matrix(rows.dtype, back=True) + np.array(self.mean, dtype=rows.dtype)
        return np.asarray(images).reshape(values.shape)

    def rows(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return images as rows (N, F), or raise unless they have the shape that the numbers were taken from."""
        self.require_shape(images, self.shape)
        return images.reshape(len(images), -1)


@dataclass(frozen=True)
class ZCAWhitening(Whitening):
    """y = U diag(1/s) Uᵀ (x - μ): white, and still an image that looks like x with its edges drawn.

    Args:
        format, shape, epsilon, mean, deviations, directions: see `Whitening`; `ZCAWhitening.fit` finds them.

    >>> from tatami.data import load
    >>> digits = load("digits").train
    >>> white = ZCAWhitening.fit(digits, epsilon=1e-3)
    >>> y = white.apply(digits.images, np.float64)
    >>> y.shape == digits.images.shape, bool(abs(np.corrcoef(y[:, 0, 3, 3], y[:, 0, 3, 4])[0, 1]) < 0.02)
    (True, True)

    Source: Qiita, 'whitening' of the preprocessing; Bell and Sejnowski (1997); Krizhevsky (2009), appendix A.
    """

    def whitening_matrix(self) -> Matrix:
        """Return U diag(1/s) Uᵀ, which is symmetric."""
        return np.asarray((self.basis / np.array(self.deviations)) @ self.basis.T)

    def colouring_matrix(self) -> Matrix:
        """Return U diag(s) Uᵀ."""
        return np.asarray((self.basis * np.array(self.deviations)) @ self.basis.T)


@dataclass(frozen=True)
class PCAWhitening(Whitening):
    """y = diag(1/s) Uᵀ (x - μ): white, along the directions of largest variance.

    The numbers keep the images' shape but are no pixels any more: number k (row by row) is the share of direction k.
    For networks that begin with a dense layer; convolutions need the neighbourhoods that `ZCAWhitening` keeps.

    Args:
        format, shape, epsilon, mean, deviations, directions: see `Whitening`; `PCAWhitening.fit` finds them.

    >>> from tatami.data import load
    >>> digits = load("digits").train
    >>> y = PCAWhitening.fit(digits, epsilon=0.01).apply(digits.images, np.float64).reshape(len(digits), -1)
    >>> bool(abs(y.T @ y / len(y) - np.diag(y.var(axis=0))).max() < 1e-5)  # nothing follows anything else
    True

    Source: Qiita, 'whitening' of the preprocessing; Pearson (1901); Hyvärinen, Karhunen, Oja (2001), §6.4.
    """

    def whitening_matrix(self) -> Matrix:
        """Return U diag(1/s)."""
        return np.asarray(self.basis / np.array(self.deviations))

    def colouring_matrix(self) -> Matrix:
        """Return diag(s) Uᵀ."""
        return np.asarray((self.basis * np.array(self.deviations)).T)


def feature_count(name: str, shape: Sequence[int]) -> int:
    """Return the number of features, or raise if there are none, or too many for a covariance matrix.

    >>> feature_count("ZCAWhitening", (1, 28, 28))
    784
    """
    if not shape or not all(isinstance(size, int) and 1 <= size <= LARGEST_SIZE for size in shape):
        raise SettingError(f"{name}: shape must be the sizes of an image, got {shape!r:.80}; use {name}.fit")
    features = prod(shape)
    if features > MOST_FEATURES:
        raise SettingError(
            f"{name}: images of shape {tuple(shape)} have {features:,} features, and the covariance of every feature "
            f"with every other takes {features * features * 8 / 1e9:,.2f} GB; whitening takes at most "
            f"{MOST_FEATURES:,} features: make the images smaller, or use 'standardise'"
        )
    return features


def check_epsilon(name: str, epsilon: float) -> None:
    """Raise unless ε is a finite number of at least 0."""
    if not is_finite_number(epsilon) or epsilon < 0:
        raise SettingError(f"{name}: epsilon must be a finite number of at least 0, got {epsilon!r}")


def base64_length(count: int) -> int:
    """Return how many letters base64 needs for so many bytes.

    >>> base64_length(4) == len(base64.b64encode(b"four"))
    True
    """
    return -(-count // 3) * 4


def covariance(dataset: Dataset, mean: Matrix, features: int) -> Matrix:
    """Return 1/n Σ (x - μ)(x - μ)ᵀ in float64, a chunk of images at a time."""
    total = np.zeros((features, features))
    for piece in chunks(dataset.images):
        centred = piece.reshape(len(piece), -1) - mean
        total += centred.T @ centred
    total /= len(dataset)
    return total


def directions_of(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Return variances λ, the largest first, and the directions U as columns, of a covariance matrix.

    An eigenvector has no sign of its own; here its largest entry is positive, so that the same data give the same U.

    >>> variances, basis = directions_of(np.array([[1.0, 0.0], [0.0, 4.0]]))
    >>> variances.tolist(), basis.tolist()
    ([4.0, 1.0], [[0.0, 1.0], [1.0, 0.0]])
    """
    variances, basis = np.linalg.eigh(matrix)
    variances, basis = np.maximum(variances[::-1], 0), basis[:, ::-1]
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=0)[np.newaxis], axis=0)
    return variances, basis * np.where(largest < 0, -1.0, 1.0)
