"""Units: what a picture asks about. A class, a unit of a layer, or a whole map, as a score with its gradient."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError, ShapeError, unknown_name
from tatami.network import INPUT, Network

Over = Literal["sum", "mean", "maximum"]
OVERS: tuple[Over, ...] = ("sum", "mean", "maximum")


@dataclass(frozen=True)
class Unit:
    """A unit of a layer, or the map of a channel.

    With a full index the score of an example is that entry of the layer's output. With the leading part of an index,
    such as the channel, the remaining entries (the positions of the map) are joined.

    Args:
        layer: name of the layer.
        index: (channel, *position) counted from 0; the leading part of it; or nothing for the whole output.
        over: how the remaining entries are joined: their 'sum', 'mean' or 'maximum' (the first of equals).

    >>> Unit.parse("conv1[3]"), str(Unit("conv1", (3, 2, 2)))
    (Unit(layer='conv1', index=(3,), over='sum'), 'conv1[3,2,2]')
    >>> maps = np.array([[[1.0, 5.0], [2.0, 0.0]]])
    >>> Unit("conv1", (0,)).scores(maps), Unit("conv1", (0,), over="maximum").gradient(maps)
    (array([6.]), array([[[0., 1.],
            [0., 0.]]]))
    """

    layer: str
    index: tuple[int, ...] = ()
    over: Over = "sum"

    def __post_init__(self) -> None:
        """Check the word."""
        if self.over not in OVERS:
            raise unknown_name("way to join the positions of a map", str(self.over), OVERS)

    @classmethod
    def parse(cls, text: str, over: Over = "sum") -> "Unit":
        """Read a unit such as conv1[3], conv1[3,2,2] or conv1.

        Raises:
            SettingError: not of that form.
        """
        match = re.fullmatch(r"([^\[\]]+?)(?:\[(\s*\d{1,9}\s*(?:,\s*\d{1,9}\s*)*)\])?", text.strip())
        if match is None:
            raise SettingError(f"expected a unit such as conv1[3] or conv1[3,2,2], got {text!r:.60}")
        index = tuple(int(number) for number in match[2].split(",")) if match[2] else ()
        return cls(match[1], index, over)

    def check(self, network: Network) -> None:
        """Raise unless the network has such a unit."""
        if self.layer not in network.shapes or self.layer == INPUT:
            raise unknown_name(f"layer of {network.name}", self.layer, [node.name for node in network.nodes])
        shape = network.shapes[self.layer]
        fits = len(self.index) <= len(shape) and all(
            0 <= at < size for at, size in zip(self.index, shape, strict=False)
        )
        if not fits:
            raise ShapeError(f"{self}: layer {self.layer} has outputs of shape {shape}, counted from 0")

    def scores(self, value: NDArray[Any]) -> NDArray[Any]:
        """Return the score of every example (N,) from the layer's output (N, *shape)."""
        entries = self.entries(value)
        if self.over == "maximum":
            return np.asarray(entries.max(axis=1))
        return np.asarray(entries.sum(axis=1) if self.over == "sum" else entries.mean(axis=1))

    def gradient(self, value: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient of the scores with respect to the layer's output."""
        entries = self.entries(value)
        share = np.zeros_like(entries)
        if self.over == "maximum":
            share[np.arange(len(entries)), np.argmax(entries, axis=1)] = 1
        else:
            share[:] = 1 if self.over == "sum" else 1 / entries.shape[1]
        gradient = np.zeros_like(value)
        where = self.where()
        gradient[where] = share.reshape(gradient[where].shape)
        return gradient

    def entries(self, value: NDArray[Any]) -> NDArray[Any]:
        """Return the entries that the index leaves open: (N, entries)."""
        chosen: NDArray[Any] = value[self.where()]
        return chosen.reshape(len(value), prod(chosen.shape[1:]))

    def where(self) -> Any:
        """Return the index into a batch of outputs."""
        return (slice(None), *self.index)

    def of_examples(self, chosen: Sequence[int]) -> "Unit":
        """Return the same unit: it is the same for every example."""
        return self

    def __str__(self) -> str:
        """Print the unit as `parse` reads it."""
        return f"{self.layer}[{','.join(map(str, self.index))}]" if self.index else self.layer


@dataclass(frozen=True)
class Classes:
    """One class for each example: the score is that entry of the network's output (a logit, not a probability).

    Args:
        layer: the network's output.
        labels: (N,) classes counted from 0.
    """

    layer: str
    labels: tuple[int, ...]

    def scores(self, value: NDArray[Any]) -> NDArray[Any]:
        """Return the score of every example (N,)."""
        entries = value[np.arange(len(value)), list(self.labels)]
        summed: NDArray[Any] = entries.reshape(len(value), -1).sum(axis=1)
        return summed

    def gradient(self, value: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient of the scores with respect to the output."""
        gradient = np.zeros_like(value)
        gradient[np.arange(len(value)), list(self.labels)] = 1
        return gradient

    def of_examples(self, chosen: Sequence[int]) -> "Classes":
        """Return the classes of some of the examples."""
        return Classes(self.layer, tuple(self.labels[number] for number in chosen))


Target = int | Sequence[int] | NDArray[Any] | Unit | Classes


def resolve_target(network: Network, target: Target, examples: int) -> Unit | Classes:
    """Return the unit or the classes that a picture is about.

    Args:
        network: the network.
        target: a class for all examples, one class for each, or a `Unit`.
        examples: how many examples there are.

    Raises:
        ShapeError: a class or unit that the network does not have, or another number of classes than examples.
    """
    if isinstance(target, Unit):
        target.check(network)
        return target
    given = target.labels if isinstance(target, Classes) else target
    labels = np.atleast_1d(np.asarray(given))
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise SettingError(
            f"a target is a class (counted from 0), one for each example, or a Unit, got {target!r:.60}"
        )
    if labels.size == 1:
        labels = np.repeat(labels, examples)
    if len(labels) != examples:
        raise ShapeError(f"{examples} examples came with {len(labels)} classes to look at")
    classes = network.output_shape[0]
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise ShapeError(
            f"class {wrong} is none of {network.name}: it has {classes} outputs, counted 0 to {classes - 1}"
        )
    return Classes(network.output, tuple(int(label) for label in labels))
