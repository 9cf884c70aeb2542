"""Named networks: the lectures' and the field's.

`build` makes a classifier of images for given data, `recipe` says with which loss it is trained.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tatami.errors import unknown_name
from tatami.geometry import Shape
from tatami.losses import Loss, SoftmaxCrossEntropy, SquaredError
from tatami.models.autoencoders import (
    autoencoder,
    convolutional_autoencoder,
    denoising_autoencoder,
    sparse_autoencoder,
    variational_autoencoder,
    variational_decoder,
)
from tatami.models.classic import alexnet, deepface_like, lenet5_table, neocognitron_like, resnet, vgg, zfnet
from tatami.models.lectures import arai, lenet5, mlp, ox, perceptron, simple_convnet
from tatami.models.segmentation import fcn, unet
from tatami.models.sequences import (
    char_rnn,
    sequence_classifier,
    signal_cnn,
    skeleton_cnn,
    spectrogram_cnn,
    text_classifier,
)
from tatami.models.small_convnet import small_convnet
from tatami.models.volumes import video_cnn, volume_cnn
from tatami.network import Network

__all__ = [
    "MODELS",
    "Recipe",
    "alexnet",
    "arai",
    "autoencoder",
    "build",
    "char_rnn",
    "convolutional_autoencoder",
    "deepface_like",
    "denoising_autoencoder",
    "fcn",
    "lenet5",
    "lenet5_table",
    "mlp",
    "neocognitron_like",
    "ox",
    "perceptron",
    "recipe",
    "resnet",
    "sequence_classifier",
    "signal_cnn",
    "simple_convnet",
    "skeleton_cnn",
    "small_convnet",
    "sparse_autoencoder",
    "spectrogram_cnn",
    "text_classifier",
    "unet",
    "variational_autoencoder",
    "variational_decoder",
    "vgg",
    "video_cnn",
    "volume_cnn",
    "zfnet",
]


@dataclass(frozen=True)
class Recipe:
    """A named network and the loss that it is trained with."""

    function: Callable[..., Network]
    loss: Loss = field(default_factory=SoftmaxCrossEntropy)


MODELS: dict[str, Recipe] = {
    "arai": Recipe(arai),
    "deepface_like": Recipe(deepface_like),
    "lenet5": Recipe(lenet5),
    "lenet5_table": Recipe(lenet5_table),
    "mlp": Recipe(mlp),
    "neocognitron_like": Recipe(neocognitron_like),
    "ox": Recipe(ox, SquaredError("sum")),
    "perceptron": Recipe(perceptron),
    "resnet": Recipe(resnet),
    "simple_convnet": Recipe(simple_convnet),
    "small_convnet": Recipe(small_convnet),
    "vgg": Recipe(vgg),
}


def recipe(name: str) -> Recipe:
    """Return a named network's function and loss; an unknown name gets a suggestion."""
    if name not in MODELS:
        raise unknown_name("network", name, MODELS)
    return MODELS[name]


def build(name: str, input_shape: Shape | None = None, classes: int | None = None) -> Network:
    """Build a named network, by default for the data of its lecture.

    Args:
        name: one of `MODELS`: 'arai', 'lenet5', 'mlp', 'ox', 'resnet', …; networks for other tasks
            than naming the class of an image are functions of this package.
        input_shape: (C, H, W) of the data; the lecture's by default.
        classes: number of outputs; the lecture's by default.

    >>> build("arai").parameter_count
    354726
    """
    function = recipe(name).function
    settings: dict[str, object] = {}
    if input_shape is not None:
        settings["input_shape"] = input_shape
    if classes is not None:
        settings["classes"] = classes
    return function(**settings)
