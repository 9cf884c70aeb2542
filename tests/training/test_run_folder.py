"""The folder of a run is taken only if it is free, and found again."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tatami.errors import CheckpointError, SettingError
from tatami.training.checkpoint_file import previous_of, read_checkpoint_file, write_checkpoint_file
from tatami.training.run_folder import RunFolder, next_run_folder

SETTINGS = {"dataset": "digits"}


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "runs" / "first", SETTINGS)


def save(path, epoch):
    write_checkpoint_file(path, {"t": np.zeros(2)}, {"epoch": epoch}, keep_previous=True)


def test_a_new_run_begins_with_its_settings(run):
    assert RunFolder.open(run.path).settings()["dataset"] == "digits"
    assert [entry.name for entry in run.path.iterdir()] == ["run.json"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    assert RunFolder.create(tmp_path / "empty", SETTINGS).is_run()


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(
        SettingError, match="exists and is not a run; nothing was written. Give a new or an empty folder"
    ):
        RunFolder.create(tmp_path, SETTINGS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_is_not_begun_again(run):
    with pytest.raises(SettingError, match="holds a run already; continue it with: tatami train --resume"):
        RunFolder.create(run.path, {"dataset": "mnist"})
    assert run.settings()["dataset"] == "digits"


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="is a file; give a folder for the run"):
        RunFolder.create(tmp_path / "file", SETTINGS)


def test_what_is_not_a_run_is_not_opened(tmp_path):
    with pytest.raises(CheckpointError, match="the folder does not exist"):
        RunFolder.open(tmp_path / "gone")
    (tmp_path / "run.json").write_text('{"format": "something else"}')
    with pytest.raises(CheckpointError, match=r"is not a run: it has no run\.json of Tatami"):
        RunFolder.open(tmp_path)


def test_settings_of_a_later_version_are_refused(run):
    values = json.loads(run.settings_file.read_text())
    run.settings_file.write_text(json.dumps({**values, "format_version": 9}))
    with pytest.raises(
        CheckpointError, match="has format version 9, this Tatami reads version 1; update Tatami"
    ):
        run.settings()


def test_a_file_of_a_run_stands_for_the_run(run):
    assert RunFolder.open(run.last).path == run.path


def test_the_best_checkpoint_is_the_model_else_the_last(run):
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        run.model_file()
    save(run.last, 1)
    assert run.model_file() == run.last
    save(run.best, 1)
    assert run.model_file() == run.best


def test_going_back_to_the_previous_checkpoint_keeps_the_damaged_one(run):
    for epoch in (1, 2):
        save(run.last, epoch)
    run.last.write_bytes(run.last.read_bytes()[:-3])
    run.resume_from(previous_of(run.last))
    assert read_checkpoint_file(run.last)[1]["epoch"] == 1
    assert (run.path / "last.damaged.safetensors").exists()
    save(run.last, 3)
    assert read_checkpoint_file(previous_of(run.last))[1]["epoch"] == 1


def test_two_processes_do_not_train_in_one_folder(run):
    script = (
        "import sys; from pathlib import Path; from tatami.training.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(SettingError, match="is being trained by another process"), run.locked():
            pass
        other.kill()
    with run.locked():
        pass


def test_runs_are_numbered(tmp_path):
    assert next_run_folder("digits", "lenet5", tmp_path).name == "digits-lenet5-001"
    for number in ("001", "007", "x"):
        (tmp_path / f"digits-lenet5-{number}").mkdir()
    assert next_run_folder("digits", "lenet5", tmp_path).name == "digits-lenet5-008"
    assert next_run_folder("my photos/../etc", "a b", tmp_path).parent == tmp_path
    assert os.sep not in next_run_folder("my photos/../etc", "a b", tmp_path).name
