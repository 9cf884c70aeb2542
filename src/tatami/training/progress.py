"""What a run tells while it trains: a progress bar with speed and remaining time, and a line for each epoch."""

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from tatami.training.history import EpochRecord, RunningSums
from tatami.training.measures import written

MOST_EPOCH_LINES = 30


class Progress(Protocol):
    """What the training loop calls while it runs."""

    def begin(self, *, epochs: int, images_per_epoch: int, images_done: int) -> None:
        """Training begins, or goes on after ``images_done`` images."""
        ...

    def step(self, images: int, sums: RunningSums) -> None:
        """A step over ``images`` images is done."""
        ...

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done."""
        ...

    def note(self, text: str) -> None:
        """Something happened that a person should know."""
        ...

    def end(self) -> None:
        """Training ended, for whatever reason."""
        ...


class Silent:
    """Tells nothing."""

    def begin(self, *, epochs: int, images_per_epoch: int, images_done: int) -> None:
        """Do nothing."""

    def step(self, images: int, sums: RunningSums) -> None:
        """Do nothing."""

    def epoch(self, record: EpochRecord) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class ProgressBar:
    """A bar on stderr for the whole run (only on a terminal), and a line for each epoch, or for about 30 of many."""

    def __init__(self) -> None:
        """Wait for `begin`."""
        self.bar: Any = None
        self.lines: frozenset[int] = frozenset()

    def begin(self, *, epochs: int, images_per_epoch: int, images_done: int) -> None:
        """Open the bar; it counts images, so its speed is images per second."""
        from tqdm import tqdm

        self.lines = epochs_to_print(epochs)
        self.bar = tqdm(
            total=epochs * images_per_epoch,
            initial=images_done,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            leave=False,
            disable=None,
            smoothing=0.1,
        )
        self.width = len(str(epochs))
        self.epochs = epochs

    def step(self, images: int, sums: RunningSums) -> None:
        """Move the bar on; tqdm itself decides how often it is drawn."""
        self.bar.update(images)
        if not self.bar.disable:
            shown = (
                f"loss {sums.loss / sums.images:.4g}"
                if sums.tally
                else f"accuracy {100 * sums.accuracy:.1f} %"
            )
            self.bar.set_postfix_str(shown, refresh=False)

    def epoch(self, record: EpochRecord) -> None:
        """Print the epoch's line."""
        if record.epoch in self.lines:
            self.note(epoch_line(record, self.epochs))

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        if self.bar is None or self.bar.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self.bar.write(text, file=sys.stderr)

    def end(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def epochs_to_print(epochs: int, most: int = MOST_EPOCH_LINES) -> frozenset[int]:
    """Return the epochs that get a line: all of a few, else about ``most`` evenly spread, with first and last.

    >>> sorted(epochs_to_print(3)), len(epochs_to_print(5000)) <= 32
    ([1, 2, 3], True)
    """
    stride = max(1, -(-epochs // most))
    return frozenset({1, epochs, *range(stride, epochs + 1, stride)})


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """Return what an epoch measured, in one line.

    >>> print(epoch_line(EpochRecord(epoch=3, step=30, loss=0.1234, accuracy=0.98, learning_rate=0.01, seconds=1.5,
    ...                              images_per_second=958.4), 10))
    epoch  3/10  loss 0.1234  accuracy  98.00 %     958 images/s   1.5 s
    """
    width = len(str(epochs))
    validation = ""
    if record.validation_loss is not None:
        validation = f"  validation loss {record.validation_loss:.4f}{in_line(record.validation_measures)}"
    return (
        f"epoch {record.epoch:{width}d}/{epochs}  loss {record.loss:.4f}{in_line(record.measures)}"
        f"{validation}  {record.images_per_second:6,.0f} images/s  {record.seconds:4.1f} s"
    )


def in_line(measures: Mapping[str, float]) -> str:
    """Return measures for the line of an epoch; accuracies stand below each other.

    >>> in_line({"accuracy": 0.98}), in_line({"mean_iou": 0.8125})
    ('  accuracy  98.00 %', '  mean IoU 0.8125')
    """
    return "".join(
        f"  accuracy {100 * value:6.2f} %" if name == "accuracy" else f"  {written(name, value)}"
        for name, value in measures.items()
    )
