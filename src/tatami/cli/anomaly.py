"""``tatami anomaly``: what a model that reconstructs normal examples cannot give back."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from tatami.cli.choices import Source, choose_program, source_of_run
from tatami.cli.console import Console, percent, several
from tatami.cli.options import backend_option, data_option, json_option, precision_option, threads_option
from tatami.data import read_images
from tatami.data.class_folders import class_folders
from tatami.data.image_folder import images_below
from tatami.data.sources import NAMES
from tatami.errors import DataError, MissingExtraError, SettingError, unknown_name
from tatami.training.anomaly import (
    Detection,
    detection,
    normal_examples,
    reconstruction_errors,
    threshold_for,
)
from tatami.training.checkpoint import load_checkpoint
from tatami.training.model import Model, load_model
from tatami.training.run import identity, split
from tatami.training.run_folder import RunFolder

SHOWN_IN_TABLE = 10
SHOWN_IN_PICTURE = 10
SCORES = "scores.csv"
PICTURES = ("roc.png", "scores.png", "anomalies.png")


@dataclass(frozen=True, eq=False)
class Examined:
    """The examples to look at.

    Attributes:
        what: what they are called.
        images: raw.
        names: of each: its file, or its place in the data.
        classes: of each, or None where they are not known.
    """

    what: str
    images: Any
    names: list[str]
    classes: list[str] | None = None


@click.command(epilog="Example: tatami train digits --task reconstruct --only 0,1 && tatami anomaly RUN")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, metavar="[DATASET|IMAGE...]")
@click.option(
    "--false-alarms",
    type=float,
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Share of the normal validation examples that may be taken for anomalies; the threshold follows from it.",
)
@click.option("--threshold", type=float, metavar="ERROR", help="A threshold of your own instead.")
@click.option(
    "--normal",
    metavar="CLASS,...",
    help="Classes that are normal; by default those that the run learned from.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where scores and pictures are written; the run's folder 'anomaly' by default.",
)
@data_option
@backend_option
@precision_option
@threads_option
@json_option
def command(run: Path, sources: tuple[str, ...], **options: Any) -> None:  # fmt: skip
    """Find what RUN, trained with --task reconstruct on normal examples, cannot give back.

    The score of an example is the mean squared error of its reconstruction. The threshold is the score that all but a
    share of the normal validation examples stay below or at (--false-alarms); what scores higher is an anomaly.

    Examined are images, a folder of images, a folder of class folders, or the test examples of a data set; by default
    those of the data that the run learned from, all classes. Where classes are known, the ROC curve and its area say
    how well the score tells normal examples from others.
    """
    console = Console(machine=options["as_json"])
    folder = RunFolder.open(run)
    model = load_model(run)
    program = choose_program(model, options)
    source = source_of_run(run)
    if options["data_folder"] is not None:
        source = replace(source, data_folder=str(options["data_folder"].resolve()))
    normal_scores, kind, learned_classes = scores_of_normal(folder, model, source, program)
    threshold = options["threshold"]
    if threshold is None:
        threshold = threshold_for(normal_scores, options["false_alarms"])
        examples = several(len(normal_scores), f"normal {kind} example")
        rule = f"at most {percent(options['false_alarms'])} of {examples} score higher"
    else:
        rule = "as given"
    examined = examined_of(sources, model, source)
    scores = reconstruction_errors(model, examined.images, program)
    strange = strange_ones(examined, options["normal"], learned_classes)
    measured = (
        None
        if strange is None or strange.all() or not strange.any()
        else detection(scores, strange, threshold)
    )
    report(console, examined, scores, strange, threshold, rule, measured)
    out: Path = options["out"] or folder.path / "anomaly"
    out.mkdir(parents=True, exist_ok=True)
    write_scores(out / SCORES, examined, scores, strange, threshold)
    written = [out / SCORES, *draw(console, out, model, examined, scores, strange, threshold, measured)]
    console.heading(f"Written to {out}")
    console.line("  " + "  ".join(path.name for path in written))
    console.json(
        {
            "run": str(run),
            "weights_sha256": model.weights_sha256,
            "threshold": threshold,
            "rule": rule,
            "normal_examples": len(normal_scores),
            "examined": examined.what,
            "examples": len(scores),
            "anomalies": int((scores > threshold).sum()),
            "auc": None if measured is None else measured.area,
            "found": None if measured is None else measured.found,
            "false_alarms": None if measured is None else measured.false_alarms,
            "out": str(out),
            "scores": [
                {"name": name, "score": float(score), "anomaly": bool(score > threshold), **known}
                for name, score, known in zip(
                    examined.names, scores, known_of(examined, strange), strict=True
                )
            ],
        }
    )


def scores_of_normal(
    folder: RunFolder, model: Model, source: Source, program: Any
) -> tuple[NDArray[np.float64], str, tuple[str, ...]]:
    """Return the scores of the run's validation examples (without any, of the training ones), and their classes."""
    checkpoint = load_checkpoint(folder.model_file())
    training = source.load().train
    found = identity(training, checkpoint.settings.validation_groups)
    if checkpoint.data != found:
        raise SettingError(
            f"{folder.path} was trained on other data: {checkpoint.data}, these are {found}; the "
            f"threshold is chosen by the run's own validation examples: put the data back, or give --threshold"
        )
    examples, kind = normal_examples(*split(training, checkpoint.settings))
    return reconstruction_errors(model, examples.images, program), kind, training.class_names


