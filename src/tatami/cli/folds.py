"""``tatami train --folds K``: cross-validation that can be stopped and goes on, with the same result.

``folds.json`` in the folder of the folds says how they were made and which are done. A fold that was stopped in the
middle is a run of its own in ``fold1``, ``fold2`` …, and is resumed like any run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tatami import __version__
from tatami.cli.choices import Source, choose_network
from tatami.cli.console import Console
from tatami.cli.train import begin_on, loaded, refuse_changes, source_of
from tatami.data import Dataset
from tatami.data.augmentation import POLICIES, choose_policy
from tatami.data.folds import Folds, group_folds, stratified_folds
from tatami.data.groups import groups_of
from tatami.errors import CheckpointError, SettingError
from tatami.models.architectures import ARCHITECTURES
from tatami.training.durable_files import write_json
from tatami.training.interruption import TrainingInterrupted
from tatami.training.measures import MEASURES
from tatami.training.progress import ProgressBar
from tatami.training.run import Run, identity, resume
from tatami.training.run_folder import RunFolder, next_run_folder

FORMAT = "tatami-folds"
FORMAT_VERSION = 1
RECORD = "folds.json"
LARGEST_RECORD = 2**24
# What may change when the folds go on: nothing that changes the result.
WITH_RESUME = {
    "resume_from", "threads", "workers", "data_folder", "as_json", "checkpoint_seconds", "checkpoint_steps",
}  # fmt: skip


@dataclass(frozen=True)
class Cross:
    """A cross-validation in its folder.

    Attributes:
        folder: where its folds lie.
        dataset: what the user called the data, which decides the defaults.
        source: how the data are loaded.
        options: of the command line.
        data: what tells the images from others.
        done: what came out of each fold that is done, by its number from 1.
    """

    folder: Path
    dataset: str
    source: Source
    options: dict[str, Any]
    data: Mapping[str, Any]
    done: dict[int, dict[str, Any]]

    def write(self) -> None:
        """Write the record."""
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "tatami_version": __version__,
            "dataset": self.dataset,
            "source": self.source.to_json(),
            "options": {name: written(value) for name, value in self.options.items()},
            "data": dict(self.data),
            "done": {str(number): found for number, found in self.done.items()},
        }
        write_json(self.folder / RECORD, values)

    def folds(self, dataset: Dataset) -> Folds:
        """Divide the images to train on."""
        count, seed, grouping = (self.options[name] for name in ("folds", "seed", "group_by"))
        if grouping is None:
            return stratified_folds(dataset, count, seed)
        return group_folds(dataset, groups_of(dataset, grouping), count, seed)


def written(value: Any) -> Any:
    """Return the value of an option as JSON has it."""
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def is_cross_validation(folder: Path) -> bool:
    """Say whether a folder holds the folds of a cross-validation."""
    return (folder / RECORD).is_file()


def begin_folds(console: Console, dataset: str, options: dict[str, Any]) -> None:
    """Begin a cross-validation, and go through all of its folds."""
    source = source_of(dataset, options)
    splits = loaded(console, source)
    folder = Path(options["out"] or next_run_folder(splits.name, f"{options['network'] or 'default'}-folds"))
    if is_cross_validation(folder):
        raise SettingError(
            f"{folder} holds folds already; continue them with: tatami train --resume {folder}"
        )
    RunFolder(folder).require_free()
    cross = Cross(folder, dataset, source, dict(options), identity(splits.train, options["group_by"]), {})
    cross.folds(splits.train)  # whatever does not fit is said before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    cross = replace(cross, options=with_own_files(folder, options))
    cross.write()
    go_through(console, cross, splits.train)


def with_own_files(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Copy the files that options name, so that later folds are trained with what the first ones were."""
    options = dict(options)
    if options["augment"] is not None and options["augment"] not in POLICIES:
        choose_policy(options["augment"]).write(folder / "augmentation.json")
        options["augment"] = str(folder.resolve() / "augmentation.json")
    if options["network"] is not None and options["network"] not in ARCHITECTURES:
        network = choose_network(options["network"], None, None)
        write_json(folder / "network.json", network.to_json())
        options["network"] = str(folder.resolve() / "network.json")
    return options


