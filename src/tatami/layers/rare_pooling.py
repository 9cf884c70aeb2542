"""Poolings of a rarer kind: stochastic, adaptive maxima, and the way back from a maximum to where it stood."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, ClassVar

from tatami.backends.base import Array, Backend
from tatami.errors import ShapeError
from tatami.geometry import Padding, PerAxis, Shape
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.layers.checks import require_spatial
from tatami.layers.pooling import MaxPool, Pool
from tatami.layers.resampling import adaptive_bounds
from tatami.layers.windows import EVERYTHING, add_tap_views, tap_views


@dataclass(frozen=True)
class MaxUnpool(Layer):
    """Put every value back to where a max pooling had taken its maximum; all other positions are 0.

    Two inputs: the values (C, *pooled), and what the pooling looked at (C, *size), from which the places of the maxima
    (the switches) are taken. y(m) = Σ x(i) over the windows i whose first maximum stands at m.

    Args:
        size, stride, padding: those of the `MaxPool` that is undone.

    >>> MaxUnpool(2).output_shape((8, 4, 4), (8, 8, 8))
    (8, 8, 8)

    Source: History, 'Visualizing and understanding'; Zeiler and Fergus (2014). Where windows overlap values add up
    here, as in the gradient of the pooling; PyTorch lets the last one win.
    """

    size: PerAxis
    stride: PerAxis | None = None
    padding: Padding = "valid"
    kind: ClassVar[str] = "unpool"

    @property
    def pool(self) -> MaxPool:
        """The pooling that is undone."""
        return MaxPool(self.size, self.stride, self.padding, name=self.name)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the shape that the pooling looked at."""
        if len(input_shapes) != 2:
            raise ShapeError(
                f"{self.label}: takes two inputs, the values and what the pooling looked at, got {len(input_shapes)}"
            )
        values, before = input_shapes
        pooled = self.pool.output_shape(before)
        if values != pooled:
            raise ShapeError(
                f"{self.label}: pooling an input of {before} gives {pooled}, but the values have shape {values}"
            )
        return before

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the values at the maxima's places: what the pooling's backward does with a gradient."""
        x, before = inputs
        geometry = self.pool.window(before.shape[1:])
        pooled, winner = ops.max_pool(before, geometry)
        y = ops.max_pool_gradient(x, before, pooled, winner, geometry, "first")
        return Forward(y, saved={"before": before, "winner": winner})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``y[winner(i)] += x[i]``: dx[i] = dy[winner(i)], and 0 for the switches' input.

        The places of the maxima jump; where they do not, they do not change.
        """
        before, winner = saved["before"], saved["winner"]
        seen = tap_views(ops, dy, self.pool.window(before.shape[1:]))
        dx = ops.xp.zeros_like(seen[0])
        for tap in range(seen.shape[0]):
            dx = dx + seen[tap] * (winner == tap)
        return Backward((dx, ops.xp.zeros_like(before)))

    def settings(self) -> str:
        """Return the pooling's settings."""
        return self.pool.settings()


