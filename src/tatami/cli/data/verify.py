"""``tatami data verify``: are the files of a data set whole and the right ones?"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from tatami.cli.console import Console
from tatami.cli.data.choices import chosen_splits
from tatami.cli.options import channels_option, data_option, json_option, size_option
from tatami.data.cifar import CIFAR_SETS
from tatami.data.class_folders import files_with, is_folder
from tatami.data.files import inside, rows_of
from tatami.data.image_files import read_pixels
from tatami.data.image_folder import images_below
from tatami.data.mnist import IDX_SETS, cache_folder
from tatami.data.remote_file import RemoteFile
from tatami.data.sound import read_wav
from tatami.data.sources import NAMES, kind_and_path, kind_of_files
from tatami.data.task_sources import has_column
from tatami.data.volumes import read_volume
from tatami.errors import DataError, TatamiError

CHUNK = 2**20


@click.command("verify")
@click.argument("dataset")
@data_option
@size_option
@channels_option
@json_option
def verify_command(dataset: str, as_json: bool, **options: Any) -> None:
    """Check the files of DATASET: checksums of downloads, every image of a folder; then load all of it."""
    console = Console(machine=as_json)
    found = list(problems(dataset, options["data_folder"]))
    for problem in found:
        console.line(f"  {problem}")
    loaded = False
    if not found or dataset in (*IDX_SETS, *CIFAR_SETS):
        console.line(f"  {chosen_splits(dataset, options).train}")
        loaded = True
    console.json({"dataset": dataset, "problems": found, "loaded": loaded})
    if found:
        raise DataError(f"{dataset}: {len(found)} of its files are not as they should be")
    console.line("  every file is as it should be")


def problems(dataset: str, data_folder: Path | None) -> Iterator[str]:
    """Yield what is wrong with the files of a data set, a sentence for each."""
    if dataset in IDX_SETS or dataset in CIFAR_SETS:
        folder = data_folder or cache_folder(dataset)
        files = IDX_SETS[dataset].files if dataset in IDX_SETS else (CIFAR_SETS[dataset].archive,)
        yield from (reason for file in files if (reason := wrong_with(file, folder)))
        return
    if dataset in NAMES:
        return
    kind, path = kind_and_path(dataset)
    place = Path(path).expanduser()
    for file, read in files_to_read(place, kind):
        try:
            read(file)
        except TatamiError as error:
            yield str(error)


def files_to_read(place: Path, kind: str | None) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    """Yield the files of a folder or table, each with what reads it."""
    if place.suffix.lower() == ".csv" and place.is_file():
        has_images = has_column(place, "path") and has_column(place, "label")
        for row in rows_of(place) if has_images else []:
            yield inside(place.parent, row["path"], place), read_image
    if not is_folder(place):
        return
    kind = kind or kind_of_files(place)
    if kind in ("signals", "spectrograms"):
        yield from ((file, read_wav) for file in files_with(place, (".wav",)))
    elif kind == "volumes":
        yield from ((file, read_volume) for file in files_with(place, (".npy",)))
    else:
        yield from ((file, read_image) for file in images_below(place))


def read_image(path: Path) -> Any:
    """Decode an image."""
    return read_pixels(path, 3)


def wrong_with(file: RemoteFile, folder: Path) -> str | None:
    """Say how a file differs from the official one, if it is there."""
    path = folder / file.name
    if not path.is_file():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while piece := content.read(CHUNK):
            digest.update(piece)
    if digest.hexdigest() == file.sha256:
        return None
    return f"{path}: SHA-256 {digest.hexdigest()}, the official file has {file.sha256}"
