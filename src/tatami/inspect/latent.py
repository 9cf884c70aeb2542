"""The code in the middle of a variational autoencoder: where examples lie in it, and what its decoder draws."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError
from tatami.losses import BinaryCrossEntropy, EvidenceBound, Loss, SquaredError
from tatami.models import variational_decoder
from tatami.program import Program
from tatami.random import RandomKey
from tatami.training.model import EVALUATION_BATCH, Model, pieces_of

MEAN, DECODER = "mean", "decoder"


def is_variational(model: Model) -> bool:
    """Say whether a model is a variational autoencoder whose halves can be told apart by their names."""
    names = {node.name for node in model.network.nodes}
    return isinstance(model.loss, EvidenceBound) and {MEAN, DECODER, "reconstruction"} <= names


def codes_of(model: Model, images: NDArray[Any]) -> NDArray[Any]:
    """Return the means of the codes (N, latent) of raw images."""
    program = model.program("reference")
    pieces = [
        program.forward(
            model.parameters, model.preprocessing.apply(piece, program.dtype), state=model.state, keep=True
        ).values[MEAN]
        for piece in pieces_of(images, EVALUATION_BATCH)
    ]
    return np.concatenate(pieces)


def decoded(model: Model, codes: NDArray[Any]) -> NDArray[Any]:
    """Return what the decoder makes of codes (N, latent): (N, *input_shape), in units of the network's input.

    Raises:
        SettingError: a model without such a decoder.
    """
    if not is_variational(model) or not isinstance(model.loss, EvidenceBound):
        raise SettingError(f"network {model.network.name} has no decoder that draws from codes")
    hidden, latent = model.parameters[DECODER]["weight"].shape
    decoder = variational_decoder(model.network.input_shape, hidden, latent)
    mine = {layer: model.parameters[layer] for layer in decoder.parameter_specs}
    loss: Loss = BinaryCrossEntropy() if model.loss.likelihood == "bernoulli" else SquaredError()
    return Program(decoder, loss).predict(mine, codes.astype(np.float32))


def sampled(model: Model, count: int, seed: int = 0) -> NDArray[Any]:
    """Return what the decoder makes of codes drawn from the prior, a standard normal distribution."""
    latent = model.parameters[DECODER]["weight"].shape[1]
    return decoded(model, RandomKey(seed).normal("codes", (count, latent)))


def latent_plane(model: Model, side: int = 12, reach: float = 2.0) -> NDArray[Any]:
    """Return the decoder's pictures over a grid of the first two numbers of the code: (side, side, *input_shape).

    The first number grows to the right, the second upward; all others are 0.
    """
    latent = model.parameters[DECODER]["weight"].shape[1]
    steps = np.linspace(-reach, reach, side)
    codes = np.zeros((side, side, latent))
    codes[..., 0] = steps
    if latent > 1:
        codes[..., 1] = -steps[:, None]
    pictures = decoded(model, codes.reshape(-1, latent))
    return pictures.reshape(side, side, *model.network.input_shape)
