"""``tatami data``: lists, numbers, sheets, checks, and the replay of a step."""

import hashlib
import json

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
