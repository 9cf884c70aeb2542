"""Running commands in this process, and a run to look at."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.small import SMALL

from tatami.cli.main import main


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The object in the last line of stdout."""
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture
def tatami(capsys, monkeypatch, tmp_path):
    """Return a function that runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    """Return the folder of a finished run; tests only look at it."""
    folder = tmp_path_factory.mktemp("small") / "run"
    code = main(["train", "digits", *map(str, SMALL), "--out", str(folder)])
    assert code == 0
    return folder


@pytest.fixture
def seven(tmp_path) -> Path:
    """Return a PNG with a 7 drawn in black on white, 60 pixels high."""
    paper = np.full((60, 60), 255, np.uint8)
    paper[10:16, 15:45] = 0
    for row in range(16, 52):
        column = 43 - (row - 16) // 2
        paper[row, column - 5 : column] = 0
    path = tmp_path / "seven.png"
    Image.fromarray(paper).save(path)
    return path
