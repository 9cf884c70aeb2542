"""Losses of autoencoders that look at more than the reconstruction.

A network has one output. Where a loss needs several parts of it - the reconstruction and the hidden activations, or
the mean and variance of a distribution - the network lays them side by side with `Concatenate`, and the loss cuts them
apart again; `predict` returns the reconstruction alone.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import DataError, SettingError, ShapeError
from tatami.geometry import Shape, check_positive
from tatami.layers.smooth_activations import sigmoid, softplus
from tatami.losses.base import Loss
from tatami.random import RandomKey

Likelihood = Literal["gaussian", "bernoulli"]


@dataclass(frozen=True)
class Reconstruction(Loss, abstract=True):
    """Base: the first numbers of the output are the reconstruction of the target, the rest belongs to the subclass.

    likelihood 'gaussian' takes the numbers as they are and costs ½ Σ (y - t)²; 'bernoulli' takes them as logits of
    numbers between 0 and 1 and costs the binary cross-entropy.
    """

    likelihood: Likelihood = "gaussian"

    def extra(self) -> int:
        """Return how many numbers of the output do not belong to the reconstruction."""
        raise NotImplementedError

    def target(self, values: NDArray[Any], output_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the targets as rows (N, numbers)."""
        values = np.asarray(values)
        name = type(self).__name__
        if len(output_shape) != 1 or prod(values.shape[1:]) != output_shape[0] - self.extra():
            raise ShapeError(
                f"{name}: an output of shape {output_shape}, of which {self.extra()} numbers are not the "
                f"reconstruction, does not fit to targets of shape {values.shape}; join its parts with Concatenate"
            )
        if values.dtype.kind not in "buif":
            raise DataError(f"{name}: expected an array of numbers as targets, got dtype {values.dtype}")
        if self.likelihood == "bernoulli" and not bool(np.all((values >= 0) & (values <= 1))):
            raise DataError(f"{name}: likelihood 'bernoulli' needs targets from 0 to 1; scale the data")
        return values.reshape(len(values), -1).astype(np.float64, copy=False)

    def draw_target(self, key: RandomKey, examples: int, output_shape: Shape) -> NDArray[Any]:
        """Return random numbers from 0 to 1."""
        return key.uniform("target", (examples, output_shape[0] - self.extra()))

    def reconstruction_value(self, ops: Backend, y: Array, target: Array) -> float:
        """Return ½ Σ (y - t)², or Σ log(1 + e^y) - t·y."""
        if self.likelihood == "bernoulli":
            return float(ops.xp.sum(softplus(ops, y) - target * y))
        return float(0.5 * ops.xp.sum((y - target) * (y - target)))

    def reconstruction_gradient(self, ops: Backend, y: Array, target: Array) -> Array:
        """Return y - t, or sigmoid(y) - t."""
        return (sigmoid(ops, y) if self.likelihood == "bernoulli" else y) - target

    def predict(self, ops: Backend, output: Array) -> Array:
        """Return the reconstruction."""
        y = output[:, : output.shape[1] - self.extra()]
        return sigmoid(ops, y) if self.likelihood == "bernoulli" else y


