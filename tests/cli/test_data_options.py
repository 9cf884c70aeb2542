"""Options of the commands that concern data: folds, workers, skipped images, test-time augmentation."""

import numpy as np
import pytest
from PIL import Image

SMALL = ("--network", "perceptron", "--epochs", 2, "--batch-size", 20, "--optimizer", "sgd", "--lr", 0.5)


def test_folds_report_mean_and_deviation(tatami):
    ended = tatami("train", "digits", *SMALL, "--limit", 150, "--folds", 3, "--out", "cross", "--json")
    assert ended.code == 0
    assert len(ended.json["accuracies"]) == 3
    assert ended.json["accuracy_mean"] == pytest.approx(np.mean(ended.json["accuracies"]))
    assert ended.json["accuracy_deviation"] == pytest.approx(np.std(ended.json["accuracies"], ddof=1))
    assert ended.json["run_dirs"] == ["cross/fold1", "cross/fold2", "cross/fold3"]
    assert tatami("train", "digits", "--folds", 1).code == 1


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
