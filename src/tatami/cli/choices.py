"""From words on the command line to networks, optimisers, data sets and models."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tatami import native
from tatami.data import Dataset, DatasetSplits
from tatami.data.sources import NAMES, kind_and_path
from tatami.data.task_sources import load_for_task, only_classes
from tatami.errors import CheckpointError, DataError, SettingError, TatamiError, unknown_name
from tatami.geometry import Shape
from tatami.losses import LOSSES, Loss
from tatami.models import MODELS, build
from tatami.models.architectures import ARCHITECTURES, built
from tatami.network import Network
from tatami.optimizers import OPTIMIZERS, Optimizer
from tatami.program import BACKENDS, Program
from tatami.schedules import SCHEDULES, Schedule
from tatami.training.model import Model, load_model
from tatami.training.run import network_for
from tatami.training.run_folder import RunFolder
from tatami.training.tasks import Task

# The ○× exercise trains on three copies of each of its two images.
OX_COPIES = 3
# Losses that know the parts of one network's output.
OWN_LOSSES = ("evidence_bound", "sparse_reconstruction")


@dataclass(frozen=True)
class Source:
    """How a data set is loaded; ``run.json`` keeps it, so that a run can find its data again.

    Args:
        dataset: a name, or the path of a folder of images.
        data_folder: where the files of mnist lie.
        size: (height, width) to resize the images of a folder to.
        channels: 1 or 3, for a folder of images.
        limit: train on so many images only.
        skip_bad: leave out images that cannot be read.
        task: what the data are loaded for; None for what they are made for.
        targets: columns of a CSV file to learn.
        length: letters in a piece of text.
        only: classes whose examples are taken; none for all.
    """

    dataset: str
    data_folder: str | None = None
    size: tuple[int, int] | None = None
    channels: int | None = None
    limit: int | None = None
    skip_bad: bool = False
    task: str | None = None
    targets: tuple[str, ...] = ()
    length: int | None = None
    only: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        dataset: str,
        data_folder: Path | None,
        size: tuple[int, int] | None,
        channels: int | None,
        limit: int | None,
        skip_bad: bool = False,
        **for_task: Any,
    ) -> "Source":
        """Make paths absolute, so that they mean the same from another folder."""
        if limit is not None and limit < 1:
            raise SettingError(f"--limit must be at least 1, got {limit}")
        return cls(
            dataset=absolute(dataset),
            data_folder=None if data_folder is None else str(data_folder.expanduser().resolve()),
            size=size,
            channels=channels,
            limit=limit,
            skip_bad=skip_bad,
            **for_task,
        )

    def load(self, skipped: list[str] | None = None) -> DatasetSplits:
        """Load the data set; why images were skipped is added to ``skipped``."""
        left_out = (skipped if skipped is not None else []) if self.skip_bad else None
        try:
            splits = load_for_task(
                self.dataset,
                self.task,
                self.data_folder,
                size=self.size,
                channels=self.channels,
                skipped=left_out,
                targets=self.targets,
                length=self.length,
            )
        except DataError as error:
            # The data room speaks of arguments; here they are options.
            raise DataError(re.sub(r"\b(size|channels)=", r"--\1", str(error))) from error
        if self.only:
            splits = only_classes(splits, self.only)
        if self.dataset == "ox":
            copies = np.tile(np.arange(len(splits.train)), OX_COPIES)
            splits = replace(splits, train=splits.train.take(np.sort(copies)))
        return splits if self.limit is None else splits.limited(self.limit)

    def to_json(self) -> dict[str, Any]:
        """Return what ``run.json`` keeps."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Source":
        """Read it back; raise CheckpointError if the run does not say where its data came from."""
        # Runs that began before there were some of these settings do not mention them.
        later = {entry.name: entry.default for entry in fields(cls) if entry.default is not MISSING}
        values = {**later, **values} if values else {}
        if set(values) != {entry.name for entry in fields(cls)}:
            raise CheckpointError(
                "the run does not say how to load its data; it was begun from Python: resume it there"
            )
        size = values["size"]
        several = {name: tuple(str(word) for word in values[name]) for name in ("targets", "only")}
        return cls(**{**values, **several, "size": None if size is None else (int(size[0]), int(size[1]))})


def absolute(dataset: str) -> str:
    """Return the name of a data set, or a path that means the same from another folder, with its kind before it."""
    kind, path = kind_and_path(dataset)
    known = Path(path).expanduser()
    if dataset in NAMES or not known.exists():
        return dataset
    return f"{kind}:{known.resolve()}" if kind else str(known.resolve())


def source_of_run(path: Path) -> Source:
    """Return how the data of a run were loaded, from the run's folder or a file in it."""
    return Source.from_json(RunFolder.open(path).settings().get("source", {}))


