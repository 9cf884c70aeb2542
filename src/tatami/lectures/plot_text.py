"""Plots in a terminal, drawn with braille dots: two columns and four rows of them in every character."""

from collections.abc import Sequence
from math import floor, log10

import numpy as np
from numpy.typing import NDArray

from tatami.columns import filled, width_of
from tatami.lectures.numerals import numeral
from tatami.lectures.walkthrough import Histograms, Language, Pictures, Plot, Series

Array = NDArray[np.float64]

COLUMNS, ROWS = 60, 14
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
BARS = " ▁▂▃▄▅▆▇█"
SHADES = " ░▒▓█"
PICTURE_COLUMNS = 48


def extent_of(plot: Plot) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the range of x and of y (or its logarithm) that a plot shows."""
    xs = np.concatenate([series.x for series in plot.series])
    ys = np.concatenate([heights_of(plot, series) for series in plot.series])
    ys = ys[np.isfinite(ys)]
    x_range = plot.x_range or (float(xs.min()), float(xs.max()))
    y_range = plot.y_range or (float(ys.min()), float(ys.max()))
    if y_range[0] == y_range[1]:
        y_range = (y_range[0] - 0.5, y_range[1] + 0.5)
    return x_range, y_range


def heights_of(plot: Plot, series: Series) -> Array:
    """Return what is drawn upwards: y, or its logarithm to base 10."""
    if not plot.logarithmic:
        return series.y
    return np.log10(np.maximum(series.y, 1e-300))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers inside a range.

    >>> ticks(0.0, 2.0)
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    raw = (high - low) / max(1, count - 1)
    magnitude = 10.0 ** floor(log10(raw))
    step = next(size * magnitude for size in (1, 2, 2.5, 5, 10) if size * magnitude >= raw * 0.999)
    first = np.ceil(low / step - 1e-9) * step
    # Adding 0.0 turns a negative zero into the one that is shown without a sign.
    return [float(round(value, 12)) + 0.0 for value in np.arange(first, high + step * 1e-6, step)]


def plot_lines(plot: Plot, language: Language) -> list[str]:
    """Return a plot as lines of text."""
    lines = [f"{plot.title.read(language)}"]
    named = [series for series in plot.series if not series.faint]
    (x_low, x_high), (y_low, y_high) = extent_of(plot)
    margin = max(width_of(axis_label(plot, y_low)), width_of(axis_label(plot, y_high)))
    # One picture for each line: braille knows no colours, and lines that cross could not be told apart.
    for series in named or plot.series[:1]:
        canvas = np.zeros((ROWS * 4, COLUMNS * 2), dtype=bool)
        for shown in (*(other for other in plot.series if other.faint), series):
            draw(
                canvas, shown.x, heights_of(plot, shown), (x_low, x_high), (y_low, y_high), sparse=shown.faint
            )
        if len(named) > 1:
            lines.append("")
            lines.append(f"{' ' * margin}  {series.name.read(language)}")
        for number, text in enumerate(braille(canvas)):
            label = (
                axis_label(plot, y_high)
                if number == 0
                else axis_label(plot, y_low)
                if number == ROWS - 1
                else ""
            )
            lines.append(f"{filled(label, margin, right=True)} │{text}")
        lines.append(f"{' ' * margin} └{'─' * COLUMNS}")
        left, right = numeral(x_low, 2), numeral(x_high, 2)
        between = filled(f"  {plot.x_label.read(language)}", COLUMNS - width_of(left) - width_of(right))
        lines.append(f"{' ' * margin}  {left}{between}{right}")
    return lines


def axis_label(plot: Plot, height: float) -> str:
    """Return what stands beside a height."""
    return numeral(10.0**height, 2) if plot.logarithmic else numeral(height, 2)


def draw(
    canvas: NDArray[np.bool_],
    x: Array,
    y: Array,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    *,
    sparse: bool = False,
) -> None:
    """Set the dots of a line; of a sparse one every third."""
    rows, columns = canvas.shape
    across = (x - x_range[0]) / (x_range[1] - x_range[0]) * (columns - 1)
    down = (y_range[1] - y) / (y_range[1] - y_range[0]) * (rows - 1)
    count = 0
    for start in range(len(across) - 1):
        steps = int(max(abs(across[start + 1] - across[start]), abs(down[start + 1] - down[start]), 1))
        if steps > 100 * columns:
            continue
        for share in np.arange(steps + 1) / steps:
            column = round(float(across[start] + share * (across[start + 1] - across[start])))
            row = round(float(down[start] + share * (down[start + 1] - down[start])))
            count += 1
            if 0 <= row < rows and 0 <= column < columns and not (sparse and count % 4):
                canvas[row, column] = True


def braille(canvas: NDArray[np.bool_]) -> list[str]:
    """Return the characters of a canvas of dots.

    >>> braille(np.ones((4, 2), dtype=bool))
    ['⣿']
    """
    rows, columns = canvas.shape[0] // 4, canvas.shape[1] // 2
    cells = canvas.reshape(rows, 4, columns, 2).transpose(0, 2, 1, 3)
    codes = (cells * DOTS).sum(axis=(2, 3))
    return ["".join(chr(0x2800 + int(code)) for code in row) for row in codes]


def histogram_lines(histograms: Histograms, language: Language) -> list[str]:
    """Return a grid of histograms as lines of text, each scaled by its own highest bin."""
    width = max(len(shares) for row in histograms.shares for shares in row)
    margin = max(width_of(name.read(language)) for name in histograms.rows)
    head = "  ".join(filled(name.read(language), width) for name in histograms.columns)
    lines = [histograms.title.read(language), f"{' ' * margin}  {head}"]
    for name, row in zip(histograms.rows, histograms.shares, strict=True):
        upper, lower = zip(*(bars(shares) for shares in row), strict=True)
        lines.append(f"{' ' * margin}  {'  '.join(upper)}".rstrip())
        lines.append(f"{filled(name.read(language), margin)}  {'  '.join(lower)}".rstrip())
    return lines


def bars(shares: Sequence[float] | Array) -> tuple[str, str]:
    """Return the two lines of a histogram that is two characters high.

    >>> bars([0.0, 0.5, 1.0])
    ('  █', ' ██')
    """
    highest = float(max(shares)) or 1.0
    eighths = [int(np.ceil(16 * float(share) / highest)) for share in shares]
    upper = "".join(BARS[max(0, min(8, count - 8))] for count in eighths)
    return upper, "".join(BARS[min(8, count)] for count in eighths)


def picture_lines(pictures: Pictures, language: Language) -> list[str]:
    """Return pictures as characters of different darkness, below one another."""
    lines: list[str] = []
    for caption, image in pictures.items:
        lines.append(caption.read(language))
        low, high = float(image.min()), float(image.max())
        rows = max(1, round(PICTURE_COLUMNS * image.shape[0] / image.shape[1] / 2))
        for row in np.array_split(image, rows, axis=0):
            greys = [float(part.mean()) for part in np.array_split(row.mean(axis=0), PICTURE_COLUMNS)]
            lines.append(
                "".join(
                    SHADES[round((grey - low) / ((high - low) or 1) * (len(SHADES) - 1))] for grey in greys
                )
            )
        lines.append("")
    return lines[:-1]
