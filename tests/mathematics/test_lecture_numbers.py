"""The numbers of the lectures that belong to convolution, im2col, pooling and the ○× exercise.

Each test says in whose lecture the number stands. Where a lecture contradicts itself, the test shows both.
"""

import numpy as np
import pytest

from tatami import (
    SGD,
    AveragePool,
    Convolution,
    Dense,
    Flatten,
    Geometry,
    GlobalMaxPool,
    L2Pool,
    LpPool,
    MaxPool,
    Program,
    RandomKey,
    ReLU,
    Sequential,
    Softmax,
    SoftmaxCrossEntropy,
    SquaredError,
    Step,
    build,
    col2im,
    correlate_direct,
    correlate_im2col,
    im2col,
)
from tatami.backends import ReferenceBackend
from tatami.backends.correlation import (
    correlate_input_gradient_direct,
    correlate_input_gradient_im2col,
    correlate_weight_gradient_direct,
    correlate_weight_gradient_im2col,
)
from tatami.layers import Context

OPS = ReferenceBackend()
FORMS = pytest.mark.parametrize("correlate", [correlate_direct, correlate_im2col])

MAGIC = [[16, 2, 3, 13], [5, 11, 10, 8], [9, 7, 6, 12], [4, 14, 15, 1]]
DAY4_IMAGE = [[1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1]]
DAY4_FILTER = [[2, 0, 1], [0, 1, 2], [1, 0, 2]]
DAY4_POOLED = [
    [1, 2, 0, 7, 1, 0],
    [0, 9, 2, 3, 2, 3],
    [3, 0, 1, 2, 1, 2],
    [2, 4, 0, 1, 0, 1],
    [6, 0, 1, 2, 1, 2],
    [2, 4, 0, 1, 8, 1],
]


def convolve(correlate, image, kernel, **settings):
    """Convolve one image with one filter and return the map."""
    x, weight = np.array(image)[None, None], np.array(kernel)[None, None]
    geometry = Geometry.of(x.shape[1:], weight.shape[2:], filters=1, **settings)
    return correlate(x, weight, geometry)[0, 0].tolist()


def forward(layer, *inputs):
    """Run a layer without parameters on one example each."""
    arrays = tuple(np.array(x, dtype=np.float64)[None] for x in inputs)
    return layer.forward(OPS, arrays, {}, Context()).output[0]


# ---- convolution -------------------------------------------------------------------------------------------


@FORMS
def test_arai_figure_2(correlate):
    image = np.arange(1, 37).reshape(6, 6)
    assert convolve(correlate, image, [[0, 1, 0], [1, 1, 1], [0, 1, 0]]) == [
        [40, 45, 50, 55],
        [70, 75, 80, 85],
        [100, 105, 110, 115],
        [130, 135, 140, 145],
    ]


@FORMS
def test_arai_exercise_1(correlate):
    assert convolve(correlate, MAGIC, [[0, 1, 0], [1, 1, 1], [0, -1, 1]]) == [[27, 38], [34, 21]]


@FORMS
def test_arai_exercise_2_same_padding(correlate):
    assert convolve(correlate, MAGIC, [[0, 1, 0], [1, 1, 1], [0, -1, 1]], padding="same") == [
        [24, 20, 16, 8],
        [30, 27, 38, 19],
        [31, 34, 21, 25],
        [27, 40, 36, 28],
    ]


@FORMS
def test_arai_exercise_2_an_even_filter_is_padded_at_the_end(correlate):
    # The text's definition of 'same' keeps rows 1..n, which would shift the image; its answer and program do not.
    assert convolve(correlate, MAGIC, [[1, 0], [0, 0]], padding="same") == MAGIC


@FORMS
def test_arai_sobel_pair_keeps_strokes_of_its_own_direction(correlate):
    sobel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    vertical = np.zeros((128, 128), int)
    vertical[:, 60:68] = 1
    for image, kept, lost in ((vertical, sobel, sobel.T), (vertical.T, sobel.T, sobel)):
        answer = np.array(convolve(correlate, image, kept))
        assert answer.shape == (126, 126)
        assert abs(answer).max() == 4
        assert not np.any(convolve(correlate, image, lost))


