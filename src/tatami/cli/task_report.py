"""What the commands tell about a model, whatever it was trained for: numbers, pictures, and what to do next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tatami.cli.console import Console, percent, several
from tatami.cli.report import draw_pictures, report_accuracy, report_confusion, report_history
from tatami.data import Dataset
from tatami.data.texts import TextFormat
from tatami.errors import MissingExtraError
from tatami.random import RandomKey
from tatami.training.evaluation import Evaluation, TaskEvaluation
from tatami.training.generation import continued
from tatami.training.history import History
from tatami.training.measures import written
from tatami.training.model import Model
from tatami.training.tasks import Reconstruct, Segment
from tatami.training.tasks.reconstruct import noisy

Measured = Evaluation | TaskEvaluation
SHOWN = 8
SHOWN_TEXTS = 12
SAMPLE_LETTERS = 160
GRID, REACH = 12, 2.5
THINGS = {"regress": "example", "segment": "image", "reconstruct": "example", "sequence": "piece"}


def title_of(data: str, model: Model, measured: Measured) -> str:
    """Return what stands above pictures: the data, the network and the most important number."""
    if isinstance(measured, Evaluation):
        return f"{data}, {model.network.name}: {percent(measured.accuracy)} of {len(measured.labels):,} test images"
    name = model.task.headline
    thing = several(len(measured), "test " + THINGS[measured.task])
    return f"{data}, {model.network.name}: {written(name, measured.measures[name])} on {thing}"


def report_measured(
    console: Console, model: Model, measured: Measured, what: str, history: History | None, dataset: Dataset
) -> None:
    """Print what was measured, the learning curves, and what belongs to the task."""
    if isinstance(measured, Evaluation):
        report_accuracy(console, measured, what)
    else:
        report_measures(console, measured, what)
    if history is not None:
        report_history(console, history)
    if isinstance(measured, Evaluation):
        report_confusion(console, measured, model.class_names)
    elif isinstance(model.task, Segment):
        report_overlaps(console, model, model.task, measured)
    elif measured.task == "sequence" and isinstance(model.preprocessing.format, TextFormat):
        report_text(console, model, model.preprocessing.format, dataset)


def report_measures(console: Console, measured: TaskEvaluation, what: str) -> None:
    """Print the measures on a set of examples, the most important first."""
    (first, value), *others = measured.measures.items()
    rest = "".join(f", {written(name, number)}" for name, number in others)
    thing = what.removesuffix("image") + THINGS[measured.task]
    text = written(first, value)
    console.heading(
        f"{text[0].upper()}{text[1:]}{rest} on {several(len(measured), thing)}, loss {measured.loss:.4f}"
    )


def report_overlaps(console: Console, model: Model, task: Segment, measured: TaskEvaluation) -> None:
    """Print the IoU and the share of the points of every class."""
    overlaps = task.overlaps(measured.tally)
    both, seen, true = measured.tally.reshape(3, -1)
    console.heading("Classes of the points")
    console.table(
        ("class", "IoU", "found", "right when said", "share of the points"),
        [
            (
                name,
                f"{overlap:.4f}" if np.isfinite(overlap) else "-",
                share(both[k], true[k]),
                share(both[k], seen[k]),
                share(true[k], true.sum()),
            )
            for k, (name, overlap) in enumerate(zip(model.class_names, overlaps, strict=False))
        ],
        left=(0,),
    )


def share(part: float, whole: float) -> str:
    """Return a share in percent, or a dash of nothing.

    >>> share(1, 4), share(0, 0)
    ('25.0 %', '-')
    """
    return f"{100 * part / whole:.1f} %" if whole else "-"


def report_text(console: Console, model: Model, form: TextFormat, dataset: Dataset) -> None:
    """Print a text that the model writes on from the first test piece."""
    prompt = form.decoded(np.asarray(dataset.images[0])[: max(1, len(dataset.images[0]) // 2)])
    console.heading("What it writes, drawn with temperature 0.5")
    console.line(f"  {prompt}│{continued(model, prompt, SAMPLE_LETTERS, temperature=0.5)}")


def measures_in_json(model: Model, measured: Measured) -> dict[str, Any]:
    """Return the measures for a JSON object."""
    if isinstance(measured, Evaluation):
        return {
            "accuracy": measured.accuracy,
            "test_images": len(measured.labels),
            "correct": measured.correct,
        }
    values: dict[str, Any] = {**measured.measures, "test_images": len(measured)}
    if isinstance(model.task, Segment):
        overlaps = model.task.overlaps(measured.tally)
        values["iou"] = {
            name: float(value) if np.isfinite(value) else None
            for name, value in zip(model.class_names, overlaps, strict=False)
        }
    if measured.task == "regress":
        values["targets"] = list(model.class_names)
    return values


def next_commands(folder: Path, model: Model) -> list[str]:
    """Return the commands that people want next."""
    looks: Mapping[str, list[str]] = {
        "classify": ["tatami predict {0} IMAGE.png"],
        "segment": ["tatami predict {0} IMAGE.png --out FOLDER"],
        "reconstruct": ["tatami predict {0} IMAGE.png --out FOLDER", "tatami anomaly {0}"],
        "regress": ["tatami predict {0} FILE"],
        "sequence": ["tatami predict {0} FILE.npy"],
    }
    lines = looks[model.task.name]
    if isinstance(model.preprocessing.format, TextFormat):
        lines = [
            "tatami predict {0} --text 'the ' --generate 200"
            if model.task.name == "sequence"
            else "tatami predict {0} --text '...'"
        ]
    elif model.task.name == "classify" and not takes_images(model):
        lines = ["tatami predict {0} FILE.npy"]
    return [line.format(folder) for line in [*lines, "tatami evaluate {0}", "tatami report {0}"]]


def takes_images(model: Model) -> bool:
    """Say whether a model's inputs are images that a file can hold."""
    shape = model.network.input_shape
    return len(shape) == 3 and shape[0] in (1, 3)


