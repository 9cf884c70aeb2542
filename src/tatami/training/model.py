"""A trained model: a network with its parameters and everything that turns a raw image into a named class.

For other tasks than classification: into a mask, numbers, a reconstruction, or the next letters of a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends import ReferenceBackend
from tatami.data import Dataset, Preprocessing
from tatami.errors import DataError, NotFiniteError, SettingError, ShapeError
from tatami.losses import Loss, SoftmaxCrossEntropy
from tatami.network import Network, Parameters
from tatami.program import DEFAULT_BACKEND, Program, backend_to_use, first_not_finite
from tatami.random import RandomKey
from tatami.training.checkpoint import Checkpoint, load_checkpoint, weights_sha256
from tatami.training.evaluation import Evaluation, TaskEvaluation
from tatami.training.run_folder import RunFolder
from tatami.training.tasks import Classify, Task

EVALUATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network that has learned something.

    Args:
        network: its layers.
        parameters: layer → parameter → array.
        state: what layers carry (running statistics).
        preprocessing: from raw images to the network's input.
        class_names: in the order of the outputs: classes, or what else they mean.
        loss: tells what the outputs mean.
        backend: that it was trained on.
        precision: that it was trained in.
        task: what it was trained for, with the scale of its numbers and the colours of its masks.
    """

    network: Network
    parameters: Parameters
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    state: Parameters = field(default_factory=dict)
    loss: Loss = field(default_factory=SoftmaxCrossEntropy)
    backend: str = DEFAULT_BACKEND
    precision: str = "f32"
    task: Task = field(default_factory=Classify)

    def __post_init__(self) -> None:
        """Choose the backend where none was named."""
        object.__setattr__(self, "backend", backend_to_use(self.backend, self.precision))

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Model":
        """Take the model out of a checkpoint."""
        return cls(
            network=checkpoint.network,
            parameters=checkpoint.parameters,
            state=checkpoint.state,
            preprocessing=checkpoint.preprocessing,
            class_names=checkpoint.class_names,
            loss=checkpoint.settings.loss,
            backend=checkpoint.settings.backend,
            precision=checkpoint.settings.precision,
            task=checkpoint.settings.task,
        )

    @property
    def weights_sha256(self) -> str:
        """Fingerprint of the parameters."""
        return weights_sha256(self.parameters)

    def program(
        self, backend: str = DEFAULT_BACKEND, precision: str = "f32", threads: int | None = None
    ) -> Program:
        """Plan the network for a backend, by default for the fastest here."""
        return Program(self.network, loss=self.loss, backend=backend, precision=precision, threads=threads)

    def predict(self, images: NDArray[Any], program: Program | None = None) -> NDArray[Any]:
        """Return probabilities (N, classes) for raw images (N, *input_shape), as they come from the data set.

        For other tasks: probabilities (N, classes, *places), numbers (N, numbers) in the units of the data, or
        reconstructions (N, *input_shape) in units of the network's input.

        Raises:
            ShapeError: images of another shape than the network takes.
        """
        planned = program or self.program()
        outputs = [
            planned.predict(self.parameters, self.preprocessing.apply(piece, planned.dtype), state=self.state)
            for piece in pieces_of(images, EVALUATION_BATCH)
        ]
        if not outputs:
            raise DataError("there is no image to predict")
        return self.task.decoded(np.concatenate(outputs), self.network)

    def classes(self, images: NDArray[Any]) -> list[str]:
        """Return the name of the most probable class of every raw image."""
        self.require_classes("names no class for an image")
        return [self.class_names[index] for index in np.argmax(self.predict(images), axis=1)]

    def evaluate(self, dataset: Dataset, program: Program | None = None) -> Evaluation:
        """Measure the model on labelled raw images.

        Raises:
            ShapeError, DataError: the images or classes are not those of the model.
            NotFiniteError: the outputs are not numbers.
            SettingError: the model was trained for another task; `measure` takes any.
        """
        self.require_classes("has no accuracy; measure it with Model.measure")
        require_fit(dataset, self.network, self.class_names)
        return evaluate(program or self.program(), self.parameters, self.state, self.preprocessing, dataset)

    def measure(self, dataset: Dataset, program: Program | None = None) -> Evaluation | TaskEvaluation:
        """Measure the model on raw images and the targets of its task; for classes the same as `evaluate`.

        Raises:
            ShapeError, DataError: the images or targets are not those of the model.
            NotFiniteError: the outputs are not numbers.
        """
        require_fit(dataset, self.network, self.class_names, self.task)
        planned = program or self.program()
        return measure(planned, self.parameters, self.state, self.preprocessing, dataset, self.task)

    def require_classes(self, what: str) -> None:
        """Raise unless the model was trained to name the class of an example."""
        if not isinstance(self.task, Classify):
            raise SettingError(f"network {self.network.name} was trained to {self.task.name}, it {what}")


