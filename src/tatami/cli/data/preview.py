"""``tatami data preview``: what a pipeline makes of images, before and after."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from tatami.cli.console import Console
from tatami.cli.data.choices import chosen_splits, is_ink, out_option, value_range, write
from tatami.cli.options import channels_option, data_option, json_option, size_option
from tatami.data.augmentation import choose_policy
from tatami.data.contact_sheet import contact_sheet
from tatami.errors import SettingError


@click.command("preview", epilog="Example: tatami data preview handwriting katakana")
@click.argument("pipeline")
@click.argument("dataset", default="katakana")
@click.option("--rows", type=int, default=8, show_default=True, metavar="N", help="Images to show.")
@click.option("--epochs", type=int, default=9, show_default=True, metavar="N", help="Epochs to show.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the run.")
@data_option
@size_option
@channels_option
@out_option
@json_option
def preview_command(
    pipeline: str,
    dataset: str,
    rows: int,
    epochs: int,
    seed: int,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw images of DATASET before and after PIPELINE, a name or a JSON file.

    Each row is one image: first as it is, then as the network sees it in the first epochs.
    """
    if rows < 1 or epochs < 1:
        raise SettingError(f"--rows and --epochs must be at least 1, got {rows} and {epochs}")
    console = Console(machine=as_json)
    chosen = choose_policy(pipeline)
    data = chosen_splits(dataset, options).train
    samples = np.arange(min(rows, len(data)))
    columns = [data.images[samples].astype(np.float32)]
    columns += [chosen.apply(data, samples, seed, epoch).images for epoch in range(epochs)]
    sheet = contact_sheet(
        [[column[row] for column in columns] for row in range(len(samples))],
        *value_range(data),
        as_ink=is_ink(data),
    )
    path = out or Path(f"{data.name}-{Path(pipeline).stem}.png")
    write(console, path, sheet)
    for number, step in enumerate(chosen.steps, start=1):
        console.line(f"  {number}. {step}")
    console.json({"pipeline": chosen.to_json(), "dataset": data.name, "file": str(path)})
