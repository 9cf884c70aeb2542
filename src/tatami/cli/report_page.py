"""``tatami report``: a run as one page."""

from pathlib import Path

import click

from tatami.cli.choices import Source, source_of_run
from tatami.cli.console import Console
from tatami.cli.options import data_option, json_option

PAGE = "report.html"


@click.command(epilog="Example: tatami report runs/digits-small_convnet-001")
@click.argument("run", type=click.Path(path_type=Path))
@data_option
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help=f"Where to write the page; {PAGE} in the run's folder by default.",
)  # fmt: skip
@json_option
def command(run: Path, data_folder: Path | None, out: Path | None, as_json: bool) -> None:
    """Write everything about RUN into one HTML page that needs no network.

    Settings, learning curves, confusion, worst mistakes, calibration, the network as a diagram, its filters and
    feature maps, what speaks for the classes of some test images, what excites its units, ideal images, and units that
    do nothing. The test images are loaded again from where the run had them.
    """
    from tatami.inspect.report import Subject, write_report

    console = Console(machine=as_json)
    source = source_of_run(run)
    if data_folder is not None:
        source = Source(**{**source.to_json(), "data_folder": str(data_folder.resolve())})
    subject = Subject.of_run(run, source.load().test)
    path = subject.folder / PAGE if out is None else out
    write_report(path, subject, progress=lambda title: console.note(f"  {title}"))
    console.heading(f"Written to {path} ({path.stat().st_size / 1e6:.1f} MB)")
    console.line("  Open it in a browser; it needs no network.")
    console.json({"run": str(run), "page": str(path), "weights_sha256": subject.model.weights_sha256})
