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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Shape, check_positive
from tatami.initializers import Initializer, ParameterSpec, Xavier, Zeros
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters
from tatami.layers.smooth_activations import sigmoid
from tatami.random import RandomKey

Direction = Literal["forward", "reverse", "both"]
States = tuple[Array, ...]


@dataclass(frozen=True)
class GateBias(Initializer):
    """One number for each gate: the bias of an LSTM starts with an open forget gate.

    Args:
        values: for each gate, in the layer's order, what its units start from.

    >>> GateBias((0, 1)).draw(ParameterSpec((4,), Zeros()), "bias", RandomKey())
    array([0., 0., 1., 1.])

    Source: Gers, Schmidhuber, Cummins (2000); Jozefowicz, Zaremba, Sutskever (2015).
    """

    values: Sequence[float]

    def draw(self, spec: ParameterSpec, stream: str, key: RandomKey) -> NDArray[np.float64]:
        """Return each value as often as there are units."""
        if not self.values or spec.shape[0] % len(self.values):
            raise SettingError(
                f"{stream}: {len(self.values)} gates do not divide a bias of shape {spec.shape}"
            )
        return np.repeat(np.array(self.values, dtype=np.float64), spec.shape[0] // len(self.values))


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


@dataclass(frozen=True)
class RNN(Recurrent):
    """The simple recurrent network: h(t) = f(W_in x(t) + b + W_state h(t - 1)), f = tanh.

    Gradients pass one factor f′·W_state for each step back, so they fade or grow exponentially: what lies long ago is
    hardly learned.

    Args:
        units, outputs, direction, truncate, weight_initializer, bias_initializer: see `Recurrent`.
        activation: 'tanh' or 'relu'.

    >>> RNN(16).output_shape((8, 20)), RNN(16, "all", "both").output_shape((8, 20))
    ((16,), (32, 20))

    Source: DAY4, 'simple RNN'; Elman (1990). PyTorch's two biases add up to our one.
    """

    activation: Literal["tanh", "relu"] = "tanh"
    kind: ClassVar[str] = "rnn"

    def step(
        self, ops: Backend, driven: Array, recurrent: Array, states: States
    ) -> tuple[States, dict[str, Array]]:
        """Return h = f(driven + recurrent)."""
        a = driven + recurrent
        h = ops.xp.tanh(a) if self.activation == "tanh" else ops.xp.maximum(a, ops.xp.zeros_like(a))
        return (h,), {"h": h}

    def saved_names(self) -> tuple[str, ...]:
        """The new state is enough."""
        return ("h",)

    def step_gradient(
        self, ops: Backend, dstates: States, saved: Mapping[str, Array]
    ) -> tuple[Array, Array, States]:
        """Return the gradients of ``h = f(driven + recurrent)``: f′·dh for both; tanh′ = 1 - h², ReLU′ = [h > 0]."""
        (dh,), h = dstates, saved["h"]
        da = dh * (1 - h * h) if self.activation == "tanh" else dh * (h > 0)
        return da, da, (ops.xp.zeros_like(dh),)


@dataclass(frozen=True)
class LSTM(Recurrent):
    """Long short-term memory: a memory cell c that gates write to, erase and read. σ is the sigmoid.

    (i, f, g, o) = W_in x(t) + b + W_state h(t - 1), cut into four
    c(t) = σ(f)·c(t - 1) + σ(i)·tanh(g)          forget gate f, input gate i
    h(t) = σ(o)·tanh(c(t))                       output gate o

    Along c the gradient is only multiplied by the forget gate, so it can live for many steps.

    Args:
        units, outputs, direction, truncate, weight_initializer: see `Recurrent`.
        bias_initializer: zeros, but ones for the forget gate, so that the cell remembers at first.

    >>> LSTM(16).output_shape((8, 20))
    (16,)
    >>> LSTM(16).parameter_specs((8, 20))["input_weight"].shape
    (64, 8)

    Source: DAY4, 'LSTM'; Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000). Gates in
    PyTorch's order; its two biases add up to our one.
    """

    bias_initializer: Initializer = field(default_factory=lambda: GateBias((0.0, 1.0, 0.0, 0.0)))
    kind: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4
    state_count: ClassVar[int] = 2

    def step(
        self, ops: Backend, driven: Array, recurrent: Array, states: States
    ) -> tuple[States, dict[str, Array]]:
        """Return h and c."""
        a, units = driven + recurrent, self.units
        i, f, o = (sigmoid(ops, a[:, gate * units : (gate + 1) * units]) for gate in (0, 1, 3))
        g = ops.xp.tanh(a[:, 2 * units : 3 * units])
        c = f * states[1] + i * g
        squashed = ops.xp.tanh(c)
        kept = {"i": i, "f": f, "g": g, "o": o, "c_before": states[1], "squashed": squashed}
        return (o * squashed, c), kept

    def saved_names(self) -> tuple[str, ...]:
        """The four gates, the cell before, and tanh of the cell after."""
        return ("i", "f", "g", "o", "c_before", "squashed")

    def step_gradient(
        self, ops: Backend, dstates: States, saved: Mapping[str, Array]
    ) -> tuple[Array, Array, States]:
        """Return the gradients of ``c = f * c_before + i * g`` and ``h = o * tanh(c)``.

        do = dh·tanh(c), dc = dc + dh·o·(1 - tanh²(c)); then df = dc·c_before, di = dc·g, dg = dc·i and dc_before =
        dc·f. In front of the gates σ′ = σ·(1 - σ), tanh′ = 1 - tanh².
        """
        dh, dc = dstates
        i, f, g, o, squashed = (saved[name] for name in ("i", "f", "g", "o", "squashed"))
        do = dh * squashed
        dc = dc + dh * o * (1 - squashed * squashed)
        di, df, dg = dc * g, dc * saved["c_before"], dc * i
        parts = [di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)]
        da = ops.xp.concat(parts, axis=1)
        return da, da, (ops.xp.zeros_like(dh), dc * f)


