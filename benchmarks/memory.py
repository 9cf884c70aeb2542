"""Peak resident memory of training, ours and PyTorch's, each in a process of its own.

    python -m benchmarks.memory [--network arai] [--batch-size 100] [--steps 30] [--json FILE]

The number is what the kernel calls VmHWM: the most memory the process ever had resident, interpreter and libraries
included. The table also shows it before the first step, when everything is imported and the data are made.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import print_table

CONTENDERS = ("tatami f32", "torch eager", "torch channels_last", "torch compile")


def peak_mebibytes() -> float:
    """Return the highest resident size of this process so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not tell the peak of the resident size")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train in this process and return its peaks; only the contender's own libraries are imported."""
    step = tatami_step(options) if options.run.startswith("tatami") else torch_step(options)
    before = peak_mebibytes()
    for _ in range(options.steps):
        step()
    return {"contender": options.run, "imported": before, "peak": peak_mebibytes()}


def tatami_step(options: argparse.Namespace) -> Any:
    """Return a training step of the native backend."""
    import numpy as np

    from tatami.models import build
    from tatami.optimizers import SGD
    from tatami.program import Program
    from tatami.random import RandomKey

    network = build(options.network)
    program = Program(network, backend="native", threads=options.threads)
    session = program.session(network.initialize(seed=1), SGD(0.01, momentum=0.2))
    x = RandomKey(1).uniform("x", (options.batch_size, *network.input_shape)).astype(np.float32)
    labels = np.arange(options.batch_size) % network.output_shape[0]
    return lambda: session.step(x, labels, RandomKey(1), 0.01)


def torch_step(options: argparse.Namespace) -> Any:
    """Return a training step of PyTorch in one of its configurations."""
    import torch

    from benchmarks.train import TorchTraining
    from tatami.models import build

    torch.set_num_threads(options.threads)
    return TorchTraining(
        build(options.network), options.run.removeprefix("torch "), "f32", options.batch_size
    )


def main() -> None:
    """Start one process for each contender and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", default="arai")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--run", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure(options)))
        return
    results = []
    for contender in CONTENDERS:
        command = [sys.executable, "-m", "benchmarks.memory", *sys.argv[1:], "--run", contender]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
        results.append(json.loads(finished.stdout.splitlines()[-1]))
    ours = results[0]["peak"]
    print(
        f"peak resident memory, {options.network}, training, batch {options.batch_size}, {options.threads} threads"
    )
    print_table(
        ("process", "imported, MiB", "peak, MiB", "times ours"),
        [
            (r["contender"], f"{r['imported']:.0f}", f"{r['peak']:.0f}", f"{r['peak'] / ours:.2f}")
            for r in results
        ],
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
