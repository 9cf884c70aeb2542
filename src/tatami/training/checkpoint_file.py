"""The file format of a checkpoint: one safetensors file whose metadata holds JSON and a checksum.

The metadata of the safetensors header has four entries:

=================  =========================================================================
``format``         ``tatami-checkpoint``
``format_version`` a whole number; readers refuse versions that they do not know
``content``        JSON: everything that is not a tensor (see `tatami.training.checkpoint`)
``sha256``         checksum over version, content and every tensor's name, type, shape, bytes
=================  =========================================================================

Any safetensors reader opens it. Nothing is pickled, and reading one runs no code from the file.

Source of the container: https://huggingface.co/docs/safetensors (eight bytes with the length of the header,
the header as JSON, then the tensors).
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from tatami.errors import CheckpointError
from tatami.training.durable_files import write_durably

FORMAT = "tatami-checkpoint"
FORMAT_VERSION = 1
SUFFIX = ".safetensors"
PREVIOUS_SUFFIX = ".previous.safetensors"
LENGTH_BYTES = 8
# The limit of the safetensors library itself; a header that claims more is not one.
LARGEST_HEADER = 100_000_000

Tensors = Mapping[str, NDArray[Any]]


def previous_of(path: Path) -> Path:
    """Return where the checkpoint before ``path`` is kept.

    >>> previous_of(Path("runs/a/last.safetensors")).name
    'last.previous.safetensors'
    """
    return path.with_name(path.name.removesuffix(SUFFIX) + PREVIOUS_SUFFIX)


def checksum(version: str, content: str, tensors: Tensors) -> str:
    """Return the SHA-256 over the version, the content and every tensor in the order of the names.

    Each part is preceded by its length, so that moving a byte from one part to the next changes the sum.
    """
    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)

    add(version.encode())
    add(content.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        add(name.encode())
        add(f"{tensor.dtype.str}{tensor.shape}".encode())
        add(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def write_checkpoint_file(
    path: Path, tensors: Tensors, content: Mapping[str, Any], *, keep_previous: bool
) -> None:
    """Write tensors and JSON content to ``path``; the old file stays until the new one is safe on the disk.

    With ``keep_previous`` the old file then lives on as ``*.previous.safetensors``.

    Raises:
        CheckpointError: the file could not be written, for instance because the disk is full; the
            earlier checkpoint is untouched.
    """
    text = json.dumps(content, allow_nan=False, sort_keys=True)
    version = str(FORMAT_VERSION)
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    metadata = {
        "format": FORMAT,
        "format_version": version,
        "content": text,
        "sha256": checksum(version, text, contiguous),
    }
    payload = safetensors.numpy.save(contiguous, metadata)
    try:
        write_durably(path, payload, previous=previous_of(path) if keep_previous else None)
    except OSError as error:
        kept = f"; the earlier checkpoint {path} is intact" if path.exists() else ""
        raise CheckpointError(
            f"cannot write the checkpoint {path} ({len(payload) / 1e6:.1f} MB): {error.strerror or error}{kept}. "
            f"Free some space or choose another folder, then continue with: tatami train --resume {path.parent}"
        ) from error


def read_checkpoint_file(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read a checkpoint and check header, version and checksum; return the tensors and the JSON content.

    Raises:
        CheckpointError: the file is missing, not a checkpoint, of an unknown version, truncated or altered.
            The message says whether the checkpoint before it can be used instead.
    """
    payload = read_bytes(path)
    header = parse_header(path, payload)
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is a safetensors file, but not a checkpoint of Tatami; "
            f"give a file that 'tatami train' wrote, or its run folder"
        )
    check_version(path, metadata.get("format_version"))
    check_length(path, payload, header)
    try:
        tensors = safetensors.numpy.load(payload)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        refuse(path, f"is damaged: {error}", error)
    text = str(metadata.get("content"))
    if checksum(str(metadata["format_version"]), text, tensors) != metadata.get("sha256"):
        refuse(path, "is damaged: its content does not match its checksum")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(path, f"is damaged: {error}", error)
    if not isinstance(content, dict):
        refuse(path, "is damaged: its content is not a JSON object")
    return tensors, content


def read_bytes(path: Path) -> bytes:
    """Read the whole file, or say what is there instead."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a checkpoint")
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint at {path}{advice(path)}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error


def parse_header(path: Path, payload: bytes) -> dict[str, Any]:
    """Return the JSON header of a safetensors file, its length checked before anything is read."""
    if len(payload) < LENGTH_BYTES:
        refuse(path, f"is not a checkpoint: it has {len(payload)} bytes")
    (length,) = struct.unpack("<Q", payload[:LENGTH_BYTES])
    if payload[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{" or length > LARGEST_HEADER:
        refuse(path, "is not a checkpoint: it does not begin with a safetensors header")
    if LENGTH_BYTES + length > len(payload):
        refuse(path, f"is truncated: its header has {length} bytes, the file {len(payload)}")
    try:
        header = json.loads(payload[LENGTH_BYTES : LENGTH_BYTES + length])
    except (ValueError, RecursionError) as error:
        refuse(path, f"is damaged: its header is not JSON ({error})", error)
    if not isinstance(header, dict):
        refuse(path, "is not a checkpoint: its header is not a JSON object")
    return header


def check_version(path: Path, version: object) -> None:
    """Raise unless this Tatami knows how to read the version."""
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path} has checkpoint format version {version}, this Tatami reads version {FORMAT_VERSION}; "
            f"update Tatami (pip install --upgrade tatami), or read it with the version that wrote it"
        )


def check_length(path: Path, payload: bytes, header: Mapping[str, Any]) -> None:
    """Raise if the file ends before the last tensor does."""
    (length,) = struct.unpack("<Q", payload[:LENGTH_BYTES])
    ends = [
        entry["data_offsets"][1]
        for name, entry in header.items()
        if name != "__metadata__" and isinstance(entry, dict) and is_span(entry.get("data_offsets"))
    ]
    expected = LENGTH_BYTES + length + max(ends, default=0)
    if len(payload) < expected:
        refuse(path, f"is truncated: {len(payload)} of {expected} bytes are there")


def is_span(value: object) -> bool:
    """Say whether a value is a pair of whole numbers."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, int) for part in value)


def advice(path: Path) -> str:
    """Say what to use instead of a checkpoint that cannot be read."""
    previous = previous_of(path)
    if path.name.endswith(PREVIOUS_SUFFIX) or not previous.is_file():
        return ""
    return f". The checkpoint before it is kept: continue with: tatami train --resume {previous}"


def refuse(path: Path, what: str, cause: Exception | None = None) -> NoReturn:
    """Raise the error for a file that cannot be used, with what to do instead."""
    raise CheckpointError(f"{path} {what}{advice(path)}") from cause
