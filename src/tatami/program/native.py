"""Run a network on the native backend: one call into C++ for a forward pass or a whole training step.

The network is described to an `Engine` node by node. A layer that has no kernel becomes an *external* node: the engine
stops in front of it, the reference layer computes on NumPy arrays, and the engine goes on. That works everywhere, but
costs copies and the reference's speed; where it can be felt it is said, once for each kind of layer. The program's
summary says it always.
"""

import warnings
from collections.abc import Iterator, Mapping
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami import layers
from tatami.backends import ReferenceBackend
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Shape
from tatami.layers.base import Context, Forward, Layer
from tatami.losses import Objective, SoftmaxCrossEntropy, SquaredError
from tatami.native import emulated, instruction_set, kernels, tile_support
from tatami.network import INPUT, Network, Node, Parameters
from tatami.optimizers import SGD, AdaGrad, Adam, AdamW, Optimizer, OptimizerState, RMSProp
from tatami.program.composed import Composed, Held, add_composed, is_composed
from tatami.program.native_layers import DESCRIBED, add_described, axes, window
from tatami.program.results import Kept, Pass, Step
from tatami.program.session import StepResult
from tatami.random import RandomKey

PREDICT, TRAIN, INSPECT = 0, 1, 2
VALUE, GRADIENT, FIRST_SLOT = 0, 1, 2
# Products of bf16 that stand for one of floats; 0: floats are multiplied.
PRODUCTS = {"f32": 0, "bf16": 1, "bf16x3": 3}
RULES = {"sgd": 0, "momentum": 1, "nesterov": 2, "adagrad": 3, "rmsprop": 4, "adam": 5, "adamw": 6}

Array = NDArray[Any]
Engine = Any


class SlowLayerWarning(UserWarning):
    """A layer has no kernel and runs on the reference backend."""


def add_native_layer(
    engine: Engine, layer: Layer, inputs: list[int], shapes: tuple[Shape, ...]
) -> int | None:
    """Describe one layer to the engine and return its number, or None where there is no kernel for it."""
    kind = type(layer)
    geometry = layer.window(*shapes)
    if kind is layers.Convolution and isinstance(layer, layers.Convolution) and geometry:
        kernel, stride, before, after = window(geometry)
        dilation = axes(geometry.dilation, 1)
        settings = (kernel, stride, before, after, dilation, geometry.groups, layer.bias)
        return int(engine.add_convolution(inputs[0], geometry.filters, *settings))
    if kind is layers.TableConvolution and isinstance(layer, layers.TableConvolution) and geometry:
        table = [list(row) for row in layer.table]
        dilation = axes(geometry.dilation, 1)
        return int(engine.add_table_convolution(inputs[0], table, *window(geometry), dilation, layer.bias))
    if kind is layers.LocallyConnected and isinstance(layer, layers.LocallyConnected) and geometry:
        dilation = axes(geometry.dilation, 1)
        return int(engine.add_local(inputs[0], geometry.filters, *window(geometry), dilation, layer.bias))
    if kind in (layers.GlobalMaxPool, layers.GlobalAveragePool):
        return int(engine.add_global_pool(inputs[0], kind is layers.GlobalMaxPool))
    if kind is layers.Dense and isinstance(layer, layers.Dense):
        return int(engine.add_dense(inputs[0], layer.units, layer.bias))
    if kind is layers.Softmax:
        return int(engine.add_softmax(inputs[0]))
    if kind is layers.Flatten:
        return int(engine.add_flatten(inputs[0]))
    if kind is layers.BatchNormalization and isinstance(layer, layers.BatchNormalization):
        affine = (layer.affine, layer.affine and layer.shift)
        return int(engine.add_batch_norm(inputs[0], float(layer.momentum), float(layer.epsilon), *affine))
    if kind is layers.LocalResponseNormalization and isinstance(layer, layers.LocalResponseNormalization):
        return int(engine.add_local_response(inputs[0], layer.size, layer.alpha, layer.beta, layer.k))
    if kind is layers.Reshape and len(layer.output_shape(*shapes)) <= 4:
        return int(engine.add_reshape(inputs[0], layer.output_shape(*shapes)))
    if kind is layers.Multiply:
        return int(engine.add_product(inputs))
    if kind in (layers.Add, layers.Concatenate):
        return int(engine.add_merge(inputs, kind is layers.Concatenate))
    return add_described(engine, layer, inputs, shapes)


