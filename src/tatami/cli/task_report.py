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
from tatami.inspect.task_drawings import drawings, takes_images
from tatami.inspect.task_pictures import draw_measures
from tatami.training.evaluation import Evaluation, TaskEvaluation
from tatami.training.generation import continued
from tatami.training.history import History
from tatami.training.measures import written
from tatami.training.model import Model
from tatami.training.tasks import Segment

Measured = Evaluation | TaskEvaluation
SAMPLE_LETTERS = 160
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
    written_files: list[Path] = []
    try:
        if history is not None and len(history):
            draw_measures(history, folder / "curves.png", title)
            written_files.append(folder / "curves.png")
        for name, draw in drawings(model, measured, dataset, title).items():
            draw(folder / name)
            written_files.append(folder / name)
    except MissingExtraError:
        console.note("No pictures: matplotlib draws them; install it with: pip install 'tatami[plot]'")
    except OSError as error:
        console.note(f"No pictures: {error.filename or folder}: {error.strerror or error}")
    return written_files
