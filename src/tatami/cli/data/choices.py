"""Options that the data commands share."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from tatami.cli.choices import Source
from tatami.cli.console import Console
from tatami.cli.options import image_size
from tatami.data import Dataset, DatasetSplits
from tatami.data.contact_sheet import write_sheet

MOST_LOOKED_AT = 200

out_option = click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="PNG to write."
)
part_option = click.option(
    "--part", type=click.Choice(["train", "test"]), default="train", show_default=True, help="Which images."
)


def chosen_splits(dataset: str, options: dict[str, Any]) -> DatasetSplits:
    """Load the data set that a command line names."""
    channels = options.get("channels")
    return Source.of(
        dataset,
        options["data_folder"],
        image_size(options["size"]),
        None if channels is None else int(channels),
        None,
    ).load()


def value_range(dataset: Dataset) -> tuple[float, float]:
    """Return what is drawn black and white: 0 and the largest pixel value, or what signals swing between."""
    some = np.arange(0, len(dataset), -(-len(dataset) // MOST_LOOKED_AT))
    low, high = (float(one(dataset.images[some])) for one in (np.min, np.max))
    maximum = dataset.format.maximum
    if low < -maximum or high > maximum:  # spectrograms and the like, which have no range of their own
        return low, high
    return (0.0, maximum) if low >= 0 else (-maximum, maximum)


def name_of(dataset: Dataset, number: int) -> str:
    """Say which sample is meant: its file where that is known, else its place."""
    for column in ("file", "path"):
        if column in dataset.columns:
            return str(dataset.columns[column][number])
    return f"sample {number}"


def is_ink(dataset: Dataset) -> bool:
    """Say whether images are light strokes on a dark ground, which are drawn like ink on paper."""
    return dataset.format.background == "dark"


def write(console: Console, path: Path, sheet: Any) -> None:
    """Write a sheet and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sheet(path, sheet)
    console.line(f"Drawn in {path}")
