"""Every known erratum stands in a walkthrough, with what is right and why."""

import re
from pathlib import Path

import pytest

from tatami.lectures.catalogue import CATALOGUE

# Code → lecture that shows it, and a word that its text has to hold.
ERRATA = {
    # The checked facts list these.
    "DSP-a": ("ox", "one sigmoid"),
    "DSP-b": ("ox", "0.6117"),
    "DSP-c": ("ox", "-1.53"),
    "DSP-d": ("ox", "0.0188"),
    "Arai-a": ("convolution", "rows 1 to n"),
    "Arai-b": ("arai", "affine_product"),
    "Arai-c": ("arai", "mask"),
    "Arai-d": ("arai", "class 10"),
    "Arai-e": ("arai", "exact"),
    "Qiita-squared-error": ("losses", "minus"),
    "Qiita-he": ("initial-values", "√2/n"),
    "Qiita-dropout": ("dropout", "kept"),
    "Qiita-derivative": ("backprop", "180°"),
    "History-convolution": ("convolution", "minus signs"),
    # These were found while the walkthroughs were written.
    "DSP-e": ("ox", "left over"),
    "DSP-f": ("ox", "swapped"),
    "DSP-g": ("convolution", "w₁₁"),
    "DSP-h": ("ox", "-2.00545"),
}


FACTS = Path(__file__).parents[3] / "shared" / "lecture-facts.md"
# Where the page of checked facts has no letters: a word of each remark about the article and the history → its code.
REMARKS = {
    "Squared error must be": "Qiita-squared-error",
    "printed √2/n": "Qiita-he",
    "says 'dropped'": "Qiita-dropout",
    "draws correlation": "History-convolution",
    "it *is* a derivative": "Qiita-derivative",
}
# Arai's exact dropout is told behind the letters of that section.
BEHIND_THE_LETTERS = {"Arai-e"}


def test_every_erratum_of_the_checked_facts_has_its_note():
    if not FACTS.exists():
        pytest.skip("the page of checked facts does not lie beside the repository")
    sections = re.split(r"^## ", FACTS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    listed = set()
    for section in sections:
        source = "DSP" if section.startswith("○×") else "Arai" if section.startswith("Arai") else ""
        errata = re.search(r"Errata\. (.*)", section, re.DOTALL)
        if source and errata:
            listed |= {f"{source}-{letter}" for letter in re.findall(r"\(([a-z])\) ", errata[1])}
    remarks = next(section for section in sections if section.startswith("Qiita and History"))
    for words, code in REMARKS.items():
        assert words in remarks
        listed.add(code)
    bullets = [line for line in remarks.splitlines() if line.startswith("- ")]
    assert len(bullets) == len(REMARKS) - 1  # the first tells of two
    assert {"DSP-a", "DSP-d", "Arai-a", "Arai-d"} <= listed
    assert listed | BEHIND_THE_LETTERS <= set(ERRATA)


@pytest.mark.parametrize("code", ERRATA)
def test_the_erratum_is_shown_with_what_is_right_and_why(lecture, code):
    name, word = ERRATA[code]
    found = [erratum for erratum in lecture(name).errata if erratum.code == code]
    assert len(found) == 1
    texts = (found[0].where, found[0].says, found[0].right, found[0].why)
    assert all(text.en and text.ja for text in texts)
    assert word in " ".join(text.en for text in texts)


def test_no_other_errata_are_shown(lecture):
    shown = {erratum.code: name for name in CATALOGUE for erratum in lecture(name).errata}
    assert shown == {code: name for code, (name, _) in ERRATA.items()}


def test_an_erratum_about_a_printed_number_holds_both_numbers(lecture):
    for code in ("DSP-a", "DSP-b", "DSP-c", "DSP-d", "DSP-e", "DSP-f", "DSP-h", "Arai-a"):
        name = ERRATA[code][0]
        entries = [
            entry for step in lecture(name).steps for entry in step.comparables() if entry.erratum == code
        ]
        assert entries, code
        assert all(entry.lecture is not None and entry.agrees is False for entry in entries)
