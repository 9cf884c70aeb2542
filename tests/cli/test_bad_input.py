"""Everything that a user can get wrong: an error to act on, on stderr, without a traceback, and nothing lost."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.small import SMALL

import tatami as library
from tatami.training.checkpoint import load_checkpoint
from tatami.training.checkpoint_file import previous_of
from tatami.training.run_folder import RunFolder


def assert_error(ended, message, code=1):
    """Check that a command ended with an error that says a text, and with nothing else."""
    assert ended.code == code, ended.err
    assert ended.out == ""
    last = ended.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in ended.err


@pytest.fixture
def run(small_run, tmp_path):
    """Return a copy of a finished run that a test may damage."""
    return RunFolder(shutil.copytree(small_run, tmp_path / "run"))


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        ("traim", "unknown command 'traim': did you mean 'train'?", 2),
        ("train --epoch 3", "No such option '--epoch': did you mean '--epochs'?", 2),
        ("train --epochs three", "'three' is not a valid integer. See: tatami train --help", 2),
        ("train digit", "unknown dataset 'digit': did you mean 'digits'?", 1),
        ("train --network lenet", "unknown network 'lenet': did you mean 'lenet5'?", 1),
        ("train --optimizer adm", "unknown optimizer 'adm': did you mean 'adam'?", 1),
        ("train --schedule cosin", "unknown schedule 'cosin': did you mean 'cosine'?", 1),
        ("train --preprocessing scaled", "unknown preprocessing 'scaled': did you mean 'scale'?", 1),
        ("train --backend referense", "unknown backend 'referense': did you mean 'reference'?", 1),
        ("train --precision f23", "unknown precision", 1),
        ("train --momentum 0.9", "optimizer adam has no momentum; sgd has it", 1),
        ("train --optimizer sgd --momentum 2", "momentum must be a number of at least 0 and below 1, got 2.0", 1),
        ("train --lr -1", "learning_rate must be a number of at least 0, got -1.0", 1),
        ("train --epochs 0", "epochs must be a whole number of at least 1, got 0", 1),
        ("train --batch-size 0", "batch size must be a whole number of at least 1, got 0", 1),
        ("train --batch-size 5000", "the batch size 5000 is larger than the data", 1),
        ("train --limit 0", "--limit must be at least 1, got 0", 1),
        ("train --seed -1", "seed must be a whole number of at least 0, got -1", 1),
        ("train --threads 0", "threads must be a whole number of at least 1, got 0", 1),
        ("train --validation 1", "validation must be a share from 0 up to, but not including, 1, got 1.0", 1),
        ("train --validation 0 --patience 3", "patience needs validation images to watch", 1),
        ("train --clip 0", "clip must be a number above 0, got 0.0", 1),
        ("train --limit 5", "no image of class", 1),
        ("train digits --data somewhere", "a data folder (", 1),
        ("train mnist --data nowhere", "nowhere", 1),
        ("train ./photos", "./photos: no such folder", 1),
        ("train --network net.json", "net.json: no such file; give the name of a network or a JSON file", 1),
        ("train --size 8by8", "--size: expected a number or HxW such as 32x48, got '8by8'", 1),
        ("train --resume nowhere", "there is no run at nowhere: the folder does not exist", 1),
        ("evaluate nowhere", "there is no checkpoint at nowhere", 1),
        ("evaluate nowhere.safetensors digits", "there is no checkpoint at nowhere.safetensors", 1),
        ("predict nowhere a.png", "there is no checkpoint at nowhere", 1),
        ("predict", "Missing argument 'MODEL'. See: tatami predict --help", 2),
        ("summary arrai", "unknown network 'arrai': did you mean 'arai'?", 1),
        ("summary arai --input 28by28", "--input: expected sizes such as 1x28x28 (channels first), got '28by28'", 1),
        ("summary arai --input 1x0x28", "input shape must be whole numbers from 1", 1),
        ("gradcheck ox --sample 0", "sample must be at least 1", 1),
    ],
)  # fmt: skip
def test_a_word_that_is_wrong(tatami, tmp_path, words, message, code):
    assert_error(tatami(*words.split()), message, code)
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(tatami):
    assert "Traceback" in tatami("train", "digit", "--debug").err
    assert "Traceback" in tatami("--debug", "train", "digit").err


def test_a_network_for_other_images(tatami, tmp_path):
    (tmp_path / "net.json").write_text(json.dumps(library.build("mlp").to_json()))
    message = (
        "data set digits has images of shape (1, 8, 8), network mlp takes (1, 28, 28); choose a data set"
    )
    assert_error(tatami("train", "--network", "net.json"), message)


def test_a_network_with_too_few_outputs(tatami, tmp_path):
    (tmp_path / "net.json").write_text(json.dumps(library.build("mlp", (1, 8, 8), 3).to_json()))
    message = "network mlp has 3 outputs, there are 10 classes; give the last layer 10 units"
    assert_error(tatami("train", "--network", "net.json"), message)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 99}', '{"format": 1, "layers": [], "input_shape": [1]}']
)
def test_a_file_that_is_no_network(tatami, tmp_path, text):
    (tmp_path / "net.json").write_text(text)
    assert_error(tatami("train", "--network", "net.json"), "net.json: ")


def test_a_folder_with_one_class(tatami, tmp_path):
    folder = tmp_path / "fruit" / "apple"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / f"{number}.png")
    assert_error(tatami("train", "fruit"), "fruit")


def test_too_few_images_to_test_on(tatami, tmp_path):
    for name in ("apple", "pear"):
        folder = tmp_path / "fruit" / name
        folder.mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "1.png")
    assert_error(tatami("train", "./fruit"), "so none can be kept for testing; add images")


def test_images_that_cannot_be_predicted(tatami, small_run, tmp_path, seven):
    assert_error(tatami("predict", small_run, "missing.png"), "missing.png: no such file")
    (tmp_path / "text.png").write_text("no image")
    assert_error(tatami("predict", small_run, "text.png"), "text.png: not an image of a known format")
    assert_error(tatami("predict", small_run, seven, "--top", 0), "--top must be at least 1, got 0")


def test_data_of_another_shape_to_evaluate_on(tatami, small_run):
    message = "data set ox has images of shape (1, 3, 3), network perceptron takes (1, 8, 8)"
    assert_error(tatami("evaluate", small_run, "ox"), message)


def test_a_checkpoint_alone_does_not_know_its_data(tatami, run, tmp_path):
    shutil.copy(run.last, tmp_path / "model.safetensors")
    assert_error(tatami("evaluate", "model.safetensors"), "name the data set to measure on, such as digits")


def test_an_output_folder_that_holds_something_else(tatami, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("It was a dark night.")
    assert_error(
        tatami("train", *SMALL, "--out", "thesis"), "thesis exists and is not a run; nothing was written"
    )
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter1.txt"]


def test_an_output_folder_that_holds_a_run(tatami, run):
    before = run.last.read_bytes()
    message = f"{run.path} holds a run already; continue it with: tatami train --resume {run.path}"
    assert_error(tatami("train", *SMALL, "--out", run.path), message)
    assert run.last.read_bytes() == before


@pytest.mark.parametrize("words", [["--lr", "1"], ["--network", "mlp"], ["digits"], ["--seed", "0"]])
def test_a_setting_that_cannot_change_when_a_run_is_resumed(tatami, run, words):
    assert_error(
        tatami("train", "--resume", run.path, *words), "cannot be given with --resume: the run goes on as"
    )


def test_resuming_a_finished_run_says_so_and_reports_again(tatami, run):
    weights = load_checkpoint(run.last).weights_sha256
    ended = tatami("train", "--resume", run.path, "--json")
    assert ended.code == 0
    assert "the run has done all of its 3 epochs; train on with more --epochs" in ended.err
    assert ended.json["epochs"] == 3
    assert load_checkpoint(run.last).weights_sha256 == weights


def test_a_finished_run_goes_on_with_more_epochs(tatami, run):
    ended = tatami("train", "--resume", run.path, "--epochs", 5, "--json")
    assert ended.code == 0
    assert ended.json["epochs"] == 5
    assert len(run.history_file.read_text().splitlines()) == 5


def test_fewer_epochs_than_are_done(tatami, run):
    message = "the run has trained for 3 epochs already, epochs cannot be 2"
    assert_error(tatami("train", "--resume", run.path, "--epochs", 2), message)


def test_a_run_does_not_go_on_with_other_data(tatami, run):
    values = json.loads(run.settings_file.read_text())
    values["source"]["limit"] = 180
    run.settings_file.write_text(json.dumps(values))
    before = run.last.read_bytes()
    assert_error(tatami("train", "--resume", run.path), "was trained on other data")
    assert run.last.read_bytes() == before


def test_a_damaged_checkpoint_and_the_way_out(tatami, small_run, run):
    damaged = bytearray(run.last.read_bytes())
    damaged[-10] ^= 1
    run.last.write_bytes(damaged)
    way_out = (
        f"The checkpoint before it is kept: continue with: tatami train --resume {previous_of(run.last)}"
    )
    assert_error(tatami("train", "--resume", run.path), way_out)
    assert run.last.read_bytes() == damaged
    assert tatami("train", "--resume", previous_of(run.last)).code == 0
    assert (
        load_checkpoint(run.last).weights_sha256 == load_checkpoint(RunFolder(small_run).last).weights_sha256
    )
    assert (run.path / "last.damaged.safetensors").read_bytes() == damaged


def test_a_damaged_model(tatami, run, seven):
    run.best.write_bytes(run.best.read_bytes()[:-5])
    assert_error(tatami("evaluate", run.path), "best.safetensors is truncated")
    assert_error(tatami("predict", run.path, seven), "best.safetensors is truncated")


def test_a_learning_rate_that_is_far_too_high(tatami, tmp_path):
    ended = tatami(
        "train", "--network", "mlp", "--limit", 200, "--optimizer", "sgd", "--lr", "1e30", "--epochs", 3, "--out", "run"
    )  # fmt: skip
    assert_error(ended, "NaN or infinity first appears in")
    assert "layer 'dense" in ended.err
    assert "in epoch 1, step " in ended.err
    assert "The last good checkpoint, after step 0, is run/last.safetensors" in ended.err
    kept = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert all(np.isfinite(array).all() for named in kept.parameters.values() for array in named.values())


def test_a_disk_that_fills_up(tatami, tmp_path, monkeypatch):
    real = os.fsync
    flushed = []

    def full(descriptor):
        flushed.append(descriptor)
        if len(flushed) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    ended = tatami("train", *SMALL, "--checkpoint-steps", 2, "--out", "run")
    assert_error(ended, "No space left on device")
    assert "continue with: tatami train --resume run" in ended.err
    monkeypatch.undo()
    undisturbed = tatami("train", *SMALL, "--checkpoint-steps", 2, "--json").json["weights_sha256"]
    assert tatami("train", "--resume", tmp_path / "run", "--json").json["weights_sha256"] == undisturbed


def test_a_folder_that_cannot_be_made(tatami, tmp_path):
    (tmp_path / "file").write_text("")
    assert_error(tatami("train", *SMALL, "--out", "file/run"), "Not a directory")


def start_long_run(folder):
    """Start a run of many epochs and wait until it trains."""
    words = ["train", *SMALL, "--epochs", "100000", "--out", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(library.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-m", "tatami", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    while not process.stderr.readline().startswith("epoch"):
        assert process.poll() is None
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on(tatami, tmp_path, number, code):
    folder = tmp_path / "long"
    with start_long_run(folder) as process:
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == code
    assert out == ""
    assert f"saved; continue with: tatami train --resume {folder}" in err
    assert "Traceback" not in err
    done = load_checkpoint(folder / "last.safetensors").position
    assert f"after step {done.step}, saved" in err
    ended = tatami("train", "--resume", folder, "--epochs", done.epoch + 1, "--json")
    assert ended.json["epochs"] == done.epoch + 1


@pytest.mark.skipif(sys.platform == "win32", reason="a run there is not guarded")
def test_a_run_that_is_being_trained(tatami, tmp_path):
    folder = tmp_path / "long"
    with start_long_run(folder) as process:
        assert_error(tatami("train", "--resume", folder), "is being trained by another process")
        process.kill()
        process.communicate()


def test_images_of_different_sizes(tatami, tmp_path):
    for number, name in enumerate(("apple", "pear")):
        folder = tmp_path / "fruit" / name
        folder.mkdir(parents=True)
        for image in range(4):
            Image.fromarray(np.zeros((8, 8 + number), np.uint8)).save(folder / f"{image}.png")
    assert_error(tatami("train", "./fruit"), "--size")