def examined_of(words: Sequence[str], model: Model, source: Source) -> Examined:
    """Return the examples that a command line names."""
    if not words:
        everything = replace(source, only=(), limit=None)
        return of_dataset(everything)
    if len(words) == 1 and (words[0] in NAMES or not Path(words[0]).expanduser().exists()):
        if words[0] not in NAMES and Path(words[0]).suffix:
            raise DataError(f"{words[0]}: no such file")
        return of_dataset(Source.of(words[0], None, None, None, None))
    places = [Path(word).expanduser() for word in words]
    if len(places) == 1 and places[0].is_dir():
        return of_folder(places[0], model)
    return of_files("images", places, None, model)


def of_dataset(source: Source) -> Examined:
    """Return the test examples of a data set."""
    test = source.load().test
    classes = [test.class_names[label] for label in test.labels] if len(test.class_names) > 1 else None
    return Examined(
        f"{test.name} test examples", test.images, [str(number) for number in range(len(test))], classes
    )


def of_folder(folder: Path, model: Model) -> Examined:
    """Return the images of a folder: of class folders (those in test/ if there is one) or without classes."""
    root = folder / "test" if (folder / "test").is_dir() else folder
    found = class_folders(root)
    if not found:
        return of_files(f"images in {folder}", images_below(root), None, model)
    paths, classes = [], []
    for name, place in found.items():
        inside = images_below(place)
        paths += inside
        classes += [name] * len(inside)
    return of_files(f"images in {root}", paths, classes, model)


def of_files(what: str, paths: list[Path], classes: list[str] | None, model: Model) -> Examined:
    """Read image files."""
    images = read_images(paths, model.network.input_shape, model.preprocessing.format)
    return Examined(what, images, [str(path) for path in paths], classes)


def strange_ones(examined: Examined, normal: str | None, learned: Sequence[str]) -> NDArray[np.bool_] | None:
    """Return which examples are known to be none of the normal classes, or None where nothing is known."""
    if examined.classes is None:
        if normal is not None:
            raise SettingError(
                "--normal names classes, and the examples have none; give a folder of class folders"
            )
        return None
    present = sorted(set(examined.classes))
    names = [name for name in (normal or "").split(",") if name] or [
        name for name in learned if name in present
    ]
    for name in names:
        if name not in present:
            raise unknown_name("class", name, present)
    if not names:
        return None
    return np.array([name not in names for name in examined.classes])


