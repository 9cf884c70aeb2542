"""Mini-batches as a pure function of (seed, epoch, step).

The order of an epoch is a permutation that the counter-based generator draws for its seed and number, and step s
takes the s-th piece of it. Nothing is remembered between steps, so a run that is resumed in the middle of an epoch
sees what the undisturbed one would have seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tatami.data.augmentation import Pipeline
from tatami.data.dataset import Dataset
from tatami.data.on_demand import OnDemand
from tatami.data.preprocessing import Preprocessing, Unchanged
from tatami.data.workers import Workers, can_start_processes, made_ahead
from tatami.errors import DataError, SettingError
from tatami.random import RandomKey

if TYPE_CHECKING:
    from tatami.data.working.processes import Team

# Processes take a quarter of a second to start; fewer values in an epoch are made sooner by threads.
VALUES_WORTH_PROCESSES = 2**20


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of one step, preprocessed, with their labels and their places in the data set.

    Attributes:
        step: counted from 0 within the epoch.
        images: (N, *input_shape).
        labels: (N,) of the images themselves.
        indices: (N,) their places in the data set.
        targets: what the network is to say: the labels, (N, classes) shares of the classes after mixing, or the
            targets of the data set, masks moved together with their images.
    """

    step: int
    images: NDArray[Any]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    targets: NDArray[Any]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Batches:
    """The mini-batches of a data set.

    >>> data = Dataset("toy", np.arange(10, dtype=np.uint8).reshape(5, 2), np.array([0, 1, 0, 1, 0]))
    >>> batches = Batches(data, batch_size=2, seed=1)
    >>> [batch.indices.tolist() for batch in batches.epoch(0)]
    [[2, 1], [3, 4], [0]]
    >>> [batch.indices.tolist() for batch in batches.epoch(0, start=1)]
    [[3, 4], [0]]

    Attributes:
        dataset: where the images come from.
        batch_size: images in a batch.
        seed: the seed of the run.
        shuffle: a new order for each epoch, or the order of the data.
        drop_last: leave out the last batch of an epoch if it is smaller than the others.
        preprocessing: what is done to the images.
        dtype: the floating type of the network.
        augmentation: how images vary from epoch to epoch; None leaves them as they are.
        workers: how many make batches ahead of time, and whether they are threads or processes (`Workers`, or what it
            is read from); they change nothing but the time.

    Raises:
        SettingError: a batch size below 1.
        DataError: a batch larger than the data set.
    """

    dataset: Dataset
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = False
    preprocessing: Preprocessing = field(default_factory=Unchanged)
    dtype: DTypeLike = np.float32
    augmentation: Pipeline | None = None
    workers: int | str | Workers = 0

    def __post_init__(self) -> None:
        """Check the batch size and the workers."""
        Workers.of(self.workers)
        if self.batch_size < 1:
            raise SettingError(f"batch size must be at least 1, got {self.batch_size}")
        if self.batch_size > len(self.dataset):
            raise DataError(
                f"{self.dataset.name}: the batch size {self.batch_size} is larger than the data, {len(self.dataset)} "
                f"images; use a batch size of at most {len(self.dataset)}"
            )

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of all images in the order of an epoch."""
        if not self.shuffle:
            return np.arange(len(self.dataset), dtype=np.int64)
        return RandomKey(self.seed, epoch).permutation("shuffle", len(self.dataset))

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of one step. `epoch` is faster for many, it draws the order only once."""
        self.require_step(step, self.steps - 1)
        return self.piece(self.order(epoch), step, epoch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step ``start`` on; none if the epoch is already complete."""
        self.require_step(start, self.steps)
        return self.from_team(epoch, start) if self.uses_processes else self.from_threads(epoch, start)

    def from_threads(self, epoch: int, start: int) -> Iterator[Batch]:
        """Do the work of `epoch` by threads, or by none."""
        order = self.order(epoch)
        count = Workers.of(self.workers).count
        return made_ahead(lambda step: self.piece(order, step, epoch), range(start, self.steps), count)

    def from_team(self, epoch: int, start: int) -> Iterator[Batch]:
        """Do the work of `epoch` by processes that live as long as the epoch."""
        with self.team() as team:
            yield from team.epoch(epoch, start)

    @property
    def uses_processes(self) -> bool:
        """Whether the workers are processes.

        Left to us, they are where images are varied or decoded, and where there is so much of that to do that it is
        worth starting them; other data, and what another process cannot be told, goes to threads.
        """
        from tatami.data.working.descriptions import LARGEST_COPY, copied_bytes, why_not

        workers = Workers.of(self.workers)
        if workers.count == 0 or workers.kind == "threads":
            return False
        if not can_start_processes():
            if workers.kind == "processes":
                raise SettingError("workers: processes cannot be started on this system; use threads")
            return False
        reason = why_not(self.dataset, self.augmentation, self.preprocessing)
        if workers.kind == "processes":
            if reason:
                raise SettingError(f"workers: {reason}; use threads")
            return True
        size = int(np.prod(self.dataset.image_shape))
        worth_it = len(self.dataset) * size >= VALUES_WORTH_PROCESSES
        held = self.augmentation is not None or isinstance(self.dataset.images, OnDemand)
        return reason is None and worth_it and held and copied_bytes(self.dataset) <= LARGEST_COPY

    def team(self) -> "Team":
        """Start the worker processes, for as many epochs as they are wanted; close them, or use ``with``."""
        from tatami.data.working.processes import Team

        return Team(self, max(1, Workers.of(self.workers).count))

    def require_step(self, step: int, last: int) -> None:
        """Raise unless a step lies within the epoch."""
        if not 0 <= step <= last:
            raise SettingError(
                f"{self.dataset.name}: an epoch has {self.steps} steps, counted from 0; there is no step {step}"
            )

    def piece(self, order: NDArray[np.int64], step: int, epoch: int) -> Batch:
        """Make the batch of one step of an order."""
        return self.made(step, epoch, self.indices(order, step))

    def indices(self, order: NDArray[np.int64], step: int) -> NDArray[np.int64]:
        """Cut one batch out of an order."""
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def made(self, step: int, epoch: int, indices: NDArray[np.int64]) -> Batch:
        """Make the batch of some images: augmented, then preprocessed."""
        data = self.dataset
        labels = data.labels[indices]
        targets = labels if data.targets is None else np.asarray(data.targets[indices])
        if self.augmentation is None:
            images = self.preprocessing.apply(data.images[indices], self.dtype)
            return Batch(step, images, labels, indices, targets)
        if data.targets is not None and data.has_masks:
            augmented = self.augmentation.apply_to_pairs(
                data.images, data.targets, self.seed, epoch, indices, data.format.maximum
            )
            targets = np.asarray(augmented.masks)
        else:
            augmented = self.augmentation.apply(data, indices, self.seed, epoch)
            targets = augmented.targets if data.targets is None else targets
        images = self.preprocessing.apply(augmented.images, self.dtype)
        return Batch(step, images, labels, indices, targets)
