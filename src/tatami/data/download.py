"""Downloading a file of known size and checksum: whole and right, or not at all."""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, NoReturn

from tqdm import tqdm

from tatami.errors import DataError

CHUNK_BYTES = 2**16
TIMEOUT_SECONDS = 30
SECONDS_BEFORE_BAR = 0.5


class MirrorError(Exception):
    """A mirror does not have the right file; the next one is tried."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a mirror: its name, its size in bytes and the SHA-256 of its content."""

    name: str
    size: int
    sha256: str


def download(file: RemoteFile, mirrors: Sequence[str], folder: Path) -> Path:
    """Fetch a file from the first mirror that has it, and put it into a folder.

    It is written under a temporary name, checked, flushed and renamed: the folder never holds a part of it.

    Args:
        file: what is wanted.
        mirrors: addresses that end in a slash, tried in turn.
        folder: where to put it; made if it does not exist.

    Returns:
        The path of the file.

    Raises:
        DataError: no mirror had the right file, each with its reason, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".downloading-") as scratch:
            temporary = Path(scratch, file.name)
            fetch_from_any(file, mirrors, temporary)
            os.replace(temporary, folder / file.name)
    except OSError as error:
        raise DataError(f"{file.name} cannot be stored in {folder}: {error.strerror or error}") from error
    return folder / file.name


def fetch_from_any(file: RemoteFile, mirrors: Sequence[str], target: Path) -> None:
    """Try the mirrors in turn until one gives the right content."""
    reasons = []
    for mirror in mirrors:
        try:
            with target.open("wb") as output:
                fetch(file, mirror, output)
                output.flush()
                os.fsync(output.fileno())
            return
        except MirrorError as error:
            reasons.append(f"{mirror}: {error}")
    raise DataError(f"{file.name} could not be downloaded ({'; '.join(reasons)})")


def fetch(file: RemoteFile, mirror: str, output: IO[bytes]) -> None:
    """Write the content of a file on one mirror to ``output``; raise a MirrorError if it is not the right one."""
    digest = hashlib.sha256()
    received = 0
    with progress_bar(file) as bar:
        for piece in pieces(mirror + file.name):
            received += len(piece)
            if received > file.size:
                raise MirrorError(f"expected {file.size:,} bytes, got more")
            digest.update(piece)
            output.write(piece)
            bar.update(len(piece))
    if received < file.size:
        raise MirrorError(f"expected {file.size:,} bytes, got {received:,}")
    if digest.hexdigest() != file.sha256:
        raise MirrorError(f"wrong content: expected SHA-256 {file.sha256}, got {digest.hexdigest()}")


def pieces(address: str) -> Iterator[bytes]:
    """Yield the content at an address; every failure of the network becomes a MirrorError."""
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as response:
            while piece := response.read(CHUNK_BYTES):
                yield piece
    except urllib.error.HTTPError as error:
        with error:
            raise MirrorError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise MirrorError(str(error.reason)) from error
    except (HTTPException, OSError) as error:
        raise MirrorError(f"{type(error).__name__}: {error}") from error


def progress_bar(file: RemoteFile) -> "tqdm[NoReturn]":
    """Return a bar on stderr that shows itself where a person watches and waits."""
    return tqdm(
        total=file.size,
        desc=file.name,
        unit="B",
        unit_scale=True,
        leave=False,
        delay=SECONDS_BEFORE_BAR,
        disable=None,
    )
