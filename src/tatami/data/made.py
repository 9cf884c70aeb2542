"""The tasks of `tatami.data.synthetic` as named data sets: drawn when they are asked for, the same every time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data import synthetic
from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.sound import spectrogram
from tatami.data.texts import TextFormat

SIGNAL = ImageFormat(maximum=1.0)
Arrays = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Made:
    """One named task.

    Attributes:
        generator: returns inputs and targets for a number of examples.
        train: examples to train on.
        test: examples to test on.
        names: of the classes, or of what the targets mean.
        labelled: whether the targets are a class for each example.
        format: what the examples have in common.
        colours: of the classes of a mask.
    """

    generator: Callable[[int], Arrays]
    train: int
    test: int
    names: tuple[str, ...]
    labelled: bool = True
    format: ImageFormat = SIGNAL
    colours: tuple[tuple[int, int, int], ...] = ()


def spectrograms(count: int) -> Arrays:
    """Return the signals of `tones_and_chirps` as pictures of their frequencies over time: (N, 1, 17, 29)."""
    signals, labels = synthetic.tones_and_chirps(count)
    return spectrogram(signals, window=32, hop=8), labels


TONES = ("tone", "rising", "falling", "beating")
MADE: dict[str, Made] = {
    "shapes": Made(
        synthetic.shapes_with_masks, 600, 150, ("ground", "disc", "square"), labelled=False,
        colours=((38, 38, 46), (42, 111, 151), (217, 119, 6)),
    ),
    "gestures": Made(synthetic.gestures, 600, 200, ("waves left", "waves right", "bends knees", "jumps")),
    "tones": Made(synthetic.tones_and_chirps, 800, 200, TONES),
    "spectrograms": Made(spectrograms, 800, 200, TONES),
    "blobs": Made(synthetic.moving_blobs, 600, 200, ("right", "left", "down", "up")),
    "ellipsoids": Made(synthetic.ellipsoids, 600, 150, ("depth", "height", "width")),
    "adding": Made(synthetic.adding_problem, 3000, 500, ("sum",), labelled=False),
    "text": Made(
        synthetic.character_text, 800, 200, tuple(synthetic.ALPHABET), labelled=False,
        format=TextFormat(maximum=float(len(synthetic.ALPHABET)), vocabulary=synthetic.ALPHABET),
    ),
}  # fmt: skip


def load_made(name: str) -> DatasetSplits:
    """Draw the examples of a named task; those to test on are others than those to train on.

    >>> print(load_made("gestures").train)
    gestures: 600 images of shape (2, 10, 24), 4 classes
    >>> load_made("shapes").test.targets.shape
    (150, 32, 32)
    """
    made = MADE[name]
    inputs, targets = made.generator(made.train + made.test)

    def part(at: slice) -> Dataset:
        if made.labelled:
            return Dataset(name, inputs[at], targets[at], made.names, made.format)
        kept = targets[at].astype(np.int16 if targets.dtype.kind == "i" else np.float32)
        labels = np.zeros(len(kept), np.int64)
        return Dataset(name, inputs[at], labels, ("",), made.format, kept, made.names, made.colours)

    return DatasetSplits(train=part(slice(made.train)), test=part(slice(made.train, None)))
