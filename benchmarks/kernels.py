"""Share of the machine's own peak that each kernel of a network reaches.

    python -m benchmarks.kernels [--network depthwise] [--batch-size 100] [--isa avx512] [--precision bf16]

The peak is a loop of multiply-adds in registers (`peak.cpp`, compiled here for this processor), measured before and
after the kernels: of floats, and with bf16 of tiles or of dot products, whichever the instruction set uses. A kernel's
work is counted as the multiply-adds of the *definition* of its layer. Winograd's convolution needs 36 multiplications
where the definition has 144, and gradients behind ReLU and 2x2 pooling a quarter or less, so such kernels may exceed
100 %: the share compares with a perfect dense loop, it does not say how busy the multipliers are. What a kernel has to
read and write at least, its operands and its result once, is given beside it, as a share of what copying moves: a
kernel with a small share of the multipliers and a large one of memory waits for its operands.

Each layer is a network of its own with the layers that are fused into it. Its backward pass computes the weight
gradient; behind a layer that has parameters it computes the input gradient, too, and the difference is that one's time.
The layer in front runs outside the engine and is not timed. A whole batch goes through a kernel before the next one
starts, so operands come from the shared cache, also where a training step would find them in a nearer one.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import print_table, processor_name
from tatami import layers
from tatami.layers import Layer
from tatami.native import instruction_set
from tatami.network import Network, Sequential
from tatami.program.native import TRAIN, PlannedNetwork
from tatami.random import RandomKey

# Short pieces, of which the best counts: on a machine that others use some run undisturbed.
SHORTEST_PIECE = 0.01


def pooled(filters: int) -> list[Layer]:
    """A convolution as the lecture's network has them."""
    return [layers.Convolution(filters, 3, padding="same"), layers.ReLU(), layers.MaxPool(2)]


class Outside(layers.PReLU):
    """A layer with parameters that the engine has no kernel for: what follows it owes it a gradient."""


# Title -> the layers that are fused into one kernel, and their input.
PIECES: dict[str, tuple[list[Layer], tuple[int, ...]]] = {
    "conv1 + ReLU + pool": (pooled(32), (1, 28, 28)),
    "conv2 + ReLU + pool": (pooled(64), (32, 14, 14)),
    "conv2, not fused": ([layers.Convolution(64, 3, padding="same")], (32, 14, 14)),
    "dense1 + ReLU": ([layers.Dense(100), layers.ReLU()], (3136,)),
    "dense2 + ReLU": ([layers.Dense(200), layers.ReLU()], (100,)),
}


def pieces_of(network: Network) -> dict[str, tuple[list[Layer], tuple[int, ...]]]:
    """Cut a chain of layers into its products with the activations and poolings behind them."""
    pieces: dict[str, tuple[list[Layer], tuple[int, ...]]] = {}
    nodes = list(network.nodes)
    for at, node in enumerate(nodes):
        if not isinstance(node.layer, layers.Convolution | layers.Dense):
            continue
        stack = [node.layer]
        for follower in nodes[at + 1 :]:
            pool = isinstance(follower.layer, layers.MaxPool | layers.AveragePool)
            if not isinstance(follower.layer, layers.ReLU | layers.Tanh | layers.Sigmoid) and not pool:
                break
            stack.append(follower.layer)
            if pool:
                break
        title = " + ".join([node.name, *(type(layer).__name__ for layer in stack[1:])])
        (shape,) = network.input_shapes(node)
        pieces[title] = ([copy_of(layer) for layer in stack], shape)
    return pieces


def copy_of(layer: Layer) -> Layer:
    """Return a layer of the same settings without a name, for another network."""
    return replace(layer, name="")


@dataclass
class Passes:
    """One network that is loaded with a batch, and its passes without what runs outside the engine."""

    engine: Any
    first: int
    last: int

    @classmethod
    def of(cls, network: Network, options: argparse.Namespace) -> "Passes":
        """Plan the network for training and run it once."""
        with warnings.catch_warnings(action="ignore"):
            planned = PlannedNetwork(network, options.threads, precision=options.precision)
        planned.write(0, network.initialize(seed=1))
        x = RandomKey(1).normal("x", (options.batch_size, *network.input_shape)).astype(np.float32)
        stages = planned.engine.stages(TRAIN, options.batch_size)
        first = max((at + 1 for at, node in enumerate(stages) if node >= 0), default=0)
        planned.engine.start(TRAIN, x, 0, 0, 0, True)
        for node in planned.external:
            planned.engine.write_value(node, x)
        passes = cls(planned.engine, first, len(stages))
        passes.forward()
        planned.engine.start_backward(
            RandomKey(2).normal("dy", (options.batch_size, *network.output_shape)).astype(np.float32)
        )
        return passes

    def forward(self) -> None:
        """Run all stages."""
        self.engine.run_forward(self.first, self.last)

    def backward(self) -> None:
        """Run all stages in reverse."""
        self.engine.run_backward(self.first, self.last)


