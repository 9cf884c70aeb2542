"""IDX files: what is written is read back, and hostile files are refused before memory is taken."""

import contextlib
import gzip
import io
import struct
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from tatami.data import read_idx, write_idx
from tatami.data.idx import Unpacked
from tatami.errors import DataError

IN_A_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
TYPES = st.sampled_from([np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64])


def header(*sizes: int, code: int = 8) -> bytes:
    return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


def compressed(content: bytes) -> bytes:
    """Pack without the time of packing, which would give a test another name in each process that collects it."""
    return gzip.compress(content, mtime=0)


def write(folder, content: bytes):
    path = folder / "file-idx"
    path.write_bytes(content)
    return path


@IN_A_FOLDER
@given(
    array=TYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=5))),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_round_trip(tmp_path, array, suffix):
    path = tmp_path / f"file{suffix}"
    write_idx(path, array)
    back = read_idx(path)
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    np.testing.assert_array_equal(back, array)


def test_the_bytes_of_a_file_known_by_hand(tmp_path):
    path = write(tmp_path, header(2, 3, code=0x0B) + struct.pack(">6h", 1, -2, 3, 4, 5, 256))
    np.testing.assert_array_equal(read_idx(path), np.array([[1, -2, 3], [4, 5, 256]], dtype=np.int16))


def test_the_same_array_gives_the_same_file(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_idx(tmp_path / name, np.arange(9, dtype=np.uint8))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@IN_A_FOLDER
@given(content=st.binary(max_size=64), packed=st.booleans())
def test_no_bytes_do_more_than_raise_a_data_error(tmp_path, content, packed):
    path = write(tmp_path, gzip.compress(content) if packed else content)
    with contextlib.suppress(DataError):
        assert read_idx(path).size > 0


@IN_A_FOLDER
@given(
    code=st.sampled_from([8, 9, 0x0B, 0x0C, 0x0D, 0x0E]),
    sizes=st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 4), min_size=1, max_size=8),
    body=st.binary(max_size=40),
    packed=st.booleans(),
)
def test_headers_that_lie_are_refused(tmp_path, code, sizes, body, packed):
    content = header(*sizes, code=code) + body
    path = write(tmp_path, gzip.compress(content) if packed else content)
    try:
        array = read_idx(path)
    except DataError:
        return
    assert array.shape == tuple(sizes)
    assert array.nbytes == len(body)


@IN_A_FOLDER
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_gzip_file_never_gives_other_numbers(tmp_path, position, bit):
    array = np.arange(200, dtype=np.uint8).reshape(2, 10, 10)
    path = tmp_path / "file.gz"
    write_idx(path, array)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        back = read_idx(path)
    except DataError:
        return
    np.testing.assert_array_equal(back, array)  # the bit was in a field without meaning, the time stamp


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\0\0\x08", "not an IDX file: expected it to start with two zero bytes, got 00 00 08"),
        (b"PNG.....", "not an IDX file"),
        (
            header(1, code=0x0A) + b"x",
            "unknown IDX number type 0x0a; known are 0x08, 0x09, 0x0b, 0x0c, 0x0d, 0x0e",
        ),
        (b"\0\0\x08\0", "an IDX array has 1 to 8 axes, the header says 0"),
        (b"\0\0\x08\x09" + b"\0\0\0\1" * 9, "an IDX array has 1 to 8 axes, the header says 9"),
        (b"\0\0\x08\x02\0\0\0\1\0", "truncated within the header: 2 sizes expected"),
        (header(3, 0, 2**32 - 1), r"the file holds no numbers: shape \(3, 0, 4294967295\)"),
        (
            header(2, 3) + b"12345",
            r"the header promises 6 bytes \(shape \(2, 3\)\), the file can hold at most 5",
        ),
        (header(2, 3) + b"1234567", r"bytes follow after the 6 that the header promises \(shape \(2, 3\)\)"),
        (header(*[2**32 - 1] * 8), "the header promises .* the file can hold at most 0"),
        (compressed(b""), "the file is empty"),
        (
            compressed(header(2, 3) + b"12345"),
            "truncated: the header promises 6 bytes .* the file holds 5",
        ),
        (compressed(header(2, 3) + b"1234567"), "bytes follow after the 6"),
        (compressed(header(2, 3) + b"123456")[:-9], "gzip data are truncated or damaged"),
        (compressed(header(2, 3) + b"123456") + b"more", "gzip data are truncated or damaged"),
        (compressed(header(2**20, 2**10)), r"promises 1,073,741,824 bytes .*, the file can hold at most"),
        (b"\x1f\x8b", "gzip data are truncated or damaged"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(str(path))


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = write(tmp_path, gzip.compress(header(2, 3) + bytes(64 * 2**20)))
    tracemalloc.start()
    with pytest.raises(DataError, match="bytes follow after the 6"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_a_header_that_promises_a_lot_takes_no_memory(tmp_path):
    # 4 MB of zeros packed into a few kB, which could hold the 8 MB that the header promises.
    path = write(tmp_path, gzip.compress(header(2**23) + bytes(2**22)))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"truncated|promises"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_more_than_two_gibibytes_are_not_unpacked(tmp_path):
    path = write(tmp_path, gzip.compress(header(2**31)) + bytes(2**22))
    with pytest.raises(DataError, match="too large to be read packed"):
        read_idx(path)


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path):
    with pytest.raises(DataError, match="missing: cannot be read: No such file or directory"):
        read_idx(tmp_path / "missing")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_idx(tmp_path)


@pytest.mark.parametrize(
    "array",
    [np.float64(3), np.zeros((0, 3)), np.zeros(3, np.uint16), np.zeros((1,) * 9), np.array(["a"])],
    ids=["no axis", "no numbers", "uint16", "nine axes", "text"],
)
def test_what_idx_cannot_hold_is_refused(tmp_path, array):
    with pytest.raises(DataError, match="IDX cannot hold an array of type"):
        write_idx(tmp_path / "file", np.asarray(array))
    assert not (tmp_path / "file").exists()


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=4),
    filling=st.integers(0, 600),
    pieces=st.integers(1, 3000),
)
def test_unpacking_gives_what_gzip_gives_whatever_the_pieces(sizes, filling, pieces):
    content = [bytes(range(256)) * (size // 256 + 1) for size in sizes]
    packed = b"".join(gzip.compress(part[:size]) for part, size in zip(content, sizes, strict=True))
    packed += bytes(filling)
    file = Unpacked(io.BytesIO(packed))
    found = b""
    while piece := file.read(pieces):
        assert len(piece) <= pieces
        found += piece
    assert found == gzip.decompress(packed)
    assert file.read(1) == b""


def test_a_gzip_file_that_ends_early_is_no_end(monkeypatch):
    packed = gzip.compress(np.random.default_rng(1).bytes(5000))
    monkeypatch.setattr("tatami.data.idx.PACKED_BYTES", 100)
    for length in (3, 12, 1000, len(packed) - 1):
        file = Unpacked(io.BytesIO(packed[:length]))
        with pytest.raises(EOFError):
            list(iter(partial(file.read, 512), b""))
