"""A data set: images, labels, the names of the classes, and what an image of it looks like."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tatami.data.on_demand import CHUNK_BYTES, OnDemand, chunks, take_images
from tatami.description import Described
from tatami.errors import DataError, SettingError, ShapeError

BACKGROUNDS = ("any", "dark")


@dataclass(frozen=True)
class ImageFormat(Described, family="image format"):
    """What the images of a data set have in common; an image from elsewhere is brought to it before a prediction.

    Attributes:
        maximum: the largest value that a pixel can take: 255 for image files, 16 for the digits.
        background: 'dark' if the data show light strokes on a dark ground, else 'any'.
        fill: the share of the image's side that a centred drawing fills (20/28 for MNIST), or None if images are
            taken as they are.
    """

    maximum: float = 255.0
    background: str = "any"
    fill: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (np.isfinite(self.maximum) and self.maximum > 0):
            raise SettingError(f"image format: maximum must be a positive number, got {self.maximum!r}")
        if self.background not in BACKGROUNDS:
            raise SettingError(f"image format: background must be 'any' or 'dark', got {self.background!r}")
        if self.fill is not None and not 0 < self.fill <= 1:
            raise SettingError(f"image format: fill must be above 0 and at most 1, got {self.fill!r}")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images (N, C, *spatial) or vectors (N, features) with a label for each.

    Bytes stay bytes until a mini-batch is made of them. Labels count from 0.

    >>> data = Dataset("toy", np.zeros((4, 1, 3, 3), np.uint8), np.array([0, 1, 1, 0]), ("cat", "dog"))
    >>> print(data)
    toy: 4 images of shape (1, 3, 3), 2 classes
    >>> data.take([1, 2]).labels
    array([1, 1])

    Attributes:
        name: what messages call it.
        images: (N, C, *spatial) or (N, features), of an integer or floating type: in memory, memory-mapped, or decoded
            on demand (`tatami.data.on_demand`), which is annotated like an array because it is used like one.
        labels: (N,) whole numbers from 0 to classes - 1.
        class_names: one for each class; without them the numbers, as many as the labels need.
        format: what the images have in common.
        targets: (N, …) what a network is to say of each image, where that is not its label: a mask (N, *spatial),
            numbers (N, outputs), or a class for every step (N, time); -1 where a mask or a step is not to count.
            Labels then only say which images belong together when the data are divided.
        target_names: what the targets mean: the classes of the pixels or steps, or what each number is called.
        target_colours: (red, green, blue) of each class of a mask, or none.
        columns: what else is known of each image, such as its file or its writer: (N,) texts by the column's name.

    Raises:
        ShapeError: images of no such shape, or as many labels or targets as there are not images.
        DataError: no images, a label out of range, NaN or infinity; the message names the sample.
    """

    name: str
    images: NDArray[Any]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...] = ()
    format: ImageFormat = ImageFormat()
    targets: NDArray[Any] | None = None
    target_names: tuple[str, ...] = ()
    target_colours: tuple[tuple[int, int, int], ...] = ()
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check everything, so that what follows can rely on it."""
        check_images(self.name, self.images)
        check_labels(self.name, self.labels, len(self.images))
        names = tuple(self.class_names) or tuple(str(number) for number in range(int(self.labels.max()) + 1))
        check_classes(self.name, self.labels, names)
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "labels", self.labels.astype(np.int64))
        if self.targets is not None:
            check_targets(self.name, self.targets, len(self.images), self.target_names)
        for column, values in self.columns.items():
            if len(values) != len(self.images):
                raise ShapeError(
                    f"{self.name}: {len(self.images)} images need as many values in the column {column!r}, got "
                    f"{len(values)}"
                )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __str__(self) -> str:
        """Print the data set in one line."""
        return f"{self.name}: {len(self)} images of shape {self.image_shape}, {len(self.class_names)} classes"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *spatial) or (features,) of one image."""
        return tuple(self.images.shape[1:])

    @property
    def has_masks(self) -> bool:
        """Whether the targets are classes of the points of each image."""
        targets = self.targets
        return (
            targets is not None
            and targets.dtype.kind in "ui"
            and self.images.ndim > 2
            and targets.shape[1:] == self.images.shape[2:]
        )

    def class_counts(self) -> NDArray[np.int64]:
        """Return the number of images of each class."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)

    def take(self, indices: ArrayLike) -> "Dataset":
        """Return the data set of some of the images, in the order of ``indices``."""
        at = np.asarray(indices, dtype=np.int64)
        targets = None if self.targets is None else take_images(self.targets, at)
        columns = {name: values[at] for name, values in self.columns.items()}
        return replace(
            self,
            images=take_images(self.images, at),
            labels=self.labels[at],
            targets=targets,
            columns=columns,
        )

    def first(self, count: int) -> "Dataset":
        """Return the first ``count`` images, or all if there are fewer.

        Raises:
            SettingError: a count below 1.
        """
        if count < 1:
            raise SettingError(f"{self.name}: at least one image is needed, asked for the first {count}")
        return self if count >= len(self) else self.take(np.arange(count))

    def require_every_class(self) -> None:
        """Raise a DataError that names the classes without an image: a network cannot learn them."""
        empty = [name for name, count in zip(self.class_names, self.class_counts(), strict=True) if not count]
        if empty:
            raise DataError(
                f"{self.name}: no image of class {', '.join(map(repr, empty))}; add images of it or leave the class out"
            )


@dataclass(frozen=True, eq=False)
class DatasetSplits:
    """The images to train on and those to test on; a validation part is split off the first.

    Raises:
        DataError: the two parts disagree about the classes, or a class has no image to train on.
        ShapeError: the two parts have images of different shapes.
    """

    train: Dataset
    test: Dataset

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        if self.train.image_shape != self.test.image_shape:
            raise ShapeError(
                f"{self.name}: images to train on have shape {self.train.image_shape}, "
                f"those to test on {self.test.image_shape}"
            )
        if self.train.class_names != self.test.class_names:
            raise DataError(f"{self.name}: the parts to train and to test on have different classes")
        if self.train.target_names != self.test.target_names:
            raise DataError(f"{self.name}: the targets to train and to test on have different names")
        self.train.require_every_class()

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.train.name

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *spatial) or (features,) of one image."""
        return self.train.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return self.train.class_names

    @property
    def format(self) -> ImageFormat:
        """What the images have in common."""
        return self.train.format

    def limited(self, count: int) -> "DatasetSplits":
        """Return the splits with only the first ``count`` images to train on; those to test on all stay."""
        return replace(self, train=self.train.first(count))


