"""Data against a PyTorch DataLoader that does the same work, in one run, with the same number of workers.

    python -m benchmarks.data [--workers 2] [--repetitions 5] [--json FILE]

Three comparisons: shift, rotation and noise on 28×28 grey images; decoding a class folder of photographs in JPEG and
bringing them to the size of a network; and what share of a native training step of the lecture's network making its
batch in memory takes. The DataLoader's transforms are written twice, with Pillow and with OpenCV as people write them,
and it is compared by the faster; ours are drawn by NumPy and by OpenCV.

The DataLoader's workers come from a fork server: forked from this process, while threads of ours or of PyTorch's hold a
lock, they waited for it for ever. Whoever gives no batch for two minutes ends the run with an error.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset as TorchDataset

from benchmarks.measure import interleaved, print_table, processor_name
from tatami import native
from tatami.data import Batches, Dataset, Scale, load_image_folder
from tatami.data.augmentation import Pipeline, PixelNoise, Rotate, Shift
from tatami.models import build
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.random import RandomKey

BATCH = 100
COUNT = 10_000
PHOTOGRAPHS = 96
PHOTOGRAPH_BATCH = 32
SIZE = 224
PATIENCE_SECONDS = 120
PIPELINE = Pipeline((Shift(), Rotate(), PixelNoise()))
Contender = Callable[[], int]


class Varied(TorchDataset[tuple[torch.Tensor, int]]):
    """The same three transforms, image by image."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], library: str) -> None:
        """Keep the images."""
        self.images, self.labels, self.library = images, labels, library

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Shift and rotate in one call, then add noise, which NumPy draws faster than PyTorch."""
        angle, down, right = random.uniform(-10, 10), random.uniform(-2.8, 2.8), random.uniform(-2.8, 2.8)
        image = self.images[index, 0]
        if self.library == "Pillow":
            moved = np.asarray(
                Image.fromarray(image).rotate(angle, Image.Resampling.BILINEAR, translate=(right, down))
            )
        else:
            matrix = cv2.getRotationMatrix2D((13.5, 13.5), angle, 1.0)
            matrix[:, 2] += right, down
            moved = cv2.warpAffine(image, matrix, (28, 28), flags=cv2.INTER_LINEAR)
        values = moved.astype(np.float32)
        values *= np.float32(1 / 255)
        noise = GENERATOR.standard_normal((28, 28), dtype=np.float32)
        noise *= np.float32(0.1 * random.random())
        values += noise
        np.clip(values, 0, 1, out=values)
        return torch.from_numpy(values)[None], int(self.labels[index])


GENERATOR = np.random.default_rng()


class Decoded(TorchDataset[tuple[torch.Tensor, int]]):
    """JPEG files decoded and brought to one size."""

    def __init__(self, paths: list[Path], library: str) -> None:
        """Keep the paths."""
        self.paths, self.library = [str(path) for path in paths], library

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Decode, resize with what each library recommends for shrinking, and scale one image."""
        if self.library == "Pillow":
            with Image.open(self.paths[index]) as image:
                resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            values = np.array(resized)
        else:
            decoded = cv2.imread(self.paths[index], cv2.IMREAD_COLOR_RGB)
            values = cv2.resize(decoded, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return torch.from_numpy(values).permute(2, 0, 1).to(torch.float32).div_(255), 0


def alone(worker: int) -> None:
    """Take OpenCV's and PyTorch's own threads from a worker, as the DataLoader's users are told to."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def repeated(epochs: Callable[[int], Iterator[int]]) -> Contender:
    """Return a function that takes the next batch, epoch after epoch, and returns its number of images."""
    batches = itertools.chain.from_iterable(map(epochs, itertools.count()))
    return lambda: next(batches)


@contextlib.contextmanager
def ours(data: Dataset, batch: int, workers: int | str, pipeline: Pipeline | None) -> Iterator[Contender]:
    """Give a contender: Tatami's batches, whose workers live from epoch to epoch."""
    batches = Batches(data, batch, preprocessing=Scale.fit(data), augmentation=pipeline, workers=workers)
    if batches.uses_processes:
        with batches.team() as team:
            yield repeated(lambda epoch: (len(one) for one in team.epoch(epoch)))
    else:
        yield repeated(lambda epoch: (len(one) for one in batches.epoch(epoch)))


@contextlib.contextmanager
def theirs(data: TorchDataset[tuple[torch.Tensor, int]], batch: int, workers: int) -> Iterator[Contender]:
    """Give a contender: PyTorch's DataLoader, whose workers live from epoch to epoch."""
    several: dict[str, Any] = {
        "persistent_workers": True,
        "multiprocessing_context": "forkserver",
        "timeout": PATIENCE_SECONDS,
        "worker_init_fn": alone,
    }
    loader = DataLoader(data, batch, shuffle=True, num_workers=workers, **(several if workers else {}))
    yield repeated(lambda epoch: (len(labels) for _, labels in loader))
    # Its workers end when nothing refers to its iterator any more.
    loader._iterator = None


def photographs(folder: Path) -> list[Path]:
    """Write JPEG images of 500×375 points, as large and as detailed as those of ImageNet, into class folders."""
    paths = []
    for number in range(PHOTOGRAPHS):
        generator = np.random.default_rng(number)
        coarse = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        shapes = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC), np.float32)
        grain = generator.standard_normal((375, 500, 1), dtype=np.float32) * 12
        path = folder / ("a", "b")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((shapes + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    return paths


def share_of_a_step(data: Dataset, repetitions: int) -> float:
    """Return the time that a batch in memory takes, as a share of a native step of the lecture's network."""
    network = build("arai", data.image_shape, 10)
    program = Program(network, backend="native" if native.is_built() else "reference")
    session = program.session(network.initialize(1), SGD(0.01))
    batches = Batches(data, BATCH, preprocessing=Scale.fit(data))
    ready = batches.batch(0, 0)
    key = RandomKey(1)

    def step() -> int:
        session.step(ready.images, ready.labels, key, 0.01)
        return BATCH

    with ours(data, BATCH, 0, None) as batch:
        rates = interleaved({"batch": batch, "step": step}, repetitions)
    return rates["step"].median / rates["batch"].median


def compared(
    contenders: dict[str, contextlib.AbstractContextManager[Contender]], repetitions: int
) -> dict[str, float]:
    """Return images per second, the median of several pieces in turn, of each contender; all end afterwards."""
    with contextlib.ExitStack() as ends:
        running = {name: ends.enter_context(one) for name, one in contenders.items()}
        rates = interleaved(running, repetitions)
    return {name: timing.median for name, timing in rates.items()}


def main() -> None:
    """Measure, print, and write the numbers if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", choices=("varied", "decoded", "share"), help="one of the comparisons")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    workers = options.workers
    torch.set_num_threads(1)
    images = (RandomKey(1).uniform("images", (COUNT, 1, 28, 28)) * 255).astype(np.uint8)
    data = Dataset("images", images, np.arange(COUNT) % 10)
    results: dict[str, Any] = {"processor": processor_name(), "workers": workers}
    rows = []

    def report(name: str, rates: dict[str, float], bar: float) -> None:
        best = max(rate for contender, rate in rates.items() if contender.startswith("DataLoader"))
        for contender, rate in rates.items():
            if not contender.startswith("DataLoader"):
                rows.append([name, contender, f"{rate:,.0f}", f"{rate / best:.2f}", f">= {bar:g}"])
            else:
                rows.append([name, contender, f"{rate:,.0f}", "", ""])
        results[name] = rates

    if options.only in (None, "varied"):
        drawn = {name: PIPELINE.drawn_by(name, data.image_shape) for name in ("numpy", "opencv")}
        varied = {name: Varied(images, data.labels, name) for name in ("Pillow", "OpenCV")}
        contenders = {
            **{f"DataLoader, {name}": theirs(one, BATCH, workers) for name, one in varied.items()},
            "Tatami, NumPy": ours(data, BATCH, workers, drawn["numpy"]),
            "Tatami, OpenCV": ours(data, BATCH, workers, drawn["opencv"]),
        }
        report("shift, rotation, noise, 28x28", compared(contenders, options.repetitions), 3)
    if options.only in (None, "decoded"):
        with tempfile.TemporaryDirectory() as scratch:
            paths = photographs(Path(scratch))
            folder = load_image_folder(scratch, on_demand=True, size=(SIZE, SIZE), channels=3)
            loaders = {name: Decoded(paths, name) for name in ("Pillow", "OpenCV")}
            contenders = {
                f"DataLoader, {name}": theirs(one, PHOTOGRAPH_BATCH, workers) for name, one in loaders.items()
            }
            for kind in ("threads", "processes") if workers else ("threads",):
                contenders[f"Tatami, {kind}"] = ours(
                    folder.train, PHOTOGRAPH_BATCH, f"{workers}:{kind}", None
                )
            report("JPEG 500x375 to 224x224", compared(contenders, options.repetitions), 1)
    if options.only in (None, "share"):
        share = share_of_a_step(data, options.repetitions)
        results["batch_share_of_step"] = share
        rows.append(["batch / native arai step", "Tatami", f"{100 * share:.2f} %", "", "< 3 %"])
    print(f"{results['processor']}, {os.cpu_count()} processors, {workers} workers")
    print_table(["images per second", "", "median", "ratio to the best", "bar"], rows)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
