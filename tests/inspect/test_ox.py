"""Every number of the ○× exercise, forward and backward, followed to the pixels and to the loss."""

import numpy as np
import pytest

from tatami import SquaredError, build, trace
from tatami.inspect.explanation import equal_bits

CIRCLE = np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]], dtype=float)
CROSS = np.array([[[1, 0, 1], [0, 1, 0], [1, 0, 1]]], dtype=float)
FORWARD = ("conv1", "sigmoid1", "pool1", "flatten1", "dense1", "sigmoid2")


def traced(image, label):
    network = build("ox")
    return trace(network, network.initialize(dtype="float64"), image, label, SquaredError("sum"))


@pytest.fixture(scope="module", params=[(CIRCLE, 0), (CROSS, 1)], ids=["circle", "cross"])
def kept(request):
    return traced(*request.param)


def everything_behind(explanations):
    """Follow every reference, and theirs, until nothing new comes; return all explanations by label."""
    found = {}
    waiting = list(explanations)
    while waiting:
        explanation = waiting.pop()
        label = explanation.subject.label()
        if label in found:
            continue
        found[label] = explanation
        waiting += [reference.follow() for reference in explanation.references]
    return found


def test_every_unit_goes_back_to_the_pixels(kept):
    units = [kept.explain(name, at) for name in FORWARD for at in np.ndindex(kept[name].output.shape)]
    found = everything_behind(units)
    assert all(explanation.check() for explanation in found.values())
    pixels = {label for label, explanation in found.items() if label.startswith("input[")}
    assert len(pixels) == 9
    ends = {label.split("[")[0] for label, explanation in found.items() if explanation.given}
    assert ends == {"input", "conv1.weight", "conv1.bias", "dense1.weight", "dense1.bias"}


def test_every_gradient_goes_up_to_the_loss(kept):
    entries = [(name, kept[name].output.shape) for name in ("input", *FORWARD)]
    entries += [
        (f"{layer}.{name}", gradient.shape)
        for layer in ("conv1", "dense1")
        for name, gradient in kept[layer].dparameters.items()
    ]
    entries += [(f"{layer}.input", kept[layer].input.shape) for layer in FORWARD]
    gradients = [kept.explain_gradient(name, at) for name, shape in entries for at in np.ndindex(shape)]
    found = everything_behind([kept.explain_loss(), *gradients])
    assert all(explanation.check() for explanation in found.values())
    targets = {label for label, explanation in found.items() if explanation.subject.kind == "target"}
    assert targets == {"target[0]", "target[1]"}
    start = kept.explain_gradient("sigmoid2", (0,))
    assert [reference.label() for reference in start.references] == ["sigmoid2[0]", "target[0]"]


def test_the_terms_add_up_bit_for_bit_in_the_order_listed(kept):
    sums = [kept.explain("conv1", at) for at in np.ndindex(2, 2, 2)]
    sums += [kept.explain_gradient("conv1.input", at) for at in np.ndindex(1, 3, 3)]
    for explanation in sums:
        assert explanation.exact
        assert explanation.combination == "sum"
        total = 0.0
        for term in explanation.terms:
            product = 1.0
            for factor in term.factors:
                product *= factor.value()
            assert product == term.value
            total += term.value
        assert equal_bits(total, explanation.value)
        assert explanation.terms[-1].partial == explanation.value


def test_a_matrix_product_stays_within_the_bound(kept):
    for at in np.ndindex(2):
        explanation = kept.explain("dense1", at)
        sizes = sum(abs(term.value) for term in explanation.terms)
        assert not explanation.exact
        assert explanation.bound == pytest.approx(3 * 2.0**-52 * sizes)
        assert abs(explanation.computed - explanation.value) <= explanation.bound


SLIDES = [
    ("pool1", (0, 0, 0), "0.9820"),
    ("pool1", (1, 0, 0), "0.8808"),
    ("sigmoid2", (0,), "0.2268"),
    ("sigmoid2", (1,), "0.8219"),
]
SLIDES_BACK = [
    ("dense1", (0,), "−0.1356"),
    ("dense1", (1,), "0.1203"),
    ("pool1", (0, 0, 0), "−0.5162"),
    ("pool1", (1, 0, 0), "0.9905"),  # the slide adds rounded numbers: 0.9906
    ("conv1", (0, 0, 0), "−0.0091"),
    ("conv1", (1, 0, 1), "0.1040"),
]


@pytest.mark.parametrize(("name", "at", "shown"), SLIDES)
def test_the_slides_forward_numbers_stand_in_the_wording(name, at, shown):
    assert f"= {shown}" in traced(CIRCLE, 0).explain(name, at).text().splitlines()[0]


@pytest.mark.parametrize(("name", "at", "shown"), SLIDES_BACK)
def test_the_slides_gradients_stand_in_the_wording(name, at, shown):
    assert f"= {shown}" in traced(CIRCLE, 0).explain_gradient(name, at).text().splitlines()[0]


def test_the_slides_costs_stand_in_the_wording():
    assert traced(CIRCLE, 0).explain_loss().text().startswith("E = 0.6367")
    assert traced(CROSS, 1).explain_loss().text().startswith("E = 0.0239")


def test_the_explanation_of_a_unit_reads_like_the_slide():
    text = traced(CIRCLE, 0).explain("conv1", (0, 1, 0)).text(one_based=True)
    assert "conv1[1,2,1] = 2" in text
    assert "u_conv(k, i, j) = Σ_c Σ_μ Σ_ν F(k, c, μ, ν)·x(c, i + μ − 1, j + ν − 1) + b(k)" in text
    assert "1·1 + 1·0 + 1·1 − 1·1 + 1" in text
    assert "F(1, 1, 2, 2)·x(1, 3, 2)" in text
    assert "bit for bit" in text


def test_the_filter_gradient_is_the_one_without_the_slides_double_factor():
    explanation = traced(CIRCLE, 0).explain_gradient("conv1.weight", (0, 0, 0, 0))
    assert explanation.value == pytest.approx(-0.0091, abs=5e-5)
    assert explanation.check()
