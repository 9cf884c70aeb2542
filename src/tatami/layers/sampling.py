"""The random step of a variational autoencoder, written so that a gradient passes through it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.errors import ShapeError
from tatami.geometry import Shape
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters
from tatami.layers.dropout import normal_like


@dataclass(frozen=True)
class GaussianSample(Layer):
    """Draw from a normal distribution: z = μ + e^(½ log σ²)·ε, ε standard normal; at prediction z = μ.

    Two inputs of one shape, μ and log σ². The randomness is in ε, which depends on nothing, so that z has
    derivatives with respect to μ and σ (the reparameterisation trick).

    >>> GaussianSample().output_shape((2,), (2,))
    (2,)

    Source: DAY4, variational autoencoder; Kingma and Welling (2014).
    """

    kind: ClassVar[str] = "sample"

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the shape of μ."""
        if len(input_shapes) != 2 or input_shapes[0] != input_shapes[1]:
            raise ShapeError(
                f"{self.label}: takes a mean and a log-variance of one shape, got "
                f"{', '.join(map(str, input_shapes)) or 'nothing'}"
            )
        return input_shapes[0]

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return μ + σ·ε while training, else μ."""
        mean, log_variance = inputs
        if not context.training:
            return Forward(mean)
        noise = ops.xp.exp(0.5 * log_variance) * normal_like(ops, context.key, self.name, mean)
        return Forward(mean + noise, saved={"noise": noise})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``z = mean + noise``, noise = e^(½ log σ²)·ε: dμ = dz, dlog σ² = ½·noise·dz."""
        if "noise" not in saved:
            return Backward((dy, ops.xp.zeros_like(dy)))
        return Backward((dy, 0.5 * saved["noise"] * dy))
