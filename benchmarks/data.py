"""Data against a PyTorch DataLoader that does the same work with Pillow, in one run, with the same number of workers.

    python -m benchmarks.data [--workers 2] [--repetitions 5] [--json FILE]

Three comparisons: shift, rotation and noise on 28×28 grey images; decoding a class folder of JPEG images; and what
share of a native training step of the lecture's network making its batch in memory takes.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
COUNT = 4_000
PHOTOGRAPHS = 100
PIPELINE = Pipeline((Shift(), Rotate(), PixelNoise()))


class Varied(TorchDataset[tuple[torch.Tensor, int]]):
    """The same three transforms, image by image, as people write them with Pillow."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """Keep the images."""
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Shift and rotate with Pillow in one call, then add noise with PyTorch."""
        angle, down, right = np.random.uniform(-1, 1, 3) * (10, 2.8, 2.8)
        picture = Image.fromarray(self.images[index, 0])
        turned = picture.rotate(angle, Image.Resampling.BILINEAR, translate=(right, down))
        values = torch.from_numpy(np.array(turned, dtype=np.float32) / 255)[None]
        noisy = values + 0.1 * torch.rand(()) * torch.randn_like(values)
        return noisy.clamp(0, 1), int(self.labels[index])


class Decoded(TorchDataset[tuple[torch.Tensor, int]]):
    """JPEG files decoded with Pillow."""

    def __init__(self, paths: list[Path]) -> None:
        """Keep the paths."""
        self.paths = paths

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Decode one image."""
        with Image.open(self.paths[index]) as image:
            values = np.asarray(image.convert("RGB"))
        return torch.from_numpy(values.transpose(2, 0, 1).astype(np.float32) / 255), 0


def repeated(epochs: Callable[[int], Iterator[int]]) -> Callable[[], int]:
    """Return a function that takes the next batch, epoch after epoch, and returns its number of images."""
    batches = itertools.chain.from_iterable(map(epochs, itertools.count()))
    return lambda: next(batches)


def ours(data: Dataset, workers: int, pipeline: Pipeline | None) -> Callable[[], int]:
    """Return a contender: Tatami's batches."""
    batches = Batches(
        data, min(BATCH, len(data)), preprocessing=Scale.fit(data), augmentation=pipeline, workers=workers
    )
    return repeated(lambda epoch: (len(batch) for batch in batches.epoch(epoch)))


def theirs(data: Any, workers: int) -> Callable[[], int]:
    """Return a contender: PyTorch's DataLoader, whose workers live from epoch to epoch."""
    loader = DataLoader(
        data, min(BATCH, len(data)), shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return repeated(lambda epoch: (len(labels) for _, labels in loader))


def photographs(folder: Path) -> list[Path]:
    """Write JPEG images of 256×256 points into class folders."""
    paths = []
    for number in range(PHOTOGRAPHS):
        coarse = RandomKey(number).uniform("photograph", (16, 16, 3)) * 255
        picture = Image.fromarray(coarse.astype(np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)
        path = folder / ("a", "b")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        picture.save(path, quality=90)
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

    rates = interleaved({"batch": ours(data, 0, None), "step": step}, repetitions)
    return rates["step"].median / rates["batch"].median


def main() -> None:
    """Measure, print, and write the numbers if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = (RandomKey(1).uniform("images", (COUNT, 1, 28, 28)) * 255).astype(np.uint8)
    data = Dataset("images", images, np.arange(COUNT) % 10)
    results: dict[str, Any] = {"processor": processor_name(), "workers": options.workers}
    rows = []

    def compare(name: str, mine: Callable[[], int], other: Callable[[], int], bar: float) -> None:
        # PyTorch first: its workers are forked from this process, best before our threads are busy.
        rates = interleaved({"torch": other, "tatami": mine}, options.repetitions)
        ratio = rates["tatami"].median / rates["torch"].median
        results[name] = {"tatami": rates["tatami"].median, "torch": rates["torch"].median, "ratio": ratio}
        rows.append(
            [
                name,
                f"{rates['tatami'].median:,.0f}",
                f"{rates['torch'].median:,.0f}",
                f"{ratio:.2f}",
                f">= {bar:g}",
            ]
        )

    varied = Varied(images, data.labels)
    compare("shift+rotate+noise", ours(data, options.workers, PIPELINE), theirs(varied, options.workers), 3)
    with tempfile.TemporaryDirectory() as scratch:
        paths = photographs(Path(scratch))
        folder = load_image_folder(scratch, on_demand=True).train
        compare(
            "JPEG folder", ours(folder, options.workers, None), theirs(Decoded(paths), options.workers), 1
        )
    share = share_of_a_step(data, options.repetitions)
    results["batch_share_of_step"] = share
    rows.append(["batch / native arai step", f"{100 * share:.2f} %", "", "", "< 3 %"])
    print(results["processor"])
    print_table(["images per second", "tatami", "DataLoader", "ratio", "bar"], rows)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
