"""Every checked number of the lectures that a walkthrough shows, asserted from what the walkthrough computed.

The expectations are written down here once more, independently of what the walkthroughs themselves hold to be printed.
"""

import numpy as np
import pytest

from tatami.lectures.catalogue import CATALOGUE

MAGIC = [[16, 2, 3, 13], [5, 11, 10, 8], [9, 7, 6, 12], [4, 14, 15, 1]]
IM2COL = [[1, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]]

# lecture, key, value, half a unit of the last place that is known
FACTS = [
    (
        "convolution",
        "figure 2",
        [[40, 45, 50, 55], [70, 75, 80, 85], [100, 105, 110, 115], [130, 135, 140, 145]],
        0,
    ),
    ("convolution", "exercise 1", [[27, 38], [34, 21]], 0),
    ("convolution", "exercise 2", [[24, 20, 16, 8], [30, 27, 38, 19], [31, 34, 21, 25], [27, 40, 36, 28]], 0),
    ("convolution", "exercise 2, G", MAGIC, 0),
    ("convolution", "same by the program", MAGIC, 0),
    ("convolution", "DAY4 valid", [[15, 16], [6, 15]], 0),
    ("convolution", "DAY4 bias", [[18, 19], [9, 18]], 0),
    ("convolution", "DAY4 padded", [[7, 12, 10, 2], [4, 15, 16, 10], [10, 6, 15, 6], [8, 10, 4, 3]], 0),
    ("convolution", "DAY4 stride", [[15, 17, 15], [17, 15, 17], [15, 17, 15]], 0),
    ("pooling", "pooled", [[9, 7], [6, 8]], 0),
    ("pooling", "moved and pooled", [[9, 7], [6, 8]], 0),
    ("im2col", "matrix", IM2COL, 0),
    ("im2col", "batch matrix", [row + row for row in IM2COL] * 2, 0),
    ("im2col", "rows and columns", [2 * 2 * 2, 2 * 2 * 2], 0),
    ("im2col", "larger", [2 * 3 * 3, 3 * 5 * 5], 0),
    ("sobel", "F", [[1, 0, -1], [2, 0, -2], [1, 0, -1]], 0),
    ("sobel", "size", [126, 126], 0),
    ("sobel", "lost", np.zeros((5, 5)), 0),
    ("ox", "pooled ○", [0.9820, 0.8808], 5e-5),
    ("ox", "pooled ×", [0.9526, 0.9526], 5e-5),
    ("ox", "outputs ○", [0.2268, 0.8219], 5e-5),
    ("ox", "outputs ×", [0.1719, 0.8650], 5e-5),
    ("ox", "C ○", 0.6367, 5e-5),
    ("ox", "C ×", 0.0239, 5e-5),
    ("ox", "C_T", 1.9818, 5e-5),
    ("ox", "C_T", 3 * (0.6367 + 0.0239), 2e-4),
    ("ox", "δ output ○", [-0.1356, 0.1203], 5e-5),
    ("ox", "δ output ×", [0.0245, -0.0158], 5e-5),
    # The facts were summed from δ rounded to four places, hence the wider margin.
    ("ox", "into pooled ○", [-0.5162, 0.9906], 1.5e-4),
    ("ox", "into pooled ×", [0.0778, -0.1582], 2.5e-4),
    ("ox", "δ filters ○", [-0.0091, 0.1040], 5e-5),
    ("ox", "δ filters ×", [0.0035, -0.0071], 5e-5),
    ("ox", "W updated, first row", [1.5330, -4.1712], 5e-5),
    ("ox", "W updated, second row", [-2.6309, 3.4727], 5e-5),
    ("ox", "output biases updated", [1.0333, 0.9686], 5e-5),
    ("ox", "right δ", -0.0091, 5e-5),
    ("ox", "measured δ", -0.0091, 5e-5),
    ("ox", "doubled δ F1 ○", -0.000161, 5e-7),
    ("ox", "slide rule F1", [1.00005, 0.99996, 0.99996, -1], 4e-5),
    ("ox", "slide rule F2", [0.9947, -1.0022, -1.0033, 0.9947], 5e-5),
    ("ox", "slide rule biases", [0.99996, 0.9947], 4e-5),
    ("ox", "slide outputs ○", [0.2447, 0.8080], 5e-5),
    ("ox", "slide outputs ×", [0.1859, 0.8542], 5e-5),
    ("ox", "C ○ from the slide's outputs", 0.6117, 5e-5),
    ("ox", "C × from the slide's outputs", 0.0279, 5e-5),
    ("arai", "conv1 size", [32, 28, 28], 0),
    ("arai", "pool2 size", [64, 7, 7], 0),
    ("arai", "flat size", [3136], 0),
    ("arai", "dense sizes", [100, 200, 10], 0),
    ("arai", "conv2 MFLOP", 7.2, 0.05),
    ("arai", "MFLOP", 24, 1),
    ("arai", "seconds", 805.45, 5e-3),
    ("arai", "images per second", 298, 0.5),
    ("arai", "reported accuracy", 0.971, 5e-4),
    ("arai", "rate on the mean", 0.01, 1e-12),
    ("arai", "Arai's classes", [5, 10, 4], 0),
    ("arai", "exact count", 16_000, 0),
    ("losses", "right squared error", 0.07, 1e-12),
    ("losses", "dE/dy", [0.1, -0.3, 0.2], 1e-12),
    ("initial-values", "Xavier", 0.1, 1e-12),
    ("initial-values", "He right", np.sqrt(2 / 100), 1e-12),
    ("initial-values", "He printed", np.sqrt(2) / 100, 1e-12),
    ("dropout", "kept sum", 27, 1e-12),
    ("activations", "ReLU slope at 0", 0, 0),
    ("activations", "step at 0", 0, 0),
    ("activations", "largest sigmoid slope", 0.25, 0),
    ("history", "AlexNet sizes", [55, 27, 27, 13, 13, 13, 6], 0),
    ("history", "AlexNet parameters", 60_965_224, 0),
    ("history", "LeNet sizes", [28, 14, 10, 5, 1], 0),
    ("history", "C5 parameters", 48_120, 0),
]


