"""Formulas: LaTeX read as Unicode and as MathML, numbers as people write them."""

import pytest

from tatami.inspect.explain.activations import FORMULAS
from tatami.inspect.expression import (
    Maximum,
    Named,
    Negative,
    Number,
    Product,
    Style,
    Sum,
    difference,
    exponential,
    quotient,
    root,
)
from tatami.inspect.notation import (
    mathml_formula,
    number_latex,
    number_text,
    parse,
    text_latex,
    unicode_formula,
)

NAMES, NUMBERS = Style(numbers=False), Style(numbers=True)


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\frac{a}{b + c}", "a/(b + c)"),
        (r"\frac{1}{2} \sum_{k} (t(k) - a(k))^{2}", "½ Σ_k (t(k) − a(k))²"),
        (r"\sqrt{\hat{v}} + \epsilon", "√v̂ + ε"),
        (r"w \leftarrow w - \eta \cdot g", "w ← w − η·g"),
        (r"\max_{m \in P(i)} x(m)", "max_(m ∈ P(i)) x(m)"),
        (r"-0.5 \cdot (-2)", "−0.5·(−2)"),
        (r"1.61 \times 10^{-5}", "1.61 × 10⁻⁵"),
        (r"\text{two words}", "two words"),
        (r"f'(x) = 1 - y^{2}", "f′(x) = 1 − y²"),
    ],
)
def test_latex_as_text(latex, text):
    assert unicode_formula(latex) == text


def test_mathml_has_the_structure_of_the_formula():
    assert mathml_formula(r"\frac{a}{2}") == "<math><mfrac><mi>a</mi><mn>2</mn></mfrac></math>"
    assert mathml_formula(r"\sqrt{x_{1}}") == "<math><msqrt><msub><mi>x</mi><mn>1</mn></msub></msqrt></math>"
    assert "<munder><mo>∑</mo><mi>k</mi></munder>" in mathml_formula(r"\sum_{k} x(k)")
    assert mathml_formula(r"a < b") == "<math><mrow><mi>a</mi><mo>&lt;</mo><mi>b</mi></mrow></math>"
    assert "&lt;script&gt;" in mathml_formula(text_latex("<script>"))


@pytest.mark.parametrize("latex", [r"\unknown", "a}", "x^"])
def test_mistakes_in_formulas_are_errors(latex):
    with pytest.raises(ValueError, match=r"unknown command|brace|ends where"):
        parse(latex)


def test_numbers():
    assert number_latex(float("inf")) == r"\infty"
    assert number_latex(float("nan")) == r"\text{NaN}"
    assert number_latex(-0.0) == "0"
    assert number_latex(0.00012) == r"1.2 \times 10^{-4}"
    assert number_text(1234567.0) == "1.2346·10⁶"
    assert number_text(0.5, 17) == "0.5"


def test_every_activation_formula_can_be_read():
    for formulas in FORMULAS.values():
        for latex in (formulas.function, formulas.slope):
            assert "\\" not in unicode_formula(latex)
            assert mathml_formula(latex).startswith("<math>")


def test_signs_and_parentheses():
    product = Product((Number(-1.0), Number(-2.0)))
    assert unicode_formula(Sum((Number(3.0), product)).latex(NUMBERS)) == "3 − 1·(−2)"
    assert (
        unicode_formula(difference(Number(1.0), Sum((Number(2.0), Number(3.0)))).latex(NUMBERS))
        == "1 − (2 + 3)"
    )
    assert (
        unicode_formula(Product((Sum((Number(1.0), Number(2.0))), Number(4.0))).latex(NUMBERS)) == "(1 + 2)·4"
    )
    assert unicode_formula(exponential(Negative(Number(2.0, "x"))).latex(NAMES)) == "e^(−x)"
    assert unicode_formula(quotient(Number(1.0), root(Number(2.0))).latex(NUMBERS)) == "1/√2"


def test_errors_grow_with_every_operation_and_pass_through_functions():
    terms = Sum(tuple(Product((Number(0.1 * k), Number(0.3))) for k in range(1, 6)))
    assert 0 < terms.error() < exponential(terms).error()
    assert Maximum((terms, Number(100.0))).error() == terms.error()
    named = Named("m", terms)
    assert named.error() == terms.error()
    assert Number(3.0).error() == 0.0
