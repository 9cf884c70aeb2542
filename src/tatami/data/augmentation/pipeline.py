"""A pipeline: transforms in a row, as data."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.base import Partners, Samples, Transform
from tatami.data.augmentation.draws import Draws
from tatami.data.augmentation.engines import ENGINE_NAMES, NUMPY, Engine, OpenCV, is_installed
from tatami.data.augmentation.filters import Blur, Elastic, Sharpen
from tatami.data.augmentation.geometric import Geometric, read_through
from tatami.data.augmentation.mixing import Mixing
from tatami.data.dataset import Dataset
from tatami.description import Described
from tatami.errors import DataError, SettingError, TatamiError, unknown_name
from tatami.random import RandomKey

# Pixels that are transformed at a time: few enough to stay in the cache, enough for NumPy to be fast.
PIECE_PIXELS = 2**17
MOST_STEPS = 32


@dataclass(frozen=True, eq=False)
class Augmented:
    """What a pipeline makes of some samples.

    Attributes:
        images: (N, C, *spatial) float32, in the range of the data set: 0 … ``format.maximum`` if values are clipped.
        targets: (N,) labels, or (N, classes) shares of the classes if images were mixed.
        masks: (N, *spatial), or None.
    """

    images: NDArray[np.float32]
    targets: NDArray[Any]
    masks: NDArray[Any] | None = None


@dataclass(frozen=True)
class Pipeline(Described, family="pipeline"):
    """Transforms that every training image goes through, in order, anew in each epoch.

    What comes out is a pure function of the data set and (seed, epoch, sample): the same for any batch size, number
    of workers, after a resume and on every machine.

    >>> from tatami.data.augmentation import Rotate, Shift
    >>> pipeline = Pipeline((Shift(), Rotate(degrees=15)))
    >>> data = Dataset("toy", np.full((4, 1, 8, 8), 255, np.uint8), np.array([0, 1, 0, 1]))
    >>> pipeline.apply(data, np.array([2, 0]), seed=1, epoch=0).images.shape
    (2, 1, 8, 8)
    >>> Pipeline.from_json(pipeline.to_json()) == pipeline
    True

    Attributes:
        steps: the transforms.
        clip: keep values within 0 … the largest that a pixel can take; not for signals, which swing around 0.
        engine: who reads images at other places and blurs them. `NumPy`, or None for it, gives the same bits on every
            machine; `OpenCV` is several times faster, and the bits are those of one version on one kind of processor.
    """

    steps: tuple[Transform, ...] = ()
    clip: bool = True
    engine: Engine | None = None

    def __post_init__(self) -> None:
        """Check the number of steps."""
        super().__post_init__()
        if not 1 <= len(self.steps) <= MOST_STEPS:
            raise SettingError(f"a pipeline has 1 to {MOST_STEPS} steps, got {len(self.steps)}")

    @property
    def mixes(self) -> bool:
        """Whether labels become shares of the classes, or images come from more than one sample."""
        return any(isinstance(step, Mixing) for step in self.steps)

    @property
    def is_heavy(self) -> bool:
        """Whether there are steps that OpenCV does faster."""
        return any(isinstance(step, Geometric | Blur | Sharpen) for step in self.steps)

    def drawn_by(self, name: str, image_shape: Sequence[int]) -> "Pipeline":
        """Return the pipeline with an engine of its own, with all that a run has to keep about it.

        Args:
            name: 'numpy', 'opencv', or 'auto': the engine that the pipeline names; without one OpenCV where it is
                installed and has something to do, else NumPy.
            image_shape: (C, *spatial) of the images.

        Raises:
            UnknownNameError: another name.
            MissingExtraError: OpenCV is not installed.
            SettingError: an engine of another machine, which draws other bits.
        """
        if name not in ENGINE_NAMES:
            raise unknown_name("engine", name, ENGINE_NAMES)
        if name == "auto" and self.engine is not None:
            return replace(self, engine=self.engine.settled())
        if name == "auto":
            name = "opencv" if self.is_heavy and len(image_shape) > 2 and is_installed() else "numpy"
        return replace(self, engine=OpenCV().settled() if name == "opencv" else NUMPY)

    def apply(self, dataset: Dataset, samples: NDArray[np.int64], seed: int, epoch: int) -> Augmented:
        """Return what some samples of a data set look like in an epoch.

        Args:
            dataset: where the images come from.
            samples: (N,) places in it.
            seed: of the run.
            epoch: counted from 0.

        Raises:
            ShapeError, SettingError: a transform that does not fit the data; the message names it.
        """
        at = np.asarray(samples, dtype=np.int64)
        if at.ndim != 1 or len(at) == 0:
            raise DataError(f"{dataset.name}: name at least one sample to augment, got {at.shape} places")
        runner = Runner(self, dataset, RandomKey(seed, epoch))
        rows = max(1, PIECE_PIXELS // max(1, int(np.prod(dataset.image_shape))))
        pieces = [runner.run(at[start : start + rows]) for start in range(0, len(at), rows)]
        targets = [piece.targets for piece in pieces]
        if any(part.ndim == 2 for part in targets):
            targets = [piece.shares() for piece in pieces]
        images = np.concatenate([piece.images for piece in pieces]) if len(pieces) > 1 else pieces[0].images
        return Augmented(self.in_range(images, dataset.format.maximum), np.concatenate(targets))

    def apply_to_pairs(
        self, images: NDArray[Any], masks: NDArray[Any], seed: int, epoch: int, samples: NDArray[np.int64],
        maximum: float = 255.0,
    ) -> Augmented:  # fmt: skip
        """Return images (N, C, *spatial) and their masks (N, *spatial), transformed together.

        Args:
            images: all images of the data set.
            masks: a label for every point of them.
            seed: of the run.
            epoch: counted from 0.
            samples: places of those that are wanted.
            maximum: the largest value that a pixel can take.
        """
        if masks.shape != (len(images), *images.shape[2:]):
            raise DataError(
                f"masks of shape {masks.shape} do not belong to images of shape {images.shape}; "
                f"expected {(len(images), *images.shape[2:])}"
            )
        runner = Runner(
            self,
            Dataset("pairs", images, np.zeros(len(images), np.int64), ("",)),
            RandomKey(seed, epoch),
            masks,
            maximum,
        )
        done = runner.run(np.asarray(samples, dtype=np.int64))
        return Augmented(self.in_range(done.images, maximum), done.targets, done.masks)

    def in_range(self, images: NDArray[np.float32], maximum: float) -> NDArray[np.float32]:
        """Return images from shares of the maximum to the data set's range, clipped if they are to be."""
        if self.clip:
            np.clip(images, 0, 1, out=images)
        images *= np.float32(maximum)
        return images

    @classmethod
    def read(cls, path: str | Path) -> "Pipeline":
        """Read a pipeline from a JSON file.

        Raises:
            DataError: no such file, or not JSON.
            SettingError, UnknownNameError: not a pipeline; the message says what is wrong with it.
        """
        place = Path(path).expanduser()
        try:
            if place.stat().st_size > 2**20:
                raise DataError(f"{place}: a pipeline is a small JSON file, this one has more than 1 MiB")
            values = json.loads(place.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{place}: the pipeline cannot be read: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: not a JSON file of a pipeline ({error})") from error
        try:
            return cls.from_json(values)
        except TatamiError as error:
            raise type(error)(f"{place}: {error}") from error

    def write(self, path: str | Path) -> None:
        """Write the pipeline as a JSON file."""
        Path(path).write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Runner:
    """A pipeline at work on one data set, in one epoch."""

    pipeline: Pipeline
    dataset: Dataset
    key: RandomKey
    masks: NDArray[Any] | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        """Check that the engine draws what it drew when the run began."""
        self.engine.require_ready()

    @property
    def engine(self) -> Engine:
        """Who reads images at other places."""
        return self.pipeline.engine or NUMPY

    def run(self, samples: NDArray[np.int64], steps: int | None = None) -> Samples:
        """Return samples after the first ``steps`` steps, or after all."""
        wanted = self.pipeline.steps[:steps]
        current = self.read(samples)
        for places in grouped(wanted):
            draws = [Draws(self.key, place, samples) for place in places]
            first = wanted[places[0]]
            if isinstance(first, Geometric) and len(places) > 1:
                moving = [step for step in wanted[places[0] : places[-1] + 1] if isinstance(step, Geometric)]
                current = read_through(moving, current, draws)
            else:
                current = first.apply(current, draws[0], self.partners(places[0]))
        return current

    def read(self, samples: NDArray[np.int64]) -> Samples:
        """Return samples as they come from the data set, divided by the largest value that a pixel can take."""
        maximum = self.dataset.format.maximum if self.maximum is None else self.maximum
        images = self.dataset.images[samples].astype(np.float32)
        images *= np.float32(1 / maximum)
        masks = None if self.masks is None else np.asarray(self.masks[samples])
        classes = len(self.dataset.class_names)
        return Samples(images, self.dataset.labels[samples], classes, masks, self.engine)

    def partners(self, step: int) -> Partners:
        """Return what gives the samples that are drawn as partners, as they come to a step."""
        return partial(self.partners_at, step)

    def partners_at(self, step: int, shares: NDArray[np.float64]) -> Samples:
        """Return the samples at shares in [0, 1) of the data set, after the steps before ``step``."""
        return self.run(np.floor(shares * len(self.dataset)).astype(np.int64), step)


def grouped(steps: Sequence[Transform]) -> Iterator[list[int]]:
    """Yield the places of steps that are done at once: geometric ones in a row that agree about the outside.

    >>> from tatami.data.augmentation import PixelNoise, Rotate, Shift
    >>> list(grouped([Shift(), Rotate(), PixelNoise(), PixelNoise()]))
    [[0, 1], [2], [3]]
    """

    def kind(place: int) -> tuple[Any, ...]:
        step = steps[place]
        if isinstance(step, Geometric) and not isinstance(step, Elastic):
            return ("geometric", step.outside)
        return (place,)

    for _, places in groupby(range(len(steps)), key=kind):
        yield list(places)