@FORMS
def test_day4_convolution_bias_and_padding(correlate):
    valid = convolve(correlate, DAY4_IMAGE, DAY4_FILTER)
    assert valid == [[15, 16], [6, 15]]
    assert (np.array(valid) + 3).tolist() == [[18, 19], [9, 18]]
    assert convolve(correlate, DAY4_IMAGE, DAY4_FILTER, padding=1) == [
        [7, 12, 10, 2],
        [4, 15, 16, 10],
        [10, 6, 15, 6],
        [8, 10, 4, 3],
    ]


def test_day4_bias_in_the_layer():
    layer = Convolution(1, 3)
    parameters = {"weight": np.array(DAY4_FILTER, float)[None, None], "bias": np.array([3.0])}
    x = np.array(DAY4_IMAGE, float)[None, None]
    assert layer.forward(OPS, (x,), parameters, Context()).output[0, 0].tolist() == [[18, 19], [9, 18]]


@FORMS
def test_day4_stride_2(correlate):
    image = [[(column - row) % 4 for column in range(1, 8)] for row in range(7)]
    assert image[0] == [1, 2, 3, 0, 1, 2, 3]
    assert image[2] == [3, 0, 1, 2, 3, 0, 1]
    assert convolve(correlate, image, DAY4_FILTER, stride=2) == [[15, 17, 15], [17, 15, 17], [15, 17, 15]]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "output"),
    [(4, 3, 1, 0, 2), (4, 3, 1, 1, 4), (7, 3, 2, 0, 3), (28, 3, 1, 1, 28), (6, 3, 3, 0, 2), (8, 3, 2, 0, 3)],
)
def test_output_size_formula(size, kernel, stride, padding, output):
    # floor((H + 2P - FH) / S) + 1; the last one does not divide.
    geometry = Geometry.of((1, size, size), kernel, filters=1, stride=stride, padding=padding)
    assert geometry.output_size == (output, output)
    assert output == (size + 2 * padding - kernel) // stride + 1


def test_day4_im2col_rows_and_columns():
    geometry = Geometry.of((1, 4, 4), 2, filters=1, stride=2)
    columns = im2col(np.arange(1, 17).reshape(1, 1, 4, 4), geometry)
    assert columns.tolist() == [[1, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]]
    assert col2im(columns, geometry)[0, 0].tolist() == np.arange(1, 17).reshape(4, 4).tolist()


def test_day4_im2col_size_for_a_batch_of_images_with_channels():
    geometry = Geometry.of((3, 7, 7), 5, filters=1)
    columns = im2col(np.zeros((2, 3, 7, 7)), geometry)
    assert columns.shape == (2 * 3 * 3, 3 * 5 * 5)  # (N·OH·OW, C·FH·FW)


def test_day4_graph_of_the_convolution_backward():
    # x 3×3, w 2×2: every ∂L/∂x and ∂L/∂w of the supplementary slides.
    x, w, d = np.arange(1.0, 10), np.array([2.0, 3, 5, 7]), np.array([11.0, 13, 17, 19])
    geometry = Geometry.of((1, 3, 3), 2, filters=1)
    d1, d2, d3, d4 = d
    w1, w2, w3, w4 = w
    dx = [
        d1 * w1,
        d1 * w2 + d2 * w1,
        d2 * w2,
        d1 * w3 + d3 * w1,
        d1 * w4 + d2 * w3 + d3 * w2 + d4 * w1,
        d2 * w4 + d4 * w2,
        d3 * w3,
        d3 * w4 + d4 * w3,
        d4 * w4,
    ]
    dw = [
        d1 * x[0] + d2 * x[1] + d3 * x[3] + d4 * x[4],
        d1 * x[1] + d2 * x[2] + d3 * x[4] + d4 * x[5],
        d1 * x[3] + d2 * x[4] + d3 * x[6] + d4 * x[7],
        d1 * x[4] + d2 * x[5] + d3 * x[7] + d4 * x[8],
    ]
    image, weight, dy = x.reshape(1, 1, 3, 3), w.reshape(1, 1, 2, 2), d.reshape(1, 1, 2, 2)
    for gradient in (correlate_input_gradient_direct, correlate_input_gradient_im2col):
        assert gradient(dy, weight, geometry).reshape(-1).tolist() == dx
    for gradient in (correlate_weight_gradient_direct, correlate_weight_gradient_im2col):
        assert gradient(image, dy, geometry).reshape(-1).tolist() == dw


