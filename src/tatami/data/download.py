"""Downloading a file of known size and checksum: whole and right, or not at all.

What has come is kept under a hidden name that ends in ``.part``. When a server breaks off, the next mirror, or the next
attempt, goes on from there if its server can; whatever was put together so is right only if its SHA-256 is. Only then
does the file get its name. A part belongs to one process at a time: a second one waits, and finds the file there.
"""

import hashlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any, NoReturn

from tqdm import tqdm

from tatami.data.remote_file import RemoteFile
from tatami.errors import DataError

CHUNK_BYTES = 2**16
TIMEOUT_SECONDS = 30
SECONDS_BEFORE_BAR = 0.5
SCHEMES = ("http", "https")


class MirrorError(Exception):
    """A mirror does not have the right file; the next one is tried."""


def download(file: RemoteFile, mirrors: Sequence[str], folder: Path) -> Path:
    """Fetch a file from the first mirror that has it, and put it into a folder.

    Args:
        file: what is wanted.
        mirrors: addresses that end in a slash, tried in turn; http and https, and no redirection to anything else.
        folder: where to put it; made if it does not exist.

    Returns:
        The path of the file.

    Raises:
        DataError: no mirror had the right file, each with its reason, or the folder cannot be written to.
    """
    place = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = identity_of(place)
        with claimed(part_of(file, folder)) as part:
            # Another process may have fetched the file while this one waited for its part.
            if identity_of(place) == before:
                fetch_from_any(file, mirrors, part)
                os.replace(part.path, place)
            else:
                part.path.unlink()
    except OSError as error:
        raise DataError(f"{file.name} cannot be stored in {folder}: {error.strerror or error}") from error
    return place


def part_of(file: RemoteFile, folder: Path) -> Path:
    """Return where the beginning of a file is kept: under a name that says of which content it is a part."""
    return folder / f".{file.name}.{file.sha256[:16]}.part"


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what changes when another file takes a name; None for no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


@dataclass(frozen=True)
class Part:
    """The beginning of a file, open to be continued."""

    path: Path
    content: IO[bytes]

    def digest(self) -> "hashlib._Hash":
        """Return the digest of what is there, and stand at its end."""
        digest = hashlib.sha256()
        self.content.seek(0)
        while piece := self.content.read(CHUNK_BYTES):
            digest.update(piece)
        return digest

    def clear(self) -> None:
        """Throw away what is there."""
        self.content.seek(0)
        self.content.truncate()


@contextmanager
def claimed(path: Path) -> Iterator[Part]:
    """Open a part, made if there is none; wait until no other process has it. An empty one is removed in the end."""
    while True:
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as content:
            lock(content)
            # Who had it before us may have given it its name, or removed it.
            if identity_of(path) is None or path.stat().st_ino != os.fstat(content.fileno()).st_ino:
                continue
            try:
                yield Part(path, content)
            finally:
                content.flush()
                if identity_of(path) is not None and path.stat().st_size == 0:
                    path.unlink()
            return


def lock(file: IO[bytes]) -> None:
    """Wait until no other process has a file locked; the lock ends when the file is closed, or with its process."""
    try:
        import fcntl
    except (
        ImportError
    ):  # Windows: what two processes write at once has a wrong checksum, and is fetched again
        return
    fcntl.flock(file.fileno(), fcntl.LOCK_EX)


def fetch_from_any(file: RemoteFile, mirrors: Sequence[str], part: Part) -> None:
    """Try the mirrors in turn until one gives the right content."""
    reasons = []
    for mirror in mirrors:
        try:
            fetch(file, mirror, part)
            part.content.flush()
            os.fsync(part.content.fileno())
            return
        except MirrorError as error:
            reasons.append(f"{mirror}: {error}")
    raise DataError(f"{file.name} could not be downloaded ({'; '.join(reasons)})")


def fetch(file: RemoteFile, mirror: str, part: Part) -> None:
    """Complete a part with the content on one mirror; one that turns out to be wrong is begun anew once."""
    if os.fstat(part.content.fileno()).st_size:
        try:
            return complete(file, mirror, part)
        except WrongContentError:
            part.clear()
    try:
        complete(file, mirror, part)
    except WrongContentError:
        part.clear()
        raise


class WrongContentError(MirrorError):
    """What has come cannot become the right file."""


def complete(file: RemoteFile, mirror: str, part: Part) -> None:
    """Append what is missing from one mirror, and check the whole."""
    digest = part.digest()
    received = part.content.tell()
    if received < file.size:
        with answering(mirror + file.name, received) as response:
            if begins_at(response, received, file) == 0 and received:
                part.clear()
                digest, received = hashlib.sha256(), 0
            with progress_bar(file, received) as bar:
                for piece in pieces(response):
                    received += len(piece)
                    if received > file.size:
                        raise WrongContentError(f"expected {file.size:,} bytes, got more")
                    digest.update(piece)
                    part.content.write(piece)
                    bar.update(len(piece))
    if received < file.size:
        raise MirrorError(f"expected {file.size:,} bytes, got {received:,}")
    if received > file.size or digest.hexdigest() != file.sha256:
        raise WrongContentError(f"wrong content: expected SHA-256 {file.sha256}, got {digest.hexdigest()}")


def begins_at(response: HTTPResponse, wanted: int, file: RemoteFile) -> int:
    """Return the place in the file at which an answer begins: the one that was asked for, or 0.

    Raises:
        WrongContentError: another part than the one that was asked for, or a part of a file of another size.
    """
    if response.status != 206:
        return 0
    text = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", text.strip())
    if match is None or int(match[1]) != wanted or match[2] not in ("*", str(file.size)):
        raise WrongContentError(
            f"asked for the bytes from {wanted:,} of {file.size:,}, got {text or 'others'!r}"
        )
    return wanted


class WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirections within the web, and never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the next request, or raise a MirrorError."""
        scheme = newurl.partition(":")[0].lower()
        if scheme not in SCHEMES or (req.type == "https" and scheme != "https"):
            raise MirrorError(f"redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def answering(address: str, start: int) -> Iterator[HTTPResponse]:
    """Open an address from a byte on; every failure of the network becomes a MirrorError."""
    if address.partition(":")[0].lower() not in SCHEMES:
        raise MirrorError("only http and https are downloaded from")
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(address, headers=headers)
    try:
        response = urllib.request.build_opener(WebOnly).open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            kind = WrongContentError if error.code == 416 and start else MirrorError
            raise kind(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise MirrorError(str(error.reason)) from error
    except (HTTPException, OSError) as error:
        raise MirrorError(f"{type(error).__name__}: {error}") from error
    with closing(response):
        yield response


def pieces(response: HTTPResponse) -> Iterator[bytes]:
    """Yield the content of an answer, as far as it comes."""
    try:
        while piece := response.read(CHUNK_BYTES):
            yield piece
    except (HTTPException, OSError) as error:
        raise MirrorError(f"{type(error).__name__}: {error}") from error


def progress_bar(file: RemoteFile, received: int = 0) -> "tqdm[NoReturn]":
    """Return a bar on stderr that shows itself where a person watches and waits."""
    return tqdm(
        total=file.size,
        initial=received,
        desc=file.name,
        unit="B",
        unit_scale=True,
        leave=False,
        delay=SECONDS_BEFORE_BAR,
        disable=None,
    )
