"""What an explanation is: an entry, the formula that made it, the numbers in it, and the entries they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tatami.inspect.expression import (
    Applied,
    Expression,
    Formula,
    Maximum,
    Named,
    Negative,
    Number,
    Padding,
    Product,
    Style,
    Sum,
    partial_sums,
)
from tatami.inspect.notation import number_latex

# What an entry is: of a layer's output (or the input image), of its gradient, of what a layer hands back to one of its
# inputs, of a parameter or its gradient, of an array that forward saved for backward, of the gradient of a value inside
# a layer (the state at a time step); of what a layer carries from step to step (running statistics), before and after
# the pass; or a target, the loss, a number that an optimiser remembers, that number after an update, and a parameter
# after an update.
Kind = Literal[
    "value",
    "gradient",
    "input gradient",
    "parameter",
    "parameter gradient",
    "saved",
    "inner gradient",
    "state",
    "new state",
    "target",
    "loss",
    "slot",
    "new slot",
    "updated",
]
AFTER = ("new state", "new slot", "updated")
GRADIENTS = ("gradient", "input gradient", "parameter gradient", "inner gradient")
Index = tuple[int, ...]


class Source(Protocol):
    """Where references read their numbers: a trace."""

    examples: int

    def array(self, kind: Kind, layer: str, name: str) -> NDArray[Any]:
        """Return the whole array that an entry belongs to."""
        ...

    def explanation_of(self, reference: "Reference") -> "Explanation":
        """Explain an entry."""
        ...


@dataclass(frozen=True)
class Reference(Expression):
    """One entry of a trace.

    Attributes:
        kind: what it is an entry of.
        layer: name of the layer, or 'input'.
        name: of the parameter or saved array, number of the input for 'input gradient', else empty.
        index: where it stands, the example first for arrays that have one.
        symbol: the letter that the formula at hand writes for it.
    """

    source: Source = field(repr=False, compare=False)
    kind: Kind
    layer: str
    name: str
    index: Index
    symbol: str = field(default="x", compare=False)

    def value(self) -> float:
        """Return the number that stands there."""
        return float(self.source.array(self.kind, self.layer, self.name)[self.index])

    def follow(self) -> "Explanation":
        """Return the explanation of this entry: forward down to the pixels, for gradients up to the loss."""
        return self.source.explanation_of(self)

    def shown_index(self, one_based: bool = False) -> Index:
        """Return the index as people see it: without the example if there is only one."""
        index = self.index
        if self.has_example_axis() and self.source.examples == 1:
            index = index[1:]
        return tuple(at + one_based for at in index)

    def has_example_axis(self) -> bool:
        """Say whether the first axis of the array counts examples."""
        if self.kind in ("value", "gradient", "input gradient", "target"):
            return True
        if self.kind not in ("saved", "inner gradient"):
            return False
        shape = self.source.array(self.kind, self.layer, self.name).shape
        return len(shape) > 1 and shape[0] == self.source.examples

    def label(self, one_based: bool = False) -> str:
        """Return the entry's name: conv1[0,2,3], ∂E/∂conv1.weight[0,0,1,1]."""
        index = self.shown_index(one_based)
        place = f"[{','.join(map(str, index))}]" if index else ""
        if self.kind == "loss":
            return "E"
        if self.kind == "target":
            return f"target{place}"
        owner = f".{self.name}" if self.name else ""
        if self.kind == "input gradient":
            owner = input_name(self.name)
        sign = "∂E/∂" if self.kind in GRADIENTS else ""
        after = "′" if self.kind in AFTER else ""
        return f"{sign}{self.layer}{owner}{after}{place}"

    def latex(self, style: Style) -> str:
        """Return the letter with its indices, or the number."""
        if style.numbers:
            return number_latex(self.value(), style.digits)
        index = self.shown_index(style.one_based)
        return f"{self.symbol}({','.join(map(str, index))})" if index else self.symbol

    def precedence(self, style: Style) -> int:
        """Return that of the number or letter."""
        return Number(self.value()).precedence(style) if style.numbers else super().precedence(style)

    def to_json(self, one_based: bool = False) -> dict[str, Any]:
        """Return kind, layer, name, index (from 0, with the example), the shown label and the value."""
        return {
            "kind": self.kind,
            "layer": self.layer,
            "name": self.name,
            "index": list(self.index),
            "label": self.label(one_based),
            "value": json_number(self.value()),
        }


def input_name(number: str) -> str:
    """Return how a layer's input is called in a label: .input for the only one, .input2 for the second.

    >>> input_name("0"), input_name("1")
    ('.input', '.input2')
    """
    return ".input" if number == "0" else f".input{int(number) + 1}"


