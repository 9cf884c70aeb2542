"""What the networks of `tatami.models` reach on MNIST, each trained on the native backend from a fixed seed.

    python -m benchmarks.accuracy --data FOLDER --out RUNS [--only lenet5 resnet] [--seconds 100]

Every training lies in a folder of its own below RUNS and goes on where it was stopped, so the command may be ended and
given again; ``--seconds`` ends it by itself. Autoencoders also draw what they make of the images. The table at the end
shows what is trained so far.
"""

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import print_table, processor_name
from tatami import (
    SGD,
    Adam,
    BinaryCrossEntropy,
    Loss,
    Network,
    Program,
    RandomKey,
    Sequential,
)
from tatami.data import DatasetSplits, load_mnist
from tatami.data.contact_sheet import contact_sheet, write_sheet
from tatami.layers import LSTM, Dense, Permute, Reshape
from tatami.models import (
    arai,
    denoising_autoencoder,
    lenet5,
    lenet5_table,
    resnet,
    variational_autoencoder,
    variational_decoder,
    vgg,
)
from tatami.network import Parameters
from tatami.optimizers import Optimizer
from tatami.schedules import Cosine
from tatami.training.interruption import TrainingInterrupted
from tatami.training.progress import ProgressBar
from tatami.training.run import Run, resume, train

Images = NDArray[Any]
SEED = 1
NOISE = 0.5
LATENT = 8


@dataclass(frozen=True)
class Result:
    """What one training reached, and how it compares with what is asked for."""

    name: str
    epochs: int
    seconds: float
    value: float
    bar: float
    unit: str

    @property
    def reached(self) -> bool:
        """Say whether the bar is reached: from below for shares of right answers, from above for errors."""
        return self.value >= self.bar if self.unit == "%" else self.value <= self.bar


@dataclass(frozen=True)
class Classifier:
    """A network that names digits, how it is trained, and the share of right answers that is asked for."""

    network: Callable[[], Network]
    epochs: int
    bar: float
    optimizer: Optimizer
    preprocessing: str = "scale"

    def train(self, name: str, data: DatasetSplits, folder: Path) -> Result:
        """Train, or go on with a training that was stopped."""
        run = self.run(data, folder)
        assert run.test is not None
        return Result(name, self.epochs, run.history.seconds, 100 * run.test.accuracy, self.bar, "%")

    def run(self, data: DatasetSplits, folder: Path) -> Run:
        """Begin a run, or resume it."""
        if (folder / "run.json").exists():
            return resume(folder, data, progress=ProgressBar())
        return train(
            self.network(),
            data,
            out=folder,
            progress=ProgressBar(),
            epochs=self.epochs,
            batch_size=100,
            optimizer=self.optimizer,
            schedule=Cosine(),
            preprocessing=self.preprocessing,
            backend="native",
            seed=SEED,
        )


def rows_reader() -> Network:
    """An LSTM that reads an image row by row: 28 steps of 28 numbers."""
    return Sequential(
        Reshape((28, 28)),
        Permute((1, 0)),  # (rows, columns) -> (features, time)
        LSTM(128),
        Dense(10),
        input_shape=(1, 28, 28),
        name="lstm_rows",
    )


@dataclass(frozen=True)
class Denoiser:
    """The denoising autoencoder: its error on noisy test images, as a share of the noise's own."""

    epochs: int = 15
    bar: float = 0.15

    def train(self, name: str, data: DatasetSplits, folder: Path) -> Result:
        """Train, measure and draw clean, noisy and denoised images, one row each."""
        network = denoising_autoencoder(hidden=(256,), code=64, noise=NOISE)
        x, test = pixels(data)
        parameters, seconds = reconstructing(network, BinaryCrossEntropy(), x, self.epochs)
        noisy = (test + NOISE * RandomKey(SEED).normal("noise", test.shape)).astype(np.float32)
        program = Program(network, BinaryCrossEntropy(), backend="native")
        denoised = program.predict(parameters, noisy)
        before, after = (float(((images - test) ** 2).mean()) for images in (noisy, denoised))
        rows: list[Images] = [images[:10] for images in (test, noisy, denoised)]
        write_sheet(folder / "before_and_after.png", contact_sheet([list(row) for row in rows], 0, 1))
        return Result(name, self.epochs, seconds, after / before, self.bar, "of the noise")


