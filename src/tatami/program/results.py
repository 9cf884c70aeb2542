"""What a program returns: outputs, losses, gradients, and with ``keep=True`` everything in between, by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Backend
from tatami.errors import UnknownNameError, unknown_name
from tatami.network import INPUT, Parameters
from tatami.random import RandomKey

Values = Mapping[str, NDArray[Any]]


class Kept(Mapping[str, NDArray[Any]]):
    """Arrays by layer name, 'input' included; a missing name says why it is missing."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], kept: bool) -> None:
        """Hold the arrays, or remember that nothing was kept."""
        self.arrays = arrays
        self.kept = kept

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return one array."""
        if name in self.arrays:
            return self.arrays[name]
        if not self.kept:
            raise UnknownNameError(
                f"{name!r} was not kept; run the program with keep=True to look at intermediates"
            )
        raise unknown_name("layer", name, self.arrays)

    def __contains__(self, name: object) -> bool:
        """Say whether there is an array of that name."""
        return name in self.arrays

    def get(self, name: str, default: Any = None) -> Any:
        """Return one array, or the default."""
        return self.arrays.get(name, default)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.arrays)

    def __len__(self) -> int:
        """Count the arrays."""
        return len(self.arrays)


@dataclass(frozen=True)
class Pass:
    """A forward pass: the network's output, and with keep=True every layer's output by name."""

    output: NDArray[Any]
    values: Values


@dataclass(frozen=True)
class Step:
    """A forward and backward pass.

    Attributes:
        loss: of the batch.
        output: the network's output (N, …); for softmax cross-entropy the logits.
        gradients: layer → parameter → gradient of the loss.
        state: layer → name → array, what layers carry to the next step.
        values: with keep=True the output of every layer, and 'input', by name.
        value_gradients: with keep=True the gradient of the loss with respect to each of them.
    """

    loss: float
    output: NDArray[Any]
    gradients: Parameters
    state: Parameters = field(default_factory=dict)
    values: Values = field(default_factory=lambda: Kept({}, kept=False))
    value_gradients: Values = field(default_factory=lambda: Kept({}, kept=False))


class Executor(Protocol):
    """What runs forward passes and training steps on a backend."""

    @property
    def ops(self) -> Backend:
        """Array primitives for what is computed outside, such as the loss's prediction."""
        ...

    def forward(
        self,
        parameters: Parameters,
        x: NDArray[Any],
        training: bool,
        key: RandomKey,
        state: Parameters,
        keep: bool,
    ) -> Pass:
        """Compute the output."""
        ...

    def train_step(
        self,
        parameters: Parameters,
        x: NDArray[Any],
        target: NDArray[Any],
        key: RandomKey,
        state: Parameters,
        keep: bool,
    ) -> Step:
        """Compute loss, gradients and new state for one batch."""
        ...


def first_not_finite(step: Step) -> str | None:
    """Say where NaN or infinity first appears in a kept step, or return None.

    Forward values are searched in the order of the network, then the loss, then gradients from the loss backward. Of a
    step that was not kept only the loss and the parameters' gradients can be searched.

    >>> step = Step(1.0, np.zeros(1), {}, values={"input": np.zeros(2), "conv1": np.array([1.0, np.nan])})
    >>> first_not_finite(step)
    "the output of layer 'conv1' (index [1] is nan)"
    """
    for name, array in step.values.items():
        where = not_finite_entry(array)
        if where:
            return f"{spoken(name)} ({where})"
    if not np.isfinite(step.loss):
        return f"the loss ({step.loss})"
    for name in reversed(list(step.values) or list(step.gradients)):
        where = not_finite_entry(step.value_gradients[name]) if name in step.value_gradients else ""
        if where:
            return f"the gradient of {spoken(name)} ({where})"
        for parameter, gradient in step.gradients.get(name, {}).items():
            where = not_finite_entry(gradient)
            if where:
                return f"the gradient of {name}.{parameter} ({where})"
    return None


def spoken(name: str) -> str:
    """Say what a kept value is."""
    return "the network's input" if name == INPUT else f"the output of layer {name!r}"


def not_finite_entry(array: NDArray[Any]) -> str:
    """Describe the first entry that is NaN or infinite, or return an empty string."""
    wrong = np.argwhere(~np.isfinite(array))
    if not len(wrong):
        return ""
    index = tuple(int(i) for i in wrong[0])
    return f"index {list(index)} is {array[index]}"
