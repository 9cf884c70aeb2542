"""Training a network on a data set, from the beginning or from where an earlier run stopped.

>>> import tatami
>>> from tatami.data import load
>>> from tatami.optimizers import SGD
>>> data = load("digits")
>>> network = tatami.build("perceptron", data.image_shape, len(data.class_names))
>>> run = train(network, data, epochs=3, batch_size=50, optimizer=SGD(0.5), validation=0.1)
>>> len(run.history), run.test.accuracy > 0.9
(3, True)
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from tatami import __version__
from tatami.data import Dataset, DatasetSplits, Preprocessing, fit_preprocessing, split_off_validation
from tatami.data.groups import groups_of, split_off_validation_groups
from tatami.data.on_demand import chunks
from tatami.data.texts import TextFormat
from tatami.errors import CheckpointError, SettingError, TatamiError, unknown_name
from tatami.losses import Loss
from tatami.models.architectures import ARCHITECTURES, built
from tatami.network import Network
from tatami.program import Program
from tatami.training.checkpoint import Checkpoint, load_checkpoint
from tatami.training.checkpoint_file import previous_of
from tatami.training.history import History
from tatami.training.loop import Trainer
from tatami.training.model import Model, load_model
from tatami.training.progress import Progress
from tatami.training.run_folder import RunFolder
from tatami.training.settings import TrainingSettings
from tatami.training.tasks import Classify, Task

# What may differ between the two parts of a run that was stopped and resumed.
RESUMABLE = ("epochs", "patience", "threads", "workers", "checkpoint_seconds", "checkpoint_steps")


@dataclass(frozen=True)
class Run:
    """What training ended with.

    Attributes:
        model: the model to use: of the best epoch with validation, else of the last.
        checkpoint: the end of the run.
        test: the model measured on the test images, or None if there are none: an `Evaluation`, or a `TaskEvaluation`
            where the task is not to name a class.
        folder: where everything is saved, or None.
    """

    model: Model
    checkpoint: Checkpoint
    test: Any = None
    folder: RunFolder | None = None

    @property
    def history(self) -> History:
        """What every epoch measured."""
        return self.checkpoint.history

    @property
    def weights_sha256(self) -> str:
        """Fingerprint of the model's parameters."""
        return self.model.weights_sha256


