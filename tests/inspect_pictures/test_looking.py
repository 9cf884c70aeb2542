"""Filters, maps, histograms, dead units, exciting and ideal images, calibration."""

import numpy as np
import pytest

import tatami
from tatami.errors import DataError, SettingError, ShapeError, UnknownNameError
from tatami.initializers import Constant, Given
from tatami.inspect.activations import activation_histograms, dead_units, feature_maps
from tatami.inspect.exciting import most_exciting, seen_patch
from tatami.inspect.filter_banks import filters
from tatami.inspect.grids import filter_grid, picture, plane, tile
from tatami.inspect.maximisation import Ascent, maximise_activation
from tatami.inspect.reliability import calibration
from tatami.inspect.resampling import blur, enlarge
from tatami.inspect.units import Unit
from tatami.layers import Convolution, Dense, Flatten, ReLU, Sigmoid, Tanh
from tatami.random import RandomKey


def test_filters_keep_zero_and_reach_one(model):
    weights = filters(model.network, model.parameters)
    raw = model.parameters["conv1"]["weight"]
    assert weights.shape == raw.shape
    np.testing.assert_allclose(np.abs(weights).reshape(6, -1).max(axis=1), 1)
    np.testing.assert_allclose(weights[2] * np.abs(raw[2]).max(), raw[2], rtol=1e-6)
    assert filters(model.network, model.parameters, "dense1").shape == (24, 8, 4, 4)
    assert filters(model.network, model.parameters, "dense2").shape == (10, 24)


def test_filters_of_zeros_and_of_no_layer():
    network = tatami.Sequential(Dense(2, weight_initializer=Constant(0.0)), input_shape=(3,))
    assert not filters(network, network.initialize()).any()
    with pytest.raises(UnknownNameError, match="unknown layer with filters of network 'dense2'"):
        filters(network, network.initialize(), "dense2")
    silent = tatami.Sequential(ReLU(), input_shape=(3,))
    with pytest.raises(SettingError, match="network has no layer with filters"):
        filters(silent, {})


def test_feature_maps_are_those_of_the_program(model, examples):
    x, _ = examples
    maps = feature_maps(model.network, model.parameters, x.astype("float32"))
    kept = model.program("reference").forward(model.parameters, x.astype("float32"), keep=True)
    for name, value in kept.values.items():
        np.testing.assert_array_equal(maps[name], value)


def test_grids():
    assert plane(np.zeros((2, 3, 4))).shape == (3, 9)
    assert picture(np.zeros((4, 5))).shape == (4, 5)
    assert picture(np.zeros(5)).shape == (1, 5)
    assert picture(np.zeros((2, 3, 4, 5))).shape == (4, 35)
    grid = tile(np.arange(5.0).reshape(5, 1, 1), columns=2)
    assert np.nan_to_num(grid, nan=-1).tolist() == [
        [0, -1, 1],
        [-1, -1, -1],
        [2, -1, 3],
        [-1, -1, -1],
        [4, -1, -1],
    ]
    assert filter_grid(np.zeros((64, 32, 3, 3))).shape == (63, 63)
    assert filter_grid(np.zeros((10, 24))).shape == (10, 24)


def test_histograms_count_every_output_once(model, digits):
    x = model.preprocessing.apply(digits.test.images[:300])
    spreads = activation_histograms(model.network, model.parameters, x, bins=17)
    maps = feature_maps(model.network, model.parameters, x)
    for name, spread in spreads.items():
        assert spread.counts.sum() == maps[name].size
        np.testing.assert_allclose(spread.mean, maps[name].mean(dtype=np.float64), atol=1e-6)
        np.testing.assert_allclose(spread.deviation, maps[name].std(dtype=np.float64), rtol=1e-5)
        assert spread.zeros == np.mean(maps[name] == 0)
    np.testing.assert_array_equal(spreads["conv2"].counts, np.histogram(maps["conv2"], 17)[0])


def test_histogram_of_constant_outputs():
    network = tatami.Sequential(Dense(2, weight_initializer=Constant(0.0)), input_shape=(3,))
    spread = activation_histograms(network, network.initialize(), np.ones((4, 3)))["dense1"]
    assert spread.counts.sum() == 8
    assert spread.deviation == 0
    with pytest.raises(SettingError, match="there are no images to look at"):
        activation_histograms(network, network.initialize(), np.ones((0, 3)))


