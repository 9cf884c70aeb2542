"""The forms in which an explanation is put out: text, Markdown with LaTeX, HTML with MathML, JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import click

from tatami.columns import filled, width_of, wrapped
from tatami.errors import SettingError, unknown_name
from tatami.inspect.explanation import Explanation, Reference, Term, json_number
from tatami.inspect.expression import Expression, Named, Negative, Number, Padding, Style, shown_positions
from tatami.inspect.notation import mathml_formula, mathml_parts, number_text, text_latex, unicode_formula
from tatami.inspect.phrases import PHRASES, class_in_words, phrase

NUMBER_STYLE = "text-align:right;padding-left:1em"
HTML_STYLE = (
    "font-family:system-ui,sans-serif;line-height:1.5;max-width:60rem;overflow-x:auto;"
    "border-left:3px solid #888;padding:0 0 0 1em;margin:1em 0"
)


@dataclass(frozen=True)
class Form:
    """Settings of the output forms.

    Args:
        language: 'en' or 'ja'.
        one_based: whether indices count from 1, as in the lectures.
        digits: decimals of numbers in formulas; terms and results are also given in full.
        most_terms: how many terms of a long sum are shown; None for all.
        colour: whether text is coloured for a terminal.
        width: columns of the terminal; longer formulas and sentences go on below. None breaks nothing.
    """

    language: str = "en"
    one_based: bool = False
    digits: int = 4
    most_terms: int | None = 12
    colour: bool = False
    width: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.language not in PHRASES:
            raise unknown_name("language", str(self.language), PHRASES)
        if not 1 <= self.digits <= 17:
            raise SettingError(f"digits must be from 1 to 17, got {self.digits}")
        if self.most_terms is not None and self.most_terms < 2:
            raise SettingError(f"most_terms must be at least 2, or None for all, got {self.most_terms}")

    def say(self, key: str, **values: object) -> str:
        """Return a phrase."""
        return phrase(self.language, key, values)

    def style(self, *, numbers: bool) -> Style:
        """Return how formulas are written, with names or with numbers."""
        return Style(numbers, self.one_based, self.digits, self.most_terms)

    def paint(self, text: str, **styles: Any) -> str:
        """Colour a text if that is wanted."""
        return click.style(text, **styles) if self.colour else text

    def number(self, value: float) -> str:
        """Return a number as text, rounded."""
        return number_text(value, self.digits)


@dataclass(frozen=True)
class Lines:
    """The parts of an explanation that all forms share, formulas as LaTeX."""

    title: str
    owner: str
    formula: str
    entries: str
    numbers: str
    result: str
    definitions: tuple[tuple[str, str, str, str], ...]
    combination: str
    check: str
    notes: tuple[str, ...]


def lines_of(explanation: Explanation, form: Form) -> Lines:
    """Put an explanation into words and formulas."""
    names, numbers = form.style(numbers=False), form.style(numbers=True)
    expression = explanation.derivation.expression
    definitions = tuple(
        (
            named.name,
            named.inside.latex(names),
            named.inside.latex(numbers),
            Number(named.value()).latex(numbers),
        )
        for named in explanation.definitions
    )
    return Lines(
        title=explanation.subject.label(form.one_based),
        owner=class_in_words(form.language, explanation.owner),
        formula=explanation.derivation.formula.of(names),
        entries="" if explanation.given else expression.latex(names),
        numbers="" if explanation.given else expression.latex(numbers),
        result=Number(explanation.value).latex(numbers),
        definitions=definitions,
        combination=combination_in_words(explanation, form),
        check=check_in_words(explanation, form),
        notes=tuple(
            form.say(note.key, **note.filled(form.one_based)) for note in explanation.derivation.notes
        ),
    )


def combination_in_words(explanation: Explanation, form: Form) -> str:
    """Say how the terms combine, or what kind of given number it is."""
    if explanation.given:
        return form.say(f"given_{explanation.subject.kind}")
    return form.say(f"combine_{explanation.combination}", count=len(explanation.terms))


def check_in_words(explanation: Explanation, form: Form) -> str:
    """Say which bound holds, and whether it does."""
    if explanation.given:
        return ""
    if explanation.exact:
        text = form.say(
            "exact" if len(explanation.terms) > 1 and explanation.combination == "sum" else "exact_copy"
        )
    else:
        text = form.say(
            "bound_sum" if explanation.plain_sum else "bound",
            bound=number_text(explanation.bound, 2),
            difference=number_text(abs(explanation.computed - explanation.value), 2),
            count=len(explanation.terms),
        )
    return f"{text} [{form.say('passed' if explanation.check() else 'failed')}]"


def factor_text(factor: Expression, form: Form) -> str:
    """Return a factor of a term: the entry's name with its number, or the number."""
    if isinstance(factor, Padding):
        return f"{form.number(factor.value())} ({form.say('padding')})"
    if isinstance(factor, Reference):
        return f"{factor.label(form.one_based)}={form.number(factor.value())}"
    if isinstance(factor, Number):
        return form.number(factor.value())
    names = unicode_formula(factor.latex(form.style(numbers=False)))
    return f"{names}={form.number(factor.value())}"


