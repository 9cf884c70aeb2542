"""``tatami data replay``: exactly what the network saw in a step of a run."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from tatami.cli.choices import Source, source_of_run
from tatami.cli.console import Console
from tatami.cli.data.choices import is_ink, out_option, value_range, write
from tatami.cli.folds import is_cross_validation, read
from tatami.cli.options import data_option, json_option
from tatami.data import Batch, Dataset
from tatami.data.contact_sheet import contact_sheet
from tatami.errors import SettingError
from tatami.program import DTYPES
from tatami.training.checkpoint import Checkpoint
from tatami.training.plan import Plan
from tatami.training.run import checkpoint_to_resume, identity, split
from tatami.training.run_folder import RunFolder
from tatami.training.tasks import Classify

COLUMNS = 12


@click.command(
    "replay", epilog="Example: tatami data replay runs/katakana-small_convnet-001 --step 1234 --sample 7"
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--step", type=int, required=True, metavar="N", help="Step of the run, counted from 0.")
@click.option("--sample", type=int, metavar="K", help="Place in the batch, counted from 0; all without it.")
@data_option
@out_option
@json_option
def replay_command(
    run: Path, step: int, sample: int | None, data_folder: Path | None, out: Path | None, as_json: bool
) -> None:
    """Draw again what the network saw in a step of RUN: with --sample one image, before and after."""
    console = Console(machine=as_json)
    checkpoint = checkpoint_to_resume(RunFolder.open(run))
    learning = learned_from(run, checkpoint, data_folder)
    batch, epoch = batch_of(checkpoint, learning, step)
    if sample is not None and not 0 <= sample < len(batch):
        raise SettingError(
            f"--sample: the batch of step {step} has {len(batch)} images, counted from 0, got {sample}"
        )
    places = range(len(batch)) if sample is None else [sample]
    before = learning.images[batch.indices].astype(np.float64)
    # What the network gets is drawn in its own range, as the preprocessing left it.
    low, high = value_range(learning)
    seen = batch.images.astype(np.float64)
    ends = checkpoint.preprocessing.apply(
        np.stack([np.full(learning.image_shape, low), np.full(learning.image_shape, high)]), "float64"
    )
    after = low + (seen - ends[0]) / np.where(ends[1] == ends[0], 1, ends[1] - ends[0]) * (high - low)
    if sample is None:
        rows = [list(after[start : start + COLUMNS]) for start in range(0, len(after), COLUMNS)]
    else:
        rows = [[before[sample], after[sample]]]
    path = out or Path(f"step{step}{'' if sample is None else f'-sample{sample}'}.png")
    write(console, path, contact_sheet(rows, low, high, as_ink=is_ink(learning)))
    described = [describe(checkpoint, batch, place) for place in places]
    console.table(
        ("place", "image", "class", "target", "SHA-256"),
        [
            (entry["place"], entry["index"], entry["class"], entry["target_text"], entry["sha256"][:16])
            for entry in described
        ],
        left=(2, 3, 4),
    )
    console.json({"run": str(run), "step": step, "epoch": epoch, "file": str(path), "samples": described})


def learned_from(run: Path, checkpoint: Checkpoint, data_folder: Path | None) -> Dataset:
    """Load the images that a run learns from; raise if they are not the same ones any more."""
    place = RunFolder.open(run).path
    number = re.fullmatch(r"fold([1-9][0-9]*)", place.name)
    if number and is_cross_validation(place.parent):
        training = fold_of(place.parent, int(number[1]), data_folder)
    else:
        training = elsewhere(source_of_run(run), data_folder).load().train
    found = identity(training, checkpoint.settings.validation_groups)
    if checkpoint.data != found:
        raise SettingError(f"{run} was trained on other data: {checkpoint.data}, these are {found}")
    return split(training, checkpoint.settings)[0]


def elsewhere(source: Source, data_folder: Path | None) -> Source:
    """Return where to load data from, in another folder if one is named."""
    return source if data_folder is None else replace(source, data_folder=str(data_folder.resolve()))


def fold_of(folder: Path, number: int, data_folder: Path | None) -> Dataset:
    """Return the images that one fold of a cross-validation learns from."""
    cross = read(folder)
    folds = cross.folds(elsewhere(cross.source, data_folder).load().train)
    if number > len(folds):
        raise SettingError(f"{folder} has {len(folds)} folds, there is no fold {number}")
    return folds[number - 1].train


def batch_of(checkpoint: Checkpoint, learning: Dataset, step: int) -> tuple[Batch, int]:
    """Return the batch of a step counted over the whole run, and its epoch counted from 0."""
    settings = checkpoint.settings
    plan = Plan(learning, checkpoint.preprocessing, settings, DTYPES[settings.precision])
    if not 0 <= step < plan.total_steps:
        raise SettingError(f"--step: the run has {plan.total_steps:,} steps, counted from 0, got {step}")
    epoch, within = divmod(step, plan.batches.steps)
    return plan.batches.batch(epoch, within), epoch


def describe(checkpoint: Checkpoint, batch: Batch, place: int) -> dict[str, Any]:
    """Return what one image of a batch was: its place in the data, its target, the fingerprint of its values."""
    target = batch.targets[place]
    names = checkpoint.class_names
    if not isinstance(checkpoint.settings.task, Classify):
        return {**described(batch, place), "target_text": in_short(target, names)}
    if batch.targets.ndim == 1:
        text = names[int(target)]
    else:
        text = ", ".join(f"{names[k]} {100 * target[k]:.0f} %" for k in np.flatnonzero(target > 0))
    return {
        **described(batch, place),
        "class": names[int(batch.labels[place])],
        "target_text": text,
    }


def in_short(target: Any, names: tuple[str, ...]) -> str:
    """Say what the target of another task than classification is."""
    values = np.asarray(target)
    if values.dtype.kind == "f":
        return ", ".join(
            f"{name} {float(value.flat[0]):.4g}" for name, value in zip(names, values, strict=False)
        )
    found = [names[int(number)] for number in np.unique(values) if 0 <= number < len(names)]
    return ", ".join(found[:12])


def described(batch: Batch, place: int) -> dict[str, Any]:
    """Return what is told of any image of a batch."""
    return {
        "place": place,
        "index": int(batch.indices[place]),
        "class": "",
        "target": np.asarray(batch.targets[place]).tolist(),
        "sha256": hashlib.sha256(np.ascontiguousarray(batch.images[place]).tobytes()).hexdigest(),
    }
