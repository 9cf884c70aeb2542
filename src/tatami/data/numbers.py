"""Data whose targets are numbers: a CSV file with numeric columns, of measurements or beside the paths of images."""

import csv
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.files import LARGEST_TABLE, inside
from tatami.data.image_files import checked_size, read_pixels, size_and_colour
from tatami.data.image_folder import common_size
from tatami.data.on_demand import DecodedFiles
from tatami.data.splits import split_off_test
from tatami.errors import DataError, unknown_name

TARGET_COLUMNS = ("target", "y", "value")
PATH, PART = "path", "part"


def load_numbers(
    path: str | Path,
    targets: Sequence[str] = (),
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
) -> DatasetSplits:
    """Load a CSV file for regression.

    With a column ``path`` the examples are images (paths relative to the file); without it they are the numbers in all
    columns that are no targets. A column ``part`` may say train or test; else every fifth row is for testing.

    Args:
        path: the file, with a header.
        targets: columns to learn; by default the one called target, y or value, else the last.
        size: (height, width) to bring images to.
        channels: 1 for grey, 3 for colour images.

    Raises:
        DataError: no such column, or something that is no number; the message names line and column.
    """
    table = Path(path).expanduser()
    header, rows = columns_and_rows(table)
    chosen = target_columns(table, header, targets)
    values = np.array(
        [[number_in(table, row, name, line) for name in chosen] for line, row in enumerate(rows, 2)]
    )
    images, image_format = (
        images_of(table, rows, size, channels) if PATH in header else features_of(table, header, rows, chosen)
    )
    labels = np.zeros(len(rows), np.int64)
    whole = Dataset(table.stem, images, labels, ("",), image_format, values.astype(np.float32), tuple(chosen))
    parts = np.array([row.get(PART) or "train" for row in rows])
    unknown = sorted(set(parts.tolist()) - {"train", "test"})
    if unknown:
        raise DataError(f"{table}: the column 'part' holds {unknown[0]!r}; expected train or test")
    if (parts == "test").any() and (parts == "train").any():
        return DatasetSplits(
            train=whole.take(np.flatnonzero(parts == "train")),
            test=whole.take(np.flatnonzero(parts == "test")),
        )
    return split_off_test(whole)


def columns_and_rows(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read a table's header and rows."""
    try:
        if table.stat().st_size > LARGEST_TABLE:
            raise DataError(f"{table}: more than {LARGEST_TABLE:,} bytes are not read")
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            header = list(reader.fieldnames or [])
    except OSError as error:
        raise DataError(f"{table}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8 ({error})") from error
    if not rows or len(header) < 2:
        raise DataError(f"{table}: expected a header with at least two columns, and a row for each example")
    return header, rows


def target_columns(table: Path, header: list[str], wanted: Sequence[str]) -> list[str]:
    """Return the columns to learn."""
    for name in wanted:
        if name not in header:
            raise DataError(f"{table}: {unknown_name('column', name, header)}")
    if wanted:
        return list(dict.fromkeys(wanted))
    named = [name for name in TARGET_COLUMNS if name in header]
    return named[:1] or [[name for name in header if name not in (PATH, PART)][-1]]


def number_in(table: Path, row: dict[str, str], column: str, line: int) -> float:
    """Return a number of a row."""
    text = row.get(column) or ""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise DataError(
            f"{table}: line {line}, column {column!r} holds {text!r:.40}, expected a number; leave the column out, or "
            f"choose another one with --target"
        )
    return value


def features_of(
    table: Path, header: list[str], rows: list[dict[str, str]], targets: Sequence[str]
) -> tuple[NDArray[Any], ImageFormat]:
    """Return the numbers of all other columns (N, features)."""
    names = [name for name in header if name not in targets and name != PART]
    if not names:
        raise DataError(f"{table}: every column is a target; there is nothing to learn them from")
    values = [[number_in(table, row, name, line) for name in names] for line, row in enumerate(rows, 2)]
    features = np.array(values, np.float32)
    return features, ImageFormat(maximum=max(1.0, float(np.abs(features).max())))


def images_of(
    table: Path, rows: list[dict[str, str]], size: int | tuple[int, int] | None, channels: int | None
) -> tuple[NDArray[Any], ImageFormat]:
    """Return the images that a table names, decoded when a batch needs them."""
    for line, row in enumerate(rows, 2):
        if not row.get(PATH):
            raise DataError(f"{table}: line {line} has no path")
    paths = [inside(table.parent, row[PATH], table) for row in rows]
    headers = {place: size_and_colour(place) for place in paths}
    depth = channels or (3 if any(colour for _, colour in headers.values()) else 1)
    spatial = (
        checked_size(size) if size else common_size({place: found for place, (found, _) in headers.items()})
    )
    files = DecodedFiles(paths, (depth, *spatial), np.uint8, lambda place: read_pixels(place, depth, spatial))
    return cast(NDArray[Any], files), ImageFormat(maximum=255)
