"""Arrays in an ``.npz`` file: mapped where they are stored plainly, unpacked where they are compressed.

The format is a ZIP archive of ``.npy`` files. What comes from outside is not trusted: nothing is unpickled, what a
header promises is compared with what the archive can hold before memory is taken, and only plain and deflated members
are read.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import struct
import zipfile
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from tatami.data.idx import HIGHEST_DEFLATE_RATIO, read_at_most
from tatami.errors import DataError

LARGEST_ARRAYS = 16 * 2**30
MOST_ARRAYS = 1000
LONGEST_HEADER = 10_000
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
# Arrays smaller than this are not worth a mapping.
LEAST_MAPPED = 2**16
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(place: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz`` file; those that are stored plainly are mapped, not read.

    Raises:
        DataError: not such a file, pickled objects in it, a header that lies, or more than 16 GiB to unpack.
    """
    try:
        size = place.stat().st_size
        with zipfile.ZipFile(place) as archive:
            members = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            check_sizes(place, members, size)
            return {
                entry.filename.removesuffix(".npy"): read_member(place, archive, entry)
                for entry in members
                if not entry.filename.startswith(".")
            }
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zlib.error, struct.error, SyntaxError: whatever a crafted header provokes
        raise DataError(f"{place}: not an .npz file of plain arrays, or a damaged one ({error})") from error


def check_sizes(place: Path, members: list[zipfile.ZipInfo], size: int) -> None:
    """Raise if an archive promises more than it can hold, or than is read."""
    if len(members) > MOST_ARRAYS:
        raise DataError(f"{place}: holds {len(members):,} arrays, at most {MOST_ARRAYS:,} are read")
    unpacked = 0
    for entry in members:
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
            raise DataError(
                f"{place}: {entry.filename} is encrypted or packed in a way that NumPy does not write"
            )
        stored = entry.compress_type == zipfile.ZIP_STORED
        most = entry.compress_size * (1 if stored else HIGHEST_DEFLATE_RATIO)
        if entry.compress_size > size or entry.file_size > most:
            raise DataError(
                f"{place}: {entry.filename} promises {entry.file_size:,} bytes, more than the file can hold; it is "
                f"truncated or damaged"
            )
        unpacked += 0 if stored else entry.file_size
    if unpacked > LARGEST_ARRAYS:
        raise DataError(f"{place}: would unpack to {unpacked:,} bytes, at most {LARGEST_ARRAYS:,} are read")


def read_member(place: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    """Read or map one array of an archive."""
    with archive.open(entry) as file:
        shape, in_columns, dtype = read_header(place, entry, file)
        start = file.tell()
        promised = prod(shape) * dtype.itemsize
        if start + promised != entry.file_size:
            raise DataError(
                f"{place}: {entry.filename}: the header promises {promised:,} bytes (shape {shape}), there are "
                f"{entry.file_size - start:,}"
            )
        order: Literal["C", "F"] = "F" if in_columns else "C"
        if entry.compress_type == zipfile.ZIP_STORED and promised >= LEAST_MAPPED:
            offset = content_offset(place, entry) + start
            return np.memmap(place, dtype, "r", offset, shape, order)
        content = read_at_most(cast(BinaryIO, file), promised)
        # Reading on to the end also makes the archive compare its checksum.
        if len(content) != promised or file.read(1):
            raise DataError(f"{place}: {entry.filename} is truncated")
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def read_header(
    place: Path, entry: zipfile.ZipInfo, file: IO[bytes]
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and type of an array."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise DataError(f"{place}: {entry.filename}: version {version} of the format is not read")
    shape, in_columns, dtype = HEADERS[version](file, max_header_size=LONGEST_HEADER)
    if dtype.hasobject:
        raise DataError(
            f"{place}: {entry.filename} holds pickled objects, which are never read: not an .npz file of plain arrays"
        )
    if any(size < 0 for size in shape):
        raise DataError(f"{place}: {entry.filename}: a shape of {shape} cannot be")
    return shape, in_columns, dtype


def content_offset(place: Path, entry: zipfile.ZipInfo) -> int:
    """Return where the content of a plainly stored member begins in the file, as its local header says."""
    with place.open("rb") as file:
        file.seek(entry.header_offset)
        fields = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    return entry.header_offset + LOCAL_HEADER.size + int(fields[-2]) + int(fields[-1])