@dataclass(frozen=True)
class EvidenceBound(Reconstruction):
    """A variational autoencoder's loss: the negative lower bound of the log-likelihood.

    E = reconstruction + β·KL(N(μ, σ²) ‖ N(0, 1)),    KL = -½ Σ (1 + log σ² - μ² - σ²)

    The output holds the reconstruction, then μ, then log σ². ∂KL/∂μ = μ, ∂KL/∂log σ² = ½(σ² - 1).

    Args:
        reduction: 'mean' over the examples of the batch, or 'sum'.
        likelihood: 'gaussian' or 'bernoulli', what the decoder's numbers mean.
        latent: length of μ and of log σ².
        beta: β; 1 is the bound, more presses harder on a simple code.

    >>> from tatami.backends import ReferenceBackend
    >>> loss = EvidenceBound(latent=1)
    >>> loss.value(ReferenceBackend(), np.array([[0.5, 2.0, 0.0]]), np.array([[0.5]]))
    2.0

    Source: DAY4, variational autoencoder; Kingma and Welling (2014); β of Higgins et al. (2017).
    """

    latent: int = 2
    beta: float = 1.0

    def __post_init__(self) -> None:
        """Check the length of the code and β."""
        super().__post_init__()
        check_positive((self.latent,), "latent", "EvidenceBound")
        if self.beta < 0:
            raise SettingError(f"EvidenceBound: beta must be at least 0, got {self.beta!r}")

    def extra(self) -> int:
        """μ and log σ²."""
        return 2 * self.latent

    def parts(self, output: Array) -> tuple[Array, Array, Array]:
        """Return reconstruction, μ and log σ²."""
        end = output.shape[1]
        return (
            output[:, : end - 2 * self.latent],
            output[:, end - 2 * self.latent : end - self.latent],
            output[:, end - self.latent :],
        )

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return the reconstruction's cost and β·KL."""
        y, mean, log_variance = self.parts(output)
        surplus = 1 + log_variance - mean * mean - ops.xp.exp(log_variance)
        divergence = float(-0.5 * ops.xp.sum(surplus))
        return (self.reconstruction_value(ops, y, target) + self.beta * divergence) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return the gradients of the three parts, side by side."""
        y, mean, log_variance = self.parts(output)
        dy = self.reconstruction_gradient(ops, y, target)
        dlog_variance = 0.5 * self.beta * (ops.xp.exp(log_variance) - 1)
        return ops.xp.concat([dy, self.beta * mean, dlog_variance], axis=1) * self.weight(output)


@dataclass(frozen=True)
class SparseReconstruction(Reconstruction):
    """A sparse autoencoder's loss: the reconstruction, and a penalty on hidden units that are active too often.

    E = reconstruction + β Σ_j KL(ρ ‖ ρ̂(j)),    KL = ρ·log(ρ / ρ̂) + (1 - ρ)·log((1 - ρ) / (1 - ρ̂))

    ρ̂(j) is the mean activation of hidden unit j over the batch. The output holds the reconstruction, then the hidden
    activations, numbers between 0 and 1 (behind a sigmoid). ∂KL/∂h(n, j) = (-ρ/ρ̂ + (1 - ρ)/(1 - ρ̂)) / N.

    Args:
        reduction: 'mean' over the examples of the batch (the penalty is added once), or 'sum', N times that.
        likelihood: 'gaussian' or 'bernoulli', what the decoder's numbers mean.
        hidden: number of hidden units.
        activity: ρ, the mean activation that is asked for.
        strength: β.

    >>> SparseReconstruction(hidden=64, activity=0.05).extra()
    64

    Source: DAY4, sparse autoencoder; Ng (2011), CS294A lecture notes.
    """

    hidden: int = 1
    activity: float = 0.05
    strength: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        check_positive((self.hidden,), "hidden", "SparseReconstruction")
        if not 0 < self.activity < 1 or self.strength < 0:
            raise SettingError(
                f"SparseReconstruction: activity must be between 0 and 1 and strength at least 0, "
                f"got {self.activity!r} and {self.strength!r}"
            )

    def extra(self) -> int:
        """The hidden activations."""
        return self.hidden

    def parts(self, output: Array) -> tuple[Array, Array]:
        """Return reconstruction and hidden activations."""
        end = output.shape[1] - self.hidden
        return output[:, :end], output[:, end:]

    def mean_activity(self, ops: Backend, hidden: Array) -> Array:
        """Return ρ̂, kept away from 0 and 1, where the penalty is infinite."""
        return ops.xp.clip(ops.xp.mean(hidden, axis=0), 1e-6, 1 - 1e-6)

    def value(self, ops: Backend, output: Array, target: Array) -> float:
        """Return the reconstruction's cost and the penalty."""
        y, hidden = self.parts(output)
        mean, rho = self.mean_activity(ops, hidden), self.activity
        divergence = rho * ops.xp.log(rho / mean) + (1 - rho) * ops.xp.log((1 - rho) / (1 - mean))
        penalty = self.strength * float(ops.xp.sum(divergence)) * int(output.shape[0])
        return (self.reconstruction_value(ops, y, target) + penalty) * self.weight(output)

    def gradient(self, ops: Backend, output: Array, target: Array) -> Array:
        """Return the gradients of both parts, side by side."""
        y, hidden = self.parts(output)
        mean, rho = self.mean_activity(ops, hidden), self.activity
        dmean = self.strength * ((1 - rho) / (1 - mean) - rho / mean)
        dhidden = dmean * ops.xp.ones_like(hidden)
        dy = self.reconstruction_gradient(ops, y, target)
        return ops.xp.concat([dy, dhidden], axis=1) * self.weight(output)
