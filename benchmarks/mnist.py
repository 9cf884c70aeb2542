"""Arai's program on MNIST as one command: 4 epochs over 60,000 images, loading and evaluation included.

    python -m benchmarks.mnist --data FOLDER [--precision f32 bf16] [--repetitions 3] [--json FILE]

Learning rate 0.01 on the mean loss, momentum 0.2, dropout 0.2, batches of 100, as in the lecture's program.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import print_table, processor_name

SETTINGS = {
    "network": "arai",
    "epochs": 4,
    "batch-size": 100,
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.2,
    "schedule": "constant",
    "validation": 0,
    "seed": 1,
}


def environment_of_an_installation() -> dict[str, str]:
    """Return the environment in which Python keeps byte code, as pip does for installed packages."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def train(options: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Run the command once in a folder of its own and return its report with the seconds of the whole process."""
    command = [sys.executable, "-m", "tatami", "train", "mnist", "--data", str(options.data)]
    command += [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
    command += ["--backend", "native", "--precision", precision, "--threads", str(options.threads), "--json"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--out", str(Path(folder) / "run")]
        start = time.perf_counter()
        finished = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=environment_of_an_installation()
        )
        seconds = time.perf_counter() - start
    report = json.loads(finished.stdout.splitlines()[-1])
    return {
        "precision": precision,
        "seconds": seconds,
        "accuracy": report["accuracy"],
        "loss": report["loss"],
        "weights_sha256": report["weights_sha256"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the four files of MNIST")
    parser.add_argument("--precision", nargs="+", choices=("f32", "bf16"), default=["f32"])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    runs = [train(options, precision) for _ in range(options.repetitions) for precision in options.precision]
    print(f"tatami train mnist, arai, 4 epochs, {options.threads} threads, {processor_name()}")
    rows = []
    for precision in options.precision:
        own = sorted(
            (run for run in runs if run["precision"] == precision), key=lambda run: float(run["seconds"])
        )
        middle = own[len(own) // 2]["seconds"]
        best = own[0]
        rows.append(
            (
                precision,
                f"{best['seconds']:.1f}",
                f"{middle:.1f}",
                f"{100 * best['accuracy']:.2f} %",
                f"{best['loss']:.4f}",
            )
        )
    print_table(("precision", "best, s", "median, s", "test accuracy", "test loss"), rows)
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
