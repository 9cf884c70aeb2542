"""``tatami report``: a run as one page."""

from pathlib import Path
from typing import Any

import click

from tatami.cli.console import Console
from tatami.cli.evaluate import chosen_source, loaded_for
from tatami.cli.options import (
    channels_option,
    data_option,
    filters_option,
    json_option,
    language_option,
    size_option,
)
from tatami.inspect.phrases import Language
from tatami.training.model import load_model
from tatami.training.run_folder import RunFolder

PAGE = "report.html"


@click.command(epilog="Example: tatami report runs/digits-small_convnet-001")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("dataset", required=False)
@data_option
@size_option
@channels_option
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help=f"Where to write the page; {PAGE} in the run's folder by default.",
)  # fmt: skip
@filters_option
@language_option
@json_option
def command(
    run: Path,
    dataset: str | None,
    out: Path | None,
    filters: tuple[str, ...],
    language: Language,
    as_json: bool,
    **options: Any,
) -> None:
    """Write everything about RUN into one HTML page that needs no network.

    Settings, learning curves, confusion, worst mistakes, calibration, the network as a diagram, its filters and
    feature maps, what speaks for the classes of some test images, what excites its units, ideal images, and units that
    do nothing; of a run for another task its own pictures and measures. The test images are those of DATASET, by
    default of the data that the run was trained on.
    """
    from tatami.inspect.report import Subject, write_report

    console = Console(machine=as_json)
    RunFolder.open(run)  # a path that is no run is told before anything is said about data
    trained = load_model(run)
    splits = loaded_for(trained, chosen_source(run, dataset, options, trained))
    subject = Subject.of_run(run, splits.test, language, filters)
    subject.grown_filters()  # what was not recorded is said before anything is drawn
    path = subject.folder / PAGE if out is None else out
    write_report(path, subject, progress=lambda title: console.note(f"  {title}"))
    console.heading(f"Written to {path} ({path.stat().st_size / 1e6:.1f} MB)")
    console.line("  Open it in a browser; it needs no network.")
    console.json({"run": str(run), "page": str(path), "weights_sha256": subject.model.weights_sha256})
