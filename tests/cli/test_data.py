"""``tatami data``: lists, numbers, sheets, checks, and the replay of a step."""

import hashlib
import json
import os
import subprocess
import sys
import wave

import numpy as np
import pytest
from PIL import Image

from tatami.data import write_idx
from tatami.program import Program

TRAIN = (
    "train",
    "digits",
    "--network",
    "perceptron",
    "--limit",
    90,
    "--epochs",
    2,
    "--batch-size",
    20,
    "--seed",
    5,
)


def test_list_names_every_data_set(tatami):
    ended = tatami("data", "list", "--json")
    assert ended.code == 0
    assert {"digits", "mnist", "katakana", "cifar100"} <= set(ended.json["datasets"])
    assert ended.json["datasets"]["digits"]["files"] == "in the package"
    assert "katakana46" in tatami("data", "list").out


def test_info_counts_and_finds_what_is_odd(tatami, tmp_path):
    rng = np.random.default_rng(1)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 60, (6, 6)) + 180 * label
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "set" / name / f"{number:02}.png")
    stray = tmp_path / "set" / "dark" / "00.png"
    Image.fromarray(rng.integers(180, 240, (6, 6)).astype(np.uint8)).save(stray)
    twin = tmp_path / "set" / "light" / "01.png"
    twin.write_bytes((tmp_path / "set" / "dark" / "03.png").read_bytes())
    ended = tatami("data", "info", tmp_path / "set", "--json")
    assert ended.code == 0
    assert sum(ended.json["counts"].values()) == 20
    assert 0 in ended.json["suspicious"]
    assert len(ended.json["contradictions"]) == 1
    assert "labelled dark, looks like light" in tatami("data", "info", tmp_path / "set").out


def test_show_draws_a_row_for_each_class(tatami):
    ended = tatami("data", "show", "katakana", "--each", 3, "--size", 12, "--out", "sheet.png", "--json")
    assert ended.json["rows"][:3] == ["ア", "イ", "ウ"]
    with Image.open("sheet.png") as sheet:
        assert sheet.height > 4 * sheet.width
        assert np.asarray(sheet).max() == 255
    assert tatami("data", "show", "digits", "--each", 0).code == 1


@pytest.mark.parametrize("pipeline", ["handwriting", "own.json", "mixup"])
def test_preview_draws_before_and_after(tatami, pipeline, tmp_path):
    (tmp_path / "own.json").write_text('{"type": "Pipeline", "steps": [{"type": "Rotate", "degrees": 30}]}')
    ended = tatami("data", "preview", pipeline, "digits", "--rows", 2, "--epochs", 3, "--json")
    assert ended.code == 0
    assert ended.json["pipeline"]["type"] == "Pipeline"
    with Image.open(ended.json["file"]) as sheet:
        assert sheet.width > sheet.height
    assert "did you mean 'mixup'" in tatami("data", "preview", "mixap").err


@pytest.mark.parametrize(
    "options", [(), ("--augment", "geometric"), ("--augment", "mixup", "--validation", 0.3)]
)
def test_replay_redraws_exactly_what_the_network_saw(tatami, monkeypatch, options):
    seen = []
    original = Program.session

    def watched(program, *arguments, **named):
        session = original(program, *arguments, **named)
        step = session.step

        def spy(x, target, key, learning_rate):
            seen.append([hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest() for one in x])
            return step(x, target, key, learning_rate)

        session.step = spy
        return session

    monkeypatch.setattr(Program, "session", watched)
    assert tatami(*TRAIN, *options, "--out", "run").code == 0
    last = len(seen) - 1
    for step in (0, 3, last):
        whole = tatami("data", "replay", "run", "--step", step, "--json").json
        assert [sample["sha256"] for sample in whole["samples"]] == seen[step]
    one = tatami("data", "replay", "run", "--step", last, "--sample", 1, "--json").json
    assert one["samples"][0]["sha256"] == seen[last][1]
    assert one["file"] == f"step{last}-sample1.png"
    if "mixup" in options:
        assert len(one["samples"][0]["target"]) == 10
    assert "counted from 0, got 99" in tatami("data", "replay", "run", "--step", 99).err
    assert "counted from 0, got 70" in tatami("data", "replay", "run", "--step", 0, "--sample", 70).err


def test_replay_of_folds_workers_and_skipped_images(tatami, monkeypatch, tmp_path):
    """What processes made of a folder with a bad image, in the second fold, by the engine that the run keeps."""
    for number in range(41):
        path = tmp_path / "set" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (9, 8))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    path.write_bytes(b"")
    seen = []
    original = Program.session

    def watched(program, *arguments, **named):
        session = original(program, *arguments, **named)
        step = session.step
        seen.append([])

        def spy(x, target, key, learning_rate):
            seen[-1].append([hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest() for one in x])
            return step(x, target, key, learning_rate)

        session.step = spy
        return session

    monkeypatch.setattr(Program, "session", watched)
    words = ("train", tmp_path / "set", "--network", "perceptron", "--epochs", 2, "--batch-size", 5)
    more = ("--skip-bad", "--augment", "cutmix", "--folds", 2, "--workers", "2:processes", "--out", "folds")
    ended = tatami(*words, *more, "--validation", 0.2)
    assert ended.code == 0, ended.err
    assert "skipped 1 image" in ended.out + ended.err
    runs = [steps for steps in seen if steps]
    for fold, steps in enumerate(runs, start=1):
        for step in (0, len(steps) - 1):
            whole = tatami("data", "replay", f"folds/fold{fold}", "--step", step, "--json")
            assert whole.code == 0, whole.err
            assert [sample["sha256"] for sample in whole.json["samples"]] == steps[step]