def report(
    console: Console,
    examined: Examined,
    scores: NDArray[np.float64],
    strange: NDArray[np.bool_] | None,
    threshold: float,
    rule: str,
    measured: Detection | None,
) -> None:
    """Print the threshold, how well it tells, and the highest scores."""
    above = int((scores > threshold).sum())
    console.heading(f"{above:,} of {len(scores):,} {examined.what} are anomalies")
    console.fields(
        {
            "threshold": f"{threshold:.6g}: {rule}",
            "area under ROC": f"{measured.area:.4f}" if measured else None,
            "found": f"{percent(measured.found)} of the anomalies" if measured else None,
            "false alarms": f"{percent(measured.false_alarms)} of the normal ones" if measured else None,
            "not measured": None if measured else nothing_to_measure(strange),
        }
    )
    console.heading("Highest scores")
    order = np.argsort(-scores, kind="stable")[:SHOWN_IN_TABLE]
    header = ("example", "error", "verdict", *(("class",) if examined.classes else ()))
    rows = [
        (
            examined.names[at],
            f"{scores[at]:.5g}",
            verdict(scores[at], threshold),
            *((examined.classes[at],) if examined.classes else ()),
        )
        for at in order
    ]
    console.table(header, rows, left=(0, 2, 3))


def nothing_to_measure(strange: NDArray[np.bool_] | None) -> str:
    """Say why there is no ROC curve."""
    if strange is None:
        return "which examples are anomalies is not known; a folder of class folders and --normal would tell"
    kind = "an anomaly" if strange.all() else "normal"
    return f"every example is {kind}; a curve needs both (train with --only CLASS,... or give --normal)"


def verdict(score: float, threshold: float) -> str:
    """Return what an example is taken for."""
    return "anomaly" if score > threshold else "normal"


def known_of(examined: Examined, strange: NDArray[np.bool_] | None) -> list[dict[str, Any]]:
    """Return what is known of each example."""
    known: list[dict[str, Any]] = [{} for _ in examined.names]
    for number, entry in enumerate(known):
        if examined.classes is not None:
            entry["class"] = examined.classes[number]
        if strange is not None:
            entry["is_anomaly"] = bool(strange[number])
    return known


def write_scores(
    path: Path,
    examined: Examined,
    scores: NDArray[np.float64],
    strange: NDArray[np.bool_] | None,
    threshold: float,
) -> None:
    """Write a line for each example."""
    known = known_of(examined, strange)
    extra = list(known[0]) if known else []
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", "score", "verdict", *extra])
        for name, score, entry in zip(examined.names, scores, known, strict=True):
            table.writerow([name, repr(float(score)), verdict(score, threshold), *entry.values()])


def draw(
    console: Console,
    out: Path,
    model: Model,
    examined: Examined,
    scores: NDArray[np.float64],
    strange: NDArray[np.bool_] | None,
    threshold: float,
    measured: Detection | None,
) -> list[Path]:
    """Draw the ROC curve, the spread of the scores and the highest ones; without matplotlib say what draws them."""
    from tatami.inspect.task_drawings import before_and_after
    from tatami.inspect.task_pictures import draw_reconstructions, draw_roc, draw_scores

    written = []
    for name in PICTURES:  # of an earlier look at other examples
        (out / name).unlink(missing_ok=True)
    try:
        if measured is not None:
            point = (measured.false_alarms, measured.found)
            draw_roc(
                *measured.curve, measured.area, point, out / "roc.png", f"Anomalies among {examined.what}"
            )
            written.append(out / "roc.png")
        draw_scores(scores, strange, threshold, out / "scores.png", f"Scores of {examined.what}")
        written.append(out / "scores.png")
        order = np.argsort(-scores, kind="stable")[:SHOWN_IN_PICTURE]
        rows = before_and_after(model, np.asarray(examined.images[order]), noise=0.0)
        rows["difference"] = [
            np.abs(np.asarray(before) - np.asarray(after))
            for before, after in zip(rows["input"], rows["reconstruction"], strict=True)
        ]
        captions = [
            f"{scores[at]:.3g}" + (f"\n{examined.classes[at]}" if examined.classes else "") for at in order
        ]
        draw_reconstructions(rows, out / "anomalies.png", "The examples with the largest errors", captions)
        written.append(out / "anomalies.png")
    except MissingExtraError:
        console.note("No pictures: matplotlib draws them; install it with: pip install 'tatami[plot]'")
    return written
