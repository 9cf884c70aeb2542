"""The convolutions: sums of filter times window, and the two sums of their gradients."""

from collections.abc import Callable
from itertools import product
from typing import Any

from numpy.typing import NDArray

from tatami.geometry import Geometry
from tatami.inspect.explain.base import DELTA, LayerExplainer, View, explains
from tatami.inspect.explain.windows import (
    POSITIONS,
    TAPS,
    members,
    seen_by,
    seen_places,
    sums,
    windows_over,
)
from tatami.inspect.explanation import Derivation, Index, Note, Reference
from tatami.inspect.expression import Expression, Formula, Padding, Product, Sum
from tatami.layers.convolution import Convolution
from tatami.layers.locally_connected import LocallyConnected
from tatami.layers.separable import SeparableConvolution
from tatami.layers.table import TableConvolution
from tatami.layers.transposed import TransposedConvolution

Refer = Callable[[Index], Expression]
IN_ORDER = (Note("order_channels_taps"),)


def filter_letters(geometry: Geometry) -> str:
    """Return the letters of a filter's entry: k,c,μ,ν."""
    return ",".join(("k", "c", *TAPS[geometry.rank]))


def map_letters(geometry: Geometry) -> str:
    """Return the letters of a map's entry: k,i,j."""
    return ",".join(("k", *POSITIONS[geometry.rank]))


def channels_of(geometry: Geometry, k: int) -> list[tuple[int, int]]:
    """List (input channel, channel of the weight) of the channels that filter k sees: those of its group."""
    channels = geometry.channels // geometry.groups
    first = k // (geometry.filters // geometry.groups) * channels
    return [(first + number, number) for number in range(channels)]


def filters_of(geometry: Geometry, c: int) -> list[tuple[int, int]]:
    """List (filter, channel of its weight) of the filters that see input channel c."""
    channels, filters = geometry.channels // geometry.groups, geometry.filters // geometry.groups
    group, number = divmod(c, channels)
    return [(k, number) for k in range(group * filters, (group + 1) * filters)]


def correlation(geometry: Geometry, index: Index, weight: Refer, x: Refer) -> tuple[Expression, ...]:
    """Return the terms F(k,c,μ)·x(c,s·i+d·μ-p) of one output, in the order c, μ, ν."""
    n, k, *position = index
    terms = []
    for c, number in channels_of(geometry, k):
        for tap, place in members(geometry, tuple(position)):
            seen = Padding() if place is None else x((n, c, *place))
            terms.append(Product((weight((k, number, *tap)), seen)))
    return tuple(terms)


def transposed_correlation(
    geometry: Geometry, index: Index, weight: Refer, dy: Refer
) -> tuple[Expression, ...]:
    """Return the terms F(k,c,μ)·δ(k,i) of one input, in the order k, μ, ν: what every output that saw it hands back."""
    n, c, *place = index
    return tuple(
        Product((weight((k, number, *tap)), dy((n, k, *window))))
        for k, number in filters_of(geometry, c)
        for tap, window in windows_over(geometry, tuple(place))
    )


def weight_correlation(
    geometry: Geometry, examples: int, index: Index, x: Refer, dy: Refer
) -> tuple[Expression, ...]:
    """Return the terms δ(k,i)·x(c,s·i+d·μ-p) of one weight, over examples and positions."""
    k, number, *tap = index
    c = dict((weight_channel, channel) for channel, weight_channel in channels_of(geometry, k))[number]
    terms = []
    for n in range(examples):
        for position in product(*map(range, geometry.output_size)):
            place = seen_by(geometry, position, tuple(tap))
            seen = Padding() if place is None else x((n, c, *place))
            terms.append(Product((dy((n, k, *position)), seen)))
    return tuple(terms)


def bias_terms(view: View, channel: int) -> tuple[Expression, ...]:
    """Return the gradients of all outputs of a channel, over examples and positions."""
    shape = view.record.output.shape
    return tuple(
        view.dy((n, channel, *position))
        for n in range(shape[0])
        for position in product(*map(range, shape[2:]))
    )


def bias_formula(rank: int) -> Formula:
    """Return ∂E/∂b(k) = Σ δ(k,i,j)."""
    letters = POSITIONS[rank]
    return Formula(
        rf"\frac{{\partial E}}{{\partial b(k)}} = \sum_{{n}} {sums(letters)} {DELTA}(n,k,{','.join(letters)})"
    )


