"""Normalisation by the activity of neighbouring channels, as in AlexNet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.geometry import check_positive
from tatami.layers.base import Backward, Context, Forward, LayerParameters, SameShape
from tatami.layers.checks import require_number


@dataclass(frozen=True)
class LocalResponseNormalization(SameShape):
    """Damp a unit by the activity of its neighbours in other channels: y(c) = x(c) / (k + α Σ_j x(j)²)^β.

    j runs over the ``size`` channels around c that exist: c - ⌊size/2⌋ … c + ⌊(size - 1)/2⌋. No parameters.

    Args:
        size: number of neighbouring channels.
        alpha, beta, k: α, β, k; the defaults are AlexNet's.

    >>> LocalResponseNormalization().output_shape((96, 55, 55))
    (96, 55, 55)

    Source: History, AlexNet; Krizhevsky, Sutskever, Hinton (2012), §3.3. PyTorch divides α by the size: its alpha is
    size times ours.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    kind: ClassVar[str] = "lrn"

    def __post_init__(self) -> None:
        """Check that the denominator is positive."""
        super().__post_init__()
        check_positive((self.size,), "size", self.label)
        require_number(self, "alpha", at_least=0)
        require_number(self, "k", above=0)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return x·d^-β with d = k + α Σ x²."""
        (x,) = inputs
        before, after = self.size // 2, (self.size - 1) // 2
        d = self.k + self.alpha * channel_sums(ops, x * x, before, after)
        return Forward(x * d**-self.beta, saved={"x": x, "d": d})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = x * d ** -beta``.

        x(c) acts on its own numerator, and on d(j) of every channel j that counts c as a neighbour:
        dx(c) = dy(c)·d(c)^-β - 2αβ·x(c) Σ_j dy(j)·x(j)·d(j)^(-β-1). Seen from c those j lie mirrored around it.
        """
        x, d = saved["x"], saved["d"]
        power = d**-self.beta
        before, after = (self.size - 1) // 2, self.size // 2
        through_neighbours = channel_sums(ops, dy * x * power / d, before, after)
        return Backward((dy * power - 2 * self.alpha * self.beta * x * through_neighbours,))

    def settings(self) -> str:
        """Return the number of channels that are summed."""
        return f"size {self.size}, alpha {self.alpha:g}, beta {self.beta:g}, k {self.k:g}"


def channel_sums(ops: Backend, values: Array, before: int, after: int) -> Array:
    """Return for every channel the sum over itself, ``before`` channels before it and ``after`` behind it."""
    channels = values.shape[1]
    zeros = ops.xp.zeros_like(values[:, :1])
    padded = ops.xp.concat([zeros] * before + [values] + [zeros] * after, axis=1)
    total = padded[:, :channels]
    for shift in range(1, before + after + 1):
        total = total + padded[:, shift : shift + channels]
    return total