def factors_text(term: Term, form: Form, between: str, mark: str = "") -> str:
    """Return a term's factors, a sign in front if it is taken off."""
    sign = "-" if isinstance(term.expression, Negative) else ""
    return sign + between.join(f"{mark}{factor_text(factor, form)}{mark}" for factor in term.factors)


def shown_terms(explanation: Explanation, form: Form) -> tuple[list[tuple[int, Term]], int]:
    """Return the numbered terms that are shown, and how many are left out."""
    terms = explanation.terms
    positions = shown_positions(len(terms), form.most_terms)
    return [(number, terms[number]) for number in positions], len(terms) - len(positions)


# ---- text ----------------------------------------------------------------------------------------------------


def as_text(explanation: Explanation, form: Form) -> str:
    """Return an explanation as lines of text."""
    lines = lines_of(explanation, form)
    heading = form.paint(f"{lines.title} = {unicode_formula(lines.result)}", bold=True)
    full = form.say("stored", value=repr(explanation.value))
    text = [f"{heading}   {lines.owner}".rstrip() + form.paint(f"   {full}", dim=True)]
    rows: list[tuple[str, str]] = []
    if lines.formula:
        rows.append((form.say("formula"), unicode_formula(lines.formula)))
    if lines.entries:
        rows.append((form.say("entries"), "= " + unicode_formula(lines.entries)))
        rows.append((form.say("numbers"), "= " + unicode_formula(lines.numbers)))
        rows.append(("", "= " + unicode_formula(lines.result)))
    for name, entries, numbers, result in lines.definitions:
        shown = " = ".join(unicode_formula(part) for part in (name, entries, numbers, result))
        rows.append((form.say("where"), shown))
    rows.append((form.say("terms"), lines.combination))
    width = max(width_of(name) for name, _ in rows)
    for name, value in rows:
        text += labelled(name, value, width, form)
    text += term_lines(explanation, form)
    if lines.check:
        colour = "green" if explanation.check() else "red"
        text += labelled(form.say("check"), lines.check, width, form, fg=colour)
    for number, note in enumerate(lines.notes):
        text += labelled(form.say("notes") if number == 0 else "", note, width, form)
    return "\n".join(text)


def labelled(name: str, value: str, width: int, form: Form, **styles: Any) -> list[str]:
    """Return a value with its name in front; where it is too wide it goes on below, indented."""
    margin = width + 4
    parts = [value] if form.width is None else broken(value, max(form.width - margin, 20))
    first = f"  {form.paint(filled(name, width), dim=True)}  {form.paint(parts[0], **styles)}"
    return [first, *(" " * margin + form.paint(part, **styles) for part in parts[1:])]


def broken(text: str, width: int) -> list[str]:
    """Break a formula or a sentence into lines: not inside parentheses, and before an operator rather than behind it.

    >>> broken("= F(0, 1)·x(2, 3) + F(0, 2)·x(2, 4) + b(0)", 20)
    ['= F(0, 1)·x(2, 3)', '  + F(0, 2)·x(2, 4)', '  + b(0)']
    """
    if width_of(text) <= width:
        return [text]
    depth, held = 0, []
    for before, character in zip(" " + text, text, strict=False):
        depth += (character in "([") - (character in ")]")
        bound = character == " " and (depth > 0 or before in "+−=≈←")
        held.append("\u00a0" if bound else character)
    indent = "  " if text.startswith("= ") else ""
    first, *rest = wrapped("".join(held), width - len(indent))
    return [line.replace("\u00a0", " ") for line in (first, *(indent + line for line in rest))]


