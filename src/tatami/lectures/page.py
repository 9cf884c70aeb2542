"""A walkthrough as one HTML page that needs nothing else: no script, no network, formulas in MathML."""

import base64
import io
import re
from html import escape

import numpy as np
from numpy.typing import NDArray

from tatami.data.pillow import pillow
from tatami.inspect.notation import mathml_parts
from tatami.lectures import words
from tatami.lectures.numerals import numeral, numeral_row
from tatami.lectures.plot_svg import histograms_svg, plot_svg
from tatami.lectures.terminal import lecture_value
from tatami.lectures.walkthrough import (
    Block,
    Erratum,
    Grid,
    Grids,
    Histograms,
    Language,
    Lecture,
    Number,
    Numbers,
    Pictures,
    Plot,
    Step,
    Table,
    Text,
    Worked,
)
from tatami.lectures.words import shown

# The page forbids itself to load anything, whatever ends up in it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

STYLE = """
:root { color-scheme: light dark; --ink: #1c1b1a; --soft: #6b675f; --paper: #fdfcf9; --line: #dedad0; --mark: #fff0b8;
  --good: #1b7f4b; --bad: #b3261e; --note: #fff6df; --note-line: #d9a400; --c0: #0b62a8; --c1: #c2410c; --c2: #1b7f4b;
  --c3: #7c3aed; }
@media (prefers-color-scheme: dark) { :root { --ink: #ece8df; --soft: #a49e92; --paper: #191817; --line: #3a3833;
  --mark: #5a4a12; --good: #66c18c; --bad: #ff8a80; --note: #2b2614; --note-line: #d9a400; --c0: #6cb2f0; --c1: #f59e63;
  --c2: #66c18c; --c3: #b69cff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.6;
  font-family: system-ui, -apple-system, "Segoe UI", "Hiragino Sans", "Noto Sans JP", "Noto Sans CJK JP", sans-serif; }
main { max-width: 56rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.75rem 0 .5rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h2 span { color: var(--soft); font-weight: normal; margin-right: .5rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { margin: .5rem 0; max-width: 44rem; }
.soft, figcaption, th { color: var(--soft); font-weight: normal; }
nav ol { padding-left: 1.9rem; columns: 18rem; margin: .75rem 0 0; }
nav a { color: inherit; text-decoration-color: var(--line); text-underline-offset: .2em; }
.wide { overflow-x: auto; max-width: 100%; }
.formula { overflow-x: auto; padding: .35rem 0 .35rem 1rem; font-size: 1.08rem; }
math { font-size: 1.1em; math-style: normal; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .22rem .7rem; text-align: right; vertical-align: baseline; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { padding-left: 0; }
.left { text-align: left; }
tr:last-child td { border-bottom: 0; }
td.value { white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .bad a { color: inherit; }
.verdict { text-align: left; white-space: nowrap; }
.grids { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem .9rem; margin: .75rem 0; }
.grids > b { font-weight: normal; font-size: 1.1rem; color: var(--soft); }
.grid { max-width: 100%; }
.grid figcaption { font-size: .85rem; white-space: nowrap; }
.grid table { margin: .1rem 0 0; border-left: 2px solid var(--soft); border-right: 2px solid var(--soft); }
.grid td, .grid td:first-child { padding: .12rem .5rem; border: 0; }
.grid td.marked { background: var(--mark); font-weight: 600; }
figure { margin: 0; } figure svg { display: block; width: 100%; max-width: 34rem; height: auto; margin: .3rem 0 1rem; }
figure > svg text { font-size: 12px; fill: var(--soft); }
svg polyline, svg line { fill: none; stroke-width: 1.6; } svg .grid { stroke: var(--line); stroke-width: .7; }
svg .axis { stroke: var(--soft); stroke-width: 1; } svg .faint { stroke: var(--soft); stroke-width: .6; opacity: .55; }
svg .line0 { stroke: var(--c0); } svg .line1 { stroke: var(--c1); } svg .line2 { stroke: var(--c2); }
svg .line3 { stroke: var(--c3); } svg circle.line0 { fill: var(--c0); } svg circle.line1 { fill: var(--c1); }
svg circle.line2 { fill: var(--c2); } svg circle.line3 { fill: var(--c3); }
.legend { display: inline-flex; flex-wrap: wrap; gap: .2rem 1rem; margin-left: 1rem; }
.legend span { display: inline-flex; align-items: center; gap: .35rem; } figure svg.key { width: 28px; margin: 0; }
.histograms td, .histograms th { border: 0; padding: .25rem .35rem; white-space: nowrap; }
figure svg.bars { width: 104px; margin: 0; } svg.bars rect { fill: var(--c0); }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; margin: .75rem 0; }
.pictures img { display: block; width: min(20rem, 84vw); image-rendering: pixelated; border: 1px solid var(--line); }
.erratum { background: var(--note); border-left: 4px solid var(--note-line); padding: .8rem 1rem; margin: 1.25rem 0; }
.erratum dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: 0; }
.erratum dt { color: var(--soft); } .erratum dd { margin: 0; }
@media (max-width: 34rem) { .erratum dl { grid-template-columns: 1fr; } .erratum dt { margin-top: .35rem; }
  th, td { padding: .2rem .45rem; } table { font-size: .86rem; } h1 { font-size: 1.4rem; }
  td.value { white-space: normal; } .numbers td.left { min-width: 6.5rem; } }
"""


