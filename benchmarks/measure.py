"""Interleaved measurements: every contender runs a short piece in turn, many times, so that noise hits all alike."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

SHORTEST_PIECE = 0.25


@dataclass(frozen=True)
class Timing:
    """Images per second over the repetitions of one contender."""

    best: float
    median: float
    all: Sequence[float]


def interleaved(contenders: Mapping[str, Callable[[], int]], repetitions: int) -> dict[str, Timing]:
    """Time contenders in turn.

    Args:
        contenders: name → a function that does one unit of work and returns the number of images it took.
        repetitions: pieces for each contender; each piece repeats the unit for at least a quarter of a second.

    Returns:
        name → images per second, best and median.
    """
    units = {name: calibrate(work) for name, work in contenders.items()}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repetitions):
        for name, work in contenders.items():
            start = time.perf_counter()
            images = sum(work() for _ in range(units[name]))
            rates[name].append(images / (time.perf_counter() - start))
    return {name: Timing(max(values), median(values), values) for name, values in rates.items()}


def calibrate(work: Callable[[], int]) -> int:
    """Warm a contender up and return how many units make a piece long enough to time."""
    for _ in range(3):
        work()
    start = time.perf_counter()
    work()
    return max(1, round(SHORTEST_PIECE / (time.perf_counter() - start)))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns, the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        cells = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells))


def processor_name() -> str:
    """Return the processor's name as Linux knows it, else the architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
