"""A checkpoint file is read back exactly, or refused with a reason and a way out."""

import errno
import json
import os
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings, strategies as st

from tatami.errors import CheckpointError
from tatami.training import checkpoint_file
from tatami.training.checkpoint_file import (
    LENGTH_BYTES,
    checksum,
    previous_of,
    read_checkpoint_file,
    write_checkpoint_file,
)

TENSORS = {
    "parameters/conv1.weight": np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3),
    "parameters/conv1.bias": np.array([1.5, -2.5], dtype=np.float64),
    "state/empty": np.zeros((0, 3), dtype=np.int64),
}
CONTENT = {"epoch": 3, "names": ["○", "×"], "loss": 0.1 + 0.2}


def write(path, content=CONTENT, keep_previous=True):
    write_checkpoint_file(path, TENSORS, content, keep_previous=keep_previous)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "last.safetensors"
    write(path)
    return path


def rewrite_metadata(path, change):
    """Write the same tensors with other metadata, as somebody with a safetensors library could."""
    payload = path.read_bytes()
    (length,) = struct.unpack("<Q", payload[:LENGTH_BYTES])
    metadata = json.loads(payload[LENGTH_BYTES : LENGTH_BYTES + length])["__metadata__"]
    change(metadata)
    path.write_bytes(safetensors.numpy.save(TENSORS, metadata))


def test_everything_comes_back_exactly(path):
    tensors, content = read_checkpoint_file(path)
    assert content == CONTENT
    assert set(tensors) == set(TENSORS)
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        np.testing.assert_array_equal(tensor, TENSORS[name])


def test_any_safetensors_reader_opens_it(path):
    assert set(safetensors.numpy.load_file(path)) == set(TENSORS)


def test_an_array_that_is_not_contiguous_is_written_as_it_looks(tmp_path):
    turned = np.arange(6.0).reshape(2, 3).T
    write_checkpoint_file(tmp_path / "a.safetensors", {"t": turned}, {}, keep_previous=False)
    np.testing.assert_array_equal(read_checkpoint_file(tmp_path / "a.safetensors")[0]["t"], turned)


def test_the_one_before_is_kept(path):
    write(path, {**CONTENT, "epoch": 4})
    assert read_checkpoint_file(path)[1]["epoch"] == 4
    assert read_checkpoint_file(previous_of(path))[1]["epoch"] == 3


def test_nan_is_not_written_into_the_content(path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(path, {"loss": float("nan")})
    assert read_checkpoint_file(path)[1] == CONTENT


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_is_noticed(path, data):
    payload = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(payload) - 1))
    flip = data.draw(st.integers(1, 255))
    payload[position] ^= flip
    altered = path.with_name("altered.safetensors")
    altered.write_bytes(payload)
    try:
        tensors, content = read_checkpoint_file(altered)
    except CheckpointError:
        return
    # White space between the entries of the header carries nothing: such a file says the same.
    assert content == CONTENT
    assert all(np.array_equal(tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("kept", [0, 3, 8, 9, 100, -1])
def test_a_truncated_file_is_refused_and_the_previous_one_named(path, kept):
    write(path)
    path.write_bytes(path.read_bytes()[:kept])
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"truncated|is not a checkpoint") as caught:
        read_checkpoint_file(path)
    assert f"continue with: tatami train --resume {previous_of(path)}" in str(caught.value)
    assert path.read_bytes() == before


def test_without_a_previous_one_none_is_promised(path):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"truncated: \d+ of \d+ bytes are there$"):
        read_checkpoint_file(path)


def test_an_altered_tensor_is_refused(path):
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        read_checkpoint_file(path)


def test_an_altered_content_is_refused(path):
    rewrite_metadata(path, lambda metadata: metadata.update(content=metadata["content"].replace("3", "4", 1)))
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        read_checkpoint_file(path)


@pytest.mark.parametrize("version", ["2", "0", "1.0", ""])
def test_an_unknown_version_is_refused(path, version):
    rewrite_metadata(path, lambda metadata: metadata.update(format_version=version))
    with pytest.raises(CheckpointError, match=r"this Tatami reads version 1; update Tatami"):
        read_checkpoint_file(path)


def test_a_checksum_that_is_right_does_not_make_the_content_trusted(path):
    def nest(metadata):
        metadata["content"] = "[" * 100_000 + "]" * 100_000
        metadata["sha256"] = checksum("1", metadata["content"], TENSORS)

    rewrite_metadata(path, nest)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint_file(path)


def test_a_file_of_tensors_without_our_metadata_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(dict(TENSORS), path)
    with pytest.raises(CheckpointError, match="a safetensors file, but not a checkpoint of Tatami"):
        read_checkpoint_file(path)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x80\x04\x95" + b"\0" * 40,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        b"PNG, or so" * 9,
    ],
)
def test_other_files_are_refused(tmp_path, payload):
    path = tmp_path / "model.safetensors"
    path.write_bytes(payload)
    with pytest.raises(CheckpointError, match=r"is not a checkpoint"):
        read_checkpoint_file(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at .*gone\.safetensors"):
        read_checkpoint_file(tmp_path / "gone.safetensors")
    with pytest.raises(CheckpointError, match="is a folder, not a checkpoint"):
        read_checkpoint_file(tmp_path)


def test_a_full_disk_leaves_the_earlier_checkpoint(path, monkeypatch):
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        CheckpointError, match=r"No space left on device; the earlier checkpoint .* is intact. Free"
    ):
        write(path, {"epoch": 4})
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_disk_that_fills_up_while_writing_leaves_the_earlier_checkpoint(path):
    """The operating system itself refuses the write, in a process that may write only a little."""
    before = path.read_bytes()
    script = f"""
        import resource, sys
        import numpy as np
        from pathlib import Path
        from tatami.errors import CheckpointError
        from tatami.training.checkpoint_file import write_checkpoint_file
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            write_checkpoint_file(Path({str(path)!r}), {{"t": np.zeros(50_000)}}, {{}}, keep_previous=True)
        except CheckpointError as error:
            sys.exit(str(error))
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "File too large; the earlier checkpoint" in ended.stderr
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_limit_of_the_header_is_that_of_the_library():
    assert checkpoint_file.LARGEST_HEADER == 100_000_000
