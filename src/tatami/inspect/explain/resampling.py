"""Layers that are one linear map: padding, up-sampling, adaptive averages. Their weights are constants."""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.inspect.explain.activations import settings_of
from tatami.inspect.explain.base import DELTA, LayerExplainer, View, explains
from tatami.inspect.explanation import Derivation, Index
from tatami.inspect.expression import Expression, Formula, Number, Product, Sum
from tatami.layers.resampling import AdaptiveAveragePool, Pad, Upsample


@explains(Pad, Upsample, AdaptiveAveragePool)
class ResamplingExplainer(LayerExplainer):
    """y(i,j) = Σ A₁(i,m) A₂(j,n) x(m,n): one small matrix for each axis."""

    def matrices(self, view: View) -> list[NDArray[Any]]:
        """Return the matrices."""
        found: list[NDArray[Any]] = view.layer.matrices(view.input_array().shape[2:])
        return found

    def forward(self, view: View, index: Index) -> Derivation:
        """Return the weighted entries, those with weight 0 left out."""
        n, c, *position = index
        rows = [matrix[at] for matrix, at in zip(self.matrices(view), position, strict=True)]
        terms: list[Expression] = [
            Product((Number(weight), view.x((n, c, *place)))) for place, weight in weights_along(rows)
        ]
        value = getattr(view.layer, "value", 0.0)
        if value and not terms:
            terms = [Number(value)]
        formula = Formula(r"y(c,i) = \sum_{m} A(i,m) \cdot x(c,m)")
        return Derivation(formula, Sum(tuple(terms)), notes=settings_of(view))

    def input_gradient(self, view: View, number: int, index: Index) -> Derivation:
        """Return the same weights the other way round."""
        n, c, *place = index
        columns = [matrix[:, at] for matrix, at in zip(self.matrices(view), place, strict=True)]
        terms = tuple(
            Product((Number(weight), view.dy((n, c, *position))))
            for position, weight in weights_along(columns)
        )
        formula = Formula(rf"\frac{{\partial E}}{{\partial x(c,m)}} = \sum_{{i}} A(i,m) \cdot {DELTA}(c,i)")
        return Derivation(formula, Sum(terms), notes=settings_of(view))


def weights_along(vectors: list[NDArray[Any]]) -> list[tuple[Index, float]]:
    """Return the places where the product of one entry of each vector is not 0, with that product."""
    places = product(*(np.flatnonzero(vector).tolist() for vector in vectors))
    return [
        (place, float(np.prod([vector[at] for vector, at in zip(vectors, place, strict=True)])))
        for place in places
    ]
