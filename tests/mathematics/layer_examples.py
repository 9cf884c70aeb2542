"""Example settings and input shapes of every layer class.

`test_every_layer` goes through `Layer.members`: a class without an entry here fails, so that no new layer goes without
a gradient check and a JSON round trip.
"""

from tatami import (
    Add,
    AveragePool,
    Concatenate,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    Identity,
    L2Pool,
    LpPool,
    MaxPool,
    ReLU,
    Sigmoid,
    Softmax,
    Step,
    Tanh,
    Xavier,
)
from tatami.initializers import Constant, Uniform
from tatami.layers import (
    ELU,
    GELU,
    SELU,
    BatchNormalization,
    ChannelDropout,
    DropConnect,
    FReLU,
    GaussianNoise,
    GroupNormalization,
    HardSigmoid,
    InstanceNormalization,
    LayerNormalization,
    LeakyReLU,
    LocalResponseNormalization,
    Maxout,
    Mish,
    PReLU,
    Softplus,
    Swish,
)

# Class -> [(layer, shapes of its inputs), ...]: every rank, and every setting at least once off its default.
EXAMPLES = {
    Identity: [(Identity(), [(3, 4)])],
    Step: [(Step(), [(6,)])],
    Sigmoid: [(Sigmoid(), [(2, 3, 4)])],
    Tanh: [(Tanh(), [(7,)])],
    ReLU: [(ReLU(), [(2, 3, 4)])],
    Softmax: [(Softmax(), [(5,)]), (Softmax(), [(3, 2, 2)])],
    Convolution: [
        (Convolution(3, 2), [(2, 5)]),
        (Convolution(4, (3, 2), stride=(2, 1), padding="same", dilation=(1, 2), groups=2), [(2, 5, 6)]),
        (Convolution(2, 3, stride=2, padding=[(2, 0), (0, 1)], bias=False), [(3, 4, 6)]),
        (
            Convolution(
                2,
                2,
                padding=[1, 0, (0, 1)],
                weight_initializer=Xavier("uniform", "average"),
                bias_initializer=Uniform(0.1, 0.2),
            ),
            [(1, 3, 3, 4)],
        ),
    ],
    MaxPool: [
        (MaxPool(2), [(2, 5, 4)]),
        (MaxPool(3, stride=2, padding=1), [(2, 6, 5)]),
        (MaxPool((2, 3, 1), stride=1, ties="even"), [(1, 3, 4, 2)]),
        (MaxPool(3, stride=2, ties="all"), [(2, 8)]),
    ],
    AveragePool: [
        (AveragePool(2), [(2, 5, 4)]),
        (AveragePool(3, stride=2, padding=1), [(2, 6, 5)]),
        (AveragePool(3, stride=1, padding=[(1, 2)], count_padding=True), [(2, 6)]),
    ],
    LpPool: [
        (LpPool(2, p=3), [(2, 5, 4)]),
        (LpPool(3, stride=2, padding=1, p=1.5), [(2, 6, 5)]),
        (LpPool(3, stride=1, p=1, normalise=False), [(2, 6)]),
    ],
    L2Pool: [(L2Pool(3, stride=2, padding="same"), [(2, 5, 4)])],
    GlobalMaxPool: [(GlobalMaxPool(), [(3, 4, 2)]), (GlobalMaxPool(), [(2, 5)])],
    GlobalAveragePool: [(GlobalAveragePool(), [(3, 4, 2)]), (GlobalAveragePool(), [(1, 2, 3, 2)])],
    Dense: [
        (Dense(4), [(5,)]),
        (Dense(2, bias=False, weight_initializer=Constant(0.5)), [(3,)]),
    ],
    Flatten: [(Flatten(), [(2, 3, 4)])],
    Dropout: [
        (Dropout(0.4), [(20,)]),
        (Dropout(0.0), [(2, 3)]),
        (Dropout(0.3, exact=True), [(2, 5)]),
    ],
    Add: [(Add(), [(2, 3), (2, 3)]), (Add(), [(2, 3, 2), (2, 3, 2), (2, 3, 2)])],
    Concatenate: [(Concatenate(), [(2, 3), (1, 3)]), (Concatenate(), [(4,), (2,), (3,)])],
    LeakyReLU: [(LeakyReLU(0.02), [(2, 3, 4)])],
    PReLU: [(PReLU(), [(3, 4)]), (PReLU(shared=True), [(5,)])],
    ELU: [(ELU(0.7), [(2, 3, 4)])],
    SELU: [(SELU(), [(7,)])],
    HardSigmoid: [(HardSigmoid(0.3), [(9,)])],
    FReLU: [(FReLU(), [(2, 4, 3)]), (FReLU((1, 3)), [(1, 3, 4)])],
    Maxout: [(Maxout(), [(6,)]), (Maxout(3), [(6, 2, 2)])],
    Softplus: [(Softplus(), [(7,)])],
    Swish: [(Swish(1.7), [(7,)])],
    Mish: [(Mish(), [(7,)])],
    GELU: [(GELU(), [(7,)]), (GELU("tanh"), [(2, 3)])],
    ChannelDropout: [(ChannelDropout(0.4), [(5, 2, 2)])],
    GaussianNoise: [(GaussianNoise(0.3), [(6,)])],
    DropConnect: [
        (DropConnect(3, activation=Sigmoid()), [(4,)]),
        (DropConnect(2, 0.3, activation=Tanh(), samples=5, bias=False), [(3,)]),
    ],
    BatchNormalization: [
        (BatchNormalization(), [(3, 4, 2)]),
        (BatchNormalization(0.3, 1e-3, affine=False), [(4,)]),
    ],
    LayerNormalization: [(LayerNormalization(), [(2, 3, 2)]), (LayerNormalization("channels"), [(4, 3)])],
    InstanceNormalization: [(InstanceNormalization(epsilon=1e-2), [(2, 3, 3)])],
    GroupNormalization: [
        (GroupNormalization(2), [(4, 3)]),
        (GroupNormalization(3, affine=False), [(6, 2, 2)]),
    ],
    LocalResponseNormalization: [(LocalResponseNormalization(3, 0.1, 0.6, 1.5), [(5, 2, 2)])],
}
