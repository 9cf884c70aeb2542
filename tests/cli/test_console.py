"""The look of what the commands print."""

import numpy as np
import pytest

from tatami.cli.console import Console, colour_wanted, duration, sparkline, table_lines
from tatami.cli.report import confusion_lines, curve, thinned


def test_a_flat_curve_is_a_flat_line():
    assert sparkline([3.0, 3.0]) == "▁▁"


def test_a_loss_that_falls_by_orders_of_magnitude_is_drawn_by_its_logarithm():
    assert curve([1.0, 0.1, 0.01], "{:g}") == "1 █▅▁ 0.01"


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    values = list(range(1000))
    shown = thinned(values)
    assert len(shown) == 60
    assert (shown[0], shown[-1]) == (0, 999)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.00 s"), (59.94, "59.9 s"), (119.6, "2 min 00 s"), (7260, "2 h 01 min")]
)
def test_times_are_written_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_columns_are_aligned_whatever_is_in_them():
    lines = table_lines(("a", "long header"), [("x" * 9, 1), ("y", 12345)], left=[0])
    assert [len(line) for line in lines] == [len(lines[0])] * 3


def test_empty_fields_are_left_out(capsys):
    Console().fields({"one": 1, "none": None, "two": "a\nb"})
    assert capsys.readouterr().out == "  one  1\n  two  a\n       b\n"


def test_no_colour_in_a_pipe_nor_where_it_is_not_wanted(monkeypatch):
    assert colour_wanted(error_stream=False) is False
    monkeypatch.setenv("NO_COLOR", "1")
    assert colour_wanted(error_stream=True) is False


def test_a_class_without_images_has_no_share():
    assert confusion_lines(np.array([[0, 0], [1, 1]]), ["cat", "dog"])[1].endswith("-")
