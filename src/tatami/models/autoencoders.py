"""Autoencoders: networks whose target is their input, so that what lies in their middle says what matters.

Train `autoencoder`, `denoising_autoencoder` and `convolutional_autoencoder` with `BinaryCrossEntropy` on the images
themselves (pixels from 0 to 1); the other two name their loss. Predictions are images.
"""

from collections.abc import Sequence
from math import prod

from tatami.geometry import Shape
from tatami.initializers import Xavier
from tatami.layers import (
    Concatenate,
    Convolution,
    Dense,
    Flatten,
    GaussianNoise,
    GaussianSample,
    Layer,
    ReLU,
    Reshape,
    Sigmoid,
    TransposedConvolution,
)
from tatami.losses import EvidenceBound, SparseReconstruction
from tatami.network import INPUT, LayerEntry, Network, Sequential


def autoencoder(
    input_shape: Shape = (1, 28, 28), hidden: Sequence[int] = (128,), code: int = 32, noise: float = 0.0
) -> Network:
    """Dense layers that narrow to a code and widen again. The code is the output of the layer 'code'.

    Args:
        input_shape: of an image.
        hidden: units of the layers before the code, and in reverse behind it.
        code: length of the code.
        noise: standard deviation of what is added to the input while training.

    >>> autoencoder().output_shape
    (1, 28, 28)

    Source: DAY4, autoencoder (the hidden layer's output is the feature); Hinton and Salakhutdinov (2006).
    """
    layers: list[Layer] = [GaussianNoise(noise)] if noise else []
    layers.append(Flatten())
    for units in hidden:
        layers += [Dense(units), ReLU()]
    layers.append(Dense(code, name="code"))
    for units in reversed(hidden):
        layers += [Dense(units), ReLU()]
    layers += [Dense(prod(input_shape)), Reshape(input_shape)]
    return Sequential(
        *layers, input_shape=input_shape, name="denoising_autoencoder" if noise else "autoencoder"
    )


def denoising_autoencoder(
    input_shape: Shape = (1, 28, 28), hidden: Sequence[int] = (128,), code: int = 32, noise: float = 0.5
) -> Network:
    """An autoencoder that sees noisy images and is asked for the clean ones; settings as for `autoencoder`.

    >>> denoising_autoencoder().name
    'denoising_autoencoder'

    Source: DAY4, denoising autoencoder; Vincent et al. (2008).
    """
    return autoencoder(input_shape, hidden, code, noise)


def sparse_autoencoder(
    input_shape: Shape = (1, 28, 28), units: int = 64, activity: float = 0.05, strength: float = 0.1
) -> tuple[Network, SparseReconstruction]:
    """One hidden layer whose units are mostly silent, and the loss that keeps them so.

    Args:
        input_shape: of an image.
        units: hidden units; there may be more than inputs.
        activity: the mean activation that is asked for.
        strength: how strongly.

    Returns:
        The network, whose output holds the reconstruction and the hidden activations, and its loss.

    >>> network, loss = sparse_autoencoder()
    >>> network.output_shape, loss.hidden
    ((848,), 64)

    Source: DAY4, sparse autoencoder; Ng (2011).
    """
    xavier = Xavier(fan="average")
    layers: dict[str, LayerEntry] = {
        "flatten": (Flatten(), INPUT),
        "hidden_sums": Dense(units, weight_initializer=xavier),
        "hidden": Sigmoid(),
        "reconstruction": Dense(prod(input_shape), weight_initializer=xavier),
        "both": (Concatenate(), ("reconstruction", "hidden")),
    }
    network = Network(layers, input_shape, name="sparse_autoencoder")
    return network, SparseReconstruction(
        likelihood="bernoulli", hidden=units, activity=activity, strength=strength
    )


def convolutional_autoencoder(input_shape: Shape = (1, 28, 28), width: int = 16) -> Network:
    """Strided convolutions down to a small map, the code, and transposed convolutions up again.

    Args:
        input_shape: (C, *spatial), sizes divisible by 4.
        width: filters of the first convolution; the code has half as many maps.

    >>> network = convolutional_autoencoder()
    >>> network.shapes["code"], network.output_shape
    ((8, 7, 7), (1, 28, 28))

    Source: DAY4, autoencoder; Masci et al. (2011). Changed: strides instead of max pooling, which forgets where in its
    window the maximum stood and leaves more error than a linear network of the same sizes; no ReLU on the code.
    """
    return Sequential(
        Convolution(width, 3, padding="same"),
        ReLU(),
        Convolution(2 * width, 4, stride=2, padding=1),
        ReLU(),
        Convolution(width // 2, 4, stride=2, padding=1, name="code"),
        TransposedConvolution(2 * width, 4, stride=2, padding=1),
        ReLU(),
        TransposedConvolution(width, 4, stride=2, padding=1),
        ReLU(),
        Convolution(input_shape[0], 3, padding="same"),
        input_shape=input_shape,
        name="convolutional_autoencoder",
    )


def variational_autoencoder(
    input_shape: Shape = (1, 28, 28), hidden: int = 128, latent: int = 2
) -> tuple[Network, EvidenceBound]:
    """An autoencoder whose code is a normal distribution, drawn from while training; and its loss.

    Args:
        input_shape: of an image, pixels from 0 to 1.
        hidden: units of the layer before and behind the code.
        latent: length of the code.

    Returns:
        The network, whose output holds reconstruction, mean and log-variance, and its loss.

    >>> network, loss = variational_autoencoder(latent=3)
    >>> network.output_shape
    (790,)

    Source: DAY4, variational autoencoder; Kingma and Welling (2014), appendix C. ReLU for tanh.
    """
    xavier = Xavier(fan="average")
    layers: dict[str, LayerEntry] = {
        "flatten": (Flatten(), INPUT),
        "encoder": Dense(hidden),
        "encoder_relu": ReLU(),
        "mean": Dense(latent, weight_initializer=xavier),
        "log_variance": (Dense(latent, weight_initializer=xavier), "encoder_relu"),
        "code": (GaussianSample(), ("mean", "log_variance")),
        **decoder_layers(hidden, prod(input_shape), "code"),
        "all": (Concatenate(), ("reconstruction", "mean", "log_variance")),
    }
    network = Network(layers, input_shape, name="variational_autoencoder")
    return network, EvidenceBound(likelihood="bernoulli", latent=latent)


def variational_decoder(input_shape: Shape = (1, 28, 28), hidden: int = 128, latent: int = 2) -> Network:
    """The half of `variational_autoencoder` that turns a code into an image: for samples and pictures of latent space.

    Its layers have the same names, so it runs on the parameters of the whole:

    >>> whole, _ = variational_autoencoder()
    >>> decoder = variational_decoder()
    >>> parameters = whole.initialize(seed=1)
    >>> mine = {layer: parameters[layer] for layer in decoder.parameter_specs}
    >>> decoder.check_parameters(mine)

    Its outputs are logits; their sigmoid is the image.
    """
    layers = decoder_layers(hidden, prod(input_shape), INPUT)
    layers["image"] = Reshape(input_shape)
    return Network(layers, (latent,), name="variational_decoder")


def decoder_layers(hidden: int, pixels: int, source: str) -> dict[str, LayerEntry]:
    """Return the layers from the code to the logits of the pixels."""
    return {
        "decoder": (Dense(hidden), source),
        "decoder_relu": ReLU(),
        "reconstruction": Dense(pixels, weight_initializer=Xavier(fan="average")),
    }