def test_input_gradient_is_a_full_correlation_with_the_turned_filter():
    # Contrary to Qiita's remark it is a derivative; the gradient checks say so, this says which correlation it is.
    key = RandomKey(3)
    dy, weight = key.normal("dy", (1, 1, 4, 4)), key.normal("w", (1, 1, 3, 3))
    dx = correlate_input_gradient_direct(dy, weight, Geometry.of((1, 6, 6), 3, filters=1))
    turned = weight[:, :, ::-1, ::-1]
    full = correlate_direct(dy, turned, Geometry.of((1, 4, 4), 3, filters=1, padding=2))
    np.testing.assert_allclose(dx, full, rtol=1e-13, atol=1e-14)


# ---- pooling -----------------------------------------------------------------------------------------------


def test_day4_max_pooling_and_its_indifference_to_a_shift_by_one():
    image = np.array(DAY4_POOLED)
    pool = MaxPool(3)
    assert forward(pool, image[None]).tolist() == [[[9, 7], [6, 8]]]
    shifted = np.zeros_like(image)
    shifted[:, 1:] = image[:, :-1]
    # The 7 crosses no border of a window, nor does any other maximum: 9 moves 1 → 2, 6 0 → 1, 8 4 → 5, 7 3 → 4.
    assert forward(pool, shifted[None]).tolist() == [[[9, 7], [6, 8]]]


def test_day4_graph_of_the_max_pooling_backward():
    # 3×3 input, 2×2 windows, stride 1; x2, x7 and x9 win: ∂L/∂x2 = δ1 + δ2, ∂L/∂x7 = δ3, ∂L/∂x9 = δ4, the rest 0.
    x = np.array([1.0, 9, 2, 3, 4, 5, 7, 0, 8]).reshape(1, 1, 3, 3)
    layer = MaxPool(2, stride=1)
    result = layer.forward(OPS, (x,), {}, Context())
    (dx,) = layer.backward(OPS, np.array([2.0, 3, 5, 7]).reshape(1, 1, 2, 2), result.saved, {}).dinputs
    assert dx.reshape(-1).tolist() == [0, 5, 0, 0, 0, 0, 5, 0, 7]


def test_dsp_poolings_of_one_window():
    window = [[[3.0, 1.0], [2.0, 2.0]]]
    assert forward(MaxPool(2), window).tolist() == [[[3]]]
    assert forward(AveragePool(2), window).tolist() == [[[2]]]
    assert forward(L2Pool(2), window)[0, 0, 0] == pytest.approx((18 / 4) ** 0.5, rel=1e-15)
    assert forward(LpPool(2, p=1), window)[0, 0, 0] == pytest.approx(2, rel=1e-15)
    assert forward(LpPool(2, p=400), window)[0, 0, 0] == pytest.approx(3, rel=0.01)
    assert forward(GlobalMaxPool(), window).tolist() == [3]


# ---- conventions -------------------------------------------------------------------------------------------


def test_relu_and_step_at_zero():
    x = [-1.0, 0.0, 2.0]
    assert forward(ReLU(), x).tolist() == [0, 0, 2]
    assert ReLU().derivative(OPS, np.array(x), None).tolist() == [0, 0, 1]
    assert forward(Step(), x).tolist() == [0, 0, 1]


def test_arai_flatten_goes_channel_by_channel_row_by_row():
    x = np.arange(1, 13).reshape(2, 2, 3)
    assert forward(Flatten(), x).tolist() == list(range(1, 13))


def test_softmax_does_not_overflow():
    assert forward(Softmax(), [1e300, 0.0, -1e300]).tolist() == [1, 0, 0]


# ---- the ○× exercise of the DSP slides ---------------------------------------------------------------------

CIRCLE = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], float)
CROSS = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], float)
CIRCLE_CUT = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], float)
IMAGES = np.stack([CIRCLE] * 3 + [CROSS] * 3)[:, None]
LABELS = np.array([0, 0, 0, 1, 1, 1])
ONE_OF_EACH = [0, 3]
RATE = 0.1


