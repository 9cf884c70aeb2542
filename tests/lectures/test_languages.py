"""Both languages, formulas that can be read, and terminal lines that fit."""

import dataclasses
import json
import re

import click
import pytest

from tatami.columns import width_of
from tatami.inspect.notation import mathml_formula, unicode_formula
from tatami.lectures import words
from tatami.lectures.as_json import lecture_json
from tatami.lectures.catalogue import CATALOGUE, open_lecture
from tatami.lectures.terminal import lecture_lines, step_lines
from tatami.lectures.walkthrough import Request, Steps, Text, Worked

JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")


def texts_in(value):
    """Yield every text inside a walkthrough."""
    if isinstance(value, Text):
        yield value
    elif dataclasses.is_dataclass(value):
        for entry in dataclasses.fields(value):
            yield from texts_in(getattr(value, entry.name))
    elif isinstance(value, tuple | Steps):
        for entry in value:
            yield from texts_in(entry)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_step_exists_in_both_languages(lecture, name):
    walkthrough = lecture(name)
    assert len(walkthrough.steps) >= 4
    for step in walkthrough.steps:
        assert step.prose.en
        assert step.prose.en != step.prose.ja
        assert JAPANESE.search(step.prose.ja)
        assert step.title.en
        assert step.title.ja
    for text in texts_in(walkthrough):
        assert not JAPANESE.search(text.en), text.en
        assert bool(text.en) == bool(text.ja)
        # Prose without a Japanese character was forgotten to be translated.
        words_of_english = {word for word in re.findall("[a-zA-Z]{4,}", text.en) if word not in text.ja}
        assert len(words_of_english) < 3 or JAPANESE.search(text.ja), text.ja


def test_the_words_around_exist_in_both_languages():
    texts = [value for value in vars(words).values() if isinstance(value, Text)]
    assert len(texts) > 10
    assert all(JAPANESE.search(text.ja) and not JAPANESE.search(text.en) for text in texts)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_formula_can_be_shown(lecture, name):
    for step in lecture(name).steps:
        formulas = [*step.formulas, *(formula for erratum in step.errata for formula in erratum.formulas)]
        formulas += [line for block in step.all_blocks() if isinstance(block, Worked) for line in block.lines]
        for formula in formulas:
            assert unicode_formula(formula)
            assert mathml_formula(formula).startswith("<math>")
            assert "\\" not in unicode_formula(formula)


NAMES = {"ELU", "He", "Lp", "Mish", "ReLU", "Swish", "Xavier", "im", "col", "tanh", "round"}


@pytest.mark.parametrize("name", CATALOGUE)
def test_words_in_formulas_are_translated(lecture, name):
    for step in lecture(name).steps:
        formulas = [*step.formulas, *(formula for erratum in step.errata for formula in erratum.formulas)]
        formulas += [line for block in step.all_blocks() if isinstance(block, Worked) for line in block.lines]
        for formula in formulas:
            japanese = words.formula_in(formula, "ja")
            assert unicode_formula(japanese)
            english = set(re.findall("[A-Za-z]{2,}", " ".join(re.findall(r"text{([^}]*)}", japanese))))
            assert english <= NAMES, formula


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_the_lines_for_the_terminal_fit_and_say_everything(lecture, name, language):
    lines = [click.unstyle(line) for line in lecture_lines(lecture(name), language, 100)]
    text = "\n".join(lines)
    # Formulas and matrices are not broken; they may be wider than prose, but no wider than a large window.
    assert max(map(width_of, lines)) <= 120
    for number, step in enumerate(lecture(name).steps, start=1):
        assert f"[{number}/{len(lecture(name).steps)}] {step.title.read(language)}" in text
    for erratum in lecture(name).errata:
        assert erratum.code in text
    assert "nan" not in text


def test_prose_keeps_to_a_narrow_window(lecture):
    for language in ("en", "ja"):
        lines = [click.unstyle(line) for line in step_lines(lecture("convolution"), 7, language, 60)]
        prose = [line for line in lines if line.startswith("┃ ") and "[" not in line]
        assert prose
        assert max(map(width_of, prose)) <= 62


@pytest.mark.parametrize(
    "name", ["convolution", "backprop", "initial-values", "dropout", "pooling", "optimizers"]
)
def test_the_same_seed_gives_the_same_numbers(lecture, name):
    assert json.dumps(lecture_json(open_lecture(name))) == json.dumps(lecture_json(lecture(name)))


def test_another_seed_gives_other_numbers(lecture):
    other = open_lecture("dropout", Request(seed=1))
    assert lecture_json(other) != lecture_json(lecture("dropout"))


@pytest.mark.parametrize("seed", [1, 7, 123])
def test_backprop_finds_weights_to_show_with_every_seed(seed):
    numbers = open_lecture("backprop", Request(seed=seed)).numbers
    assert numbers["worst distance"] < 1e-7
    assert abs(numbers["δ conv1 first"]).max() > 0
    assert abs(numbers["δ conv1 second"]).max() > 0