@dataclass(frozen=True)
class StochasticPool(Pool):
    """While training, keep a random entry a(m) of every window, with probability p(m) = a(m) / Σ a.

    At prediction keep the mean weighted by those probabilities, Σ p(m)·a(m) = Σ a² / Σ a. Entries below 0 count as 0
    (the layer is meant to follow a ReLU), and so does a window without a positive entry.

    Args:
        size, stride, padding: see `Pool`.

    >>> StochasticPool(2).output_shape((32, 28, 28))
    (32, 14, 14)

    Source: Zeiler and Fergus (2013), 'Stochastic pooling for regularization of deep CNNs'.
    """

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return a random entry of every window while training, else the weighted mean."""
        (x,) = inputs
        positive = ops.xp.maximum(x, ops.xp.zeros_like(x))
        a = tap_views(ops, positive, self.window(x.shape[1:]))
        total = ops.xp.sum(a, axis=0)
        if not context.training:
            # The mean Σ (a / Σa)·a: no square of a large number is taken.
            safe = ops.xp.where(total > 0, total, ops.xp.ones_like(total))
            y = ops.xp.sum(a / safe * a, axis=0)
            return Forward(y, saved={"x": x, "y": y, "total": total})
        drawn = ops.asarray(context.key.uniform(self.name, total.shape), "float64")
        threshold = ops.xp.astype(drawn, x.dtype) * total
        # The chosen tap is the first whose running sum exceeds the threshold.
        chosen = ops.xp.zeros_like(total)
        running = ops.xp.zeros_like(total)
        for tap in range(a.shape[0] - 1):
            running = running + a[tap]
            chosen = chosen + (running <= threshold)
        y = ops.xp.zeros_like(total)
        for tap in range(a.shape[0]):
            y = y + ops.xp.where(chosen == tap, a[tap], ops.xp.zeros_like(total))
        return Forward(y, saved={"x": x, "chosen": chosen})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = a[chosen]``, or at prediction of ``y = Σ a² / Σ a``; a = max(x, 0).

        Chosen: dy goes to the chosen entry. Prediction: ∂y/∂a(m) = (2·a(m) - y) / Σ a.
        """
        x = saved["x"]
        geometry = self.window(x.shape[1:])
        taps = range(prod(geometry.kernel))
        if "chosen" in saved:
            contributions = [dy * (saved["chosen"] == tap) for tap in taps]
        else:
            total, y = saved["total"], saved["y"]
            safe = ops.xp.where(total > 0, total, ops.xp.ones_like(total))
            share = ops.xp.where(total > 0, dy / safe, ops.xp.zeros_like(dy))
            a = tap_views(ops, ops.xp.maximum(x, ops.xp.zeros_like(x)), geometry)
            contributions = [share * (2 * a[tap] - y) for tap in taps]
        return Backward((add_tap_views(ops, contributions, x, geometry) * (x > 0),))


@dataclass(frozen=True)
class AdaptiveMaxPool(Layer):
    """Keep the maxima of a fixed number of windows, whatever the input's size; bounds as for `AdaptiveAveragePool`.

    The first of several equal maxima, row by row, gets the gradient.

    Args:
        output_size: number of windows, one number or one for each axis.

    >>> AdaptiveMaxPool(6).output_shape((256, 13, 13))
    (256, 6, 6)

    Source: the bins of He et al. (2014), spatial pyramid pooling; bounds as in PyTorch.
    """

    output_size: PerAxis
    kind: ClassVar[str] = "pool"

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (C, *output_size)."""
        shape = only_input(self, input_shapes)
        require_spatial(self, shape)
        return (shape[0], *(len(bounds) for bounds in adaptive_bounds(self, self.output_size, shape[1:])))

    def windows(self, size: Shape) -> list[Any]:
        """List the slices of every window, row by row."""
        bounds = adaptive_bounds(self, self.output_size, size)
        return [
            (EVERYTHING, EVERYTHING, *(slice(*window) for window in windows)) for windows in product(*bounds)
        ]

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return the maxima; keep where they stood."""
        (x,) = inputs
        flat = [ops.xp.reshape(x[window], (*x.shape[:2], -1)) for window in self.windows(x.shape[2:])]
        maxima = ops.xp.stack([ops.xp.max(entries, axis=2) for entries in flat], axis=2)
        winner = ops.xp.stack([ops.xp.argmax(entries, axis=2) for entries in flat], axis=2)
        shape = (x.shape[0], *self.output_shape(x.shape[1:]))
        return Forward(ops.xp.reshape(maxima, shape), saved={"x": x, "winner": winner})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = x[winner]``: dy at the winner of every window, added up where windows overlap."""
        x, winner = saved["x"], saved["winner"]
        flat_dy = ops.xp.reshape(dy, winner.shape)
        dx = ops.xp.zeros_like(x)
        for number, window in enumerate(self.windows(x.shape[2:])):
            shape = x[window].shape
            positions = ops.xp.arange(prod(shape[2:]))
            won = winner[:, :, number, None] == positions
            dx[window] += ops.xp.reshape(won * flat_dy[:, :, number, None], shape)
        return Backward((dx,))

    def sees_everything(self) -> bool:
        """Windows of unequal size: what an output sees is not followed."""
        return True

    def settings(self) -> str:
        """Return the output size."""
        return f"to {self.output_size}"
