"""Networks for what runs in time: signals, sounds, joints of a body, letters. Sequences are (features, time)."""

from collections.abc import Mapping
from typing import Literal

from tatami.errors import unknown_name
from tatami.geometry import Shape
from tatami.layers import (
    GRU,
    LSTM,
    RNN,
    BatchNormalization,
    Convolution,
    Dense,
    Embedding,
    GlobalAveragePool,
    Layer,
    MaxPool,
    PaddingMask,
    Recurrent,
    ReLU,
    ShortTimeFourier,
)
from tatami.layers.recurrent import Direction
from tatami.network import INPUT, LayerEntry, Network, Sequential

Cell = Literal["rnn", "lstm", "gru"]
CELLS: Mapping[str, type[Recurrent]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


def signal_cnn(input_shape: Shape = (1, 256), classes: int = 4, width: int = 16) -> Network:
    """One-dimensional convolutions over a signal, and the mean over time at the end.

    Args:
        input_shape: (channels, time).
        classes: number of outputs.
        width: filters of the first convolution.

    >>> signal_cnn().output_shape
    (4,)

    Source: DSP's convolution over one axis; Wang, Yan, Oates (2017), whose fully convolutional network it shrinks.
    """
    layers: list[Layer] = []
    for filters, taps in ((width, 9), (2 * width, 5), (2 * width, 3)):
        layers += [
            Convolution(filters, taps, padding="same", bias=False),
            BatchNormalization(),
            ReLU(),
            MaxPool(2),
        ]
    return Sequential(
        *layers, GlobalAveragePool(), Dense(classes), input_shape=input_shape, name="signal_cnn"
    )


def spectrogram_cnn(
    input_shape: Shape = (1, 256), classes: int = 4, length: int = 32, hop: int = 8, width: int = 8
) -> Network:
    """The picture of a signal's frequencies over time, read by a two-dimensional network.

    Args:
        input_shape: (channels, time).
        classes: number of outputs.
        length: samples of a frame.
        hop: samples from one frame to the next.
        width: filters of the first convolution.

    >>> spectrogram_cnn().shapes["spectrum1"]
    (1, 17, 29)

    Source: Hershey et al. (2017), whose large networks on spectrograms it shrinks.
    """
    return Sequential(
        ShortTimeFourier(length, hop),
        Convolution(width, 3, padding="same"),
        ReLU(),
        MaxPool(2),
        Convolution(2 * width, 3, padding="same"),
        ReLU(),
        MaxPool(2),
        GlobalAveragePool(),
        Dense(classes),
        input_shape=input_shape,
        name="spectrogram_cnn",
    )


def skeleton_cnn(input_shape: Shape = (2, 10, 24), classes: int = 4, width: int = 16) -> Network:
    """The movement of a body as an image: coordinates are channels, joints are rows, time runs to the right.

    Args:
        input_shape: (coordinates, joints, time).
        classes: number of gestures.
        width: filters of the first convolution.

    >>> skeleton_cnn().output_shape
    (4,)

    Source: Du, Fu, Wang (2015). Changed: the first window spans all joints, so that their order does not matter.
    """
    joints = input_shape[1]
    return Sequential(
        Convolution(width, (joints, 3), padding=(0, 1), bias=False),
        BatchNormalization(),
        ReLU(),
        Convolution(2 * width, (1, 5), padding=(0, 2), bias=False),
        BatchNormalization(),
        ReLU(),
        MaxPool((1, 2)),
        Convolution(2 * width, (1, 3), padding=(0, 1), bias=False),
        BatchNormalization(),
        ReLU(),
        GlobalAveragePool(),
        Dense(classes),
        input_shape=input_shape,
        name="skeleton_cnn",
    )


def sequence_classifier(
    input_shape: Shape = (28, 28),
    classes: int = 10,
    cell: Cell = "lstm",
    units: int = 64,
    depth: int = 1,
    direction: Direction = "forward",
    masked: bool = False,
    truncate: int | None = None,
) -> Network:
    """Recurrent layers over a sequence and a dense layer on their last state.

    Args:
        input_shape: (features, time).
        classes: number of outputs.
        cell: 'rnn', 'lstm' or 'gru'.
        units: size of the state.
        depth: number of recurrent layers, one behind the other.
        direction: 'forward', 'reverse' or 'both'.
        masked: whether a sequence ends where all its features are 0 from there on.
        truncate: how many steps gradients go back; None is all.

    >>> sequence_classifier(cell="gru", depth=2, direction="both").output_shape
    (10,)

    Source: DAY4, recurrent networks; Graves (2012).
    """
    recurrent = cell_of(cell)
    stack: list[Layer] = [recurrent(units, "all", direction, truncate=truncate) for _ in range(depth - 1)]
    stack.append(recurrent(units, "last", direction, truncate=truncate))
    if not masked:
        return Sequential(*stack, Dense(classes), input_shape=input_shape, name="sequence_classifier")
    layers: dict[str, LayerEntry] = {"mask": (PaddingMask(), INPUT)}
    last = INPUT
    for number, layer in enumerate(stack, start=1):
        layers[f"{cell}{number}"] = (layer, (last, "mask"))
        last = f"{cell}{number}"
    layers["scores"] = (Dense(classes), last)
    return Network(layers, input_shape, name="sequence_classifier")


def char_rnn(
    vocabulary: int,
    length: int = 40,
    cell: Cell = "lstm",
    units: int = 64,
    features: int = 16,
    truncate: int | None = None,
) -> Network:
    """Predicts the next letter at every place of a text: tokens (time,) in, logits (vocabulary, time) out.

    Args:
        vocabulary: number of different letters.
        length: letters in a piece of text.
        cell: 'rnn', 'lstm' or 'gru'.
        units: size of the state.
        features: length of a letter's vector.
        truncate: how many steps gradients go back; None is all.

    Train with `SoftmaxCrossEntropy` on the text moved by one letter, labels (N, time).

    >>> char_rnn(30).output_shape
    (30, 40)

    Source: DAY4, recurrent networks for language; Karpathy (2015).
    """
    return Sequential(
        Embedding(vocabulary, features),
        cell_of(cell)(units, "all", truncate=truncate),
        Convolution(vocabulary, 1, name="next"),
        input_shape=(length,),
        name="char_rnn",
    )


def text_classifier(
    input_shape: Shape = (40,),
    classes: int = 2,
    vocabulary: int = 128,
    cell: Cell = "gru",
    units: int = 32,
    features: int = 16,
    direction: Direction = "forward",
) -> Network:
    """Names the class of a text of any length up to (time,): letters in, filled up with 0 behind the end.

    Args:
        input_shape: (time,), letters of the longest text.
        classes: number of outputs.
        vocabulary: number of different letters, the filling included.
        cell: 'rnn', 'lstm' or 'gru'.
        units: size of the state.
        features: length of a letter's vector.
        direction: 'forward', 'reverse' or 'both'.

    >>> text_classifier().output_shape
    (2,)

    Source: DAY4, recurrent networks. The state stops at the end of each text, told by `PaddingMask`.
    """
    layers: dict[str, LayerEntry] = {
        "mask": (PaddingMask(), INPUT),
        "embedding": (Embedding(vocabulary, features), INPUT),
        "state": (cell_of(cell)(units, "last", direction), ("embedding", "mask")),
        "scores": Dense(classes),
    }
    return Network(layers, input_shape, name="text_classifier")


def cell_of(name: str) -> type[Recurrent]:
    """Return a recurrent layer by name; an unknown one gets a suggestion."""
    if name not in CELLS:
        raise unknown_name("cell", name, CELLS)
    return CELLS[name]