@explains(Convolution)
class ConvolutionExplainer(LayerExplainer):
    """u_conv(k,i,j) = Σ_c Σ_μ Σ_ν F(k,c,μ,ν) x(c,i+μ-1,j+ν-1) + b(k), indices from 1. Arai §3.2, §3.3."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the direct sum, bit for bit in the reference's order."""
        geometry = view.geometry
        terms = correlation(geometry, index, self.weight(view), view.x)
        if view.layer.bias:
            terms = (*terms, view.parameter("bias", (index[1],), "b"))
        return Derivation(self.formula(view), Sum(terms), exact=True, notes=IN_ORDER)

    def formula(self, view: View) -> Formula:
        """Return the sum in letters, in both countings."""
        geometry = view.geometry
        left = rf"u_{{\text{{conv}}}}({map_letters(geometry)})"
        taps = sums(("c", *TAPS[geometry.rank]))
        bias = " + b(k)" if view.layer.bias else ""
        forms = [
            rf"{left} = {taps} F({filter_letters(geometry)}) \cdot x(c,{seen_places(geometry, one_based)}){bias}"
            for one_based in (False, True)
        ]
        return Formula(*forms)

    def weight(self, view: View) -> Refer:
        """Return how a weight is referred to."""
        return lambda entry: view.parameter("weight", entry, "F")

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return the full correlation with the turned filter, bit for bit."""
        geometry = view.geometry
        terms = transposed_correlation(geometry, index, self.weight(view), view.dy)
        places = ",".join("pq" if geometry.rank == 2 else "opq"[-geometry.rank :])
        taps = TAPS[geometry.rank]
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,{places})}} = {sums(('k', *taps))} "
            rf"F({filter_letters(geometry)}) \cdot {DELTA}({map_letters(geometry)})"
            rf"\quad [{equal_places(geometry, False)}]",
            rf"\frac{{\partial E}}{{\partial x(c,{places})}} = {sums(('k', *taps))} "
            rf"F({filter_letters(geometry)}) \cdot {DELTA}({map_letters(geometry)})"
            rf"\quad [{equal_places(geometry, True)}]",
        )
        return Derivation(
            formula, Sum(terms), exact=True, notes=(Note("handed_back"), Note("order_filters_taps"))
        )

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return Σ δ·x for a weight, Σ δ for a bias."""
        geometry = view.geometry
        if name == "bias":
            return Derivation(bias_formula(geometry.rank), Sum(bias_terms(view, index[0])))
        terms = weight_correlation(geometry, view.examples, index, view.x, view.dy)
        letters = POSITIONS[geometry.rank]
        forms = [
            rf"\frac{{\partial E}}{{\partial F({filter_letters(geometry)})}} = \sum_{{n}} {sums(letters)} "
            rf"{DELTA}(n,{map_letters(geometry)}) \cdot x(n,c,{seen_places(geometry, one_based)})"
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Sum(terms))


def equal_places(geometry: Geometry, one_based: bool) -> str:
    """Return the condition under which a window's tap sees input (p, q): i+μ=p, j+ν=q."""
    names = "opq"[-geometry.rank :]
    places = seen_places(geometry, one_based).split(",")
    return ", ".join(f"{place} = {name}" for place, name in zip(places, names, strict=True))


@explains(TableConvolution)
class TableConvolutionExplainer(ConvolutionExplainer):
    """A convolution that sums over the channels of its table only."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the sum over the connections of the filter, bit for bit: the others add zeros."""
        geometry, (n, k, *position) = view.geometry, index
        terms: list[Expression] = []
        for number, (filter_number, c) in enumerate(view.layer.connections()):
            if filter_number != k:
                continue
            for tap, place in members(geometry, tuple(position)):
                seen = Padding() if place is None else view.x((n, c, *place))
                terms.append(Product((view.parameter("weight", (number, *tap), "F"), seen)))
        # The reference adds in the order of the channels, so a table that is not sorted adds in another.
        row = view.layer.table[k]
        if view.layer.bias:
            terms.append(view.parameter("bias", (k,), "b"))
        in_order = tuple(row) == tuple(sorted(row))
        return Derivation(self.formula(view), Sum(tuple(terms)), exact=in_order, notes=(Note("table"),))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return what every filter that is connected to the channel hands back."""
        geometry, (n, c, *place) = view.geometry, index
        terms = tuple(
            Product((view.parameter("weight", (connection, *tap), "F"), view.dy((n, k, *window))))
            for connection, (k, channel) in enumerate(view.layer.connections())
            if channel == c
            for tap, window in windows_over(geometry, tuple(place))
        )
        formula = super().input_gradient(view, number, index).formula
        return Derivation(formula, Sum(terms), exact=True, notes=(Note("table"),))

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return Σ δ·x of the connection."""
        if name == "bias":
            return super().parameter_gradient(view, name, index)
        connection, *tap = index
        k, c = view.layer.connections()[connection]
        full = super().parameter_gradient(view, name, (k, c, *tap))
        return Derivation(full.formula, full.expression, notes=(Note("table"),))


