"""Options of the commands that concern data: folds, workers, skipped images, test-time augmentation."""

import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

from tatami.cli import folds as folds_module
from tatami.cli.data.replay import learned_from
from tatami.data.augmentation import POLICIES
from tatami.training import run as run_module
from tatami.training.progress import ProgressBar
from tatami.training.run import checkpoint_to_resume, split
from tatami.training.run_folder import RunFolder

SMALL = ("--network", "perceptron", "--epochs", 2, "--batch-size", 20, "--optimizer", "sgd", "--lr", 0.5)


def test_folds_report_mean_and_deviation(tatami):
    ended = tatami("train", "digits", *SMALL, "--limit", 150, "--folds", 3, "--out", "cross", "--json")
    assert ended.code == 0
    assert len(ended.json["accuracies"]) == 3
    assert ended.json["accuracy_mean"] == pytest.approx(np.mean(ended.json["accuracies"]))
    assert ended.json["accuracy_deviation"] == pytest.approx(np.std(ended.json["accuracies"], ddof=1))
    assert ended.json["run_dirs"] == ["cross/fold1", "cross/fold2", "cross/fold3"]
    assert tatami("train", "digits", "--folds", 1).code == 1


CROSS = ("train", "digits", *SMALL, "--limit", 150, "--folds", 3)


def test_folds_that_were_stopped_go_on_and_end_as_undisturbed_ones(tatami, monkeypatch, tmp_path):
    whole = tatami(*CROSS, "--augment", "shift", "--out", "whole", "--json").json
    train = run_module.train
    begun = []

    def stop_in_the_second(*words, **settings):
        begun.append(settings["out"])
        return train(*words, **settings, **({"progress": Stopper()} if len(begun) == 2 else {}))

    class Stopper(ProgressBar):
        def step(self, *words):
            os.kill(os.getpid(), signal.SIGTERM)
            super().step(*words)

    def with_own_progress(*words, progress, **settings):
        return stop_in_the_second(*words, **settings)

    monkeypatch.setattr("tatami.cli.train.train", with_own_progress)
    (tmp_path / "own.json").write_text(json.dumps(POLICIES["shift"].to_json()))
    stopped = tatami(*CROSS, "--augment", "own.json", "--out", "cross")
    assert stopped.code == 128 + signal.SIGTERM
    assert "stopped in fold 2 of 3; go on with: tatami train --resume cross" in stopped.err
    monkeypatch.setattr("tatami.cli.train.train", train)
    # What the folds began with is kept beside them.
    (tmp_path / "own.json").unlink()
    ended = tatami("train", "--resume", "cross", "--workers", 1, "--json")
    assert "fold 1 of 3 is done" in ended.err
    assert ended.json["weights_sha256"] == whole["weights_sha256"]
    assert ended.json["accuracies"] == whole["accuracies"]
    again = tatami("train", "--resume", "cross", "--json")
    assert again.json == ended.json
    assert again.err.count("is done") == 3


def test_folds_cannot_go_on_as_others(tatami, tmp_path):
    assert tatami(*CROSS, "--out", "cross").code == 0
    assert (
        "holds folds already; continue them with: tatami train --resume cross"
        in tatami(*CROSS, "--out", "cross").err
    )
    assert "--epochs cannot be given with --resume" in tatami("train", "--resume", "cross", "--epochs", 9).err
    record = tmp_path / "cross" / "folds.json"
    values = json.loads(record.read_text())
    record.write_text(json.dumps({**values, "data": {**values["data"], "sha256": "0"}}))
    assert "was begun with other data" in tatami("train", "--resume", "cross").err
    for damaged in ("{", "[]", '{"format": "tatami-folds"}', json.dumps({**values, "done": {"x": 1}})):
        record.write_text(damaged)
        ended = tatami("train", "--resume", "cross")
        assert ended.code == 1
        assert "folds.json: not a record of folds" in ended.err


def written_by(tmp_path):
    """Write a folder of two classes, four writers each with a folder, and return it."""
    for label, name in enumerate(("a", "b")):
        for writer in range(4):
            place = tmp_path / "set" / name / f"writer{writer}"
            place.mkdir(parents=True)
            for number in range(3):
                pixels = np.full((8, 8), 30 + 150 * label + 10 * writer + number, np.uint8)
                Image.fromarray(pixels).save(place / f"w{writer}-{number}.png")
    return tmp_path / "set"


@pytest.mark.parametrize("grouping", ["folder", r"file:w(\d)-"])
def test_images_of_a_writer_stay_together(tatami, monkeypatch, tmp_path, grouping):
    folds = []
    begin = folds_module.begin_on
    monkeypatch.setattr(folds_module, "begin_on", lambda *words: folds.append(words[3]) or begin(*words))
    words = ("train", written_by(tmp_path), *SMALL, "--batch-size", 4, "--validation", 0.4, "--folds", 2)
    ended = tatami(*words, "--group-by", grouping, "--json")
    assert ended.code == 0
    assert ended.json["group_by"] == grouping
    for fold, run in zip(folds, ended.json["run_dirs"], strict=True):
        settings = checkpoint_to_resume(RunFolder.open(tmp_path / run)).settings
        assert settings.group_by == grouping
        tested, learned, validated = (
            set(part.columns["folder"]) for part in (fold.test, *split(fold.train, settings))
        )
        assert tested
        assert validated
        assert not tested & learned
        assert not validated & (learned | tested)
        assert tatami("data", "replay", run, "--step", 0).code == 0


