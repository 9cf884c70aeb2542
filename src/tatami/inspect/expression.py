"""Formulas with numbers in them: small trees that can be evaluated, shown, and walked.

An explanation is a tree of sums, products and functions whose leaves are entries of a trace. Evaluated in float64 in
the order in which it is written, it gives the number that it explains. Beside the value every node knows how far it
may be from what another order of the same operations gives: its rounding error, propagated from the leaves up
(Higham, "Accuracy and Stability of Numerical Algorithms", §3.3), so that an explanation can be checked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tatami.inspect.notation import number_latex

# Half a unit in the last place of 1: the largest relative error of one float64 operation.
UNIT_ROUNDOFF = 2.0**-53

SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4


@dataclass(frozen=True)
class Style:
    """How an expression is written: with the numbers or the names of its entries, counted from 0 or 1."""

    numbers: bool = False
    one_based: bool = False
    digits: int = 4
    most_terms: int | None = 12

    @property
    def offset(self) -> int:
        """What is added to an index that is shown."""
        return 1 if self.one_based else 0


class Expression:
    """Base of the nodes."""

    def children(self) -> Sequence["Expression"]:
        """Return the nodes below."""
        return ()

    def value(self) -> float:
        """Return the value, computed in the order written."""
        raise NotImplementedError

    def error(self) -> float:
        """Return a bound of the rounding error of `value`, the leaves taken as exact."""
        return 0.0

    def latex(self, style: Style) -> str:
        """Return the node as LaTeX."""
        raise NotImplementedError

    def precedence(self, style: Style) -> int:
        """Return how strongly the node holds together when it is written."""
        return ATOM

    def walk(self, visited: set[int] | None = None) -> Iterator["Expression"]:
        """Yield this node and all below it, in the order written; a named part that is used twice comes once."""
        visited = set() if visited is None else visited
        if isinstance(self, Named):
            if id(self) in visited:
                return
            visited.add(id(self))
        yield self
        for child in self.children():
            yield from child.walk(visited)


def wrapped(node: Expression, style: Style, at_least: int, *, first: bool = False) -> str:
    """Write a node in parentheses if it holds together less than asked; a sign needs them too unless it is first."""
    text = node.latex(style)
    if node.precedence(style) < at_least or (text.startswith("-") and not first):
        return rf"\left({text}\right)"
    return text


@dataclass(frozen=True)
class Number(Expression):
    """A constant, with the name that it has in the formula if it has one."""

    number: float
    name: str = ""

    def value(self) -> float:
        """Return the number."""
        return float(self.number)

    def latex(self, style: Style) -> str:
        """Return the number, or its name where names are asked for."""
        return self.name if self.name and not style.numbers else number_latex(self.number, style.digits)

    def precedence(self, style: Style) -> int:
        """Return a product's where the number has a power of ten."""
        return PRODUCT if "times" in self.latex(style) else ATOM


@dataclass(frozen=True)
class Padding(Expression):
    """A zero that stands outside the input."""

    number: float = 0.0

    def value(self) -> float:
        """Return the padding's value."""
        return float(self.number)

    def latex(self, style: Style) -> str:
        """Return the value."""
        return number_latex(self.number, style.digits)


@dataclass(frozen=True)
class Sum(Expression):
    """Terms added one after the other."""

    terms: tuple[Expression, ...]

    def children(self) -> Sequence[Expression]:
        """Return the terms."""
        return self.terms

    def value(self) -> float:
        """Return the sum."""
        *_, total = partial_sums([term.value() for term in self.terms])
        return total

    def error(self) -> float:
        """Return Σ errors + (n - 1)·u·Σ|terms|, which holds for every order of the additions."""
        inherited = sum(term.error() for term in self.terms)
        sizes = sum(abs(term.value()) for term in self.terms)
        return inherited + max(0, len(self.terms) - 1) * UNIT_ROUNDOFF * sizes

    def latex(self, style: Style) -> str:
        """Return the terms with + and -, the middle of a long sum left out."""
        if not self.terms:
            return "0"
        shown = [self.terms[number] for number in shown_positions(len(self.terms), style.most_terms)]
        text = ""
        for number, term in enumerate(shown):
            if number and number == len(shown) // 2 and len(shown) < len(self.terms):
                text += r" + \dots"
            word = term.latex(style)
            if isinstance(term, Sum) and len(term.terms) > 1:
                word = rf"\left({word}\right)"
            text += f" - {word[1:]}" if text and word.startswith("-") else f" + {word}" if text else word
        return text

    def precedence(self, style: Style) -> int:
        """Return a sum's."""
        return SUM if len(self.terms) > 1 else self.terms[0].precedence(style) if self.terms else ATOM


