"""Optimisers: how a parameter moves when its gradient is known.

Every optimiser is a frozen dataclass of settings. Its state goes in and comes out: plain nested dictionaries, slot →
layer → parameter → array, and the number of updates made. w is a parameter, g its gradient, η the learning rate.
``weight_decay`` λ adds λ·w to the gradient, that is ½λ|w|² to the loss (Qiita §6), except in AdamW, which takes it off
the weight directly. Biases are not decayed.

Two more remedies against over-fitting and one for calm belong to every optimiser, all off by default: the L1 penalty, a
bound on the norm of each unit's weights, and the running average of the weights.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tatami.description import Described, is_finite_number
from tatami.errors import SettingError, unknown_name

Parameters = dict[str, dict[str, NDArray[Any]]]
Slots = dict[str, NDArray[Any]]

AVERAGE = "average"


@dataclass
class OptimizerState:
    """What an optimiser remembers between updates: how many there were, and its slots for every parameter."""

    count: int
    slots: dict[str, Parameters]


@dataclass(frozen=True)
class Optimizer(Described, family="optimizer", abstract=True):
    """Base of the optimisers.

    Args:
        learning_rate: η, the step size; a schedule multiplies it.
        weight_decay: λ of the L2 penalty ½λ|w|² on weights.
        l1: λ₁ of the L1 penalty λ₁Σ|w|, which drives weights that are not needed to 0: λ₁·sign(w) is added to g.
        max_norm: after each step the weights of a unit (a row, a filter) are scaled back if their norm is larger
            (Srebro et al., 2005; Srivastava et al., 2014); None sets no bound.
        average: ρ of the running average a ← ρ·a + (1 - ρ)·w, kept in the slot 'average' and read with
            `averaged_parameters` (Polyak and Juditsky, 1992); None keeps none.

        rates: (layer, factor) pairs: those layers move with the factor times the learning rate, and not at all with 0
            (frozen: neither penalties nor bound touch them).

    Penalties and bound leave biases alone: every parameter whose name ends in 'bias'.
    """

    learning_rate: float = 0.01
    weight_decay: float = 0.0
    l1: float = field(default=0.0, kw_only=True)
    max_norm: float | None = field(default=None, kw_only=True)
    average: float | None = field(default=None, kw_only=True)
    rates: Sequence[Sequence[str | float]] = field(default=(), kw_only=True)
    slot_names: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check the settings that all optimisers share."""
        super().__post_init__()
        self.require("learning_rate", 0, np.inf)
        self.require("weight_decay", 0, np.inf)
        self.require("l1", 0, np.inf)
        if self.max_norm is not None:
            self.require_positive("max_norm")
        if self.average is not None:
            self.require("average", 0, 1)
        for pair in self.rates:
            if len(pair) != 2 or not isinstance(pair[0], str) or isinstance(pair[1], str) or pair[1] < 0:
                raise SettingError(
                    f"{type(self).__name__}: rates are pairs of a layer's name and a factor of at least 0, "
                    f"such as ('conv1', 0.1), got {pair!r}"
                )

    def require(self, setting: str, low: float, high: float) -> None:
        """Raise unless low ≤ setting < high."""
        value = getattr(self, setting)
        if not low <= value < high:
            upper = "" if high == np.inf else f" and below {high:g}"
            raise SettingError(
                f"{type(self).__name__}: {setting} must be a number of at least {low:g}{upper}, got {value!r}"
            )

    def require_positive(self, setting: str) -> None:
        """Raise unless setting > 0."""
        if not getattr(self, setting) > 0:
            raise SettingError(
                f"{type(self).__name__}: {setting} must be above 0, got {getattr(self, setting)!r}"
            )

    def used_slots(self) -> tuple[str, ...]:
        """Return the names of the slots that this setting needs."""
        return self.slot_names

    def initialize(self, parameters: Mapping[str, Mapping[str, NDArray[Any]]]) -> OptimizerState:
        """Return the state before the first update: all slots zero."""
        slots = {
            slot: {
                layer: {name: np.zeros_like(w) for name, w in named.items()}
                for layer, named in parameters.items()
            }
            for slot in (*self.used_slots(), *(() if self.average is None else (AVERAGE,)))
        }
        return OptimizerState(0, slots)

    def update(
        self,
        parameters: Parameters,
        gradients: Parameters,
        state: OptimizerState,
        learning_rate: float | None = None,
    ) -> tuple[Parameters, OptimizerState]:
        """Return the parameters after one step, and the new state. The arrays that come in are not changed.

        Args:
            parameters: layer → name → w.
            gradients: the same structure, g.
            state: from `initialize` or the last update.
            learning_rate: η of this step; by default the optimiser's own.
        """
        # A Python float: NumPy's own scalars would carry float32 arithmetic into float64.
        rate = float(self.learning_rate if learning_rate is None else learning_rate)
        count = state.count + 1
        new_parameters: Parameters = {}
        new_slots: dict[str, Parameters] = {slot: {} for slot in state.slots}
        factors = {str(layer): float(factor) for layer, factor in self.rates}
        for layer in factors:
            if layer not in parameters:
                raise unknown_name("layer with a rate of its own", layer, parameters)
        for layer, named in parameters.items():
            if factors.get(layer) == 0:
                new_parameters[layer] = named
                for slot in new_slots:
                    new_slots[slot][layer] = state.slots[slot][layer]
                continue
            own_rate = rate * factors.get(layer, 1.0)
            new_parameters[layer] = {}
            for slot in new_slots:
                new_slots[slot][layer] = {}
            for name, w in named.items():
                slots = {slot: state.slots[slot][layer][name] for slot in state.slots}
                g, decay = gradients[layer][name], 0.0
                if not name.endswith("bias"):
                    g, decay = (g + self.l1 * np.sign(w) if self.l1 else g), self.weight_decay
                w_new, slots_new = self.step(w, g, slots, own_rate, decay, count)
                if self.max_norm is not None and not name.endswith("bias"):
                    w_new = bounded_rows(w_new, self.max_norm)
                new_parameters[layer][name] = w_new.astype(w.dtype, copy=False)
                if self.average is not None:
                    slots_new[AVERAGE] = self.average * slots[AVERAGE] + (1 - self.average) * w_new
                for slot, values in slots_new.items():
                    new_slots[slot][layer][name] = values.astype(w.dtype, copy=False)
        return new_parameters, OptimizerState(count, new_slots)

    @abstractmethod
    def step(
        self, w: NDArray[Any], g: NDArray[Any], slots: Slots, rate: float, decay: float, count: int
    ) -> tuple[NDArray[Any], Slots]:
        """Return the new value of one parameter and its slots; ``count`` is 1 at the first update."""


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum α and Nesterov's look-ahead as settings.

    plain      w ← w - η·g
    momentum   v ← α·v - η·g,  w ← w + v                                  (Qiita §5 (3); Arai's program)
    Nesterov   v ← α·v - η·g,  w ← w + α·v - η·g

    The velocity holds the learning rate, as in the lectures; PyTorch keeps it outside, which is the same as
    long as η does not change. (Arai's program writes Beta = -0.2 for a momentum of +0.2.) Nesterov's form is the
    one of Sutskever et al. (2013), in the variables of the looked-ahead point, as in PyTorch and Keras.

    >>> w, g = {"dense1": {"weight": np.array([1.0])}}, {"dense1": {"weight": np.array([0.5])}}
    >>> optimizer = SGD(0.1, momentum=0.9)
    >>> state = optimizer.initialize(w)
    >>> for _ in range(2):
    ...     w, state = optimizer.update(w, g, state)
    >>> w["dense1"]["weight"].round(6)
    array([0.855])
    """

    momentum: float = 0.0
    nesterov: bool = False
    slot_names: ClassVar[tuple[str, ...]] = ("velocity",)

    def __post_init__(self) -> None:
        """Check the momentum."""
        super().__post_init__()
        self.require("momentum", 0, 1)
        if self.nesterov and self.momentum == 0:
            raise SettingError("SGD: nesterov needs a momentum above 0, such as momentum=0.9")

    def used_slots(self) -> tuple[str, ...]:
        """Return the velocity if there is momentum."""
        return self.slot_names if self.momentum else ()

    def step(
        self, w: NDArray[Any], g: NDArray[Any], slots: Slots, rate: float, decay: float, count: int
    ) -> tuple[NDArray[Any], Slots]:
        """Return w + v or its simpler and look-ahead forms."""
        g = g + decay * w if decay else g
        if not self.momentum:
            return w - rate * g, {}
        v = self.momentum * slots["velocity"] - rate * g
        if self.nesterov:
            return w + (self.momentum * v - rate * g), {"velocity": v}
        return w + v, {"velocity": v}


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """h ← h + g², w ← w - η·g / (√h + ε): parameters that moved much slow down.

    Source: Qiita §5 (3); Duchi et al. (2011). ε keeps the first steps finite and stands outside the
    root, as in PyTorch.
    """

    epsilon: float = 1e-10
    slot_names: ClassVar[tuple[str, ...]] = ("square_sum",)

    def __post_init__(self) -> None:
        """Check ε."""
        super().__post_init__()
        self.require_positive("epsilon")

    def step(
        self, w: NDArray[Any], g: NDArray[Any], slots: Slots, rate: float, decay: float, count: int
    ) -> tuple[NDArray[Any], Slots]:
        """Return w - η·g / (√h + ε)."""
        g = g + decay * w if decay else g
        h = slots["square_sum"] + g * g
        return w - rate * g / (np.sqrt(h) + self.epsilon), {"square_sum": h}


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """h ← ρ·h + (1 - ρ)·g², w ← w - η·g / (√h + ε): AdaGrad that forgets.

    Args:
        rho: ρ, how much of the old mean square is kept.

    Source: Qiita §5 (3); Tieleman and Hinton (2012). ε outside the root, as in PyTorch (Qiita has it inside).
    """

    rho: float = 0.99
    epsilon: float = 1e-8
    slot_names: ClassVar[tuple[str, ...]] = ("mean_square",)

    def __post_init__(self) -> None:
        """Check ρ and ε."""
        super().__post_init__()
        self.require("rho", 0, 1)
        self.require_positive("epsilon")

    def step(
        self, w: NDArray[Any], g: NDArray[Any], slots: Slots, rate: float, decay: float, count: int
    ) -> tuple[NDArray[Any], Slots]:
        """Return w - η·g / (√h + ε)."""
        g = g + decay * w if decay else g
        h = self.rho * slots["mean_square"] + (1 - self.rho) * (g * g)
        return w - rate * g / (np.sqrt(h) + self.epsilon), {"mean_square": h}


@dataclass(frozen=True)
class Adam(Optimizer):
    """Momentum and RMSProp together, both corrected for their start from zero.

    m ← β₁m + (1 - β₁)g,  v ← β₂v + (1 - β₂)g²,  w ← w - η·m̂ / (√v̂ + ε),  m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    Source: Kingma and Ba (2015); Qiita §5 (3), where the root and ε are lost in print.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    slot_names: ClassVar[tuple[str, ...]] = ("mean", "mean_square")

    def __post_init__(self) -> None:
        """Check β₁, β₂ and ε."""
        super().__post_init__()
        self.require("beta1", 0, 1)
        self.require("beta2", 0, 1)
        self.require_positive("epsilon")

    def step(
        self, w: NDArray[Any], g: NDArray[Any], slots: Slots, rate: float, decay: float, count: int
    ) -> tuple[NDArray[Any], Slots]:
        """Return w - η·m̂ / (√v̂ + ε)."""
        g = g + decay * w if decay else g
        m = self.beta1 * slots["mean"] + (1 - self.beta1) * g
        v = self.beta2 * slots["mean_square"] + (1 - self.beta2) * (g * g)
        m_hat = m / (1 - self.beta1**count)
        v_hat = v / (1 - self.beta2**count)
        return w - rate * m_hat / (np.sqrt(v_hat) + self.epsilon), {"mean": m, "mean_square": v}


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with the decay taken off the weight, not mixed into the gradient: w ← (1 - η·λ)·w - η·m̂ / (√v̂ + ε).

    Source: Loshchilov and Hutter (2019).
    """

    weight_decay: float = 0.01

    def step(
        self, w: NDArray[Any], g: NDArray[Any], slots: Slots, rate: float, decay: float, count: int
    ) -> tuple[NDArray[Any], Slots]:
        """Return Adam's step from the shrunken weight."""
        return super().step(w * (1 - rate * decay), g, slots, rate, 0.0, count)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adagrad": AdaGrad,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
}


def bounded_rows(w: NDArray[Any], largest_norm: float) -> NDArray[Any]:
    """Scale every row (the weights of one unit or filter) whose Euclidean norm is too large back to the bound.

    >>> bounded_rows(np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    array([[0.6, 0.8],
           [0.3, 0.4]])
    """
    if w.ndim < 2:
        return w
    norms = np.sqrt(np.sum(w * w, axis=tuple(range(1, w.ndim)), keepdims=True))
    return np.asarray(np.where(norms > largest_norm, w * (largest_norm / np.where(norms > 0, norms, 1)), w))


def averaged_parameters(optimizer: Optimizer, state: OptimizerState) -> Parameters:
    """Return the running average of the weights: a / (1 - ρᵗ), corrected for its start from zero as in Adam.

    >>> w, g = {"dense1": {"weight": np.array([1.0])}}, {"dense1": {"weight": np.array([1.0])}}
    >>> optimizer = SGD(0.5, average=0.5)
    >>> state = optimizer.initialize(w)
    >>> for _ in range(2):  # 1 -> 0.5 -> 0
    ...     w, state = optimizer.update(w, g, state)
    >>> averaged_parameters(optimizer, state)["dense1"]["weight"].round(6)
    array([0.166667])

    Raises:
        SettingError: the optimiser keeps no average, or has not made a step yet.
    """
    if optimizer.average is None or state.count == 0:
        raise SettingError(
            f"{type(optimizer).__name__}: there is no average of the weights; "
            f"set average, such as {type(optimizer).__name__}(average=0.999), and train"
        )
    correction = 1 - optimizer.average**state.count
    return {
        layer: {name: (a / correction).astype(a.dtype, copy=False) for name, a in named.items()}
        for layer, named in state.slots[AVERAGE].items()
    }


def gradient_norm(gradients: Mapping[str, Mapping[str, NDArray[Any]]]) -> float:
    """Return the Euclidean norm over all gradients together, summed in float64 in name order."""
    total = 0.0
    for layer in sorted(gradients):
        for name in sorted(gradients[layer]):
            g = gradients[layer][name].astype(np.float64, copy=False).reshape(-1)
            total += float(g @ g)
    return float(np.sqrt(total))


def clip_gradients(gradients: Parameters, largest_norm: float) -> Parameters:
    """Scale all gradients by largest_norm / norm if their common norm is larger (Pascanu et al., 2013).

    >>> clip_gradients({"dense1": {"weight": np.array([3.0, 4.0])}}, 1.0)["dense1"]["weight"]
    array([0.6, 0.8])
    """
    if not is_finite_number(largest_norm) or not largest_norm > 0:
        raise SettingError(f"gradient clipping: the largest norm must be above 0, got {largest_norm!r}")
    norm = gradient_norm(gradients)
    if norm <= largest_norm:
        return gradients
    scale = largest_norm / norm
    return {
        layer: {name: (g * scale).astype(g.dtype, copy=False) for name, g in named.items()}
        for layer, named in gradients.items()
    }
