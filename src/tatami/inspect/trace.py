"""A trace: one forward and backward pass of which everything is kept, and every number explained.

>>> import numpy as np
>>> from tatami.data.sources import load
>>> from tatami.losses import SquaredError
>>> from tatami.models import ox
>>> network = ox()
>>> circle = np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]], float)
>>> kept = trace(network, network.initialize(), circle, target=0, loss=SquaredError("sum"))
>>> round(float(kept["pool1"].output[0, 0, 0]), 4), round(kept.loss_value, 4)
(0.982, 0.6367)
>>> print(kept.explain("conv1", (0, 1, 0)).text(most_terms=3))  # doctest: +ELLIPSIS
conv1[0,1,0] = 2 ...

An explanation names the entries that the number was made from; each can be followed to its own explanation:

>>> [reference.label() for reference in kept.explain("conv1", (0, 1, 0)).references][:2]
['conv1.weight[0,0,0,0]', 'input[0,1,0]']
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends import ReferenceBackend
from tatami.errors import DataError, SettingError, ShapeError, unknown_name
from tatami.inspect.explain import View, explain_update, explainer_of, loss_explainer_of
from tatami.inspect.explanation import (
    Derivation,
    Explanation,
    Index,
    Kind,
    Note,
    Reference,
    given_number,
    input_name,
)
from tatami.inspect.expression import Formula, Sum
from tatami.inspect.im2col_view import Im2colView
from tatami.inspect.notation import number_text
from tatami.inspect.window_matrices import window_matrix
from tatami.layers.base import Context
from tatami.losses import Loss, SoftmaxCrossEntropy
from tatami.network import INPUT, Network, Node, Parameters
from tatami.optimizers import Optimizer, OptimizerState
from tatami.program.layerwise import LayerwiseExecutor
from tatami.random import RandomKey

Array = NDArray[Any]
PRECISION = "float64"


@dataclass
class Record:
    """What a trace keeps of one layer, arrays with the examples as first axis."""

    node: Node
    context: Context
    inputs: tuple[Array, ...]
    output: Array
    saved: Mapping[str, Array]
    parameters: Mapping[str, Array]
    state: Mapping[str, Array] = field(default_factory=dict)
    gradient: Array | None = None
    dinputs: tuple[Array, ...] = ()
    dparameters: Mapping[str, Array] = field(default_factory=dict)
    inner: Mapping[str, Array] | None = None


@dataclass(frozen=True)
class TracedLayer:
    """The arrays of one layer, as people see them: without the axis of examples if the trace holds one.

    Attributes:
        name: of the layer.
        inputs: what went in, one array for each input.
        output: what came out.
        gradient: ∂E/∂output, None without a target.
        input_gradients: what the layer hands back to each of its inputs.
        parameters, dparameters: by name, and their gradients.
        saved: what forward kept for backward (masks, winners, …).
        state, new_state: what the layer carries from step to step (running statistics), before and after the pass.
    """

    name: str
    inputs: tuple[Array, ...]
    output: Array
    gradient: Array | None
    input_gradients: tuple[Array, ...]
    parameters: Mapping[str, Array]
    dparameters: Mapping[str, Array]
    saved: Mapping[str, Array]
    state: Mapping[str, Array] = field(default_factory=dict)
    new_state: Mapping[str, Array] = field(default_factory=dict)

    @property
    def input(self) -> Array:
        """The (first) input."""
        return self.inputs[0]


def trace(
    network: Network,
    params: Parameters,
    x: Array,
    target: Any = None,
    loss: Loss | None = None,
    *,
    training: bool = False,
    key: RandomKey | None = None,
    state: Parameters | None = None,
) -> "Trace":
    """Run one example (or a small batch) forward and, with a target, backward, and keep everything.

    The reference backend computes in float64, convolutions as the direct sum in the lecture's order, whatever backend
    and precision the network was trained with: a network trained in float32 is shown with its weights as they are, and
    its outputs differ from those of its own backend by that backend's rounding only.

    Args:
        network: what to run.
        params: layer → parameter → array.
        x: one example of the network's input shape, or a batch (N, …). With one example, in either form, indices
            leave the example out: (k, i, j). With several they begin with it: (n, k, i, j).
        target: class label or target of the example, or one for each of the batch; without it there is no loss and
            there are no gradients.
        loss: softmax cross-entropy by default.
        training: whether dropout drops and statistics are taken from the batch.
        key: seed, epoch and step from which random numbers are drawn.
        state: the layers' state (running statistics); the initial one by default.

    Raises:
        ShapeError: x or target of another shape.
        DataError: not numbers, or labels out of range.
    """
    network.check_parameters(params)
    batch, alone = examples_of(network, x)
    chosen = SoftmaxCrossEntropy() if loss is None else loss
    carried = {
        layer: {name: np.asarray(values, PRECISION) for name, values in named.items()}
        for layer, named in (network.initial_state(PRECISION) if state is None else state).items()
    }
    kept = Trace(network, params, batch, chosen, training, key or RandomKey(), carried)
    if target is not None:
        kept.run_backward(targets_of(network, chosen, target, len(batch), alone))
    return kept


def examples_of(network: Network, x: Array) -> tuple[Array, bool]:
    """Return x as a batch in float64, and whether it came as one example without the axis of examples."""
    values = np.asarray(x)
    if values.dtype.kind not in "buif":
        raise DataError(f"{network.name}: expected an array of numbers, got dtype {values.dtype}")
    alone = values.shape == network.input_shape
    batch = values[np.newaxis] if alone else values
    if batch.shape[1:] != network.input_shape or not len(batch):
        raise ShapeError(
            f"{network.name}: a trace takes one example of shape {network.input_shape} or a batch of them, "
            f"got {values.shape}"
        )
    return batch.astype(PRECISION), alone


def targets_of(network: Network, loss: Loss, target: Any, examples: int, alone: bool) -> Array:
    """Return the targets as the loss takes them, one for each example."""
    values = np.asarray(target)
    if values.ndim == 0 or (alone and (values.shape != (1,) or network.output_shape == (1,))):
        values = values[np.newaxis]
    checked = loss.target(values, network.output_shape)
    if len(checked) != examples:
        raise ShapeError(f"{network.name}: {examples} examples came with {len(checked)} targets")
    return checked


class Trace:
    """Every number of one pass. Build it with `trace`."""

    def __init__(
        self,
        network: Network,
        params: Parameters,
        batch: Array,
        loss: Loss,
        training: bool,
        key: RandomKey,
        state: Parameters,
    ) -> None:
        """Run the network forward and keep everything."""
        self.network = network
        self.loss = loss
        self.training = training
        self.ops = ReferenceBackend(form="direct")
        self.executor = LayerwiseExecutor(network, loss, self.ops, PRECISION)
        self.examples = len(batch)
        self.target: Array | None = None
        self.loss_value = float("nan")
        self.values: dict[str, Array] = {INPUT: batch}
        self.gradients: dict[str, Array] = {}
        self.records: dict[str, Record] = {}
        loaded = self.executor.load(params)
        with np.errstate(all="ignore"):
            for node in network.nodes:
                context = Context(training, key, state.get(node.name, {}))
                result = self.executor.run_layer(node, self.values, loaded, context)
                self.values[node.name] = np.asarray(result.output)
                self.records[node.name] = Record(
                    node=node,
                    context=context,
                    inputs=tuple(self.values[source] for source in node.inputs),
                    output=self.values[node.name],
                    saved=result.saved,
                    parameters=loaded.get(node.name, {}),
                    state=result.state,
                )

    def run_backward(self, target: Array) -> None:
        """Compute the loss and run the network backward, as the layerwise executor does."""
        kind = "int64" if target.dtype.kind in "iu" else PRECISION
        self.target = self.ops.asarray(target, kind)
        output = self.values[self.network.output]
        with np.errstate(all="ignore"):
            self.loss_value = self.loss.value(self.ops, output, self.target)
            dvalues = {self.network.output: self.loss.gradient(self.ops, output, self.target)}
            for node in reversed(self.network.nodes):
                record = self.records[node.name]
                record.gradient = dvalues[node.name]
                result = node.layer.backward(self.ops, record.gradient, record.saved, record.parameters)
                record.dinputs, record.dparameters = result.dinputs, result.dparameters
                for source, dx in zip(node.inputs, result.dinputs, strict=True):
                    dvalues[source] = dvalues[source] + dx if source in dvalues else dx
        self.gradients = dvalues

    def __repr__(self) -> str:
        """Say what was traced, and the loss if there is one."""
        several = "1 example" if self.examples == 1 else f"{self.examples} examples"
        loss = "" if self.target is None else f", loss {self.loss_value:.4g}"
        return f"<Trace of {self.network.name}: {several}{loss}; layers {', '.join(self.records)}>"

    def _repr_html_(self) -> str:
        """Show in a notebook what the trace holds: a row for each layer, with the range of its numbers."""
        names = ("layer", "class", "shape", "smallest", "mean", "largest")
        head = "".join(f'<th style="text-align:left">{name}</th>' for name in names)
        body = []
        for name in (INPUT, *self.records):
            values = self[name].output
            kind = "" if name == INPUT else type(self.records[name].node.layer).__name__
            shape = "×".join(map(str, values.shape))
            numbers = [number_text(float(of(values))) for of in (np.min, np.mean, np.max)]
            cells = "".join(
                f'<td style="text-align:left">{escape(word)}</td>' for word in (name, kind, shape)
            )
            cells += "".join(f'<td style="text-align:right">{escape(number)}</td>' for number in numbers)
            body.append(f"<tr>{cells}</tr>")
        return f"<p>{escape(repr(self))}</p><table><tr>{head}</tr>{''.join(body)}</table>"

    # ---- looking at arrays -----------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> TracedLayer:
        """Return the arrays of a layer; 'input' is the image."""
        if name == INPUT:
            image = self.shown(self.values[INPUT])
            gradient = self.gradients.get(INPUT)
            return TracedLayer(
                INPUT, (), image, None if gradient is None else self.shown(gradient), (), {}, {}, {}
            )
        record = self.record(name)
        return TracedLayer(
            name=name,
            inputs=tuple(self.shown(x) for x in record.inputs),
            output=self.shown(record.output),
            gradient=None if record.gradient is None else self.shown(record.gradient),
            input_gradients=tuple(self.shown(dx) for dx in record.dinputs),
            parameters=record.parameters,
            dparameters=record.dparameters,
            saved=record.saved,
            state=record.context.state,
            new_state=record.state,
        )

    def shown(self, array: Array) -> Array:
        """Return an array without the axis of examples if there is only one."""
        return array[0] if self.examples == 1 else array

    def record(self, name: str) -> Record:
        """Return what was kept of a layer; an unknown name gets a suggestion."""
        if name not in self.records:
            raise unknown_name(f"layer of {self.network.name}", name, [INPUT, *self.records])
        return self.records[name]

    def array(self, kind: Kind, layer: str, name: str) -> Array:
        """Return the whole array that an entry belongs to."""
        if kind == "value":
            return self.values[INPUT] if layer == INPUT else self.record(layer).output
        if kind == "loss":
            return np.asarray(self.loss_value)
        if kind == "target":
            assert self.target is not None
            return self.target
        if kind == "parameter":
            return self.record(layer).parameters[name]
        if kind == "saved":
            return np.asarray(self.record(layer).saved[name])
        if kind == "state":
            return np.asarray(self.record(layer).context.state[name])
        if kind == "new state":
            return np.asarray(self.record(layer).state[name])
        self.require_gradients()
        if kind == "gradient":
            return self.gradients[layer]
        if kind == "input gradient":
            return self.record(layer).dinputs[int(name)]
        if kind == "parameter gradient":
            return self.record(layer).dparameters[name]
        if kind == "inner gradient":
            return self.inner_gradients(layer)[name]
        raise SettingError(f"a trace holds no {kind}")

    def inner_gradients(self, layer: str) -> Mapping[str, Array]:
        """Return the gradients of the values inside a layer, by name."""
        record = self.record(layer)
        if record.inner is None:
            record.inner = explainer_of(record.node.layer).inner_gradients(self.view(layer))
        return record.inner

    def require_gradients(self) -> None:
        """Raise unless the trace was made with a target."""
        if self.target is None:
            raise SettingError(
                "there are no gradients without a target: trace(network, params, x, target=label)"
            )

    # ---- explanations ----------------------------------------------------------------------------------------

    def explain(self, name: str, index: Sequence[int] = ()) -> Explanation:
        """Explain an entry of a layer's output, or say what a parameter's or pixel's number is.

        Args:
            name: a layer such as 'conv1', 'input', a parameter such as 'conv1.weight', what forward saved, or what the
                layer carries on after the pass, such as 'batch_norm1.running_mean'.
            index: where, such as (k, i, j), or (n, k, i, j) in a batch.

        Raises:
            UnknownNameError: no such layer or parameter; the nearest name is suggested.
            ShapeError: no such entry; the shape is named.
        """
        layer, _, part = name.partition(".")
        if part in ("", "output"):
            return self.explanation_of(self.reference("value", layer, "", index))
        if part in self.record(layer).parameters:
            return self.explanation_of(self.reference("parameter", layer, part, index))
        if part in self.record(layer).saved:
            return self.explanation_of(self.reference("saved", layer, part, index))
        if part in self.record(layer).state:
            return self.explanation_of(self.reference("new state", layer, part, index))
        record = self.record(layer)
        known = ["output", *record.parameters, *record.saved, *record.state]
        raise unknown_name(f"part of {layer} to explain", part, known)

    def explain_gradient(self, name: str, index: Sequence[int] = ()) -> Explanation:
        """Explain an entry of a gradient of the loss.

        Args:
            name: 'conv1.weight' for a parameter, 'conv1.input' ('add1.input2') for what the layer hands back to an
                input, 'conv1' or 'conv1.output' for the gradient of its output, 'input' for that of the image,
                'lstm1.h' for that of a value inside a layer.
            index: where.
        """
        self.require_gradients()
        layer, _, part = name.partition(".")
        if part in ("", "output"):
            if layer != INPUT:
                self.record(layer)
            return self.explanation_of(self.reference("gradient", layer, "", index))
        record = self.record(layer)
        if part in record.dparameters:
            return self.explanation_of(self.reference("parameter gradient", layer, part, index))
        inputs = {input_name(str(number))[1:]: str(number) for number in range(len(record.dinputs))}
        if part in inputs:
            return self.explanation_of(self.reference("input gradient", layer, inputs[part], index))
        inner = self.inner_gradients(layer)
        if part in inner:
            return self.explanation_of(self.reference("inner gradient", layer, part, index))
        kind = f"part of {layer} with a gradient"
        raise unknown_name(kind, part, ["output", *inputs, *record.dparameters, *inner])

    def explain_loss(self) -> Explanation:
        """Explain the loss."""
        self.require_gradients()
        return self.explanation_of(Reference(self, "loss", "", "", (), "E"))

    def explain_update(
        self,
        optimizer: Optimizer,
        name: str,
        index: Sequence[int],
        state: OptimizerState | None = None,
        learning_rate: float | None = None,
    ) -> Explanation:
        """Explain how an optimiser moves one entry of a parameter, or what it remembers of it afterwards.

        Args:
            optimizer: with its settings.
            name: 'conv1.weight', or a slot of the optimiser such as 'conv1.weight.velocity'.
            index: where.
            state: what the optimiser remembers; its initial state by default.
            learning_rate: η of this step; by default the optimiser's own.
        """
        self.require_gradients()
        layer, _, path = name.partition(".")
        parameter, _, slot = path.partition(".")
        if parameter not in self.record(layer).parameters:
            raise unknown_name(f"parameter of {layer}", parameter, self.record(layer).parameters)
        update = Update(self, optimizer, state, learning_rate)
        entry = self.reference("parameter", layer, parameter, index)
        if not slot:
            return update.explanation_of(Reference(update, "updated", layer, parameter, entry.index, "w"))
        if slot not in update.state.slots:
            kind = f"number that {type(optimizer).__name__} remembers"
            raise unknown_name(kind, slot, list(update.state.slots))
        remembered = f"{slot} of {parameter}"
        return update.explanation_of(Reference(update, "new slot", layer, remembered, entry.index, "s"))

    def im2col(self, name: str, example: int = 0) -> Im2colView:
        """Return the matrix of a layer's windows: which window every row is, which tap every column, what comes out.

        Every layer that moves a window has one: convolutions of any rank, stride, dilation and groups, separable,
        locally connected and fixed filters, poolings; for a transposed convolution it holds the stamps.

        Raises:
            UnknownNameError, SettingError: no such layer or example, or a layer without a window.
        """
        record = self.record(name)
        if not 0 <= example < self.examples:
            raise SettingError(f"example must be from 0 to {self.examples - 1}, got {example}")
        return window_matrix(record.node.layer, self.view(name), example)

    def reference(self, kind: Kind, layer: str, name: str, index: Sequence[int]) -> Reference:
        """Refer to an entry, its index checked and, for one example, completed."""
        if kind == "value" and layer != INPUT:
            self.record(layer)
        array = self.array(kind, layer, name)
        entry = Reference(self, kind, layer, name, (0,) * array.ndim, "x")
        shape = array.shape
        places = tuple(index)
        if not all(isinstance(at, int | np.integer) and not isinstance(at, bool) for at in places):
            raise ShapeError(f"{entry.label().split('[')[0]}: an index is whole numbers, got {list(places)}")
        short = entry.has_example_axis() and self.examples == 1
        if short and len(places) == len(shape) - 1:
            places = (0, *places)
        inside = len(places) == len(shape) and all(
            -size <= at < size for at, size in zip(places, shape, strict=True)
        )
        if not inside:
            expected = shape[1:] if short else shape
            raise ShapeError(
                f"{entry.label().split('[')[0]} has shape {expected}, there is no entry {list(index)}"
                f"; indices count from 0"
            )
        full = tuple(int(at) % size for at, size in zip(places, shape, strict=True))
        return Reference(self, kind, layer, name, full, "x")

    def view(self, layer: str) -> View:
        """Return a layer as its explainer sees it."""
        return View(self, self.record(layer))

    def readers(self, name: str) -> list[tuple[str, int]]:
        """List which layers take a value, and as which of their inputs, in the order of the backward pass."""
        return [
            (node.name, number)
            for node in reversed(self.network.nodes)
            for number, source in enumerate(node.inputs)
            if source == name
        ]

    def explanation_of(self, reference: Reference) -> Explanation:
        """Explain an entry: find who made it, and let that class say how."""
        owner, derivation = self.derive(reference)
        if derivation is None:
            derivation = given_number(reference.value())
        return Explanation(reference, owner, derivation)

    def derive(self, reference: Reference) -> tuple[str, Derivation | None]:
        """Return the class that made an entry and its derivation; None for what came from outside."""
        kind, layer, index = reference.kind, reference.layer, reference.index
        if kind == "value" and layer != INPUT:
            view = self.view(layer)
            return class_of(view), explainer_of(view.layer).forward(view, index)
        if kind == "gradient":
            return self.derive_gradient(layer, index)
        if kind == "input gradient":
            view = self.view(layer)
            found = explainer_of(view.layer).input_gradient(view, int(reference.name), index)
            return class_of(view), found
        if kind == "parameter gradient":
            view = self.view(layer)
            found = explainer_of(view.layer).parameter_gradient(view, reference.name, index)
            return class_of(view), found
        if kind == "inner gradient":
            view = self.view(layer)
            return class_of(view), explainer_of(view.layer).inner_gradient(view, reference.name, index)
        if kind == "saved":
            view = self.view(layer)
            return class_of(view), explainer_of(view.layer).saved(view, reference.name, index)
        if kind == "new state":
            view = self.view(layer)
            return class_of(view), explainer_of(view.layer).new_state(view, reference.name, index)
        if kind == "loss":
            return type(self.loss).__name__, loss_explainer_of(self.loss).value(self)
        return "", None

    def derive_gradient(self, layer: str, index: Index) -> tuple[str, Derivation]:
        """Say how the gradient of a layer's output came about: from the loss, or from the layers that read it."""
        if layer == self.network.output:
            return type(self.loss).__name__, loss_explainer_of(self.loss).gradient(self, index)
        readers = self.readers(layer)
        if len(readers) == 1:
            (reader, number), *_ = readers
            view = self.view(reader)
            return class_of(view), explainer_of(view.layer).input_gradient(view, number, index)
        parts = tuple(
            Reference(self, "input gradient", reader, str(number), index, rf"\delta_{{{position}}}")
            for position, (reader, number) in enumerate(readers, start=1)
        )
        formula = Formula(r"\frac{\partial E}{\partial y} = \delta_{1} + \delta_{2} + \dots")
        return "Network", Derivation(formula, Sum(parts), exact=True, notes=(Note("several_readers"),))