@explains(LocallyConnected)
class LocallyConnectedExplainer(LayerExplainer):
    """A convolution with another filter at every position."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the sum with the position's own filter."""
        geometry, position = view.geometry, index[2:]

        def weight(entry: Index) -> Reference:
            return view.parameter("weight", (*entry, *position), "F")

        terms = correlation(geometry, index, weight, view.x)
        if view.layer.bias:
            terms = (*terms, view.parameter("bias", index[1:], "b"))
        letters = ",".join(POSITIONS[geometry.rank])
        forms = [
            rf"u(k,{letters}) = {sums(('c', *TAPS[geometry.rank]))} F({filter_letters(geometry)},{letters}) "
            rf"\cdot x(c,{seen_places(geometry, one_based)})"
            + (f" + b(k,{letters})" if view.layer.bias else "")
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Sum(terms))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return what every position that saw the input hands back."""
        geometry, (n, c, *place) = view.geometry, index
        terms = tuple(
            Product((view.parameter("weight", (k, c, *tap, *window), "F"), view.dy((n, k, *window))))
            for tap, window in windows_over(geometry, tuple(place))
            for k in range(geometry.filters)
        )
        letters = ",".join(POSITIONS[geometry.rank])
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,{','.join('opq'[-geometry.rank :])})}} = "
            rf"{sums(('k', *TAPS[geometry.rank]))} F({filter_letters(geometry)},{letters}) \cdot {DELTA}(k,{letters})"
        )
        return Derivation(formula, Sum(terms), notes=(Note("handed_back"),))

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return δ·x at the weight's own position, over the examples."""
        geometry = view.geometry
        letters = ",".join(POSITIONS[geometry.rank])
        if name == "bias":
            terms: tuple[Expression, ...] = tuple(view.dy((n, *index)) for n in range(view.examples))
            formula = Formula(
                rf"\frac{{\partial E}}{{\partial b(k,{letters})}} = \sum_{{n}} {DELTA}(n,k,{letters})"
            )
            return Derivation(formula, Sum(terms))
        k, c = index[:2]
        tap, position = index[2 : 2 + geometry.rank], index[2 + geometry.rank :]
        place = seen_by(geometry, position, tap)
        terms = tuple(
            Product((view.dy((n, k, *position)), Padding() if place is None else view.x((n, c, *place))))
            for n in range(view.examples)
        )
        forms = [
            rf"\frac{{\partial E}}{{\partial F({filter_letters(geometry)},{letters})}} = \sum_{{n}} "
            rf"{DELTA}(n,k,{letters}) \cdot x(n,c,{seen_places(geometry, one_based)})"
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Sum(terms))


