"""Which pictures belong to a task, each ready to be drawn into a file or into a page."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tatami.data import Dataset
from tatami.data.texts import TextFormat
from tatami.inspect.latent import codes_of, is_variational, latent_plane, sampled
from tatami.inspect.task_pictures import (
    draw_latent,
    draw_letters,
    draw_masks,
    draw_numbers,
    draw_reconstructions,
    draw_rows,
    flat_picture,
)
from tatami.random import RandomKey
from tatami.training.evaluation import TaskEvaluation
from tatami.training.model import Model
from tatami.training.tasks import Reconstruct, Segment
from tatami.training.tasks.reconstruct import noisy

Drawing = Callable[[Path | BinaryIO], None]
SHOWN = 8
SHOWN_TEXTS = 12
GRID, REACH = 12, 2.5
MOST_CODES = 2000


def drawings(model: Model, measured: TaskEvaluation, dataset: Dataset, title: str) -> dict[str, Drawing]:
    """Return the pictures of a task: the name of the file that each is drawn into, and what draws it.

    Args:
        model: a trained model.
        measured: the model on the data set.
        dataset: raw examples with their targets.
        title: stands above the pictures.
    """
    first = list(range(min(SHOWN, len(measured))))
    worst = [int(number) for number in measured.worst(SHOWN)]
    worst_title = f"Worst examples of {title}"
    if isinstance(model.task, Segment):
        return {
            "masks.png": partial(segmented, model, model.task, measured, dataset, first, title),
            "worst.png": partial(segmented, model, model.task, measured, dataset, worst, worst_title),
        }
    if isinstance(model.task, Reconstruct):
        found: dict[str, Drawing] = {
            "reconstructions.png": partial(reconstructed, model, measured, dataset, first, title),
            "worst.png": partial(reconstructed, model, measured, dataset, worst, worst_title),
        }
        if is_variational(model) and takes_images(model):
            found["samples.png"] = partial(samples, model)
            found["latent.png"] = partial(latent, model, dataset, title)
        return found
    if measured.task == "regress":
        return {"regression.png": lambda file: regressed(model, measured, title, file)}
    if isinstance(model.preprocessing.format, TextFormat):
        return {"letters.png": partial(letters, model, model.preprocessing.format, measured, dataset, title)}
    return {}


def takes_images(model: Model) -> bool:
    """Say whether a model's inputs are images that a file can hold."""
    shape = model.network.input_shape
    return len(shape) == 3 and shape[0] in (1, 3)


def segmented(
    model: Model,
    task: Segment,
    measured: TaskEvaluation,
    dataset: Dataset,
    numbers: Sequence[int],
    title: str,
    file: Path | BinaryIO,
) -> None:
    """Draw images, true masks, predicted ones and where these are wrong."""
    at = list(numbers)
    images = list(np.asarray(dataset.images[at]))
    captions = [f"{100 * measured.scores[number]:.1f} % wrong" for number in at]
    truths, seen = list(measured.targets[at]), list(measured.predictions[at])
    draw_masks(images, truths, seen, model.class_names, file, title, task.palette, captions)


def regressed(model: Model, measured: TaskEvaluation, title: str, file: Path | BinaryIO) -> None:
    """Draw predictions against true numbers."""
    draw_numbers(measured.predictions, measured.targets, model.class_names, file, title)


def reconstructed(
    model: Model,
    measured: TaskEvaluation,
    dataset: Dataset,
    numbers: Sequence[int],
    title: str,
    file: Path | BinaryIO,
) -> None:
    """Draw examples before and after."""
    captions = [f"MSE {measured.scores[number]:.3g}" for number in numbers]
    rows = before_and_after(model, np.asarray(dataset.images[list(numbers)]))
    draw_reconstructions(rows, file, title, captions)


def before_and_after(model: Model, images: Any, noise: float | None = None) -> dict[str, list[Any]]:
    """Return raw images as the network sees them, with its noise if it was trained with some, and reconstructed."""
    assert isinstance(model.task, Reconstruct)
    std = model.task.corruption(model.network) if noise is None else noise
    program = model.program()
    clean = model.preprocessing.apply(images, program.dtype)
    seen = noisy(clean, std, RandomKey())
    after = model.task.decoded(program.predict(model.parameters, seen, state=model.state), model.network)
    rows = {"input": list(clean)}
    if std:
        rows["with noise"] = list(seen)
    return {**rows, "denoised" if std else "reconstruction": list(after)}


def samples(model: Model, file: Path | BinaryIO) -> None:
    """Draw what the decoder makes of codes from the prior."""
    drawn = sampled(model, 5 * GRID)
    low, high = float(drawn.min()), float(drawn.max())
    pictures = [flat_picture(image, low, high) for image in drawn]
    rows = {"drawn" if k == 0 else " " * k: pictures[k * GRID : (k + 1) * GRID] for k in range(5)}
    draw_rows(rows, file, f"Drawn from the prior by {model.network.name}")


def latent(model: Model, dataset: Dataset, title: str, file: Path | BinaryIO) -> None:
    """Draw where the examples lie in the code, and what the decoder draws there."""
    some = np.arange(min(len(dataset), MOST_CODES))
    codes = codes_of(model, np.asarray(dataset.images[some]))
    plane = latent_plane(model, GRID, REACH)
    draw_latent(codes, dataset.labels[some], dataset.class_names, plane, REACH, file, title)


def letters(
    model: Model,
    form: TextFormat,
    measured: TaskEvaluation,
    dataset: Dataset,
    title: str,
    file: Path | BinaryIO,
) -> None:
    """Draw pieces of text, coloured by what the network gave each letter."""
    numbers = list(range(min(SHOWN_TEXTS, len(dataset))))
    targets = measured.targets[numbers]
    probabilities = model.predict(np.asarray(dataset.images[numbers]))
    places = np.maximum(targets, 0)[:, None].astype(np.int64)
    chances = np.take_along_axis(probabilities, places, axis=1)[:, 0]
    draw_letters([form.decoded(row) for row in targets], chances, file, title)
