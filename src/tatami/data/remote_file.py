"""What is known of a file before it is downloaded; `tatami.data.download` fetches it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """A file on a mirror: its name, its size in bytes and the SHA-256 of its content."""

    name: str
    size: int
    sha256: str
