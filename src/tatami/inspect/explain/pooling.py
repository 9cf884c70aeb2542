"""Poolings: the maximum, the mean or the p-norm of a window."""

from itertools import product
from math import prod

import numpy as np

from tatami.geometry import Geometry
from tatami.inspect.explain.activations import winner_takes
from tatami.inspect.explain.base import DELTA, LayerExplainer, View, explains
from tatami.inspect.explain.windows import POSITIONS, members, windows_over
from tatami.inspect.explanation import Derivation, Index, Note, Reference
from tatami.inspect.expression import (
    Applied,
    Expression,
    Formula,
    Maximum,
    Named,
    Number,
    Product,
    Sum,
    difference,
    magnitude,
    power,
    quotient,
    sign_of,
)
from tatami.layers.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, L2Pool, LpPool, MaxPool
from tatami.layers.rare_pooling import AdaptiveMaxPool, MaxUnpool, StochasticPool

# NumPy adds up to so many neighbours one after the other, and more of them in pairs.
ADDED_IN_ORDER = 8


def entries_of_window(view: View, index: Index) -> list[Reference]:
    """Return the entries that a window sees, row by row, the padding left out."""
    n, c, *position = index
    return [
        view.x((n, c, *place)) for _, place in members(view.geometry, tuple(position)) if place is not None
    ]


def letters_of(view: View) -> str:
    """Return the letters of an output entry: c,i,j."""
    return ",".join(("c", *POSITIONS[view.geometry.rank]))


def adds_taps_in_order(view: View) -> bool:
    """Say whether the reference adds a window's taps in order: always but for a large window with a single output."""
    return prod(view.geometry.kernel) < ADDED_IN_ORDER or view.record.output.size > 1


def window_size(view: View, position: Index, count_padding: bool) -> int:
    """Return |P(i)|."""
    if count_padding:
        return prod(view.geometry.kernel)
    return sum(place is not None for _, place in members(view.geometry, position))


@explains(MaxPool)
class MaxPoolExplainer(LayerExplainer):
    """y(i) = max x(m) over the window; δ goes back to the winner."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the maximum."""
        formula = Formula(
            rf"y({letters_of(view)}) = \max_{{m \in P({','.join(POSITIONS[view.geometry.rank])})}} x(c,m)"
        )
        return Derivation(
            formula,
            Maximum(tuple(entries_of_window(view, index))),
            exact=True,
            notes=(Note("first_maximum"),),
        )

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return Σ [m won window i]·δ(i), tap after tap as the reference adds."""
        geometry, (n, c, *place) = view.geometry, index
        terms = []
        for tap, window in windows_over(geometry, tuple(place)):
            output = (n, c, *window)
            terms.append(Product((Number(self.share(view, output, tap)), view.dy(output))))
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,m)}} = \sum_{{i}} [m = \text{{place of the maximum of }} P(i)] "
            rf"\cdot {DELTA}(c,i)"
        )
        ties = view.layer.ties
        return Derivation(formula, Sum(tuple(terms)), exact=ties != "even", notes=(Note(f"ties_{ties}"),))

    def share(self, view: View, output: Index, tap: Index) -> float:
        """Return which share of a window's δ the entry under a tap gets."""
        geometry = view.geometry
        taps = list(geometry.taps())
        if view.layer.ties == "first":
            return float(view.record.saved["winner"][output] == taps.index(tap))
        n, c, *position = output
        x, largest = view.input_array(), view.record.output[output]
        held = {
            where: bool(x[(n, c, *place)] == largest)
            for where, place in members(geometry, tuple(position))
            if place is not None
        }
        if not held.get(tap):
            return 0.0
        return 1.0 if view.layer.ties == "all" else 1.0 / sum(held.values())


