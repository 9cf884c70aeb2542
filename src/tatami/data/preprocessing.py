"""What is done to images before the first layer. It is part of a model and is saved with it.

The numbers that it needs are taken from the images to train on, once, and then stay: those to validate on, to test
on and to predict go through the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tatami.data.dataset import Dataset, ImageFormat, check_finite
from tatami.data.on_demand import chunks
from tatami.description import Described
from tatami.errors import SettingError, ShapeError

Numbers = tuple[float, ...]
EXTENTS = ("all", "channel", "feature")
LARGEST_CHUNK = 2**22


@dataclass(frozen=True)
class Preprocessing(Described, family="preprocessing", abstract=True):
    """Base of the preprocessings: what the images look like, and a way from them to the network's input.

    Attributes:
        format: what the images of the training data had in common.
    """

    format: ImageFormat = field(default_factory=ImageFormat)

    def __post_init__(self) -> None:
        """Check what may have been read from a file."""
        if not isinstance(self.format, ImageFormat):
            raise SettingError(f"{type(self).__name__}: format must be an ImageFormat, got {self.format!r}")

    def apply(self, images: NDArray[Any], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Turn images (N, C, *spatial) of any numeric type into input of a floating type.

        Raises:
            DataError: NaN or infinity in the images; the message names the sample.
            ShapeError: images of another shape than those that the numbers were taken from.
        """
        check_finite("images", images)
        return self.transform(images.astype(dtype))

    def transform(self, images: NDArray[Any]) -> NDArray[Any]:
        """Do the work; ``images`` are a copy of the input's floating type."""
        raise NotImplementedError

    def inverse(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the images, in the data's own numbers, that the network's input was made of: `apply` undone.

        Args:
            values: (N, C, *spatial) of a floating type, such as what an autoencoder gives back.
        """
        raise NotImplementedError

    def require_shape(self, images: NDArray[Any], shape: tuple[int, ...]) -> None:
        """Raise unless images have the shape that the numbers were taken from."""
        if images.shape[1:] != shape:
            raise ShapeError(
                f"{type(self).__name__}: fitted to images of shape {shape}, got {tuple(images.shape[1:])}"
            )


@dataclass(frozen=True)
class Unchanged(Preprocessing):
    """The numbers as they are, only in the network's floating type."""

    @classmethod
    def fit(cls, dataset: Dataset) -> "Unchanged":
        """Take over the format; nothing else is needed."""
        return cls(dataset.format)

    def transform(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return x itself."""
        return images

    def inverse(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return y itself."""
        return values


@dataclass(frozen=True)
class Scale(Preprocessing):
    """To [0, 1]: x / maximum, the largest value that a pixel can take, whether or not it occurs.

    >>> Scale(ImageFormat(maximum=16)).apply(np.array([[0, 4, 16]], dtype=np.uint8))
    array([[0.  , 0.25, 1.  ]], dtype=float32)
    """

    @classmethod
    def fit(cls, dataset: Dataset) -> "Scale":
        """Take over the format, which holds the maximum."""
        return cls(dataset.format)

    def transform(self, images: NDArray[Any]) -> NDArray[Any]:
        """Divide by the maximum."""
        images /= images.dtype.type(self.format.maximum)
        return images

    def inverse(self, values: NDArray[Any]) -> NDArray[Any]:
        """Multiply by the maximum."""
        return np.asarray(values * values.dtype.type(self.format.maximum))


@dataclass(frozen=True)
class Fitted(Preprocessing, abstract=True):
    """Base of the preprocessings (x - shift) / divisor with numbers taken from the training data.

    Attributes:
        extent: what has numbers of its own: 'all' pixels together, each 'channel', or each 'feature' (pixel).
        shape: (C, *spatial) of the images that the numbers were taken from.
    """

    extent: str = "channel"
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that there are as many numbers as the extent needs."""
        super().__post_init__()
        if self.extent not in EXTENTS:
            raise SettingError(
                f"{type(self).__name__}: extent must be one of {', '.join(EXTENTS)}, got {self.extent!r}"
            )
        count = int(np.prod(numbers_shape(self.extent, self.shape), dtype=np.int64))
        for numbers in self.numbers():
            if len(numbers) != count:
                raise SettingError(
                    f"{type(self).__name__}: expected {count} numbers for the extent {self.extent!r} of images "
                    f"{self.shape}, got {len(numbers)}; fit it to a data set with {type(self).__name__}.fit"
                )
            if not np.isfinite(numbers).all():
                raise SettingError(f"{type(self).__name__}: every number must be finite")

    def numbers(self) -> tuple[Numbers, Numbers]:
        """Return the two tuples of numbers that were taken from the training data."""
        raise NotImplementedError

    def shift_and_divisor(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what is subtracted and what is divided by; a divisor of 0 (constant data) counts as 1."""
        raise NotImplementedError

    def transform(self, images: NDArray[Any]) -> NDArray[Any]:
        """(x - shift) / divisor."""
        shift, divisor = self.aligned(images)
        images -= shift
        images /= divisor
        return images

    def inverse(self, values: NDArray[Any]) -> NDArray[Any]:
        """y·divisor + shift; what was constant in training comes back as that constant only if y is 0."""
        shift, divisor = self.aligned(values)
        return np.asarray(values * divisor + shift)

    def aligned(self, images: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return shift and divisor so that they stand against images of their type."""
        self.require_shape(images, self.shape)
        shape = numbers_shape(self.extent, self.shape)
        shift, divisor = self.shift_and_divisor()
        divisor = np.where(divisor == 0, 1, divisor)
        return shift.reshape(shape).astype(images.dtype), divisor.reshape(shape).astype(images.dtype)


@dataclass(frozen=True)
class MinMax(Fitted):
    """(x - minimum) / (maximum - minimum) of the training data: [0, 1] there, elsewhere a little beyond.

    Data that are constant in training become 0.

    Source: Qiita, "Min-Max normalisation".
    """

    minimum: Numbers = ()
    maximum: Numbers = ()

    @classmethod
    def fit(cls, dataset: Dataset, extent: str = "channel") -> "MinMax":
        """Take minimum and maximum from the images to train on."""
        axes = reduced_axes(extent, dataset.images.ndim)
        return cls(
            format=dataset.format,
            extent=extent,
            shape=dataset.image_shape,
            minimum=as_numbers(np.min([piece.min(axis=axes) for piece in chunks(dataset.images)], axis=0)),
            maximum=as_numbers(np.max([piece.max(axis=axes) for piece in chunks(dataset.images)], axis=0)),
        )

    def numbers(self) -> tuple[Numbers, Numbers]:
        """Minimum and maximum."""
        return self.minimum, self.maximum

    def shift_and_divisor(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Minimum, and maximum - minimum."""
        minimum, maximum = np.array(self.minimum), np.array(self.maximum)
        return minimum, maximum - minimum


@dataclass(frozen=True)
class Standardise(Fitted):
    """(x - mean) / deviation of the training data: mean 0 and variance 1 there.

    The deviation is the one over all n numbers, √(Σ(x - mean)² / n). Data that are constant in training become 0.

    Source: Qiita, "standardisation".
    """

    mean: Numbers = ()
    deviation: Numbers = ()

    @classmethod
    def fit(cls, dataset: Dataset, extent: str = "channel") -> "Standardise":
        """Take mean and deviation, in float64, from the images to train on."""
        mean, deviation = mean_and_deviation(dataset.images, reduced_axes(extent, dataset.images.ndim))
        return cls(
            format=dataset.format,
            extent=extent,
            shape=dataset.image_shape,
            mean=as_numbers(mean),
            deviation=as_numbers(deviation),
        )

    def numbers(self) -> tuple[Numbers, Numbers]:
        """Mean and deviation."""
        return self.mean, self.deviation

    def shift_and_divisor(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and deviation."""
        return np.array(self.mean), np.array(self.deviation)


def numbers_shape(extent: str, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in which the numbers of an extent stand against images of a shape.

    >>> numbers_shape("channel", (3, 28, 28))
    (3, 1, 1)
    """
    if extent == "feature":
        return image_shape
    if extent == "channel":
        return image_shape[:1] + (1,) * len(image_shape[1:])
    return (1,) * len(image_shape)


def reduced_axes(extent: str, rank: int) -> tuple[int, ...]:
    """Return the axes of (N, C, *spatial) over which the numbers of an extent are taken."""
    if extent not in EXTENTS:
        raise SettingError(f"preprocessing: extent must be one of {', '.join(EXTENTS)}, got {extent!r}")
    axes = tuple(range(rank))
    return {"feature": axes[:1], "channel": (0, *axes[2:]), "all": axes}[extent]


def as_numbers(array: NDArray[Any]) -> Numbers:
    """Return the elements as a tuple of Python floats."""
    return tuple(float(value) for value in np.atleast_1d(array).ravel())


def mean_and_deviation(images: NDArray[Any], axes: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and deviation in float64, a chunk of images at a time, so that bytes are never copied whole."""
    rows = max(1, LARGEST_CHUNK // max(1, images[0].size))

    def pieces() -> Iterator[NDArray[Any]]:
        return (images[start : start + rows] for start in range(0, len(images), rows))

    kept = [size for axis, size in enumerate(images.shape) if axis not in axes]
    count = images.size // int(np.prod(kept, dtype=np.int64))
    mean = sum(chunk.sum(axis=axes, dtype=np.float64, keepdims=True) for chunk in pieces()) / count
    squares = sum(((chunk - mean) ** 2).sum(axis=axes) for chunk in pieces())
    return np.asarray(mean), np.sqrt(np.asarray(squares) / count)