def train(
    network: Network | str,
    data: DatasetSplits | Dataset,
    *,
    preprocessing: Preprocessing | str = "scale",
    out: str | Path | None = None,
    source: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Run:
    """Train a network.

    Args:
        network: a network, or the name of one, which is then built for the data.
        data: images to train on, with or without images to test on.
        preprocessing: its name, which is then fitted to the images to learn from, or a fitted one.
        out: folder of the run, which must be new or empty; without it nothing is written.
        source: how to load the data again; written to ``run.json``.
        progress: what is told while training, such as `tatami.training.progress.ProgressBar`.
        settings: of `TrainingSettings`: epochs, batch_size, optimizer, loss, schedule, clip, validation, patience,
            seed, backend, precision, threads, augmentation, workers, task, checkpoint_seconds, checkpoint_steps, watch,
            diagnosis, group_by.

    Raises:
        TatamiError: settings, shapes or data that do not fit, named.
        NotFiniteError: NaN or infinity, with the first layer where it appears.
        TrainingInterrupted: Ctrl-C or SIGTERM; everything is saved.
    """
    training = data.train if isinstance(data, DatasetSplits) else data
    task: Task = settings.get("task", Classify())
    if not isinstance(task, Task):
        raise SettingError(f"task must be a Task such as Segment(), got {task!r:.80}")
    task.require_data(training)
    names = task.names(training)
    if isinstance(network, str):
        network, own_loss = network_for(network, training, task)
        settings = {"loss": own_loss, **settings} if own_loss is not None else settings
    chosen = training_settings(settings)
    learning, validation = split(training, chosen)
    if isinstance(preprocessing, str):
        preprocessing = fit_preprocessing(preprocessing, learning)
    loss = task.adapted(settings["loss"], training, preprocessing) if "loss" in settings else None
    loss = loss or task.default_loss(training, preprocessing)
    chosen = replace(chosen, loss=loss, task=task.fitted(learning, preprocessing))
    beginning = first_checkpoint(
        network, preprocessing, names, identity(training, chosen.validation_groups), chosen
    )
    trainer = Trainer(
        beginning, learning, validation, progress=progress
    )  # checks all before anything is written
    if out is not None:
        trainer.folder = RunFolder.create(Path(out), description(beginning, source or {}))
    return finish(trainer, data)


def resume(
    folder: str | Path,
    data: DatasetSplits | Dataset,
    *,
    progress: Progress | None = None,
    **settings: Any,
) -> Run:
    """Go on with a run that was stopped, however it was, or that is to train for more epochs.

    Args:
        folder: the run's folder, or one of its checkpoints.
        data: the same data as before.
        progress: what is told while training.
        settings: epochs, patience, threads, checkpoint_seconds, checkpoint_steps, where they are to change.

    Raises:
        CheckpointError: no run, or a checkpoint that cannot be used.
        SettingError: other data, or a setting that cannot change.
    """
    path = Path(folder)
    place = RunFolder.open(path)
    training = data.train if isinstance(data, DatasetSplits) else data
    with place.locked():
        if path.is_file():
            place.resume_from(path)
        checkpoint = checkpoint_to_resume(place)
    found = identity(training, checkpoint.settings.validation_groups)
    if checkpoint.data != found:
        raise SettingError(
            f"{place.path} was trained on other data: {checkpoint.data}, these are {found}; "
            f"a run can only go on with the same images in the same order"
        )
    checkpoint = with_changes(checkpoint, settings)
    learning, validation = split(training, checkpoint.settings)
    return finish(Trainer(checkpoint, learning, validation, folder=place, progress=progress), data)


def finish(trainer: Trainer, data: DatasetSplits | Dataset) -> Run:
    """Train to the end and measure the model on the test images."""
    last = trainer.run()
    # What lies in the folder is what everybody gets who loads the run.
    model = load_model(trainer.folder.path) if trainer.folder else Model.of(trainer.best or last)
    test = model.measure(data.test, trainer.program) if isinstance(data, DatasetSplits) else None
    return Run(model, last, test, trainer.folder)


def network_for(
    name: str, dataset: Dataset, task: Task, settings: Mapping[str, Any] | None = None
) -> tuple[Network, Loss | None]:
    """Build a named network for data and a task; return it with its own loss, if it has one.

    Args:
        name: one of `tatami.models.architectures.ARCHITECTURES`.
        dataset: gives the shape of an example, and the vocabulary of a text.
        task: what it is to be trained for.
        settings: arguments of the network's function, such as units.
    """
    given = dict(settings or {})
    if isinstance(dataset.format, TextFormat) and name in ARCHITECTURES:
        entry = ARCHITECTURES[name]
        if entry.outputs != "vocabulary" and "vocabulary" in signature(entry.function).parameters:
            given.setdefault("vocabulary", len(dataset.format.vocabulary))
    return built(name, dataset.image_shape, len(task.names(dataset)), task.name, given)


def training_settings(settings: Mapping[str, Any]) -> TrainingSettings:
    """Return the settings of a new run."""
    known = [entry.name for entry in fields(TrainingSettings)]
    for name in settings:
        if name not in known:
            raise unknown_name("training setting", name, known)
    return TrainingSettings(**settings)


def with_changes(checkpoint: Checkpoint, changes: Mapping[str, Any]) -> Checkpoint:
    """Return the checkpoint with those settings changed that a resumed run may change."""
    for name in changes:
        if name not in RESUMABLE:
            raise SettingError(
                f"{name} cannot change when a run is resumed, only {', '.join(RESUMABLE)} can; begin a new run for it"
            )
    settings = replace(checkpoint.settings, **changes)
    done = checkpoint.position.epoch
    if settings.epochs < done:
        raise SettingError(
            f"the run has trained for {done} epochs already, epochs cannot be {settings.epochs}"
        )
    return replace(checkpoint, settings=settings)


def split(dataset: Dataset, settings: TrainingSettings) -> tuple[Dataset, Dataset | None]:
    """Return the images to learn from, and those to validate on if there are to be any."""
    if settings.validation == 0:
        return dataset, None
    if settings.group_by is not None:
        groups = groups_of(dataset, settings.group_by)
        return split_off_validation_groups(dataset, groups, settings.validation, settings.seed)
    return split_off_validation(dataset, settings.validation, settings.seed)


def first_checkpoint(
    network: Network,
    preprocessing: Preprocessing,
    class_names: tuple[str, ...],
    data: Mapping[str, Any],
    settings: TrainingSettings,
) -> Checkpoint:
    """Return a run at its beginning: initial values and an optimiser that has done nothing."""
    program = Program(
        network,
        loss=settings.loss,
        backend=settings.backend,
        precision=settings.precision,
        threads=settings.threads,
    )
    parameters = network.initialize(settings.seed, program.dtype)
    return Checkpoint(
        network=network,
        parameters=parameters,
        state=program.initial_state(),
        optimizer_state=settings.optimizer.initialize(parameters),
        preprocessing=preprocessing,
        class_names=class_names,
        settings=settings,
        data=data,
    )


def identity(dataset: Dataset, group_by: str | None = None) -> dict[str, Any]:
    """Return what tells a data set from others: its name, number of images and fingerprint.

    Where images are kept together in groups, also the groups' fingerprint: with others the parts would be others.
    """
    digest = hashlib.sha256(f"{dataset.images.dtype.str}{dataset.images.shape}".encode())
    for piece in chunks(dataset.images):
        digest.update(np.ascontiguousarray(piece).data)
    digest.update(np.ascontiguousarray(dataset.labels).data)
    if dataset.targets is not None:
        digest.update(f"{dataset.targets.dtype.str}{dataset.targets.shape}".encode())
        for piece in chunks(dataset.targets):
            digest.update(np.ascontiguousarray(piece).data)
    found = {"name": dataset.name, "images": len(dataset), "sha256": digest.hexdigest()}
    if group_by is None:
        return found
    groups = json.dumps(groups_of(dataset, group_by)).encode()
    return found | {"groups_sha256": hashlib.sha256(groups).hexdigest()}


def description(beginning: Checkpoint, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that a run begins with, for ``run.json``; `checkpoint_to_resume` reads it."""
    return {
        "tatami_version": __version__,
        "source": dict(source),
        "data": dict(beginning.data),
        "class_names": list(beginning.class_names),
        "preprocessing": beginning.preprocessing.to_json(),
        "settings": beginning.settings.to_json(),
        "network": beginning.network.to_json(),
    }


def checkpoint_to_resume(folder: RunFolder) -> Checkpoint:
    """Return the last checkpoint, or the beginning of a run that was killed before it saved one."""
    if folder.last.exists() or previous_of(folder.last).exists():
        return load_checkpoint(folder.last)
    values = folder.settings()
    try:
        return first_checkpoint(
            Network.from_json(values["network"]),
            Preprocessing.from_json(values["preprocessing"]),
            tuple(values["class_names"]),
            values["data"],
            TrainingSettings.from_json(values["settings"]),
        )
    except (TatamiError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder.settings_file} cannot be used: {error}") from error
