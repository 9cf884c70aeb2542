"""Where the layers of a program run: in a kernel of their own, fused into another layer's, or on the reference."""

import re
from typing import TYPE_CHECKING

from tatami.network import Network, table

if TYPE_CHECKING:
    from tatami.program import Program
    from tatami.program.native import PlannedNetwork

REFERENCE = "reference layer"


def where_layers_run(program: "Program") -> dict[str, dict[str, str]]:
    """Return layer name -> {'predicting': …, 'training': …}: what computes the layer.

    A text is the description of a native kernel with all that is fused into it, 'fused into LAYER', 'no work' (a
    flatten or an inactive dropout whose numbers already lie right), or 'reference layer'. With keep=True nothing is
    fused.

    Source: the plan itself; see src/tatami/native/cpp/plan.cpp.
    """
    from tatami.program.native import PREDICT, TRAIN, NativeExecutor

    names = [node.name for node in program.network.nodes]
    if not isinstance(program.executor, NativeExecutor):
        return {name: {"predicting": REFERENCE, "training": REFERENCE} for name in names}
    with program.executor.lock:
        predicting = described(program.executor.planned, PREDICT)
        training = described(program.executor.planned, TRAIN)
    return {name: {"predicting": predicting[name], "training": training[name]} for name in names}


def described(planned: "PlannedNetwork", mode: int) -> dict[str, str]:
    """Return what the engine says of every layer in one way of running, with names instead of numbers."""
    lines = planned.engine.describe(mode, 1)
    names = {number: name for name, number in planned.number.items()}
    first = {
        composed.last: lines[composed.first] + ", then "
        for composed in planned.composed.values()
        if composed.first != composed.last
    }
    return {
        name: first.get(number, "")
        + re.sub(r"^fused into (\d+)$", lambda found: f"fused into {names[int(found[1])]}", lines[number])
        for number, name in names.items()
    }


def program_summary(program: "Program") -> str:
    """Return the network's table, and below it a table of where each layer runs."""
    network: Network = program.network
    places = where_layers_run(program)
    rows = [(name, place["predicting"], place["training"]) for name, place in places.items()]
    if program.backend == "reference":
        return f"{network.summary()}\n\nEvery layer runs on the reference backend, {program.precision}."
    from tatami.native import instruction_set

    title = f"Where the layers run: native backend, {program.precision}, {instruction_set()}"
    return f"{network.summary()}\n\n{title}\n" + table([("layer", "predicting", "training"), *rows], ())
