"""Data sets in single files: a table of paths and labels, and arrays in ``.npz``.

Each function returns the images to train on and those to test on: as the files say, else every fifth sample of a
class is kept for testing. What comes from outside is not trusted: nothing is unpickled, and sizes are checked before
memory is taken.
"""

import csv
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat, check_finite
from tatami.data.image_files import ImageFile, checked_size, size_and_colour
from tatami.data.image_folder import common_size
from tatami.data.npz import read_arrays
from tatami.data.on_demand import DecodedFiles, largest_value
from tatami.data.splits import split_off_test
from tatami.errors import DataError

LARGEST_TABLE = 256 * 2**20
IMAGE_NAMES = ("images", "x", "data")
LABEL_NAMES = ("labels", "y", "target")
FORMAT = ImageFormat(maximum=255)


def load_table(
    path: str | Path, size: int | tuple[int, int] | None = None, channels: int | None = None
) -> DatasetSplits:
    """Load a CSV file with the columns ``path`` and ``label``, and optionally ``part`` (train or test).

    Paths are relative to the file. Images are decoded when a batch needs them. All columns are kept, for `--group-by`.

    Raises:
        DataError: a column or an image is missing, a path leads out of the file's folder, a part is unknown.
    """
    table = Path(path).expanduser()
    rows = rows_of(table)
    paths = [inside(table.parent, row["path"], table) for row in rows]
    names = sorted({row["label"] for row in rows}, key=lambda name: (not name.isdecimal(), name.zfill(12)))
    number_of = {name: number for number, name in enumerate(names)}
    labels = np.array([number_of[row["label"]] for row in rows], np.int64)
    headers = {place: size_and_colour(place) for place in paths}
    if channels is None:
        channels = 3 if any(colour for _, colour in headers.values()) else 1
    spatial = (
        checked_size(size) if size else common_size({place: found for place, (found, _) in headers.items()})
    )
    shape = (channels, *spatial)
    columns = {name: np.array([row[name] or "" for row in rows], dtype=object) for name in rows[0]}

    def part(at: NDArray[np.int64]) -> Dataset:
        decode = DecodedFiles(
            [paths[number] for number in at],
            shape,
            np.uint8,
            ImageFile(channels, spatial),
        )
        images = cast(NDArray[Any], decode)
        kept = {name: values[at] for name, values in columns.items()}
        return Dataset(table.stem, images, labels[at], tuple(names), FORMAT, columns=kept)

    parts = np.array([row.get("part") or "train" for row in rows])
    unknown = sorted(set(parts.tolist()) - {"train", "test"})
    if unknown:
        raise DataError(f"{table}: the column 'part' holds {unknown[0]!r}; expected train or test")
    if (parts == "test").any() and (parts == "train").any():
        return DatasetSplits(
            train=part(np.flatnonzero(parts == "train")), test=part(np.flatnonzero(parts == "test"))
        )
    return split_off_test(part(np.arange(len(rows))))


def rows_of(table: Path) -> list[dict[str, str]]:
    """Read the rows of a table."""
    try:
        if table.stat().st_size > LARGEST_TABLE:
            raise DataError(f"{table}: more than {LARGEST_TABLE:,} bytes are not read")
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = []
            for row in reader:
                if None in row:
                    raise DataError(
                        f"{table}: line {reader.line_num} has more fields than the header has columns"
                    )
                rows.append(row)
    except OSError as error:
        raise DataError(f"{table}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8 ({error})") from error
    if not rows:
        raise DataError(
            f"{table}: the table has no rows; expected a header with path and label, and a row for each image"
        )
    for number, row in enumerate(rows, start=2):
        if not row.get("path") or not row.get("label"):
            raise DataError(
                f"{table}: line {number} has no path or no label; the columns are path, label, part"
            )
    return rows


def inside(folder: Path, name: str, table: Path) -> Path:
    """Return a path below a folder, or raise if it leads out of it."""
    root = folder.resolve()
    place = (root / name.replace("\0", "")).resolve()
    if not place.is_relative_to(root):
        raise DataError(
            f"{table}: the path {name!r} leads out of {folder}; only files beside the table are read"
        )
    return place


def load_arrays(path: str | Path) -> DatasetSplits:
    """Load an ``.npz`` file with the arrays images and labels (or x and y), and optionally x_test and y_test.

    Images are (N, C, *spatial), (N, H, W) or (N, features).

    Raises:
        DataError: not such a file, pickled objects in it, or more than 16 GiB.
    """
    place = Path(path).expanduser()
    known = read_arrays(place)

    def part(suffix: str) -> Dataset | None:
        images = next((known[name + suffix] for name in IMAGE_NAMES if name + suffix in known), None)
        labels = next((known[name + suffix] for name in LABEL_NAMES if name + suffix in known), None)
        if images is None or labels is None:
            return None
        if images.ndim == 3:
            images = images[:, None]
        if labels.dtype.kind not in "ui" or images.dtype.kind not in "uif":
            raise DataError(f"{place}: expected numbers for images and whole numbers for labels")
        check_finite(place.stem, images)
        top = 255.0 if images.dtype == np.uint8 else max(1.0, largest_value(images))
        return Dataset(place.stem, images, labels, format=ImageFormat(maximum=top))

    train, test = part(""), part("_test")
    if train is None:
        train = part("_train")
    if train is None:
        raise DataError(
            f"{place}: expected the arrays images and labels (or x and y), it holds {', '.join(known) or 'none'}"
        )
    return DatasetSplits(train=train, test=test) if test else split_off_test(train)
