"""Every known erratum stands in a walkthrough, with what is right and why."""

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
}


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
    for code in ("DSP-a", "DSP-b", "DSP-c", "DSP-d", "DSP-e", "DSP-f", "Arai-a"):
        name = ERRATA[code][0]
        entries = [
            entry for step in lecture(name).steps for entry in step.comparables() if entry.erratum == code
        ]
        assert entries, code
        assert all(entry.lecture is not None and entry.agrees is False for entry in entries)
