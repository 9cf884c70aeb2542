"""Walking one batch through a network, forward and backward, with every value at hand and rules that can be replaced.

Pictures of what a network has learned begin where training does not look: at one unit in the middle, or at a backward
pass that treats some layers in another way (guided back-propagation, the deconvolution network). `Walk.backward`
therefore starts from a gradient at any layer, and takes a rule for a class of layers in place of its ``backward``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends import ReferenceBackend
from tatami.backends.base import Array, Backend
from tatami.layers import Convolution, Dense
from tatami.layers.base import Context, Layer, LayerParameters
from tatami.network import INPUT, Network, Parameters
from tatami.program import Program
from tatami.program.layerwise import LayerwiseExecutor
from tatami.random import RandomKey

# (ops, layer, dy, what forward saved, parameters) -> one gradient for each input of the layer.
Rule = Callable[[Backend, Layer, Array, Mapping[str, Array], LayerParameters], tuple[Array, ...]]
Rules = Mapping[type[Layer], Rule]


@dataclass(frozen=True)
class Walk:
    """A batch on its way through a network, as at prediction: dropout keeps everything.

    Attributes:
        network: the network.
        parameters: layer → name → array, in the dtype of the walk.
        values: name → output (N, *shape) of every layer, and 'input'.
        saved: what each layer's forward kept for its backward.
        ops: the backend.

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Dense, ReLU
    >>> from tatami.network import Sequential
    >>> network = Sequential(Dense(2, weight_initializer=Given([[1, 2], [3, -4]])), ReLU(), input_shape=(2,))
    >>> walk = walk_forward(network, network.initialize(), np.array([[1.0, 1.0]]))
    >>> walk.values["relu1"]
    array([[3., 0.]], dtype=float32)
    >>> walk.backward({"dense1": np.array([[0.0, 1.0]])})["input"]
    array([[ 3., -4.]])
    """

    network: Network
    parameters: Mapping[str, LayerParameters]
    values: Mapping[str, NDArray[Any]]
    saved: Mapping[str, Mapping[str, Array]]
    ops: Backend

    def backward(
        self, seeds: Mapping[str, NDArray[Any]], rules: Rules | None = None
    ) -> dict[str, NDArray[Any]]:
        """Walk from gradients at some layers down to the input.

        Args:
            seeds: name of a layer → gradient with respect to its output (N, *shape).
            rules: class of layers → what takes the place of its ``backward``; a subclass follows the rule of its base
                unless it has its own.

        Returns:
            Name → gradient with respect to the layer's output, for every layer that the seeds depend on and the input.
        """
        chosen = rules or {}
        dvalues: dict[str, Array] = dict(seeds)
        for node in reversed(self.network.nodes):
            if node.name not in dvalues:
                continue
            dy, saved = dvalues[node.name], self.saved[node.name]
            named = self.parameters.get(node.name, {})
            rule = rule_for(type(node.layer), chosen) or INPUT_ONLY.get(type(node.layer))
            if rule is None:
                dinputs = node.layer.backward(self.ops, dy, saved, named).dinputs
            else:
                dinputs = rule(self.ops, node.layer, dy, saved, named)
            for source, dx in zip(node.inputs, dinputs, strict=True):
                dvalues[source] = dvalues[source] + dx if source in dvalues else dx
        dvalues.setdefault(INPUT, np.zeros_like(self.values[INPUT]))
        return dvalues


def walk_forward(
    network: Network, parameters: Parameters, x: NDArray[Any], state: Parameters | None = None
) -> Walk:
    """Run a batch through a network and keep everything.

    Args:
        network: the network.
        parameters: layer → name → array; they decide whether the walk is in float32 or float64.
        x: a batch (N, *input_shape), preprocessed.
        state: what layers carry (running statistics); the initial one by default.

    Raises:
        ShapeError, DataError: a batch that is none, or parameters of another network.
    """
    network.check_parameters(parameters)
    program = Program(network, backend="reference", precision=precision_of(parameters))
    batch = program.check_input(x)
    executor = LayerwiseExecutor(network, program.loss, ReferenceBackend(), program.dtype)
    loaded = executor.load(parameters)
    carried = program.initial_state() if state is None else state
    values: dict[str, Array] = {INPUT: executor.ops.asarray(batch, program.dtype)}
    saved: dict[str, Mapping[str, Array]] = {}
    for node in network.nodes:
        context = Context(False, RandomKey(), carried.get(node.name, {}))
        result = executor.run_layer(node, values, loaded, context)
        values[node.name], saved[node.name] = result.output, result.saved
    return Walk(network, loaded, values, saved, executor.ops)


def precision_of(parameters: Parameters) -> str:
    """Return 'f64' if a parameter is in float64, else 'f32'.

    >>> precision_of({"dense1": {"weight": np.zeros((2, 2))}})
    'f64'
    """
    double = any(array.dtype == np.float64 for named in parameters.values() for array in named.values())
    return "f64" if double else "f32"


def convolution_input(
    ops: Backend, layer: Layer, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
) -> tuple[Array, ...]:
    """Return dx of a convolution as its backward does, without the gradients of its parameters."""
    geometry = layer.window(saved["x"].shape[1:])
    assert geometry is not None
    return (ops.correlate_input_gradient(dy, parameters["weight"], geometry),)


def dense_input(
    ops: Backend, layer: Layer, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
) -> tuple[Array, ...]:
    """Return dx of a dense layer as its backward does, without the gradients of its parameters."""
    return (ops.matmul(dy, parameters["weight"]),)


# Pictures need no gradients of parameters, which are half the work of a backward pass. Exact classes: a subclass may
# have another backward.
INPUT_ONLY: Rules = {Convolution: convolution_input, Dense: dense_input}


def rule_for(cls: type[Layer], rules: Rules) -> Rule | None:
    """Return the rule for a class of layers: its own, else that of the nearest base."""
    for base in cls.__mro__:
        if base in rules:
            return rules[base]
    return None