def can_update(network: Network, optimizer: Optimizer) -> bool:
    """Say whether the engine moves the parameters of a network exactly as an optimiser would.

    Penalties, bounds, averages and rates of single layers are not the engine's, and it would decay the biases of layers
    that it does not know.
    """
    if update_rule(optimizer) is None:
        return False
    if optimizer.l1 or optimizer.rates or optimizer.max_norm is not None or optimizer.average is not None:
        return False
    products = (layers.Convolution, layers.TableConvolution, layers.LocallyConnected, layers.Dense)
    known = (*products, layers.BatchNormalization, *DESCRIBED)
    foreign = [
        node.name
        for node in network.nodes
        if network.parameter_specs.get(node.name)
        and type(node.layer) not in known
        and not is_composed(node.layer, network.input_shapes(node))
    ]
    return optimizer.weight_decay == 0 or not foreign


def update_rule(optimizer: Optimizer | None) -> tuple[int, float, float, float, float] | None:
    """Return rule, decay, momentum or β₁, β₂ or ρ, and ε of an optimiser that the engine knows, else None."""
    if optimizer is None:
        return RULES["sgd"], 0.0, 0.0, 0.0, 0.0
    decay = float(optimizer.weight_decay)
    if type(optimizer) is SGD:
        name = "nesterov" if optimizer.nesterov else "momentum" if optimizer.momentum else "sgd"
        return RULES[name], decay, float(optimizer.momentum), 0.0, 0.0
    if type(optimizer) is AdaGrad:
        return RULES["adagrad"], decay, 0.0, 0.0, float(optimizer.epsilon)
    if type(optimizer) is RMSProp:
        return RULES["rmsprop"], decay, 0.0, float(optimizer.rho), float(optimizer.epsilon)
    if type(optimizer) in (Adam, AdamW) and isinstance(optimizer, Adam):
        name = "adamw" if type(optimizer) is AdamW else "adam"
        return RULES[name], decay, float(optimizer.beta1), float(optimizer.beta2), float(optimizer.epsilon)
    return None


def require_precision(precision: str) -> None:
    """Raise where this processor cannot compute at a precision, or only slower than at a better one.

    Three products of bf16 pay where tiles multiply bf16 sixteen times as fast as vectors multiply floats. The dot
    products of avx512_bf16 are only twice as fast: three of them take one and a half times as long as one of floats.
    """
    if PRODUCTS[precision] == 3 and instruction_set() not in ("amx", *emulated()):
        raise SettingError(
            f"precision 'bf16x3' needs tile registers (amx), and this process computes on {instruction_set()} (tiles "
            f"{tile_support()}); use 'f32', which is faster here and more exact"
        )


