"""Named networks: the lectures'. `build` makes one for given data, `recipe` says with which loss it is trained."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tatami.errors import unknown_name
from tatami.geometry import Shape
from tatami.losses import Loss, SoftmaxCrossEntropy, SquaredError
from tatami.models.lectures import arai, lenet5, mlp, ox, perceptron, simple_convnet
from tatami.models.small_convnet import small_convnet
from tatami.network import Network

__all__ = [
    "MODELS",
    "Recipe",
    "arai",
    "build",
    "lenet5",
    "mlp",
    "ox",
    "perceptron",
    "recipe",
    "simple_convnet",
    "small_convnet",
]


@dataclass(frozen=True)
class Recipe:
    """A named network and the loss that it is trained with."""

    function: Callable[..., Network]
    loss: Loss = field(default_factory=SoftmaxCrossEntropy)


MODELS: dict[str, Recipe] = {
    "arai": Recipe(arai),
    "lenet5": Recipe(lenet5),
    "mlp": Recipe(mlp),
    "ox": Recipe(ox, SquaredError("sum")),
    "perceptron": Recipe(perceptron),
    "simple_convnet": Recipe(simple_convnet),
    "small_convnet": Recipe(small_convnet),
}


def recipe(name: str) -> Recipe:
    """Return a named network's function and loss; an unknown name gets a suggestion."""
    if name not in MODELS:
        raise unknown_name("network", name, MODELS)
    return MODELS[name]


def build(name: str, input_shape: Shape | None = None, classes: int | None = None) -> Network:
    """Build a named network, by default for the data of its lecture.

    Args:
        name: 'arai', 'lenet5', 'mlp', 'ox', 'perceptron', 'simple_convnet' or
            'small_convnet'.
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
