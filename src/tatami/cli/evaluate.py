"""``tatami evaluate``: a trained model on test images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tatami.cli.choices import Source, choose_program, source_of_run
from tatami.cli.console import Console, percent
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
from tatami.cli.report import draw_pictures, report_accuracy, report_confusion
from tatami.data.augmentation import choose_policy
from tatami.errors import CheckpointError, SettingError
from tatami.training.evaluation import most_confused
from tatami.training.model import load_model
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
    help="Draw the confusion matrix and the worst images into this folder.",
)  # fmt: skip
@augment_option
@views_option
@json_option
def command(model: Path, dataset: str | None, **options: Any) -> None:
    """Measure MODEL, a run folder or a checkpoint, on the test images of DATASET.

    Without DATASET the data that the run was trained on are loaded again.
    """
    console = Console(machine=options["as_json"])
    trained = load_model(model)
    splits = chosen_source(model, dataset, options).load()
    program = choose_program(trained, options)
    if options["augment"] is None:
        evaluation = trained.evaluate(splits.test, program)
    else:
        pipeline = choose_policy(options["augment"])
        evaluation = evaluate_views(trained, splits.test, pipeline, options["views"], program)
    report_accuracy(console, evaluation, f"{splits.name} test image")
    report_confusion(console, evaluation, trained.class_names)
    if options["pictures"] is not None:
        folder: Path = options["pictures"]
        folder.mkdir(parents=True, exist_ok=True)
        title = f"{splits.name}, {trained.network.name}: {percent(evaluation.accuracy)}"
        written = draw_pictures(console, folder, evaluation, splits.test, trained.class_names, None, title)
        if written:
            console.heading(f"Drawn in {folder}")
            console.line("  " + "  ".join(path.name for path in written))
    console.json(
        {
            "accuracy": evaluation.accuracy,
            "loss": evaluation.loss,
            "test_images": len(evaluation.labels),
            "correct": evaluation.correct,
            "dataset": splits.name,
            "network": trained.network.name,
            "model": str(model),
            "backend": program.backend,
            "precision": program.precision,
            "threads": threads_in_use(program.backend, options["threads"]),
            "weights_sha256": trained.weights_sha256,
            "class_names": list(trained.class_names),
            "confusion": evaluation.confusion.tolist(),
            "most_confused": [
                {"true": pair.true_class, "predicted": pair.predicted_class, "count": pair.count}
                for pair in most_confused(evaluation.confusion, trained.class_names, 10)
            ],
        }
    )


def chosen_source(model: Path, dataset: str | None, options: dict[str, Any]) -> Source:
    """Return the data set that was named, else the one of the run."""
    channels = options["channels"]
    size = image_size(options["size"])
    if dataset is not None:
        return Source.of(
            dataset, options["data_folder"], size, None if channels is None else int(channels), None
        )
    try:
        source = source_of_run(model)
    except CheckpointError as error:
        raise SettingError(f"name the data set to measure on, such as digits: {error}") from error
    if options["data_folder"] is not None:
        return replace(source, data_folder=str(options["data_folder"].resolve()))
    return source
