"""The matrix of im2col for every layer that moves a window: what its rows are multiplied by, and what comes out.

A new layer with a window registers a function with `window_matrix`; the tests go through all classes.
"""

from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends.correlation import connections, im2col
from tatami.errors import SettingError
from tatami.geometry import Geometry
from tatami.inspect.explain.base import View
from tatami.inspect.im2col_view import Im2colView, Use
from tatami.layers import (
    Convolution,
    FilterBank,
    FReLU,
    LocallyConnected,
    SeparableConvolution,
    TableConvolution,
    TransposedConvolution,
)
from tatami.layers.base import Layer
from tatami.layers.pooling import Pool

Array = NDArray[Any]


@singledispatch
def window_matrix(layer: Layer, view: View, example: int) -> Im2colView:
    """Return the windows of one example as a matrix.

    Args:
        layer: decides by its class.
        view: the layer in a trace.
        example: number of the example.

    Raises:
        SettingError: the layer moves no window over its input.
    """
    raise SettingError(f"{layer.label}: im2col belongs to layers that move a window over their input")


def gathered(view: View, geometry: Geometry, example: int) -> Array:
    """Return the windows of an example, one in each row."""
    return im2col(view.input_array()[example : example + 1], geometry)


def filter_columns(geometry: Geometry, weight: Array) -> Array:
    """Return every filter as a column (C·taps, K), 0 for the channels of other groups."""
    full = np.zeros((geometry.filters, geometry.channels, *geometry.kernel), dtype=weight.dtype)
    for k, c, number in connections(geometry):
        full[k, c] = weight[k, number]
    return full.reshape(geometry.filters, -1).T


def multiplied(view: View, geometry: Geometry, example: int, weight: Array, use: Use) -> Im2colView:
    """Return windows times filters, plus the bias if the layer has one."""
    matrix, filters = gathered(view, geometry, example), filter_columns(geometry, weight)
    results = matrix @ filters
    if "bias" in view.record.parameters and use != "between":
        results = results + view.record.parameters["bias"]
    return Im2colView.of(view.record.node.name, geometry, use, matrix, filters, results)


@window_matrix.register
def of_convolution(layer: Convolution, view: View, example: int) -> Im2colView:
    """Return windows times filters."""
    return multiplied(view, view.geometry, example, view.record.parameters["weight"], "product")


@window_matrix.register
def of_table_convolution(layer: TableConvolution, view: View, example: int) -> Im2colView:
    """Return windows times filters, 0 where the table has no connection."""
    weight = layer.full_weight(view.ops, view.record.parameters["weight"], view.geometry)
    return multiplied(view, view.geometry, example, weight, "product")


@window_matrix.register
def of_fixed_filters(layer: FilterBank, view: View, example: int) -> Im2colView:
    """Return windows times the fixed filters of every channel."""
    weight = layer.weight(view.ops, view.geometry, view.input_array().dtype)
    return multiplied(view, view.geometry, example, weight, "product")


@window_matrix.register
def of_separable_convolution(layer: SeparableConvolution, view: View, example: int) -> Im2colView:
    """Return windows times the depthwise filters: the maps between the two steps."""
    return multiplied(view, view.geometry, example, view.record.parameters["depthwise_weight"], "between")


@window_matrix.register
def of_funnel(layer: FReLU, view: View, example: int) -> Im2colView:
    """Return windows times the funnel's filters: what x is compared with."""
    return multiplied(view, view.geometry, example, view.record.parameters["weight"], "funnel")


@window_matrix.register
def of_locally_connected(layer: LocallyConnected, view: View, example: int) -> Im2colView:
    """Return every window times the filters of its own position."""
    geometry, matrix = view.geometry, gathered(view, view.geometry, example)
    filters = layer.filters_by_position(view.ops, view.record.parameters["weight"], geometry)
    results = np.einsum("pq,pqk->pk", matrix, filters)
    if layer.bias:
        results = results + view.record.parameters["bias"].reshape(geometry.filters, -1).T
    return Im2colView.of(view.record.node.name, geometry, "own_filters", matrix, filters, results)


@window_matrix.register
def of_pooling(layer: Pool, view: View, example: int) -> Im2colView:
    """Return the windows, and what each channel's columns are pooled to."""
    geometry = view.geometry
    results = view.record.output[example].reshape(geometry.channels, -1).T
    matrix = gathered(view, geometry, example)
    return Im2colView.of(view.record.node.name, geometry, "pooled", matrix, None, results)


@window_matrix.register
def of_transposed_convolution(layer: TransposedConvolution, view: View, example: int) -> Im2colView:
    """Return the stamps, a row for every input position: inputs times filters."""
    x = view.input_array()[example]
    geometry = layer.mirrored(x.shape)
    inputs = x.reshape(geometry.filters, -1).T
    filters = filter_columns(geometry, view.record.parameters["weight"])
    return Im2colView.of(view.record.node.name, geometry, "stamps", inputs @ filters.T, filters, inputs)
