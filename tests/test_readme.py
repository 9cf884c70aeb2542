import doctest
import re
from pathlib import Path

import click

from tatami.lectures.catalogue import open_lecture
from tatami.lectures.terminal import step_lines

README = Path(__file__).parents[1] / "README.md"


def test_the_step_of_the_lecture_is_what_the_command_prints() -> None:
    shown = re.search(r"```\n(\[7/13\].*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    printed = [click.unstyle(line) for line in step_lines(open_lecture("ox"), 7, "en")]
    assert shown[1].splitlines() == printed


def test_the_examples_of_the_readme_run() -> None:
    results = doctest.testfile(str(README), module_relative=False)

    assert results.attempted > 10
    assert results.failed == 0
