"""What bitwise determinism costs: training steps against variants whose results depend on which thread came first.

    python -m benchmarks.determinism [--networks arai …] [--precision f32 bf16] [--json FILE]

Tatami sums weight gradients over fixed groups of images, then over the groups in order: the same bits for any number of
threads. The variants let every thread take the next free images, one or several at a time, and sum what it happened to
get: less to add up, better balanced, and other bits in every run. Outputs of dense layers and images of a forward pass
go to whichever thread is free anyway: nobody adds them up.

The cost is how much faster the fastest of the variants is, best against best and median against median.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import interleaved, print_table, processor_name
from benchmarks.networks import SUITE
from tatami.native import instruction_set
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.random import RandomKey

# Name -> images that a free thread takes at a time; 0 keeps the fixed groups.
VARIANTS = {
    "fixed groups": 0,
    "free threads, 1 image": 1,
    "free threads, 4 images": 4,
    "free threads, 8 images": 8,
}
FIXED = "fixed groups"


class Training:
    """Training steps of one variant."""

    def __init__(self, name: str, precision: str, options: argparse.Namespace, grain: int) -> None:
        """Plan the network and draw one batch."""
        network = SUITE[name]()
        program = Program(network, backend="native", precision=precision, threads=options.threads)
        self.session = program.session(network.initialize(seed=1), SGD(0.01, momentum=0.2))
        self.session.planned.engine.arrival_grain = grain
        key = RandomKey(3)
        self.x = key.uniform("x", (options.batch_size, *network.input_shape)).astype(np.float32)
        classes = network.output_shape[0]
        self.labels = (key.uniform("labels", (options.batch_size,)) * classes).astype(np.int64)
        self.steps = 0

    def __call__(self) -> int:
        """Train on the batch."""
        self.session.step(self.x, self.labels, RandomKey(1, step=self.steps), 0.001)
        self.steps += 1
        return len(self.x)


def compare(name: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time all variants in turn."""
    contenders = {variant: Training(name, precision, options, grain) for variant, grain in VARIANTS.items()}
    timings = interleaved(contenders, options.repetitions)
    free = [timing for variant, timing in timings.items() if variant != FIXED]
    return {
        "network": name,
        "precision": precision,
        "images_per_second": {
            variant: {"best": timing.best, "median": timing.median, "all": list(timing.all)}
            for variant, timing in timings.items()
        },
        "cost_best": max(timing.best for timing in free) / timings[FIXED].best - 1,
        "cost_median": max(timing.median for timing in free) / timings[FIXED].median - 1,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", choices=SUITE, default=["arai", "simple_convnet", "vgg_like"]
    )
    parser.add_argument("--precision", nargs="+", choices=("f32", "bf16"), default=["f32", "bf16"])
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    results = [
        compare(name, precision, options) for name in options.networks for precision in options.precision
    ]
    print(
        f"training, images/s (best / median), batch {options.batch_size}, {options.threads} threads, "
        f"{instruction_set()}, {processor_name()}"
    )
    rows = [
        (
            f"{result['network']} {result['precision']}",
            *(
                f"{rates['best']:,.0f} / {rates['median']:,.0f}"
                for rates in result["images_per_second"].values()
            ),
            f"{100 * result['cost_best']:+.1f} % / {100 * result['cost_median']:+.1f} %",
        )
        for result in results
    ]
    print_table(("network", *VARIANTS, "cost of equal bits"), rows)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