@dataclass(frozen=True)
class GRU(Recurrent):
    """The gated recurrent unit: LSTM's idea with two gates and no separate cell.

    r(t) = σ(W_r x + b_r + U_r h)                reset gate: how much of the past the proposal sees
    z(t) = σ(W_z x + b_z + U_z h)                update gate: how much of the past stays
    n(t) = tanh(W_n x + b_n + r·(U_n h + c_n))   proposal
    h(t) = (1 - z)·n + z·h(t - 1)

    W is 'input_weight' and U 'state_weight', each with the rows of r, z and n one below the other.

    Args:
        units, outputs, direction, truncate, weight_initializer, bias_initializer: see `Recurrent`. The bias inside the
            reset is 'state_bias' c (units,).

    >>> GRU(16).output_shape((8, 20))
    (16,)

    Source: DAY4, 'GRU'; Cho et al. (2014). As in PyTorch and cuDNN the reset acts behind the matrix U_n (Cho: before
    it), and PyTorch's two biases of r and z add up to our one.
    """

    kind: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return input_weight, state_weight, bias and state_bias for each direction."""
        specs = super().parameter_specs(*input_shapes)
        for prefix, _ in self.walks():
            specs[f"{prefix}state_bias"] = ParameterSpec((self.units,), Zeros(), self.units, self.units)
        return specs

    def recurrent_input(
        self, ops: Backend, h: Array, state_weight: Array, parameters: LayerParameters, prefix: str
    ) -> Array:
        """Return U h, plus c in the rows of the proposal."""
        product = ops.matmul(h, state_weight.T)
        gates, proposal = product[:, : 2 * self.units], product[:, 2 * self.units :]
        return ops.xp.concat([gates, proposal + parameters[f"{prefix}state_bias"]], axis=1)

    def more_gradients(self, ops: Backend, drecurrent: Array, prefix: str) -> dict[str, Array]:
        """Return that of state_bias: the sum over the proposal's rows of drecurrent."""
        return {f"{prefix}state_bias": ops.xp.sum(drecurrent[:, 2 * self.units :], axis=0)}

    def step(
        self, ops: Backend, driven: Array, recurrent: Array, states: States
    ) -> tuple[States, dict[str, Array]]:
        """Return h."""
        units = self.units
        a = driven[:, : 2 * units] + recurrent[:, : 2 * units]
        r, z = sigmoid(ops, a[:, :units]), sigmoid(ops, a[:, units:])
        past = recurrent[:, 2 * units :]
        n = ops.xp.tanh(driven[:, 2 * units :] + r * past)
        kept = {"r": r, "z": z, "n": n, "past": past}
        return ((1 - z) * n + z * states[0],), kept

    def saved_names(self) -> tuple[str, ...]:
        """Both gates, the proposal, what the reset let through, and the state before."""
        return ("r", "z", "n", "past", "h_before")

    def step_gradient(
        self, ops: Backend, dstates: States, saved: Mapping[str, Array]
    ) -> tuple[Array, Array, States]:
        """Return the gradients of ``h = (1 - z) * n + z * h_before`` and ``n = tanh(driven + r * past)``.

        dz = dh·(h_before - n), dn = dh·(1 - z), dh_before = dh·z; behind the tanh dr = dn·past and dpast = dn·r.
        """
        (dh,) = dstates
        r, z, n, past, h_before = (saved[name] for name in self.saved_names())
        dn = dh * (1 - z) * (1 - n * n)
        dz = dh * (h_before - n) * z * (1 - z)
        dr = dn * past * r * (1 - r)
        ddriven = ops.xp.concat([dr, dz, dn], axis=1)
        drecurrent = ops.xp.concat([dr, dz, dn * r], axis=1)
        return ddriven, drecurrent, (dh * z,)


def in_order(time: int, backwards: bool) -> range:
    """Return the steps in the order of the walk."""
    return range(time - 1, -1, -1) if backwards else range(time)
