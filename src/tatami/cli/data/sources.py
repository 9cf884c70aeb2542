"""``tatami data list``: the data sets that have a name, and whether their files are here."""

import click

from tatami.cli.console import Console
from tatami.cli.options import json_option
from tatami.data.cifar import CIFAR_SETS, binary_files
from tatami.data.mnist import IDX_SETS, cache_folder, find
from tatami.data.sources import DESCRIPTIONS


@click.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the data sets that have a name."""
    console = Console(machine=as_json)
    rows = [(name, where(name), text) for name, text in DESCRIPTIONS.items()]
    console.table(("name", "files", "what it is"), rows, left=(0, 1, 2))
    console.line()
    console.line("  A folder with one sub-folder of images for each class is a data set too.")
    console.json({"datasets": {name: {"files": files, "description": text} for name, files, text in rows}})


def where(name: str) -> str:
    """Say where the files of a data set are."""
    if name in IDX_SETS:
        here = all(find(file, cache_folder(name)) for file in IDX_SETS[name].files)
    elif name in CIFAR_SETS:
        folder = cache_folder(name)
        archive = (folder / CIFAR_SETS[name].archive.name).is_file()
        here = archive or binary_files(CIFAR_SETS[name], folder) is not None
    else:
        return "in the package"
    return "in the cache" if here else "to download"
