"""Without a C++ compiler the package installs in pure Python, says so in one line, and works."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[1]
NO_COMPILER = {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"}
USE = """
import numpy as np
from tatami import native
from tatami.errors import SettingError
from tatami.models import build
from tatami.program import Program
assert not native.is_built()
network = build("mlp")
output = Program(network).forward(network.initialize(seed=1), np.ones((2, 1, 28, 28))).output
assert output.shape == (2, 10)
try:
    Program(network, backend="native")
except SettingError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel without a compiler and unpack it."""
    folder = tmp_path_factory.mktemp("pure")
    command = [sys.executable, "-m", "pip", "wheel", str(SOURCES), "--no-deps", "--wheel-dir", str(folder)]
    finished = subprocess.run(
        command, env={**os.environ, **NO_COMPILER}, capture_output=True, text=True, check=False
    )
    if "No matching distribution" in finished.stderr or "No module named pip" in finished.stderr:
        pytest.skip("building a wheel needs pip and a package index")
    assert finished.returncode == 0, finished.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(folder / "site")
    assert not any("_kernels.c" in name or name.endswith((".so", ".pyd", ".cpp")) for name in names)
    return folder / "site"


def run(installed: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    finished = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=installed,
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout


@pytest.mark.slow
def test_the_reference_backend_computes_and_the_native_one_says_what_is_missing(installed: Path) -> None:
    assert "not built into this installation (it was installed without a C++ compiler" in run(
        installed, "-c", USE
    )


@pytest.mark.slow
def test_doctor_says_why_in_one_line(installed: Path) -> None:
    (line,) = [line for line in run(installed, "-m", "tatami", "doctor").splitlines() if "  native " in line]
    assert "not available: it was installed without a C++ compiler" in line


@pytest.mark.slow
def test_training_goes_on_without_kernels(installed: Path, tmp_path: Path) -> None:
    words = ["train", "digits", "--network", "perceptron", "--epochs", "1", "--limit", "200", "--out"]
    assert "Accuracy" in run(installed, "-m", "tatami", *words, str(tmp_path / "run"))