@pytest.fixture(scope="module")
def program():
    return Program(build("ox"), SquaredError("sum"), precision="f64")


@pytest.fixture(scope="module")
def parameters(program):
    return program.network.initialize(dtype="float64")


@pytest.fixture(scope="module")
def step(program, parameters):
    return program.train_step(parameters, IMAGES, LABELS, keep=True)


def test_ox_weighted_inputs_of_the_filters(step):
    circle, cross = step.values["conv1"][ONE_OF_EACH]
    np.testing.assert_array_equal(circle, [[[4, 2], [2, 2]], [[0, 2], [2, 0]]])
    np.testing.assert_array_equal(cross, [[[1, 3], [3, 1]], [[3, -1], [-1, 3]]])


def test_ox_pooled(step):
    np.testing.assert_allclose(
        step.values["flatten1"][ONE_OF_EACH], [[0.9820, 0.8808], [0.9526, 0.9526]], atol=5e-5
    )


def test_ox_outputs(step):
    np.testing.assert_allclose(step.output[ONE_OF_EACH], [[0.2268, 0.8219], [0.1719, 0.8650]], atol=5e-5)


@pytest.mark.parametrize(("example", "cost"), [(0, 0.6367), (3, 0.0239)])
def test_ox_costs(program, parameters, example, cost):
    only = slice(example, example + 1)
    assert program.train_step(parameters, IMAGES[only], LABELS[only]).loss == pytest.approx(cost, abs=5e-5)


def test_ox_total_cost_is_that_of_three_circles_and_three_crosses(step):
    assert step.loss == pytest.approx(1.9818, abs=5e-5)


def test_ox_delta_of_the_output(step):
    np.testing.assert_allclose(
        step.value_gradients["dense1"][ONE_OF_EACH], [[-0.1356, 0.1203], [0.0245, -0.0158]], atol=5e-5
    )


def test_ox_delta_into_the_pooled_units(step):
    np.testing.assert_allclose(
        step.value_gradients["flatten1"][ONE_OF_EACH],
        [[-0.5162, 0.9905], [0.0777, -0.1580]],
        atol=5e-5,
    )


def test_ox_delta_of_the_filter_units(step):
    # The slide calls it δ of the pooling; it is already the correct δ of the winning filter unit.
    delta = step.value_gradients["conv1"][ONE_OF_EACH]
    np.testing.assert_allclose(delta.sum(axis=(2, 3)), [[-0.0091, 0.1040], [0.0035, -0.0071]], atol=5e-5)
    assert np.count_nonzero(delta) == 4  # one winner for each filter and image: the first maximum


def test_ox_output_layer_after_one_update(program, parameters, step):
    optimizer = SGD(RATE)
    updated, _ = optimizer.update(parameters, step.gradients, optimizer.initialize(parameters))
    np.testing.assert_allclose(updated["dense1"]["weight"], [[1.5330, -4.1712], [-2.6309, 3.4727]], atol=5e-5)
    np.testing.assert_allclose(updated["dense1"]["bias"], [1.0333, 0.9686], atol=5e-5)


def ox_network(ties):
    layers = [node.layer for node in build("ox").nodes]
    layers[2] = MaxPool(2, ties=ties)
    return Sequential(*layers, input_shape=(1, 3, 3))


def filters_with_the_derivative_taken_twice(ties, images):
    """Return the filters and their biases after one update with the slide's δ: eq. (8) on top of eq. (4)."""
    network = ox_network(ties)
    parameters = network.initialize(dtype="float64")
    step = Program(network, SquaredError("sum"), precision="f64").train_step(
        parameters, images, LABELS, keep=True
    )
    a = step.values["sigmoid1"]
    delta = step.value_gradients["conv1"] * a * (1 - a)
    geometry = network["conv1"].window((1, 3, 3))
    weight = parameters["conv1"]["weight"] - RATE * correlate_weight_gradient_direct(images, delta, geometry)
    bias = parameters["conv1"]["bias"] - RATE * delta.sum(axis=(0, 2, 3))
    return weight.reshape(2, 4), bias