def resume_folds(console: Console, dataset: str | None, given: dict[str, Any]) -> None:
    """Go on with a cross-validation that was stopped, however it was."""
    refuse_changes(
        dataset,
        set(given) - WITH_RESUME,
        "the folds go on as they began; only --threads, --workers and --data may change",
    )
    cross = read(given["resume_from"])
    changes = {name: given[name] for name in given if name not in ("resume_from", "data_folder", "as_json")}
    source = cross.source
    if "data_folder" in given:
        source = replace(source, data_folder=str(given["data_folder"].resolve()))
    training = loaded(console, source).train
    # Records that began before groups had a fingerprint do not mention it.
    found = identity(training, cross.options["group_by"] if "groups_sha256" in cross.data else None)
    if found != cross.data:
        raise SettingError(f"{cross.folder} was begun with other data: {dict(cross.data)}, these are {found}")
    go_through(console, replace(cross, options={**cross.options, **changes}), training)


def read(folder: Path) -> Cross:
    """Read the record of a cross-validation.

    Raises:
        CheckpointError: a record that cannot be used.
    """
    path = folder / RECORD
    try:
        if path.stat().st_size > LARGEST_RECORD:
            raise CheckpointError(f"{path}: more than {LARGEST_RECORD:,} bytes; not the record of folds")
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT or values["format_version"] != FORMAT_VERSION:
            raise CheckpointError(f"{path}: not a record of folds that this Tatami reads; update it")
        done = {int(number): dict(found) for number, found in values["done"].items()}
        for found in done.values():
            float(found["value"]), int(found["images"]), MEASURES[found["measure"]]
        return Cross(
            folder, str(values["dataset"]), Source.from_json(values["source"]), dict(values["options"]),
            dict(values["data"]), done,
        )  # fmt: skip
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a record of folds, or a damaged one ({error!r})") from error


def go_through(console: Console, cross: Cross, training: Dataset) -> None:
    """Train the folds that are not done, and report all."""
    folds = cross.folds(training)
    for number, fold in enumerate(folds, start=1):
        if number in cross.done:
            console.note(f"fold {number} of {len(folds)} is done")
            continue
        console.note(f"fold {number} of {len(folds)}")
        try:
            run = trained(console, cross, number, fold)
        except TrainingInterrupted as stopped:
            raise TrainingInterrupted(
                f"stopped in fold {number} of {len(folds)}; go on with: tatami train --resume {cross.folder}",
                stopped.exit_code - 128,
            ) from stopped
        cross.done[number] = outcome(run, len(fold.test))
        cross.write()
    report(console, cross, training.name)


def trained(console: Console, cross: Cross, number: int, fold: Any) -> Run:
    """Train a fold, or go on with it where it was stopped."""
    place = cross.folder / f"fold{number}"
    if not RunFolder(place).is_run():
        return begin_on(console, cross.dataset, None, fold, {**cross.options, "out": place})[0]
    names = ("threads", "workers", "checkpoint_seconds", "checkpoint_steps")
    changes = {name: cross.options[name] for name in names if cross.options[name] is not None}
    return resume(place, fold, progress=ProgressBar(), **changes)


def outcome(run: Run, images: int) -> dict[str, Any]:
    """Return what is kept of a fold."""
    assert run.test is not None
    assert run.folder is not None
    name = run.model.task.headline
    return {
        "task": run.model.task.name,
        "measure": name,
        "value": float(run.test.measures[name]),
        "images": images,
        "weights_sha256": run.weights_sha256,
        "run_dir": run.folder.path.name,
    }


def report(console: Console, cross: Cross, name_of_data: str) -> None:
    """Print mean and deviation, the folds, and the JSON object."""
    found = [cross.done[number] for number in sorted(cross.done)]
    name = found[0]["measure"]
    measure = MEASURES[name]
    values = [float(one["value"]) for one in found]
    average, spread = mean(values), stdev(values)
    called = "" if name == "accuracy" else f"{measure.label} "
    console.heading(
        f"{called}{measure.written(average)} ± {measure.written(spread)} over {len(found)} folds "
        f"(mean and standard deviation)"
    )
    console.table(
        ("fold", "images", measure.label),
        [
            (number, one["images"], measure.written(value))
            for number, (one, value) in enumerate(zip(found, values, strict=True), start=1)
        ],
    )
    console.json(
        {
            "dataset": name_of_data,
            "task": found[0]["task"],
            "folds": len(found),
            "group_by": cross.options["group_by"],
            f"{name}_mean": average,
            f"{name}_deviation": spread,
            ("accuracies" if name == "accuracy" else f"{name}_values"): values,
            "weights_sha256": [one["weights_sha256"] for one in found],
            "run_dirs": [str(cross.folder / one["run_dir"]) for one in found],
        }
    )
