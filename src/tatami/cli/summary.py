"""``tatami summary``: the layers of a network and what they cost."""

import warnings

import click

from tatami.cli.choices import network_or_model, shape_of
from tatami.cli.console import Console
from tatami.cli.options import backend_option, classes_option, input_option, json_option
from tatami.network import Network
from tatami.program import Program


@click.command(epilog="Example: tatami summary arai")
@click.argument("network")
@input_option
@classes_option
@backend_option
@json_option
def command(
    network: str, input_shape: str | None, classes: int | None, backend: str | None, as_json: bool
) -> None:
    """Print layers, shapes, parameters, exact multiply-adds and receptive field of NETWORK.

    NETWORK is a name (arai, lenet5, …), a JSON file of a network, a checkpoint or a run folder. With --backend also
    where each layer runs: in a kernel, fused into another layer's, or on the reference backend.
    """
    console = Console(machine=as_json)
    built = network_or_model(network, shape_of(input_shape), classes)
    program = None if backend is None else planned(built, backend)
    console.line(built.summary() if program is None else program.summary())
    console.json(
        {
            "name": built.name,
            "input_shape": list(built.input_shape),
            "output_shape": list(built.output_shape),
            "parameters": built.parameter_count,
            "multiply_adds": built.multiply_adds,
            "layers": built.summary_rows(),
            **({} if program is None else {"where_layers_run": program.where_layers_run()}),
        }
    )


def planned(network: Network, backend: str) -> Program:
    """Plan a network; its table says which layers have no kernel, so no warning has to."""
    with warnings.catch_warnings(action="ignore"):
        return Program(network, backend=backend)
