"""The compiled module on processors that are not here, emulated by QEMU: old ones without AVX2 or AVX-512.

Forcing an instruction set with TATAMI_ISA shows that its kernels are right; only a processor that has nothing better
shows that the module asks before it uses anything, and that no other line was compiled for a newer one. The oldest here
is what NumPy itself needs (x86-64-v2, 2008).
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tatami
from tatami import native

EMULATOR = shutil.which("qemu-x86_64")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not native.is_built(), reason="built without native kernels"),
    pytest.mark.skipif(EMULATOR is None, reason="needs qemu-x86_64 (Debian's qemu-user)"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates an x86-64 Python"),
]

TRAIN = """
import json, numpy as np
from tatami import native
from tatami.models import build
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.random import RandomKey
from tatami.training.checkpoint import weights_sha256
network = build("small_convnet")
session = Program(network, backend="native", threads=2).session(network.initialize(1), SGD(0.1, momentum=0.5))
x = RandomKey(1).normal("x", (9, *network.input_shape)).astype(np.float32)
for step in range(3):
    session.step(x, np.arange(9) % network.output_shape[0], RandomKey(1, step=step), 0.1)
report = {"available": native.available(), "used": native.instruction_set(), "sha": weights_sha256(session.parameters)}
print(json.dumps(report))
"""


def trained(*before: str, isa: str = "") -> dict[str, Any]:
    """Train three steps in a process of its own, behind the words that start the emulator."""
    environment = {**os.environ, "TATAMI_ISA": isa, "PYTHONPATH": str(Path(tatami.__file__).parents[1])}
    finished = subprocess.run(
        [*before, sys.executable, "-c", TRAIN], env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    report: dict[str, Any] = json.loads(finished.stdout)
    return report


@pytest.mark.parametrize(
    ("processor", "sets"), [("Nehalem", ["baseline"]), ("Haswell", ["avx2", "baseline"])]
)
def test_an_older_processor_trains_to_the_same_bits_as_its_instruction_set_here(
    processor: str, sets: list[str]
) -> None:
    if sets[0] not in native.available():
        pytest.skip(f"this processor has no {sets[0]} to compare with")
    emulated = trained(str(EMULATOR), "-cpu", processor)
    assert (emulated["available"], emulated["used"]) == (sets, sets[0])
    assert emulated["sha"] == trained(isa=sets[0])["sha"]
