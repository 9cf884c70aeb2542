"""``tatami summary``: the layers of a network and what they cost."""

import click

from tatami.cli.choices import network_or_model, shape_of
from tatami.cli.console import Console
from tatami.cli.options import classes_option, input_option, json_option


@click.command(epilog="Example: tatami summary arai")
@click.argument("network")
@input_option
@classes_option
@json_option
def command(network: str, input_shape: str | None, classes: int | None, as_json: bool) -> None:
    """Print layers, shapes, parameters, exact multiply-adds and receptive field of NETWORK.

    NETWORK is a name (arai, lenet5, …), a JSON file of a network, a checkpoint or a run folder.
    """
    console = Console(machine=as_json)
    built = network_or_model(network, shape_of(input_shape), classes)
    console.line(built.summary())
    console.json(
        {
            "name": built.name,
            "input_shape": list(built.input_shape),
            "output_shape": list(built.output_shape),
            "parameters": built.parameter_count,
            "multiply_adds": built.multiply_adds,
            "layers": built.summary_rows(),
        }
    )
