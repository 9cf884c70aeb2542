"""Every named network with the tasks that it serves, built for given data."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tatami.errors import SettingError, unknown_name
from tatami.geometry import Shape
from tatami.losses import Loss
from tatami.models import MODELS
from tatami.models.autoencoders import (
    autoencoder,
    convolutional_autoencoder,
    denoising_autoencoder,
    sparse_autoencoder,
    variational_autoencoder,
)
from tatami.models.classic import alexnet, zfnet
from tatami.models.segmentation import fcn, unet
from tatami.models.sequences import (
    char_rnn,
    sequence_classifier,
    signal_cnn,
    skeleton_cnn,
    spectrogram_cnn,
    text_classifier,
)
from tatami.models.volumes import video_cnn, volume_cnn
from tatami.network import Network

ANSWERS = ("classify", "regress")
MAPS = ("segment", "reconstruct")
IMAGES = ("reconstruct",)
STEPS = ("sequence",)


@dataclass(frozen=True)
class Architecture:
    """A function that returns a network, alone or with its loss, and what it is for.

    Attributes:
        function: makes the network.
        tasks: names of the tasks whose outputs it has.
        loss: what it is trained with, where that is not the task's default.
        outputs: what the function calls the number of outputs; '' if it has none of its own.
    """

    function: Callable[..., Any]
    tasks: tuple[str, ...] = ANSWERS
    loss: Loss | None = None
    outputs: str = "classes"


ARCHITECTURES: Mapping[str, Architecture] = {
    **{name: Architecture(recipe.function, loss=recipe.loss) for name, recipe in MODELS.items()},
    "alexnet": Architecture(alexnet),
    "zfnet": Architecture(zfnet),
    "signal_cnn": Architecture(signal_cnn),
    "spectrogram_cnn": Architecture(spectrogram_cnn),
    "skeleton_cnn": Architecture(skeleton_cnn),
    "sequence_classifier": Architecture(sequence_classifier),
    "text_classifier": Architecture(text_classifier),
    "volume_cnn": Architecture(volume_cnn),
    "video_cnn": Architecture(video_cnn),
    "fcn": Architecture(fcn, MAPS),
    "unet": Architecture(unet, MAPS),
    "autoencoder": Architecture(autoencoder, IMAGES, outputs=""),
    "denoising_autoencoder": Architecture(denoising_autoencoder, IMAGES, outputs=""),
    "sparse_autoencoder": Architecture(sparse_autoencoder, IMAGES, outputs=""),
    "convolutional_autoencoder": Architecture(convolutional_autoencoder, IMAGES, outputs=""),
    "variational_autoencoder": Architecture(variational_autoencoder, IMAGES, outputs=""),
    "char_rnn": Architecture(char_rnn, STEPS, outputs="vocabulary"),
}


def for_task(task: str) -> list[str]:
    """Return the names of the networks that serve a task.

    >>> for_task("segment")
    ['fcn', 'unet']
    """
    return [name for name, entry in ARCHITECTURES.items() if task in entry.tasks]


def built(
    name: str,
    input_shape: Shape | None,
    outputs: int | None,
    task: str = "classify",
    settings: Mapping[str, Any] | None = None,
) -> tuple[Network, Loss | None]:
    """Build a named network for data and a task.

    Args:
        name: one of `ARCHITECTURES`.
        input_shape: of an example; None for what the function says.
        outputs: number of classes, or of numbers; likewise.
        task: what it is to be trained for.
        settings: arguments of the network's function, such as units.

    Returns:
        The network, and its own loss where it has one and the task is its first.

    Raises:
        UnknownNameError: no such network, or setting.
        SettingError: the network does not serve the task.

    >>> built("unet", (1, 32, 32), 3, "segment")[0].output_shape
    (3, 32, 32)
    """
    if name not in ARCHITECTURES:
        raise unknown_name("network", name, ARCHITECTURES)
    entry = ARCHITECTURES[name]
    if task not in entry.tasks:
        raise SettingError(
            f"network {name} is for {' and '.join(entry.tasks)}, not for task {task}; choose one of: "
            f"{', '.join(for_task(task))}, or a JSON file of a network"
        )
    known = list(inspect.signature(entry.function).parameters)
    reserved = {"input_shape", entry.outputs}
    given = dict(settings or {})
    for setting in given:
        if setting not in known or setting in reserved:
            raise unknown_name(
                f"setting of network {name}", setting, [word for word in known if word not in reserved]
            )
    if input_shape is not None and "input_shape" in known:
        given["input_shape"] = input_shape
    elif input_shape is not None and "length" in known:
        given["length"] = one_axis(name, input_shape)
    if entry.outputs and task == "reconstruct" and input_shape is not None:
        given[entry.outputs] = input_shape[0]
    elif entry.outputs and outputs is not None:
        given[entry.outputs] = outputs
    try:
        made = entry.function(**given)
    except (TypeError, IndexError, ValueError) as error:
        if isinstance(error, SettingError) or type(error) not in (TypeError, IndexError, ValueError):
            raise
        raise SettingError(
            f"network {name} cannot be built for examples of shape {input_shape}"
            f"{f' with {dict(settings)}' if settings else ''}: {error}"
        ) from error
    network, loss = made if isinstance(made, tuple) else (made, None)
    return network, loss or (entry.loss if task == "classify" else None)


def one_axis(name: str, input_shape: Shape) -> int:
    """Return the length of a text, or raise if examples are none."""
    if len(input_shape) != 1:
        raise SettingError(
            f"network {name} reads tokens (time,), the data have examples of shape {input_shape}; give a text file"
        )
    return input_shape[0]
