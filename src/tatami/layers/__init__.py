"""The layers: each a frozen dataclass of settings with a forward and a hand-derived backward."""

from tatami.layers.activations import Activation, Identity, ReLU, Sigmoid, Softmax, Step, Tanh
from tatami.layers.base import Backward, Context, Forward, Layer
from tatami.layers.cells import GRU, LSTM, RNN
from tatami.layers.convolution import Convolution
from tatami.layers.dense import Dense, Flatten
from tatami.layers.drop_connect import DropConnect
from tatami.layers.dropout import ChannelDropout, Dropout, GaussianNoise
from tatami.layers.embedding import Embedding, PaddingMask
from tatami.layers.example_normalization import (
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
)
from tatami.layers.fixed_filters import FilterBank, ShortTimeFourier
from tatami.layers.local_response import LocalResponseNormalization
from tatami.layers.locally_connected import LocallyConnected
from tatami.layers.merge import Add, Concatenate, Multiply
from tatami.layers.normalization import BatchNormalization
from tatami.layers.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, L2Pool, LpPool, MaxPool
from tatami.layers.rare_pooling import AdaptiveMaxPool, MaxUnpool, StochasticPool
from tatami.layers.rectifiers import ELU, SELU, FReLU, HardSigmoid, LeakyReLU, Maxout, PReLU
from tatami.layers.recurrent import Recurrent
from tatami.layers.resampling import AdaptiveAveragePool, Pad, Upsample
from tatami.layers.reshaping import Permute, Reshape
from tatami.layers.sampling import GaussianSample
from tatami.layers.separable import SeparableConvolution
from tatami.layers.smooth_activations import GELU, Mish, Softplus, Swish
from tatami.layers.table import TableConvolution
from tatami.layers.transposed import TransposedConvolution

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "Activation",
    "AdaptiveAveragePool",
    "AdaptiveMaxPool",
    "Add",
    "AveragePool",
    "Backward",
    "BatchNormalization",
    "ChannelDropout",
    "Concatenate",
    "Context",
    "Convolution",
    "Dense",
    "DropConnect",
    "Dropout",
    "Embedding",
    "FReLU",
    "FilterBank",
    "Flatten",
    "Forward",
    "GaussianNoise",
    "GaussianSample",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "HardSigmoid",
    "Identity",
    "InstanceNormalization",
    "L2Pool",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "LocalResponseNormalization",
    "LocallyConnected",
    "LpPool",
    "MaxPool",
    "MaxUnpool",
    "Maxout",
    "Mish",
    "Multiply",
    "PReLU",
    "Pad",
    "PaddingMask",
    "Permute",
    "ReLU",
    "Recurrent",
    "Reshape",
    "SeparableConvolution",
    "ShortTimeFourier",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "StochasticPool",
    "Swish",
    "TableConvolution",
    "Tanh",
    "TransposedConvolution",
    "Upsample",
]
