"""What it costs that a run watches itself: the same training with the diagnosis and with its looks left out.

python -m benchmarks.diagnosis [--backend native] [--epochs 15]
"""

import argparse
import time
from statistics import median

import tatami
from benchmarks.measure import print_table, processor_name
from tatami.data import load


def seconds(network: str, backend: str, epochs: int, watched: bool) -> float:
    """Train on the digits and return how long it took."""
    data = load("digits")
    start = time.perf_counter()
    tatami.train(
        network,
        data,
        epochs=epochs,
        batch_size=32,
        optimizer=tatami.Adam(0.003),
        backend=backend,
        diagnosis=watched,
    )
    return time.perf_counter() - start


def main() -> None:
    """Measure in turn and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="native")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for network in ("small_convnet", "arai"):
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(options.repetitions):
            for watched in (True, False):
                times[watched].append(seconds(network, options.backend, options.epochs, watched))
        best, middle = (100 * (of(times[True]) / of(times[False]) - 1) for of in (min, median))
        rows.append(
            (
                network,
                f"{min(times[True]):.2f} s",
                f"{min(times[False]):.2f} s",
                f"{best:+.1f} %",
                f"{middle:+.1f} %",
            )
        )
    print(f"training on the digits, {options.epochs} epochs, {options.backend} backend, {processor_name()}")
    print_table(("network", "watched", "not watched", "cost (best)", "cost (median)"), rows)


if __name__ == "__main__":
    main()
