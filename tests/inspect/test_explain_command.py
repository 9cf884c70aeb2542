"""`tatami explain` as people call it."""

import json

import numpy as np
import pytest
from PIL import Image

from tatami.cli.main import main
from tatami.columns import width_of

CIRCLE = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=np.uint8)


@pytest.fixture
def circle(tmp_path):
    path = tmp_path / "circle.png"
    Image.fromarray(CIRCLE * 255).save(path)
    return str(path)


def run(capsys, *words):
    code = main(["explain", "--lang", "en", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_unit(capsys, circle):
    code, out, _ = run(capsys, "ox", circle, "conv1[0,1,0]")
    assert code == 0
    assert out.startswith("conv1[0,1,0] = 2")
    assert "1·1 + 1·0 + 1·1 − 1·1 + 1" in out


def test_a_gradient_in_japanese_counted_from_1(capsys, circle):
    code, out, _ = run(
        capsys, "ox", circle, "dense1[1]", "--gradient", "--target", "0", "--one-based", "--lang", "ja"
    )
    assert code == 0
    assert out.startswith("∂E/∂dense1[1] = −0.1356")
    assert "シグモイド関数" in out


def test_the_loss_as_json(capsys, circle):
    code, out, _ = run(capsys, "ox", circle, "loss", "--target", "0", "--format", "json")
    assert code == 0
    data = json.loads(out)
    assert data["value"] == pytest.approx(0.6367, abs=5e-5)
    assert data["holds"]


@pytest.mark.parametrize(("form", "mark"), [("markdown", "$$"), ("html", "<math>")])
def test_other_forms(capsys, circle, form, mark):
    code, out, _ = run(capsys, "ox", circle, "pool1[0,0,0]", "--format", form)
    assert code == 0
    assert mark in out


def test_numbers_from_a_file(capsys, tmp_path):
    np.save(tmp_path / "circle.npy", CIRCLE)
    code, out, _ = run(capsys, "ox", str(tmp_path / "circle.npy"), "input[0,1,1]")
    assert code == 0
    assert "input[0,1,1] = 0" in out


def test_an_update(capsys, circle):
    words = ("ox", circle, "dense1.weight[0,0]", "--update", "sgd", "--lr", "0.1", "--target", "0")
    code, out, err = run(capsys, *words)
    assert code == 0, err
    assert "dense1.weight′[0,0] = 1.5133" in out
    assert "w ← w − η·g" in out


def test_a_narrow_terminal_gets_no_long_lines(capsys, circle, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    for language in ("en", "ja"):
        code, out, _ = run(capsys, "ox", circle, "conv1[0,1,0]", "--lang", language)
        assert code == 0
        assert "+ F(0, 0, 1, 0)·x(0, 2, 0)" in out
        # The table of terms keeps its columns; formulas and sentences are broken.
        told = [line for line in out.splitlines()[1:] if not line.startswith(" " * 6) or "F(" in line]
        assert max(map(width_of, told)) <= 60


def test_im2col(capsys, circle):
    code, out, _ = run(capsys, "ox", circle, "conv1", "--im2col")
    assert code == 0
    assert "4 rows (windows) × 4 columns (taps)" in out


def test_a_trained_model_with_its_class_names(capsys, tmp_path, circle):
    assert main(["train", "ox", "--epochs", "2", "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    run_folder = str(tmp_path / "run")
    code, out, err = run(capsys, run_folder, circle, "conv1.weight[0,0,1,1]", "--gradient", "--target", "○")
    assert code == 0, err
    assert "∂E/∂conv1.weight[0,0,1,1]" in out
    code, _, err = run(capsys, run_folder, circle, "loss", "--target", "△")
    assert code == 1
    assert "unknown class '△'" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ox", "{}", "conv2[0,0,0]"), "did you mean 'conv1'?"),
        (("ox", "{}", "conv1[0,9,0]"), "conv1 has shape (2, 2, 2), there is no entry [0, 9, 0]"),
        (("ox", "{}", "conv1[0,9,0]", "--one-based"), "indices count from 1"),
        (("ox", "{}", "conv1[3,1,1]", "--one-based"), "with --one-based from 1, as in conv1[3,1,1]"),
        (("ox", "{}", "conv1[0,a]"), "an index is whole numbers with commas"),
        (("ox", "{}", "conv1[0"), "expected an entry such as 'conv1[0,2,3]'"),
        (("ox", "{}", "conv1[0,0,0]", "--gradient"), "--gradient needs the right class: --target LABEL"),
        (("ox", "{}", "conv1.weight[0,0,0,0]", "--update", "sgd"), "--update needs the right class"),
        (("ox", "{}", "conv1[0,0,0]", "--update", "sgd", "--target", "0"), "unknown parameter of conv1"),
        (("ox", "{}", "conv1.bias[0]", "--update", "sdg", "--target", "0"), "did you mean 'sgd'?"),
        (("ox", "{}", "loss"), "there is no loss without the right class"),
        (("ox", "{}", "loss", "--target", "round"), "numbered classes, from 0"),
        (("ox", "{}", "loss", "--target", "5"), "label out of range"),
        (("ox", "{}", "conv1[0,0,0]", "--im2col"), "without an index"),
        (("ocks", "{}", "conv1[0,0,0]"), "unknown network 'ocks'"),
        (("ox", "nowhere.png", "conv1[0,0,0]"), "nowhere.png: no such file"),
        (("ox", "nowhere.npy", "conv1[0,0,0]"), "nowhere.npy: no such file"),
    ],
)
def test_mistakes_get_a_sentence(capsys, circle, words, message):
    code, out, err = run(capsys, *(word.format(circle) if word == "{}" else word for word in words))
    assert code == 1
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_files_that_are_not_numbers(capsys, tmp_path):
    path = tmp_path / "wrong.npy"
    path.write_bytes(b"not numpy")
    assert "not a .npy file of numbers" in run(capsys, "ox", str(path), "conv1[0,0,0]")[2]
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "not a .npy file of numbers" in run(capsys, "ox", str(path), "conv1[0,0,0]")[2]
    np.save(path, np.ones((4, 4)))
    assert (
        "has the shape (4, 4), network ox takes (1, 3, 3)" in run(capsys, "ox", str(path), "conv1[0,0,0]")[2]
    )