def draw_pictures_of(
    console: Console,
    folder: Path,
    model: Model,
    measured: Measured,
    dataset: Dataset,
    history: History | None,
    title: str,
) -> list[Path]:
    """Draw the pictures of a run into its folder; without matplotlib say which extra draws them."""
    if isinstance(measured, Evaluation):
        return draw_pictures(console, folder, measured, dataset, model.class_names, history, title)
    from tatami.inspect import task_pictures

    written_files: list[Path] = []
    try:
        if history is not None and len(history):
            task_pictures.draw_measures(history, folder / "curves.png", title)
            written_files.append(folder / "curves.png")
        for path in DRAWING[measured.task](folder, model, measured, dataset, title):
            written_files.append(path)
    except MissingExtraError:
        console.note("No pictures: matplotlib draws them; install it with: pip install 'tatami[plot]'")
    except OSError as error:
        console.note(f"No pictures: {error.filename or folder}: {error.strerror or error}")
    return written_files


def chosen(measured: TaskEvaluation) -> dict[str, list[int]]:
    """Return which examples are drawn: the first ones, and the worst, as file names."""
    first = list(range(min(SHOWN, len(measured))))
    return {"examples": first, "worst": [int(number) for number in measured.worst(SHOWN)]}


def draw_segmentation(
    folder: Path, model: Model, measured: TaskEvaluation, dataset: Dataset, title: str
) -> list[Path]:
    """Draw masks of the first and of the worst examples."""
    from tatami.inspect.task_pictures import draw_masks

    assert isinstance(model.task, Segment)
    paths = []
    for name, numbers in chosen(measured).items():
        path = folder / ("masks.png" if name == "examples" else "worst.png")
        draw_masks(
            list(np.asarray(dataset.images[numbers])), list(measured.targets[numbers]),
            list(measured.predictions[numbers]),
            model.class_names, path, title if name == "examples" else f"Worst examples of {title}", model.task.palette,
            [f"{100 * measured.scores[number]:.1f} % wrong" for number in numbers],
        )  # fmt: skip
        paths.append(path)
    return paths


def draw_regression(
    folder: Path, model: Model, measured: TaskEvaluation, dataset: Dataset, title: str
) -> list[Path]:
    """Draw predictions against true numbers."""
    from tatami.inspect.task_pictures import draw_numbers

    path = folder / "regression.png"
    draw_numbers(measured.predictions, measured.targets, model.class_names, path, title)
    return [path]


def draw_reconstruction(
    folder: Path, model: Model, measured: TaskEvaluation, dataset: Dataset, title: str
) -> list[Path]:
    """Draw examples before and after, and of a variational autoencoder samples and the latent plane."""
    from tatami.inspect.latent import codes_of, is_variational, latent_plane, sampled
    from tatami.inspect.task_pictures import draw_latent, draw_reconstructions, draw_rows, flat_picture

    paths = []
    for name, numbers in chosen(measured).items():
        path = folder / ("reconstructions.png" if name == "examples" else "worst.png")
        draw_reconstructions(
            before_and_after(model, np.asarray(dataset.images[numbers])), path,
            title if name == "examples" else f"Worst examples of {title}",
            [f"MSE {measured.scores[number]:.3g}" for number in numbers],
        )  # fmt: skip
        paths.append(path)
    if is_variational(model) and takes_images(model):
        some = np.arange(min(len(dataset), 2000))
        plane = latent_plane(model, GRID, REACH)
        low, high = float(plane.min()), float(plane.max())
        samples = [flat_picture(image, low, high) for image in sampled(model, 5 * GRID)]
        rows = {"drawn" if k == 0 else " " * k: samples[k * GRID : (k + 1) * GRID] for k in range(5)}
        draw_rows(rows, folder / "samples.png", f"Drawn from the prior by {model.network.name}")
        draw_latent(
            codes_of(model, np.asarray(dataset.images[some])), dataset.labels[some], dataset.class_names, plane, REACH,
            folder / "latent.png", title,
        )  # fmt: skip
        paths += [folder / "samples.png", folder / "latent.png"]
    return paths


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


def draw_sequence(
    folder: Path, model: Model, measured: TaskEvaluation, dataset: Dataset, title: str
) -> list[Path]:
    """Draw pieces of text, coloured by what the network gave each letter."""
    from tatami.inspect.task_pictures import draw_letters

    form = model.preprocessing.format
    if not isinstance(form, TextFormat):
        return []
    numbers = list(range(min(SHOWN_TEXTS, len(dataset))))
    targets = measured.targets[numbers]
    probabilities = model.predict(np.asarray(dataset.images[numbers]))
    chances = np.take_along_axis(probabilities, np.maximum(targets, 0)[:, None].astype(np.int64), axis=1)[
        :, 0
    ]
    path = folder / "letters.png"
    texts = [form.decoded(row) for row in targets]
    draw_letters(texts, chances, path, title)
    return [path]


DRAWING = {
    "segment": draw_segmentation,
    "regress": draw_regression,
    "reconstruct": draw_reconstruction,
    "sequence": draw_sequence,
}