def class_of(view: View) -> str:
    """Return the name of a layer's class."""
    return type(view.layer).__name__


class Update:
    """One step of an optimiser over a trace: where references find old slots and new parameters."""

    def __init__(
        self,
        kept: Trace,
        optimizer: Optimizer,
        state: OptimizerState | None,
        learning_rate: float | None,
    ) -> None:
        """Make the step."""
        self.trace = kept
        self.examples = kept.examples
        self.optimizer = optimizer
        self.learning_rate = float(optimizer.learning_rate if learning_rate is None else learning_rate)
        parameters = {
            name: dict(record.parameters) for name, record in kept.records.items() if record.parameters
        }
        gradients = {name: dict(kept.records[name].dparameters) for name in parameters}
        self.state = optimizer.initialize(parameters) if state is None else state
        step = (parameters, gradients, self.state, self.learning_rate)
        self.parameters, self.new_state = optimizer.update(*step)
        self.unbounded, _ = replace(optimizer, max_norm=None).update(*step)

    def array(self, kind: Kind, layer: str, name: str) -> Array:
        """Return an array of the step, or of the trace."""
        if kind == "updated":
            return self.parameters[layer][name]
        if kind in ("slot", "new slot"):
            slot, _, parameter = name.partition(" of ")
            return (self.state if kind == "slot" else self.new_state).slots[slot][layer][parameter]
        return self.trace.array(kind, layer, name)

    def explanation_of(self, reference: Reference) -> Explanation:
        """Explain a new parameter or slot; what the optimiser remembered before is given."""
        if reference.kind in ("updated", "new slot"):
            derivation = explain_update(self, reference)
            return Explanation(reference, type(self.optimizer).__name__, derivation)
        if reference.kind == "slot":
            return Explanation(reference, "", given_number(reference.value()))
        return self.trace.explanation_of(reference)
