"""How many threads really run, beside other libraries' threads, forked processes and Python's own threads."""

import json
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from tatami import layers, native
from tatami.network import Parameters, Sequential
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")

# A process that trains three steps and says how many threads it then has, and what it has learned. NumPy's own pool
# is kept to one thread, so that all others are the engine's.
TRAIN = """
import hashlib, json, os, sys
{before}
import numpy as np
from tatami.models import build
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.random import RandomKey
{between}

def learned(threads):
    network = build("simple_convnet")
    x = RandomKey(1).uniform("x", (40, *network.input_shape)).astype(np.float32)
    program = Program(network, backend="native", threads=threads)
    session = program.session(network.initialize(seed=1), SGD(0.05, momentum=0.9))
    for step in range(3):
        session.step(x, np.arange(40) % 10, RandomKey(1, step=step), 0.05)
    named = session.parameters
    return hashlib.sha256(b"".join(a.tobytes() for l in named.values() for a in l.values())).hexdigest()

def threads_now():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0

before = threads_now()
sha256 = learned({threads})
report = {{"sha256": sha256, "started": threads_now() - before}}
{after}
print(json.dumps(report))
"""


def run(
    threads: int | None = None,
    before: str = "",
    between: str = "",
    after: str = "",
    **environment: str,
) -> dict[str, Any]:
    code = TRAIN.format(threads=threads, before=before, between=between, after=after)
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    report: dict[str, Any] = json.loads(finished.stdout)
    return report


@LINUX
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_setting_decides_how_many_threads_there_are(threads: int) -> None:
    assert run(threads, OMP_NUM_THREADS="7")["started"] == threads - 1


@LINUX
@pytest.mark.parametrize("threads", [1, 3])
def test_omp_num_threads_is_obeyed(threads: int) -> None:
    assert run(None, OMP_NUM_THREADS=str(threads))["started"] == threads - 1


@LINUX
def test_threadpoolctl_is_obeyed() -> None:
    limit = "import threadpoolctl; threadpoolctl.threadpool_limits(1)"
    assert run(
        None, between=f"from tatami import native; native.kernels(); {limit}", OMP_NUM_THREADS="4"
    ) == {
        "sha256": run(4)["sha256"],
        "started": 0,
    }


@pytest.mark.slow
@pytest.mark.parametrize("order", ["before", "after"])
def test_torch_and_scikit_learn_may_work_in_the_same_process(order: str) -> None:
    others = """
import torch, sklearn.cluster, numpy
image, kernel = torch.ones(1, 1, 64, 64), torch.ones(8, 1, 3, 3)
assert float(torch.nn.functional.conv2d(image, kernel).sum()) == 62 * 62 * 8 * 9
clusters = sklearn.cluster.KMeans(2, n_init=1, random_state=0).fit(numpy.arange(600.0).reshape(300, 2) % 50)
assert len(set(clusters.labels_)) == 2
"""
    alone = run(2)["sha256"]
    again = others + "\nassert learned(2) == sha256"
    came = run(2, before=others if order == "before" else "", after=others if order == "before" else again)
    assert came["sha256"] == alone


def small() -> tuple[Sequential, Any, Any]:
    network = Sequential(
        layers.Convolution(12, 3, padding="same"),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.Flatten(),
        layers.Dense(4),
        input_shape=(2, 12, 12),
    )
    x = RandomKey(2).normal("x", (30, 2, 12, 12)).astype(np.float32)
    return network, x, np.arange(30) % 4


def trained(program: Program, seed: int) -> Parameters:
    network, x, labels = small()
    session = program.session(network.initialize(seed=seed), SGD(0.05, momentum=0.9))
    for step in range(25):
        session.step(x, labels, RandomKey(seed, step=step), 0.05)
    return session.parameters


def at_once(work: Any, count: int) -> list[Any]:
    """Call work(0), work(1), … in threads that start together, and return what they return."""
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def run_one(number: int) -> None:
        barrier.wait()
        results[number] = work(number)

    workers = [threading.Thread(target=run_one, args=(number,)) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results


def test_two_sessions_train_at_once() -> None:
    program = Program(small()[0], backend="native", threads=2)
    alone = [trained(program, seed) for seed in range(2)]
    together = at_once(lambda seed: trained(program, seed), 2)
    for expected, came in zip(alone, together, strict=True):
        for layer, named in expected.items():
            for name, values in named.items():
                np.testing.assert_array_equal(came[layer][name], values)


def test_threads_that_share_a_program_do_not_mix_parameters_batches_or_ways_of_running() -> None:
    network, x, labels = small()
    program = Program(network, backend="native", threads=2)
    drawn = [network.initialize(seed=seed) for seed in range(3)]

    def results(number: int) -> tuple[Any, ...]:
        batch = x[: 5 + 10 * number]
        step = program.train_step(drawn[number], batch, labels[: len(batch)], keep=number == 2)
        output = program.forward(drawn[number], batch, keep=number == 0).output
        return output, step.output, step.loss, step.gradients["conv1"]["weight"]

    alone = [results(number) for number in range(3)]
    for _ in range(5):
        together = at_once(lambda number: [results(number) for _ in range(5)], 3)
        for number, came in enumerate(together):
            for one in came:
                for part, expected in zip(one, alone[number], strict=True):
                    np.testing.assert_array_equal(part, expected)


FORK = """
import multiprocessing
def child(_):
    return learned(2)
with multiprocessing.get_context({method!r}).Pool(2) as pool:
    report["children"] = pool.map(child, range(4))
assert learned(2) == sha256
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_pool_of_forked_processes_learns_the_same() -> None:
    came = run(2, after=FORK.format(method="fork"))
    assert set(came["children"]) == {came["sha256"]}