def test_verify_names_what_is_wrong(tatami, tmp_path):
    assert "every file is as it should be" in tatami("data", "verify", "digits").out
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.full((4, 4), number, np.uint8)).save(tmp_path / "set" / name / f"{number}.png")
    (tmp_path / "set" / "b" / "1.png").write_bytes(b"")
    ended = tatami("data", "verify", tmp_path / "set", "--json")
    assert ended.code == 1
    assert "1 of its files are not as they should be" in ended.err
    assert "b/1.png: the file is empty" in json.dumps(ended.json["problems"])
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(10, dtype=np.uint8))
    ended = tatami("data", "verify", "mnist", "--data", tmp_path)
    assert ended.code == 1
    assert "SHA-256" in ended.out + ended.err or "lacks" in ended.err


def test_the_policy_of_a_run_is_in_its_result(tatami):
    ended = tatami(*TRAIN, "--augment", "shift", "--json")
    assert ended.json["augmentation"]["steps"][0]["type"] == "Shift"
    assert "did you mean 'shift'" in tatami(*TRAIN, "--augment", "shfit").err


def photographs(folder, count=8):
    """Write photographs-like images of two classes, in which every neighbour of a point is alike."""
    rng = np.random.default_rng(3)
    for name in ("sea", "wood"):
        (folder / name / "roll").mkdir(parents=True)
        for number in range(count):
            coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
            picture = Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)
            picture.save(folder / name / "roll" / f"{number}.png")
    return folder


def test_info_names_the_files_of_near_duplicates_and_of_what_is_tested_and_trained_on(tatami, tmp_path):
    folder = photographs(tmp_path / "set")
    with Image.open(folder / "sea" / "roll" / "0.png") as picture:
        picture.save(folder / "wood" / "roll" / "6.jpg", quality=70)
        picture.point(lambda value: int(value * 0.9 + 10)).save(folder / "sea" / "roll" / "1.png")
    # Number 2 of a class is for testing.
    (folder / "sea" / "roll" / "2.png").write_bytes((folder / "wood" / "roll" / "3.png").read_bytes())
    ended = tatami("data", "info", folder, "--json")
    assert ended.code == 0
    files = ended.json["files"]
    near = {frozenset(files[str(number)] for number in pair) for pair in ended.json["near_duplicates"]}
    assert frozenset(("sea/roll/0.png", "wood/roll/6.jpg")) in near
    assert frozenset(("sea/roll/0.png", "sea/roll/1.png")) in near
    assert len(near) == 3
    assert len(ended.json["in_train_and_test"]) == 1
    text = tatami("data", "info", folder).out
    assert "3 pairs of nearly equal images" in text
    assert "1 image to test on that is also trained on" in text
    assert "wood/roll/3.png, sea/roll/2.png" in text


def test_verify_reads_every_file_of_sounds_volumes_videos_and_tables(tatami, tmp_path):
    photographs(tmp_path / "videos", 2)
    for name in ("a", "b"):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        (tmp_path / "volumes" / name).mkdir(parents=True)
        for number in range(3):
            np.save(tmp_path / "volumes" / name / f"{number}.npy", np.zeros((2, 3, 4)))
            with wave.open(str(tmp_path / "sounds" / name / f"{number}.wav"), "wb") as sound:
                sound.setparams((1, 2, 8000, 0, "NONE", ""))
                sound.writeframes(bytes(200))
    (tmp_path / "list.csv").write_text(
        "path,label\n"
        + "".join(f"videos/{name}/roll/{n}.png,{name}\n" for name in ("sea", "wood") for n in (0, 1, 1))
    )
    damage = {
        "sounds": "sounds/a/1.wav",
        "spectrograms:sounds": "sounds/a/1.wav",
        "volumes": "volumes/b/2.npy",
        "list.csv": "videos/sea/roll/1.png",
    }
    for dataset in damage:
        assert "every file is as it should be" in tatami("data", "verify", dataset).out
        assert tatami("data", "info", dataset, "--json").code == 0
        assert tatami("data", "show", dataset, "--out", "sheet.png").code == 0
    for dataset, file in damage.items():
        (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:50])
        ended = tatami("data", "verify", dataset, "--json")
        assert ended.code == 1
        assert all(file in problem for problem in ended.json["problems"])
        assert ended.json["problems"]


@pytest.mark.parametrize("command", ["info", "show", "verify"])
@pytest.mark.parametrize(
    "make", ["nowhere", "nowhere.csv", "nowhere.npz", "empty", "file.txt", "videos:nowhere"]
)
def test_data_that_are_not_there_get_a_sentence(tatami, tmp_path, command, make):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_bytes(b"")
    ended = tatami("data", command, make, "--json")
    assert ended.code == 1
    assert ended.err.startswith("error: ")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 as Linux allows them")
def test_a_file_whose_name_is_no_text_can_be_spoken_of(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("L", (4, 4), 9 * number).save(tmp_path / name / f"{number}.png")
    with open(os.fsencode(tmp_path) + b"/a/\xff\xfe.png", "wb") as file:
        file.write(b"no image")
    words = [sys.executable, "-m", "tatami", "data", "verify", str(tmp_path), "--json"]
    ended = subprocess.run(words, capture_output=True, check=False, env={**os.environ, "PYTHONUTF8": "1"})
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr
    assert b"no image of a known format" in ended.stdout.replace(b"not an image", b"no image")
