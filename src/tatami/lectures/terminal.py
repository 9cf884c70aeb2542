"""A walkthrough in a terminal: aligned, readable without colour, and no wider than the window."""

from collections.abc import Iterator

import click

from tatami.columns import filled, width_of, wrapped
from tatami.inspect.notation import unicode_formula
from tatami.lectures import words
from tatami.lectures.numerals import as_printed, numeral, numeral_row
from tatami.lectures.plot_text import histogram_lines, picture_lines, plot_lines
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
    Table,
    Text,
    Worked,
)

WIDEST = 100


def lecture_lines(lecture: Lecture, language: Language, width: int = WIDEST) -> Iterator[str]:
    """Yield a whole walkthrough, line by line."""
    yield from title_lines(lecture, language)
    for number in range(1, len(lecture.steps) + 1):
        yield ""
        yield from step_lines(lecture, number, language, width)


def title_lines(lecture: Lecture, language: Language) -> Iterator[str]:
    """Yield the title and the source."""
    title = lecture.title.read(language)
    yield click.style(title, bold=True)
    yield click.style(f"{words.SOURCE.read(language)}: {lecture.source.read(language)}", dim=True)


def step_lines(lecture: Lecture, number: int, language: Language, width: int = WIDEST) -> Iterator[str]:
    """Yield one step; ``number`` counts from 1."""
    width = min(width, WIDEST)
    step = lecture.steps[number - 1]
    yield click.style(f"[{number}/{len(lecture.steps)}] {step.title.read(language)}", bold=True, fg="cyan")
    yield from wrapped(step.prose.read(language), width)
    yield from formula_lines(step.formulas, language, width)
    for block in step.blocks:
        yield ""
        yield from indented(block_lines(block, language, width - 2))
    for erratum in step.errata:
        yield ""
        yield from erratum_lines(erratum, language, width)


def formula_lines(formulas: tuple[str, ...], language: Language, width: int) -> Iterator[str]:
    """Yield formulas as Unicode, indented."""
    if formulas:
        yield ""
    for formula in formulas:
        for part in wrapped(unicode_formula(words.formula_in(formula, language)), width - 4):
            yield click.style("    " + part, fg="green")


