"""Recurrent layers: a state is handed from one time step to the next. RNN, LSTM and GRU, with their way back in time.

Sequences are (features, time), like every map: channels first. At each step t of the sequence x

    driven(t) = W_in x(t) + b            for all steps in one matrix product
    recurrent(t) = W_state h(t - 1)      step by step
    h(t) = cell(driven(t), recurrent(t), h(t - 1), …)

Back-propagation through time visits the steps in the opposite order: the gradient of h(t) is what the output at t sends
down plus what step t + 1 sends back. A second input, the mask (time,), holds 1 where a sequence has a step and 0 behind
its end: there the state is carried on unchanged and the outputs are 0.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from tatami.backends.base import Array, Backend
from tatami.errors import ShapeError
from tatami.geometry import Shape, check_positive
from tatami.initializers import Initializer, ParameterSpec, Xavier, Zeros
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters

Direction = Literal["forward", "reverse", "both"]
States = tuple[Array, ...]


@dataclass(frozen=True)
class Recurrent(Layer, abstract=True):
    """Base of the recurrent layers: the walk through time. A subclass is a cell: one step and its gradient.

    Args:
        units: size of the state.
        outputs: 'last' gives the state at the end (units,), 'all' the state at every step (units, time).
        direction: 'forward' in time, 'reverse' (from the last step to the first; its 'last' is the state at the
            first), or 'both', whose outputs stand one behind the other: forward, then reverse.
        truncate: truncated back-propagation through time: gradients stop after every so many steps, counted in the
            direction of the walk; states are carried on. None goes all the way.
        weight_initializer: initial value of 'input_weight' (gates·units, features) and 'state_weight'
            (gates·units, units); Xavier by default.
        bias_initializer: initial value of 'bias' (gates·units,).

    The parameters of the second direction are called 'reverse_input_weight' and so on. Layers are stacked by putting
    one behind another: ``LSTM(32, "all"), LSTM(32)``.
    """

    units: int
    outputs: Literal["last", "all"] = "last"
    direction: Direction = "forward"
    truncate: int | None = None
    weight_initializer: Initializer = field(default_factory=Xavier)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "recurrent"
    gates: ClassVar[int] = 1
    state_count: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the number of steps that gradients go back."""
        super().__post_init__()
        if self.truncate is not None:
            check_positive((self.truncate,), "truncate", self.label)

    # ---- the cell ------------------------------------------------------------------------------------------

    @abstractmethod
    def step(
        self, ops: Backend, driven: Array, recurrent: Array, states: States
    ) -> tuple[States, dict[str, Array]]:
        """Return the new states, h first, and what the step's gradient needs."""

    @abstractmethod
    def step_gradient(
        self, ops: Backend, dstates: States, saved: Mapping[str, Array]
    ) -> tuple[Array, Array, States]:
        """Return ddriven, drecurrent, and the gradient of the old states except through ``recurrent``."""

    # ---- shapes and parameters -----------------------------------------------------------------------------

    def walks(self) -> tuple[tuple[str, bool], ...]:
        """List (prefix of the parameters, whether time runs backwards) of every direction."""
        if self.direction == "both":
            return (("", False), ("reverse_", True))
        return (("", self.direction == "reverse"),)

    def sequence_shape(self, input_shapes: tuple[Shape, ...]) -> Shape:
        """Return (features, time), or raise unless the inputs are a sequence and perhaps its mask."""
        if len(input_shapes) not in (1, 2):
            raise ShapeError(
                f"{self.label}: takes a sequence and perhaps its mask, got {len(input_shapes)} inputs"
            )
        shape = input_shapes[0]
        if len(shape) != 2:
            raise ShapeError(
                f"{self.label}: expected a sequence (features, time), got {shape}; use Reshape and Permute before it"
            )
        if len(input_shapes) == 2 and input_shapes[1] != shape[1:]:
            raise ShapeError(
                f"{self.label}: the mask of a sequence of shape {shape} has shape {shape[1:]}, got {input_shapes[1]}"
            )
        return shape

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (units,) or (units, time); twice the units for both directions."""
        shape = self.sequence_shape(input_shapes)
        check_positive((self.units,), "units", self.label)
        units = self.units * len(self.walks())
        return (units,) if self.outputs == "last" else (units, shape[1])

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return input_weight, state_weight and bias for each direction."""
        features = self.sequence_shape(input_shapes)[0]
        rows = self.gates * self.units
        specs = {}
        for prefix, _ in self.walks():
            fans = (features, self.units)
            specs[f"{prefix}input_weight"] = ParameterSpec((rows, features), self.weight_initializer, *fans)
            fans = (self.units, self.units)
            specs[f"{prefix}state_weight"] = ParameterSpec((rows, self.units), self.weight_initializer, *fans)
            specs[f"{prefix}bias"] = ParameterSpec((rows,), self.bias_initializer, *fans)
        return specs

    # ---- through time --------------------------------------------------------------------------------------

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Walk through the sequence in every direction."""
        sequence = ops.xp.permute_dims(inputs[0], (2, 0, 1))  # (time, N, features)
        saved: dict[str, Array] = {"sequence": sequence}
        if len(inputs) == 2:
            saved["mask"] = inputs[1]
            saved["present"] = ops.xp.expand_dims(inputs[1].T > 0.5, axis=2)  # (time, N, 1)
        outputs = []
        for prefix, backwards in self.walks():
            hidden = self.walk(ops, saved, parameters, prefix, backwards)
            outputs.append(self.selected(ops, hidden, saved.get("present"), backwards))
        return Forward(ops.xp.concat(outputs, axis=1), saved=saved)

    def walk(
        self, ops: Backend, saved: dict[str, Array], parameters: LayerParameters, prefix: str, backwards: bool
    ) -> Array:
        """Compute the states of all steps, save what the gradient needs, and return h: (time, N, units)."""
        sequence, present = saved["sequence"], saved.get("present")
        driven = ops.matmul(sequence, parameters[f"{prefix}input_weight"].T) + parameters[f"{prefix}bias"]
        state_weight = parameters[f"{prefix}state_weight"]
        time, examples = sequence.shape[:2]
        nothing = ops.xp.zeros((examples, self.units), dtype=sequence.dtype)
        states: States = (nothing,) * self.state_count
        steps: dict[int, dict[str, Array]] = {}
        hidden: dict[int, Array] = {}
        for t in in_order(time, backwards):
            recurrent = self.recurrent_input(ops, states[0], state_weight, parameters, prefix)
            new, kept = self.step(ops, driven[t], recurrent, states)
            steps[t] = {**kept, "h_before": states[0]}
            if present is not None:
                new = tuple(
                    ops.xp.where(present[t], after, before) for after, before in zip(new, states, strict=True)
                )
            states = new
            hidden[t] = states[0]
        for name in steps[0]:
            saved[f"{prefix}{name}"] = ops.xp.stack([steps[t][name] for t in range(time)])
        return ops.xp.stack([hidden[t] for t in range(time)])

    def recurrent_input(
        self, ops: Backend, h: Array, state_weight: Array, parameters: LayerParameters, prefix: str
    ) -> Array:
        """Return W_state h."""
        return ops.matmul(h, state_weight.T)

    def selected(self, ops: Backend, hidden: Array, present: Array | None, backwards: bool) -> Array:
        """Return the last state (N, units), or all (N, units, time) with zeros where a sequence has ended."""
        if self.outputs == "last":
            return hidden[0] if backwards else hidden[-1]
        if present is not None:
            hidden = ops.xp.where(present, hidden, ops.xp.zeros_like(hidden))
        return ops.xp.permute_dims(hidden, (1, 2, 0))

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``driven = x @ input_weight.T + bias`` and ``recurrent = h @ state_weight.T``.

        Every weight is used at every step, so its gradient is a sum over time: dinput_weight = Σ_t ddriven(t)ᵀ x(t),
        dstate_weight = Σ_t drecurrent(t)ᵀ h(t - 1), dbias = Σ_t ddriven(t).
        """
        sequence = saved["sequence"]
        gradients: dict[str, Array] = {}
        dsequence = ops.xp.zeros_like(sequence)
        for number, (prefix, backwards) in enumerate(self.walks()):
            mine = dy[:, number * self.units : (number + 1) * self.units]
            ddriven, drecurrent = self.walk_back(ops, mine, saved, parameters, prefix, backwards)
            rows = ops.xp.reshape(ddriven, (-1, ddriven.shape[2]))
            gradients[f"{prefix}input_weight"] = ops.matmul(
                rows.T, ops.xp.reshape(sequence, (-1, sequence.shape[2]))
            )
            h_before = ops.xp.reshape(saved[f"{prefix}h_before"], (-1, self.units))
            drecurrent = ops.xp.reshape(drecurrent, rows.shape)
            gradients[f"{prefix}state_weight"] = ops.matmul(drecurrent.T, h_before)
            gradients[f"{prefix}bias"] = ops.xp.sum(rows, axis=0)
            gradients |= self.more_gradients(ops, drecurrent, prefix)
            dsequence = dsequence + ops.matmul(ddriven, parameters[f"{prefix}input_weight"])
        dinputs: tuple[Array, ...] = (ops.xp.permute_dims(dsequence, (1, 2, 0)),)
        if "mask" in saved:
            dinputs += (ops.xp.zeros_like(saved["mask"]),)
        return Backward(dinputs, gradients)

    def more_gradients(self, ops: Backend, drecurrent: Array, prefix: str) -> dict[str, Array]:
        """Return the gradients of parameters that only this cell has."""
        return {}

    def walk_back(
        self,
        ops: Backend,
        dy: Array,
        saved: Mapping[str, Array],
        parameters: LayerParameters,
        prefix: str,
        backwards: bool,
    ) -> tuple[Array, Array]:
        """Return ddriven and drecurrent of all steps, (time, N, gates·units): back-propagation through time.

        dh(t) = dy(t) + what step t + 1 returned. Through the cell it becomes ddriven(t), drecurrent(t) and the gradient
        of the states before, to which drecurrent(t) W_state is added. Behind a sequence's end the state was only
        carried on, h(t) = h(t - 1), so dh passes through.
        """
        sequence, present = saved["sequence"], saved.get("present")
        time, examples = sequence.shape[:2]
        state_weight = parameters[f"{prefix}state_weight"]
        nothing = ops.xp.zeros((examples, self.units), dtype=dy.dtype)
        dstates: States = (nothing,) * self.state_count
        order = list(in_order(time, backwards))
        ddriven: dict[int, Array] = {}
        drecurrent: dict[int, Array] = {}
        for position in reversed(range(time)):
            t = order[position]
            dstates = (dstates[0] + self.sent_down(ops, dy, present, t, position == time - 1), *dstates[1:])
            through = dstates
            if present is not None:
                through = tuple(ops.xp.where(present[t], dstate, nothing) for dstate in dstates)
            kept = {name: saved[f"{prefix}{name}"][t] for name in self.saved_names()}
            ddriven[t], drecurrent[t], dbefore = self.step_gradient(ops, through, kept)
            dbefore = (dbefore[0] + ops.matmul(drecurrent[t], state_weight), *dbefore[1:])
            if present is not None:
                dbefore = tuple(
                    before + ops.xp.where(present[t], nothing, dstate)
                    for before, dstate in zip(dbefore, dstates, strict=True)
                )
            cut = self.truncate is not None and position % self.truncate == 0
            dstates = (nothing,) * self.state_count if cut else dbefore
        return (
            ops.xp.stack([ddriven[t] for t in range(time)]),
            ops.xp.stack([drecurrent[t] for t in range(time)]),
        )

    def sent_down(self, ops: Backend, dy: Array, present: Array | None, t: int, is_last: bool) -> Array:
        """Return the gradient that the output sends to h at one step.

        Behind its end a sequence carries its state on, so 'last' is the walk's last step for all of them.
        """
        if self.outputs == "last":
            return dy if is_last else ops.xp.zeros_like(dy)
        at_t = dy[:, :, t]
        return at_t if present is None else ops.xp.where(present[t], at_t, ops.xp.zeros_like(at_t))

    @abstractmethod
    def saved_names(self) -> tuple[str, ...]:
        """Return the names under which `step` keeps what `step_gradient` needs."""

    # ---- in words ------------------------------------------------------------------------------------------

    def sees_everything(self) -> bool:
        """The state may remember every step (in 'forward' direction, every step so far)."""
        return True

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return time · gates·units · (features + units) for each direction."""
        features, time = self.sequence_shape(input_shapes)
        return len(self.walks()) * time * self.gates * self.units * (features + self.units)

    def settings(self) -> str:
        """Return units and what differs from the defaults."""
        parts = [f"{self.units} units", f"{self.outputs} outputs"]
        if self.direction != "forward":
            parts.append(self.direction if self.direction == "reverse" else "both directions")
        if self.truncate is not None:
            parts.append(f"gradients cut every {self.truncate} steps")
        return ", ".join(parts)


def in_order(time: int, backwards: bool) -> range:
    """Return the steps in the order of the walk."""
    return range(time - 1, -1, -1) if backwards else range(time)
