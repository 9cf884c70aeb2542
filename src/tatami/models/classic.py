"""The networks of the field's history that classify images, each with its source and what was changed.

Sizes are settings, so that the same design runs on small images; the defaults suit 28×28 digits unless a network needs
more. Each ends in logits.
"""

from collections.abc import Sequence

from tatami.geometry import Shape
from tatami.initializers import Xavier
from tatami.layers import (
    Add,
    BatchNormalization,
    Convolution,
    Dense,
    Dropout,
    FilterBank,
    Flatten,
    GlobalAveragePool,
    L2Pool,
    Layer,
    LocallyConnected,
    LocalResponseNormalization,
    MaxPool,
    ReLU,
    TableConvolution,
)
from tatami.layers.fixed_filters import gabor_filters
from tatami.models.lectures import lenet
from tatami.network import INPUT, LayerEntry, Network, Sequential


def neocognitron_like(input_shape: Shape = (1, 28, 28), classes: int = 10, orientations: int = 8) -> Network:
    """Simple cells that answer to bars of one orientation, complex cells that gather them over places, twice.

    The first simple cells are fixed Gabor filters, the second ones are learned.

    Source: History, simple and complex cells; Fukushima (1980). Changed: learned by gradients, not by competition;
    complex cells are the root of the mean square over 2×2 cells.
    """
    return Sequential(
        FilterBank(gabor_filters(orientations, 7)),
        ReLU(),
        L2Pool(2),
        Convolution(4 * orientations, 5),
        ReLU(),
        L2Pool(2),
        Flatten(),
        Dense(classes),
        input_shape=input_shape,
        name="neocognitron_like",
    )


def lenet5_table(input_shape: Shape = (1, 28, 28), classes: int = 10) -> Network:
    """LeNet-5 with the connection table of its third layer: 1,516 parameters there, 60,000 or so in all.

    Source: LeCun, Bottou, Bengio, Haffner (1998), table I. Changed: 28×28 images are padded by 2 in the first layer
    instead of beforehand; the poolings have no coefficients; tanh without the 1.7159 scaling; linear outputs instead of
    radial basis functions.
    """
    return lenet(TableConvolution(5, weight_initializer=Xavier()), input_shape, classes, "lenet5_table")


def alexnet(input_shape: Shape = (3, 227, 227), classes: int = 1000, width: float = 1.0) -> Network:
    """AlexNet: five convolutions, some in two groups, local response normalisation, overlapping pools, dropout.

    Args:
        input_shape: (C, H, W), from about 67×67 upward.
        classes: number of outputs.
        width: factor on all numbers of filters and units.

    >>> alexnet().parameter_count
    60965224

    Source: History, ImageNet; Krizhevsky, Sutskever, Hinton (2012). The images are 227×227, as the sizes of the paper
    demand (it prints 224). Changed: He initial values instead of a fixed deviation.
    """

    def scaled(number: int) -> int:
        """Scale a number of filters, keeping it even for the two groups."""
        return max(2, round(number * width / 2) * 2)

    return Sequential(
        Convolution(scaled(96), 11, stride=4),
        ReLU(),
        LocalResponseNormalization(),
        MaxPool(3, stride=2),
        Convolution(scaled(256), 5, padding=2, groups=2),
        ReLU(),
        LocalResponseNormalization(),
        MaxPool(3, stride=2),
        Convolution(scaled(384), 3, padding=1),
        ReLU(),
        Convolution(scaled(384), 3, padding=1, groups=2),
        ReLU(),
        Convolution(scaled(256), 3, padding=1, groups=2),
        ReLU(),
        MaxPool(3, stride=2, padding=1 if min(input_shape[1:]) < 100 else "valid"),
        Flatten(),
        Dropout(0.5),
        Dense(scaled(4096)),
        ReLU(),
        Dropout(0.5),
        Dense(scaled(4096)),
        ReLU(),
        Dense(classes),
        input_shape=input_shape,
        name="alexnet",
    )


def zfnet(input_shape: Shape = (3, 224, 224), classes: int = 1000, width: float = 1.0) -> Network:
    """ZFNet: AlexNet with a smaller window and stride in front, found by looking at what its filters show.

    Args:
        input_shape: (C, H, W), from about 60×60 upward.
        classes: number of outputs.
        width: factor on all numbers of filters and units.

    >>> zfnet().shapes["conv5"]
    (256, 13, 13)

    Source: History, 'Visualizing and understanding'; Zeiler and Fergus (2014), figure 3. Changed: local response
    normalisation for their contrast normalisation.
    """

    def scaled(number: int) -> int:
        """Scale a number of filters."""
        return max(1, round(number * width))

    return Sequential(
        Convolution(scaled(96), 7, stride=2, padding=1),
        ReLU(),
        MaxPool(3, stride=2, padding=1),
        LocalResponseNormalization(),
        Convolution(scaled(256), 5, stride=2),
        ReLU(),
        MaxPool(3, stride=2, padding=1),
        LocalResponseNormalization(),
        Convolution(scaled(384), 3, padding=1),
        ReLU(),
        Convolution(scaled(384), 3, padding=1),
        ReLU(),
        Convolution(scaled(256), 3, padding=1),
        ReLU(),
        MaxPool(3, stride=2),
        Flatten(),
        Dense(scaled(4096)),
        ReLU(),
        Dropout(0.5),
        Dense(scaled(4096)),
        ReLU(),
        Dropout(0.5),
        Dense(classes),
        input_shape=input_shape,
        name="zfnet",
    )