def least_seconds(works: dict[str, Callable[[], None]], repetitions: int) -> dict[str, float]:
    """Time the works in turn, each for at least a hundredth of a second, and return the least of each."""
    times = {}
    for name, work in works.items():
        start = time.perf_counter()
        work()
        times[name] = max(1, round(SHORTEST_PIECE / max(time.perf_counter() - start, 1e-7)))
    least = dict.fromkeys(works, float("inf"))
    for _ in range(repetitions):
        for name, work in works.items():
            start = time.perf_counter()
            for _ in range(times[name]):
                work()
            least[name] = min(least[name], (time.perf_counter() - start) / times[name])
    return least


def peaks(threads: int) -> dict[str, float]:
    """Compile and run the register loops: unit -> multiply-adds per second.

    Raises:
        FileNotFoundError: there is no C++ compiler.
    """
    compiler = os.environ.get("CXX") or shutil.which("c++") or "c++"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        source = Path(__file__).with_name("peak.cpp")
        options = ["-std=c++20", "-O2", "-march=native", "-pthread"]
        subprocess.run([compiler, *options, str(source), "-o", str(program)], check=True)
        finished = subprocess.run([str(program), str(threads)], capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in json.loads(finished.stdout).items()}


def chosen_pieces(name: str) -> dict[str, tuple[list[Layer], tuple[int, ...]]]:
    """Return the pieces of a network of the suite; the lecture's also with a convolution that is not fused."""
    if name == "arai":
        return PIECES
    from benchmarks.networks import SUITE  # needs PyTorch, which the pieces of the lecture's network do not

    if name not in SUITE:
        raise SystemExit(f"no network {name!r} in the suite; choose one of {', '.join(SUITE)}")
    return pieces_of(SUITE[name]())


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every piece forward, its weight gradient and its input gradient."""
    works: dict[str, Callable[[], None]] = {}
    multiply_adds: dict[str, float] = {}
    moved: dict[str, float] = {}
    for title, (stack, input_shape) in chosen_pieces(options.network).items():
        alone = Sequential(*stack, input_shape=input_shape)
        behind = Sequential(Outside(), *stack, input_shape=input_shape)
        one, both = (Passes.of(network, options) for network in (alone, behind))
        works |= {
            # The network's own input has to be brought into the engine's order; a layer's input has it already.
            f"{title}: forward": both.forward if multiply_adds else one.forward,
            f"{title}: weight gradient": one.backward,
            f"{title}: both gradients": both.backward,
        }
        multiply_adds[title] = alone.multiply_adds * options.batch_size
        # Each pass reads two of input, output and weights, or their gradients, and writes the third.
        moved[title] = 4.0 * (
            options.batch_size * (prod(alone.input_shape) + prod(alone.output_shape)) + alone.parameter_count
        )
    seconds = least_seconds(works, options.repetitions)
    rows = []
    for position, (title, work) in enumerate(multiply_adds.items()):
        input_gradient = seconds[f"{title}: both gradients"] - seconds[f"{title}: weight gradient"]
        for kernel, taken in (
            ("forward", seconds[f"{title}: forward"]),
            ("weight gradient", seconds[f"{title}: weight gradient"]),
            ("input gradient", input_gradient),
        ):
            if kernel == "input gradient" and position == 0:
                continue  # nothing wants the gradient of the network's input
            row = {"layer": title, "kernel": kernel, "seconds": taken}
            rows.append(row | {"multiply_adds": work, "bytes": moved[title]})
    return rows


def peak_unit(precision: str) -> str:
    """Return what multiplies at a precision: the unit whose peak the kernels are compared with."""
    if precision == "f32" or not instruction_set().startswith(("amx", "avx512_bf16")):
        return "f32"
    return "bf16_tile" if instruction_set() == "amx" else "bf16_dot"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", default="arai", help="a network of benchmarks/networks.py")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repetitions", type=int, default=60)
    parser.add_argument("--isa", default="", help="instruction set to force; the best by default")
    parser.add_argument("--precision", default="f32", help="f32, bf16 or bf16x3")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    os.environ["TATAMI_ISA"] = options.isa
    before = peaks(options.threads)
    rows = measure(options)
    after = peaks(options.threads)
    best = {unit: max(before[unit], after[unit]) for unit in before}
    peak = best[peak_unit(options.precision)]
    print(
        f"kernels of {options.network}, {options.precision}, {instruction_set()}, batch {options.batch_size}, "
        f"{options.threads} threads, {processor_name()}"
    )
    print(
        "peak in registers: "
        + ", ".join(
            f"{unit} {rate / 1e9:.0f} G multiply-adds/s" for unit, rate in best.items() if unit != "memory"
        )
        + f"; copying moves {best['memory'] / 1e9:.0f} GB/s"
    )
    print_table(
        ("layer and kernel", "µs", "G multiply-adds/s", "of the peak", "GB/s", "of copying"),
        [
            (
                f"{row['layer']}, {row['kernel']}",
                f"{row['seconds'] * 1e6:,.0f}",
                f"{row['multiply_adds'] / row['seconds'] / 1e9:.1f}",
                f"{100 * row['multiply_adds'] / row['seconds'] / peak:.0f} %",
                f"{row['bytes'] / row['seconds'] / 1e9:.1f}",
                f"{100 * row['bytes'] / row['seconds'] / best['memory']:.0f} %",
            )
            for row in rows
        ],
    )
    if options.json:
        options.json.write_text(json.dumps({"peaks": best, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
