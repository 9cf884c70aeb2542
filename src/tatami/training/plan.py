"""What every step of a run works on: a pure function of the settings and the position in the run."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tatami.data import Batches, Dataset, Preprocessing
from tatami.random import RandomKey
from tatami.training.checkpoint import Position
from tatami.training.settings import TrainingSettings

if TYPE_CHECKING:
    from tatami.data.working.processes import Team


@dataclass(frozen=True, eq=False)
class PlannedStep:
    """What one training step gets.

    Args:
        images: (N, *input_shape), preprocessed.
        labels: (N,) classes from 0.
        targets: what the loss compares with: the labels, shares of the classes where images were mixed, or what the
            task makes of the data set's targets.
        key: seed, epoch and step, from which dropout draws.
        learning_rate: of this step.
        after: where the run stands after this step.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    targets: NDArray[Any]
    key: RandomKey
    learning_rate: float
    after: Position


class Plan:
    """All steps of a run, each made when it is asked for; the last batch of an epoch may be smaller.

    Args:
        dataset: images to train on.
        preprocessing: fitted to them.
        settings: of the run.
        dtype: of the arrays handed to the program.

    Raises:
        DataError: the batch is larger than the data.
    """

    def __init__(
        self, dataset: Dataset, preprocessing: Preprocessing, settings: TrainingSettings, dtype: str
    ) -> None:
        """Check the batch size against the data."""
        self.settings = settings
        self.images = len(dataset)
        self.batches = Batches(
            dataset,
            settings.batch_size,
            seed=settings.seed,
            preprocessing=preprocessing,
            dtype=dtype,
            augmentation=settings.augmentation,
            workers=settings.workers,
        )
        self.total_steps = self.batches.steps * settings.epochs
        self.team: Team | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep worker processes, if there are to be any, from epoch to epoch; they end with the ``with`` statement."""
        if not self.batches.uses_processes:
            yield
            return
        with self.batches.team() as self.team:
            try:
                yield
            finally:
                self.team = None

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0 over the whole run."""
        factor = self.settings.schedule.factor(step, self.total_steps)
        return self.settings.optimizer.learning_rate * factor

    def rest_of_epoch(self, position: Position) -> Generator[PlannedStep, None, None]:
        """Yield the steps from a position to the end of its epoch; none if only the end itself is missing."""
        step = position.step
        source = self.batches if self.team is None else self.team
        batches = source.epoch(position.epoch, start=position.batch)
        with ExitStack() as ends:
            if isinstance(batches, Generator):  # made by workers, who end when it is closed
                ends.callback(batches.close)
            for batch in batches:
                key = RandomKey(self.settings.seed, position.epoch, step)
                images, targets = self.settings.task.batch(batch.images, batch.targets, key)
                yield PlannedStep(
                    images=images,
                    labels=batch.labels,
                    targets=targets,
                    key=key,
                    learning_rate=self.learning_rate(step),
                    after=Position(position.epoch, batch.step + 1, step + 1),
                )
                step += 1

    def after(self, position: Position) -> Iterator[PlannedStep]:
        """Yield all steps from a position to the end of the run."""
        step = position.step
        for epoch in range(position.epoch, self.settings.epochs):
            for planned in self.rest_of_epoch(
                Position(epoch, position.batch if epoch == position.epoch else 0, step)
            ):
                step = planned.after.step
                yield planned
