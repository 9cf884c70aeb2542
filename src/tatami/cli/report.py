"""What `train` and `evaluate` tell about a model: accuracy, learning curve, confusions, pictures."""

from collections.abc import Sequence
from math import log10
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tatami.cli.console import Console, duration, percent, several, sparkline, table_lines
from tatami.data import Dataset
from tatami.errors import MissingExtraError
from tatami.training.evaluation import Evaluation, most_confused
from tatami.training.history import History
from tatami.training.measures import MEASURES, Measure

LONGEST_CURVE = 60
MOST_CLASSES_IN_TABLE = 24
MOST_PAIRS = 5
WORST_IMAGES = 18
PICTURES = ("curves.png", "confusion.png", "worst.png")


def report_accuracy(console: Console, evaluation: Evaluation, what: str) -> None:
    """Print accuracy and loss on a set of images."""
    count = len(evaluation.labels)
    console.heading(
        f"Accuracy {percent(evaluation.accuracy)} on {several(count, what)}"
        f" ({evaluation.correct:,} right, {count - evaluation.correct:,} wrong), loss {evaluation.loss:.4f}"
    )


def report_history(console: Console, history: History) -> None:
    """Print the learning curves, each one line high, with its first and last value."""
    if not len(history):
        return
    seconds = history.seconds
    validated = history.best_epoch is not None
    console.fields(
        {
            "trained": f"{several(len(history), 'epoch')}, {several(history.records[-1].step, 'step')} "
            f"in {duration(seconds)}",
            "best epoch": f"{history.best_epoch}, by its validation loss" if validated else None,
            "loss": curve(history.column("loss"), "{:.4f}"),
            "validation loss": curve(history.column("validation_loss"), "{:.4f}") if validated else None,
            **{
                called: measure_curve(history, name, validation=validation)
                for name in history.measures()
                for called, validation in ((label_of(name), False), (f"validation {label_of(name)}", True))
            },
        }
    )


def label_of(name: str) -> str:
    """Return what people call a measure."""
    return MEASURES.get(name, Measure(name)).label


def measure_curve(history: History, name: str, *, validation: bool) -> str | None:
    """Return the curve of a measure, or None where it was not taken."""
    values = [value for value in history.measured(name, validation=validation) if value is not None]
    if len(values) != len(history):
        return None
    measure = MEASURES.get(name, Measure(name))
    pattern = "{:.1f} %" if measure.factor == 100 else measure.pattern
    return curve([measure.factor * value for value in values], pattern)


def curve(values: Sequence[float], form: str) -> str:
    """Return a curve with its ends written out.

    >>> curve([2.0, 1.0, 0.5], "{:.1f}")
    '2.0 █▃▁ 0.5'
    """
    shown = thinned(values)
    if min(shown) > 0 and max(shown) > 20 * min(shown):  # a loss that falls by orders of magnitude
        shown = [log10(value) for value in shown]
    return f"{form.format(values[0])} {sparkline(shown)} {form.format(values[-1])}"


def thinned(values: Sequence[float], longest: int = LONGEST_CURVE) -> list[float]:
    """Return at most ``longest`` of the values, evenly spread, with the first and the last."""
    if len(values) <= longest:
        return list(values)
    return [values[round(at)] for at in np.linspace(0, len(values) - 1, longest)]


def report_confusion(console: Console, evaluation: Evaluation, class_names: Sequence[str]) -> None:
    """Print the confusion matrix and the pairs of classes that are confused most often."""
    confusion = evaluation.confusion
    if len(class_names) <= MOST_CLASSES_IN_TABLE:
        console.heading("Confusion: rows are true classes, columns what the model saw")
        for line in confusion_lines(confusion, class_names):
            console.line(line)
    pairs = most_confused(confusion, class_names, MOST_PAIRS)
    if pairs:
        console.heading("Most confused")
        console.table(
            ("true", "seen as", "times", "of"),
            [(pair.true_class, pair.predicted_class, pair.count, pair.of) for pair in pairs],
            left=(0, 1),
        )


def confusion_lines(confusion: NDArray[np.int64], class_names: Sequence[str]) -> list[str]:
    """Return the lines of a confusion matrix; dots stand for zeros.

    >>> for line in confusion_lines(np.array([[9, 0], [3, 7]]), ["cat", "dog"]):
    ...     print(repr(line))
    '       cat  dog  right'
    '  cat    9    .  100 %'
    '  dog    3    7   70 %'
    """
    short = [name if len(name) <= 10 else name[:9] + "…" for name in class_names]
    rows = [
        [
            name,
            *(str(count) if count else "." for count in counts),
            f"{100 * counts[at] / counts.sum():.0f} %" if counts.sum() else "-",
        ]
        for at, (name, counts) in enumerate(zip(short, confusion, strict=True))
    ]
    return table_lines(["", *short, "right"], rows, left=[0])


def draw_pictures(
    console: Console,
    folder: Path,
    evaluation: Evaluation,
    dataset: Dataset,
    class_names: Sequence[str],
    history: History | None,
    title: str,
) -> list[Path]:
    """Draw the pictures of a run into its folder; without matplotlib say which extra draws them."""
    from tatami.inspect.pictures import WorstImage, draw_confusion, draw_curves, draw_worst

    curves, confusion, worst = (folder / name for name in PICTURES)
    written = []
    try:
        if history is not None and len(history):
            draw_curves(history, curves, title)
            written.append(curves)
        draw_confusion(evaluation.confusion, class_names, confusion, title)
        written.append(confusion)
        images = [
            WorstImage(
                image=dataset.images[at],
                true_class=class_names[evaluation.labels[at]],
                predicted_class=class_names[evaluation.predicted[at]],
                true_probability=float(evaluation.probabilities[at, evaluation.labels[at]]),
                predicted_probability=float(evaluation.probabilities[at].max()),
            )
            for at in evaluation.worst(WORST_IMAGES)
        ]
        draw_worst(images, worst, as_ink=dataset.format.background == "dark")
        written.append(worst)
    except MissingExtraError:
        console.note("No pictures: matplotlib draws them; install it with: pip install 'tatami[plot]'")
    except OSError as error:
        console.note(f"No pictures: {error.filename or folder}: {error.strerror or error}")
    return written
