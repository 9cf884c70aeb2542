"""Walking folders that people made: classes, what is below them, and what is left alone.

Names that begin with a dot are hidden and left alone. Links are followed, but never in a circle and never to a folder
that holds the one being read: all other classes lie in it.
"""

import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from tatami.errors import DataError

# What archivers and file managers leave behind.
LEFT_ALONE = (".", "__MACOSX", "$RECYCLE.BIN", "System Volume Information")


def visible(folder: Path) -> list[Path]:
    """Return what a folder holds in the order of the names, hidden files and system folders left out."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(LEFT_ALONE))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error


def is_folder(path: Path) -> bool:
    """Say whether a path is that of a folder; raise a DataError where that cannot be seen."""
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def class_folders(root: Path) -> dict[str, Path]:
    """Return the sub-folders that can be classes by their names: numbers in the order of numbers, then the others.

    Raises:
        DataError: a name that is not UTF-8, or two that are the same text.
    """
    home = root.resolve()
    found: dict[str, Path] = {}
    for path in visible(root):
        if not is_folder(path) or (path.is_symlink() and home.is_relative_to(path.resolve())):
            continue
        name = class_name(path)
        if name in found:
            raise DataError(
                f"{path}: another class folder has the same name, {found[name]}; rename one of them"
            )
        found[name] = path
    return dict(
        sorted(found.items(), key=lambda item: (not item[0].isdecimal(), as_number(item[0]), item[0]))
    )


def class_name(folder: Path) -> str:
    """Return the name of a class as a text that can be written anywhere: the same for every way to write its accents.

    >>> class_name(Path("カ\N{COMBINING KATAKANA-HIRAGANA VOICED SOUND MARK}")) == "ガ"
    True
    """
    try:
        folder.name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{folder}: the name of the class is not UTF-8; rename the folder") from error
    return unicodedata.normalize("NFC", folder.name)


def as_number(name: str) -> int:
    """Return the number that a name is, or 0."""
    return int(name) if name.isdecimal() else 0


def files_below(folder: Path) -> Iterator[Path]:
    """Yield everything below a folder that is no folder, at any depth: what is really there before what is linked."""
    home = folder.resolve()
    seen: set[Path] = set()
    waiting, linked = deque([folder]), deque[Path]()
    while waiting or linked:
        place = waiting.popleft() if waiting else linked.popleft()
        real = place.resolve()
        if real in seen or (place is not folder and home.is_relative_to(real)):
            continue
        seen.add(real)
        for path in visible(place):
            if not is_folder(path):
                yield path
            elif path.is_symlink():
                linked.append(path)
            else:
                waiting.append(path)


def files_with(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files below a folder, at any depth, whose names end in one of the suffixes, in order."""
    return sorted(path for path in files_below(folder) if path.suffix.lower() in suffixes)