def term_lines(explanation: Explanation, form: Form) -> list[str]:
    """Return the table of the terms."""
    shown, hidden = shown_terms(explanation, form)
    if not shown:
        return []
    rows = [
        (
            str(number + form.one_based),
            factors_text(term, form, "  ·  "),
            form.number(term.value),
            "" if term.partial is None else form.number(term.partial),
        )
        for number, term in shown
    ]
    header = ("", "", form.say("value"), form.say("so_far") if rows[0][3] else "")
    widths = [max(width_of(row[column]) for row in (header, *rows)) for column in range(4)]
    lines = []
    for place, row in enumerate((header, *rows)):
        if place and hidden and place - 1 == (len(rows) + 1) // 2:
            lines.append(" " * 6 + form.say("more", count=hidden))
        number, factors, value, partial = row
        line = (
            f"      {filled(number, widths[0], right=True)}  {filled(factors, widths[1])}  "
            f"{filled(value, widths[2], right=True)}  {filled(partial, widths[3], right=True)}"
        ).rstrip()
        lines.append(form.paint(line, dim=True) if place == 0 else line)
    return lines


# ---- Markdown ------------------------------------------------------------------------------------------------


def as_markdown(explanation: Explanation, form: Form) -> str:
    """Return an explanation as Markdown; formulas stand between dollars, as notebooks and GitHub read them."""
    lines = lines_of(explanation, form)
    owner = f" ({lines.owner})" if lines.owner else ""
    parts = [f"**`{lines.title}`** = ${lines.result}${owner}"]
    if lines.formula:
        parts.append(f"$${lines.formula}$$")
    if lines.entries:
        rows = [rf"{text_latex(lines.title)} &= {lines.entries}", f"&= {lines.numbers}", f"&= {lines.result}"]
        joined = " \\\\\n".join(rows)
        parts.append(f"$$\\begin{{aligned}}\n{joined}\n\\end{{aligned}}$$")
    for name, entries, numbers, result in lines.definitions:
        parts.append(f"{form.say('where')} ${name} = {entries} = {numbers} = {result}$")
    parts.append(f"{form.say('terms')}: {lines.combination}")
    shown, hidden = shown_terms(explanation, form)
    if shown:
        header = term_header(shown, form)
        rows_of_table = [header, ["---:", "---", "---:", "---:"][: len(header)]]
        for place, (number, term) in enumerate(shown):
            if hidden and place == (len(shown) + 1) // 2:
                rows_of_table.append(["", form.say("more", count=hidden), "", ""][: len(header)])
            factors = factors_text(term, form, " · ", mark="`").replace("|", "\\|")
            values = [term.value] if term.partial is None else [term.value, term.partial]
            rows_of_table.append([str(number + form.one_based), factors, *map(form.number, values)])
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows_of_table))
    parts += [text for text in (lines.check, *lines.notes) if text]
    return "\n\n".join(parts) + "\n"


# ---- HTML ----------------------------------------------------------------------------------------------------


def as_html(explanation: Explanation, form: Form) -> str:
    """Return an explanation as an HTML fragment; formulas are MathML."""
    lines = lines_of(explanation, form)
    parts = [
        f"<p><strong><code>{escape(lines.title)}</code> = {mathml_formula(lines.result)}</strong> "
        f"{escape(lines.owner)} <small>{escape(form.say('stored', value=repr(explanation.value)))}</small></p>"
    ]
    if lines.formula:
        parts.append(f"<p>{displayed(lines.formula)}</p>")
    if lines.entries:
        parts += [f"<p>= {displayed(line)}</p>" for line in (lines.entries, lines.numbers, lines.result)]
    for name, entries, numbers, result in lines.definitions:
        formula = displayed(f"{name} = {entries} = {numbers} = {result}")
        parts.append(f"<p>{escape(form.say('where'))} {formula}</p>")
    parts.append(f"<p>{escape(form.say('terms'))}: {escape(lines.combination)}</p>")
    parts.append(html_terms(explanation, form))
    if lines.check:
        parts.append(f"<p>{escape(lines.check)}</p>")
    if lines.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in lines.notes)
        parts.append(f"<ul>{notes}</ul>")
    body = "\n".join(part for part in parts if part)
    return f'<section class="tatami-explanation" lang="{form.language}" style="{HTML_STYLE}">\n{body}\n</section>'


