"""Layers with fixed weights: filter banks and the short-time Fourier transform."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.inspect.explain.activations import settings_of, ulps
from tatami.inspect.explain.base import DELTA, LayerExplainer, View, explains
from tatami.inspect.explain.convolution import correlation, transposed_correlation
from tatami.inspect.explain.windows import POSITIONS, TAPS, seen_places, sums, windows_over
from tatami.inspect.explanation import Derivation, Index, Note
from tatami.inspect.expression import Applied, Expression, Formula, Number, Product, Sum, quotient, square
from tatami.layers.fixed_filters import FilterBank, ShortTimeFourier


@explains(FilterBank)
class FilterBankExplainer(LayerExplainer):
    """A convolution of every channel with constant filters."""

    def weight(self, view: View, entry: Index) -> Expression:
        """Return a constant of the filter bank."""
        kernels = view.layer.kernels()
        k, _, *tap = entry
        return Number(float(kernels[(k % len(kernels), *tap)]))

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the sum over the window, bit for bit."""
        geometry = view.geometry
        terms = correlation(geometry, index, lambda entry: self.weight(view, entry), view.x)
        letters, taps = ",".join(POSITIONS[geometry.rank]), TAPS[geometry.rank]
        forms = [
            rf"y(k,{letters}) = {sums(taps)} F(k,{','.join(taps)}) \cdot x(c,{seen_places(geometry, one_based)})"
            for one_based in (False, True)
        ]
        return Derivation(Formula(*forms), Sum(terms), exact=True, notes=settings_of(view))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return what every output that saw the entry hands back, bit for bit."""
        geometry = view.geometry
        terms = transposed_correlation(geometry, index, lambda entry: self.weight(view, entry), view.dy)
        letters, taps = ",".join(POSITIONS[geometry.rank]), TAPS[geometry.rank]
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial x(c,m)}} = {sums(('k', *taps))} F(k,{','.join(taps)}) "
            rf"\cdot {DELTA}(k,{letters})"
        )
        return Derivation(formula, Sum(terms), exact=True, notes=(Note("handed_back"),))


@explains(ShortTimeFourier)
class ShortTimeFourierExplainer(LayerExplainer):
    """y(f,t) = log(1 + gain·(Re² + Im²)); both parts can be followed to the samples of the frame."""

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the logarithm of the power."""
        formula = Formula(r"y(c,f,t) = \log(1 + g \cdot (R(c,f,t)^{2} + I(c,f,t)^{2}))")
        expression = Applied(r"\log(1 + #1)", np.log1p, (self.power(view, index),), ulps(False))
        return Derivation(formula, expression, notes=settings_of(view))

    def power(self, view: View, index: Index) -> Product:
        """Return gain·(Re² + Im²)."""
        parts = (square(view.saved("real", index, "R")), square(view.saved("imaginary", index, "I")))
        return Product((Number(view.layer.gain, "g"), Sum(parts)))

    def waves(self, view: View) -> dict[str, NDArray[Any]]:
        """Return the weighted cosines and sines."""
        real, imaginary = view.layer.waves(view.ops, "float64")
        return {"real": np.asarray(real), "imaginary": np.asarray(imaginary)}

    def saved(self, view: View, name: str, index: Index) -> Derivation | None:
        """Explain the power, and both parts by the samples of the frame."""
        if name == "power":
            formula = Formula(r"p(c,f,t) = g \cdot (R(c,f,t)^{2} + I(c,f,t)^{2})")
            return Derivation(formula, self.power(view, index), exact=True)
        if name not in ("real", "imaginary"):
            return None
        n, c, frequency, frame = index
        row = self.waves(view)[name][frequency]
        start = frame * view.layer.hop
        terms = tuple(Product((Number(float(w)), view.x((n, c, start + at)))) for at, w in enumerate(row))
        letter = "R" if name == "real" else "I"
        formula = Formula(rf"{letter}(c,f,t) = \sum_{{n}} w(f,n) \cdot x(c,h \cdot t + n)")
        return Derivation(formula, Sum(terms), notes=(Note("matrix_product"),))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return Σ_t Σ_f 2g·δ(f,t)/(1 + p(f,t))·(w_R·R(f,t) + w_I·I(f,t)) over the frames that see the sample."""
        n, c, at = index
        geometry, waves = view.layer.frames(view.input_array().shape[1:]), self.waves(view)
        twice = Number(2 * view.layer.gain, "2 g")
        terms: list[Expression] = []
        for (tap,), (frame,) in windows_over(geometry, (at,)):
            for frequency in range(view.record.output.shape[2]):
                place = (n, c, frequency, frame)
                bottom = Sum((Number(1.0), view.saved("power", place, "p")))
                slope = quotient(Product((twice, view.dy(place))), bottom)
                real, imaginary = (float(waves[name][frequency, tap]) for name in ("real", "imaginary"))
                parts = (
                    Product((Number(real), view.saved("real", place, "R"))),
                    Product((Number(imaginary), view.saved("imaginary", place, "I"))),
                )
                terms.append(Product((slope, Sum(parts))))
        formula = Formula(
            r"\frac{\partial E}{\partial x(c,m)} = \sum_{t} \sum_{f} "
            rf"\frac{{2 g \cdot {DELTA}(c,f,t)}}{{1 + p(c,f,t)}} "
            r"\cdot (w_{R} \cdot R(c,f,t) + w_{I} \cdot I(c,f,t))"
        )
        return Derivation(formula, Sum(tuple(terms)), notes=settings_of(view))
