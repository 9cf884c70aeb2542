"""Every layer class agrees with PyTorch in values and gradients: here, or in the file that is named for it.

PyTorch's autograd is the second opinion also where it has no layer of the kind: the formula is written in its terms,
with the masks and random numbers that our generator draws.
"""

from pathlib import Path

import pytest
import torch
from tests.layers.agreement import compare_with_torch

from tatami import Layer, RandomKey
from tatami.layers import (
    Add,
    ChannelDropout,
    Concatenate,
    DropConnect,
    Dropout,
    Flatten,
    GaussianNoise,
    GaussianSample,
    Identity,
    L2Pool,
    Multiply,
    Permute,
    Reshape,
    Step,
    Tanh,
)
from tatami.layers.dropout import exact_mask

KEY = RandomKey(5)  # of every forward pass of `compare_with_torch`; unnamed layers draw from the stream ''
FAMILY, NORMS, RECURRENT = "test_convolution_family.py", "test_normalization.py", "test_recurrent.py"
ACTIVATIONS, MODULES, FIXED = "test_more_activations.py", "test_torch_modules.py", "test_fixed_filters.py"

IN_FILES = {
    **dict.fromkeys(
        ("AdaptiveAveragePool", "AdaptiveMaxPool", "LocallyConnected", "MaxUnpool", "Pad"), FAMILY
    ),
    **dict.fromkeys(("SeparableConvolution", "StochasticPool", "TableConvolution", "Upsample"), FAMILY),
    **dict.fromkeys(
        ("Convolution", "TransposedConvolution", "Dense", "AveragePool", "MaxPool", "LpPool"), MODULES
    ),
    **dict.fromkeys(("ReLU", "Sigmoid", "Softmax", "Tanh", "Embedding"), MODULES),
    **dict.fromkeys(("BatchNormalization", "GroupNormalization", "InstanceNormalization"), NORMS),
    **dict.fromkeys(("LayerNormalization", "LocalResponseNormalization"), NORMS),
    **dict.fromkeys(("ELU", "FReLU", "GELU", "HardSigmoid", "LeakyReLU", "Maxout", "Mish"), ACTIVATIONS),
    **dict.fromkeys(("PReLU", "SELU", "Softplus", "Swish"), ACTIVATIONS),
    **dict.fromkeys(("RNN", "LSTM", "GRU"), RECURRENT),
    **dict.fromkeys(("FilterBank", "ShortTimeFourier"), FIXED),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), "../mathematics/test_layers_against_torch.py"),
    # It makes a mask of tokens, which have no gradient.
    "PaddingMask": "test_embedding.py",
}


def kept(shape, ratio):
    return torch.tensor(KEY.keep_mask("", shape, ratio)).double() / (1 - ratio)


def drop_connect(x, weight, bias):
    return torch.tanh(x @ (weight * kept(tuple(weight.shape), 0.3)).T + bias)


def drop_connect_predicting(x, weight, bias):
    mean, variance = x @ weight.T + bias, 3 / 7 * (x * x) @ (weight * weight).T
    noise = torch.tensor(KEY.normal("", (6, 1, 4)))
    return torch.tanh(mean + variance.sqrt() * noise).mean(dim=0)


def normal(shape):
    return torch.tensor(KEY.normal("", shape))


CASES = [
    (Add(), [(2, 3), (2, 3), (2, 3)], lambda a, b, c: a + b + c),
    (Multiply(), [(2, 3), (2, 3), (2, 3)], lambda a, b, c: a * b * c),
    (Concatenate(), [(2, 3), (1, 3)], lambda a, b: torch.cat([a, b], dim=1)),
    (Identity(), [(2, 3)], lambda x: x * 1),
    (Step(), [(2, 3)], lambda x: torch.heaviside(x.detach(), torch.zeros((), dtype=x.dtype)) + 0 * x),
    (Flatten(), [(2, 3, 4)], lambda x: x.flatten(1)),
    (Reshape((4, 6)), [(2, 3, 4)], lambda x: x.reshape(-1, 4, 6)),
    (Permute((2, 0, 1)), [(2, 3, 4)], lambda x: x.permute(0, 3, 1, 2)),
    (L2Pool(2), [(2, 4, 6)], lambda x: torch.nn.functional.avg_pool2d(x * x, 2).sqrt()),
    (Dropout(0.4), [(5, 4)], lambda x: x * kept(tuple(x.shape), 0.4)),
    (
        Dropout(0.25, exact=True),
        [(5, 4)],
        lambda x: x * torch.tensor(exact_mask(KEY, "", tuple(x.shape), 0.25)).double() / 0.75,
    ),
    (ChannelDropout(0.4), [(5, 2, 3)], lambda x: x * kept((*x.shape[:2], 1, 1), 0.4)),
    (GaussianNoise(0.3), [(6,)], lambda x: x + 0.3 * normal(tuple(x.shape))),
    (
        GaussianSample(),
        [(3,), (3,)],
        lambda mean, log_variance: mean + (0.5 * log_variance).exp() * normal(tuple(mean.shape)),
    ),
    (DropConnect(4, 0.3, Tanh()), [(5,)], drop_connect),
]


@pytest.mark.parametrize(("layer", "shapes", "function"), CASES, ids=lambda value: type(value).__name__)
def test_values_and_gradients(layer, shapes, function):
    compare_with_torch(layer, shapes, function)


def test_drop_connects_inference_rule():
    """The mean of f(μ + σ·z) over the drawn z, σ² = ratio/(1 - ratio)·Σ W²x²."""
    layer = DropConnect(4, 0.3, Tanh(), samples=6)
    compare_with_torch(layer, [(5,)], drop_connect_predicting, training=False)
    compare_with_torch(
        DropConnect(4, 0.3, Tanh()),
        [(5,)],
        lambda x, weight, bias: torch.tanh(x @ weight.T + bias),
        training=False,
    )


@pytest.mark.parametrize("cls", Layer.members.values(), ids=lambda cls: cls.__name__)
def test_every_layer_class_is_compared_with_pytorch(cls):
    here = any(type(layer) is cls for layer, _, _ in CASES)
    assert here != (cls.__name__ in IN_FILES), (
        f"compare {cls.__name__} with PyTorch here or name where it is done"
    )
    if not here:
        text = (Path(__file__).parent / IN_FILES[cls.__name__]).read_text(encoding="utf-8")
        assert cls.__name__ in text
        assert "torch" in text