@explains(AveragePool)
class AveragePoolExplainer(LayerExplainer):
    """y(i) = 1/|P(i)| Σ x(m)."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the sum, divided."""
        size = window_size(view, index[2:], view.layer.count_padding)
        letters = ",".join(POSITIONS[view.geometry.rank])
        formula = Formula(
            rf"y({letters_of(view)}) = \frac{{1}}{{|P({letters})|}} \cdot \sum_{{m \in P({letters})}} x(c,m)"
        )
        expression = quotient(Sum(tuple(entries_of_window(view, index))), Number(size))
        return Derivation(formula, expression, exact=adds_taps_in_order(view))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return Σ δ(i)/|P(i)| over the windows that see the entry."""
        n, c, *place = index
        terms = tuple(
            quotient(view.dy((n, c, *window)), Number(window_size(view, window, view.layer.count_padding)))
            for _, window in windows_over(view.geometry, tuple(place))
        )
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,m)}} = \sum_{{i: m \in P(i)}} \frac{{{DELTA}(c,i)}}{{|P(i)|}}"
        )
        return Derivation(formula, Sum(terms), exact=True)


@explains(LpPool, L2Pool)
class LpPoolExplainer(LayerExplainer):
    """y(i) = (1/|P(i)| Σ |x(m)|^p)^(1/p), computed with the largest |x| taken out of the root."""

    def factor(self, view: View, position: Index) -> float:
        """Return 1/|P(i)|, or 1 for the plain norm."""
        return 1 / window_size(view, position, False) if view.layer.normalise else 1.0

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the p-norm."""
        p = float(view.layer.p)
        entries = entries_of_window(view, index)
        letters = ",".join(POSITIONS[view.geometry.rank])
        scale = rf"\frac{{1}}{{|P({letters})|}} \cdot " if view.layer.normalise else ""
        formula = Formula(
            rf"y({letters_of(view)}) = \left({scale}\sum_{{m \in P({letters})}} |x(c,m)|^{{p}}\right)^{{1/p}}"
        )
        notes = (Note("exponent", {"p": f"{p:g}"}), Note("largest_taken_out"))
        largest = Named("M", Maximum(tuple(entries), magnitudes=True))
        if largest.value() == 0:
            return Derivation(formula, Maximum(tuple(entries), magnitudes=True), exact=True, notes=notes)
        total = Sum(tuple(power(quotient(magnitude(entry), largest), Number(p)) for entry in entries))
        mean = Product((total, Number(self.factor(view, index[2:]))))
        return Derivation(formula, Product((largest, power(mean, Number(1 / p)))), notes=notes)

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return Σ δ(i)·sign(x)/|P(i)|·(|x|/y(i))^(p-1)."""
        n, c, *place = index
        p = float(view.layer.p)
        terms: list[Expression] = []
        for _, window in windows_over(view.geometry, tuple(place)):
            output = (n, c, *window)
            if view.y(output).value() > 0:
                ratio = power(quotient(magnitude(view.x(index)), view.y(output)), Number(p - 1))
                factor = Number(self.factor(view, window))
                terms.append(Product((view.dy(output), factor, sign_of(view.x(index)), ratio)))
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,m)}} = \sum_{{i: m \in P(i)}} {DELTA}(c,i) \cdot "
            + (r"\frac{1}{|P(i)|} \cdot " if view.layer.normalise else "")
            + r"\sign(x(c,m)) \cdot \left(\frac{|x(c,m)|}{y(c,i)}\right)^{p-1}"
        )
        return Derivation(formula, Sum(tuple(terms)), notes=(Note("exponent", {"p": f"{p:g}"}),))


@explains(GlobalAveragePool)
class GlobalAveragePoolExplainer(LayerExplainer):
    """y(c) = 1/(H·W) Σ x(c,i,j)."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the mean of the map."""
        size = view.input_array().shape[2:]
        entries = tuple(view.x((*index, *place)) for place in product(*map(range, size)))
        formula = Formula(
            rf"y(c) = \frac{{1}}{{n}} \cdot {sums_over(size)} x(c,{','.join(POSITIONS[len(size)])})"
        )
        return Derivation(formula, quotient(Sum(entries), Number(prod(size))))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ(c)/n."""
        formula = Formula(rf"\frac{{\partial E}}{{\partial x(c,i)}} = \frac{{{DELTA}(c)}}{{n}}")
        expression = quotient(view.dy(index[:2]), Number(prod(view.input_array().shape[2:])))
        return Derivation(formula, expression, exact=True)


def sums_over(size: Index) -> str:
    """Return the summation signs over a map."""
    return " ".join(rf"\sum_{{{letter}}}" for letter in POSITIONS[len(size)])


@explains(GlobalMaxPool)
class GlobalMaxPoolExplainer(LayerExplainer):
    """y(c) = max x(c,i,j)."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the maximum of the map."""
        size = view.input_array().shape[2:]
        entries = tuple(view.x((*index, *place)) for place in product(*map(range, size)))
        formula = Formula(
            rf"y(c) = \max_{{{','.join(POSITIONS[len(size)])}}} x(c,{','.join(POSITIONS[len(size)])})"
        )
        return Derivation(formula, Maximum(entries), exact=True, notes=(Note("first_maximum"),))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ if the entry won, else 0."""
        n, c, *place = index
        at = int(np.ravel_multi_index(tuple(place), view.input_array().shape[2:]))
        return winner_takes(view, (n, c), bool(view.record.saved["winner"][n, c] == at))


@explains(AdaptiveMaxPool)
class AdaptiveMaxPoolExplainer(LayerExplainer):
    """The maximum of a window whose bounds follow from the output size."""

    def windows(self, view: View) -> list[list[Index]]:
        """List for every window the places that it sees, row by row."""
        size = view.input_array().shape[2:]
        return [
            [tuple(place) for place in product(*(range(part.start, part.stop) for part in window[2:]))]
            for window in view.layer.windows(size)
        ]

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the maximum."""
        n, c, *position = index
        number = int(np.ravel_multi_index(tuple(position), view.record.output.shape[2:]))
        entries = tuple(view.x((n, c, *place)) for place in self.windows(view)[number])
        formula = Formula(r"y(c,i) = \max_{m \in P(i)} x(c,m)")
        return Derivation(formula, Maximum(entries), exact=True, notes=(Note("first_maximum"),))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return Σ [m won window i]·δ(i)."""
        n, c, *place = index
        shape = view.record.output.shape[2:]
        terms = []
        for window, places in enumerate(self.windows(view)):
            if tuple(place) in places:
                won = view.record.saved["winner"][n, c, window] == places.index(tuple(place))
                output = (n, c, *(int(at) for at in np.unravel_index(window, shape)))
                terms.append(Product((Number(float(won)), view.dy(output))))
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,m)}} = \sum_{{i}} [m = \text{{place of the maximum of }} P(i)] "
            rf"\cdot {DELTA}(c,i)"
        )
        return Derivation(formula, Sum(tuple(terms)), exact=True, notes=(Note("ties_first"),))


@explains(MaxUnpool)
class MaxUnpoolExplainer(LayerExplainer):
    """y(m) = Σ x(i) over the windows whose maximum stands at m."""

    def geometry(self, view: View) -> Geometry:
        """Return the pooling's geometry."""
        window: Geometry = view.layer.pool.window(view.input_array(1).shape[1:])
        return window

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the values whose switches point here."""
        n, c, *place = index
        geometry = self.geometry(view)
        taps = list(geometry.taps())
        terms = tuple(
            Product(
                (
                    Number(float(view.record.saved["winner"][(n, c, *window)] == taps.index(tap))),
                    view.x((n, c, *window)),
                )
            )
            for tap, window in windows_over(geometry, tuple(place))
        )
        formula = Formula(r"y(c,m) = \sum_{i} [m = \text{place of the maximum of } P(i)] \cdot x(c,i)")
        return Derivation(formula, Sum(terms), exact=True, notes=(Note("switches"),))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return δ at the switch's place; the input that only gives the switches gets nothing."""
        if number == 1:
            formula = Formula(r"\frac{\partial E}{\partial z} = 0")
            return Derivation(formula, Sum(()), exact=True, notes=(Note("switches_constant"),))
        n, c, *position = index
        places = [place for _, place in members(self.geometry(view), tuple(position))]
        place = places[int(view.record.saved["winner"][index])]
        assert place is not None
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,i)}} = {DELTA}(c,\text{{place of the maximum of }} P(i))"
        )
        return Derivation(formula, view.dy((n, c, *place)), exact=True, notes=(Note("switches"),))


