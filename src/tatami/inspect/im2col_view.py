"""im2col made visible: the matrix of windows, which window every row is, and which tap every column."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tatami.backends.correlation import im2col
from tatami.columns import filled, width_of
from tatami.geometry import Geometry, by_axis
from tatami.inspect.explain.windows import seen_by
from tatami.inspect.notation import number_text
from tatami.inspect.phrases import phrase

PADDING_MARK = "·"
MOST_RESULTS = 8
TABLE_STYLE = (
    "border-collapse:separate;border-spacing:.8em .1em;text-align:right;font-variant-numeric:tabular-nums"
)

# What stands behind the matrix: the outputs as a product with the filters, or pooled from each channel's columns; the
# maps between the two steps of a separable convolution; the funnel of FReLU; or, in front of a transposed convolution's
# stamps, the inputs that they are made of.
Use = Literal["product", "own_filters", "pooled", "between", "funnel", "stamps"]
LETTERS: dict[Use, str] = {
    "product": "u",
    "own_filters": "u",
    "pooled": "y",
    "between": "v",
    "funnel": "T",
    "stamps": "x",
}


@dataclass(frozen=True)
class Im2colView:
    """The windows of one example as a matrix.

    A transposed convolution gathers nothing: row r of its matrix is the stamp that input position ``rows[r]`` puts on
    the output, and an entry is added to the output at `entry_at`.

    Attributes:
        layer: name of the layer.
        geometry: its window.
        use: what becomes of the matrix.
        matrix: (positions, C·taps); row r is the window of output position ``rows[r]``, column q what tap
            ``columns[q]`` sees.
        rows: (i, j) of every row.
        columns: (c, μ, ν) of every column.
        padding: where the matrix holds padding, or a stamp falls beside the output.
        filters: (C·taps, K), every filter as a column, 0 where it does not see a channel; (positions, C·taps, K)
            where every position has filters of its own; None for a pooling.
        results: (positions, K): the outputs, with the bias (or what ``use`` says).
    """

    layer: str
    geometry: Geometry
    use: Use
    matrix: NDArray[Any]
    rows: tuple[tuple[int, ...], ...]
    columns: tuple[tuple[int, ...], ...]
    padding: NDArray[np.bool_]
    filters: NDArray[Any] | None
    results: NDArray[Any]

    @classmethod
    def of(
        cls,
        layer: str,
        geometry: Geometry,
        use: Use,
        matrix: NDArray[Any],
        filters: NDArray[Any] | None,
        results: NDArray[Any],
    ) -> "Im2colView":
        """Put labels to the rows and columns of a matrix."""
        inside = np.ones((1, geometry.channels, *geometry.size))
        return cls(
            layer=layer,
            geometry=geometry,
            use=use,
            matrix=matrix,
            rows=tuple(product(*map(range, geometry.output_size))),
            columns=tuple((c, *tap) for c in range(geometry.channels) for tap in geometry.taps()),
            padding=im2col(inside, geometry) == 0,
            filters=filters,
            results=results,
        )

    def row_of(self, *position: int) -> int:
        """Return the row that holds the window of an output position.

        Raises:
            ValueError: there is no such position.
        """
        return self.rows.index(position)

    def column_of(self, *tap: int) -> int:
        """Return the column of (c, μ, ν).

        Raises:
            ValueError: there is no such tap.
        """
        return self.columns.index(tap)

    def entry_at(self, row: int, column: int) -> tuple[int, ...] | None:
        """Return the entry (c, p, q) that stands there, or that a stamp adds to; None in the padding."""
        channel, *tap = self.columns[column]
        place = seen_by(self.geometry, self.rows[row], tuple(tap))
        return None if place is None else (channel, *place)

    def shown(self, most: int) -> tuple[list[int], list[int], list[int]]:
        """Return the rows, columns and results that are shown."""
        rows, columns, results = len(self.rows), len(self.columns), self.results.shape[1]
        return (
            list(range(min(most, rows))),
            list(range(min(most, columns))),
            list(range(min(MOST_RESULTS, results))),
        )

    def labels(self, places: Sequence[tuple[int, ...]], one_based: bool) -> list[str]:
        """Return index labels: 0,1."""
        return [",".join(str(at + one_based) for at in place) for place in places]

    def text(
        self,
        *,
        language: str = "en",
        one_based: bool = False,
        digits: int = 4,
        most: int = 40,
        width: int | None = None,
    ) -> str:
        """Return the matrix as text: labels of rows in front, of columns above, results behind.

        Args:
            language: 'en' or 'ja'.
            one_based: whether indices count from 1.
            digits: decimals.
            most: of more rows or columns so many are shown.
            width: columns of the terminal; fewer columns of the matrix are shown where they do not fit.
        """
        row_numbers, column_numbers, result_numbers = self.shown(most)
        while True:
            lines = self.aligned(language, one_based, digits, row_numbers, column_numbers, result_numbers)
            if width is None or width_of(lines[0]) <= width or len(column_numbers) <= 1:
                break
            column_numbers = column_numbers[:-1]
        if len(row_numbers) < len(self.rows):
            lines.append(phrase(language, "more", {"count": len(self.rows) - len(row_numbers)}))
        return "\n".join([*self.legend(language), *lines])

    def aligned(
        self,
        language: str,
        one_based: bool,
        digits: int,
        row_numbers: list[int],
        column_numbers: list[int],
        result_numbers: list[int],
    ) -> list[str]:
        """Return the chosen part of the matrix as lines of equal width."""
        row_labels = self.labels(self.rows, one_based)
        column_labels = self.labels(self.columns, one_based)
        cut = ["…"] if len(column_numbers) < len(self.columns) else []
        fewer = ["…"] if len(result_numbers) < self.results.shape[1] else []
        header = [phrase(language, "window"), *(column_labels[column] for column in column_numbers), *cut]
        letter = LETTERS[self.use]
        table = [[*header, "|", *(f"{letter}{k + one_based}" for k in result_numbers), *fewer]]
        for row in row_numbers:
            entries = [self.entry(row, column, digits) for column in column_numbers]
            results = [number_text(float(self.results[row, k]), digits) for k in result_numbers]
            table.append([row_labels[row], *entries, *cut, "|", *results, *fewer])
        widths = [max(width_of(line[column]) for line in table) for column in range(len(table[0]))]
        return [
            "  ".join(filled(cell, width, right=True) for cell, width in zip(line, widths, strict=True))
            for line in table
        ]

    def entry(self, row: int, column: int, digits: int) -> str:
        """Return an entry of the matrix, marked if it is padding."""
        if self.padding[row, column]:
            return PADDING_MARK
        return number_text(float(self.matrix[row, column]), digits)

    def legend(self, language: str) -> list[str]:
        """Return what the matrix is, in words."""
        size = {"layer": self.layer, "rows": len(self.rows), "columns": len(self.columns)}
        stamps = self.use == "stamps"
        keys = ["im2col_stamp" if stamps else "im2col_row", "im2col_column", f"im2col_{self.use}"]
        if self.padding.any():
            keys.append("im2col_cut" if stamps else "im2col_padding")
        return [
            f"{phrase(language, 'im2col_title', size)}  ({by_axis(self.geometry.kernel)})",
            *(f"  {phrase(language, key)}" for key in keys),
        ]

    def html(self, *, language: str = "en", one_based: bool = False, digits: int = 4, most: int = 40) -> str:
        """Return the matrix as an HTML table; a pointer over an entry names its window, its tap and what it sees."""
        row_numbers, column_numbers, result_numbers = self.shown(most)
        row_labels = self.labels(self.rows, one_based)
        column_labels = self.labels(self.columns, one_based)
        letter = LETTERS[self.use]
        head = "".join(f"<th>{column_labels[column]}</th>" for column in column_numbers)
        head += "".join(f"<th>{letter}{k + one_based}</th>" for k in result_numbers)
        body = []
        for row in row_numbers:
            entries = "".join(
                f'<td title="{self.pointed(row, column, one_based)}">{escape(self.entry(row, column, digits))}</td>'
                for column in column_numbers
            )
            results = "".join(
                f"<td><strong>{escape(number_text(float(self.results[row, k]), digits))}</strong></td>"
                for k in result_numbers
            )
            body.append(f"<tr><th>{row_labels[row]}</th>{entries}{results}</tr>")
        legend = "<br>".join(escape(line.strip()) for line in self.legend(language))
        hidden = len(self.rows) - len(row_numbers)
        more = f"<p>{escape(phrase(language, 'more', {'count': hidden}))}</p>" if hidden else ""
        window, rows = escape(phrase(language, "window")), "".join(body)
        return (
            f'<section class="tatami-im2col" lang="{escape(language)}" style="overflow-x:auto"><p>{legend}</p>'
            f'<table style="{TABLE_STYLE}"><tr><th>{window}</th>{head}</tr>{rows}</table>'
            f"{more}</section>"
        )

    def pointed(self, row: int, column: int, one_based: bool) -> str:
        """Return what a pointer over an entry reads: (0,1) ← (0,1,1) = [0,1,2]."""
        window, tap = self.labels([self.rows[row], self.columns[column]], one_based)
        place = self.entry_at(row, column)
        seen = "0" if place is None else f"[{self.labels([place], one_based)[0]}]"
        return f"({window}) {'→' if self.use == 'stamps' else '←'} ({tap}) = {seen}"

    def to_json(self) -> dict[str, Any]:
        """Return matrix, labels, what every entry sees, and the results as plain JSON values."""
        places = [
            [self.entry_at(row, column) for column in range(len(self.columns))]
            for row in range(len(self.rows))
        ]
        return {
            "layer": self.layer,
            "use": self.use,
            "matrix": self.matrix.tolist(),
            "rows": [list(row) for row in self.rows],
            "columns": [list(column) for column in self.columns],
            "entries": [[None if place is None else list(place) for place in row] for row in places],
            "padding": self.padding.tolist(),
            "filters": None if self.filters is None else self.filters.tolist(),
            "results": self.results.tolist(),
        }

    def _repr_html_(self) -> str:
        """Show the matrix in a notebook."""
        return self.html()

    def __str__(self) -> str:
        """Return the matrix as text."""
        return self.text()