class PlannedNetwork:
    """A network described to an engine, with parameters going in and out by name."""

    def __init__(
        self,
        network: Network,
        threads: int | None,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = None,
        precision: str = "f32",
    ) -> None:
        """Describe the network; the optimiser is the one that `update` will apply."""
        require_precision(precision)
        self.network = network
        self.engine: Engine = kernels().Engine(instruction_set(), threads or 0, PRODUCTS[precision])
        self.number = {INPUT: self.engine.add_input(network.input_shape)}
        self.external: dict[int, Node] = {}
        self.composed: dict[str, Composed] = {}
        for node in network.nodes:
            self.number[node.name] = self.describe(node)
        rule = update_rule(optimizer)
        if rule is None:
            raise TypeError(f"the engine has no rule for {type(optimizer).__name__}")
        self.engine.finish(*rule, clip_norm or 0.0)
        for composed in self.composed.values():
            if composed.constant is not None:
                held = self.engine.parameter_index(composed.first, "weight")
                self.engine.set_parameter(held, VALUE, as_floats(composed.constant))
        self.parameters: list[tuple[str, str, Shape, int]] = []
        self.order: dict[int, Array] = {}  # of the parameters that the engine keeps in an order of its own
        for layer, specs in network.parameter_specs.items():
            for position, (name, spec) in enumerate(specs.items()):
                held = self.holder(layer, name, position)
                index = self.engine.parameter_index(held.node, held.name)
                self.parameters.append((layer, name, spec.shape, index))
                if held.order is not None:
                    self.order[index] = held.order
        self.statistics = [
            (node.name, name, self.engine.parameter_index(self.number[node.name], name))
            for node in network.nodes
            if type(node.layer) is layers.BatchNormalization
            for name in ("running_mean", "running_variance")
        ]
        self.known_statistics: dict[int, Array] = {}

    def describe(self, node: Node) -> int:
        """Hand one node to the engine."""
        inputs = [self.number[source] for source in node.inputs]
        shapes = self.network.input_shapes(node)
        number = add_native_layer(self.engine, node.layer, inputs, shapes)
        if number is not None:
            return number
        composed = add_composed(self.engine, node.layer, inputs, shapes)
        if composed is not None:
            self.composed[node.name] = composed
            return composed.last
        warn_if_slow(node.layer, shapes, self.network.shapes[node.name])
        specs = self.network.parameter_specs.get(node.name, {})
        sizes = [int(np.prod(spec.shape)) for spec in specs.values()]
        number = int(self.engine.add_external(inputs, self.network.shapes[node.name], sizes))
        self.external[number] = node
        return number

    def holder(self, layer: str, name: str, position: int) -> Held:
        """Return where the engine keeps a parameter."""
        if layer in self.composed:
            return self.composed[layer].parameters[name]
        number = self.number[layer]
        return Held(number, f"external{position}" if number in self.external else name)

    def set(self, index: int, which: int, array: Array) -> None:
        """Set one parameter, its gradient or a slot of the optimiser."""
        values = as_floats(array)
        if index in self.order:
            values = values.reshape(-1)[self.order[index]]
        self.engine.set_parameter(index, which, values)

    def get(self, index: int, which: int, shape: Shape) -> Array:
        """Return a copy of one parameter, its gradient or a slot of the optimiser."""
        array = np.empty(shape, np.float32)
        if index not in self.order:
            self.engine.get_parameter(index, which, array)
            return array
        values = np.empty(array.size, np.float32)
        self.engine.get_parameter(index, which, values)
        array.reshape(-1)[self.order[index]] = values
        return array

    def write(self, which: int, arrays: Mapping[str, Mapping[str, Array]]) -> None:
        """Set all parameters, gradients or one slot of the optimiser."""
        for layer, name, _, index in self.parameters:
            self.set(index, which, arrays[layer][name])

    def read(self, which: int) -> Parameters:
        """Return copies of all parameters, gradients or one slot of the optimiser."""
        arrays: Parameters = {}
        for layer, name, shape, index in self.parameters:
            arrays.setdefault(layer, {})[name] = self.get(index, which, shape)
        return arrays

    def write_state(self, state: Mapping[str, Mapping[str, Array]]) -> None:
        """Set the running statistics of the layers that keep them in the engine."""
        for layer, name, index in self.statistics:
            values = as_floats(state[layer][name])
            if index not in self.known_statistics or not np.array_equal(self.known_statistics[index], values):
                self.engine.set_parameter(index, VALUE, values)
                self.known_statistics[index] = values.copy()

    def read_state(self) -> Parameters:
        """Return copies of the running statistics."""
        state: Parameters = {}
        for layer, name, index in self.statistics:
            values = np.empty(self.network.shapes[layer][:1], np.float32)
            self.engine.get_parameter(index, VALUE, values)
            self.known_statistics[index] = values
            state.setdefault(layer, {})[name] = values.copy()
        return state

    def batch(self, x: Array) -> Array:
        """Return a batch as the engine takes it, or raise where tokens are not in the vocabulary."""
        for node in self.network.nodes:
            if isinstance(node.layer, layers.Embedding) and node.inputs == (INPUT,):
                node.layer.check_tokens(ReferenceBackend(), x)
        return as_floats(x)

    def check_batch(self, batch: int) -> None:
        """Raise where a batch is too small to have a variance."""
        for layer, _, _ in self.statistics:
            shape = self.network.shapes[layer]
            if batch * int(np.prod(shape[1:])) < 2:
                raise ShapeError(
                    f"{self.network[layer].label}: needs at least two values of every channel while training, got a "
                    f"batch of shape {(batch, *shape)}; use batches of two or more examples"
                )

    def read_external(self, node: Node) -> dict[str, Array]:
        """Return copies of the parameters of one external node."""
        arrays = {}
        for layer, name, shape, index in self.parameters:
            if layer == node.name:
                arrays[name] = np.empty(shape, np.float32)
                self.engine.get_parameter(index, VALUE, arrays[name])
        return arrays

    def value(self, name: str, batch: int) -> Array:
        """Return the output of a node, (N, *shape)."""
        array = np.empty((batch, *self.network.shapes[name]), np.float32)
        self.engine.read_value(self.number[name], array)
        return array

    def gradient(self, name: str, batch: int) -> Array:
        """Return the gradient of the loss with respect to a node's output; zeros where nothing reads it."""
        array = np.zeros((batch, *self.network.shapes[name]), np.float32)
        if self.engine.has_gradient(self.number[name]):
            self.engine.read_gradient(self.number[name], array)
        return array