def check_images(name: str, images: NDArray[Any]) -> None:
    """Raise unless the images are numbers of a usable shape, at least one, and finite."""
    if images.dtype.kind not in "uif":
        raise DataError(f"{name}: images must be whole or floating-point numbers, got type {images.dtype}")
    if images.ndim < 2:
        raise ShapeError(
            f"{name}: expected images of shape (N, C, *spatial) or vectors of shape (N, features), got {images.shape}"
        )
    if images.size == 0:
        raise DataError(f"{name}: no images: the array has shape {images.shape}")
    check_finite(name, images)


def check_finite(name: str, images: Any) -> None:
    """Raise a DataError that names the first sample with NaN or infinity."""
    # Images on demand are checked when a batch is made of them; what is mapped is looked at piece by piece.
    if images.dtype.kind != "f" or isinstance(images, OnDemand):
        return
    if images.nbytes <= CHUNK_BYTES or isinstance(images, np.memmap):
        if all(np.isfinite(piece).all() for piece in chunks(images)):
            return
    elif np.isfinite(images).all():
        return
    finite = np.isfinite(images)
    sample = int(np.argmin(finite.reshape(len(images), -1).all(axis=1)))
    position = tuple(int(axis) for axis in np.argwhere(~finite[sample])[0])
    value = images[(sample, *position)]
    raise DataError(
        f"{name}: sample {sample} holds {value} at {position}; every value must be finite: mend or remove the sample"
    )


def check_labels(name: str, labels: NDArray[Any], count: int) -> None:
    """Raise unless the labels are whole numbers, one for each image."""
    if labels.ndim != 1 or len(labels) != count:
        raise ShapeError(
            f"{name}: {count} images need labels of shape ({count},), one for each; got shape {labels.shape}"
        )
    if labels.dtype.kind not in "ui":
        raise DataError(
            f"{name}: labels must be whole numbers that count the classes from 0, got type {labels.dtype}; "
            f"put the names of classes into class_names"
        )
    if labels.min() < 0:
        sample = int(np.argmin(labels))
        raise DataError(f"{name}: sample {sample} has the label {labels[sample]}; labels count from 0")


def check_targets(name: str, targets: Any, count: int, names: tuple[str, ...]) -> None:
    """Raise unless there is a finite target for each image, and a name for every class or number."""
    if targets.ndim < 2 or len(targets) != count:
        raise ShapeError(
            f"{name}: {count} images need targets of shape ({count}, …), one for each; got shape {tuple(targets.shape)}"
        )
    if targets.dtype.kind not in "uif":
        raise DataError(f"{name}: targets must be numbers, got type {targets.dtype}")
    if targets.dtype.kind == "f":
        if len(names) != targets.shape[1]:
            raise DataError(f"{name}: {targets.shape[1]} numbers to learn have {len(names)} names")
        check_finite(f"{name}, targets", targets)
    elif not isinstance(targets, OnDemand):
        low, high = int(targets.min()), int(targets.max())
        if low < -1 or high >= len(names):
            raise DataError(
                f"{name}: the targets hold the classes {low} to {high}, expected 0 to {len(names) - 1} for "
                f"{len(names)} classes (-1 where they are not to count)"
            )


def check_classes(name: str, labels: NDArray[Any], class_names: tuple[str, ...]) -> None:
    """Raise unless every label has a class and every class its own name."""
    if len(set(class_names)) != len(class_names):
        twice = sorted({other for other in class_names if class_names.count(other) > 1})
        raise DataError(f"{name}: two classes have the same name: {', '.join(twice)}")
    if labels.max() >= len(class_names):
        sample = int(np.argmax(labels >= len(class_names)))
        hint = "; labels count from 0, subtract 1 from all" if labels.min() == 1 else ""
        raise DataError(
            f"{name}: sample {sample} has the label {labels[sample]}, expected 0 to {len(class_names) - 1} "
            f"for {len(class_names)} classes{hint}"
        )
