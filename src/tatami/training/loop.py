"""The training loop: mini-batches, metrics, validation, early stopping, checkpoints, and an end at any moment.

Everything that a step depends on is in a `Checkpoint`; the loop only moves from one to the next. `train` and
`resume` in `tatami.training.run` prepare it for a data set.
"""

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from tatami.backends import ReferenceBackend
from tatami.data import Dataset
from tatami.errors import CheckpointError, NotFiniteError
from tatami.metrics import predicted_classes
from tatami.network import Parameters
from tatami.program import Program, StepResult, TrainingSession
from tatami.training.checkpoint import (
    Checkpoint,
    Position,
    first_not_finite_array,
    load_checkpoint,
    save_checkpoint,
)
from tatami.training.checkpoint_file import previous_of
from tatami.training.diagnosis import Diagnosis, Finding
from tatami.training.durable_files import write_durably
from tatami.training.evaluation import Evaluation, TaskEvaluation
from tatami.training.filters import recorded_filters
from tatami.training.growth import Growth
from tatami.training.history import EpochRecord, RunningSums
from tatami.training.interruption import StopRequest, TrainingInterrupted, stop_on_signal
from tatami.training.model import measure, require_fit
from tatami.training.not_finite import find_first_not_finite
from tatami.training.plan import Plan, PlannedStep
from tatami.training.progress import Progress, Silent
from tatami.training.run_folder import RunFolder
from tatami.training.tasks import Classify

# Steps between two moments that are known to be finite; a search for NaN does at most so many again.
STEPS_BETWEEN_CHECKS = 64
REFERENCE = ReferenceBackend()


