"""im2col made visible: the matrix of windows, which window every row is, and which tap every column."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends.correlation import im2col
from tatami.geometry import Geometry, by_axis
from tatami.inspect.forms import cells, padded
from tatami.inspect.notation import number_text
from tatami.inspect.phrases import phrase

PADDING_MARK = "·"


@dataclass(frozen=True)
class Im2colView:
    """The windows of one example as a matrix.

    Attributes:
        layer: name of the convolution.
        geometry: its window.
        matrix: (positions, C·taps); row r is the window of output position ``rows[r]``, column q what tap
            ``columns[q]`` sees.
        rows: (i, j) of every row.
        columns: (c, μ, ν) of every column.
        padding: where the matrix holds padding.
        filters: (C·taps of a group, K): every filter as a column.
        product: (positions, K): the outputs, with the bias.
    """

    layer: str
    geometry: Geometry
    matrix: NDArray[Any]
    rows: tuple[tuple[int, ...], ...]
    columns: tuple[tuple[int, ...], ...]
    padding: NDArray[np.bool_]
    filters: NDArray[Any]
    product: NDArray[Any]

    @classmethod
    def of(
        cls,
        layer: str,
        geometry: Geometry,
        x: NDArray[Any],
        weight: NDArray[Any],
        bias: NDArray[Any] | None,
    ) -> "Im2colView":
        """Gather the windows of one example (C, *spatial)."""
        matrix = im2col(x[np.newaxis], geometry)
        filters = weight.reshape(geometry.filters, -1).T
        pieces = zip(
            np.split(matrix, geometry.groups, axis=1),
            np.split(filters, geometry.groups, axis=1),
            strict=True,
        )
        outputs = np.concatenate([windows @ group for windows, group in pieces], axis=1)
        return cls(
            layer=layer,
            geometry=geometry,
            matrix=matrix,
            rows=tuple(product(*map(range, geometry.output_size))),
            columns=tuple((c, *tap) for c in range(geometry.channels) for tap in geometry.taps()),
            padding=im2col(np.ones_like(x)[np.newaxis], geometry) == 0,
            filters=filters,
            product=outputs if bias is None else outputs + bias,
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

    def shown(self, most: int) -> tuple[list[int], list[int]]:
        """Return the rows and columns that are shown."""
        return list(range(min(most, len(self.rows)))), list(range(min(most, len(self.columns))))

    def labels(self, places: Sequence[tuple[int, ...]], one_based: bool) -> list[str]:
        """Return index labels: 0,1."""
        return [",".join(str(at + one_based) for at in place) for place in places]

    def text(self, *, language: str = "en", one_based: bool = False, digits: int = 4, most: int = 40) -> str:
        """Return the matrix as text: labels of rows in front, of columns above, outputs behind."""
        row_numbers, column_numbers = self.shown(most)
        row_labels = self.labels(self.rows, one_based)
        column_labels = self.labels(self.columns, one_based)
        outputs = range(self.geometry.filters)
        header = [phrase(language, "window"), *(column_labels[column] for column in column_numbers)]
        if len(column_numbers) < len(self.columns):
            header.append("…")
        table = [[*header, "|", *(f"u{k + one_based}" for k in outputs)]]
        for row in row_numbers:
            entries = [self.entry(row, column, digits) for column in column_numbers]
            if len(column_numbers) < len(self.columns):
                entries.append("…")
            results = [number_text(float(self.product[row, k]), digits) for k in outputs]
            table.append([row_labels[row], *entries, "|", *results])
        widths = [max(cells(line[column]) for line in table) for column in range(len(table[0]))]
        lines = [
            "  ".join(padded(cell, width, left=False) for cell, width in zip(line, widths, strict=True))
            for line in table
        ]
        if len(row_numbers) < len(self.rows):
            lines.append(phrase(language, "more", {"count": len(self.rows) - len(row_numbers)}))
        return "\n".join([*self.legend(language), *lines])

    def entry(self, row: int, column: int, digits: int) -> str:
        """Return an entry of the matrix, marked if it is padding."""
        if self.padding[row, column]:
            return PADDING_MARK
        return number_text(float(self.matrix[row, column]), digits)

    def legend(self, language: str) -> list[str]:
        """Return what the matrix is, in words."""
        size = {"layer": self.layer, "rows": len(self.rows), "columns": len(self.columns)}
        keys = ["im2col_row", "im2col_column", "im2col_product"]
        if self.padding.any():
            keys.append("im2col_padding")
        return [
            f"{phrase(language, 'im2col_title', size)}  ({by_axis(self.geometry.kernel)})",
            *(f"  {phrase(language, key)}" for key in keys),
        ]

    def html(self, *, language: str = "en", one_based: bool = False, digits: int = 4, most: int = 40) -> str:
        """Return the matrix as an HTML table; a pointer over an entry names its window and tap."""
        row_numbers, column_numbers = self.shown(most)
        row_labels = self.labels(self.rows, one_based)
        column_labels = self.labels(self.columns, one_based)
        head = "".join(f"<th>{column_labels[column]}</th>" for column in column_numbers)
        head += "".join(f"<th>u{k + one_based}</th>" for k in range(self.geometry.filters))
        body = []
        for row in row_numbers:
            entries = "".join(
                f'<td title="({row_labels[row]}) ← ({column_labels[column]})">'
                f"{escape(self.entry(row, column, digits))}</td>"
                for column in column_numbers
            )
            results = "".join(
                f"<td><strong>{escape(number_text(float(value), digits))}</strong></td>"
                for value in self.product[row]
            )
            body.append(f"<tr><th>{row_labels[row]}</th>{entries}{results}</tr>")
        legend = "<br>".join(escape(line.strip()) for line in self.legend(language))
        hidden = len(self.rows) - len(row_numbers)
        more = f"<p>{escape(phrase(language, 'more', {'count': hidden}))}</p>" if hidden else ""
        return (
            f'<section class="tatami-im2col" lang="{escape(language)}" style="overflow-x:auto"><p>{legend}</p>'
            f"<table><tr><th>{escape(phrase(language, 'window'))}</th>{head}</tr>{''.join(body)}</table>"
            f"{more}</section>"
        )

    def to_json(self) -> dict[str, Any]:
        """Return matrix, labels and product as plain JSON values."""
        return {
            "layer": self.layer,
            "matrix": self.matrix.tolist(),
            "rows": [list(row) for row in self.rows],
            "columns": [list(column) for column in self.columns],
            "padding": self.padding.tolist(),
            "filters": self.filters.tolist(),
            "product": self.product.tolist(),
        }

    def _repr_html_(self) -> str:
        """Show the matrix in a notebook."""
        return self.html()

    def __str__(self) -> str:
        """Return the matrix as text."""
        return self.text()
