"""Trains in processes that a test may kill: reads a job a line, forks, trains, and says how the process ended.

Forking from a process that has imported everything makes a kill cost milliseconds, so that tests can afford many.
A job is a JSON object: ``folder``, ``backend``, and optionally ``kill_at``: the process then kills itself with
SIGKILL before its n-th operation on files (flushing, renaming, linking), which is where a kill could hurt.
"""

import json
import os
import signal
import sys
import traceback

from tatami.data import DatasetSplits, load
from tatami.layers import Convolution, Dense, Dropout, Flatten, MaxPool, ReLU
from tatami.network import Sequential
from tatami.optimizers import Adam
from tatami.schedules import Cosine
from tatami.training.progress import Silent
from tatami.training.run import resume, train
from tatami.training.run_folder import RunFolder

NETWORK = Sequential(
    Convolution(3, 3),
    ReLU(),
    MaxPool(2),
    Flatten(),
    Dropout(0.3),
    Dense(10),
    input_shape=(1, 8, 8),
)
SETTINGS = {
    "epochs": 4,
    "batch_size": 16,
    "optimizer": Adam(0.01, weight_decay=0.001),
    "schedule": Cosine(),
    "clip": 1.0,
    "validation": 0.2,
    "seed": 7,
    "checkpoint_steps": 4,
}


class Chatter(Silent):
    """Prints a line for each step, so that the test knows how far the run is."""

    def step(self, images, sums):
        say("step")


def say(text):
    os.write(1, f"{text}\n".encode())  # one write, so that a kill leaves no half line


def data() -> DatasetSplits:
    return load("digits").limited(90)


def work(folder, backend):
    """Begin the run, or go on with it, as somebody would who finds it dead."""
    where = RunFolder(folder)
    run = (
        resume(folder, DATA, progress=Chatter())
        if where.is_run()
        else train(NETWORK, DATA, out=folder, backend=backend, progress=Chatter(), **SETTINGS)
    )
    say(f"finished {run.checkpoint.weights_sha256}")


def kill_before_operation(number):
    """Make the ``number``-th operation on files deadly."""
    count = 0

    def deadly(function):
        def counted(*arguments, **keywords):
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return counted

    for name in ("fsync", "replace", "link"):
        setattr(os, name, deadly(getattr(os, name)))


def serve():
    from pathlib import Path

    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the server has said how this process is called
            try:
                if "kill_at" in job:
                    kill_before_operation(job["kill_at"])
                work(Path(job["folder"]), job["backend"])
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        say(f"started {child}")
        os.close(reading)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    DATA = data()
    serve()
