"""Files that lie, bytes that were damaged, and whatever else comes: errors that name the file, and no memory taken."""

import contextlib
import gzip
import io
import json
import struct
import tarfile
import tracemalloc
import wave
import zipfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from tatami.data.augmentation import POLICIES, Pipeline
from tatami.data.cifar import CIFAR10, load_cifar
from tatami.data.files import load_arrays, load_table
from tatami.data.idx import read_idx, write_idx
from tatami.data.image_files import read_pixels
from tatami.data.npz import read_arrays
from tatami.data.sound import read_wav
from tatami.data.volumes import read_volume
from tatami.errors import DataError, TatamiError

FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MIB = 2**20


def idx_bytes(tmp_path, name):
    write_idx(tmp_path / name, np.arange(60, dtype=np.uint8).reshape(5, 3, 4))
    return (tmp_path / name).read_bytes()


def npz_bytes(packed):
    stream = io.BytesIO()
    arrays = {"x": np.arange(96, dtype=np.uint8).reshape(6, 4, 4), "y": np.arange(6) % 2}
    (np.savez_compressed if packed else np.savez)(stream, **arrays)
    return stream.getvalue()


def npy_bytes():
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 3, 4), np.float32))
    return stream.getvalue()


def wav_bytes(kind=1, bits=16, channels=2, count=20, extensible=False):
    frame = channels * bits // 8
    fields = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, 8000, 8000 * frame, frame, bits)
    if extensible:
        fields += struct.pack("<HHIH", 22, bits, 0, kind) + bytes(14)
    values = np.linspace(-1, 1, channels * count)
    content = {
        (1, 8): lambda: np.round(values * 127 + 128).astype(np.uint8),
        (1, 16): lambda: np.round(values * 32767).astype("<i2"),
        (1, 32): lambda: np.round(values * (2**31 - 1)).astype("<i4"),
        (3, 32): lambda: values.astype("<f4"),
        (3, 64): lambda: values.astype("<f8"),
    }[kind, bits]().tobytes()
    pieces = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    pieces += (
        b"fmt "
        + struct.pack("<I", len(fields))
        + fields
        + b"data"
        + struct.pack("<I", len(content))
        + content
    )
    return b"RIFF" + struct.pack("<I", 4 + len(pieces)) + b"WAVE" + pieces


def cifar_bytes():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in (*CIFAR10.train_files, *CIFAR10.test_files):
            content = bytes([1]) + bytes(3072) + bytes([0]) + bytes(3072)
            member = tarfile.TarInfo(f"{CIFAR10.folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def read_cifar(path):
    path = path.rename(path.with_name(CIFAR10.archive.name))
    try:
        load_cifar(replace(CIFAR10, class_names=("a", "b")), path.parent)
    finally:
        path.unlink()


READERS = {
    "numbers.idx": read_idx,
    "numbers.idx.gz": read_idx,
    "plain.npz": load_arrays,
    "packed.npz": load_arrays,
    "volume.npy": read_volume,
    "whole.wav": read_wav,
    "floating.wav": read_wav,
    "extensible.wav": read_wav,
    "cifar.tar.gz": read_cifar,
    "table.csv": load_table,
    "pipeline.json": Pipeline.read,
}
CSV = "path,label,part,writer\n" + "".join(f"{n}.png,{'ab'[n % 2]},train,w{n}\n" for n in range(6))


def good(tmp_path, name):
    make = {
        "plain.npz": lambda: npz_bytes(False),
        "packed.npz": lambda: npz_bytes(True),
        "volume.npy": npy_bytes,
        "whole.wav": wav_bytes,
        "floating.wav": lambda: wav_bytes(3, 32),
        "extensible.wav": lambda: wav_bytes(1, 16, extensible=True),
        "cifar.tar.gz": cifar_bytes,
        "table.csv": CSV.encode,
        "pipeline.json": lambda: json.dumps(POLICIES["handwriting"].to_json()).encode(),
    }
    return make[name]() if name in make else idx_bytes(tmp_path, name)


@pytest.mark.parametrize("name", READERS)
def test_what_is_damaged_below_is_readable_as_it_is(tmp_path, name):
    content = good(tmp_path, name)
    for number in range(6):
        Image.new("L", (4, 4), number).save(tmp_path / f"{number}.png")
    (tmp_path / name).write_bytes(content)
    READERS[name](tmp_path / name)


@pytest.mark.parametrize("name", READERS)
@FUZZ
@given(data=st.data())
def test_damaged_bytes_are_errors_that_name_the_file(tmp_path, name, data):
    content = bytearray(good(tmp_path, name))
    places = st.one_of(st.integers(0, min(80, len(content)) - 1), st.integers(0, len(content) - 1))
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(places)] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 255, 127])))
    extra = data.draw(st.binary(max_size=8))
    path = tmp_path / name
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]) + extra)
    message = str(tmp_path)
    try:
        READERS[name](path)
    except DataError as error:
        message = str(error)
    except TatamiError:
        pass
    # What was read without complaint may still not fit together, which names the data set.
    assert str(tmp_path) in message or message.startswith(("plain", "packed", "table", "cifar10"))