class Run:
    """One pass through a planned network that has external nodes or keeps everything: the engine in pieces."""

    def __init__(
        self, planned: PlannedNetwork, mode: int, x: Array, key: RandomKey, training: bool, state: Parameters
    ) -> None:
        """Load the batch."""
        self.planned = planned
        self.engine = planned.engine
        self.batch = len(x)
        self.ops = ReferenceBackend()
        self.context = (training, key)
        self.state = state
        self.new_state: Parameters = {}
        self.saved: dict[int, Forward] = {}
        self.stages = self.engine.stages(mode, self.batch)
        self.engine.start(mode, x, key.seed, key.epoch, key.step, training)

    def forward(self) -> None:
        """Run every stage in order."""
        for first, last, number in pieces(self.stages):
            if number < 0:
                self.engine.run_forward(first, last)
                continue
            node = self.planned.external[number]
            inputs = tuple(self.planned.value(source, self.batch) for source in node.inputs)
            training, key = self.context
            context = Context(training, key, self.state.get(node.name, {}))
            # One thread, as everywhere on the reference: the same bits, and no second crew on the engine's processors.
            with self.ops.computing():
                result = node.layer.forward(self.ops, inputs, self.planned.read_external(node), context)
            self.saved[number] = result
            if result.state:
                self.new_state[node.name] = dict(result.state)
            self.engine.write_value(number, as_floats(result.output))

    def backward(self) -> None:
        """Run every stage in reverse; the gradient of the output has been set."""
        for first, last, number in reversed(list(pieces(self.stages))):
            if number < 0:
                self.engine.run_backward(first, last)
            elif self.engine.has_gradient(number):
                self.external_backward(number)

    def external_backward(self, number: int) -> None:
        """Run the backward pass of one reference layer."""
        node = self.planned.external[number]
        dy = self.planned.gradient(node.name, self.batch)
        parameters = self.planned.read_external(node)
        with self.ops.computing():
            result = node.layer.backward(self.ops, dy, self.saved[number].saved, parameters)
        for layer, name, _, index in self.planned.parameters:
            if layer == node.name:
                self.engine.set_parameter(index, GRADIENT, as_floats(result.dparameters[name]))
        dinputs: dict[str, Array] = {}
        for source, dx in zip(node.inputs, result.dinputs, strict=True):
            dinputs[source] = dinputs[source] + dx if source in dinputs else dx
        for source, dx in dinputs.items():
            if self.engine.has_gradient(self.planned.number[source]):
                self.engine.add_gradient(self.planned.number[source], number, as_floats(dx))


def pieces(stages: list[int]) -> Iterator[tuple[int, int, int]]:
    """Join neighbouring native stages: (first, last, -1), or (stage, stage + 1, node) for an external one."""
    first = 0
    for at, number in enumerate(stages):
        if number >= 0:
            if first < at:
                yield first, at, -1
            yield at, at + 1, number
            first = at + 1
    if first < len(stages):
        yield first, len(stages), -1


