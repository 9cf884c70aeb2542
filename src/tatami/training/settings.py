"""Every setting of a run that its weights depend on, checked once, written with the run and its checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any

from tatami.data.augmentation import Pipeline
from tatami.data.workers import Workers
from tatami.description import Described
from tatami.errors import CheckpointError, SettingError, TatamiError
from tatami.geometry import is_whole
from tatami.losses import Loss, SoftmaxCrossEntropy
from tatami.optimizers import SGD, Optimizer
from tatami.program import DEFAULT_BACKEND, backend_to_use
from tatami.schedules import ConstantRate, Schedule
from tatami.training.tasks import Classify, Task

LARGEST_EPOCHS = 2**32 - 1
LATER_SETTINGS: Mapping[str, Any] = {
    "augmentation": None,
    "workers": 0,
    "task": {"type": "Classify"},
    "watch": (),
    "diagnosis": True,
    "group_by": None,
}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a network is trained.

    Args:
        epochs: passes over the training images.
        batch_size: images of one step; the last batch of an epoch may be smaller.
        optimizer: how parameters move.
        loss: what is minimised.
        schedule: factor on the learning rate over the run.
        clip: largest common norm of all gradients, or None.
        validation: share of the training images that is set aside to measure on after every epoch.
        patience: stop after so many epochs without a lower validation loss; None trains all epochs.
        seed: of the counter-based generator, for initial values, split, shuffling and dropout.
        backend: which backend runs the program; by default native where it is built and has the precision, else
            reference. The settings hold, and record, the chosen one.
        precision: 'f32', 'f64' or what else the backend offers.
        threads: threads of a backend that has its own; None leaves it to the backend.
        augmentation: how training images vary from epoch to epoch; None leaves them as they are.
        workers: how many make batches ahead of time: a number, or 'auto', alone or with the kind as in '4:processes'
            (`tatami.data.workers.Workers`); any number and kind give the same bits.
        task: what the network is trained for.
        checkpoint_seconds: save at least so often.
        checkpoint_steps: save after so many steps as well, or None.
        watch: filters whose growth is recorded whatever they cost, such as 'conv2[5,17]'; see
            `tatami.training.filters.recorded_filters`.
        diagnosis: whether the run watches itself and tells what is wrong.
        group_by: 'column' or 'column:expression': images that agree in this are validated on together or not at all
            (`tatami.data.groups`); None divides them one by one.

    >>> TrainingSettings(epochs=3, batch_size=10).loss
    SoftmaxCrossEntropy(reduction='mean')
    """

    epochs: int = 10
    batch_size: int = 32
    optimizer: Optimizer = field(default_factory=SGD)
    loss: Loss = field(default_factory=SoftmaxCrossEntropy)
    schedule: Schedule = field(default_factory=ConstantRate)
    clip: float | None = None
    validation: float = 0.0
    patience: int | None = None
    seed: int = 0
    backend: str = DEFAULT_BACKEND
    precision: str = "f32"
    threads: int | None = None
    augmentation: Pipeline | None = None
    workers: int | str = 0
    task: Task = field(default_factory=Classify)
    checkpoint_seconds: float = 30.0
    checkpoint_steps: int | None = None
    watch: Sequence[str] = ()
    diagnosis: bool = True
    group_by: str | None = None

    def __post_init__(self) -> None:
        """Check every number and choose the backend; whether it is built is checked where programs are planned."""
        if self.augmentation is not None and not isinstance(self.augmentation, Pipeline):
            raise SettingError(f"augmentation must be a Pipeline or None, got {self.augmentation!r:.80}")
        if not isinstance(self.task, Task):
            raise SettingError(f"task must be a Task such as Segment(), got {self.task!r:.80}")
        self.task.require_augmentation(self.augmentation)
        require_whole("epochs", self.epochs, 1, LARGEST_EPOCHS)
        require_whole("batch size", self.batch_size, 1, LARGEST_EPOCHS)
        require_whole("seed", self.seed, 0, 2**64 - 1)
        Workers.of(self.workers)
        for name, value in (
            ("patience", self.patience),
            ("threads", self.threads),
            ("checkpoint steps", self.checkpoint_steps),
        ):
            if value is not None:
                require_whole(name, value, 1, LARGEST_EPOCHS)
        if isinstance(self.watch, str) or not all(isinstance(name, str) for name in self.watch):
            raise SettingError(
                f"watch must be names of filters such as ['conv2[5,17]'], got {self.watch!r:.80}"
            )
        object.__setattr__(self, "watch", tuple(self.watch))
        if not isinstance(self.diagnosis, bool):
            raise SettingError(f"diagnosis must be True or False, got {self.diagnosis!r:.80}")
        if self.group_by is not None and not (isinstance(self.group_by, str) and self.group_by):
            raise SettingError(f"group_by must be the name of a column or None, got {self.group_by!r:.80}")
        if not is_real(self.validation) or not 0 <= self.validation < 1:
            raise SettingError(
                f"validation must be a share from 0 up to, but not including, 1, got {self.validation!r}"
            )
        if self.clip is not None and not (is_real(self.clip) and self.clip > 0):
            raise SettingError(f"clip must be a number above 0, got {self.clip!r}")
        if not is_real(self.checkpoint_seconds) or self.checkpoint_seconds < 0:
            raise SettingError(f"checkpoint seconds must be at least 0, got {self.checkpoint_seconds!r}")
        if self.patience is not None and self.validation == 0:
            raise SettingError(
                "patience needs validation images to watch: set aside a share of the training images, "
                "such as validation 0.1"
            )
        object.__setattr__(self, "backend", backend_to_use(self.backend, self.precision))

    @property
    def validation_groups(self) -> str | None:
        """What keeps images together in the validation split; None where nothing does or nothing is split off."""
        return self.group_by if self.validation else None

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {
            name: value.to_json() if isinstance(value, Described) else value for name, value in values.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainingSettings":
        """Read settings back; raise CheckpointError if they are not settings."""
        names = {entry.name for entry in fields(cls)}
        # Runs that began before there were these settings do not mention them.
        read = {**LATER_SETTINGS, **values} if isinstance(values, Mapping) else {}
        if set(read) != names:
            raise CheckpointError(f"training settings need the entries {', '.join(sorted(names))}")
        try:
            read["optimizer"] = Optimizer.from_json(values["optimizer"])
            read["loss"] = Loss.from_json(values["loss"])
            read["task"] = Task.from_json(read["task"])
            read["schedule"] = Schedule.from_json(values["schedule"])
            if read["augmentation"] is not None:
                read["augmentation"] = Pipeline.from_json(read["augmentation"])
            return cls(**read)
        except (TatamiError, TypeError, ValueError) as error:
            raise CheckpointError(f"training settings cannot be read: {error}") from error


def require_whole(name: str, value: object, low: int, high: int) -> None:
    """Raise unless a value is a whole number from low to high."""
    if not is_whole(value) or not low <= value <= high:  # type: ignore[operator]
        raise SettingError(f"{name} must be a whole number of at least {low}, got {value!r}")


def is_real(value: object) -> bool:
    """Say whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
