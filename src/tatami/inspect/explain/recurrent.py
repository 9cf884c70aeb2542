"""Recurrent layers: every state is made from the input at its step and the state before, which can be followed back.

Gradients go the other way: that of a state is what its output sends down plus what the step behind it sends back. They
can be followed as the gradients of `h` (and an LSTM's `c`), of `a`, what drives the cell from the input, and of `r`,
what drives it from the state before.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.inspect.explain.activations import ulps
from tatami.inspect.explain.base import DELTA, LayerExplainer, View, explains
from tatami.inspect.explanation import Derivation, Index, Note
from tatami.inspect.expression import (
    Applied,
    Expression,
    Formula,
    Number,
    Product,
    Sum,
    difference,
    square,
)
from tatami.layers.cells import GRU, LSTM, RNN
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

    # ---- back through time ---------------------------------------------------------------------------------

    def inner_gradients(self, view: View) -> dict[str, NDArray[Any]]:
        """Walk back as the layer does, and keep the gradients of every step."""
        found: dict[str, NDArray[Any]] = {}
        for number, (prefix, backwards) in enumerate(view.layer.walks()):
            steps = self.walk_back(view, number, prefix, backwards)
            found |= {f"{prefix}{name}": np.stack(values) for name, values in steps.items()}
        return found

    def walk_back(
        self, view: View, number: int, prefix: str, backwards: bool
    ) -> dict[str, list[NDArray[Any]]]:
        """Return the gradients of the states, of a and of r for every step, by time."""
        layer, ops, saved = view.layer, view.ops, view.record.saved
        dy = view.dy_array[:, number * layer.units : (number + 1) * layer.units]
        state_weight = view.record.parameters[f"{prefix}state_weight"]
        time = view.input_array().shape[2]
        nothing = np.zeros((view.examples, layer.units))
        dstates: tuple[NDArray[Any], ...] = (nothing,) * layer.state_count
        order = list(range(time))[::-1] if backwards else list(range(time))
        steps: dict[str, dict[int, NDArray[Any]]] = {name: {} for name in self.inner_names()}
        for position in reversed(range(time)):
            t = order[position]
            here = np.array([[self.present(view, n, t)] for n in range(view.examples)])
            sent = layer.sent_down(ops, dy, saved.get("present"), t, position == time - 1)
            dstates = (dstates[0] + sent, *dstates[1:])
            through = tuple(np.where(here, dstate, nothing) for dstate in dstates)
            kept = {name: saved[f"{prefix}{name}"][t] for name in layer.saved_names()}
            steps["a"][t], steps["r"][t], dbefore = layer.step_gradient(ops, through, kept)
            steps["h"][t] = dstates[0]
            if "c" in steps:
                slope = kept["o"] * (1 - kept["squashed"] * kept["squashed"])
                steps["c"][t] = dstates[1] + through[0] * slope
            dbefore = (dbefore[0] + steps["r"][t] @ state_weight, *dbefore[1:])
            passed = zip(dbefore, dstates, strict=True)
            dbefore = tuple(before + np.where(here, nothing, dstate) for before, dstate in passed)
            cut = layer.truncate is not None and position % layer.truncate == 0
            dstates = (nothing,) * layer.state_count if cut else dbefore
        return {name: [values[t] for t in range(time)] for name, values in steps.items()}

    def inner_names(self) -> tuple[str, ...]:
        """Return the names of the values inside whose gradients are kept."""
        return ("h", "a", "r")

    def inner_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Explain the gradient of a state, or of what drives the cell."""
        prefix = "reverse_" if name.startswith("reverse_") else ""
        part, (t, n, row) = name.removeprefix(prefix), index
        if part in "ar" and not self.present(view, n, t):
            return Derivation(Formula("g = 0"), Number(0.0), exact=True, notes=(Note("masked"),))
        if part == "h":
            return self.state_gradient(view, prefix, t, n, row)
        if part == "c":
            return self.memory_gradient(view, prefix, t, n, row)
        if part == "r" and not self.scales_recurrent(view, row):
            formula = Formula(r"\frac{\partial E}{\partial r} = \frac{\partial E}{\partial a}")
            return Derivation(formula, view.inner(f"{prefix}a", index, "g"), exact=True)
        return self.drive_gradient(view, prefix, part, t, n, row)

    def scales_recurrent(self, view: View, row: int) -> bool:
        """Say whether the state's share of a row is scaled before it is added (GRU's proposal)."""
        return False

    def next_step(self, view: View, prefix: str, t: int) -> int | None:
        """Return the step that took h(t), or None if there is none or the gradient is cut between them."""
        time, backwards = view.input_array().shape[2], dict(view.layer.walks())[prefix]
        later = t - 1 if backwards else t + 1
        if not 0 <= later < time:
            return None
        position = time - 1 - later if backwards else later
        truncate = view.layer.truncate
        return None if truncate is not None and position % truncate == 0 else later

    def state_gradient(self, view: View, prefix: str, t: int, n: int, unit: int) -> Derivation:
        """Return what the output sends down plus what the next step sends back."""
        layer = view.layer
        time, walks = view.input_array().shape[2], [name for name, _ in layer.walks()]
        backwards = dict(layer.walks())[prefix]
        channel = walks.index(prefix) * layer.units + unit
        terms: list[Expression] = []
        if layer.outputs == "all" and self.present(view, n, t):
            terms.append(view.dy((n, channel, t)))
        elif layer.outputs == "last" and t == (0 if backwards else time - 1):
            terms.append(view.dy((n, channel)))
        later = self.next_step(view, prefix, t)
        if later is not None and not self.present(view, n, later):
            terms.append(view.inner(f"{prefix}h", (later, n, unit), "g"))
        elif later is not None:
            terms += self.past_the_matrix(view, prefix, (later, n, unit))
            terms += [
                Product(
                    (
                        view.parameter(f"{prefix}state_weight", (row, unit), "U"),
                        view.inner(f"{prefix}r", (later, n, row), r"g_{r}"),
                    )
                )
                for row in range(layer.gates * layer.units)
            ]
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial h(j,t)}} = {DELTA}(j,t) + \sum_{{k}} U(k,j) \cdot g_{{r}}(k,t+1)"
            + self.past_the_matrix_formula()
        )
        steps = Note("steps", {"t": t, "count": time}, places=("t",))
        return Derivation(formula, Sum(tuple(terms)), notes=(Note("back_in_time"), steps))

    def past_the_matrix(self, view: View, prefix: str, place: Index) -> list[Expression]:
        """Return what the next step sends back without going through U."""
        return []

    def past_the_matrix_formula(self) -> str:
        """Return how the formula writes it."""
        return ""

    def memory_gradient(self, view: View, prefix: str, t: int, n: int, unit: int) -> Derivation:
        """Explain the gradient of a memory cell."""
        raise NotImplementedError

    def drive_gradient(self, view: View, prefix: str, part: str, t: int, n: int, row: int) -> Derivation:
        """Explain the gradient of what drives the cell."""
        raise NotImplementedError

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return Σ W(k,i)·g(k,t) over the rows of every direction; a mask gets nothing."""
        if number == 1:
            formula = Formula(r"\frac{\partial E}{\partial x} = 0")
            return Derivation(formula, Number(0.0), exact=True, notes=(Note("no_quantity"),))
        n, i, t = index
        terms = tuple(
            Product(
                (
                    view.parameter(f"{prefix}input_weight", (row, i), "W"),
                    view.inner(f"{prefix}a", (t, n, row), r"g_{a}"),
                )
            )
            for prefix, _ in view.layer.walks()
            for row in range(view.layer.gates * view.layer.units)
        )
        formula = Formula(r"\frac{\partial E}{\partial x(i,t)} = \sum_{k} W(k,i) \cdot g_{a}(k,t)")
        return Derivation(formula, Sum(terms), notes=(Note("matrix_product"),))

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return the sum over the steps, at each of which the same weight is used."""
        prefix = "reverse_" if name.startswith("reverse_") else ""
        part = name.removeprefix(prefix)
        places = [(t, n) for t in range(view.input_array().shape[2]) for n in range(view.examples)]
        sign = r"\sum_{t} \sum_{n}"
        if part == "input_weight":
            row, i = index
            terms: tuple[Expression, ...] = tuple(
                Product((view.inner(f"{prefix}a", (t, n, row), r"g_{a}"), view.x((n, i, t))))
                for t, n in places
            )
            formula = Formula(
                rf"\frac{{\partial E}}{{\partial W(k,i)}} = {sign} g_{{a}}(t,n,k) \cdot x(n,i,t)"
            )
        elif part == "state_weight":
            row, j = index
            terms = tuple(
                Product(
                    (
                        view.inner(f"{prefix}r", (t, n, row), r"g_{r}"),
                        view.saved(f"{prefix}h_before", (t, n, j), "h"),
                    )
                )
                for t, n in places
            )
            formula = Formula(
                rf"\frac{{\partial E}}{{\partial U(k,j)}} = {sign} g_{{r}}(t,n,k) \cdot h(t-1,n,j)"
            )
        elif part == "bias":
            terms = tuple(view.inner(f"{prefix}a", (t, n, index[0]), r"g_{a}") for t, n in places)
            formula = Formula(rf"\frac{{\partial E}}{{\partial b(k)}} = {sign} g_{{a}}(t,n,k)")
        else:
            row = 2 * view.layer.units + index[0]
            terms = tuple(view.inner(f"{prefix}r", (t, n, row), r"g_{r}") for t, n in places)
            formula = Formula(rf"\frac{{\partial E}}{{\partial c(k)}} = {sign} g_{{r}}(t,n,k)")
        return Derivation(formula, Sum(terms), notes=(Note("every_step"),))


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

    def drive_gradient(self, view: View, prefix: str, part: str, t: int, n: int, row: int) -> Derivation:
        """Return f′·dh: tanh′ = 1 - h², ReLU′ = [h > 0]."""
        place = (t, n, row)
        h, dh = view.saved(f"{prefix}h", place, "h"), view.inner(f"{prefix}h", place, "g")
        if view.layer.activation == "tanh":
            slope: Expression = difference(Number(1.0), square(h))
            formula = Formula(
                r"\frac{\partial E}{\partial a} = g \cdot (1 - h^{2}), \quad g = \frac{\partial E}{\partial h}"
            )
        else:
            slope = Applied("[#1 > 0]", lambda value: float(value > 0), (h,), ulps=0)
            formula = Formula(
                r"\frac{\partial E}{\partial a} = g \cdot [h > 0], \quad g = \frac{\partial E}{\partial h}"
            )
        return Derivation(formula, Product((dh, slope)), exact=True)


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

    def inner_names(self) -> tuple[str, ...]:
        """The memory cell as well."""
        return ("h", "a", "r", "c")

    def memory_gradient(self, view: View, prefix: str, t: int, n: int, unit: int) -> Derivation:
        """Return g_h·o·(1 - s²) plus what the next step's forget gate lets back."""
        place = (t, n, unit)
        terms: list[Expression] = []
        later = self.next_step(view, prefix, t)
        if later is not None:
            after = view.inner(f"{prefix}c", (later, n, unit), "g")
            passes = self.present(view, n, later)
            forget = view.saved(f"{prefix}f", (later, n, unit), "f")
            terms.append(Product((after, forget)) if passes else after)
        if self.present(view, n, t):
            squash = view.saved(f"{prefix}squashed", place, "s")
            slope = Product((view.saved(f"{prefix}o", place, "o"), difference(Number(1.0), square(squash))))
            terms.append(Product((view.inner(f"{prefix}h", place, r"g_{h}"), slope)))
        formula = Formula(
            r"\frac{\partial E}{\partial c(t)} = \frac{\partial E}{\partial c(t+1)} \cdot f(t+1) + "
            r"\frac{\partial E}{\partial h(t)} \cdot o(t) \cdot (1 - s(t)^{2}), \quad s = \tanh(c)"
        )
        return Derivation(formula, Sum(tuple(terms)), notes=(Note("back_in_time"),))

    def drive_gradient(self, view: View, prefix: str, part: str, t: int, n: int, row: int) -> Derivation:
        """Return the gradient in front of a gate or of the proposal."""
        number, unit = divmod(row, view.layer.units)
        place, name = (t, n, unit), "ifgo"[number]
        gate = view.saved(f"{prefix}{name}", place, name)
        partner = {"i": ("g", "g"), "f": ("c_before", "c"), "g": ("i", "i"), "o": ("squashed", "s")}[name]
        inner = "h" if name == "o" else "c"
        factors = (
            view.inner(f"{prefix}{inner}", place, rf"g_{{{inner}}}"),
            view.saved(f"{prefix}{partner[0]}", place, partner[1]),
        )
        before = "(t-1)" if name == "f" else ""
        if name == "g":
            slope, sign = (difference(Number(1.0), square(gate)),), "(1 - g^{2})"
        else:
            slope, sign = (gate, difference(Number(1.0), gate)), rf"{name} \cdot (1 - {name})"  # type: ignore[assignment]
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial a_{{{name}}}}} = \frac{{\partial E}}{{\partial {inner}}} \cdot "
            rf"{partner[1]}{before} \cdot {sign}"
        )
        return Derivation(formula, Product((*factors, *slope)))


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

    def past_the_matrix(self, view: View, prefix: str, place: Index) -> list[Expression]:
        """Return what the update gate carries back: g_h·z."""
        return [Product((view.inner(f"{prefix}h", place, r"g_{h}"), view.saved(f"{prefix}z", place, "z")))]

    def past_the_matrix_formula(self) -> str:
        """Return how the formula writes it."""
        return r" + \frac{\partial E}{\partial h(j,t+1)} \cdot z(j,t+1)"

    def scales_recurrent(self, view: View, row: int) -> bool:
        """The rows of the proposal go through the reset gate."""
        return row >= 2 * int(view.layer.units)

    def drive_gradient(self, view: View, prefix: str, part: str, t: int, n: int, row: int) -> Derivation:
        """Return the gradient in front of a gate, of the proposal, or of the past behind the reset."""
        number, unit = divmod(row, view.layer.units)
        place, units = (t, n, unit), view.layer.units
        r, z = view.saved(f"{prefix}r", place, "r"), view.saved(f"{prefix}z", place, "z")
        proposal = view.inner(f"{prefix}a", (t, n, 2 * units + unit), r"g_{n}")
        if part == "r":
            formula = Formula(r"\frac{\partial E}{\partial p} = g_{n} \cdot r")
            return Derivation(formula, Product((proposal, r)), exact=True)
        dh = view.inner(f"{prefix}h", place, r"g_{h}")
        new = view.saved(f"{prefix}n", place, "n")
        if number == 2:
            formula = Formula(r"\frac{\partial E}{\partial a_{n}} = g_{h} \cdot (1 - z) \cdot (1 - n^{2})")
            slope = (difference(Number(1.0), z), difference(Number(1.0), square(new)))
            return Derivation(formula, Product((dh, *slope)))
        if number == 1:
            formula = Formula(
                r"\frac{\partial E}{\partial a_{z}} = g_{h} \cdot (h(t-1) - n) \cdot z \cdot (1 - z)"
            )
            step = difference(view.saved(f"{prefix}h_before", place, "h"), new)
            return Derivation(formula, Product((dh, step, z, difference(Number(1.0), z))))
        formula = Formula(r"\frac{\partial E}{\partial a_{r}} = g_{n} \cdot p \cdot r \cdot (1 - r)")
        past = view.saved(f"{prefix}past", place, "p")
        return Derivation(formula, Product((proposal, past, r, difference(Number(1.0), r))))
