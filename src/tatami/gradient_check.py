"""Gradient checks: every hand-derived derivative against a central difference.

Let R be a random array of the output's shape, the *upstream gradient*. The scalar L = Σ R·y has the gradient that
backward returns for dy = R, and for every entry v of an input or parameter

    ∂L/∂v ≈ (L(v + h) - L(v - h)) / 2h .

R is random because constants hide mistakes (a normalisation or a softmax maps ones to nothing). Everything runs
in float64 on the reference backend. Functions with kinks (ReLU, max pooling) have no derivative where v ± h reaches
over one; an entry that disagrees is therefore tried again with a smaller h, which no wrong derivative survives.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tatami.backends import Array, Backend, ReferenceBackend
from tatami.errors import SettingError
from tatami.geometry import Shape
from tatami.layers.base import Context, Layer
from tatami.losses import Loss
from tatami.network import INPUT, Network
from tatami.program.layerwise import LayerwiseExecutor
from tatami.random import RandomKey

STEPS = (1e-5, 1e-6, 1e-7)
SMALLEST_SCALE = 1e-3
EXAMPLES = 2


@dataclass(frozen=True)
class GradientEntry:
    """One derivative: where it stands and both its values."""

    layer: str
    tensor: str
    index: tuple[int, ...]
    backward: float
    difference: float
    scale: float = 1.0

    @property
    def error(self) -> float:
        """Relative error, |backward - difference| / max(scale, |backward|, |difference|).

        The scale is the largest derivative of the tensor, so that an entry that happens to be near 0 is not judged by
        its rounding; but at least `SMALLEST_SCALE`, below which the difference itself is nothing but rounding.
        """
        largest = max(self.scale, abs(self.backward), abs(self.difference))
        return abs(self.backward - self.difference) / largest

    def __str__(self) -> str:
        """Name the place and both values."""
        return (
            f"{self.layer}.{self.tensor}{list(self.index)}: backward {self.backward:.9g}, "
            f"difference {self.difference:.9g}, error {self.error:.1e}"
        )


@dataclass(frozen=True)
class GradientReport:
    """All derivatives that were compared.

    Attributes:
        entries: one for each compared index.
        sizes: how many indices every tensor has, by 'layer.tensor'.
        tolerance: the largest error that passes.
    """

    entries: list[GradientEntry]
    sizes: Mapping[str, int]
    tolerance: float
    failures: list[GradientEntry] = field(init=False)

    def __post_init__(self) -> None:
        """List the entries that disagree, worst first. Written so that NaN counts as a disagreement."""
        wrong = [entry for entry in self.entries if not entry.error <= self.tolerance]
        object.__setattr__(
            self, "failures", sorted(wrong, key=lambda entry: -np.nan_to_num(entry.error, nan=np.inf))
        )

    @property
    def passed(self) -> bool:
        """Whether every compared derivative agrees."""
        return not self.failures

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary for each tensor: how many indices were compared, the worst of them."""
        rows = []
        for tensor, size in self.sizes.items():
            mine = [entry for entry in self.entries if f"{entry.layer}.{entry.tensor}" == tensor]
            worst = max(mine, key=lambda entry: np.nan_to_num(entry.error, nan=np.inf))
            rows.append(
                {
                    "layer": worst.layer,
                    "tensor": worst.tensor,
                    "size": size,
                    "compared": len(mine),
                    "worst_index": list(worst.index),
                    "backward": worst.backward,
                    "difference": worst.difference,
                    "error": worst.error,
                    "passed": all(entry.error <= self.tolerance for entry in mine),
                }
            )
        return rows

    def __str__(self) -> str:
        """Print a line for each tensor, the worst index of each, and the verdict."""
        lines = [
            f"{row['layer'] + '.' + row['tensor']:<20} {row['compared']:>6} of {row['size']:<8} worst error "
            f"{row['error']:.1e} at {row['worst_index']}: backward {row['backward']:.9g}, "
            f"difference {row['difference']:.9g}{'' if row['passed'] else '   WRONG'}"
            for row in self.rows()
        ]
        verdict = (
            "all agree" if self.passed else f"{len(self.failures)} disagree, the worst: {self.failures[0]}"
        )
        return "\n".join(
            [*lines, f"{len(self.entries)} derivatives compared, {verdict} (tolerance {self.tolerance:.0e})"]
        )