def html_terms(explanation: Explanation, form: Form) -> str:
    """Return the terms as an HTML table."""
    shown, hidden = shown_terms(explanation, form)
    if not shown:
        return ""
    rows = ["".join(f"<th>{escape(name)}</th>" for name in term_header(shown, form))]
    for place, (number, term) in enumerate(shown):
        if hidden and place == (len(shown) + 1) // 2:
            rows.append(f'<td></td><td colspan="3">{escape(form.say("more", count=hidden))}</td>')
        factors = f"<code>{escape(factors_text(term, form, ' · '))}</code>"
        numbers = [term.value] if term.partial is None else [term.value, term.partial]
        rows.append(
            f"<td>{number + form.one_based}</td><td>{factors}</td>"
            + "".join(f'<td style="{NUMBER_STYLE}">{escape(form.number(value))}</td>' for value in numbers)
        )
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def term_header(shown: Sequence[tuple[int, Term]], form: Form) -> list[str]:
    """Return the headings of the table of terms; only sums have a sum so far."""
    names = ["", form.say("term"), form.say("value")]
    return names if shown[0][1].partial is None else [*names, form.say("so_far")]


def displayed(latex: str) -> str:
    """Return a formula as MathML in its large form, in parts between which a line may end."""
    return mathml_parts(latex, large=True)


# ---- JSON ----------------------------------------------------------------------------------------------------


def as_json(explanation: Explanation, form: Form) -> dict[str, Any]:
    """Return an explanation as plain JSON values; indices of references count from 0, labels as the form asks."""
    lines = lines_of(explanation, form)
    return {
        "subject": explanation.subject.to_json(form.one_based),
        "owner": explanation.owner,
        "owner_in_words": lines.owner,
        "language": form.language,
        "one_based": form.one_based,
        "value": json_number(explanation.value),
        "formula": both_readings(lines.formula),
        "entries": both_readings(lines.entries),
        "numbers": both_readings(lines.numbers),
        "definitions": [
            {
                "name": both_readings(named.name),
                "entries": both_readings(named.inside.latex(form.style(numbers=False))),
                "numbers": both_readings(named.inside.latex(form.style(numbers=True))),
                "value": json_number(named.value()),
            }
            for named in explanation.definitions
        ],
        "combination": explanation.combination,
        "combination_in_words": lines.combination,
        "terms": [term_json(term, form) for term in explanation.terms],
        "references": [reference.to_json(form.one_based) for reference in explanation.references],
        "exact": explanation.exact,
        "bound": json_number(explanation.bound),
        "computed": json_number(explanation.computed),
        "same_bits": explanation.same_bits,
        "holds": explanation.check(),
        "check_in_words": lines.check,
        "notes": list(lines.notes),
    }


def both_readings(latex: str) -> dict[str, str]:
    """Return a formula as LaTeX and as text."""
    return {"latex": latex, "text": unicode_formula(latex) if latex else ""}


def term_json(term: Term, form: Form) -> dict[str, Any]:
    """Return a term as JSON values."""
    return {
        "value": json_number(term.value),
        "partial": None if term.partial is None else json_number(term.partial),
        "padding": term.padding,
        "factors": [factor_json(factor, form) for factor in term.factors],
    }


def factor_json(factor: Expression, form: Form) -> dict[str, Any]:
    """Return a factor as JSON values: a reference, a number, or a part of the formula."""
    if isinstance(factor, Reference):
        return {"reference": factor.to_json(form.one_based)}
    value = json_number(factor.value())
    if isinstance(factor, Number | Padding):
        return {"number": value}
    name = factor.name if isinstance(factor, Named) else factor.latex(form.style(numbers=False))
    return {"part": both_readings(name), "value": value, "references": labels_in(factor, form)}


def labels_in(expression: Expression, form: Form) -> Sequence[str]:
    """Return the labels of the references of a part."""
    return list(
        dict.fromkeys(node.label(form.one_based) for node in expression.walk() if isinstance(node, Reference))
    )