def partial_sums(values: Sequence[float]) -> list[float]:
    """Return the sum after each term: one number at least.

    >>> partial_sums([1.0, 2.0, 3.0])
    [1.0, 3.0, 6.0]
    """
    if not values:
        return [0.0]
    totals = [values[0]]
    for value in values[1:]:
        totals.append(totals[-1] + value)
    return totals


def shown_positions(count: int, most: int | None) -> list[int]:
    """Return which of many are shown: all, or the first and the last of them.

    >>> shown_positions(9, 4)
    [0, 1, 7, 8]
    """
    if most is None or count <= most:
        return list(range(count))
    return [*range((most + 1) // 2), *range(count - most // 2, count)]


@dataclass(frozen=True)
class Negative(Expression):
    """-x."""

    inside: Expression

    def children(self) -> Sequence[Expression]:
        """Return x."""
        return (self.inside,)

    def value(self) -> float:
        """Return -x."""
        return -self.inside.value()

    def error(self) -> float:
        """Return that of x: a sign rounds nothing."""
        return self.inside.error()

    def latex(self, style: Style) -> str:
        """Return x behind a sign."""
        return "-" + wrapped(self.inside, style, PRODUCT)

    def precedence(self, style: Style) -> int:
        """Return a product's."""
        return PRODUCT


@dataclass(frozen=True)
class Product(Expression):
    """Factors multiplied from left to right."""

    factors: tuple[Expression, ...]

    def children(self) -> Sequence[Expression]:
        """Return the factors."""
        return self.factors

    def value(self) -> float:
        """Return the product."""
        total = self.factors[0].value()
        for factor in self.factors[1:]:
            total *= factor.value()
        return total

    def error(self) -> float:
        """Return the error that the factors bring with them, and one rounding for each multiplication."""
        values = [factor.value() for factor in self.factors]
        largest = 1.0
        for value, factor in zip(values, self.factors, strict=True):
            largest *= abs(value) + factor.error()
        plain = abs(self.value())
        return max(0.0, largest - plain) + (len(self.factors) - 1) * UNIT_ROUNDOFF * largest

    def latex(self, style: Style) -> str:
        """Return the factors with dots between them."""
        return r" \cdot ".join(
            wrapped(factor, style, PRODUCT, first=number == 0) for number, factor in enumerate(self.factors)
        )

    def precedence(self, style: Style) -> int:
        """Return a product's."""
        return PRODUCT if len(self.factors) > 1 else self.factors[0].precedence(style)


@dataclass(frozen=True)
class Applied(Expression):
    r"""A function of other nodes.

    Args:
        template: how it is written, with #1, #2 … for the arguments, such as ``\exp\left(#1\right)``.
        function: what computes it from floats.
        arguments: the nodes that it is applied to.
        ulps: how many roundings its computation may cost; 1 for what IEEE 754 rounds correctly.
        holds: precedence of what the template writes.
        tight: precedence that the arguments need; a sum's where the template itself brackets them.
        kind: what the function is called in words: 'maximum', 'quotient', 'function'.
    """

    template: str
    function: Callable[..., Any]
    arguments: tuple[Expression, ...]
    ulps: float = 4.0
    holds: int = ATOM
    tight: int = SUM
    kind: str = "function"

    def children(self) -> Sequence[Expression]:
        """Return the arguments."""
        return self.arguments

    def at(self, values: Sequence[float]) -> float:
        """Return the function of some values; what is not finite stays so, without a warning."""
        with np.errstate(all="ignore"):
            return float(self.function(*values))

    def value(self) -> float:
        """Return the function of the arguments."""
        return self.at([argument.value() for argument in self.arguments])

    def error(self) -> float:
        """Return how far the value moves when each argument moves by its error, and the function's own roundings."""
        values = [argument.value() for argument in self.arguments]
        value = self.at(values)
        moved = 0.0
        for number, argument in enumerate(self.arguments):
            reach = argument.error()
            if reach > 0:
                sides = [
                    self.at([*values[:number], values[number] + side * reach, *values[number + 1 :]])
                    for side in (-1, 1)
                ]
                moved += max(abs(side - value) for side in sides)
        return moved + self.ulps * UNIT_ROUNDOFF * abs(value)

    def latex(self, style: Style) -> str:
        """Fill the template."""
        text = self.template
        for number, argument in enumerate(self.arguments, start=1):
            word = wrapped(argument, style, self.tight, first=self.tight == SUM)
            text = text.replace(f"#{number}", word)
        return text

    def precedence(self, style: Style) -> int:
        """Return the template's."""
        return self.holds


@dataclass(frozen=True)
class Maximum(Expression):
    """The largest of several nodes; on request of their magnitudes."""

    arguments: tuple[Expression, ...]
    magnitudes: bool = False

    def children(self) -> Sequence[Expression]:
        """Return the arguments."""
        return self.arguments

    def value(self) -> float:
        """Return the largest; NaN stays NaN."""
        values = np.array([argument.value() for argument in self.arguments])
        return float(np.max(np.abs(values) if self.magnitudes else values))

    def error(self) -> float:
        """Return the largest error: a comparison rounds nothing."""
        return max((argument.error() for argument in self.arguments), default=0.0)

    def latex(self, style: Style) -> str:
        """Return max(…), the middle of a long list left out."""
        positions = shown_positions(len(self.arguments), style.most_terms)
        words = []
        for number in positions:
            word = self.arguments[number].latex(style)
            words.append(f"|{word}|" if self.magnitudes else word)
        if len(positions) < len(self.arguments):
            words.insert(len(positions) // 2, r"\dots")
        return rf"\max\left({', '.join(words)}\right)"


@dataclass(frozen=True)
class Named(Expression):
    """A part of a formula that has a letter of its own; the explanation says below what it stands for.

    It is computed once, however often the letter is used: a mean stands in every term of a variance.
    """

    name: str
    inside: Expression
    known: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    def children(self) -> Sequence[Expression]:
        """Return what the letter stands for."""
        return (self.inside,)

    def value(self) -> float:
        """Return its value."""
        if "value" not in self.known:
            self.known["value"] = self.inside.value()
        return self.known["value"]

    def error(self) -> float:
        """Return its error."""
        if "error" not in self.known:
            self.known["error"] = self.inside.error()
        return self.known["error"]

    def latex(self, style: Style) -> str:
        """Return the letter, or the number that it stands for."""
        return number_latex(self.value(), style.digits) if style.numbers else self.name

    def precedence(self, style: Style) -> int:
        """Return a product's where the number has a power of ten."""
        return PRODUCT if "times" in self.latex(style) else ATOM


# ---- the usual functions -------------------------------------------------------------------------------------


def quotient(top: Expression, bottom: Expression) -> Applied:
    """Return top / bottom."""
    return Applied(r"\frac{#1}{#2}", np.divide, (top, bottom), ulps=1, holds=PRODUCT, kind="quotient")


def power(base: Expression, exponent: Expression) -> Applied:
    """Return base^exponent."""
    return Applied(r"{#1}^{#2}", float_power, (base, exponent), holds=POWER, tight=ATOM, kind="power")


def float_power(base: float, exponent: float) -> float:
    """Return base^exponent as NumPy computes it."""
    return float(np.float64(base) ** np.float64(exponent))


def square(base: Expression) -> Applied:
    """Return base², rounded once."""
    return Applied(r"{#1}^{2}", lambda x: x * x, (base,), ulps=1, holds=POWER, tight=ATOM, kind="power")


def root(inside: Expression) -> Applied:
    """Return √inside, rounded once."""
    return Applied(r"\sqrt{#1}", np.sqrt, (inside,), ulps=1)


def exponential(inside: Expression) -> Applied:
    """Return e^inside."""
    return Applied(r"e^{#1}", np.exp, (inside,), holds=POWER)


def logarithm(inside: Expression) -> Applied:
    """Return log(inside)."""
    return Applied(r"\log\left(#1\right)", np.log, (inside,))


def magnitude(inside: Expression) -> Applied:
    """Return |inside|."""
    return Applied(r"|#1|", np.abs, (inside,), ulps=0)


def sign_of(inside: Expression) -> Applied:
    """Return the sign of inside: -1, 0 or 1."""
    return Applied(r"\sign\left(#1\right)", np.sign, (inside,), ulps=0)


def difference(a: Expression, b: Expression) -> Sum:
    """Return a - b."""
    return Sum((a, Negative(b)))


@dataclass(frozen=True)
class Formula:
    """The general formula of an entry, in LaTeX, with indices that count from 0 and, where that differs, from 1."""

    latex: str
    one_based: str = field(default="")

    def of(self, style: Style) -> str:
        """Return the form for a style."""
        return self.one_based if style.one_based and self.one_based else self.latex
