"""Everything that the compiled module offers is called with random nonsense, in processes that must survive."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tatami import native

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

SCRIPT = Path(__file__).with_name("nonsense.py")


def survive(seed: int, calls: int, folder: Path) -> dict[str, int]:
    log = folder / "call.txt"
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), str(seed), str(calls), str(log)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert finished.returncode == 0, f"seed {seed}, call {log.read_text()}\n{finished.stderr}"
    accepted: dict[str, int] = ast.literal_eval(finished.stdout)
    return accepted


def test_random_nonsense_is_survived(tmp_path: Path) -> None:
    accepted = survive(seed=0, calls=8000, folder=tmp_path)
    # Nonsense that never gets beyond the door would prove nothing.
    deep = {"add_convolution", "finish", "predict", "train_step", "run_forward", "run_backward", "run_update"}
    assert deep < set(accepted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_much_random_nonsense_is_survived(seed: int, tmp_path: Path) -> None:
    survive(seed, calls=20000, folder=tmp_path)