def choose_network(text: str, input_shape: Shape | None, classes: int | None) -> Network:
    """Return the network of a name, or of a JSON file that describes one.

    Raises:
        UnknownNameError: neither.
    """
    if text in MODELS:
        return build(text, input_shape, classes)
    if text in ARCHITECTURES:
        return built(text, input_shape, classes, ARCHITECTURES[text].tasks[0])[0]
    path = Path(text).expanduser()
    if path.suffix == ".json" or path.is_file():
        return network_of_file(path)
    raise unknown_name("network", text, ARCHITECTURES)


def network_for_task(
    text: str, dataset: Dataset, task: Task, settings: Mapping[str, Any]
) -> tuple[Network, Loss | None]:
    """Return the network of a name or a JSON file for data and a task, and its own loss if it has one.

    Raises:
        UnknownNameError: neither.
        SettingError: it does not serve the task; the message names those that do.
    """
    if text in ARCHITECTURES:
        return network_for(text, dataset, task, settings)
    if settings:
        raise SettingError(
            "--set gives settings of a named network; write those of a JSON file into the file"
        )
    return choose_network(text, dataset.image_shape, None), None


def network_settings(words: Sequence[str]) -> dict[str, Any]:
    """Read settings of a network: NAME=VALUE, where the value is written as in JSON, or is a word.

    >>> network_settings(["units=128", "hidden=[64, 32]", "cell=gru"])
    {'units': 128, 'hidden': [64, 32], 'cell': 'gru'}
    """
    read: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier():
            raise SettingError(f"--set: expected NAME=VALUE such as units=128, got {word!r}")
        try:
            read[name] = json.loads(value)
        except ValueError:
            read[name] = value
    return read


def choose_loss(name: str) -> Loss:
    """Return a loss by name, with its usual settings."""
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    if name in OWN_LOSSES:
        raise SettingError(f"--loss: {name} belongs to its networks, which bring it themselves")
    return LOSSES[name]()


def network_of_file(path: Path) -> Network:
    """Read a network from a JSON file."""
    try:
        return Network.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; give the name of a network or a JSON file of one") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a JSON file") from error
    except TatamiError as error:
        raise type(error)(f"{path}: {error}") from error


def network_or_model(text: str, input_shape: Shape | None, classes: int | None) -> Network:
    """Return the network that a name, a JSON file, a checkpoint or a run folder stands for."""
    path = Path(text).expanduser()
    if text not in ARCHITECTURES and (path.is_dir() or path.suffix == ".safetensors"):
        return load_model(path).network
    return choose_network(text, input_shape, classes)


def choose_program(model: Model, options: Mapping[str, Any]) -> Program:
    """Plan a model for the backend and precision that were asked for, else for those that it was trained with.

    Where the native backend is not built, its models run on the reference backend.
    """
    trained_on = model.backend if model.backend != "native" or native.is_built() else "reference"
    backend = options["backend"] or trained_on
    same = model.precision in BACKENDS.get(backend, ())
    precision = options["precision"] or (model.precision if same else "f32")
    return model.program(backend, precision, options["threads"])


def choose_optimizer(name: str, settings: Mapping[str, float | bool | None]) -> Optimizer:
    """Return the optimiser of a name with the settings that were given.

    Raises:
        UnknownNameError: another name.
        SettingError: a setting that this optimiser does not have.

    >>> optimizer = choose_optimizer("sgd", {"learning_rate": 0.1, "momentum": 0.9})
    >>> optimizer.learning_rate, optimizer.momentum
    (0.1, 0.9)
    """
    if name not in OPTIMIZERS:
        raise unknown_name("optimizer", name, OPTIMIZERS)
    cls = OPTIMIZERS[name]
    known = {entry.name for entry in fields(cls)}
    given: dict[str, Any] = {
        setting: value for setting, value in settings.items() if value not in (None, False)
    }
    for setting in given:
        if setting not in known:
            having = sorted(other for other, kind in OPTIMIZERS.items() if hasattr(kind, setting))
            raise SettingError(f"optimizer {name} has no {setting}; {' and '.join(having)} has it")
    return cls(**given)


def choose_schedule(name: str) -> Schedule:
    """Return the schedule of a name."""
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    return SCHEDULES[name]


def shape_of(text: str | None) -> Shape | None:
    """Read an input shape such as 1x28x28.

    >>> shape_of("1x28x28"), shape_of(None)
    ((1, 28, 28), None)
    """
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,7}(x\d{1,7})*", text):
        raise SettingError(f"--input: expected sizes such as 1x28x28 (channels first), got {text!r}")
    return tuple(int(part) for part in text.split("x"))
