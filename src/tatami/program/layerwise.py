"""Run a network layer by layer on a backend's primitives: nothing is fused, everything can be kept.

Forward visits the nodes in topological order, backward in the reverse order; where one output has several readers
their gradients are added.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.layers.base import Context, Forward
from tatami.losses import Objective
from tatami.network import INPUT, Network, Node, Parameters
from tatami.program.results import Kept, Pass, Step
from tatami.random import RandomKey

NestedArrays = Mapping[str, Mapping[str, Array]]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def while_computing(
    run: Callable[Concatenate["LayerwiseExecutor", Arguments], Result],
) -> Callable[Concatenate["LayerwiseExecutor", Arguments], Result]:
    """Run a method of the executor in the context that its backend computes in."""

    @wraps(run)
    def wrapped(
        executor: "LayerwiseExecutor", /, *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        with executor.ops.computing():
            return run(executor, *arguments, **named)

    return wrapped


@dataclass(frozen=True)
class LayerwiseExecutor:
    """Walks the graph of a network with one backend in one dtype."""

    network: Network
    loss: Objective
    ops: Backend
    dtype: str

    @while_computing
    def forward(
        self,
        parameters: Parameters,
        x: NDArray[Any],
        training: bool,
        key: RandomKey,
        state: Parameters,
        keep: bool,
    ) -> Pass:
        """Compute the output; drop intermediates as soon as nobody needs them, unless they are to be kept."""
        loaded = self.load(parameters)
        values: dict[str, Array] = {INPUT: self.ops.asarray(x, self.dtype)}
        last_reader = {source: node.name for node in self.network.nodes for source in node.inputs}
        for node in self.network.nodes:
            values[node.name] = self.run_layer(
                node, values, loaded, Context(training, key, state.get(node.name, {}))
            ).output
            if not keep:
                for source in set(node.inputs):
                    if last_reader[source] == node.name:
                        del values[source]
        output = self.ops.to_numpy(values[self.network.output])
        return Pass(output, self.unload(values) if keep else Kept({}, kept=False))

    @while_computing
    def train_step(
        self,
        parameters: Parameters,
        x: NDArray[Any],
        target: NDArray[Any],
        key: RandomKey,
        state: Parameters,
        keep: bool,
    ) -> Step:
        """Compute loss, gradients and new state for one batch."""
        loaded = self.load(parameters)
        values: dict[str, Array] = {INPUT: self.ops.asarray(x, self.dtype)}
        saved: dict[str, Mapping[str, Array]] = {}
        new_state = dict(state)
        for node in self.network.nodes:
            result = self.run_layer(node, values, loaded, Context(True, key, state.get(node.name, {})))
            values[node.name], saved[node.name] = result.output, result.saved
            if result.state:
                new_state[node.name] = {
                    name: self.ops.to_numpy(array) for name, array in result.state.items()
                }
        output = values[self.network.output]
        expected = self.ops.asarray(target, "int64" if target.dtype.kind in "iu" else self.dtype)
        loss = self.loss.value(self.ops, output, expected)
        dvalues = {self.network.output: self.loss.gradient(self.ops, output, expected)}
        gradients = self.backward(dvalues, saved, loaded)
        return Step(
            loss,
            self.ops.to_numpy(output),
            gradients,
            new_state,
            self.unload(values) if keep else Kept({}, kept=False),
            self.unload({name: dvalues[name] for name in values}) if keep else Kept({}, kept=False),
        )

    def backward(
        self, dvalues: dict[str, Array], saved: Mapping[str, Mapping[str, Array]], parameters: NestedArrays
    ) -> Parameters:
        """Fill ``dvalues`` from the output's gradient down to the input's, and return the parameters' gradients."""
        gradients: Parameters = {}
        for node in reversed(self.network.nodes):
            named = parameters.get(node.name, {})
            result = node.layer.backward(self.ops, dvalues[node.name], saved[node.name], named)
            for source, dx in zip(node.inputs, result.dinputs, strict=True):
                dvalues[source] = dvalues[source] + dx if source in dvalues else dx
            if result.dparameters:
                gradients[node.name] = {
                    name: self.ops.to_numpy(array) for name, array in result.dparameters.items()
                }
        return {layer: gradients[layer] for layer in self.network.parameter_specs}

    def run_layer(
        self, node: Node, values: Mapping[str, Array], parameters: NestedArrays, context: Context
    ) -> Forward:
        """Run one layer forward."""
        inputs = tuple(values[source] for source in node.inputs)
        return node.layer.forward(self.ops, inputs, parameters.get(node.name, {}), context)

    def load(self, parameters: Parameters) -> dict[str, dict[str, Array]]:
        """Hand the parameters to the backend."""
        return {
            layer: {name: self.ops.asarray(array, self.dtype) for name, array in named.items()}
            for layer, named in parameters.items()
        }

    def unload(self, arrays: Mapping[str, Array]) -> Kept:
        """Take arrays back as NumPy arrays."""
        return Kept({name: self.ops.to_numpy(array) for name, array in arrays.items()}, kept=True)
