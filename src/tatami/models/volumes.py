"""Networks with three spatial axes: volumes (depth, height, width), and videos (time, height, width)."""

from tatami.geometry import Shape
from tatami.layers import Convolution, Dense, Flatten, GlobalAveragePool, MaxPool, ReLU
from tatami.network import Network, Sequential


def volume_cnn(input_shape: Shape = (1, 16, 16, 16), classes: int = 3, width: int = 8) -> Network:
    """Three-dimensional convolutions and poolings, then dense layers.

    Args:
        input_shape: (C, D, H, W), sizes of at least 8.
        classes: number of outputs.
        width: filters of the first convolution.

    >>> volume_cnn().output_shape
    (3,)

    Source: Maturana and Scherer (2015), VoxNet. Changed: smaller windows, no dropout.
    """
    return Sequential(
        Convolution(width, 3, padding="same"),
        ReLU(),
        MaxPool(2),
        Convolution(2 * width, 3, padding="same"),
        ReLU(),
        MaxPool(2),
        Flatten(),
        Dense(32),
        ReLU(),
        Dense(classes),
        input_shape=input_shape,
        name="volume_cnn",
    )


def video_cnn(input_shape: Shape = (1, 8, 16, 16), classes: int = 4, width: int = 8) -> Network:
    """Convolutions over time and space together, so that filters can see motion.

    Args:
        input_shape: (C, time, H, W), at least 4 frames.
        classes: number of outputs.
        width: filters of the first convolution.

    >>> video_cnn().output_shape
    (4,)

    Source: Tran et al. (2015), C3D: 3×3×3 windows, the first pooling in space only. Smaller.
    """
    return Sequential(
        Convolution(width, 3, padding="same"),
        ReLU(),
        MaxPool((1, 2, 2)),
        Convolution(2 * width, 3, padding="same"),
        ReLU(),
        MaxPool(2),
        Convolution(2 * width, 3, padding="same"),
        ReLU(),
        GlobalAveragePool(),
        Dense(classes),
        input_shape=input_shape,
        name="video_cnn",
    )
