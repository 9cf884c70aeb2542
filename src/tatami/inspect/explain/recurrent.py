"""Recurrent layers: every state is made from the input at its step and the state before, which can be followed back.

Gradients have the general form of the chain rule (`LayerExplainer`): the slope with which an entry acts on an output,
through all steps between them, times that output's gradient.
"""

from typing import Any

import numpy as np

from tatami.inspect.explain.activations import ulps
from tatami.inspect.explain.base import LayerExplainer, View, explains
from tatami.inspect.explanation import Derivation, Index, Note
from tatami.inspect.expression import (
    Applied,
    Expression,
    Formula,
    Number,
    Product,
    Sum,
    difference,
)
from tatami.layers.recurrent import GRU, LSTM, RNN
from tatami.layers.smooth_activations import sigmoid


class RecurrentExplainer(LayerExplainer):
    """The walk through time; a subclass explains one step."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the state at the entry's step, or at the end of the walk."""
        layer, (n, channel, *rest) = view.layer, index
        number, unit = divmod(channel, layer.units)
        prefix, backwards = layer.walks()[number]
        time = view.input_array().shape[2]
        if rest:
            (t,) = rest
            if not self.present(view, n, t):
                return Derivation(Formula("h(t) = 0"), Number(0.0), exact=True, notes=(Note("masked"),))
        else:
            t = 0 if backwards else time - 1
        return self.state(view, prefix, t, n, unit)

    def present(self, view: View, n: int, t: int) -> bool:
        """Say whether the sequence has a step at a time."""
        return not view.has_saved("present") or bool(view.record.saved["present"][t, n, 0])

    def state(self, view: View, prefix: str, t: int, n: int, unit: int) -> Derivation:
        """Return h(t) of one unit: carried on behind the end of a sequence, else what the cell makes."""
        if not self.present(view, n, t):
            before = view.saved(f"{prefix}h_before", (t, n, unit), "h")
            return Derivation(Formula("h(t) = h(t-1)"), before, exact=True, notes=(Note("masked"),))
        time = view.input_array().shape[2]
        found = self.cell(view, prefix, t, n, unit)
        steps = Note("steps", {"t": t, "count": time}, places=("t",))
        return Derivation(found.formula, found.expression, found.exact, (*found.notes, steps))

    def cell(self, view: View, prefix: str, t: int, n: int, unit: int) -> Derivation:
        """Return h(t) of one unit."""
        raise NotImplementedError

    def saved(self, view: View, name: str, index: Index) -> Derivation | None:
        """Explain the state before a step by the step before, and what the cell keeps."""
        prefix = "reverse_" if name.startswith("reverse_") else ""
        part = name.removeprefix(prefix)
        if part in ("sequence", "mask", "present"):
            return None
        t, n, unit = index
        backwards = dict(view.layer.walks())[prefix]
        earlier = t + 1 if backwards else t - 1
        first = not 0 <= earlier < view.input_array().shape[2]
        if part == "h_before":
            if first:
                return Derivation(Formula("h = 0"), Number(0.0), exact=True)
            return self.state(view, prefix, earlier, n, unit)
        if part == "c_before":
            if first:
                return Derivation(Formula("c = 0"), Number(0.0), exact=True)
            return self.memory(view, prefix, earlier, n, unit)
        return self.part(view, prefix, part, t, n, unit)

    def memory(self, view: View, prefix: str, t: int, n: int, unit: int) -> Derivation:
        """Return the memory cell c(t) of one unit."""
        raise NotImplementedError

    def part(self, view: View, prefix: str, part: str, t: int, n: int, unit: int) -> Derivation:
        """Return what the cell keeps under a name."""
        raise NotImplementedError

    def driven(self, view: View, prefix: str, t: int, n: int, row: int) -> tuple[Expression, ...]:
        """Return the terms of W_in x(t) + b in one row."""
        features = view.input_array().shape[1]
        return (
            *(
                Product((view.parameter(f"{prefix}input_weight", (row, i), "W"), view.x((n, i, t))))
                for i in range(features)
            ),
            view.parameter(f"{prefix}bias", (row,), "b"),
        )

    def recurrent(self, view: View, prefix: str, t: int, n: int, row: int) -> tuple[Expression, ...]:
        """Return the terms of W_state h(t - 1) in one row."""
        return tuple(
            Product(
                (
                    view.parameter(f"{prefix}state_weight", (row, j), "U"),
                    view.saved(f"{prefix}h_before", (t, n, j), "h"),
                )
            )
            for j in range(view.layer.units)
        )

    def gate(self, view: View, prefix: str, t: int, n: int, row: int, name: str = "sigmoid") -> Applied:
        """Return σ or tanh of everything that drives one row."""
        terms = (*self.driven(view, prefix, t, n, row), *self.recurrent(view, prefix, t, n, row))
        return squashed(view, Sum(terms), name)


def squashed(view: View, inside: Expression, name: str) -> Applied:
    """Return σ, tanh or ReLU of a node."""
    if name == "tanh":
        return Applied(r"\tanh(#1)", np.tanh, (inside,), ulps(False))
    if name == "relu":
        return Applied(r"\max(0, #1)", lambda a: max(a, 0.0), (inside,), ulps=0)

    def function(a: float) -> Any:
        return sigmoid(view.ops, np.array([a]))[0]

    return Applied(r"\sigma(#1)", function, (inside,), ulps(False))


