"""What a run measured: one record for each epoch, and the running sums of the epoch that is under way."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from tatami.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """Losses, accuracies and speed of one epoch.

    Args:
        epoch: counted from 1.
        step: training steps done since the start of the run.
        loss: training loss, measured while the weights were changing (mean over the images for a loss with
            mean reduction, sum for one with sum reduction).
        accuracy: share of the training images classified correctly, measured alike.
        validation_loss: loss on the validation images after the epoch, or None without any.
        validation_accuracy: accuracy on them.
        learning_rate: of the last step of the epoch.
        seconds: time spent in training steps and validation.
        images_per_second: training images per second of training steps.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    learning_rate: float
    seconds: float
    images_per_second: float

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EpochRecord":
        """Read a record back; raise CheckpointError if a field is missing, unknown or not a number."""
        names = {entry.name for entry in fields(cls)}
        if set(values) != names:
            raise CheckpointError(
                f"a history record has the fields {sorted(values)}, expected {sorted(names)}"
            )
        for name, value in values.items():
            whole = name in ("epoch", "step")
            optional = name.startswith("validation")
            if not (is_number(value, whole=whole) or (optional and value is None)):
                raise CheckpointError(f"history field {name!r} holds {value!r}")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class RunningSums:
    """Sums over the part of the current epoch that is done; the checkpoint holds them.

    >>> sums = RunningSums().plus(loss=0.5, correct=9, images=10, seconds=0.1)
    >>> sums = sums.plus(loss=0.3, correct=10, images=10, seconds=0.1)
    >>> sums.images, round(sums.loss, 3), sums.accuracy
    (20, 0.8, 0.95)
    """

    loss: float = 0.0
    correct: int = 0
    images: int = 0
    seconds: float = 0.0

    def plus(self, *, loss: float, correct: int, images: int, seconds: float) -> "RunningSums":
        """Return the sums with one more training step."""
        return RunningSums(
            loss=self.loss + loss,
            correct=self.correct + correct,
            images=self.images + images,
            seconds=self.seconds + seconds,
        )

    @property
    def accuracy(self) -> float:
        """Share of the images seen so far that were classified correctly."""
        return self.correct / self.images if self.images else 0.0

    @property
    def images_per_second(self) -> float:
        """Training images per second so far in this epoch."""
        return self.images / self.seconds if self.seconds > 0 else 0.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunningSums":
        """Read the sums back; raise CheckpointError if a field is missing or not a number."""
        names = {entry.name for entry in fields(cls)}
        if set(values) != names or not all(
            is_number(value, whole=name in ("correct", "images")) for name, value in values.items()
        ):
            raise CheckpointError(
                f"the running sums of the epoch are {dict(values)}, expected numbers for {sorted(names)}"
            )
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the sums as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class History:
    """The records of the epochs that are done, oldest first.

    >>> record = EpochRecord(epoch=1, step=10, loss=0.5, accuracy=0.8, learning_rate=0.1, seconds=1.0,
    ...                      images_per_second=900.0)
    >>> history = History().with_record(record)
    >>> len(history), history.best_epoch, history.column("loss")
    (1, None, [0.5])
    """

    records: tuple[EpochRecord, ...] = field(default=())

    def __len__(self) -> int:
        """Return how many epochs are done."""
        return len(self.records)

    def with_record(self, record: EpochRecord) -> "History":
        """Return the history with one more epoch."""
        return History((*self.records, record))

    def column(self, name: str) -> list[Any]:
        """Return one field of every record."""
        return [getattr(record, name) for record in self.records]

    @property
    def seconds(self) -> float:
        """Time spent in all epochs."""
        return float(sum(record.seconds for record in self.records))

    @property
    def images_per_second(self) -> float:
        """Training images per second over all epochs: their harmonic mean, for all have the same images."""
        speeds = [record.images_per_second for record in self.records]
        return len(speeds) / sum(1 / speed for speed in speeds) if speeds and all(speeds) else 0.0

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the lowest validation loss (the first of equals), or None without validation."""
        validated = [record for record in self.records if record.validation_loss is not None]
        if not validated:
            return None
        return min(validated, key=lambda record: (record.validation_loss, record.epoch)).epoch

    def epochs_without_improvement(self) -> int:
        """Return how many epochs passed since the best one."""
        best = self.best_epoch
        return 0 if best is None else self.records[-1].epoch - best

    def without_clock(self) -> list[dict[str, Any]]:
        """Return the records without what depends on the clock: equal for equal runs."""
        return [replace(record, seconds=0.0, images_per_second=0.0).to_json() for record in self.records]

    def to_lines(self) -> str:
        """Return the history as JSON lines, one for each epoch."""
        return "".join(json.dumps(record.to_json(), allow_nan=False) + "\n" for record in self.records)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the history as a list of JSON objects."""
        return [record.to_json() for record in self.records]

    @classmethod
    def from_json(cls, records: Iterable[Mapping[str, Any]]) -> "History":
        """Read a history back and check that its epochs count from 1."""
        history = cls(tuple(EpochRecord.from_json(record) for record in records))
        epochs: Sequence[int] = history.column("epoch")
        if list(epochs) != list(range(1, len(epochs) + 1)):
            raise CheckpointError(f"the epochs of the history do not count from 1: {list(epochs)}")
        return history


def is_number(value: object, *, whole: bool) -> bool:
    """Say whether a value is a number (bool is none), a whole one if asked."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) if whole else isinstance(value, int | float)