@pytest.mark.parametrize(
    ("name", "key", "value", "tolerance"), FACTS, ids=[f"{name}: {key}" for name, key, *_ in FACTS]
)
def test_the_walkthrough_computes_the_checked_number(lecture, name, key, value, tolerance):
    computed = lecture(name).numbers[key]
    expected = np.asarray(value, dtype=float)
    assert computed.shape == expected.shape
    assert np.max(np.abs(computed - expected)) <= tolerance


def test_same_by_arais_definition_shifts_the_image(lecture):
    shifted = lecture("convolution").numbers["same by the definition"]
    assert shifted[0].tolist() == [0, 0, 0, 0]
    assert shifted[1:, 1:].tolist() == [row[:3] for row in MAGIC[:3]]


def test_true_convolution_is_correlation_with_the_turned_filter(lecture):
    numbers = lecture("convolution").numbers
    assert np.array_equal(numbers["true convolution"], numbers["turned"])
    assert not np.array_equal(numbers["true convolution"], numbers["correlation"])


def test_five_thousand_updates_bring_the_cost_below_a_hundredth(lecture):
    numbers = lecture("ox").numbers
    assert numbers["C_T at the start"] == pytest.approx(1.9818, abs=5e-5)
    assert numbers["C_T after 5000"] < 0.01
    assert numbers["outputs ○ after 5000"][0] > 0.9
    assert numbers["outputs × after 5000"][1] > 0.9


def test_backprop_agrees_with_the_full_correlation_and_with_central_differences(lecture):
    numbers = lecture("backprop").numbers
    for channel in ("", " second"):
        place = "first" if not channel else "second"
        np.testing.assert_allclose(
            numbers[f"full correlation{channel}"], numbers[f"into pool {place}"], rtol=1e-12, atol=1e-15
        )
        np.testing.assert_allclose(numbers[f"δ ⋆ x {place}"], numbers[f"dF2 {place}"], rtol=1e-12)
    assert numbers["worst distance"] < 1e-8
    assert numbers["random upstream"] == 0
    assert np.count_nonzero(numbers["δ conv1 first"]) > 0


def test_arais_backward_without_the_mask_disagrees_with_the_difference(lecture):
    numbers = lecture("arai").numbers
    np.testing.assert_allclose(numbers["right δ"], numbers["measured δ"], atol=1e-7)
    assert np.max(np.abs(numbers["forgotten δ"] - numbers["measured δ"])) > 0.01


def test_arais_beta_is_a_momentum_of_the_other_sign(lecture):
    numbers = lecture("arai").numbers
    assert numbers["Beta"] == pytest.approx(float(numbers["momentum"]), rel=1e-12)


def test_arais_printed_product_does_not_exist(lecture):
    numbers = lecture("arai").numbers
    assert numbers["product fits"] == 0
    assert numbers["right product"].tolist() == [2 * 14 * 14, 64]


def test_arai_learns_the_digits(lecture):
    assert lecture("arai").numbers["test accuracy"] > 0.93