class NativeExecutor:
    """What `Program` runs forward passes and single training steps on."""

    def __init__(
        self, network: Network, loss: Objective, threads: int | None, precision: str = "f32"
    ) -> None:
        """Describe the network to an engine."""
        self.network = network
        self.loss = loss
        self.ops = ReferenceBackend()
        self.planned = PlannedNetwork(network, threads, precision=precision)
        self.lock = RLock()
        sizes = [int(np.prod(shape)) for _, _, shape, _ in self.planned.parameters]
        self.loaded = kernels().Remembered(sizes, threads or 0)

    def load(self, parameters: Parameters) -> None:
        """Hand over the parameters that have changed since the last call, by whatever route."""
        arrays = [parameters[layer][name] for layer, name, _, _ in self.planned.parameters]
        for position in self.loaded.changed(arrays):
            floats = as_floats(arrays[position])
            if floats is not arrays[position] and not self.differs(position, floats):
                continue  # of another type, but the same numbers
            self.planned.set(self.planned.parameters[position][3], VALUE, floats)
            self.loaded.remember(position, floats)

    def differs(self, position: int, floats: Array) -> bool:
        """Say whether a parameter that had to be converted holds other numbers than were handed over."""
        others: list[Any] = [None] * len(self.planned.parameters)
        others[position] = floats
        return position in self.loaded.changed(others)

    def forward(
        self, parameters: Parameters, x: Array, training: bool, key: RandomKey, state: Parameters, keep: bool
    ) -> Pass:
        """Compute the output, fused unless everything is to be kept."""
        batch = self.planned.batch(x)
        with self.lock:
            self.load(parameters)
            self.planned.write_state(state)
            if training:
                self.planned.check_batch(len(batch))
            if not (keep or training or self.planned.external):
                output = np.empty((len(batch), *self.network.output_shape), np.float32)
                self.planned.engine.predict(batch, output)
                return Pass(output, Kept({}, kept=False))
            run = Run(self.planned, INSPECT if keep or training else PREDICT, batch, key, training, state)
            run.forward()
            output = self.planned.value(self.network.output, len(batch))
            return Pass(output, self.values(len(batch)) if keep else Kept({}, kept=False))

    def train_step(
        self, parameters: Parameters, x: Array, target: Array, key: RandomKey, state: Parameters, keep: bool
    ) -> Step:
        """Compute loss, gradients and new state for one batch."""
        batch = self.planned.batch(x)
        with self.lock:
            self.load(parameters)
            self.planned.write_state(state)
            loss, output, new_state = run_step(
                self.planned, self.loss, batch, target, key, state, None, INSPECT if keep else TRAIN
            )
            values = self.values(len(batch)) if keep else Kept({}, kept=False)
            gradients = self.value_gradients(len(batch)) if keep else Kept({}, kept=False)
            new_state.update(self.planned.read_state())
            return Step(loss, output, self.planned.read(GRADIENT), new_state, values, gradients)

    def values(self, batch: int) -> Kept:
        """Return the outputs of all nodes."""
        return Kept({name: self.planned.value(name, batch) for name in self.network.shapes}, kept=True)

    def value_gradients(self, batch: int) -> Kept:
        """Return the gradients of all nodes' outputs."""
        return Kept({name: self.planned.gradient(name, batch) for name in self.network.shapes}, kept=True)


def run_step(
    planned: PlannedNetwork,
    loss: Objective,
    x: Array,
    target: Array,
    key: RandomKey,
    state: Parameters,
    rate: float | None,
    mode: int = TRAIN,
) -> tuple[float, Array, Parameters]:
    """Run forward and backward on one batch, and update if this is a session's step (mode TRAIN with a rate).

    Returns:
        The loss, the network's output and the layers' new state.
    """
    engine = planned.engine
    output_shape = planned.network.output_shape
    planned.check_batch(len(x))
    fused = fused_target(loss, target, output_shape)
    if fused and mode == TRAIN and not planned.external:
        labels, targets, weight = fused
        output = np.empty((len(x), *output_shape), np.float32)
        value, _ = engine.train_step(
            x, labels, targets, weight, key.seed, key.epoch, key.step, rate or 0.0, rate is not None, output
        )
        return value, output, {}
    run = Run(planned, mode, x, key, True, state)
    run.forward()
    output = planned.value(planned.network.output, len(x))
    if fused:
        value, _ = engine.run_loss(*fused)
    else:
        expected = run.ops.asarray(target, "int64" if target.dtype.kind in "iu" else "float32")
        value = loss.value(run.ops, output, expected)
        engine.start_backward(as_floats(loss.gradient(run.ops, output, expected)))
    run.backward()
    if rate is not None:
        engine.run_update(rate)
    return value, output, run.new_state


