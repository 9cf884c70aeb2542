"""``tatami evaluate``: a trained model on test images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tatami.cli.choices import Source, choose_program, source_of_run
from tatami.cli.console import Console
from tatami.cli.options import (
    augment_option,
    backend_option,
    channels_option,
    data_option,
    image_size,
    json_option,
    precision_option,
    size_option,
    threads_in_use,
    threads_option,
    views_option,
)
from tatami.cli.task_report import draw_pictures_of, measures_in_json, report_measured, title_of
from tatami.data import DatasetSplits
from tatami.data.augmentation import choose_policy
from tatami.data.matching import matched
from tatami.data.texts import TextFormat
from tatami.errors import CheckpointError, SettingError
from tatami.training.evaluation import Evaluation, most_confused
from tatami.training.model import Model, load_model
from tatami.training.tasks import Classify
from tatami.training.views import evaluate_views


@click.command(epilog="Example: tatami evaluate runs/digits-small_convnet-001")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("dataset", required=False)
@data_option
@size_option
@channels_option
@backend_option
@precision_option
@threads_option
@click.option(
    "--pictures", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
    help="Draw the pictures of the task into this folder: confusion, masks, reconstructions, the worst examples.",
)  # fmt: skip
@augment_option
@views_option
@json_option
def command(model: Path, dataset: str | None, **options: Any) -> None:
    """Measure MODEL, a run folder or a checkpoint, on the test images of DATASET.

    Without DATASET the data that the run was trained on are loaded again. What is measured depends on what the model
    was trained for: accuracy, R², IoU, PSNR or perplexity.
    """
    console = Console(machine=options["as_json"])
    trained = load_model(model)
    splits = loaded_for(trained, chosen_source(model, dataset, options, trained))
    program = choose_program(trained, options)
    if options["augment"] is None:
        measured = trained.measure(splits.test, program)
    elif not isinstance(trained.task, Classify):
        raise SettingError(
            f"--augment averages the classes of several views; this model was trained to {trained.task.name}"
        )
    else:
        pipeline = choose_policy(options["augment"])
        measured = evaluate_views(trained, splits.test, pipeline, options["views"], program)
    report_measured(console, trained, measured, f"{splits.name} test image", None, splits.test)
    if options["pictures"] is not None:
        folder: Path = options["pictures"]
        folder.mkdir(parents=True, exist_ok=True)
        title = title_of(splits.name, trained, measured)
        written = draw_pictures_of(console, folder, trained, measured, splits.test, None, title)
        if written:
            console.heading(f"Drawn in {folder}")
            console.line("  " + "  ".join(path.name for path in written))
    described: dict[str, Any] = {
        **measures_in_json(trained, measured),
        "loss": measured.loss,
        "task": trained.task.name,
        "dataset": splits.name,
        "network": trained.network.name,
        "model": str(model),
        "backend": program.backend,
        "precision": program.precision,
        "threads": threads_in_use(program.backend, options["threads"]),
        "weights_sha256": trained.weights_sha256,
        "class_names": list(trained.class_names),
    }
    if isinstance(measured, Evaluation):
        described["confusion"] = measured.confusion.tolist()
        described["most_confused"] = [
            {"true": pair.true_class, "predicted": pair.predicted_class, "count": pair.count}
            for pair in most_confused(measured.confusion, trained.class_names, 10)
        ]
    console.json(described)


def loaded_for(model: Model, source: Source) -> DatasetSplits:
    """Load data with letters and classes numbered as the model numbers them."""
    return matched(source.load(), model.preprocessing.format, model.class_names)


def chosen_source(
    model: Path, dataset: str | None, options: dict[str, Any], trained: Model | None = None
) -> Source:
    """Return the data set that was named, else the one of the run."""
    channels = options["channels"]
    size = image_size(options["size"])
    if dataset is not None:
        return Source.of(
            dataset,
            options["data_folder"],
            size,
            None if channels is None else int(channels),
            None,
            **({} if trained is None else for_model(dataset, trained)),
        )
    try:
        source = source_of_run(model)
    except CheckpointError as error:
        raise SettingError(f"name the data set to measure on, such as digits: {error}") from error
    if options["data_folder"] is not None:
        return replace(source, data_folder=str(options["data_folder"].resolve()))
    return source


def for_model(dataset: str, model: Model) -> dict[str, Any]:
    """Return how data have to be loaded for a model: its task, the numbers that it says, the length that it reads."""
    task = model.task.name
    settings: dict[str, Any] = {} if task == "classify" else {"task": task}
    suffix = Path(dataset).suffix.lower()
    if task == "regress" and suffix == ".csv":
        settings["targets"] = model.class_names
    if isinstance(model.preprocessing.format, TextFormat) and suffix in (".txt", ".text", ".md"):
        settings["length"] = model.network.input_shape[0]
    return settings
