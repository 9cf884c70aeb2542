"""What is wrong with a run, told while it trains: the step, the layer, the tensor, the likely cause and a remedy.

The data are looked at once, before training. Training itself is looked at in a few steps only, after 1, 4, 16 … 1024 of
them: a part of the batch (`PROBE` images) runs through the network with everything kept, and the weights before and
after the step are compared. That costs the time of a few steps over a whole run.

One fault has many symptoms: with a learning rate that is far too high ReLUs die and sigmoids saturate. Causes are
looked for first, and what they explain is not told as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from math import log, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data import Dataset
from tatami.initializers import ParameterSpec
from tatami.layers import ReLU, Sigmoid, Tanh
from tatami.losses import SoftmaxCrossEntropy
from tatami.network import INPUT, Parameters
from tatami.program import Program
from tatami.random import RandomKey

PROBE = 16
PROBED_STEPS = (1, 4, 16, 64, 256, 1024)
# Later on gradients and steps may become small because the work is done.
STEPS_OF_START = 16
MOST_IMAGES_COMPARED, MOST_BYTES_COMPARED = 20_000, 2**27

# Inputs beyond this are not scaled; those that vary less than the smallest say nothing.
LARGEST_INPUT, SMALLEST_VARIATION = 20.0, 1e-6
# Weights are judged by the deviation that keeps a signal's size, 1/√n; whole orders of magnitude are allowed.
SMALLEST_WEIGHTS, LARGEST_WEIGHTS = 0.005, 50.0
# How far one step moves a layer's weights, as a share of their size.
LARGEST_MOVE, SMALLEST_MOVE = 1.0, 3e-6
# Adam and its kin begin with a step of the same size for every weight, and recover from it.
LARGEST_FIRST_MOVE = 5.0
# Fewer images say little about a unit.
FEWEST_IMAGES = 16
# Shares of the units of a layer.
MOST_DEAD, MOST_SATURATED = 0.9, 0.8
# Size of the first layer's gradient as a share of the last layer's; growth of a signal through one layer.
VANISHED, EXPLODED = 1e-4, 1e3
# The loss has to move by so much of itself in so many steps.
STEPS_TO_MOVE, LEAST_MOVE = 128, 0.01
# Sums of squares below this have lost digits in float32.
SMALLEST_SUM = 1e-30
MOST_UNBALANCED, MOST_DUPLICATES, MOST_CONTRADICTIONS = 20.0, 0.2, 0.01


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind: a short name, such as 'dead ReLUs'.
        step: after which step it was seen; 0 is before training.
        layer: where, or 'input'.
        tensor: what was looked at there.
        cause: what was seen and what it most likely comes from.
        remedy: what to try.
    """

    kind: str
    step: int
    layer: str
    tensor: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        """Tell it in two sentences."""
        when = f"step {self.step}" if self.step else "before training"
        return f"{when}, {self.layer} ({self.tensor}): {self.cause}. {self.remedy}"


# What a finding explains, and makes needless to tell.
SYMPTOMS = (
    "dead ReLUs",
    "saturated units",
    "vanishing signal",
    "vanishing gradient",
    "exploding signal",
    "loss does not move",
)
EXPLAINS: Mapping[str, tuple[str, ...]] = {
    "unscaled input": ("rate too high", "rate too low", "weights too large", *SYMPTOMS),
    "constant input": ("rate too high", "rate too low", *SYMPTOMS),
    "equal weights": ("rate too high", "rate too low", "weights too small", *SYMPTOMS),
    "weights too large": ("rate too high", "rate too low", *SYMPTOMS),
    "weights too small": ("rate too low", "rate too high", *SYMPTOMS),
    "saturated units": ("rate too low", "vanishing signal", "vanishing gradient", "loss does not move"),
    "dead ReLUs": ("rate too low", "vanishing signal", "vanishing gradient", "loss does not move"),
    "vanishing gradient": ("rate too low", "loss does not move"),
    "exploding signal": ("rate too high", "dead ReLUs", "saturated units", "loss does not move"),
    "rate too high": ("rate too low", *SYMPTOMS),
    "vanishing signal": (
        "rate too low",
        "vanishing gradient",
        "dead ReLUs",
        "saturated units",
        "loss does not move",
    ),
    "rate too low": ("loss does not move",),
}