GATE_SUM = r"\sum_{i} W(k,i) \cdot x(i,t) + b(k) + \sum_{j} U(k,j) \cdot h(j,t-1)"


@explains(RNN)
class RNNExplainer(RecurrentExplainer):
    """h(t) = f(W x(t) + b + U h(t - 1))."""

    def cell(self, view: View, prefix: str, t: int, n: int, unit: int) -> Derivation:
        """Return f of the sum."""
        name = r"\tanh" if view.layer.activation == "tanh" else r"\max"
        zero = "" if name == r"\tanh" else "0, "
        formula = Formula(rf"h(k,t) = {name}({zero}{GATE_SUM})")
        return Derivation(formula, self.gate(view, prefix, t, n, unit, view.layer.activation))

    def part(self, view: View, prefix: str, part: str, t: int, n: int, unit: int) -> Derivation:
        """Return the new state, which is kept under 'h'."""
        return self.cell(view, prefix, t, n, unit)


@explains(LSTM)
class LSTMExplainer(RecurrentExplainer):
    """c(t) = σ(f)·c(t-1) + σ(i)·tanh(g), h(t) = σ(o)·tanh(c(t))."""

    def cell(self, view: View, prefix: str, t: int, n: int, unit: int) -> Derivation:
        """Return o·tanh(c)."""
        place = (t, n, unit)
        factors = (view.saved(f"{prefix}o", place, "o"), view.saved(f"{prefix}squashed", place, "s"))
        formula = Formula(r"h(t) = o(t) \cdot s(t), \quad s(t) = \tanh(c(t))")
        return Derivation(formula, Product(factors), exact=True)

    def memory(self, view: View, prefix: str, t: int, n: int, unit: int) -> Derivation:
        """Return f·c(t-1) + i·g, or the cell before where the sequence has ended."""
        if not self.present(view, n, t):
            before = view.saved(f"{prefix}c_before", (t, n, unit), "c")
            return Derivation(Formula("c(t) = c(t-1)"), before, exact=True, notes=(Note("masked"),))
        formula = Formula(r"c(t) = f(t) \cdot c(t-1) + i(t) \cdot g(t)")
        return Derivation(formula, self.sum_of_memory(view, prefix, (t, n, unit)), exact=True)

    def sum_of_memory(self, view: View, prefix: str, place: Index) -> Sum:
        """Return f·c(t-1) + i·g."""
        pairs = (("f", "c_before", "c"), ("i", "g", "g"))
        return Sum(
            tuple(
                Product(
                    (view.saved(f"{prefix}{gate}", place, gate), view.saved(f"{prefix}{name}", place, letter))
                )
                for gate, name, letter in pairs
            )
        )

    def part(self, view: View, prefix: str, part: str, t: int, n: int, unit: int) -> Derivation:
        """Return a gate, the proposal, or tanh of the cell."""
        if part == "squashed":
            inside = self.sum_of_memory(view, prefix, (t, n, unit))
            formula = Formula(r"s(t) = \tanh(c(t)), \quad c(t) = f(t) \cdot c(t-1) + i(t) \cdot g(t)")
            return Derivation(formula, squashed(view, inside, "tanh"))
        row = "ifgo".index(part) * view.layer.units + unit
        function = "tanh" if part == "g" else "sigmoid"
        sign = r"\tanh" if part == "g" else r"\sigma"
        return Derivation(
            Formula(rf"{part}(k,t) = {sign}({GATE_SUM})"), self.gate(view, prefix, t, n, row, function)
        )


@explains(GRU)
class GRUExplainer(RecurrentExplainer):
    """h(t) = (1 - z)·n + z·h(t-1), n = tanh(W x + b + r·(U h(t-1) + c))."""

    def cell(self, view: View, prefix: str, t: int, n: int, unit: int) -> Derivation:
        """Return the mixture of the proposal and the past."""
        place = (t, n, unit)
        z = view.saved(f"{prefix}z", place, "z")
        terms = (
            Product((difference(Number(1.0), z), view.saved(f"{prefix}n", place, "n"))),
            Product((z, view.saved(f"{prefix}h_before", place, "h"))),
        )
        formula = Formula(r"h(t) = (1 - z(t)) \cdot n(t) + z(t) \cdot h(t-1)")
        return Derivation(formula, Sum(terms), exact=True)

    def part(self, view: View, prefix: str, part: str, t: int, n: int, unit: int) -> Derivation:
        """Return a gate, the proposal, or what the past says before the reset."""
        place, units = (t, n, unit), view.layer.units
        if part in "rz":
            row = "rz".index(part) * units + unit
            return Derivation(
                Formula(rf"{part}(k,t) = \sigma({GATE_SUM})"), self.gate(view, prefix, t, n, row)
            )
        row = 2 * units + unit
        if part == "past":
            terms = (
                *self.recurrent(view, prefix, t, n, row),
                view.parameter(f"{prefix}state_bias", (unit,), "c"),
            )
            return Derivation(Formula(r"p(k,t) = \sum_{j} U(k,j) \cdot h(j,t-1) + c(k)"), Sum(terms))
        past = Product((view.saved(f"{prefix}r", place, "r"), view.saved(f"{prefix}past", place, "p")))
        formula = Formula(r"n(k,t) = \tanh(\sum_{i} W(k,i) \cdot x(i,t) + b(k) + r(k,t) \cdot p(k,t))")
        return Derivation(formula, squashed(view, Sum((*self.driven(view, prefix, t, n, row), past)), "tanh"))