@explains(StochasticPool)
class StochasticPoolExplainer(LayerExplainer):
    """While training a drawn entry of the window, at prediction Σ a²/Σ a, a = max(x, 0)."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the drawn entry, or the mean weighted by the probabilities."""
        n, c, *position = index
        if view.has_saved("chosen"):
            places = [place for _, place in members(view.geometry, tuple(position))]
            place = places[int(view.record.saved["chosen"][index])]
            formula = Formula(r"y(c,i) = \max(0, x(c,m)), \quad m \text{ drawn with } p(m) = a(m) / \sum a")
            inside: Expression = Number(0.0) if place is None else positive(view.x((n, c, *place)))
            return Derivation(formula, inside, exact=True, notes=(Note("drawn"),))
        entries = [positive(entry) for entry in entries_of_window(view, index)]
        total = Named("S", Sum(tuple(entries)))
        formula = Formula(r"y(c,i) = \sum_{m \in P(i)} \frac{a(m)}{S} \cdot a(m), \quad a = \max(0, x)")
        if total.value() == 0:
            return Derivation(formula, Sum(tuple(entries)), exact=True)
        return Derivation(formula, Sum(tuple(Product((quotient(a, total), a)) for a in entries)))

    def saved(self, view: View, name: str, index: Index) -> Derivation | None:
        """Explain the sum of a window."""
        if name != "total":
            return None
        entries = tuple(positive(entry) for entry in entries_of_window(view, index))
        return Derivation(Formula(r"S(c,i) = \sum_{m \in P(i)} a(m), \quad a = \max(0, x)"), Sum(entries))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return Σ [chosen]·δ(i), or at prediction Σ δ(i)/S(i)·(2a - y(i)); nothing for entries below 0."""
        n, c, *place = index
        taps, drawn = list(view.geometry.taps()), view.has_saved("chosen")
        terms: list[Expression] = []
        for tap, window in windows_over(view.geometry, tuple(place)):
            output = (n, c, *window)
            if drawn:
                won = view.record.saved["chosen"][output] == taps.index(tap)
                terms.append(Product((Number(float(won)), view.dy(output))))
            elif view.record.saved["total"][output] > 0:
                share = quotient(view.dy(output), view.saved("total", output, "S"))
                twice = Product((Number(2.0), positive(view.x(index))))
                terms.append(Product((share, difference(twice, view.y(output)))))
        inside = r"[m = \text{drawn place of } P(i)]" if drawn else r"\frac{2 \cdot a(c,m) - y(c,i)}{S(c,i)}"
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,m)}} = [x(c,m) > 0] \cdot \sum_{{i}} {inside} \cdot {DELTA}(c,i)"
        )
        above = Applied("[#1 > 0]", lambda x: float(x > 0), (view.x(index),), ulps=0)
        return Derivation(formula, Product((Sum(tuple(terms)), above)), exact=True)


def positive(entry: Reference) -> Applied:
    """Return max(0, x)."""
    return Applied(r"\max(0, #1)", lambda x: max(x, 0.0), (entry,), ulps=0)