@dataclass(frozen=True)
class Seen:
    """What a part of a batch did in the network.

    Attributes:
        values: name → outputs of every layer, and 'input'.
        gradients: layer → name → gradient of a parameter; empty later in the run.
    """

    values: Mapping[str, NDArray[Any]]
    gradients: Mapping[str, Mapping[str, NDArray[Any]]]

    @cached_property
    def sizes(self) -> Mapping[str, float]:
        """The root of the mean square of every layer's outputs."""
        return {name: rms(values) for name, values in self.values.items()}


class Diagnosis:
    """Watches one run.

    Args:
        program: the network that is trained, planned, with its loss.
        rate: the optimiser's learning rate, without its schedule.

    Attributes:
        findings: everything that was told, each kind once for a layer.
    """

    def __init__(self, program: Program, rate: float) -> None:
        """Remember what has weights."""
        self.program = program
        self.network = network = program.network
        self.rate = rate
        self.findings: list[Finding] = []
        self.losses: list[float] = []
        self.weights = {
            layer: specs["weight"] for layer, specs in network.parameter_specs.items() if "weight" in specs
        }
        self.last = next(reversed(self.weights), "")

    def is_due(self, step: int) -> bool:
        """Say whether a step, counted from 1, is looked at.

        >>> from tatami.models import build
        >>> watch = Diagnosis(Program(build("perceptron")), 0.1)
        >>> [step for step in range(1, 2000) if watch.is_due(step)]
        [1, 4, 16, 64, 256, 1024]
        """
        return step in PROBED_STEPS

    def look_at_data(self, dataset: Dataset) -> list[Finding]:
        """Look at the images and labels, before training."""
        return self.told(self.data_findings(dataset))

    def look_at_loss(self, step: int, loss: float) -> list[Finding]:
        """Look at the loss of every step: does it move at all?"""
        if step <= STEPS_TO_MOVE:
            self.losses.append(loss)
        return self.told(self.loss_findings(step)) if step == STEPS_TO_MOVE else []

    def look(
        self,
        step: int,
        before: Parameters,
        after: Parameters,
        images: NDArray[Any],
        targets: NDArray[Any],
        *,
        key: RandomKey,
        rate: float,
        state: Parameters | None = None,
    ) -> list[Finding]:
        """Look at a step that was just done.

        Args:
            step: its number, from 1.
            before: the parameters that it began with.
            after: those that it ended with.
            images: its batch, preprocessed.
            targets: what the loss compares with.
            key: from which dropout drew.
            rate: the learning rate of the step.
            state: the layers' state.
        """
        seen = self.seen(step, before, images[:PROBE], targets[:PROBE], key, state)
        return self.told(self.step_findings(step, before, after, seen, rate))

    def seen(
        self,
        step: int,
        parameters: Parameters,
        images: NDArray[Any],
        targets: NDArray[Any],
        key: RandomKey,
        state: Parameters | None,
    ) -> "Seen":
        """Run a part of the batch; backward only in the first steps, whose gradients are looked at."""
        if step > STEPS_OF_START:
            forward = self.program.forward(parameters, images, training=True, key=key, state=state, keep=True)
            return Seen(forward.values, {})
        kept = self.program.train_step(parameters, images, targets, key=key, state=state, keep=True)
        return Seen(kept.values, kept.gradients)

    def told(self, found: Iterator[Finding]) -> list[Finding]:
        """Return what is new and not explained by what was told before."""
        new = []
        for finding in found:
            explained = any(finding.kind in EXPLAINS.get(other.kind, ()) for other in self.findings)
            known = any((other.kind, other.layer) == (finding.kind, finding.layer) for other in self.findings)
            if not explained and not known:
                self.findings.append(finding)
                new.append(finding)
        return new

    # ---- the data ---------------------------------------------------------------------------------------------

    def data_findings(self, dataset: Dataset) -> Iterator[Finding]:
        """Yield what is wrong with images and labels."""
        counts = dataset.class_counts()
        present = counts[counts > 0]
        if len(dataset) >= 50 and len(present) > 1 and present.max() > MOST_UNBALANCED * present.min():
            rare = dataset.class_names[int(np.argmin(np.where(counts > 0, counts, counts.max() + 1)))]
            yield Finding(
                "unbalanced classes", 0, INPUT, "labels",
                f"class {rare!r} has {present.min()} images, the largest class {present.max()}; the network learns"
                " to "
                f"answer with the large ones",
                "Add images of the rare classes, or take fewer of the others",
            )  # fmt: skip
        # Images that are read when a batch needs them stay where they are; so much would cost more than it tells.
        if type(dataset.images) is not np.ndarray:
            return
        bytes_each = max(1, dataset.images.nbytes // len(dataset))
        some = dataset.first(
            max(1, min(len(dataset), MOST_IMAGES_COMPARED, MOST_BYTES_COMPARED // bytes_each))
        )
        same_as = first_appearances(some.images)
        duplicates = np.arange(len(some)) != same_as
        contradictions = float(np.mean(some.labels != some.labels[same_as]))
        if len(some) >= 20 and contradictions > MOST_CONTRADICTIONS:
            example = int(np.flatnonzero(some.labels != some.labels[same_as])[0])
            yield Finding(
                "contradicting labels", 0, INPUT, "labels",
                f"{100 * contradictions:.0f} % of the images appear with two labels, the first is image {example},"
                " the same "
                f"as image {same_as[example]}",
                "Correct the labels; no network can learn both",
            )  # fmt: skip
        elif len(some) >= 20 and float(np.mean(duplicates)) > MOST_DUPLICATES:
            yield Finding(
                "duplicated images", 0, INPUT, "images",
                f"{100 * np.mean(duplicates):.0f} % of the images are copies of others; copies in training and"
                " validation "
                f"make the validation worthless",
                "Remove the copies before the data are split",
            )  # fmt: skip

    # ---- a step -----------------------------------------------------------------------------------------------

    def step_findings(
        self, step: int, before: Parameters, after: Parameters, seen: Seen, rate: float
    ) -> Iterator[Finding]:
        """Yield what is wrong in a step, causes before symptoms."""
        yield from self.input_findings(step, seen.values[INPUT])
        if step == 1:
            yield from self.weight_findings(step, before)
            yield from self.dead_and_saturated(step, seen, caused_by_start=True)
        yield from self.signal_findings(step, seen)
        if step <= STEPS_OF_START:
            yield from self.gradient_findings(step, seen)
        yield from self.move_findings(step, before, after, rate)
        yield from self.dead_and_saturated(step, seen, caused_by_start=False)

    def input_findings(self, step: int, x: NDArray[Any]) -> Iterator[Finding]:
        """Yield an input that is far from 0 … 1 or that does not vary."""
        if any(node.layer.takes_indices for node in self.network.nodes):
            return  # tokens are names, not sizes
        size, variation = rms(x), float(np.std(x))
        if size > LARGEST_INPUT:
            yield Finding(
                "unscaled input", step, INPUT, "images",
                f"the values are as large as {np.max(np.abs(x)):.4g} (root mean square {size:.3g}); "
                f"layers are made for inputs around 1",
                "Scale them: --preprocessing scale or standardise",
            )  # fmt: skip
        elif variation < SMALLEST_VARIATION:
            yield Finding(
                "constant input", step, INPUT, "images",
                f"the images of a batch do not differ (standard deviation {variation:.1e})",
                "Check how the images are read, and whether the preprocessing divides by too much",
            )  # fmt: skip

    def weight_findings(self, step: int, parameters: Parameters) -> Iterator[Finding]:
        """Yield initial weights that are equal or whole orders of magnitude off."""
        for layer, spec in self.weights.items():
            weight = parameters[layer]["weight"]
            share = rms(weight) * sqrt(spec.fan_in)
            if layer != self.last and weight.size > 1 and float(np.ptp(weight)) == 0:
                yield Finding(
                    "equal weights", step, layer, "weight",
                    f"all weights are {weight.flat[0]:g}, so all units answer alike, get the same gradient and"
                    " stay equal",
                    "Draw the initial values: He() for ReLU, Xavier() for sigmoid and tanh",
                )  # fmt: skip
            elif layer != self.last and share < SMALLEST_WEIGHTS:
                yield Finding(
                    "weights too small", step, layer, "weight",
                    f"the initial weights are {share:.1e} of the size that keeps a signal, 1/√{spec.fan_in}",
                    "Use He() or Xavier() as initial values",
                )  # fmt: skip
            elif share > LARGEST_WEIGHTS:
                yield Finding(
                    "weights too large", step, layer, "weight",
                    f"the initial weights are {share:.0f} times the size that keeps a signal, 1/√{spec.fan_in}",
                    "Use He() or Xavier() as initial values",
                )  # fmt: skip

    def move_findings(
        self, step: int, before: Parameters, after: Parameters, rate: float
    ) -> Iterator[Finding]:
        """Yield steps that throw weights about or leave them where they are."""
        moves = {layer: move_of(before, after, layer, spec) for layer, spec in self.weights.items()}
        if not moves:
            return
        layer = max(moves, key=lambda name: moves[name])
        even = step == 1 and moves_evenly(before, after, layer)
        if moves[layer] > (LARGEST_FIRST_MOVE if even else LARGEST_MOVE):
            yield Finding(
                "rate too high", step, layer, "weight",
                f"one step moved the weights by {moves[layer]:.1f} times their own size; the learning rate"
                f" {rate:g} is far "
                f"too high",
                f"Try --lr {rate / (10 * moves[layer]):.1g}",
            )  # fmt: skip
        elif moves[layer] < SMALLEST_MOVE and rate >= 0.5 * self.rate and step <= STEPS_OF_START:
            yield Finding(
                "rate too low", step, layer, "weight",
                f"one step moved no layer by more than {moves[layer]:.0e} of its size; the learning rate {rate:g}"
                " is far too "
                f"low",
                f"Try --lr {rate * min(1e4, 1e-3 / max(moves[layer], 1e-9)):.1g}",
            )  # fmt: skip

    def dead_and_saturated(self, step: int, seen: Seen, *, caused_by_start: bool) -> Iterator[Finding]:
        """Yield layers whose units no longer react. At the first step the initial values are to blame."""
        blame = (
            "the initial values (weights or biases)"
            if caused_by_start
            else "a learning rate that is too high"
        )
        for node in self.network.nodes:
            if node.name == self.network.output:
                continue
            y = seen.values[node.name]
            if len(y) < FEWEST_IMAGES:
                return
            if isinstance(node.layer, ReLU):
                dead = float(np.mean(~np.any(y > 0, axis=(0, *range(2, y.ndim)))))
                if dead >= MOST_DEAD:
                    yield Finding(
                        "dead ReLUs", step, node.name, "output",
                        f"{100 * dead:.0f} % of the units are 0 for every image of the batch and learn nothing;"
                        " most likely "
                        f"{blame}",
                        "Use He() and zero biases, a lower learning rate, or LeakyReLU",
                    )  # fmt: skip
                    return
            elif isinstance(node.layer, Sigmoid | Tanh):
                slope = y * (1 - y) * 4 if isinstance(node.layer, Sigmoid) else 1 - y * y
                saturated = float(np.mean(slope < 0.05))
                if saturated >= MOST_SATURATED:
                    yield Finding(
                        "saturated units", step, node.name, "output",
                        f"{100 * saturated:.0f} % of the outputs are at their limits, where the slope is 0; most"
                        " likely "
                        f"{blame}",
                        "Use Xavier(), scaled inputs or a lower learning rate",
                    )  # fmt: skip
                    return

    def signal_findings(self, step: int, seen: Seen) -> Iterator[Finding]:
        """Yield the first layer that blows the signal up, or where it has faded."""
        sizes = seen.sizes
        for node in self.network.nodes:
            size, coming = sizes[node.name], max(*(sizes[name] for name in node.inputs), 1e-3)
            if size > EXPLODED * coming:
                yield Finding(
                    "exploding signal", step, node.name, "output",
                    f"the outputs are {size / coming:.0e} times as large as the inputs",
                    "Use He() or Xavier(), a normalisation layer, or --clip 1",
                )  # fmt: skip
                return
            if 0 < size < VANISHED * sizes[INPUT] and step <= STEPS_OF_START:
                yield Finding(
                    "vanishing signal", step, node.name, "output",
                    f"up to here the signal has faded to {size / sizes[INPUT]:.0e} of the input",
                    "Use He() for ReLU, Xavier() for sigmoid and tanh, or a normalisation layer",
                )  # fmt: skip
                return

    def gradient_findings(self, step: int, seen: Seen) -> Iterator[Finding]:
        """Yield a gradient that does not reach the first layer."""
        sizes = {layer: rms(seen.gradients[layer]["weight"]) for layer in self.weights}
        if len(sizes) < 3:
            return
        first, last = next(iter(sizes)), self.last
        if sizes[last] > 0 and sizes[first] < VANISHED * sizes[last]:
            yield Finding(
                "vanishing gradient", step, first, "gradient of weight",
                f"it is {sizes[first] / sizes[last]:.0e} of that of {last}; nothing is learned at the bottom",
                "Use ReLU instead of sigmoid, He() or Xavier(), fewer layers, or a normalisation layer",
            )  # fmt: skip

    def loss_findings(self, step: int) -> Iterator[Finding]:
        """Yield a loss that stays where it was."""
        quarter = len(self.losses) // 4
        early, late = np.mean(self.losses[:quarter]), np.mean(self.losses[-quarter:])
        classes, *places = self.network.output_shape
        guessing = log(max(2, classes)) * prod(places)
        entropy = isinstance(self.program.loss, SoftmaxCrossEntropy) and self.program.loss.reduction == "mean"
        if entropy and abs(early - late) < LEAST_MOVE * early and late > 0.9 * guessing:
            yield Finding(
                "loss does not move", step, self.network.output, "loss",
                f"it is {late:.4f} after {step} steps, {early:.4f} at the start, no better than guessing"
                f" ({guessing:.4f})",
                "Check that labels belong to their images; try a learning rate ten times higher, or lower",
            )  # fmt: skip


def first_appearances(images: NDArray[Any]) -> NDArray[np.int64]:
    """Return for every image the number of the first image that is the same.

    >>> first_appearances(np.array([[1, 2], [3, 4], [1, 2]])).tolist()
    [0, 1, 0]
    """
    seen: dict[bytes, int] = {}
    return np.array(
        [
            seen.setdefault(blake2b(image.tobytes(), digest_size=16).digest(), number)
            for number, image in enumerate(images)
        ],
        dtype=np.int64,
    )


def rms(values: NDArray[Any]) -> float:
    """Return the root of the mean square.

    >>> rms(np.array([3.0, -4.0, 0.0, 0.0]))
    2.5
    """
    flat = values.reshape(-1)
    total = float(np.dot(flat, flat)) if flat.dtype.kind == "f" else np.inf
    if not np.isfinite(total) or total < SMALLEST_SUM:  # beyond float32, or not of floats
        total = float(np.sum(np.square(flat, dtype=np.float64)))
    return sqrt(total / flat.size) if total >= 0 else float("nan")


def move_of(before: Parameters, after: Parameters, layer: str, spec: ParameterSpec) -> float:
    """Return how far a step moved a layer's weights, as a share of their size or of 1/√n if they are smaller."""
    old, new = before[layer]["weight"], after[layer]["weight"]
    return rms(new - old) / max(rms(old), 1 / sqrt(spec.fan_in))


def moves_evenly(before: Parameters, after: Parameters, layer: str) -> bool:
    """Say whether a step moved all weights of a layer that it moved by the same amount, as adaptive methods begin."""
    distance = np.abs(after[layer]["weight"] - before[layer]["weight"])
    moved = distance[distance > 0]
    return bool(moved.size) and float(np.std(moved)) < 0.2 * float(np.mean(moved))
