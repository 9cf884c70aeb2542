"""The cells of recurrent layers: one step in time and its gradient. RNN, LSTM and GRU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError
from tatami.geometry import Shape
from tatami.initializers import Initializer, ParameterSpec, Zeros
from tatami.layers.base import LayerParameters
from tatami.layers.recurrent import Recurrent, States
from tatami.layers.smooth_activations import sigmoid
from tatami.random import RandomKey


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