@pytest.mark.parametrize("name", READERS)
@FUZZ
@given(content=st.binary(max_size=200))
def test_bytes_of_any_kind_are_no_more_than_an_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with contextlib.suppress(TatamiError):
        READERS[name](path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@FUZZ
@given(data=st.data())
def test_pipelines_with_other_values_are_refused_or_work(tmp_path, data):
    values = data.draw(st.sampled_from(list(POLICIES.values()))).to_json()
    step = data.draw(st.sampled_from(values["steps"]))
    key = data.draw(st.sampled_from([*step, "another"]))
    step[key] = data.draw(json_values)
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    with contextlib.suppress(TatamiError):
        assert isinstance(Pipeline.read(path), Pipeline)


def test_a_pipeline_that_is_nested_without_end(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"deep\.json: not a JSON file of a pipeline"):
        Pipeline.read(path)


@FUZZ
@given(text=st.text(alphabet=st.sampled_from('ab,"\n\r;\t\0é日.png/\\~'), max_size=120))
def test_tables_of_any_text_are_no_more_than_an_error(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text("path,label\n" + text, encoding="utf-8", newline="")
    with pytest.raises(TatamiError):
        load_table(path)


def npy_header(shape, dtype="|u1"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text = text.ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(name, content, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def lying_zip():
    # The directory says that the member unpacks to 4 GB; there are a hundred bytes.
    content = bytearray(zipped("x.npy", npy_header((4 * 10**9,)), compression=zipfile.ZIP_DEFLATED))
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 4 * 10**9)
    return bytes(content)


def png(width, height):
    def piece(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + piece(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + piece(b"IDAT", zlib.compress(bytes(100)))
        + piece(b"IEND", b"")
    )


def lying_wav(promised):
    content = bytearray(wav_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", promised)
    return bytes(content)


LIES = {
    "numbers.idx": (
        read_idx,
        bytes([0, 0, 8, 3]) + struct.pack(">III", 2**31, 2**31, 4),
        "the header promises",
    ),
    "numbers.idx.gz": (
        read_idx,
        gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**31)),
        "the header promises",
    ),
    "shape.npz": (
        read_arrays,
        zipped("x.npy", npy_header((10**6, 10**6))),
        "the header promises 1,000,000,000,000",
    ),
    "directory.npz": (read_arrays, lying_zip(), "promises 4,000,000,000 bytes, more than the file can hold"),
    "negative.npz": (read_arrays, zipped("x.npy", npy_header((-1, 4))), r"a shape of \(-1, 4\) cannot be"),
    "pickled.npz": (
        read_arrays,
        zipped("x.npy", npy_header((2,), "|O")),
        "pickled objects, which are never read",
    ),
    "packed.npz": (
        read_arrays,
        zipped("x.npy", npy_header((4,)) + bytes(4), compression=zipfile.ZIP_LZMA),
        "packed in a way that NumPy does not write",
    ),
    "volume.npy": (read_volume, npy_header((10**4, 10**4, 10**4)), "a damaged one"),
    "archive.npy": (read_volume, zipped("x.npy", npy_header((4,))), "not a plain .npy array"),
    "pickled.npy": (read_volume, npy_header((2, 2, 2), "|O"), "not a plain .npy array"),
    "promise.wav": (read_wav, lying_wav(2**32 - 2), r"truncated: the header promises 1,073,741,823 samples"),
    "picture.png": (lambda path: read_pixels(path, 3), png(60_000, 60_000), "too large to be read|at most"),
    "bitmap.bmp": (
        lambda path: read_pixels(path, 3),
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "too large to be read|at most",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_claimed_size_takes_no_memory(tmp_path, name):
    read, content, message = LIES[name]
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
    assert name in str(caught.value)
    assert path.read_bytes() == content


def test_plain_arrays_are_mapped_and_packed_ones_are_read(tmp_path):
    images = np.arange(40 * 3 * 32 * 32, dtype=np.uint8).reshape(40, 3, 32, 32)
    labels = np.arange(40) % 2
    np.savez(tmp_path / "plain.npz", x=images, y=labels)
    np.savez_compressed(tmp_path / "packed.npz", x=np.asfortranarray(images), y=labels)
    plain, packed = read_arrays(tmp_path / "plain.npz"), read_arrays(tmp_path / "packed.npz")
    assert isinstance(plain["x"], np.memmap)
    assert not isinstance(packed["x"], np.memmap)
    for found in (plain, packed):
        np.testing.assert_array_equal(found["x"], images)
        np.testing.assert_array_equal(found["y"], labels)
    first, second = load_arrays(tmp_path / "plain.npz"), load_arrays(tmp_path / "packed.npz")
    np.testing.assert_array_equal(np.asarray(first.train.images), second.train.images)


def test_arrays_with_a_number_that_is_none(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([[1.0, np.nan]] * 6), y=np.arange(6) % 2)
    with pytest.raises(DataError, match="sample 0 holds nan"):
        load_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (1, 16), (1, 32), (3, 32), (3, 64)])
def test_every_way_to_write_a_sample(tmp_path, kind, bits, extensible):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(kind, bits, extensible=extensible))
    sound = read_wav(path)
    expected = np.linspace(-1, 1, 40).reshape(20, 2).T
    # A whole number is off by half a step, and ±1 lies between its last steps.
    step = 2.0 ** (1 - bits) if kind == 1 else 0
    np.testing.assert_allclose(sound.samples, expected, atol=1.51 * step + 1e-7)
    assert sound.rate == 8000


def test_the_standard_library_reads_the_same_samples(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes())
    with wave.open(str(path)) as file:
        frames = np.frombuffer(file.readframes(20), "<i2").reshape(-1, 2).T
    np.testing.assert_array_equal(read_wav(path).samples, (frames / 2**15).astype(np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav_bytes()[:30], "description of the samples is too short|no description of its samples"),
        (wav_bytes().replace(b"fmt ", b"fnt "), "the WAV file has no description of its samples"),
        (wav_bytes().replace(b"data", b"dada"), "the WAV file has no samples"),
        (wav_bytes(3, 32).replace(np.float32(-1).tobytes(), np.float32(np.inf).tobytes(), 1), "not finite"),
        (
            wav_bytes().replace(struct.pack("<HH", 1, 2), struct.pack("<HH", 85, 2), 1),
            "samples of kind 85 with 16",
        ),
        (
            wav_bytes().replace(struct.pack("<HH", 1, 2), struct.pack("<HH", 1, 0), 1),
            "is damaged: 0 channels",
        ),
    ],
)
def test_wav_files_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_wav(path)