def test_dead_and_saturated_units_are_named():
    layers = (
        Dense(3, weight_initializer=Constant(1.0), bias_initializer=Given([0.0, -100.0, 0.0])),
        ReLU(),
        Dense(2, weight_initializer=Constant(0.1), bias_initializer=Given([0.0, 60.0])),
        Sigmoid(),
        Dense(1),
        Tanh(),
    )
    network = tatami.Sequential(*layers, input_shape=(2,))
    x = RandomKey(0).uniform("x", (40, 2))
    activity = dead_units(network, network.initialize(), x)
    assert activity["relu1"].dead.tolist() == [1]
    assert activity["relu1"].awake.tolist() == [1, 0, 1]
    assert activity["sigmoid1"].dead.tolist() == [1]
    assert activity["tanh1"].dead.tolist() == []


def test_a_map_is_dead_only_if_it_is_so_everywhere():
    convolution = Convolution(2, 1, weight_initializer=Given([[[[1]]], [[[-1]]]]))
    network = tatami.Sequential(convolution, ReLU(), input_shape=(1, 2, 2))
    x = np.array([[[[0, 0], [0, 1]]], [[[0, 0], [0, 0]]]], float)
    activity = dead_units(network, network.initialize(), x)["relu1"]
    assert activity.awake.tolist() == [1 / 8, 0]
    assert activity.dead.tolist() == [1]


def test_most_exciting_images_are_those_with_the_largest_maxima(model, digits):
    x = model.preprocessing.apply(digits.test.images[:200])
    found = most_exciting(model.network, model.parameters, x, "relu2", count=4)
    maps = feature_maps(model.network, model.parameters, x)["relu2"]
    assert found.images.shape == (8, 4)
    for channel in range(8):
        best = np.sort(maps[:, channel].reshape(200, -1).max(axis=1))[::-1][:4]
        np.testing.assert_array_equal(found.scores[channel], best.astype(np.float64))
        for rank in range(4):
            at = tuple(found.positions[channel, rank])
            assert maps[(found.images[channel, rank], channel, *at)] == found.scores[channel, rank]
    flat = most_exciting(model.network, model.parameters, x, "dense2", count=500)
    assert flat.images.shape == (10, 200)
    assert flat.positions.shape == (10, 200, 0)


def test_only_the_seen_patch_moves_a_unit(model, doubled, examples):
    x, _ = examples
    unit = Unit("conv2", (1, 0, 3))
    patch = seen_patch(model.network, "conv2", (0, 3))
    base = unit.scores(feature_maps(model.network, doubled, x)["conv2"])
    outside = np.ones((8, 8), bool)
    outside[patch] = False
    changed = unit.scores(feature_maps(model.network, doubled, x + 5 * outside)["conv2"])
    np.testing.assert_array_equal(base, changed)
    inside = unit.scores(feature_maps(model.network, doubled, x + 5 * ~outside)["conv2"])
    assert not np.array_equal(base, inside)
    assert seen_patch(model.network, "dense2", ()) == (slice(0, 8), slice(0, 8))


def test_ideal_images_are_taken_for_their_class(model):
    ascent = Ascent(steps=60, low=0, high=1)
    maximum = maximise_activation(model.network, model.parameters, list(range(10)), ascent=ascent)
    predicted = model.program("reference").predict(model.parameters, maximum.images)
    assert np.argmax(predicted, axis=1).tolist() == list(range(10))
    assert maximum.images.min() >= 0
    assert maximum.images.max() <= 1
    assert (maximum.scores > maximum.history[0]).all()
    again = maximise_activation(model.network, model.parameters, list(range(10)), ascent=ascent)
    np.testing.assert_array_equal(maximum.images, again.images)


