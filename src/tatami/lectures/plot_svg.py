"""Plots as inline SVG: no script, no font and no file from elsewhere; colours follow the page, light or dark."""

from html import escape

import numpy as np
from numpy.typing import NDArray

from tatami.lectures.numerals import numeral
from tatami.lectures.plot_text import extent_of, heights_of, ticks
from tatami.lectures.walkthrough import Histograms, Language, Plot, Series
from tatami.lectures.words import drawn, shown

Array = NDArray[np.float64]

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 46
# Told apart without colours too: by their dashes.
DASHES = ("", "7 4", "2 3", "9 3 2 3")
CELL_WIDTH, CELL_HEIGHT, CELL_GAP = 104, 64, 10


def plot_svg(plot: Plot, language: Language) -> str:
    """Return a plot as an SVG element."""
    x_range, y_range = extent_of(plot)
    parts = [*axes(plot, x_range, y_range, language)]
    # A nested svg clips what lies outside of the axes, without the ids that several plots of a page would share.
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    parts.append(
        f'<svg x="{LEFT}" y="{TOP}" width="{inner_width}" height="{inner_height}" '
        f'viewBox="{LEFT} {TOP} {inner_width} {inner_height}">'
    )
    number = 0
    for series in plot.series:
        if series.faint:
            parts.append(polyline(plot, series, x_range, y_range, "faint", ""))
            continue
        parts.append(polyline(plot, series, x_range, y_range, f"line{number % 4}", DASHES[number % 4]))
        number += 1
    parts.append("</svg>")
    title = plot.title.read(language)
    names = [series.name.read(language) for series in plot.series if not series.faint]
    drawing = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}: {escape(", ".join(names))}">'
        f"{''.join(parts)}</svg>"
    )
    return f"<figure><figcaption>{shown(title)}{legend(names)}</figcaption>{drawing}</figure>"


def legend(names: list[str]) -> str:
    """Return the names of the lines beside a stroke of each."""
    if len(names) < 2:
        return ""
    entries = []
    for number, name in enumerate(names):
        dash = f' stroke-dasharray="{DASHES[number % 4]}"' if DASHES[number % 4] else ""
        stroke = f'<line x1="0" y1="5" x2="28" y2="5" class="line{number % 4}"{dash}/>'
        entries.append(f'<span><svg class="key" viewBox="0 0 28 10">{stroke}</svg>{escape(name)}</span>')
    return f'<span class="legend">{"".join(entries)}</span>'


def position(
    x: Array, y: Array, x_range: tuple[float, float], y_range: tuple[float, float]
) -> tuple[Array, Array]:
    """Return where points lie in the drawing."""
    across = LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)
    down = TOP + (y_range[1] - y) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)
    return across, down


def polyline(
    plot: Plot,
    series: Series,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    style: str,
    dash: str,
) -> str:
    """Return a line, with dots where it is asked for."""
    across, down = position(series.x, heights_of(plot, series), x_range, y_range)
    down = np.clip(down, -10_000, 10_000)
    points = " ".join(f"{a:.1f},{d:.1f}" for a, d in zip(across, down, strict=True))
    dashes = f' stroke-dasharray="{dash}"' if dash and not series.dots else ""
    line = f'<polyline class="{style}" points="{points}"{dashes}/>'
    if series.dots:
        line += "".join(
            f'<circle class="{style}" cx="{a:.1f}" cy="{d:.1f}" r="2.4"/>'
            for a, d in zip(across, down, strict=True)
        )
    return line


def axes(
    plot: Plot, x_range: tuple[float, float], y_range: tuple[float, float], language: Language
) -> list[str]:
    """Return the axes with round numbers and their names."""
    parts = []
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value in ticks(*x_range):
        across = float(position(np.array(value), np.array(0.0), x_range, y_range)[0])
        parts.append(f'<line class="grid" x1="{across:.1f}" y1="{TOP}" x2="{across:.1f}" y2="{bottom}"/>')
        parts.append(
            f'<text x="{across:.1f}" y="{bottom + 16}" text-anchor="middle">{tick_text(value)}</text>'
        )
    for value in ticks(*y_range):
        down = float(position(np.array(0.0), np.array(value), x_range, y_range)[1])
        label = power_text(value) if plot.logarithmic else tick_text(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{down:.1f}" x2="{right}" y2="{down:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">{label}</text>')
    parts.append(f'<polyline class="axis" points="{LEFT},{TOP} {LEFT},{bottom} {right},{bottom}"/>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(plot.x_label.read(language))}</text>'
    )
    height = (TOP + bottom) / 2
    parts.append(
        f'<text x="12" y="{height}" text-anchor="middle" transform="rotate(-90 12 {height})">'
        f"{drawn(plot.y_label.read(language))}</text>"
    )
    return parts


def tick_text(value: float) -> str:
    """Return the number beside a tick.

    >>> tick_text(0.25), tick_text(5000.0), tick_text(-2.0)
    ('0.25', '5000', '-2')
    """
    return f"{value:g}"


def power_text(exponent: float) -> str:
    """Return a power of ten.

    >>> power_text(-3.0), power_text(0.5)
    ('10⁻³', '3.16')
    """
    if exponent == round(exponent):
        return "10" + str(int(exponent)).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return numeral(10.0**exponent, 2)


def histograms_svg(histograms: Histograms, language: Language) -> str:
    """Return a grid of histograms as a table of small SVG elements."""
    head = "".join(f"<th>{escape(name.read(language))}</th>" for name in histograms.columns)
    rows = []
    for name, shares in zip(histograms.rows, histograms.shares, strict=True):
        cells = "".join(f"<td>{bars_svg(values, histograms)}</td>" for values in shares)
        rows.append(f"<tr><th>{escape(name.read(language))}</th>{cells}</tr>")
    return (
        f"<figure><figcaption>{escape(histograms.title.read(language))}</figcaption>"
        f'<div class="wide"><table class="histograms"><tr><th></th>{head}</tr>{"".join(rows)}</table></div></figure>'
    )


def bars_svg(shares: Array, histograms: Histograms) -> str:
    """Return one histogram, scaled by its own highest bin."""
    highest = float(shares.max()) or 1.0
    width = CELL_WIDTH / len(shares)
    bars = "".join(
        f'<rect x="{number * width:.2f}" y="{CELL_HEIGHT * (1 - share / highest):.1f}" '
        f'width="{width * 0.9:.2f}" height="{CELL_HEIGHT * share / highest:.1f}"/>'
        for number, share in enumerate(shares)
    )
    label = f"{histograms.low:g} … {histograms.high:g}"
    return (
        f'<svg class="bars" viewBox="0 0 {CELL_WIDTH} {CELL_HEIGHT + 2}" role="img" aria-label="{escape(label)}">{bars}'
        f'<line class="axis" x1="0" y1="{CELL_HEIGHT + 1}" x2="{CELL_WIDTH}" y2="{CELL_HEIGHT + 1}"/></svg>'
    )
