"""``tatami gradcheck``: every hand-derived gradient against a central difference."""

import click

from tatami.cli.choices import network_or_model, shape_of
from tatami.cli.console import Console, several
from tatami.cli.options import classes_option, input_option, json_option
from tatami.errors import TatamiError
from tatami.gradient_check import GradientReport, check_gradients

SAMPLE = 20


@click.command(epilog="Example: tatami gradcheck lenet5 --sample 50")
@click.argument("network")
@input_option
@classes_option
@click.option(
    "--sample", type=int, default=SAMPLE, show_default=True, metavar="N",
    help="Random indices of each tensor that are compared.",
)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Compare every index; slow for large networks.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of inputs and sample.")
@click.option(
    "--tolerance", type=float, default=1e-6, show_default=True, metavar="E", help="Largest relative error."
)
@json_option
def command(
    network: str,
    input_shape: str | None,
    classes: int | None,
    sample: int,
    every: bool,
    seed: int,
    tolerance: float,
    as_json: bool,
) -> None:
    """Compare the gradients of NETWORK with central differences in float64; the exit code is 1 if one disagrees.

    NETWORK is a name (arai, lenet5, …), a JSON file of a network, a checkpoint or a run folder.
    """
    console = Console(machine=as_json)
    built = network_or_model(network, shape_of(input_shape), classes)
    report = check_gradients(built, sample=None if every else sample, seed=seed, tolerance=tolerance)
    show(console, report)
    rows = report.rows()
    console.json(
        {
            "network": built.name,
            "passed": report.passed,
            "compared": len(report.entries),
            "failed": len(report.failures),
            "tolerance": tolerance,
            "tensors": rows,
        }
    )
    if not report.passed:
        raise TatamiError(
            f"{len(report.failures)} of {len(report.entries)} gradients disagree, the worst: {report.failures[0]}"
        )


def show(console: Console, report: GradientReport) -> None:
    """Print a line for each tensor and the verdict."""
    console.table(
        ("tensor", "compared", "of", "worst error", "at", "backward", "difference"),
        [
            (
                f"{row['layer']}.{row['tensor']}",
                row["compared"],
                row["size"],
                f"{row['error']:.1e}" + ("" if row["passed"] else " wrong"),
                row["worst_index"],
                f"{row['backward']:.6g}",
                f"{row['difference']:.6g}",
            )
            for row in report.rows()
        ],
        left=(0, 4),
    )
    if report.passed:
        compared = several(len(report.entries), "derivative")
        console.heading(f"{compared} compared, all agree to {report.tolerance:.0e}")
