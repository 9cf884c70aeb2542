"""The networks of the benchmark suite, and the same networks in PyTorch with the same initial values."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from tatami import layers
from tatami.models import build
from tatami.network import Network, Parameters, Sequential


def vgg_like() -> Network:
    """Five 3×3 convolutions of 64, 64, 128, 128 and 256 filters with poolings, on 3×32×32."""
    return Sequential(
        layers.Convolution(64, 3, padding="same"),
        layers.ReLU(),
        layers.Convolution(64, 3, padding="same"),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.Convolution(128, 3, padding="same"),
        layers.ReLU(),
        layers.Convolution(128, 3, padding="same"),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.Convolution(256, 3, padding="same"),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.Flatten(),
        layers.Dense(256),
        layers.ReLU(),
        layers.Dense(10),
        input_shape=(3, 32, 32),
        name="vgg_like",
    )


def depthwise() -> Network:
    """Strided and depthwise convolutions with 1×1 mixing, as in MobileNet, on 3×32×32."""
    return Sequential(
        layers.Convolution(32, 3, stride=2, padding=1),
        layers.ReLU(),
        layers.Convolution(32, 3, padding=1, groups=32),
        layers.ReLU(),
        layers.Convolution(64, 1),
        layers.ReLU(),
        layers.Convolution(64, 3, stride=2, padding=1, groups=64),
        layers.ReLU(),
        layers.Convolution(128, 1),
        layers.ReLU(),
        layers.GlobalAveragePool(),
        layers.Dense(10),
        input_shape=(3, 32, 32),
        name="depthwise",
    )


def signal() -> Network:
    """A 1-D network for signals of 256 samples and three channels."""
    return Sequential(
        layers.Convolution(32, 7, padding=3),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.Convolution(64, 5, padding=2),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.Convolution(64, 3, padding=1),
        layers.ReLU(),
        layers.GlobalAveragePool(),
        layers.Dense(6),
        input_shape=(3, 256),
        name="signal",
    )


def reader(*stack: layers.Recurrent, input_shape: tuple[int, int] = (28, 28), name: str) -> Network:
    """Recurrent layers over a sequence, and ten scores from what the last one remembers."""
    return Sequential(*stack, layers.Dense(10), input_shape=input_shape, name=name)


SUITE: dict[str, Callable[[], Network]] = {
    "arai": lambda: build("arai"),
    "lenet5": lambda: build("lenet5"),
    "simple_convnet": lambda: build("simple_convnet"),
    "mlp": lambda: build("mlp"),
    "vgg_like": vgg_like,
    "depthwise": depthwise,
    "signal": signal,
}

# Sequences (features, time): the rows of a digit, and 64 numbers at 64 times for two large layers or both directions.
RECURRENT: dict[str, Callable[[], Network]] = {
    "rnn_rows": lambda: reader(layers.RNN(128), name="rnn_rows"),
    "lstm_rows": lambda: reader(layers.LSTM(128), name="lstm_rows"),
    "gru_rows": lambda: reader(layers.GRU(128), name="gru_rows"),
    "lstm_deep": lambda: reader(
        layers.LSTM(256, "all"), layers.LSTM(256), input_shape=(64, 64), name="lstm_deep"
    ),
    "gru_both": lambda: reader(layers.GRU(128, direction="both"), input_shape=(64, 64), name="gru_both"),
}
SUITES = {"convolutional": SUITE, "recurrent": RECURRENT}


class Recurrence(nn.Module):
    """PyTorch's recurrent layer in the order it likes best: (time, N, features) in, all states or the last one out."""

    def __init__(self, layer: layers.Recurrent, features: int) -> None:
        """Make the layer; PyTorch's second bias is zero and stays so but in a GRU, where it is inside the reset."""
        super().__init__()
        kinds = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
        self.every_step = layer.outputs == "all"
        self.walk = kinds[layer.kind](features, layer.units, bidirectional=layer.direction == "both")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (time, N, units), or (N, units) of the last step of each direction."""
        states, last = self.walk(x)
        if self.every_step:
            return torch.as_tensor(states)
        last = last[0] if isinstance(last, tuple) else last
        return torch.cat(list(last), dim=1)

    def copy(self, parameters: dict[str, np.ndarray]) -> None:
        """Take over the parameters of Tatami's layer."""
        names = {"input_weight": "weight_ih_l0", "state_weight": "weight_hh_l0", "bias": "bias_ih_l0"}
        for name, value in self.walk.named_parameters():
            if name.startswith("bias_hh"):
                value.zero_()
                value.requires_grad_(isinstance(self.walk, nn.GRU))
        for name, values in parameters.items():
            plain = name.removeprefix("reverse_")
            if plain in names:  # a GRU's state bias is zero, too
                target = names[plain] + ("_reverse" if plain != name else "")
                getattr(self.walk, target).copy_(torch.from_numpy(np.array(values)))


def torch_module(network: Network, parameters: Parameters) -> nn.Sequential:
    """Translate a chain of layers into PyTorch, with these parameters.

    Raises:
        TypeError: a layer that the benchmark has no counterpart for.
    """
    modules: list[nn.Module] = []
    for node in network.nodes:
        (shape,) = network.input_shapes(node)
        module = torch_layer(node.layer, shape)
        if isinstance(module, Recurrence):
            with torch.no_grad():
                module.copy(dict(parameters[node.name]))
            modules.append(module)
            continue
        for name, values in parameters.get(node.name, {}).items():
            with torch.no_grad():
                getattr(module, name).copy_(torch.from_numpy(np.array(values)))
        modules.append(module)
    return nn.Sequential(*modules)


def torch_layer(layer: layers.Layer, shape: tuple[int, ...]) -> nn.Module:
    """Translate one layer for inputs of that shape."""
    rank = len(shape) - 1
    window = layer.window(shape)
    if window is not None and any(before != after for before, after in window.padding):
        raise TypeError(f"{layer.label}: the benchmark translates symmetric padding only")
    padding = tuple(before for before, _ in window.padding) if window else ()
    if isinstance(layer, layers.Convolution) and window:
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        settings = {
            "stride": window.stride,
            "padding": padding,
            "dilation": window.dilation,
            "groups": window.groups,
        }
        return convolution(window.channels, window.filters, window.kernel, bias=layer.bias, **settings)
    if isinstance(layer, layers.MaxPool) and window:
        return (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1](window.kernel, window.stride, padding)
    if isinstance(layer, layers.AveragePool) and window:
        pool = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[rank - 1]
        return pool(window.kernel, window.stride, padding, count_include_pad=layer.count_padding)
    if isinstance(layer, layers.Recurrent):
        return Recurrence(layer, shape[0])
    if isinstance(layer, layers.Dense):
        return nn.Linear(shape[0], layer.units, bias=layer.bias)
    if isinstance(layer, layers.Dropout):
        return nn.Dropout(layer.ratio)
    if isinstance(layer, layers.GlobalAveragePool):
        return nn.Sequential(
            (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[rank - 1](1), nn.Flatten()
        )
    simple: dict[type[layers.Layer], Callable[[], nn.Module]] = {
        layers.ReLU: nn.ReLU,
        layers.Tanh: nn.Tanh,
        layers.Sigmoid: nn.Sigmoid,
        layers.Flatten: nn.Flatten,
    }
    if type(layer) in simple:
        return simple[type(layer)]()
    raise TypeError(f"{layer.label}: the benchmark has no PyTorch counterpart for it")
