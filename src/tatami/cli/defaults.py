"""What `tatami train` does where the command line says nothing: it depends on the data set and the task.

An option that is given replaces its default and no other, except that another optimiser brings its own learning rate.
"""

from dataclasses import dataclass, replace

from tatami.data import Dataset
from tatami.data.texts import TextFormat


@dataclass(frozen=True)
class Defaults:
    """Defaults of one data set.

    Args:
        network: name of the network.
        epochs: passes over the training images.
        batch_size: images of one step.
        optimizer: name of the optimiser.
        learning_rate: of that optimiser.
        schedule: name of the schedule.
        validation: share of the training images to measure on after each epoch.
        preprocessing: name of the preprocessing.
    """

    network: str = "small_convnet"
    epochs: int = 10
    batch_size: int = 100
    optimizer: str = "adam"
    learning_rate: float = 0.001
    schedule: str = "cosine"
    validation: float = 0.1
    preprocessing: str = "scale"


DEFAULTS: dict[str, Defaults] = {
    # Reaches 98 % in a few seconds for every seed that was tried.
    "digits": Defaults(network="small_convnet", epochs=15, batch_size=32, learning_rate=0.003),
    "mnist": Defaults(network="arai", epochs=4, batch_size=100, learning_rate=0.001),
    "fashion_mnist": Defaults(network="small_convnet", epochs=5),
    "kmnist": Defaults(network="small_convnet", epochs=5),
    "cifar10": Defaults(network="small_convnet", epochs=10),
    "cifar100": Defaults(network="small_convnet", epochs=10),
    "katakana": Defaults(network="small_convnet", epochs=8, batch_size=32),
    "katakana46": Defaults(network="small_convnet", epochs=8, batch_size=32),
    "shapes": Defaults(network="unet", epochs=8, batch_size=20, learning_rate=0.02, preprocessing="none"),
    "gestures": Defaults(
        network="skeleton_cnn", epochs=12, batch_size=30, learning_rate=0.005, preprocessing="none"
    ),
    "tones": Defaults(
        network="signal_cnn", epochs=20, batch_size=32, learning_rate=0.01, preprocessing="none"
    ),
    "spectrograms": Defaults(epochs=10, batch_size=40, learning_rate=0.003, preprocessing="standardise"),
    "blobs": Defaults(
        network="video_cnn", epochs=8, batch_size=30, learning_rate=0.005, preprocessing="none"
    ),
    "ellipsoids": Defaults(
        network="volume_cnn", epochs=8, batch_size=30, learning_rate=0.005, preprocessing="none"
    ),
    "adding": Defaults(
        network="sequence_classifier", epochs=25, batch_size=50, learning_rate=0.01, preprocessing="none"
    ),
    "text": Defaults(network="char_rnn", epochs=15, batch_size=40, learning_rate=0.01, preprocessing="none"),
    # The exercise: all six images in one step, the cost summed over them, 5000 updates.
    "ox": Defaults(
        network="ox",
        epochs=5000,
        batch_size=6,
        optimizer="sgd",
        learning_rate=0.1,
        schedule="constant",
        validation=0.0,
        preprocessing="none",
    ),
}
FOLDER_DEFAULTS = Defaults(epochs=20, batch_size=32)
# What is trained on where a task is named and no data set.
EXAMPLES: dict[str, str] = {
    "classify": "digits",
    "regress": "adding",
    "segment": "shapes",
    "reconstruct": "digits",
    "sequence": "text",
}

# Where an optimiser is named and no learning rate.
LEARNING_RATES: dict[str, float] = {
    "sgd": 0.05,
    "adagrad": 0.02,
    "rmsprop": 0.001,
    "adam": 0.001,
    "adamw": 0.001,
}


def defaults_for(name: str, task: str = "classify", dataset: Dataset | None = None) -> Defaults:
    """Return the defaults of a data set for a task; a folder of images has common ones."""
    found = DEFAULTS.get(name, FOLDER_DEFAULTS)
    if task == "classify" and (name in DEFAULTS or dataset is None):
        return found
    assert dataset is not None
    fitting = default_network(name, task, dataset)
    if task == "reconstruct":
        return replace(
            found,
            network=fitting,
            epochs=max(found.epochs, 20),
            learning_rate=0.003,
            preprocessing=scaling_of(dataset),
        )
    if name in DEFAULTS:
        return replace(found, network=fitting)
    # Recurrent layers take larger steps than convolutions.
    rate = 0.01 if fitting in ("char_rnn", "text_classifier", "sequence_classifier") else 0.003
    return replace(found, network=fitting, learning_rate=rate, preprocessing=scaling_of(dataset))


def default_network(name: str, task: str, dataset: Dataset) -> str:
    """Return a network that fits a task and the shape of the examples."""
    if task == "segment":
        return "unet"
    if task == "reconstruct":
        return "autoencoder"
    if task == "sequence":
        return "char_rnn"
    if name in DEFAULTS and DEFAULTS[name].network not in ("ox", "unet", "char_rnn"):
        return DEFAULTS[name].network
    if isinstance(dataset.format, TextFormat):
        return "text_classifier"
    axes = len(dataset.image_shape)
    return {1: "mlp", 2: "sequence_classifier" if task == "regress" else "signal_cnn", 4: "volume_cnn"}.get(
        axes, "small_convnet"
    )


def scaling_of(dataset: Dataset) -> str:
    """Return the preprocessing for a kind of data: letters stay, measured columns are standardised, the rest scaled."""
    if isinstance(dataset.format, TextFormat):
        return "none"
    vectors = len(dataset.image_shape) == 1 and dataset.images.dtype.kind == "f"
    return "standardise" if vectors else "scale"
