"""The lectures' networks. Each ends in logits; the softmax belongs to the loss, `SoftmaxCrossEntropy`."""

from tatami.errors import ShapeError
from tatami.geometry import Shape
from tatami.initializers import Constant, Given, Normal, Xavier
from tatami.layers import (
    AveragePool,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool,
    ReLU,
    Sigmoid,
    Tanh,
)
from tatami.network import Network, Sequential, shape_text


def ox(input_shape: Shape = (1, 3, 3), classes: int = 2) -> Network:
    """The ○× exercise: two 2×2 filters, sigmoid, max pooling over each whole 2×2 map, two sigmoid outputs.

    It starts from the numbers on the slides. Train it with ½Σ(t - a)² summed over the images: SquaredError("sum").

    Raises:
        ShapeError: data of another shape or number of classes; the given numbers fit to no other.

    Source: DSP, MATLAB exercise.
    """
    if (tuple(input_shape), classes) != ((1, 3, 3), 2):
        raise ShapeError(
            f"ox: the ○× exercise starts from given numbers for 1x3x3 images of 2 classes, the data are "
            f"{shape_text(input_shape)} of {classes}; train another network, or this one with: tatami train ox"
        )
    return Sequential(
        Convolution(
            2,
            2,
            weight_initializer=Given([[[[1, 1], [1, -1]]], [[[1, -1], [-1, 1]]]]),
            bias_initializer=Constant(1.0),
        ),
        Sigmoid(),
        MaxPool(2),
        Flatten(),
        Dense(classes, weight_initializer=Given([[1.5, -4.2], [-2.6, 3.5]]), bias_initializer=Constant(1.0)),
        Sigmoid(),
        input_shape=input_shape,
        name="ox",
    )


def arai(input_shape: Shape = (1, 28, 28), classes: int = 10) -> Network:
    """The network of Arai's MATLAB program: two convolutions with pooling, then 100, 200 and 10 units.

    He initial values and zero biases. The program drops an exact number of the 200 units' outputs over the batch, we
    drop each with probability 0.2; its digit 0 is class 10, ours is class 0.

    Source: Arai, appendix.
    """
    return Sequential(
        Convolution(32, 3, padding="same"),
        ReLU(),
        MaxPool(2),
        Convolution(64, 3, padding="same"),
        ReLU(),
        MaxPool(2),
        Flatten(),
        Dense(100),
        ReLU(),
        Dense(200),
        ReLU(),
        Dropout(0.2),
        Dense(classes),
        input_shape=input_shape,
        name="arai",
    )


def lenet5(input_shape: Shape = (1, 28, 28), classes: int = 10) -> Network:
    """LeNet-5: convolutions of 6, 16 and 120 filters with average pooling between them, then 84 units.

    Source: LeCun, Bottou, Bengio, Haffner (1998); History. Changed: 28×28 images are padded by 2 in the first layer
    instead of beforehand; every C3 filter sees all six maps (no connection table); the poolings have no
    coefficients; tanh without the 1.7159 scaling; linear outputs instead of radial basis functions.
    """
    return lenet(Convolution(16, 5, weight_initializer=Xavier()), input_shape, classes, "lenet5")


def lenet(third: Layer, input_shape: Shape, classes: int, name: str) -> Network:
    """Return LeNet-5 around its third layer, whose filters see all maps or those of a table."""
    xavier = Xavier()
    return Sequential(
        Convolution(6, 5, padding=2, weight_initializer=xavier),
        Tanh(),
        AveragePool(2),
        third,
        Tanh(),
        AveragePool(2),
        Convolution(120, 5, weight_initializer=xavier),
        Tanh(),
        Flatten(),
        Dense(84, weight_initializer=xavier),
        Tanh(),
        Dense(classes, weight_initializer=xavier),
        input_shape=input_shape,
        name=name,
    )


def simple_convnet(input_shape: Shape = (1, 28, 28), classes: int = 10) -> Network:
    """DAY4's exercise: 30 filters of 5×5, ReLU, 2×2 max pooling, 100 hidden units.

    Source: DAY4, notebook 4_7. Changed: He initial values instead of a fixed deviation.
    """
    return Sequential(
        Convolution(30, 5),
        ReLU(),
        MaxPool(2),
        Flatten(),
        Dense(100),
        ReLU(),
        Dense(classes),
        input_shape=input_shape,
        name="simple_convnet",
    )


def mlp(input_shape: Shape = (1, 28, 28), classes: int = 10) -> Network:
    """A fully connected network without convolution: 256 and 128 hidden units with ReLU.

    Source: DAY4's 'fully connected neural network', the baseline that convolution is compared with.
    """
    return Sequential(
        Flatten(),
        Dense(256),
        ReLU(),
        Dense(128),
        ReLU(),
        Dense(classes),
        input_shape=input_shape,
        name="mlp",
    )


def perceptron(input_shape: Shape = (1, 28, 28), classes: int = 10) -> Network:
    """One layer of weights from the input to the outputs: what can be told apart by planes.

    Source: History, perceptron. Changed: trained by gradients on the softmax of its sums, not by Rosenblatt's rule on a
    step; the class it predicts is the same, the largest sum.
    """
    return Sequential(
        Flatten(),
        Dense(classes, weight_initializer=Normal(0.01)),
        input_shape=input_shape,
        name="perceptron",
    )