def test_softmax_begins_with_probability_minus_target(lecture):
    numbers = lecture("losses").numbers
    np.testing.assert_allclose(numbers["δ"], numbers["v"] - [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(numbers["δ"], numbers["δ measured"], atol=1e-8)
    np.testing.assert_allclose(numbers["v"], numbers["v shifted"], rtol=1e-12)


def test_every_optimiser_comes_down_and_its_first_step_is_its_formula(lecture):
    numbers = lecture("optimizers").numbers
    start, g = np.array([-7.0, 2.0]), numbers["g at the start"]
    assert g.tolist() == [-0.7, 4.0]
    np.testing.assert_allclose(numbers["SGD first"], start - 0.95 * g)
    np.testing.assert_allclose(
        numbers["Momentum second"], start - 0.1 * g + 0.85 * (-0.1 * g) - 0.1 * np.array([-0.693, 3.2])
    )
    np.testing.assert_allclose(numbers["AdaGrad first"], start - 1.5 * np.sign(g), atol=1e-8)
    np.testing.assert_allclose(numbers["Adam first"], start - 0.4 * np.sign(g), atol=1e-7)
    for name in ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSProp", "Adam"):
        assert numbers[f"{name} end"] < 0.1


def test_initial_values_keep_or_lose_the_signal(lecture):
    numbers = lecture("initial-values").numbers
    assert numbers["different answers"] == 1
    assert numbers["factor Xavier"] == pytest.approx(np.sqrt(0.5), rel=0.1)
    assert numbers["factor He"] == pytest.approx(1, rel=0.1)
    assert numbers["He drawn"] == pytest.approx(np.sqrt(2 / 100), rel=0.01)
    assert numbers["layer 10 printed"] < 1e-6 < 0.1 < numbers["layer 10 right"]
    assert numbers["sigmoid σ = 0.01"][-1] < 0.05


def test_weight_decay_and_dropout_help_against_wrong_labels(lecture):
    numbers = lecture("overfitting").numbers
    assert numbers["training plain"] == 1
    assert numbers["mean test decay"] > numbers["mean test plain"] + 0.02
    assert numbers["mean test dropout"] > numbers["mean test plain"] + 0.02


def test_dropout_keeps_the_mean_and_the_dropped_share_does_not(lecture):
    numbers = lecture("dropout").numbers
    np.testing.assert_allclose(numbers["mean y"], numbers["x"][0], rtol=0.03)
    assert numbers["mean sum"] == pytest.approx(float(numbers["kept sum"]), rel=0.01)
    assert numbers["dropped sum"] == pytest.approx(float(numbers["kept sum"]) / 3)
    np.testing.assert_allclose(numbers["drop connect"], numbers["drop connect by hand"])


def test_pooling_survives_more_shifts_the_larger_the_window(lecture):
    numbers = lecture("pooling").numbers
    shares = [float(numbers[f"stays {how}"]) for how in ("without pooling", "with 2", "with 3", "with 6")]
    assert shares == sorted(shares)
    assert shares[0] < 0.05 < 0.7 < shares[-1]


def test_a_perceptron_learns_and_and_or_but_not_xor(lecture):
    numbers = lecture("history").numbers
    assert numbers["AND"] == 4
    assert numbers["OR"] == 4
    assert numbers["XOR"] < 4
    assert numbers["XOR solved"].reshape(-1).tolist() == [0, 1, 1, 0]
    assert np.array_equal(numbers["complex"], numbers["complex moved"])
    assert not np.array_equal(numbers["simple"], numbers["simple moved"])


def test_col2im_is_the_transpose(lecture):
    numbers = lecture("im2col").numbers
    assert numbers["transpose, left"] == numbers["transpose, right"]
    assert np.array_equal(numbers["product"].reshape(2, 2), numbers["direct"])


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_number_differs_from_the_lecture_only_where_an_erratum_says_why(lecture, name):
    walkthrough = lecture(name)
    codes = {erratum.code for erratum in walkthrough.errata}
    for step in walkthrough.steps:
        for entry in step.comparables():
            if entry.agrees is False:
                assert entry.erratum in codes, f"{entry.key}: {entry.value} is not {entry.lecture}"
            else:
                assert not entry.erratum, f"{entry.key} agrees, but points to {entry.erratum}"


def test_augmentation_helps_where_it_does_what_writers_do(lecture):
    numbers = lecture("augmentation").numbers
    assert numbers["images to learn from"] == 15 * 20
    assert numbers["accuracy all"] > numbers["accuracy none"] + 0.02
    assert numbers["accuracy elastic"] > numbers["accuracy none"] + 0.02
    assert numbers["accuracy shift"] > numbers["accuracy none"] + 0.02
    assert numbers["accuracy flip"] < numbers["accuracy none"]
    assert numbers["mirrored"] < 0.6 < 0.85 < numbers["upright"]


def test_augmented_images_are_the_same_when_drawn_again_and_new_in_every_epoch(lecture):
    numbers = lecture("augmentation").numbers
    assert numbers["drawn again"] == 0
    assert numbers["drawn alone"] == 0
    assert numbers["different images"] == numbers["images shown"]
    np.testing.assert_allclose(numbers["point read"], [2 * np.sqrt(3) - 1, 2 + np.sqrt(3)], rtol=1e-12)
