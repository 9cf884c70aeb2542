"""A fully connected layer that loses connections at random while training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.geometry import Shape
from tatami.initializers import He, Initializer, ParameterSpec, Zeros
from tatami.layers.activations import Activation, Identity
from tatami.layers.base import Backward, Context, Forward, LayerParameters, only_input
from tatami.layers.checks import require_number
from tatami.layers.dense import FullyConnected
from tatami.layers.dropout import check_ratio, normal_like, scaled_mask
from tatami.layers.weights import bias_gradient, weight_and_bias, with_bias


@dataclass(frozen=True)
class DropConnect(FullyConnected):
    """A dense layer that loses connections, not units, while training: y = f((M ∘ W)x / (1 - ratio) + b).

    M has the shape of W, 1 with probability 1 - ratio and else 0, and is drawn anew for every mini-batch. With M random
    each u(k) = Σ_i M(k,i) W(k,i) x(i) / (1 - ratio) + b(k) has

        mean      μ(k) = Σ_i W(k,i) x(i) + b(k)
        variance  σ²(k) = ratio / (1 - ratio) · Σ_i W(k,i)² x(i)² .

    At prediction the rule is y = f(μ), or, with ``samples`` above 0, the mean of f(μ + σ·z) over that many standard
    normal z: the sum of many independent terms is nearly normal, and f of the mean is not the mean of f.

    Args:
        units: number of outputs.
        ratio: probability of dropping a connection, 0 ≤ ratio < 1.
        activation: f, part of the layer because the inference rule averages behind it.
        samples: Z, normal draws at prediction; 0 takes f of the mean.
        bias: whether to add b(k); it is never dropped.
        weight_initializer: initial value of the weight (units, features); He by default.
        bias_initializer: initial value of the bias (units,); zeros by default.

    >>> DropConnect(100, 0.5).output_shape((3136,))
    (100,)

    Source: History, 'Dropconnect' (M of the shape of W, drawn for each mini-batch, half of the connections, the average
    at prediction); Wan, Zeiler, Zhang, LeCun, Fergus (2013). Changed: they draw a mask for every example, which needs
    the weights once for each.
    """

    ratio: float = 0.5
    activation: Activation = field(default_factory=Identity)
    samples: int = 0
    bias: bool = True
    weight_initializer: Initializer = field(default_factory=He)
    bias_initializer: Initializer = field(default_factory=Zeros)
    kind: ClassVar[str] = "drop_connect"

    def __post_init__(self) -> None:
        """Check the ratio and the number of samples."""
        super().__post_init__()
        check_ratio(self, self.ratio)
        require_number(self, "samples", at_least=0)

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (units, features) and bias (units,)."""
        (features,) = only_input(self, input_shapes)
        return weight_and_bias(self, (self.units, features), (self.units,), features, self.units)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return f of the sums over the connections that are kept, or by the inference rule."""
        (x,) = inputs
        weight = parameters["weight"]
        if context.training and self.ratio > 0:
            kept = context.key.keep_mask(self.name, weight.shape, self.ratio)
            scale = scaled_mask(ops, kept, self.ratio, x)
            return self.activate(ops, self.sums(ops, x, weight * scale, parameters), {"x": x, "scale": scale})
        mean = self.sums(ops, x, weight, parameters)
        if self.samples == 0 or self.ratio == 0:
            return self.activate(ops, mean, {"x": x})
        variance = self.ratio / (1 - self.ratio) * ops.matmul(x * x, (weight * weight).T)
        deviation = ops.xp.sqrt(variance)
        # One z for all examples: a prediction must not depend on which others share its batch.
        shape = (self.samples, 1, self.units)
        noise = normal_like(ops, context.key, self.name, ops.xp.zeros(shape, dtype=x.dtype))
        forward = self.activate(
            ops, mean + deviation * noise, {"x": x, "deviation": deviation, "noise": noise}
        )
        return Forward(ops.xp.mean(forward.output, axis=0), saved=forward.saved)

    def sums(self, ops: Backend, x: Array, weight: Array, parameters: LayerParameters) -> Array:
        """Return u = x Wᵀ + b."""
        return with_bias(ops, ops.matmul(x, weight.T), parameters)

    def activate(self, ops: Backend, u: Array, saved: dict[str, Array]) -> Forward:
        """Return f(u), and keep both."""
        y = self.activation.function(ops, u)
        return Forward(y, saved={**saved, "u": u, "y": y})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``u = x @ (scale * weight).T + bias``, ``y = f(u)``.

        du = f′(u)·dy, dx = du (scale ∘ W), dweight = scale ∘ (duᵀ x), dbias = Σ_n du. Behind the average over samples
        u_z = μ + σ z each gets dy / Z, so that dμ = Σ_z du_z and dσ = Σ_z z·du_z; and from σ² = c Σ W² x² follow
        dσ² = dσ / 2σ, dx += 2c·x (dσ² W²), dweight += 2c·W (dσ²ᵀ x²).
        """
        x, weight = saved["x"], parameters["weight"]
        slope = self.activation.derivative(ops, saved["u"], saved["y"])
        scale = saved.get("scale", 1.0)
        du = ops.xp.sum(slope * dy, axis=0) / self.samples if "noise" in saved else slope * dy
        dx = ops.matmul(du, weight * scale)
        dweight = ops.matmul(du.T, x) * scale
        if "noise" in saved:
            deviation = saved["deviation"]
            ddeviation = ops.xp.sum(slope * dy * saved["noise"], axis=0) / self.samples
            # Where nothing varies, σ has no derivative; we take 0.
            safe = ops.xp.where(deviation > 0, deviation, ops.xp.ones_like(deviation))
            dvariance = ops.xp.where(deviation > 0, ddeviation / (2 * safe), ops.xp.zeros_like(deviation))
            factor = 2 * self.ratio / (1 - self.ratio)
            dx = dx + factor * x * ops.matmul(dvariance, weight * weight)
            dweight = dweight + factor * weight * ops.matmul(dvariance.T, x * x)
        return Backward((dx,), {"weight": dweight} | bias_gradient(ops, du, parameters))

    def settings(self) -> str:
        """Return units, ratio, activation and inference rule."""
        parts = [f"{self.units} units", f"ratio {self.ratio:g}"]
        if not isinstance(self.activation, Identity):
            parts.append(type(self.activation).__name__)
        if self.samples:
            parts.append(f"{self.samples} samples")
        return ", ".join(parts)