def fused_target(
    loss: Objective, target: Array, output_shape: Shape
) -> tuple[Array | None, Array | None, float] | None:
    """Return labels or targets and the weight of an example, for a loss that the engine computes itself."""
    if type(loss) is SoftmaxCrossEntropy and target.dtype.kind in "iu":  # soft targets go the general way
        return np.require(target, np.int64, ("C", "A")), None, loss.weight(target)
    if type(loss) is SquaredError:
        return None, as_floats(target), loss.weight(target)
    return None


class NativePredictor:
    """Forward passes with parameters that stay in the engine; for networks without external nodes."""

    def __init__(
        self,
        network: Network,
        threads: int | None,
        parameters: Parameters,
        state: Parameters,
        precision: str = "f32",
    ) -> None:
        """Load the parameters."""
        self.output_shape = network.output_shape
        self.planned = PlannedNetwork(network, threads, precision=precision)
        self.planned.write(VALUE, parameters)
        self.planned.write_state(state)

    def __call__(self, x: Array) -> Array:
        """Return the network's output for a batch."""
        output = np.empty((len(x), *self.output_shape), np.float32)
        self.planned.engine.predict(self.planned.batch(x), output)
        return output


class NativeSession:
    """A training session whose parameters live in the engine; a step is one call."""

    def __init__(
        self,
        network: Network,
        loss: Any,
        threads: int | None,
        parameters: Parameters,
        optimizer: Optimizer,
        optimizer_state: OptimizerState | None,
        state: Parameters,
        clip_norm: float | None,
        precision: str = "f32",
    ) -> None:
        """Start from the given parameters; the optimiser starts fresh unless its state is given."""
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.planned = PlannedNetwork(network, threads, optimizer, clip_norm, precision)
        self.planned.write(VALUE, parameters)
        self.planned.write_state(state)
        self.layer_state = state
        if optimizer_state is not None:
            self.planned.engine.update_count = optimizer_state.count
            for position, slot in enumerate(optimizer.used_slots()):
                self.planned.write(FIRST_SLOT + position, optimizer_state.slots[slot])

    @property
    def parameters(self) -> Parameters:
        """The parameters after the last step: copies."""
        return self.planned.read(VALUE)

    @property
    def optimizer_state(self) -> OptimizerState:
        """The optimiser's state after the last step: copies."""
        slots = {
            slot: self.planned.read(FIRST_SLOT + position)
            for position, slot in enumerate(self.optimizer.used_slots())
        }
        return OptimizerState(int(self.planned.engine.update_count), slots)

    @property
    def state(self) -> Parameters:
        """The layers' state after the last step."""
        return {**self.layer_state, **self.planned.read_state()}

    def step(self, x: Array, target: Array, key: RandomKey, learning_rate: float) -> StepResult:
        """Train on one batch in one call."""
        batch = self.planned.batch(x)
        expected = self.loss.target(target, self.network.output_shape)
        loss, output, new_state = run_step(
            self.planned, self.loss, batch, expected, key, self.layer_state, learning_rate
        )
        self.layer_state = {**self.layer_state, **new_state}
        return StepResult(loss, output)


def as_floats(array: Any) -> Array:
    """Return an aligned C-contiguous float32 array, the same one if it is that already."""
    if type(array) is np.ndarray and array.dtype == np.float32:
        flags = array.flags
        if flags.c_contiguous and flags.aligned:
            return array
    return np.require(array, np.float32, ("C", "A"))


# Multiply-adds and numbers that go through a reference layer for one example, from which on it is worth a word: about a
# millisecond. Small networks are fast enough either way.
MUCH_WORK = 2**20
_warned: set[str] = set()


def warn_if_slow(layer: Layer, input_shapes: tuple[Shape, ...], output_shape: Shape) -> None:
    """Say once for each kind of layer that it has no kernel, if it has much to do."""
    name = type(layer).__name__
    numbers = sum(int(np.prod(shape)) for shape in (*input_shapes, output_shape))
    if name in _warned or layer.multiply_adds(*input_shapes) + numbers < MUCH_WORK:
        return
    _warned.add(name)
    warnings.warn(
        f"{name} has no native kernel and runs on the reference backend inside the native program",
        SlowLayerWarning,
        stacklevel=2,
    )