def json_number(value: float) -> float | str:
    """Return a number that JSON can hold: those that are not finite as text."""
    return value if np.isfinite(value) else str(value)


@dataclass(frozen=True)
class Term:
    """One term: factors and their product, and for sums the sum so far."""

    expression: Expression
    value: float
    partial: float | None = None

    @property
    def factors(self) -> tuple[Expression, ...]:
        """Return the factors: references, numbers, or parts of the formula."""
        inside = self.expression
        while isinstance(inside, Negative):
            inside = inside.inside
        return inside.factors if isinstance(inside, Product) else (inside,)

    @property
    def references(self) -> tuple[Reference, ...]:
        """Return the entries that the term is made from."""
        return references_in(self.expression)

    @property
    def padding(self) -> bool:
        """Say whether the term looks at padding."""
        return any(isinstance(factor, Padding) for factor in self.factors)


@dataclass(frozen=True)
class Note:
    """A remark: the key of a phrase, and what is filled in; ``places`` names the values that are indices."""

    key: str
    values: Mapping[str, object] = field(default_factory=dict)
    places: tuple[str, ...] = ()

    def filled(self, one_based: bool) -> dict[str, object]:
        """Return the values, indices counted from 0 or 1."""
        return {
            name: int(str(value)) + one_based if name in self.places else value
            for name, value in self.values.items()
        }


@dataclass(frozen=True)
class Derivation:
    """What an explainer says about an entry.

    Attributes:
        formula: the general formula.
        expression: the same for this entry, in the order in which the reference backend computes it.
        exact: whether that order is kept to the last bit, so that the result must be the same number.
        notes: remarks.
        given: whether there is nothing to derive: the number came from outside.
    """

    formula: Formula
    expression: Expression
    exact: bool = False
    notes: tuple[Note, ...] = ()
    given: bool = False


def given_number(value: float) -> Derivation:
    """Return the derivation of a number that came from outside."""
    return Derivation(Formula(""), Number(value), exact=True, given=True)