@explains(SeparableConvolution)
class SeparableConvolutionExplainer(LayerExplainer):
    """Depthwise, then pointwise; the maps between the two can be followed as `v`."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the pointwise sum over the maps in between, bit for bit."""
        n, k, *position = index
        channels = view.record.saved["v"].shape[1]
        ones = (0,) * len(position)
        terms: tuple[Expression, ...] = tuple(
            Product(
                (
                    view.parameter("pointwise_weight", (k, c, *ones), "P"),
                    view.saved("v", (n, c, *position), "v"),
                )
            )
            for c in range(channels)
        )
        if view.layer.bias:
            terms = (*terms, view.parameter("bias", (k,), "b"))
        letters = ",".join(POSITIONS[len(position)])
        formula = Formula(
            rf"u(k,{letters}) = \sum_{{c}} P(k,c) \cdot v(c,{letters})"
            + (" + b(k)" if view.layer.bias else "")
        )
        return Derivation(formula, Sum(terms), exact=True)

    def saved(self, view: View, name: str, index: Index) -> Derivation | None:
        """Return the depthwise sum of an entry of v, bit for bit."""
        if name != "v":
            return None
        geometry = view.geometry
        terms = correlation(
            geometry, index, lambda entry: view.parameter("depthwise_weight", entry, "D"), view.x
        )
        letters, taps = ",".join(POSITIONS[geometry.rank]), TAPS[geometry.rank]
        forms = [
            rf"v(c,{letters}) = {sums(taps)} D(c,{','.join(taps)}) \cdot x(c,{seen_places(geometry, one_based)})"
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Sum(terms), exact=True)

    def inner_gradients(self, view: View) -> dict[str, NDArray[Any]]:
        """Return the gradient of v, the maps between the two steps."""
        pointwise = view.layer.pointwise(view.geometry)
        weight = view.record.parameters["pointwise_weight"]
        return {"v": view.ops.correlate_input_gradient(view.dy_array, weight, pointwise)}

    def inner_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return Σ_k P(k,c) δ(k,i,j), bit for bit."""
        pointwise = view.layer.pointwise(view.geometry)
        terms = transposed_correlation(
            pointwise, index, lambda entry: view.parameter("pointwise_weight", entry, "P"), view.dy
        )
        letters = ",".join(POSITIONS[pointwise.rank])
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial v(c,{letters})}} = \sum_{{k}} P(k,c) \cdot {DELTA}(k,{letters})"
        )
        return Derivation(formula, Sum(terms), exact=True)

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return what every entry of v that saw the input hands back, bit for bit."""
        geometry = view.geometry
        terms = transposed_correlation(
            geometry,
            index,
            lambda entry: view.parameter("depthwise_weight", entry, "D"),
            lambda entry: view.inner("v", entry, "g"),
        )
        taps = TAPS[geometry.rank]
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,m)}} = {sums(taps)} D(c,{','.join(taps)}) \cdot "
            rf"g(c,{','.join(POSITIONS[geometry.rank])}), \quad g = \frac{{\partial E}}{{\partial v}}"
        )
        return Derivation(formula, Sum(terms), exact=True, notes=(Note("handed_back"),))

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return Σ g·x for the depthwise, Σ δ·v for the pointwise weight, Σ δ for the bias."""
        geometry = view.geometry
        if name == "bias":
            return Derivation(bias_formula(geometry.rank), Sum(bias_terms(view, index[0])))
        letters = POSITIONS[geometry.rank]
        if name == "pointwise_weight":
            terms = weight_correlation(
                view.layer.pointwise(geometry),
                view.examples,
                index,
                lambda entry: view.saved("v", entry, "v"),
                view.dy,
            )
            formula = Formula(
                rf"\frac{{\partial E}}{{\partial P(k,c)}} = \sum_{{n}} {sums(letters)} "
                rf"{DELTA}(n,k,{','.join(letters)}) \cdot v(n,c,{','.join(letters)})"
            )
            return Derivation(formula, Sum(terms))
        terms = weight_correlation(
            geometry, view.examples, index, view.x, lambda entry: view.inner("v", entry, "g")
        )
        taps = TAPS[geometry.rank]
        forms = [
            rf"\frac{{\partial E}}{{\partial D(c,{','.join(taps)})}} = \sum_{{n}} {sums(letters)} "
            rf"g(n,c,{','.join(letters)}) \cdot x(n,c,{seen_places(geometry, one_based)}), "
            r"\quad g = \frac{\partial E}{\partial v}"
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Sum(terms))


@explains(TransposedConvolution)
class TransposedConvolutionExplainer(LayerExplainer):
    """Stamps: the input gradient of the mirrored convolution, with x in δ's place."""

    def geometry(self, view: View) -> Geometry:
        """Return the geometry of the mirrored convolution."""
        mirrored: Geometry = view.layer.mirrored(view.input_array().shape[1:])
        return mirrored

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the sum of the stamps that reach an output, bit for bit."""
        geometry = self.geometry(view)
        terms = transposed_correlation(
            geometry, index, lambda entry: view.parameter("weight", entry, "F"), view.x
        )
        if view.layer.bias:
            terms = (*terms, view.parameter("bias", (index[1],), "b"))
        names, taps = ",".join("opq"[-geometry.rank :]), TAPS[geometry.rank]
        forms = [
            rf"y(k,{names}) = {sums(('c', *taps))} F(c,k,{','.join(taps)}) \cdot "
            rf"x(c,{','.join(POSITIONS[geometry.rank])})"
            + (" + b(k)" if view.layer.bias else "")
            + rf"\quad [{equal_places(geometry, one_based)}]"
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Sum(terms), exact=True, notes=(Note("stamps"),))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return the convolution of δ, bit for bit."""
        geometry = self.geometry(view)
        terms = correlation(geometry, index, lambda entry: view.parameter("weight", entry, "F"), view.dy)
        taps = TAPS[geometry.rank]
        forms = [
            rf"\frac{{\partial E}}{{\partial x(c,{','.join(POSITIONS[geometry.rank])})}} = {sums(('k', *taps))} "
            rf"F(c,k,{','.join(taps)}) \cdot {DELTA}(k,{seen_places(geometry, one_based)})"
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Sum(terms), exact=True)

    def parameter_gradient(self, view: View, name: str, index: Index) -> Derivation:
        """Return Σ x·δ for a weight, Σ δ for a bias."""
        geometry = self.geometry(view)
        if name == "bias":
            return Derivation(bias_formula(geometry.rank), Sum(bias_terms(view, index[0])))
        terms = weight_correlation(geometry, view.examples, index, view.dy, view.x)
        letters, taps = POSITIONS[geometry.rank], TAPS[geometry.rank]
        forms = [
            rf"\frac{{\partial E}}{{\partial F(c,k,{','.join(taps)})}} = \sum_{{n}} {sums(letters)} "
            rf"x(n,c,{','.join(letters)}) \cdot {DELTA}(n,k,{seen_places(geometry, one_based)})"
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Sum(terms))