def lecture_page(lecture: Lecture, language: Language, only: int | None = None) -> str:
    """Return the page of a walkthrough, or of one of its steps, counted from 1."""
    title = escape(lecture.title.read(language))
    numbers = range(1, len(lecture.steps) + 1) if only is None else [only]
    steps = "".join(step_html(lecture.steps[number - 1], number, language) for number in numbers)
    titles = {number: escape(lecture.steps[number - 1].title.read(language)) for number in numbers}
    contents = "".join(
        f'<li value="{number}"><a href="#step{number}">{name}</a></li>' for number, name in titles.items()
    )
    source = escape(f"{words.SOURCE.read(language)}: {lecture.source.read(language)}")
    return (
        f'<!DOCTYPE html>\n<html lang="{language}"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f'<link rel="icon" href="data:,"/><title>{title}</title><style>{STYLE}</style></head><body><main>'
        f'<header><h1>{title}</h1><p class="soft">{source}</p>'
        f'<p class="soft">{escape(words.MADE_BY.read(language))}</p></header>'
        f'<nav aria-label="{escape(words.CONTENTS.read(language))}"><ol>{contents}</ol></nav>'
        f"{steps}</main></body></html>\n"
    )


def step_html(step: Step, number: int, language: Language) -> str:
    """Return one step."""
    blocks = "".join(block_html(block, language) for block in step.blocks)
    errata = "".join(erratum_html(erratum, language) for erratum in step.errata)
    return (
        f'<section id="step{number}"><h2><span>{number}</span>{escape(step.title.read(language))}</h2>'
        f"<p>{shown(step.prose.read(language))}</p>{formulas_html(step.formulas, language)}{blocks}{errata}</section>"
    )


def formulas_html(formulas: tuple[str, ...], language: Language) -> str:
    """Return formulas as MathML, each on a line that breaks where it may and else scrolls by itself."""
    return "".join(
        f'<div class="formula">{signed(mathml_parts(words.formula_in(formula, language)))}</div>'
        for formula in formulas
    )


def signed(mathml: str) -> str:
    """Set a minus behind a parenthesis or a relation close to its number, and keep the spaces around words.

    >>> signed("<mo>(</mo><mo>−</mo><mn>1</mn>")
    '<mo>(</mo><mo form="prefix">−</mo><mn>1</mn>'
    """
    mathml = re.sub(
        r"(<mo(?: form=\"infix\")?>[(=+·,]</mo>)<mo>−</mo>", r'\1<mo form="prefix">−</mo>', mathml
    )
    # Browsers drop spaces at the ends of a text inside a formula.
    return mathml.replace("<mtext> ", "<mtext>\u00a0").replace(" </mtext>", "\u00a0</mtext>")


def block_html(block: Block, language: Language) -> str:
    """Return a block."""
    if isinstance(block, Numbers):
        return numbers_html(block, language)
    if isinstance(block, Grids):
        items = "".join(
            grid_html(item, language) if isinstance(item, Grid) else f"<b>{escape(item)}</b>"
            for item in block.items
        )
        return f'<div class="grids">{items}</div>'
    if isinstance(block, Table):
        return table_html(block, language)
    if isinstance(block, Worked):
        return formulas_html(block.lines, language)
    if isinstance(block, Plot):
        return plot_svg(block, language)
    if isinstance(block, Histograms):
        return histograms_svg(block, language)
    return pictures_html(block, language)


