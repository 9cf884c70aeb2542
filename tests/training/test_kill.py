"""A run that is killed with SIGKILL at any moment and resumed ends with the same bits as an undisturbed one."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tatami import native
from tatami.training.checkpoint import load_checkpoint
from tatami.training.run_folder import RunFolder

SERVER = Path(__file__).with_name("training_server.py")
# 4 epochs of 5 steps, saved every fourth step.
STEPS = 20

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


class Server:
    """Trains in processes that can be killed."""

    def __init__(self, backend):
        self.backend = backend
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def start(self, folder, **job):
        """Begin or resume the run in a folder and return the process id."""
        self.process.stdin.write(json.dumps({"folder": str(folder), "backend": self.backend, **job}) + "\n")
        self.process.stdin.flush()
        word, process = next(self.lines()).split()
        assert word == "started", word
        return int(process)

    def lines(self):
        while True:
            line = self.process.stdout.readline().strip()
            assert line, "the training server died"
            yield line

    def end(self):
        """Read to the end of the process; return its exit code."""
        for line in self.lines():
            if line.startswith("ended"):
                return int(line.split()[1])
        raise AssertionError

    def run_killed_after(self, folder, steps):
        """Train and kill after some steps; return whether the kill came before the end."""
        process = self.start(folder)
        seen = 0
        for line in self.lines():
            if seen == steps:
                with contextlib.suppress(ProcessLookupError):  # it may just have ended by itself
                    os.kill(process, signal.SIGKILL)
                steps = -1
            seen += line == "step"
            if line.startswith("ended"):
                return int(line.split()[1]) == -signal.SIGKILL
        raise AssertionError

    def run(self, folder, **job):
        self.start(folder, **job)
        return self.end()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module", params=["reference", "native"])
def server(request):
    if request.param == "native" and not native.is_built():
        pytest.skip("the native backend is not built")
    server = Server(request.param)
    yield server
    server.close()


def outcome(folder):
    """Return everything of a run that must not depend on being killed."""
    place = RunFolder(folder)
    last, best = load_checkpoint(place.last), load_checkpoint(place.best)
    lines = [json.loads(line) for line in place.history_file.read_text().splitlines()]
    assert lines == last.history.to_json()
    return {
        "weights": last.weights_sha256,
        "best weights": best.weights_sha256,
        "best epoch": len(best.history),
        "history": last.history.without_clock(),
        "updates": last.optimizer_state.count,
        "position": last.position,
    }


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert server.run(folder) == 0
    result = outcome(folder)
    assert result["updates"] == STEPS
    return result


def test_two_undisturbed_runs_are_equal(server, undisturbed, tmp_path):
    assert server.run(tmp_path / "run") == 0
    assert outcome(tmp_path / "run") == undisturbed


def test_killed_from_outside_at_random_moments(server, undisturbed, tmp_path):
    """Runs with up to four kills each, some random steps after each start, until there were 24 kills."""
    kills = 0
    for seed in range(100):
        draw = random.Random(seed)
        folder = tmp_path / f"run{seed}"
        after_steps = [draw.randrange(0, 8) for _ in range(4)]
        killed = [server.run_killed_after(folder, steps) for steps in after_steps]
        kills += sum(killed)
        case = f"seed {seed}, kills after {after_steps} steps, before the end: {killed}"
        assert server.run(folder) == 0, case
        assert outcome(folder) == undisturbed, case
        if kills >= 24:
            return
    raise AssertionError(f"only {kills} kills came before the end of the runs")


def test_killed_before_any_operation_on_files(server, undisturbed, tmp_path):
    """Every moment at which a file is half written, not yet renamed, or newer than another one."""
    # Which file is written when does not depend on the backend: all moments on one, every seventh on the other.
    stride = 1 if server.backend == "reference" else 7
    operation = 0
    while True:
        operation += stride
        folder = tmp_path / f"run{operation}"
        code = server.run(folder, kill_at=operation)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert server.run(folder) == 0, f"killed before operation {operation}"
        assert outcome(folder) == undisturbed, f"killed before operation {operation}"
    assert operation > 20