@dataclass(frozen=True)
class Explanation:
    """How one number of a trace came about.

    Attributes:
        subject: the entry that is explained.
        owner: class of the layer, loss or optimiser whose formula it is.
        derivation: the formula, and the formula with the entry's own numbers.
    """

    subject: Reference
    owner: str
    derivation: Derivation

    @property
    def value(self) -> float:
        """Return the stored number."""
        return self.subject.value()

    @property
    def given(self) -> bool:
        """Say whether the number came from outside: a pixel, a parameter, a target, a drawn mask."""
        return self.derivation.given

    @property
    def exact(self) -> bool:
        """Say whether the terms must give the stored number bit for bit."""
        return self.derivation.exact

    @property
    def computed(self) -> float:
        """Return what the formula gives with the numbers of the trace, in the order listed."""
        return self.derivation.expression.value()

    @property
    def bound(self) -> float:
        """Return how far `computed` may be from the stored number: 0, or the rounding bound.

        For a sum of n products that is n·ε·Σ|terms|, ε = 2⁻⁵²: twice (n - 1 additions and one multiplication) of half
        an ε each, once for the reference's order and once for ours. For other formulas the same is propagated
        through the functions in them.
        """
        if self.exact:
            return 0.0
        expression = self.derivation.expression
        if self.plain_sum:
            sizes = sum(abs(term.value) for term in self.terms)
            return len(self.terms) * float(np.finfo(np.float64).eps) * sizes
        return 2 * expression.error()

    @property
    def plain_sum(self) -> bool:
        """Say whether the formula is nothing but a sum of products of two entries or numbers."""
        expression = self.derivation.expression
        return isinstance(expression, Sum) and all(
            len(term.factors) <= 2 and not any(factor.children() or factor.error() for factor in term.factors)
            for term in self.terms
        )

    @property
    def same_bits(self) -> bool:
        """Say whether the formula gives the stored number bit for bit here, guaranteed or not."""
        return equal_bits(self.computed, self.value)

    def check(self) -> bool:
        """Say whether the formula gives the stored number: bit for bit if `exact`, else within `bound`."""
        computed, stored = self.computed, self.value
        if self.exact:
            return equal_bits(computed, stored)
        if not np.isfinite(stored):
            # Which of ∞ and NaN comes out of an overflow depends on the order of the additions.
            return not np.isfinite(computed)
        return abs(computed - stored) <= self.bound

    @property
    def combination(self) -> str:
        """Return how the terms combine.

        'sum', 'maximum', 'product', 'quotient', 'power', 'function', 'copy'; 'constant' and 'given' have no terms.
        """
        if self.given:
            return "given"
        node = principal(self.derivation.expression)
        if isinstance(node, Sum) and len(node.terms) == 1:
            node = node.terms[0]
        if isinstance(node, Sum):
            return "sum"
        if isinstance(node, Maximum):
            return "maximum"
        if isinstance(node, Applied):
            return node.kind if node.kind in ("quotient", "power") else "function"
        if isinstance(node, Number):
            return "constant"
        return "product" if isinstance(node, Product | Negative) else "copy"

    @property
    def terms(self) -> tuple[Term, ...]:
        """Return the terms of the formula's main sum (or maximum, or the arguments of its function)."""
        if self.given:
            return ()
        node = principal(self.derivation.expression)
        if isinstance(node, Sum):
            values = [term.value() for term in node.terms]
            partials = partial_sums(values)
            return tuple(
                Term(term, value, partial)
                for term, value, partial in zip(node.terms, values, partials, strict=False)
            )
        parts = node.children() if isinstance(node, Maximum | Applied) else (node,)
        return tuple(Term(part, part.value()) for part in parts)

    @property
    def references(self) -> tuple[Reference, ...]:
        """Return every entry that the number was made from, each once, in the order of the formula."""
        return references_in(self.derivation.expression)

    @property
    def definitions(self) -> tuple[Named, ...]:
        """Return the letters that the formula introduces, each once, the simplest last used first."""
        found: dict[str, Named] = {}
        for node in self.derivation.expression.walk():
            if isinstance(node, Named) and node.name not in found:
                found[node.name] = node
        return tuple(found.values())

    # ---- output forms ----------------------------------------------------------------------------------------

    def text(self, **options: Any) -> str:
        """Return the explanation as lines of text; options see `tatami.inspect.forms.Form`."""
        from tatami.inspect.forms import Form, as_text

        return as_text(self, Form(**options))

    def markdown(self, **options: Any) -> str:
        """Return the explanation as Markdown with LaTeX formulas; options see `tatami.inspect.forms.Form`."""
        from tatami.inspect.forms import Form, as_markdown

        return as_markdown(self, Form(**options))

    def html(self, **options: Any) -> str:
        """Return the explanation as an HTML fragment with MathML formulas, which needs no script and no network."""
        from tatami.inspect.forms import Form, as_html

        return as_html(self, Form(**options))

    def to_json(self, **options: Any) -> dict[str, Any]:
        """Return the explanation as plain JSON values, all terms included; `from_json` reads them back."""
        from tatami.inspect.forms import Form, as_json
        from tatami.inspect.stored import derivation_json

        return as_json(self, Form(**options)) | {"derivation": derivation_json(self)}

    @classmethod
    def from_json(cls, data: Any) -> "Explanation":
        """Read an explanation back that `to_json` wrote: the same forms, terms and check, but nothing to follow.

        Raises:
            DataError: it is none, or damaged.
        """
        from tatami.inspect.stored import explanation_from_json

        return explanation_from_json(data)

    def _repr_html_(self) -> str:
        """Show the explanation in a notebook."""
        return self.html()

    def __str__(self) -> str:
        """Return the explanation as text."""
        return self.text()


def equal_bits(a: float, b: float) -> bool:
    """Say whether two floats are the same to the last bit; the sign of a zero aside, and one NaN is like another.

    >>> equal_bits(0.1 + 0.2, 0.3), equal_bits(0.0, -0.0), equal_bits(float("nan"), float("nan"))
    (False, True, True)
    """
    return a == b or (isnan(a) and isnan(b))


def references_in(expression: Expression) -> tuple[Reference, ...]:
    """Return the references of an expression, each once, in order."""
    return tuple(dict.fromkeys(node for node in expression.walk() if isinstance(node, Reference)))


def is_function(expression: Expression) -> bool:
    """Say whether a node is a function such as e^x, whose argument is no sum that the reader looks for."""
    return isinstance(expression, Applied) and expression.kind == "function"


def principal(expression: Expression) -> Expression:
    """Return the node whose children are the terms: the sum inside a mean, a root or a named part."""
    if isinstance(expression, Sum | Maximum):
        return expression
    if isinstance(expression, Named):
        return principal(expression.inside)
    inside = [child for child in expression.children() if references_in(child)]
    if len(inside) > 1:
        # A scale that has a letter of its own, such as the largest entry of a norm, does not hide the sum.
        inside = [child for child in inside if not isinstance(child, Named) and not is_function(child)]
    if len(inside) == 1:
        below = principal(inside[0])
        if isinstance(below, Sum | Maximum):
            return below
    return expression
