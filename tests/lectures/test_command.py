"""`tatami lecture`: the list, steps, pages, JSON, and what it says to mistakes."""

import io
import json

import pytest

from tatami.cli import lecture as command_module
from tatami.cli.main import main
from tatami.lectures import overfitting
from tatami.lectures.catalogue import CATALOGUE, open_lecture


@pytest.fixture
def tatami(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)

    def run(*words):
        capsys.readouterr()
        code = main(list(words))
        return code, *capsys.readouterr()

    return run


def test_without_a_name_the_lectures_are_listed(tatami):
    code, out, _ = tatami("lecture")
    assert code == 0
    for name, entry in CATALOGUE.items():
        assert name in out
        assert entry.title.en in out


def test_the_list_in_japanese_by_option_and_by_environment(tatami, monkeypatch):
    assert "誤差逆伝播" in tatami("lecture", "--lang", "ja")[1]
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    assert "誤差逆伝播" in tatami("lecture")[1]
    assert "Back-propagation" in tatami("lecture", "--lang", "en")[1]


def test_a_step_is_computed_when_it_is_read(tatami, monkeypatch):
    def never(*arguments):
        raise AssertionError("nobody asked for this step")

    for name in ("by_heart", "dropout", "compared"):
        monkeypatch.setattr(overfitting, name, never)
    trained = overfitting.trained
    asked = []
    monkeypatch.setattr(
        overfitting, "trained", lambda *settings: asked.append(settings) or trained(*settings)
    )
    code, out, _ = tatami("lecture", "overfitting", "--step", "2")
    assert code == 0
    assert "[2/4]" in out
    assert len(asked) == 2
    steps = open_lecture("overfitting").steps
    assert steps[1] is steps[1]
    assert [step.title for step in steps[1:2]] == [steps[1].title]
    with pytest.raises(AssertionError, match="nobody asked for this step"):
        _ = steps[-1]


def test_into_a_pipe_everything_is_printed_at_once(tatami):
    code, out, _ = tatami("lecture", "convolution")
    assert code == 0
    assert "[1/7]" in out
    assert "[7/7]" in out
    assert "Erratum Arai-a" in out
    assert "\x1b" not in out


def test_a_single_step(tatami):
    code, out, _ = tatami("lecture", "im2col", "--step", "2", "--lang", "ja")
    assert code == 0
    assert "[2/6] どの行、どの列か" in out
    assert "[1/6]" not in out


def test_on_a_terminal_the_reader_goes_on_with_enter_and_ends_with_q(tatami, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal("\nq\n"))
    monkeypatch.setattr(command_module.sys.stdout, "isatty", lambda: True, raising=False)
    code, out, _ = tatami("lecture", "sobel")
    assert code == 0
    assert "[2/4]" in out
    assert "[3/4]" not in out
    assert out.count("Enter: next step") == 2


def test_a_page_is_written(tatami, tmp_path):
    code, out, err = tatami("lecture", "pooling", "--html", "pooling.html", "--lang", "ja")
    assert code == 0
    assert out == ""
    assert "pooling.html" in err
    assert '<html lang="ja">' in (tmp_path / "pooling.html").read_text(encoding="utf-8")


def test_a_page_into_a_folder_that_is_missing(tatami):
    code, _, err = tatami("lecture", "pooling", "--html", "nowhere/pooling.html")
    assert code == 1
    assert err == "error: nowhere/pooling.html: No such file or directory\n"


def test_json_is_one_line_with_numbers_and_both_languages(tatami):
    code, out, _ = tatami("lecture", "convolution", "--json")
    assert code == 0
    (line,) = out.splitlines()
    found = json.loads(line)
    numbers = {entry["key"]: entry for step in found["steps"] for entry in step["numbers"]}
    assert numbers["figure 2"]["value"][0] == [40, 45, 50, 55]
    assert numbers["figure 2"]["agrees"] is True
    assert numbers["same by the definition"]["erratum"] == "Arai-a"
    assert found["title"]["ja"]
    assert [name["name"] for name in json.loads(tatami("lecture", "--json")[1])["lectures"]] == list(
        CATALOGUE
    )


def test_updates_one_by_one(tatami):
    _, out, _ = tatami("lecture", "ox", "--step", "12", "--updates", "3")
    assert "1.9818" in out
    assert "1.8974" in out
    assert out.count("C_T") == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convoltion"], "unknown lecture 'convoltion': did you mean 'convolution'?"),
        (["ox", "--step", "14"], "--step: lecture ox has the steps 1 to 13, got 14"),
        (["ox", "--updates", "0"], "--updates: expected 1 to 200, got 0"),
        (["augmentation", "--seeds", "0"], "--seeds: expected 1 to 20, got 0"),
        (["arai", "--data", "nowhere"], "mnist: the folder nowhere does not exist"),
    ],
)
def test_mistakes_get_a_sentence(tatami, words, message):
    code, _, err = tatami("lecture", *words)
    assert code == 1
    assert err.startswith(f"error: {message}")
    assert "Traceback" not in err
