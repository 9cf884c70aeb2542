"""One style for everything that the commands print: quiet, aligned, and readable without colour.

Results go to stdout; progress, notes and errors to stderr. With ``--json`` everything but the last line, one
JSON object, goes to stderr. Colour appears only on a terminal, and never where ``NO_COLOR`` is set.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from tatami.columns import filled, width_of

BARS = "▁▂▃▄▅▆▇█"
PLOT_HEIGHT = 8


class Console:
    """Prints for a command. ``machine`` is True with --json: stdout then belongs to the JSON object."""

    def __init__(self, *, machine: bool = False) -> None:
        """Choose where the text for people goes."""
        self.machine = machine

    def line(self, text: str = "") -> None:
        """Print one line of result."""
        click.echo(text, err=self.machine, color=colour_wanted(error_stream=self.machine))

    def heading(self, text: str) -> None:
        """Print a heading with an empty line before it."""
        self.line()
        self.line(click.style(text, bold=True))

    def fields(self, values: Mapping[str, object]) -> None:
        """Print names and values in two columns; entries that are None or empty are left out."""
        shown = {name: str(value) for name, value in values.items() if value not in (None, "")}
        width = max((len(name) for name in shown), default=0)
        for name, value in shown.items():
            first, *rest = value.splitlines()
            self.line(f"  {click.style(name.ljust(width), dim=True)}  {first}")
            for more in rest:
                self.line(f"  {' ' * width}  {more}")

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[object]], left: Sequence[int] = ()
    ) -> None:
        """Print an aligned table; columns are set to the right, except those whose numbers are in ``left``."""
        for number, text in enumerate(table_lines(header, rows, left)):
            self.line(click.style(text, dim=True) if number == 0 else text)

    def note(self, text: str) -> None:
        """Say something on stderr that is not a result."""
        click.echo(text, err=True, color=colour_wanted(error_stream=True))

    def json(self, value: Mapping[str, Any]) -> None:
        """Print one JSON object as the last line of stdout, if the command was asked for it."""
        if self.machine:
            click.echo(json.dumps(value, allow_nan=False, ensure_ascii=False))


def colour_wanted(*, error_stream: bool) -> bool | None:
    """Return False where colour is not wanted; None lets click decide by whether it prints to a terminal."""
    stream = sys.stderr if error_stream else sys.stdout
    if os.environ.get("NO_COLOR") or not stream.isatty():
        return False
    return None


def table_lines(
    header: Sequence[str], rows: Sequence[Sequence[object]], left: Sequence[int] = ()
) -> list[str]:
    """Return the lines of an aligned table, its header first.

    >>> for line in table_lines(["layer", "size"], [["conv1", 9], ["dense", 120]], left=[0]):
    ...     print(repr(line))
    '  layer  size'
    '  conv1     9'
    '  dense   120'
    """
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(width_of(row[column]) for row in cells) for column in range(len(header))]
    return [
        "  "
        + "  ".join(
            filled(cell, width, right=column not in left)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def sparkline(values: Sequence[float]) -> str:
    """Return a curve one line high.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in values)


def duration(seconds: float) -> str:
    """Return a time as people write it.

    >>> duration(0.25), duration(12.3), duration(75), duration(3725)
    ('0.25 s', '12.3 s', '1 min 15 s', '1 h 02 min')
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def percent(share: float) -> str:
    """Return a share in percent.

    >>> percent(0.98333)
    '98.33 %'
    """
    return f"{100 * share:.2f} %"


def several(count: int, thing: str) -> str:
    """Return a number with its noun.

    >>> several(1, "image"), several(1438, "image")
    ('1 image', '1,438 images')
    """
    return f"{count:,} {thing}" + ("" if count == 1 else "s")
