"""im2col made visible, for every layer that moves a window: rows, columns, what every entry sees, what comes out."""

import json

import numpy as np
import pytest
from tests.inspect.test_every_class import network_of
from tests.mathematics.layer_examples import EXAMPLES

from tatami import Convolution, Pad, RandomKey, Sequential, TransposedConvolution, trace
from tatami.backends.correlation import im2col
from tatami.columns import width_of
from tatami.layers.base import Layer
from tatami.layers.pooling import Pool

# Padding by itself moves no window over its input, though its geometry is written as one of a single tap.
WITHOUT_MATRIX = {Pad}


def moves_a_window(layer, shapes):
    if type(layer) in WITHOUT_MATRIX:
        return False
    return isinstance(layer, TransposedConvolution) or layer.window(*shapes) is not None


WINDOWS = [
    pytest.param(layer, shapes, id=f"{cls.__name__}-{number}")
    for cls, examples in EXAMPLES.items()
    for number, (layer, shapes) in enumerate(examples)
    if moves_a_window(layer, shapes)
]


def traced(layer, shapes):
    network = network_of(layer, shapes)
    parameters = {
        name: {key: w + 0.3 * RandomKey(2).normal(f"{name}.{key}", w.shape) for key, w in named.items()}
        for name, named in network.initialize(1, "float64").items()
    }
    return trace(network, parameters, layer.draw_input(RandomKey(5), "x", (2, *shapes[0])))


def test_every_class_with_a_window_is_among_the_examples():
    shown = {type(case.values[0]) for case in WINDOWS}
    expected = {cls for cls in Layer.members.values() if cls.window is not Layer.window} - WITHOUT_MATRIX
    assert shown == expected | {TransposedConvolution}


@pytest.mark.parametrize(("layer", "shapes"), WINDOWS)
def test_every_entry_is_what_its_label_says_and_the_product_is_the_output(layer, shapes):
    kept = traced(layer, shapes)
    example = 1
    view = kept.im2col("it", example)
    x, y = kept["it"].input[example], kept["it"].output[example]
    assert view.matrix.shape == (len(view.rows), len(view.columns)) == view.padding.shape
    stamps = view.use == "stamps"
    landed = np.zeros_like(y)
    for row in range(len(view.rows)):
        for column in range(len(view.columns)):
            place = view.entry_at(row, column)
            assert view.padding[row, column] == (place is None)
            if place is None:
                continue
            if stamps:
                landed[place] += view.matrix[row, column]
            else:
                assert view.matrix[row, column] == x[place]
    along = np.moveaxis(y.reshape(len(y), -1), 0, 1)
    if stamps:
        bias = kept["it"].parameters.get("bias", np.zeros(len(y)))
        np.testing.assert_allclose(landed + bias.reshape(-1, *(1,) * (y.ndim - 1)), y, atol=1e-12)
    elif view.use == "between":
        between = kept["it"].saved["v"][example]
        np.testing.assert_allclose(view.results, between.reshape(len(between), -1).T, atol=1e-12)
    elif view.use == "funnel":
        np.testing.assert_allclose(np.maximum(view.results, x.reshape(len(x), -1).T), along, atol=1e-12)
    else:
        np.testing.assert_allclose(view.results, along, atol=1e-12)
    if view.use == "product":
        bias = kept["it"].parameters.get("bias", 0)
        np.testing.assert_allclose(view.matrix @ view.filters + bias, along, atol=1e-12)


@pytest.mark.parametrize(("layer", "shapes"), WINDOWS)
def test_every_matrix_has_its_forms(layer, shapes):
    view = traced(layer, shapes).im2col("it")
    stored = view.to_json()
    assert json.loads(json.dumps(stored, allow_nan=False)) == stored
    for language in ("en", "ja"):
        assert "it" in view.text(language=language).splitlines()[0]
        assert "<table " in view.html(language=language, one_based=True)
    lines = view.text(width=60, most=5).splitlines()
    matrix = [line for line in lines if "|" in line]
    assert len({width_of(line) for line in matrix}) == 1


@pytest.mark.parametrize(
    "layer",
    [
        Convolution(4, (3, 2), stride=(2, 1), dilation=(1, 2), padding=1, groups=2),
        Convolution(2, 3, padding="same"),
    ],
)
def test_the_matrix_is_the_one_that_the_backend_multiplies(layer):
    network = Sequential(layer, input_shape=(2, 6, 7))
    x = RandomKey(1).normal("x", (2, 6, 7))
    view = trace(network, network.initialize(1), x).im2col("conv1")
    np.testing.assert_array_equal(view.matrix, im2col(x[None], layer.window((2, 6, 7))))


def test_a_pooling_shows_its_windows():
    (layer, shapes), *_ = [case.values for case in WINDOWS if isinstance(case.values[0], Pool)]
    view = traced(layer, shapes).im2col("it")
    assert view.filters is None
    assert "pooled, give its output" in view.text()


def test_rows_and_columns_by_their_places():
    network = Sequential(Convolution(3, 3, padding="same"), input_shape=(2, 4, 5))
    image = RandomKey(1).normal("x", (2, 4, 5))
    view = trace(network, network.initialize(1), image).im2col("conv1")
    row, column = view.row_of(1, 2), view.column_of(1, 0, 1)
    assert view.matrix[row, column] == image[1, 0, 2]
    assert view.entry_at(row, column) == (1, 0, 2)
    assert view.padding[view.row_of(0, 0), view.column_of(0, 0, 0)]
    text = view.text(most=4)
    assert "im2col of conv1: 20 rows (windows) × 18 columns (taps)" in text
    assert "· marks padding" in text
    assert "… 16 more …" in text
    page = view.html(one_based=True)
    assert 'title="(1,1) ← (1,1,1) = 0"' in page
    assert 'title="(2,3) ← (2,1,2) = [2,1,3]"' in page


def test_a_narrow_terminal_gets_fewer_columns():
    network = Sequential(Convolution(64, 5), input_shape=(3, 9, 9))
    view = trace(network, network.initialize(1), RandomKey(1).normal("x", (3, 9, 9))).im2col("conv1")
    lines = view.text(width=100, most=6).splitlines()
    assert max(map(width_of, lines)) <= 100
    assert "…" in next(line for line in lines if "|" in line)
