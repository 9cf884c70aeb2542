"""Files that are either wholly there or not at all, whatever stops the process or the machine.

A file is written under a temporary name in its own folder, flushed to the disk and renamed over the old one;
the folder is flushed too. Renaming within a folder is atomic, so a reader, or the same run started again after
a kill, finds the old content or the new one and never a part of either.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".writing"


def write_durably(path: Path, payload: bytes, *, previous: Path | None = None) -> None:
    """Write ``payload`` to ``path`` atomically; with ``previous``, keep the old content under that name.

    A failure, a full disk for instance, leaves the old file as it was and takes the temporary one away.

    Raises:
        OSError: the file could not be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     note, older = Path(folder, "note.txt"), Path(folder, "note.previous.txt")
    ...     write_durably(note, b"first")
    ...     write_durably(note, b"second", previous=older)
    ...     print(note.read_text(), older.read_text(), len(list(Path(folder).iterdir())))
    second first 2
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            keep_as(path, previous)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def keep_as(path: Path, previous: Path) -> None:
    """Give the content of ``path`` a second name, atomically; ``path`` itself stays where it is."""
    second = previous.with_name(previous.name + TEMPORARY_SUFFIX)
    second.unlink(missing_ok=True)
    try:
        os.link(path, second)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, second)
    os.replace(second, previous)


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, where the system lets a folder be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Take away temporary files that a killed process left in a folder."""
    for leftover in folder.glob(f"*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, durably."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    write_durably(path, (text + "\n").encode())
