"""Networks that name the class of every pixel.

Their output is a map of logits (classes, H, W), trained with `SoftmaxCrossEntropy` (or `Dice`) on labels (N, H, W).
"""

from tatami.geometry import Shape
from tatami.layers import (
    Add,
    BatchNormalization,
    Concatenate,
    Convolution,
    MaxPool,
    ReLU,
    TransposedConvolution,
)
from tatami.network import INPUT, LayerEntry, Network


def fcn(input_shape: Shape = (1, 32, 32), classes: int = 3, width: int = 16) -> Network:
    """A fully convolutional network: class scores at a quarter of the size, enlarged, corrected by finer scores.

    Args:
        input_shape: (C, *spatial), sizes divisible by 4.
        classes: number of classes, the background included.
        width: filters of the first convolution.

    >>> fcn().output_shape
    (3, 32, 32)

    Source: Long, Shelhamer, Darrell (2015), the skip of FCN-16s. Changed: two poolings instead of five, no
    pre-training.
    """
    layers: dict[str, LayerEntry] = {
        "conv1": (Convolution(width, 3, padding="same"), INPUT),
        "relu1": ReLU(),
        "pool1": MaxPool(2),
        "conv2": Convolution(2 * width, 3, padding="same"),
        "relu2": ReLU(),
        "pool2": MaxPool(2),
        "conv3": Convolution(4 * width, 3, padding="same"),
        "relu3": ReLU(),
        "score3": Convolution(classes, 1),
        "up3": TransposedConvolution(classes, 4, stride=2, padding=1),
        "score2": (Convolution(classes, 1), "pool1"),
        "sum2": (Add(), ("up3", "score2")),
        "up2": TransposedConvolution(classes, 4, stride=2, padding=1),
    }
    return Network(layers, input_shape, name="fcn")


def unet(input_shape: Shape = (1, 32, 32), classes: int = 3, width: int = 8, depth: int = 2) -> Network:
    """A U: down by pooling, up by transposed convolutions, joined by skips at every size.

    The maps from the way down stand beside those from below, so that what is seen and where it is meet.

    Args:
        input_shape: (C, *spatial), sizes divisible by 2^depth; with three axes it is the 3-D U-Net.
        classes: number of classes, the background included.
        width: filters at full size; they double at every pooling.
        depth: number of poolings; the paper has 4.

    >>> unet((1, 16, 16, 16), classes=2).output_shape
    (2, 16, 16, 16)

    Source: Ronneberger, Fischer, Brox (2015). Changed: 'same' padding, so that nothing is cropped; batch
    normalisation (as in Çiçek et al., 2016); smaller.
    """
    layers: dict[str, LayerEntry] = {}
    last = INPUT
    for level in range(depth):
        last = two_convolutions(layers, f"down{level + 1}", last, width * 2**level)
        layers[f"pool{level + 1}"] = (MaxPool(2), last)
        last = f"pool{level + 1}"
    last = two_convolutions(layers, "bottom", last, width * 2**depth)
    for level in reversed(range(depth)):
        filters = width * 2**level
        layers[f"enlarge{level + 1}"] = (TransposedConvolution(filters, 2, stride=2), last)
        layers[f"join{level + 1}"] = (Concatenate(), (f"enlarge{level + 1}", f"down{level + 1}_relu2"))
        last = two_convolutions(layers, f"up{level + 1}", f"join{level + 1}", filters)
    layers["scores"] = (Convolution(classes, 1), last)
    return Network(layers, input_shape, name="unet")


def two_convolutions(layers: dict[str, LayerEntry], name: str, source: str, filters: int) -> str:
    """Add two 3×3 convolutions, normalised and with ReLU, behind ``source`` and return the name of the second ReLU."""
    layers[f"{name}_conv1"] = (Convolution(filters, 3, padding="same", bias=False), source)
    layers[f"{name}_norm1"] = BatchNormalization()
    layers[f"{name}_relu1"] = ReLU()
    layers[f"{name}_conv2"] = Convolution(filters, 3, padding="same", bias=False)
    layers[f"{name}_norm2"] = BatchNormalization()
    layers[f"{name}_relu2"] = ReLU()
    return f"{name}_relu2"
