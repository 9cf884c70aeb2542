"""``tatami data show``: a contact sheet, one row for each class."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from tatami.cli.console import Console
from tatami.cli.data.choices import chosen_splits, is_ink, out_option, part_option, value_range, write
from tatami.cli.options import channels_option, data_option, json_option, size_option
from tatami.data import Dataset
from tatami.data.contact_sheet import contact_sheet
from tatami.errors import SettingError

MOST_CLASSES = 100


@click.command("show")
@click.argument("dataset")
@click.option("--each", type=int, default=12, show_default=True, metavar="N", help="Images of each class.")
@part_option
@data_option
@size_option
@channels_option
@out_option
@json_option
def show_command(dataset: str, each: int, part: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Draw images of DATASET, a row for each class."""
    if each < 1:
        raise SettingError(f"--each must be at least 1, got {each}")
    console = Console(machine=as_json)
    data: Dataset = getattr(chosen_splits(dataset, options), part)
    rows, names = [], []
    for label, name in enumerate(data.class_names[:MOST_CLASSES]):
        members = np.flatnonzero(data.labels == label)[:each]
        if len(members):
            rows.append(list(data.images[members]))
            names.append(name)
    path = out or Path(f"{data.name}.png")
    write(console, path, contact_sheet(rows, *value_range(data), as_ink=is_ink(data)))
    console.line(f"Rows: {' '.join(names)}")
    console.json({"dataset": data.name, "file": str(path), "rows": names})