def measure(
    program: Program,
    parameters: Parameters,
    state: Parameters,
    preprocessing: Preprocessing,
    dataset: Dataset,
    task: Task,
) -> Evaluation | TaskEvaluation:
    """Measure parameters on images and the targets of a task, batch by batch."""
    if isinstance(task, Classify):
        return evaluate(program, parameters, state, preprocessing, dataset)
    ops = ReferenceBackend()
    network, loss = program.network, program.loss
    total, tally = 0.0, np.zeros(0)
    answers, truths, scores = [], [], []
    for start in range(0, len(dataset), EVALUATION_BATCH):
        piece = slice(start, start + EVALUATION_BATCH)
        images = preprocessing.apply(dataset.images[piece], program.dtype)
        raw = np.asarray(dataset.labels[piece] if dataset.targets is None else dataset.targets[piece])
        inputs, targets = task.evaluation_batch(network, images, raw, RandomKey(step=start))
        with np.errstate(all="ignore"):  # what is not finite is reported below, by name
            output = program.forward(parameters, inputs, state=state).output
            expected = loss.target(targets, network.output_shape)
            value = loss.value(ops, output, expected)
            predicted = np.asarray(loss.predict(ops, output))
        if not np.isfinite(value):
            raise NotFiniteError(not_finite_forward(program, parameters, state, inputs, targets))
        total += value * len(inputs) if loss.reduction == "mean" else value
        added = task.tally(predicted, targets)
        tally = tally + added if tally.size else added
        answers.append(task.answers(task.decoded(predicted, network)))
        truths.append(task.truth(targets))
        scores.append(task.scores(predicted, targets))
    return TaskEvaluation(
        task=task.name,
        loss=total / len(dataset) if loss.reduction == "mean" else total,
        measures=task.measures(tally),
        predictions=np.concatenate(answers),
        targets=np.concatenate(truths),
        scores=np.concatenate(scores),
        tally=tally,
    )


def evaluate(
    program: Program,
    parameters: Parameters,
    state: Parameters,
    preprocessing: Preprocessing,
    dataset: Dataset,
) -> Evaluation:
    """Measure parameters on labelled images, batch by batch."""
    ops = ReferenceBackend()
    probabilities = []
    total = 0.0
    for start in range(0, len(dataset), EVALUATION_BATCH):
        images = preprocessing.apply(dataset.images[start : start + EVALUATION_BATCH], program.dtype)
        labels = dataset.labels[start : start + EVALUATION_BATCH]
        with np.errstate(all="ignore"):  # what is not finite is reported below, by name
            output = program.forward(parameters, images, state=state).output
            target = program.loss.target(labels, program.network.output_shape)
            loss = program.loss.value(ops, output, target)
            probabilities.append(np.asarray(program.loss.predict(ops, output)))
        if not np.isfinite(loss):
            raise NotFiniteError(not_finite_forward(program, parameters, state, images, labels))
        total += loss * len(labels) if program.loss.reduction == "mean" else loss
    mean = program.loss.reduction == "mean"
    return Evaluation(total / len(dataset) if mean else total, np.concatenate(probabilities), dataset.labels)


def not_finite_forward(
    program: Program, parameters: Parameters, state: Parameters, images: NDArray[Any], labels: NDArray[Any]
) -> str:
    """Say in which layer NaN or infinity first appears when the network looks at some images."""
    with np.errstate(all="ignore"):
        step = program.train_step(parameters, images, labels, state=state, keep=True)
    return f"NaN or infinity first appears in {first_not_finite(step) or 'the loss'} while the network is evaluated"


def require_fit(
    dataset: Dataset, network: Network, class_names: Sequence[str], task: Task | None = None
) -> None:
    """Raise unless images have the network's input shape and targets match its outputs."""
    chosen = task or Classify()
    chosen.require_data(dataset)
    if dataset.image_shape != network.input_shape:
        raise ShapeError(
            f"data set {dataset.name} has images of shape {dataset.image_shape}, network {network.name} takes "
            f"{network.input_shape}; choose a data set of that shape, or train a network for this one"
        )
    chosen.require_network(dataset, network, tuple(class_names))


def pieces_of(images: NDArray[Any], size: int) -> list[NDArray[Any]]:
    """Cut images into pieces of at most ``size``."""
    return [images[start : start + size] for start in range(0, len(images), size)]


def load_model(path: str | Path) -> Model:
    """Load a trained model from a checkpoint or a run folder (its best checkpoint, else the last).

    Raises:
        CheckpointError: there is none, or it cannot be used.
    """
    place = Path(path)
    return Model.of(load_checkpoint(RunFolder.open(place).model_file() if place.is_dir() else place))