def vgg(
    input_shape: Shape = (1, 28, 28),
    classes: int = 10,
    stages: Sequence[Sequence[int]] = ((16, 16), (32, 32)),
    head: Sequence[int] = (128,),
    batch_normalization: bool = True,
) -> Network:
    """Stages of 3×3 convolutions, each followed by 2×2 max pooling; the deeper, the more filters.

    Args:
        input_shape: (C, H, W); every stage halves H and W.
        classes: number of outputs.
        stages: the numbers of filters, stage by stage.
        head: units of the fully connected layers, each with dropout.
        batch_normalization: whether every convolution is normalised (the paper's are not).

    >>> deep = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
    >>> vgg((3, 224, 224), 1000, deep, (4096, 4096), batch_normalization=False).parameter_count
    138357544

    Source: Simonyan and Zisserman (2015); with those settings it is VGG-16.
    """
    layers: list[Layer] = []
    for stage in stages:
        for filters in stage:
            layers.append(Convolution(filters, 3, padding="same", bias=not batch_normalization))
            layers += [BatchNormalization(), ReLU()] if batch_normalization else [ReLU()]
        layers.append(MaxPool(2))
    layers.append(Flatten())
    for units in head:
        layers += [Dense(units), ReLU(), Dropout(0.5)]
    return Sequential(*layers, Dense(classes), input_shape=input_shape, name="vgg")


def resnet(
    input_shape: Shape = (1, 28, 28),
    classes: int = 10,
    blocks: Sequence[int] = (1, 1, 1),
    width: int = 16,
) -> Network:
    """Residual blocks: y = ReLU(x + F(x)), F two 3×3 convolutions with batch normalisation.

    The first block of each further stage halves the map and doubles the filters; its x goes through a 1×1 convolution.

    Args:
        input_shape: (C, *spatial); one, two or three spatial axes.
        classes: number of outputs.
        blocks: number of blocks in every stage; (3, 3, 3) is ResNet-20.
        width: filters of the first stage.

    >>> resnet((3, 32, 32), blocks=(3, 3, 3)).parameter_count
    272474

    Source: He, Zhang, Ren, Sun (2016), §4.2, the networks for small images. Changed: 1×1 convolutions on the skip where
    the size changes (their option B; option A pads with zeros).
    """
    layers: dict[str, LayerEntry] = {
        "conv": (Convolution(width, 3, padding=1, bias=False), INPUT),
        "norm": BatchNormalization(),
        "relu": ReLU(),
    }
    last, filters = "relu", width
    for stage, count in enumerate(blocks, start=1):
        for block in range(1, count + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            filters = width * 2 ** (stage - 1)
            last = residual_block(layers, f"stage{stage}_block{block}", last, filters, stride)
    layers["pool"] = GlobalAveragePool()
    layers["dense"] = Dense(classes)
    return Network(layers, input_shape, name="resnet")


def residual_block(layers: dict[str, LayerEntry], name: str, source: str, filters: int, stride: int) -> str:
    """Add the layers of one block behind ``source`` and return the name of its output."""
    layers[f"{name}_conv1"] = (Convolution(filters, 3, stride=stride, padding=1, bias=False), source)
    layers[f"{name}_norm1"] = BatchNormalization()
    layers[f"{name}_relu1"] = ReLU()
    layers[f"{name}_conv2"] = Convolution(filters, 3, padding=1, bias=False)
    layers[f"{name}_norm2"] = BatchNormalization()
    skip = source
    if stride != 1:
        layers[f"{name}_skip"] = (Convolution(filters, 1, stride=stride, bias=False), source)
        layers[f"{name}_skip_norm"] = BatchNormalization()
        skip = f"{name}_skip_norm"
    layers[f"{name}_add"] = (Add(), (f"{name}_norm2", skip))
    layers[f"{name}_relu2"] = ReLU()
    return f"{name}_relu2"


def deepface_like(input_shape: Shape = (1, 28, 28), classes: int = 10, width: int = 8) -> Network:
    """A shared convolution in front, then locally connected layers: for images in which parts have their places.

    Source: History, DeepFace; Taigman, Yang, Ranzato, Wolf (2014). Changed: windows and maps scaled down from 152×152
    faces (their windows are 11, 9, 9, 7, 5); He initial values.
    """
    return Sequential(
        Convolution(2 * width, 5),
        ReLU(),
        MaxPool(3, stride=2),
        LocallyConnected(width, 3),
        ReLU(),
        LocallyConnected(width, 3, stride=2),
        ReLU(),
        Flatten(),
        Dense(64),
        ReLU(),
        Dropout(0.5),
        Dense(classes),
        input_shape=input_shape,
        name="deepface_like",
    )