def test_folds_of_groups_do_not_go_on_with_other_groups(tatami, tmp_path):
    place = written_by(tmp_path)
    words = (
        "train",
        place,
        *SMALL,
        "--batch-size",
        4,
        "--validation",
        0,
        "--folds",
        2,
        "--group-by",
        "folder",
    )
    done = tatami(*words, "--out", "cross", "--json").json
    record = tmp_path / "cross" / "folds.json"
    values = json.loads(record.read_text())
    groups = values["data"].pop("groups_sha256")
    record.write_text(json.dumps(values))
    assert (
        tatami("train", "--resume", "cross", "--json").json == done
    )  # begun before groups had a fingerprint
    values["data"]["groups_sha256"] = groups
    record.write_text(json.dumps(values))
    assert tatami("train", "--resume", "cross", "--json").json == done
    (place / "a" / "writer3").rename(place / "a" / "writer4")
    assert "was begun with other data" in tatami("train", "--resume", "cross").err


def test_a_writer_is_learned_from_or_validated_on(tatami, tmp_path):
    words = (
        "train",
        written_by(tmp_path),
        *SMALL,
        "--batch-size",
        4,
        "--validation",
        0.3,
        "--seed",
        3,
        "--schedule",
        "constant",
    )
    ended = tatami(*words, "--group-by", "folder", "--out", "run", "--json")
    assert ended.code == 0
    assert ended.json["group_by"] == "folder"
    # The images to test on are every fifth of a class, whoever wrote them: that is said.
    assert (
        "2 groups of 4 are also among the test images, as the data divide them; keep them apart" in ended.err
    )
    drawn = tatami("data", "replay", "run", "--step", 0, "--json").json
    learning = learned_from(tmp_path / "run", checkpoint_to_resume(RunFolder.open(tmp_path / "run")), None)
    assert len(set(learning.columns["folder"])) == 3
    for entry in drawn["samples"]:
        assert learning.class_names[learning.labels[entry["index"]]] == entry["class"]
    longer = ("--epochs", 3, "--json")
    resumed = tatami("train", "--resume", "run", *longer).json
    whole = tatami(*words, "--group-by", "folder", "--out", "whole", *longer).json
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert (
        "--group-by cannot be given with --resume"
        in tatami("train", "--resume", "run", "--group-by", "file").err
    )


def test_groups_that_cannot_be(tatami, tmp_path):
    place = written_by(tmp_path)
    words = ("train", place, *SMALL, "--folds", 2, "--group-by")
    assert "unknown column 'foldr': did you mean 'folder'?" in tatami(*words, "foldr").err
    assert "'(' is not a regular expression" in tatami(*words, "file:(").err
    assert "'x9' finds nothing in 'a/writer0" in tatami(*words, "file:x9").err
    assert "would be tested on in one fold, none is left to learn from" in tatami(*words, "file:^.").err
    alone = ("train", place, *SMALL, "--group-by")
    assert "validate on a share of them with --validation, or divide them with --folds" in (
        tatami(*alone, "folder", "--validation", 0).err
    )
    assert "unknown column 'foldr'" in tatami(*alone, "foldr", "--validation", 0.2).err
    assert "are of one group, 'png'" in tatami(*alone, "file:png", "--validation", 0.2).err
    assert "each holds all images of a class" in tatami(*alone, "file:^.", "--validation", 0.2).err
    assert "nothing is known of its images" in tatami(*CROSS, "--group-by", "folder").err


def test_workers_change_nothing(tatami):
    words = ("train", "digits", *SMALL, "--limit", 100, "--augment", "shift", "--json")
    sums = {tatami(*words, "--workers", workers).json["weights_sha256"] for workers in (0, 2)}
    assert len(sums) == 1
    assert "workers must be a whole number of at least 0" in tatami(*words, "--workers", -1).err


def test_bad_images_are_skipped_counted_and_listed(tatami, tmp_path):
    for label, name in enumerate(("a", "b")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(8):
            pixels = np.full((8, 8), 30 + 150 * label + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{number}.png")
    (tmp_path / "set" / "a" / "3.png").write_bytes(b"")
    words = ("train", tmp_path / "set", *SMALL, "--batch-size", 4, "--validation", 0)
    assert "3.png: the file is empty" in tatami(*words).err
    ended = tatami(*words, "--skip-bad", "--out", "run")
    assert ended.code == 0
    assert "skipped 1 image that cannot be read" in ended.err
    assert tatami("train", "--resume", "run", "--epochs", 3).code == 0


def test_test_time_augmentation_averages_views(tatami, small_run, seven):
    plain = tatami("evaluate", small_run, "--json").json
    views = tatami("evaluate", small_run, "--augment", "shift", "--views", 3, "--json").json
    assert views["test_images"] == plain["test_images"]
    assert views["loss"] != plain["loss"]
    one = tatami("predict", small_run, seven, "--augment", "shift", "--views", 4, "--json").json
    other = tatami("predict", small_run, seven, "--json").json
    assert one["predictions"][0]["probability"] != other["predictions"][0]["probability"]
    assert "a pipeline that mixes images" in tatami("evaluate", small_run, "--augment", "mixup").err
    assert "at least 2 views, got 1" in tatami("evaluate", small_run, "--augment", "shift", "--views", 1).err
