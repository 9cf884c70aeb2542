"""IDX files, the format of MNIST: a short header and the numbers, gzip or not.

Bytes 0 and 1 are zero, byte 2 is the type of the numbers, byte 3 the number of axes; then one big-endian 32-bit
size for each axis, then the numbers, big-endian, last axis fastest.

A file from outside is not trusted: what the header promises is compared with what the file can hold before
memory is taken, gzip data are unpacked in pieces and never further than promised, and a file with too few or
too many bytes is refused.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from tatami.errors import DataError

TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
GZIP_MAGIC = b"\x1f\x8b"
MOST_AXES = 8
# No deflate stream unpacks to more than 1032 times its size.
HIGHEST_DEFLATE_RATIO = 1032
LARGEST_UNPACKED_BYTES = 2 * 2**30
CHUNK_BYTES = 2**24
PACKED_BYTES = 2**20
GZIP_FORMAT = 31  # of zlib: header and checksum of gzip, the largest window


def read_idx(path: str | Path) -> NDArray[Any]:
    """Read an array from an IDX file, gzip or not (told by the content, not by the name).

    Args:
        path: the file.

    Returns:
        The array, in the byte order of this machine.

    Raises:
        DataError: not an IDX file, damaged, truncated, or with bytes that the header does not announce.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "numbers.gz")
    ...     write_idx(file, np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8))
    ...     read_idx(file)
    array([[1, 2, 3],
           [4, 5, 6]], dtype=uint8)
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if not packed:
                return read_array(file, path, most_bytes=size)
            most_bytes = min(size * HIGHEST_DEFLATE_RATIO, LARGEST_UNPACKED_BYTES)
            return read_array(Unpacked(file), path, most_bytes)
    except (EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip data are truncated or damaged ({error}); fetch the file again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none only at the end."""
        ...


class Unpacked:
    """The content of a gzip file, unpacked no further than it is read.

    `gzip.GzipFile` unpacks 8 KiB at a time and takes Python's lock for each; here other threads compute meanwhile.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Stand at the beginning of the first member."""
        self.file = file
        self.member = zlib.decompressobj(GZIP_FORMAT)
        self.packed = b""
        self.ended = False

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, at least 1, and none only at the end.

        Raises:
            EOFError: the file ends within a member.
            zlib.error: the data are damaged, or something else follows them.
        """
        while not self.ended:
            packed = self.packed or self.file.read(PACKED_BYTES)
            piece = self.member.decompress(packed, size)
            self.packed = self.member.unconsumed_tail
            if self.member.eof:
                self.begin_next_member()
            elif not packed and not piece:
                raise EOFError("the file ends before its data do")
            if piece:
                return piece
        return b""

    def begin_next_member(self) -> None:
        """Go on with what follows a member: zeros that fill the file up, another member, or nothing."""
        rest = self.member.unused_data.lstrip(b"\0")
        while not rest and (packed := self.file.read(PACKED_BYTES)):
            rest = packed.lstrip(b"\0")
        self.member, self.packed, self.ended = zlib.decompressobj(GZIP_FORMAT), rest, not rest


def read_array(file: Readable, path: Path, most_bytes: int) -> NDArray[Any]:
    """Read header and numbers from an open file that can hold at most ``most_bytes``."""
    dtype, shape = read_header(file, path)
    promised = prod(shape) * dtype.itemsize
    header = 4 + 4 * len(shape)
    if header + promised > most_bytes:
        raise DataError(
            f"{path}: the header promises {promised:,} bytes (shape {shape}), the file can hold at most "
            f"{max(most_bytes - header, 0):,}; it is truncated, damaged, or too large to be read packed"
        )
    numbers = read_at_most(file, promised)
    if len(numbers) < promised:
        raise DataError(
            f"{path}: truncated: the header promises {promised:,} bytes (shape {shape}), "
            f"the file holds {len(numbers):,}; fetch the file again"
        )
    # Reading on to the end also makes gzip compare its checksum.
    if file.read(1):
        raise DataError(
            f"{path}: bytes follow after the {promised:,} that the header promises (shape {shape})"
        )
    return np.frombuffer(numbers, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_header(file: Readable, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read the type of the numbers and the sizes of the axes."""
    magic = read_at_most(file, 4)
    if not magic:
        raise DataError(f"{path}: the file is empty")
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(
            f"{path}: not an IDX file: expected it to start with two zero bytes, got {bytes(magic).hex(' ')}"
        )
    if magic[2] not in TYPES:
        known = ", ".join(f"0x{code:02x}" for code in TYPES)
        raise DataError(f"{path}: unknown IDX number type 0x{magic[2]:02x}; known are {known}")
    axes = magic[3]
    if not 1 <= axes <= MOST_AXES:
        raise DataError(f"{path}: an IDX array has 1 to {MOST_AXES} axes, the header says {axes}")
    sizes = read_at_most(file, 4 * axes)
    if len(sizes) < 4 * axes:
        raise DataError(f"{path}: truncated within the header: {axes} sizes expected")
    shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
    if 0 in shape:
        raise DataError(f"{path}: the file holds no numbers: shape {shape}")
    return TYPES[magic[2]], shape


def read_at_most(file: Readable, count: int) -> bytearray:
    """Read ``count`` bytes, or fewer where the file ends; memory grows only with what really arrives."""
    content = bytearray()
    while len(content) < count:
        piece = file.read(min(CHUNK_BYTES, count - len(content)))
        if not piece:
            break
        content += piece
    return content


def write_idx(path: str | Path, array: NDArray[Any]) -> None:
    """Write an array as an IDX file; packed with gzip if the name ends in ``.gz``.

    Args:
        path: the file, replaced if it exists.
        array: at least one axis, no size 0, of a type that IDX has.

    Raises:
        DataError: an array that IDX cannot hold.
    """
    path = Path(path)
    codes = {dtype: code for code, dtype in TYPES.items()}
    big_endian = array.dtype.newbyteorder(">")
    if big_endian not in codes or not 1 <= array.ndim <= MOST_AXES or array.size == 0:
        raise DataError(
            f"{path}: IDX cannot hold an array of type {array.dtype} and shape {array.shape}; "
            f"it holds 1 to {MOST_AXES} axes of uint8, int8, int16, int32, float32 or float64"
        )
    header = bytes([0, 0, codes[big_endian], array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    content = header + array.astype(big_endian).tobytes()
    # Without a time stamp the same array gives the same bytes.
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