def check_gradients(
    subject: Network | Layer,
    input_shapes: Shape | Sequence[Shape] | None = None,
    *,
    loss: Loss | None = None,
    sample: int | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> GradientReport:
    """Compare the gradients of a layer or a network with central differences, in float64.

    Args:
        subject: a layer or a network.
        input_shapes: for a layer, the shape of its input (C, *spatial), or a list of shapes if it takes several.
        loss: for a network, check through this loss with random targets; otherwise the output meets a random upstream
            gradient.
        sample: compare at most this many random indices of each tensor; None compares every index.
        seed: of inputs, initial values, upstream gradient and sample.
        tolerance: largest relative error, see `GradientEntry.error`.

    Returns:
        A `GradientReport`; ``report.passed`` is the verdict, ``print(report)`` shows a line for each tensor.

    >>> from tatami.layers import Convolution
    >>> report = check_gradients(Convolution(3, 2, stride=2, padding="same"), (2, 5, 4))
    >>> report.passed, len(report.entries)
    (True, 107)
    """
    if sample is not None and sample < 1:
        raise SettingError(
            f"check_gradients: sample must be at least 1, or None for every index, got {sample}"
        )
    if not isinstance(subject, Network | Layer):
        raise SettingError(f"check_gradients: expected a network or a layer, got {subject!r:.80}")
    if isinstance(subject, Network):
        problem = network_problem(subject, loss, seed)
    else:
        problem = layer_problem(subject, shapes_of(subject, input_shapes), seed)
    entries = []
    smallest_scale = SMALLEST_SCALE * max(1.0, abs(problem.value()))
    for (layer, tensor), values in problem.tensors.items():
        gradient = problem.gradients[layer, tensor]
        scale = float(np.max(np.abs(gradient), initial=smallest_scale, where=np.isfinite(gradient)))
        for position in positions(values.size, sample, f"{layer}.{tensor}", seed):
            index = tuple(int(i) for i in np.unravel_index(position, values.shape))
            derivative = float(gradient[index])
            entries.append(compare(layer, tensor, index, derivative, scale, values, problem.value, tolerance))
    sizes = {f"{layer}.{tensor}": values.size for (layer, tensor), values in problem.tensors.items()}
    return GradientReport(entries, sizes, tolerance)


@dataclass(frozen=True)
class Problem:
    """A scalar function of tensors that can be changed in place, and its gradients by backward."""

    tensors: dict[tuple[str, str], NDArray[np.float64]]
    gradients: dict[tuple[str, str], NDArray[np.float64]]
    value: Callable[[], float]


def layer_problem(layer: Layer, shapes: Sequence[Shape], seed: int) -> Problem:
    """Return L = Σ R·forward(inputs) of one layer, as a function of its inputs and parameters."""
    layer.output_shape(*shapes)  # raises where a shape does not fit, before anything is drawn
    ops, key = ReferenceBackend(), RandomKey(seed)
    inputs = tuple(
        layer.draw_input(key, f"{INPUT}{number}", (EXAMPLES, *shape)) for number, shape in enumerate(shapes)
    )
    parameters = {
        name: spec.initializer.draw(spec, name, key) + 0.1 * key.normal(f"{name} shift", spec.shape)
        for name, spec in layer.parameter_specs(*shapes).items()
    }
    context = Context(
        True, key, {name: np.asarray(value) for name, value in layer.initial_state(*shapes).items()}
    )
    first = layer.forward(ops, inputs, parameters, context)
    upstream = key.normal("upstream", first.output.shape)
    backward = layer.backward(ops, upstream, first.saved, parameters)
    label = layer.name or type(layer).__name__
    names = [INPUT] if len(inputs) == 1 else [f"{INPUT}{number}" for number in range(len(inputs))]
    tensors, gradients = {}, {}
    if not layer.takes_indices:
        tensors = {(label, name): x for name, x in zip(names, inputs, strict=True)}
        gradients = {(label, name): dx for name, dx in zip(names, backward.dinputs, strict=True)}
    tensors |= {(label, name): array for name, array in parameters.items()}
    gradients |= {(label, name): backward.dparameters[name] for name in parameters}
    return Problem(
        tensors,
        gradients,
        lambda: float(np.sum(upstream * layer.forward(ops, inputs, parameters, context).output)),
    )


def network_problem(network: Network, loss: Loss | None, seed: int) -> Problem:
    """Return L of a network, through a loss or against a random upstream gradient, as a function of all tensors."""
    key = RandomKey(seed)
    readers = [node.layer for node in network.nodes if INPUT in node.inputs]
    # Tokens, if somebody reads them; everybody takes those.
    readers.sort(key=lambda layer: not layer.takes_indices)
    x = readers[0].draw_input(key, INPUT, (EXAMPLES, *network.input_shape))
    # Biases that start from 0 leave units behind a silent layer exactly on the kink of ReLU, so all move a little.
    parameters = {
        layer: {name: w + 0.01 * key.normal(f"{layer}.{name} shift", w.shape) for name, w in named.items()}
        for layer, named in network.initialize(seed, dtype="float64").items()
    }
    state = network.initial_state("float64")
    upstream = key.normal("upstream", (EXAMPLES, *network.output_shape))
    measure = UpstreamProduct() if loss is None else loss
    target = upstream if loss is None else loss.draw_target(key, EXAMPLES, network.output_shape)
    executor = LayerwiseExecutor(network, measure, ReferenceBackend(), "float64")
    step = executor.train_step(parameters, x, target, key, state, keep=True)
    tensors, gradients = {}, {}
    if not readers[0].takes_indices:
        tensors = {(INPUT, "x"): x}
        gradients = {(INPUT, "x"): step.value_gradients[INPUT]}
    for layer, named in parameters.items():
        tensors |= {(layer, name): array for name, array in named.items()}
        gradients |= {(layer, name): step.gradients[layer][name] for name in named}

    def value() -> float:
        output = executor.forward(parameters, x, True, key, state, keep=False).output
        return measure.value(executor.ops, output, target)

    return Problem(tensors, gradients, value)


@dataclass(frozen=True)
class UpstreamProduct:
    """L = Σ R·y, the scalar whose gradient with respect to y is the target R: the upstream gradient."""

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return Σ R·y."""
        return float(ops.xp.sum(target * output))

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return R."""
        return target


def shapes_of(layer: Layer, input_shapes: Shape | Sequence[Shape] | None) -> list[Shape]:
    """Return the input shapes as a list."""
    if not input_shapes:
        raise SettingError(f"check_gradients: {layer.label} needs input_shapes, such as (3, 8, 8)")
    shapes = [input_shapes] if isinstance(input_shapes[0], int) else input_shapes
    return [tuple(shape) for shape in cast("Sequence[Shape]", shapes)]


def positions(size: int, sample: int | None, stream: str, seed: int) -> NDArray[np.int64]:
    """Return the flat indices to compare: all, or a random sample in ascending order."""
    if sample is None or sample >= size:
        return np.arange(size)
    return np.sort(RandomKey(seed).permutation(f"sample {stream}", size)[:sample])


def compare(
    layer: str,
    tensor: str,
    index: tuple[int, ...],
    derivative: float,
    scale: float,
    values: NDArray[np.float64],
    value: Callable[[], float],
    tolerance: float,
) -> GradientEntry:
    """Compare one derivative with central differences of shrinking step; keep the best agreement."""
    best: GradientEntry | None = None
    for step in STEPS:
        entry = GradientEntry(
            layer, tensor, index, derivative, central_difference(values, index, step, value), scale
        )
        if best is None or entry.error < best.error:
            best = entry
        if best.error <= tolerance:
            break
    assert best is not None
    return best


def central_difference(
    values: NDArray[np.float64], index: tuple[int, ...], step: float, value: Callable[[], float]
) -> float:
    """Return (L(v + h) - L(v - h)) / 2h for one entry, which is put back afterwards."""
    kept = values[index]
    values[index] = above = kept + step
    value_above = value()
    values[index] = below = kept - step
    value_below = value()
    values[index] = kept
    return (value_above - value_below) / float(above - below)
