"""Images that are not in memory: memory-mapped, or decoded from their files when a batch needs them.

They stand where an array of images stands: they have its shape and type, and an index array gives the images it
names. A data set larger than memory trains in the memory of a few batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.description import Described
from tatami.errors import DataError

# Bytes that are read at a time where all images are looked at in turn.
CHUNK_BYTES = 2**24


class OnDemand(ABC):
    """Base of the images that are read when they are asked for."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @abstractmethod
    def read(self, at: NDArray[np.int64]) -> NDArray[Any]:
        """Return the images at some places: (len(at), C, *spatial)."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes that all images would take."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        """Return the number of images."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return one image, a slice of them, or those that an array of places or a mask names."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        at = np.arange(len(self))[first]
        images = self.read(np.atleast_1d(at).astype(np.int64))
        images = images[0] if at.ndim == 0 else images
        return np.asarray(images[tuple(rest) if at.ndim == 0 else (slice(None), *rest)]) if rest else images

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the images one by one."""
        return (self[number] for number in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all images as an array, for code that needs one."""
        return np.asarray(self.read(np.arange(len(self))), dtype=dtype)


@dataclass(frozen=True)
class Decoder(Described, family="decoder", abstract=True):
    """Base of the ways to decode a file that are data, so that another process can be told of them."""

    def __call__(self, path: Path) -> NDArray[Any]:
        """Return the image (C, *spatial) of a file."""
        raise NotImplementedError


class DecodedFiles(OnDemand):
    """Images that are decoded from their files by a function or a `Decoder`.

    Args:
        paths: one file, or folder, for each image.
        shape: (C, *spatial) of an image.
        dtype: of its values.
        decode: reads one.

    Raises:
        DataError: when an image is read that has another shape.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        shape: tuple[int, ...],
        dtype: Any,
        decode: Callable[[Path], NDArray[Any]],
    ) -> None:
        """Remember where the images are; none is read."""
        self.paths = list(paths)
        self.shape = (len(self.paths), *shape)
        self.dtype = np.dtype(dtype)
        self.decode = decode

    def read(self, at: NDArray[np.int64]) -> NDArray[Any]:
        """Decode some images."""
        images = np.empty((len(at), *self.shape[1:]), self.dtype)
        for image, number in zip(images, at, strict=True):
            image[...] = self.decoded(int(number))
        return images

    def decoded(self, number: int) -> NDArray[Any]:
        """Decode one image, and check its shape."""
        path = self.paths[number]
        image = self.decode(path)
        if image.shape != self.shape[1:]:
            raise DataError(
                f"{path}: has shape {image.shape}, expected {self.shape[1:]}; all must have the same"
            )
        return image


class Selected(OnDemand):
    """Some images of an array that is memory-mapped or read on demand, in an order of its own."""

    def __init__(self, images: Any, at: NDArray[np.int64]) -> None:
        """Remember which; none is read."""
        inner = isinstance(images, Selected)
        self.images: Any = images.images if inner else images
        self.at: NDArray[np.int64] = images.at[at] if inner else at
        self.shape = (len(at), *images.shape[1:])
        self.dtype = images.dtype

    def read(self, at: NDArray[np.int64]) -> NDArray[Any]:
        """Read some of them."""
        return np.asarray(self.images[self.at[at]])


def take_images(images: Any, at: NDArray[np.int64]) -> Any:
    """Return some images: a copy of those in memory, a view of those that are not."""
    return Selected(images, at) if isinstance(images, OnDemand | np.memmap) else images[at]


def largest_value(images: Any) -> float:
    """Return the largest absolute value of an array that may not be in memory; 0 for an empty one."""
    return max((float(np.abs(piece).max(initial=0)) for piece in chunks(images)), default=0.0)


def chunks(images: Any) -> Iterator[NDArray[Any]]:
    """Yield all images in pieces of at most 16 MiB (at least one image), in order."""
    rows = max(1, CHUNK_BYTES // max(1, images.size // len(images) * images.dtype.itemsize))
    for start in range(0, len(images), rows):
        yield np.asarray(images[start : start + rows])
