"""What a run measured: one record for each epoch, and the running sums of the epoch that is under way."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from tatami.errors import CheckpointError

METRICS = ("metrics", "validation_metrics")


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """Losses, measures and speed of one epoch.

    Args:
        epoch: counted from 1.
        step: training steps done since the start of the run.
        loss: training loss, measured while the weights were changing (mean over the images for a loss with
            mean reduction, sum for one with sum reduction).
        accuracy: share of the training images classified correctly, measured alike; None for other tasks.
        validation_loss: loss on the validation images after the epoch, or None without any.
        validation_accuracy: accuracy on them.
        metrics: what other tasks measure, by name (`tatami.training.measures`).
        validation_metrics: the same on the validation images.
        learning_rate: of the last step of the epoch.
        seconds: time spent in training steps and validation.
        images_per_second: training images per second of training steps.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    learning_rate: float
    seconds: float
    images_per_second: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    validation_metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def measures(self) -> dict[str, float]:
        """Everything measured on the training images beside the loss."""
        known = {} if self.accuracy is None else {"accuracy": self.accuracy}
        return {**known, **self.metrics}

    @property
    def validation_measures(self) -> dict[str, float]:
        """The same on the validation images; empty without any."""
        known = {} if self.validation_accuracy is None else {"accuracy": self.validation_accuracy}
        return {**known, **self.validation_metrics}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EpochRecord":
        """Read a record back; raise CheckpointError if a field is missing, unknown or not a number."""
        names = {entry.name for entry in fields(cls)} - set(METRICS)
        if set(values) - set(METRICS) != names:
            raise CheckpointError(
                f"a history record has the fields {sorted(values)}, expected {sorted(names)}"
            )
        for name, value in values.items():
            if name in METRICS:
                if not isinstance(value, Mapping) or not all(
                    is_number(v, whole=False) for v in value.values()
                ):
                    raise CheckpointError(f"history field {name!r} holds {value!r}, expected numbers by name")
                continue
            whole = name in ("epoch", "step")
            optional = name.startswith("validation") or name == "accuracy"
            if not (is_number(value, whole=whole) or (optional and value is None)):
                raise CheckpointError(f"history field {name!r} holds {value!r}")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object; measures of other tasks only where there are some."""
        return {name: value for name, value in asdict(self).items() if name not in METRICS or value}


@dataclass(frozen=True, kw_only=True)
class RunningSums:
    """Sums over the part of the current epoch that is done; the checkpoint holds them.

    ``tally`` are the sums from which other tasks than classification get their measures.

    >>> sums = RunningSums().plus(loss=0.5, correct=9, images=10, seconds=0.1)
    >>> sums = sums.plus(loss=0.3, correct=10, images=10, seconds=0.1)
    >>> sums.images, round(sums.loss, 3), sums.accuracy
    (20, 0.8, 0.95)
    """

    loss: float = 0.0
    correct: int = 0
    images: int = 0
    seconds: float = 0.0
    tally: tuple[float, ...] = ()

    def plus(
        self, *, loss: float, correct: int, images: int, seconds: float, tally: Sequence[float] = ()
    ) -> "RunningSums":
        """Return the sums with one more training step."""
        before = self.tally or (0.0,) * len(tally)
        return RunningSums(
            loss=self.loss + loss,
            correct=self.correct + correct,
            images=self.images + images,
            seconds=self.seconds + seconds,
            tally=tuple(old + new for old, new in zip(before, tally, strict=True)),
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
        names = {entry.name for entry in fields(cls)} - {"tally"}
        numbers = {name: value for name, value in values.items() if name != "tally"}
        tally = values.get("tally", ())
        if set(numbers) != names or not all(
            is_number(value, whole=name in ("correct", "images")) for name, value in numbers.items()
        ):
            raise CheckpointError(
                f"the running sums of the epoch are {dict(values)}, expected numbers for {sorted(names)}"
            )
        if not isinstance(tally, list | tuple) or not all(is_number(value, whole=False) for value in tally):
            raise CheckpointError(
                f"the running sums of the epoch hold the tally {tally!r:.80}, expected numbers"
            )
        return cls(**numbers, tally=tuple(float(value) for value in tally))

    def to_json(self) -> dict[str, Any]:
        """Return the sums as a JSON object; a tally only where there is one."""
        return {
            name: list(value) if name == "tally" else value
            for name, value in asdict(self).items()
            if name != "tally" or value
        }


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

    def measures(self) -> list[str]:
        """Return what was measured beside the loss, the most important first."""
        return list(self.records[0].measures) if self.records else []

    def measured(self, name: str, *, validation: bool = False) -> list[float | None]:
        """Return one measure over the epochs, None where it was not taken."""
        return [
            (record.validation_measures if validation else record.measures).get(name)
            for record in self.records
        ]

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
