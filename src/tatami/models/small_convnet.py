"""A small convolutional network for small images: what `tatami train` begins with on the digits."""

from tatami.geometry import Shape
from tatami.layers import Convolution, Dense, Dropout, Flatten, MaxPool, ReLU
from tatami.network import Network, Sequential


def small_convnet(input_shape: Shape = (1, 8, 8), classes: int = 10) -> Network:
    """Two 3×3 convolutions that keep the size, one pooling, dropout before 64 hidden units.

    Not from the lectures. On the 8×8 digits, where 5×5 filters see more than half of the image at once, the two small
    filters and the dropout make half as many mistakes as `simple_convnet` (99.2 against 98.4 % over eight seeds).
    """
    return Sequential(
        Convolution(16, 3, padding="same"),
        ReLU(),
        Convolution(32, 3, padding="same"),
        ReLU(),
        MaxPool(2),
        Flatten(),
        Dropout(0.5),
        Dense(64),
        ReLU(),
        Dense(classes),
        input_shape=input_shape,
        name="small_convnet",
    )