def test_any_unit_can_be_maximised_and_each_regulariser_works(model):
    unit = Unit("relu2", (2,), over="mean")
    plain = Ascent(steps=30, l2=0, blur=0, jitter=0)
    free = maximise_activation(model.network, model.parameters, unit, ascent=plain)
    assert free.images.shape == (1, 1, 8, 8)
    assert free.scores[0] > free.history[0, 0]
    small = maximise_activation(
        model.network, model.parameters, unit, ascent=Ascent(steps=30, l2=0.2, blur=0, jitter=0)
    )
    assert np.linalg.norm(small.images) < np.linalg.norm(free.images)

    def roughness(image):
        return np.abs(np.diff(image[0, 0], axis=0)).mean() / np.abs(image).mean()

    smooth = maximise_activation(
        model.network, model.parameters, unit, ascent=Ascent(steps=30, l2=0, blur=1.0, blur_every=1, jitter=0)
    )
    assert roughness(smooth.images) < roughness(free.images)
    shaken = maximise_activation(
        model.network, model.parameters, unit, ascent=Ascent(steps=30, l2=0, blur=0, jitter=2)
    )
    assert not np.array_equal(shaken.images, free.images)


def test_settings_of_the_ascent_are_checked():
    with pytest.raises(SettingError, match="steps must be a whole number of at least 1, got 0"):
        Ascent(steps=0)
    with pytest.raises(SettingError, match="rate must be a finite number of at least 0, got nan"):
        Ascent(rate=float("nan"))
    with pytest.raises(SettingError, match="jitter must be a whole number of at least 0, got 1.5"):
        Ascent(jitter=1.5)


def test_enlarging_and_blurring_keep_constants_and_sums():
    np.testing.assert_allclose(enlarge(np.full((2, 3, 4), 7.0), (9, 5)), 7)
    image = np.zeros((1, 15, 15))
    image[0, 7, 7] = 1
    soft = blur(image, 1.0, (1, 2))
    np.testing.assert_allclose(soft.sum(), 1)
    np.testing.assert_allclose(soft, soft.transpose(0, 2, 1))
    np.testing.assert_array_equal(blur(image, 0, (1, 2)), image)


def test_calibration_of_a_model_that_knows_itself():
    key = RandomKey(5)
    sure = 0.5 + 0.5 * key.uniform("confidence", (20000,))
    right = key.uniform("right", (20000,)) < sure
    probabilities = np.stack([sure, 1 - sure], axis=1)
    curve = calibration(probabilities, np.where(right, 0, 1))
    assert curve.error < 0.02
    assert curve.counts.sum() == 20000
    assert np.isnan(curve.accuracy[:4]).all()
    assert calibration(np.array([[1.0, 0.0]]), np.array([1])).error == 1.0
    with pytest.raises(ShapeError, match="expected probabilities"):
        calibration(probabilities, np.zeros(3, int))
    with pytest.raises(DataError, match="there are no examples"):
        calibration(np.zeros((0, 2)), np.zeros(0, int))


def test_units_are_read_and_checked():
    assert Unit.parse(" conv1[3, 2,2] ") == Unit("conv1", (3, 2, 2))
    assert Unit.parse("dense1") == Unit("dense1")
    for wrong in ("conv1[", "conv1[a]", "", "conv1[1][2]", "conv1[-1]"):
        with pytest.raises(SettingError, match="expected a unit such as"):
            Unit.parse(wrong)
    with pytest.raises(UnknownNameError, match="unknown way to join the positions of a map 'max'"):
        Unit("conv1", (0,), over="max")
    value = RandomKey(1).normal("value", (3, 2, 4, 5))
    for over in ("sum", "mean", "maximum"):
        unit = Unit("conv1", (1,), over=over)
        step = 1e-6
        moved = value.copy()
        moved[2, 1, 3, 4] += step
        slope = (unit.scores(moved) - unit.scores(value)) / step
        np.testing.assert_allclose(slope[2], unit.gradient(value)[2, 1, 3, 4], atol=1e-6)


def test_flat_inputs_can_be_looked_at():
    network = tatami.Sequential(Dense(4), ReLU(), Dense(2), input_shape=(6,))
    parameters = network.initialize(1)
    x = RandomKey(1).normal("x", (9, 6))
    assert most_exciting(network, parameters, x, "relu1", count=2).images.shape == (4, 2)
    assert maximise_activation(network, parameters, [0, 1], ascent=Ascent(steps=5)).images.shape == (2, 6)
    shaped = tatami.Sequential(Flatten(), Dense(4), input_shape=(2, 3, 3))
    assert filters(shaped, shaped.initialize()).shape == (4, 2, 3, 3)