def verdict_html(entry: Number | Grid, language: Language) -> str:
    """Return ✓, or a link to the erratum."""
    if entry.agrees is None:
        return ""
    if entry.agrees:
        return f'<span class="good" title="{escape(words.AGREES.read(language))}">✓</span>'
    return f'<span class="bad">✗ <a href="#{escape(entry.erratum)}">{escape(entry.erratum)}</a></span>'


def numbers_html(numbers: Numbers, language: Language) -> str:
    """Return numbers as a table."""
    with_lecture = any(row.lecture is not None for row in numbers.rows)
    head = ""
    if with_lecture:
        head = (
            f"<tr><th></th><th>{escape(words.COMPUTED.read(language))}</th>"
            f"<th>{escape(words.LECTURE.read(language))}</th><th></th></tr>"
        )
    rows = []
    for row in numbers.rows:
        cells = (
            f'<td class="left">{shown(row.label.read(language))}</td>'
            f'<td class="value">{escape(numeral_row(row.array, row.decimals))}</td>'
        )
        if with_lecture:
            cells += f'<td class="value">{escape(lecture_value(row))}</td>'
            cells += f'<td class="verdict">{verdict_html(row, language)}</td>'
        rows.append(f"<tr>{cells}</tr>")
    return f'<div class="wide"><table class="numbers">{head}{"".join(rows)}</table></div>'


def grid_html(grid: Grid, language: Language) -> str:
    """Return a matrix with its name above."""
    rows = []
    for i, row in enumerate(grid.shown):
        cells = "".join(
            f'<td class="marked">{numeral(float(value), grid.decimals)}</td>'
            if (i, j) in grid.marked
            else f"<td>{numeral(float(value), grid.decimals)}</td>"
            for j, value in enumerate(row)
        )
        rows.append(f"<tr>{cells}</tr>")
    return (
        f'<figure class="grid"><figcaption>{escape(grid.name)} {verdict_html(grid, language)}</figcaption>'
        f'<div class="wide"><table>{"".join(rows)}</table></div></figure>'
    )


def table_html(table: Table, language: Language) -> str:
    """Return a table."""

    def cell(element: str, content: Text | str, column: int) -> str:
        style = ' class="left"' if column < table.left else ""
        text = content.read(language) if isinstance(content, Text) else content
        return f"<{element}{style}>{shown(text)}</{element}>"

    head = "".join(cell("th", content, column) for column, content in enumerate(table.header))
    rows = "".join(
        f"<tr>{''.join(cell('td', content, column) for column, content in enumerate(row))}</tr>"
        for row in table.rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def pictures_html(pictures: Pictures, language: Language) -> str:
    """Return pictures as PNG inside the page."""
    figures = "".join(
        f'<figure><img alt="{escape(caption.read(language))}" src="{png(image)}"/>'
        f"<figcaption>{escape(caption.read(language))}</figcaption></figure>"
        for caption, image in pictures.items
    )
    return f'<div class="pictures">{figures}</div>'


def png(image: NDArray[np.float64]) -> str:
    """Return a picture as a data address, its smallest value black and its largest white."""
    low, high = float(image.min()), float(image.max())
    greys = np.round((image - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    pillow("Image").fromarray(greys).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def erratum_html(erratum: Erratum, language: Language) -> str:
    """Return an erratum."""
    entries = "".join(
        f"<dt>{escape(word.read(language))}</dt><dd>{shown(text.read(language))}</dd>"
        for word, text in (
            (words.THE_LECTURE_SAYS, erratum.says),
            (words.RIGHT_IS, erratum.right),
            (words.WHY, erratum.why),
        )
    )
    evidence = "".join(block_html(block, language) for block in erratum.evidence)
    heading = f"{words.ERRATUM.read(language)} {erratum.code}: {erratum.where.read(language)}"
    return (
        f'<aside class="erratum" id="{escape(erratum.code)}"><h3>{escape(heading)}</h3><dl>{entries}</dl>'
        f"{formulas_html(erratum.formulas, language)}{evidence}</aside>"
    )