def indented(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines two columns in."""
    for line in lines:
        yield f"  {line}".rstrip()


def block_lines(block: Block, language: Language, width: int) -> Iterator[str]:
    """Yield a block."""
    if isinstance(block, Numbers):
        yield from number_lines(block, language, width)
    elif isinstance(block, Grids):
        yield from grid_lines(block, language, width)
    elif isinstance(block, Table):
        yield from table_lines(block, language, width)
    elif isinstance(block, Worked):
        for line in block.lines:
            yield from wrapped(unicode_formula(words.formula_in(line, language)), width)
    elif isinstance(block, Plot):
        yield from plot_lines(block, language)
    elif isinstance(block, Histograms):
        yield from histogram_lines(block, language)
    elif isinstance(block, Pictures):
        yield from picture_lines(block, language)


def verdict(entry: Number | Grid, language: Language) -> str:
    """Return ✓, or what to read where the lecture's number is another."""
    if entry.agrees is None:
        return ""
    if entry.agrees:
        return click.style("✓", fg="green")
    return click.style(f"✗ {words.SEE.read(language)} {entry.erratum}", fg="red")


def lecture_value(entry: Number) -> str:
    """Return what the lecture prints, with its decimals."""
    if entry.lecture is None:
        return ""
    return ", ".join(
        as_printed(float(value), entry.lecture.decimals) for value in entry.lecture.values.reshape(-1)
    )


def number_lines(numbers: Numbers, language: Language, width: int) -> Iterator[str]:
    """Yield numbers in columns: what, computed, the lecture's, the verdict; below one another if they are too wide."""
    rows = [
        (
            row.label.read(language),
            numeral_row(row.array, row.decimals),
            lecture_value(row),
            verdict(row, language),
        )
        for row in numbers.rows
    ]
    with_lecture = any(row.lecture is not None for row in numbers.rows)
    marks = max(width_of(click.unstyle(row[3])) for row in rows)
    widths = [max(width_of(row[column]) for row in rows) for column in range(3)]
    if with_lecture:
        widths = [
            widths[0],
            max(widths[1], width_of(words.COMPUTED.read(language))),
            max(widths[2], width_of(words.LECTURE.read(language))),
        ]
    if sum(widths) + marks + 6 > width:
        for label, computed, printed, mark in rows:
            yield label
            told = f"    {words.COMPUTED.read(language)} {computed}"
            if printed:
                told += f"   {words.LECTURE.read(language)} {printed}  {mark}"
            yield told
        return
    if with_lecture:
        header = (
            f"{' ' * widths[0]}  {filled(words.COMPUTED.read(language), widths[1], right=True)}"
            f"  {filled(words.LECTURE.read(language), widths[2], right=True)}"
        )
        yield click.style(header, dim=True)
    for label, computed, printed, mark in rows:
        line = f"{filled(label, widths[0])}  {filled(computed, widths[1], right=True)}"
        if with_lecture:
            line += f"  {filled(printed, widths[2], right=True)}  {mark}"
        yield line.rstrip()


def grid_lines(grids: Grids, language: Language, width: int) -> Iterator[str]:
    """Yield matrices side by side, in as many rows of them as the width asks for."""
    row: list[list[str]] = []
    taken = 0
    for item in grids.items:
        box = grid_box(item, language) if isinstance(item, Grid) else ["", item]
        wide = max(width_of(click.unstyle(line)) for line in box) + 3
        if row and taken + wide > width:
            yield from joined(row)
            yield ""
            row, taken = [], 0
        row.append(box)
        taken += wide
    yield from joined(row)


def joined(boxes: list[list[str]]) -> Iterator[str]:
    """Yield boxes beside one another; a sign between them stands half-way down."""
    height = max(len(box) for box in boxes)
    columns = []
    for box in boxes:
        if len(box) == 2 and not box[0]:
            box = [""] * (1 + (height - 1) // 2) + [box[1]]
        wide = max(width_of(click.unstyle(line)) for line in box)
        padded = [line + " " * (wide - width_of(click.unstyle(line))) for line in box]
        columns.append(padded + [" " * wide] * (height - len(padded)))
    for number in range(height):
        yield "   ".join(column[number] for column in columns).rstrip()


def grid_box(grid: Grid, language: Language) -> list[str]:
    """Return a matrix with its name above and, where the lecture prints it, the verdict behind."""
    cells = [[numeral(float(value), grid.decimals) for value in row] for row in grid.shown]
    width = max(len(cell) for row in cells for cell in row)
    lines = []
    for i, row in enumerate(cells):
        shown = [
            click.style(cell.rjust(width), bold=True, underline=True)
            if (i, j) in grid.marked
            else cell.rjust(width)
            for j, cell in enumerate(row)
        ]
        lines.append(f"[ {'  '.join(shown)} ]")
    mark = verdict(grid, language)
    return [f"{grid.name} {mark}".rstrip(), *lines]


def table_lines(table: Table, language: Language, width: int) -> Iterator[str]:
    """Yield a table; one that is too wide is told row by row."""
    header = [cell.read(language) for cell in table.header]
    rows = [[cell.read(language) if isinstance(cell, Text) else cell for cell in row] for row in table.rows]
    widths = [max(width_of(row[column]) for row in [header, *rows]) for column in range(len(header))]
    if sum(widths) + 2 * len(widths) > width:
        names = max(width_of(name) for name in header)
        for row in rows:
            for name, cell in zip(header, row, strict=True):
                yield f"{click.style(filled(name, names), dim=True)}  {cell}"
            yield ""
        return
    for number, row in enumerate([header, *rows]):
        cells = [
            filled(cell, wide, right=column >= table.left)
            for column, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells).rstrip()
        yield click.style(line, dim=True) if number == 0 else line


def erratum_lines(erratum: Erratum, language: Language, width: int) -> Iterator[str]:
    """Yield an erratum, with a bar at its side."""
    bar = click.style("┃ ", fg="yellow")
    heading = f"{words.ERRATUM.read(language)} {erratum.code}: {erratum.where.read(language)}"
    for line in wrapped(heading, width - 2):
        yield bar + click.style(line, fg="yellow", bold=True)
    for word, text in (
        (words.THE_LECTURE_SAYS, erratum.says),
        (words.RIGHT_IS, erratum.right),
        (words.WHY, erratum.why),
    ):
        for line in wrapped(f"{word.read(language)}: {text.read(language)}", width - 2):
            yield bar + line
    for line in formula_lines(erratum.formulas, language, width - 2):
        yield (bar + line).rstrip()
    for block in erratum.evidence:
        yield bar.rstrip()
        for line in block_lines(block, language, width - 4):
            yield f"{bar}  {line}".rstrip()