@dataclass(frozen=True)
class Sampler:
    """The variational autoencoder: its bound on the test images in nats, and images drawn from the prior."""

    epochs: int = 20
    bar: float = 115.0

    def train(self, name: str, data: DatasetSplits, folder: Path) -> Result:
        """Train, measure the bound, and draw samples."""
        network, loss = variational_autoencoder(hidden=256, latent=LATENT)
        x, test = pixels(data)
        parameters, seconds = reconstructing(network, loss, x, self.epochs)
        bound = Program(network, loss, backend="native").train_step(parameters, test[:5000], test[:5000]).loss
        decoder = variational_decoder(hidden=256, latent=LATENT)
        mine = {layer: parameters[layer] for layer in decoder.parameter_specs}
        codes = RandomKey(SEED).normal("codes", (60, LATENT)).astype(np.float32)
        images = Program(decoder, BinaryCrossEntropy(), backend="native").predict(mine, codes)
        write_sheet(
            folder / "samples.png",
            contact_sheet([list(row) for row in images.reshape(5, 12, 1, 28, 28)], 0, 1),
        )
        return Result(name, self.epochs, seconds, bound, self.bar, "nats")


def pixels(data: DatasetSplits) -> tuple[Images, Images]:
    """Return the images to train and to test on with pixels from 0 to 1."""
    train_x, test_x = (part.images.astype(np.float32) / np.float32(255) for part in (data.train, data.test))
    return train_x, test_x


def reconstructing(
    network: Network, loss: Loss, x: Images, epochs: int, batch: int = 100
) -> tuple[Parameters, float]:
    """Train a network to give back its input; return its parameters and the seconds."""
    rate = 0.001
    session = Program(network, loss, backend="native").session(network.initialize(SEED), Adam(rate))
    start = time.perf_counter()
    for epoch in range(epochs):
        order = RandomKey(SEED, epoch=epoch).permutation("order", len(x))
        for step in range(len(x) // batch):
            chosen = x[order[step * batch : (step + 1) * batch]]
            session.step(chosen, chosen, RandomKey(SEED, epoch, step), rate)
    return session.parameters, time.perf_counter() - start


MOMENTUM = SGD(0.1, momentum=0.9, weight_decay=5e-4)
TRAININGS: Mapping[str, Classifier | Denoiser | Sampler] = {
    "arai": Classifier(arai, 4, 97.1, SGD(0.05, momentum=0.9)),
    "lenet5": Classifier(lenet5, 5, 98.8, Adam(0.003), preprocessing="standardise"),
    "lenet5_table": Classifier(lenet5_table, 5, 98.8, Adam(0.003), preprocessing="standardise"),
    "vgg": Classifier(vgg, 10, 99.3, Adam(0.001)),
    "resnet": Classifier(resnet, 10, 99.3, MOMENTUM, preprocessing="standardise"),
    "lstm_rows": Classifier(rows_reader, 3, 97.0, Adam(0.003)),
    "denoising_autoencoder": Denoiser(),
    "variational_autoencoder": Sampler(),
}


def trained(name: str, data: DatasetSplits, out: Path) -> Result:
    """Return the result of a training: the one that is written down, or that of training now."""
    folder = out / name
    written = out / f"{name}.json"
    if not written.exists():
        if not isinstance(TRAININGS[name], Classifier):
            folder.mkdir(parents=True, exist_ok=True)
        result = TRAININGS[name].train(name, data, folder)
        written.write_text(json.dumps(asdict(result)))
    return Result(**json.loads(written.read_text()))


def row(result: Result) -> tuple[str, ...]:
    """Return a line of the table."""
    return (
        result.name,
        str(result.epochs),
        f"{result.seconds:.0f}",
        f"{result.value:.3g} {result.unit}" if result.unit != "%" else f"{result.value:.2f} %",
        f"{result.bar:g} {result.unit}",
        "yes" if result.reached else "NO",
    )


def main() -> None:
    """Train what is not trained yet and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the four files of MNIST")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, results and pictures")
    parser.add_argument("--only", nargs="+", choices=list(TRAININGS), default=list(TRAININGS), metavar="NAME")
    parser.add_argument(
        "--seconds", type=float, help="stop after about so long; give the command again to go on"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.seconds:
        # What Ctrl-C does: the run saves between two steps and ends.
        alarm = threading.Timer(options.seconds, os.kill, (os.getpid(), signal.SIGINT))
        alarm.daemon = True
        alarm.start()
    data = load_mnist(options.data)
    results = []
    try:
        for name in options.only:
            results.append(trained(name, data, options.out))
    except (TrainingInterrupted, KeyboardInterrupt):
        print("stopped; the same command goes on")
    print(f"MNIST, native backend, seed {SEED}, batches of 100, {os.cpu_count()} threads, {processor_name()}")
    header = ("network", "epochs", "seconds of training", "on the test images", "asked for", "reached")
    print_table(header, [row(result) for result in results])


if __name__ == "__main__":
    main()