class Trainer:
    """Trains from a checkpoint to the end of the run.

    Args:
        checkpoint: where to begin.
        training: images to learn from.
        validation: images to measure on after every epoch, or None.
        folder: where to save, or None.
        progress: what is told while training.

    Attributes:
        checkpoint: the last moment whose weights are known to be finite; after `run` the end of the run.
        best: the epoch with the lowest validation loss; None without validation.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        training: Dataset,
        validation: Dataset | None = None,
        *,
        folder: RunFolder | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Check that network, data and settings fit together, and plan the network."""
        settings = checkpoint.settings
        require_fit(training, checkpoint.network, checkpoint.class_names, settings.task)
        self.settings = settings
        self.task = settings.task
        self.validation = validation
        self.folder = folder
        self.progress = progress or Silent()
        self.program = Program(
            checkpoint.network,
            loss=settings.loss,
            backend=settings.backend,
            precision=settings.precision,
            threads=settings.threads,
        )
        self.plan = Plan(training, checkpoint.preprocessing, settings, self.program.dtype)
        self.checkpoint = checkpoint
        self.best: Checkpoint | None = None
        self.session = self.start(checkpoint)
        self.position = checkpoint.position
        self.sums = checkpoint.sums
        self.history = checkpoint.history
        self.growth = Growth()
        recorded_filters(checkpoint.network, settings.watch)  # raises if there are none of that name
        self.training = training
        watched = settings.diagnosis
        self.diagnosis = Diagnosis(self.program, settings.optimizer.learning_rate) if watched else None
        self.best_is_saved = True
        self.saved_at = (-1, -1)
        self.saved_time = self.clock = 0.0

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or the run stopped early."""
        return self.position.epoch >= self.settings.epochs or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        """Whether the validation loss has not fallen for as many epochs as the settings allow."""
        patience = self.settings.patience
        return patience is not None and self.history.epochs_without_improvement() >= patience

    def run(self) -> Checkpoint:
        """Train to the end and return the last checkpoint; save on the way and at the end.

        Raises:
            TrainingInterrupted: Ctrl-C or SIGTERM; everything is saved.
            NotFiniteError: NaN or infinity, with the first layer where it appears; the last good checkpoint stays.
            CheckpointError: a checkpoint cannot be written.
        """
        locked = self.folder.locked() if self.folder else contextlib.nullcontext()
        with locked, stop_on_signal() as stop:
            self.begin_saving()
            if self.finished:
                self.progress.note(self.why_finished())
            if self.position.step == 0 and self.diagnosis is not None:
                self.tell(self.diagnosis.look_at_data(self.training))
            images = self.plan.images
            self.progress.begin(
                epochs=self.settings.epochs,
                images_per_epoch=images,
                images_done=self.position.epoch * images + self.sums.images,
            )
            try:
                # NaN and infinity are looked for, found and named here; NumPy need not warn of each as well.
                with np.errstate(all="ignore"):
                    self.train(stop)
                    self.save()
            finally:
                self.progress.end()
        return self.checkpoint

    def why_finished(self) -> str:
        """Say why there is nothing left to train, and what would change that."""
        if self.out_of_patience:
            return f"the run stopped early, after {self.position.epoch} epochs; train on with a larger --patience"
        return f"the run has done all of its {self.settings.epochs} epochs; train on with more --epochs"

    def train(self, stop: StopRequest) -> None:
        """Train epoch by epoch until the end, or until a stop is asked for."""
        if self.finished:
            return
        with self.plan.at_work():
            self.clock = time.perf_counter()
            while not self.finished:
                with contextlib.closing(self.plan.rest_of_epoch(self.position)) as steps:  # ends the workers
                    for planned in steps:
                        self.step(planned)
                        self.save_when_due()
                        if stop:
                            self.interrupt(stop)
                self.finish_epoch()
                self.save_when_due()
                if stop and not self.finished:
                    self.interrupt(stop)

    def start(self, checkpoint: Checkpoint) -> TrainingSession:
        """Start a session from a checkpoint."""
        return self.program.session(
            checkpoint.parameters,
            self.settings.optimizer,
            optimizer_state=checkpoint.optimizer_state,
            state=checkpoint.state,
            clip_norm=self.settings.clip,
        )

    def step(self, planned: PlannedStep) -> None:
        """Train on one batch and add what it measured to the sums of the epoch."""
        due = self.diagnosis is not None and self.diagnosis.is_due(self.position.step + 1)
        before = self.session.parameters if due else None
        result = self.session.step(planned.images, planned.targets, planned.key, planned.learning_rate)
        self.watch(planned, before, result.loss)
        if not np.isfinite(result.loss):
            self.stop_not_finite()
        images = len(planned.labels)
        self.position = planned.after
        self.sums = self.sums.plus(
            loss=result.loss * images if self.settings.loss.reduction == "mean" else result.loss,
            images=images,
            **self.counted(planned, result),
            seconds=self.lap(),
        )
        if self.position.step % STEPS_BETWEEN_CHECKS == 0:
            self.take_checkpoint()
        self.progress.step(images, self.sums)

    def counted(self, planned: PlannedStep, result: StepResult) -> dict[str, Any]:
        """Return what a step adds to the measures of the epoch."""
        if isinstance(self.task, Classify):
            return {"correct": int(np.count_nonzero(predicted_classes(result.output) == planned.labels))}
        predicted = np.asarray(self.settings.loss.predict(REFERENCE, result.output))
        return {"correct": 0, "tally": self.task.tally(predicted, planned.targets).tolist()}

    def watch(self, planned: PlannedStep, before: Parameters | None, loss: float) -> None:
        """Look at a step that was just done, if it is due, and tell what is wrong with it."""
        if self.diagnosis is None:
            return
        step = planned.after.step
        found = self.diagnosis.look_at_loss(step, loss)
        if before is not None:
            found += self.diagnosis.look(
                step,
                before,
                self.session.parameters,
                planned.images,
                planned.targets,
                key=planned.key,
                rate=planned.learning_rate,
                state=self.session.state,
            )
        self.tell(found)

    def tell(self, findings: list[Finding]) -> None:
        """Tell what the diagnosis found."""
        for finding in findings:
            self.progress.note(str(finding))

    def lap(self) -> float:
        """Return the seconds since the last call, or since what is not training ended."""
        before, self.clock = self.clock, time.perf_counter()
        return self.clock - before

    @contextmanager
    def not_training(self) -> Iterator[None]:
        """Leave what is done meanwhile out of the time of training."""
        began = time.perf_counter()
        yield
        self.clock += time.perf_counter() - began

    def take_checkpoint(self) -> Checkpoint:
        """Take the arrays from the session, check that they are finite, and remember this moment."""
        checkpoint = replace(
            self.checkpoint,
            parameters=self.session.parameters,
            optimizer_state=self.session.optimizer_state,
            state=self.session.state,
            position=self.position,
            sums=self.sums,
            history=self.history,
        )
        if first_not_finite_array(checkpoint.parameters, checkpoint.state, checkpoint.optimizer_state):
            self.stop_not_finite()
        self.checkpoint = checkpoint
        return checkpoint

    def stop_not_finite(self) -> None:
        """Stop with an error that names where NaN or infinity began; nothing of it is saved."""
        error = find_first_not_finite(
            self.program, self.checkpoint, self.start, self.plan.after(self.checkpoint.position)
        )
        raise NotFiniteError(f"{error}.{self.what_is_kept()}")

    def what_is_kept(self) -> str:
        """Say where the last good checkpoint lies."""
        if self.folder is None:
            return ""
        step = load_checkpoint(self.folder.last).position.step
        return f" The last good checkpoint, after step {step}, is {self.folder.last}"

    def finish_epoch(self) -> None:
        """Measure on the validation images, write the epoch into the history, and remember the best weights."""
        checkpoint = self.take_checkpoint()
        position, settings = self.position, self.settings
        validated = self.validate(checkpoint)
        validation_seconds = self.lap()
        record = EpochRecord(
            epoch=position.epoch + 1,
            step=position.step,
            loss=self.sums.loss / (self.sums.images if settings.loss.reduction == "mean" else 1),
            **self.measured(validated),
            validation_loss=validated.loss if validated else None,
            learning_rate=self.plan.learning_rate(position.step - 1),
            seconds=self.sums.seconds + validation_seconds,
            images_per_second=self.sums.images_per_second,
        )
        self.position = Position(position.epoch + 1, 0, position.step)
        self.sums = RunningSums()
        self.history = self.history.with_record(record)
        self.take_checkpoint()
        if self.history.best_epoch == record.epoch:
            self.best, self.best_is_saved = self.checkpoint, False
        self.record_growth()
        self.progress.epoch(record)

    def measured(self, validated: Evaluation | TaskEvaluation | None) -> dict[str, Any]:
        """Return what the epoch measured beside the loss, as a record names it."""
        if isinstance(self.task, Classify):
            accuracy = validated.measures["accuracy"] if validated else None
            return {"accuracy": self.sums.accuracy, "validation_accuracy": accuracy}
        return {
            "metrics": self.task.measures(np.array(self.sums.tally)),
            "validation_metrics": dict(validated.measures) if validated else {},
        }

    def record_growth(self) -> None:
        """Take the norms of weights and gradients, the latter on the first batch of the run, if they are due."""
        if self.folder is None or not Growth.is_due(self.position.epoch, self.settings.epochs):
            return
        with self.not_training():
            first = next(self.plan.rest_of_epoch(Position()))
            step = self.program.train_step(
                self.checkpoint.parameters,
                first.images,
                first.targets,
                key=first.key,
                state=self.checkpoint.state,
            )
            self.growth.record(
                self.position.epoch,
                self.checkpoint.network,
                self.checkpoint.parameters,
                step.gradients,
                self.settings.watch,
            )

    def save_growth(self, folder: RunFolder) -> None:
        """Save what was recorded for the report; a run does not end because a picture is lost."""
        try:
            self.growth.save(folder.growth_file)
        except OSError as error:
            self.progress.note(f"{folder.growth_file} cannot be written: {error.strerror or error}")

    def validate(self, checkpoint: Checkpoint) -> Evaluation | TaskEvaluation | None:
        """Measure on the validation images, if there are any."""
        if self.validation is None:
            return None
        try:
            return measure(
                self.program,
                checkpoint.parameters,
                checkpoint.state,
                checkpoint.preprocessing,
                self.validation,
                self.task,
            )
        except NotFiniteError as error:
            raise NotFiniteError(f"{error}.{self.what_is_kept()}") from error

    def begin_saving(self) -> None:
        """Save the beginning of a new run; make the files of a resumed one agree with its checkpoint."""
        self.saved_time = time.monotonic()
        if self.folder is None:
            return
        if not self.folder.last.exists():
            self.record_growth()
            self.save()
            return
        self.growth = Growth.load(self.folder.growth_file)
        self.growth.forget_after(self.position.epoch)
        self.saved_at = (self.position.step, len(self.history))
        self.folder.write_history(self.history)
        self.best = self.find_best(self.folder)

    def find_best(self, folder: RunFolder) -> Checkpoint | None:
        """Return the saved checkpoint of the best epoch.

        A kill between the saving of a new best and of the last checkpoint leaves a best one of an epoch that is
        still to come; the one that belongs to the history is then the previous one.
        """
        for path in (folder.best, previous_of(folder.best)):
            if self.history.best_epoch is None or not path.exists():
                continue
            with contextlib.suppress(CheckpointError):
                candidate = load_checkpoint(path)
                if len(candidate.history) == self.history.best_epoch:
                    if path != folder.best:
                        write_durably(folder.best, path.read_bytes())
                    return candidate
        return None

    def save_when_due(self) -> None:
        """Save if enough steps or seconds have passed since the last time."""
        every = self.settings.checkpoint_steps
        due = every is not None and self.position.step - self.saved_at[0] >= every
        if due or time.monotonic() - self.saved_time >= self.settings.checkpoint_seconds:
            with self.not_training():
                self.save()

    def save(self) -> None:
        """Save the best and the last checkpoint and the history, unless nothing has changed.

        The best one first: when ``last`` says which epoch was the best, its weights are on the disk.
        """
        checkpoint = self.take_checkpoint()
        moment = (self.position.step, len(self.history))
        if self.folder is None or moment == self.saved_at:
            return
        if self.best is not None and not self.best_is_saved:
            save_checkpoint(self.folder.best, self.best)
            self.best_is_saved = True
        save_checkpoint(self.folder.last, checkpoint)
        self.folder.write_history(self.history)
        self.save_growth(self.folder)
        self.saved_at = moment
        self.saved_time = time.monotonic()

    def interrupt(self, stop: StopRequest) -> None:
        """Save and stop, saying how to go on."""
        self.save()
        done = (
            f"stopped in epoch {min(self.position.epoch + 1, self.settings.epochs)} of {self.settings.epochs}"
        )
        how = (
            f"saved; continue with: tatami train --resume {self.folder.path}"
            if self.folder
            else "nothing was saved"
        )
        raise TrainingInterrupted(f"{done} after step {self.position.step}, {how}", stop.signal_number or 2)
