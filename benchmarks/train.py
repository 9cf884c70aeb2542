"""Training speed against PyTorch: the same network, initial values, batches, loss and optimiser in one run.

    python -m benchmarks.train [--networks arai lenet5 …] [--precision f32 bf16] [--json FILE]
    python -m benchmarks.train --suite recurrent

PyTorch runs eager, with channels_last, and compiled; the ratio is against the best of them. Every row also says which
loss each side reaches after the same number of steps on the same data from the same start (dropout masks differ).
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import Timing, interleaved, print_table, processor_name
from benchmarks.networks import RECURRENT, SUITE, SUITES, torch_module
from tatami.network import Network
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.random import RandomKey

LEARNING_RATE = 0.01
MOMENTUM = 0.2
BATCHES = 4
LOSS_STEPS = 50


def batches(network: Network, batch_size: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Make learnable data: class templates plus noise, in the range of scaled images."""
    key = RandomKey(7)
    (classes,) = network.output_shape
    templates = key.uniform("templates", (classes, *network.input_shape))
    made = []
    for number in range(BATCHES):
        labels = (key.uniform(f"labels{number}", (batch_size,)) * classes).astype(np.int64)
        noise = key.uniform(f"noise{number}", (batch_size, *network.input_shape))
        made.append((((templates[labels] + noise) / 2).astype(np.float32), labels))
    return made


class TatamiTraining:
    """Training steps of Tatami on one backend."""

    def __init__(self, network: Network, backend: str, precision: str, batch_size: int, threads: int) -> None:
        """Plan the network and draw its initial values."""
        program = Program(network, backend=backend, precision=precision, threads=threads)
        self.session = program.session(network.initialize(seed=1), SGD(LEARNING_RATE, momentum=MOMENTUM))
        self.data = batches(network, batch_size)
        self.steps = 0
        self.loss = float("nan")

    def __call__(self) -> int:
        """Train on one batch."""
        x, labels = self.data[self.steps % BATCHES]
        self.loss = self.session.step(x, labels, RandomKey(1, step=self.steps), LEARNING_RATE).loss
        self.steps += 1
        return len(x)


class TorchTraining:
    """Training steps of PyTorch in one of its configurations."""

    def __init__(self, network: Network, variant: str, precision: str, batch_size: int) -> None:
        """Translate the network; variant is 'eager', 'channels_last' or 'compile'."""
        torch.manual_seed(0)
        self.module = torch_module(network, network.initialize(seed=1))
        self.precision = precision
        self.data = [
            (torch.from_numpy(x), torch.from_numpy(labels)) for x, labels in batches(network, batch_size)
        ]
        if variant == "channels_last" and len(network.input_shape) == 3:
            self.module = self.module.to(memory_format=torch.channels_last)
            self.data = [(x.to(memory_format=torch.channels_last), labels) for x, labels in self.data]
        if network.name in RECURRENT:  # PyTorch's layers like (time, N, features) best
            self.data = [(x.permute(2, 0, 1).contiguous(), labels) for x, labels in self.data]
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
        self.run = torch.compile(self.module) if variant == "compile" else self.module
        self.steps = 0
        self.loss = float("nan")

    def __call__(self) -> int:
        """Train on one batch."""
        x, labels = self.data[self.steps % BATCHES]
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.run(x)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        self.optimizer.step()
        self.loss = float(loss.detach())
        self.steps += 1
        return len(labels)


def loss_after(make: Callable[[], Any], steps: int) -> float:
    """Return the loss that a fresh contender reaches after a number of steps."""
    contender = make()
    for _ in range(steps):
        contender()
    return float(contender.loss)


def compare(name: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one network in one precision."""
    network = (SUITE | RECURRENT)[name]()
    makers: dict[str, Callable[[], Any]] = {
        "tatami": lambda: TatamiTraining(
            network, options.backend, precision, options.batch_size, options.threads
        )
    }
    for variant in options.torch:
        makers[f"torch {variant}"] = lambda variant=variant: TorchTraining(
            network, variant, precision, options.batch_size
        )
    contenders = {label: make() for label, make in makers.items()}
    timings = interleaved(contenders, options.repetitions)
    best_rival = max((label for label in timings if label != "tatami"), key=lambda label: timings[label].best)
    return {
        "network": name,
        "precision": precision,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "timings": {label: describe(timing) for label, timing in timings.items()},
        "best_rival": best_rival,
        "ratio_best": timings["tatami"].best / timings[best_rival].best,
        "ratio_median": timings["tatami"].median / timings[best_rival].median,
        "loss": {label: loss_after(makers[label], LOSS_STEPS) for label in ("tatami", best_rival)},
    }


def describe(timing: Timing) -> dict[str, Any]:
    """Turn a timing into JSON values."""
    return {"best": timing.best, "median": timing.median, "all": list(timing.all)}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", choices=[*SUITE, *RECURRENT], help="instead of a whole suite"
    )
    parser.add_argument("--suite", choices=SUITES, default="convolutional")
    parser.add_argument("--precision", nargs="+", choices=("f32", "bf16"), default=["f32"])
    parser.add_argument("--backend", default="native")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument(
        "--torch",
        nargs="+",
        choices=("eager", "channels_last", "compile"),
        default=["eager", "channels_last", "compile"],
    )
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    options.networks = options.networks or list(SUITES[options.suite])
    return options


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(options.threads)
    results = [
        compare(name, precision, options) for name in options.networks for precision in options.precision
    ]
    print(f"training, images/s, batch {options.batch_size}, {options.threads} threads, {processor_name()}")
    rows = []
    for result in results:
        for label, timing in result["timings"].items():
            loss = result["loss"].get(label)
            ratio = result["timings"]["tatami"]["best"] / timing["best"]
            rows.append(
                (
                    f"{result['network']} {result['precision']} {label}",
                    f"{timing['best']:,.0f}",
                    f"{timing['median']:,.0f}",
                    "" if label == "tatami" else f"{ratio:.2f}",
                    "" if loss is None else f"{loss:.4f}",
                )
            )
    print_table(("network", "best", "median", "tatami is × faster", f"loss after {LOSS_STEPS} steps"), rows)
    ratios = [result["ratio_best"] for result in results]
    mean = float(np.exp(np.mean(np.log(ratios))))
    print(f"geometric mean against the best rival of each: {mean:.2f} ×, least {min(ratios):.2f} ×")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
