"""A file is there wholly or not at all."""

import errno
import os

import pytest

from tatami.training.durable_files import keep_as, remove_leftovers, write_durably, write_json


def fail_with(code):
    def failing(*_arguments, **_keywords):
        raise OSError(code, os.strerror(code))

    return failing


def test_the_old_content_is_kept_under_the_other_name(tmp_path):
    path, previous = tmp_path / "note", tmp_path / "note.previous"
    for text in (b"one", b"two", b"three"):
        write_durably(path, text, previous=previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"three", b"two")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["note", "note.previous"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "note"
    write_durably(path, b"old")
    monkeypatch.setattr(os, call, fail_with(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left on device"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["note"]


def test_where_there_are_no_hard_links_the_previous_file_is_a_copy(tmp_path, monkeypatch):
    path, previous = tmp_path / "note", tmp_path / "note.previous"
    path.write_bytes(b"content")
    monkeypatch.setattr(os, "link", fail_with(errno.EPERM))
    keep_as(path, previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"content", b"content")


def test_leftovers_of_a_killed_process_are_taken_away(tmp_path):
    (tmp_path / "last.safetensors.writing").write_bytes(b"half a fi")
    (tmp_path / "last.safetensors").write_bytes(b"whole")
    remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.safetensors"]


def test_json_is_readable_and_has_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"name": "○×"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "name": "○×"\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