SLIDE_FILTERS = [[1.00005, 0.99996, 0.99996, -1.00000], [0.99470, -1.00218, -1.00327, 0.99470]]
SLIDE_BIASES = [0.99996, 0.99470]


def test_ox_erratum_the_slides_filters_come_from_a_derivative_taken_twice_with_all_ties():
    # Its eq. (7) hands dy to *every* maximum of a tie. Three equal ○ leave one filter weight and bias a little off …
    weight, bias = filters_with_the_derivative_taken_twice("all", IMAGES)
    np.testing.assert_allclose(weight[0], SLIDE_FILTERS[0], atol=2e-5)
    np.testing.assert_allclose(weight[1], SLIDE_FILTERS[1], atol=1.2e-3)
    np.testing.assert_allclose(bias, SLIDE_BIASES, atol=1.2e-3)
    # … and a third ○ that lacks its lower right corner gives all ten numbers.
    images = IMAGES.copy()
    images[2, 0] = CIRCLE_CUT
    weight, bias = filters_with_the_derivative_taken_twice("all", images)
    np.testing.assert_allclose(weight, SLIDE_FILTERS, atol=4e-5)
    np.testing.assert_allclose(bias, SLIDE_BIASES, atol=4e-5)


@pytest.mark.parametrize("ties", ["first", "even"])
def test_ox_erratum_no_other_tie_rule_gives_the_slides_filters(ties):
    weight, bias = filters_with_the_derivative_taken_twice(ties, IMAGES)
    assert abs(weight - SLIDE_FILTERS).max() > 1.5e-3
    assert abs(bias - SLIDE_BIASES).max() > 1.5e-3


def test_ox_erratum_the_costs_on_the_slide_do_not_follow_from_its_outputs():
    outputs, targets = np.array([[0.2447, 0.8080], [0.1859, 0.8542]]), np.eye(2)
    costs = 0.5 * ((outputs - targets) ** 2).sum(axis=1)
    np.testing.assert_allclose(costs, [0.6117, 0.0279], atol=5e-5)
    assert abs(costs - [0.6267, 0.0254]).min() > 2e-3
    # Its C_T = 1.9560 after one update was summed from those costs.
    assert pytest.approx(1.9560, abs=5e-4) == 3 * (0.6267 + 0.0254)


def test_ox_learns(program, parameters):
    session = program.session(parameters, SGD(RATE))
    for _ in range(5000):
        session.step(IMAGES, LABELS, RandomKey(), RATE)
    final = program.train_step(session.parameters, IMAGES, LABELS)
    assert final.loss < 0.01
    assert (final.output.argmax(axis=1) == LABELS).all()


# ---- Arai's program ----------------------------------------------------------------------------------------


def test_arai_network_sizes_and_cost():
    network = build("arai")
    shapes = [
        network.shapes[name] for name in ("conv1", "pool1", "conv2", "pool2", "flatten1", "dense1", "dense2")
    ]
    assert shapes == [(32, 28, 28), (32, 14, 14), (64, 14, 14), (64, 7, 7), (3136,), (100,), (200,)]
    rows = {row["name"]: row["multiply_adds"] for row in network.summary_rows()}
    assert 2 * rows["conv2"] == pytest.approx(7.2e6, rel=0.01)
    # Forward, weight gradient and input gradient (which the first layer does not need) cost the same each.
    assert 2 * (3 * sum(rows.values()) - rows["conv1"]) == pytest.approx(24e6, rel=0.03)


def test_arai_summed_learning_rate_is_the_mean_one_times_the_batch():
    network = Sequential(Flatten(), Dense(3), input_shape=(1, 2, 2))
    parameters = network.initialize(dtype="float64")
    x, labels = RandomKey(1).normal("x", (100, 1, 2, 2)), np.arange(100) % 3
    updated = []
    for reduction, rate in (("sum", 1e-4), ("mean", 1e-2)):
        session = Program(network, SoftmaxCrossEntropy(reduction), precision="f64").session(
            parameters, SGD(rate)
        )
        session.step(x, labels, RandomKey(), rate)
        updated.append(session.parameters["dense1"]["weight"])
    np.testing.assert_allclose(updated[0], updated[1], rtol=1e-13)
