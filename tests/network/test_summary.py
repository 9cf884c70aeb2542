"""Parameters, multiply-adds and receptive fields, counted by hand."""

import pytest

from tatami import (
    Add,
    AveragePool,
    Concatenate,
    Convolution,
    Dense,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Network,
    ReLU,
    Sequential,
    build,
)
from tatami.network import INPUT


def column(network, what):
    return {row["name"]: row[what] for row in network.summary_rows() if row[what]}


def test_lenet5_by_hand():
    network = build("lenet5")
    assert column(network, "parameters") == {
        "conv1": 6 * (25 + 1),
        "conv2": 16 * (6 * 25 + 1),
        "conv3": 120 * (16 * 25 + 1),
        "dense1": 84 * 121,
        "dense2": 10 * 85,
    }
    # 60,000 trainable numbers in LeCun's; his third layer has a connection table and 1,516 instead of 2,416.
    assert network.parameter_count == 156 + 2416 + 48_120 + 10_164 + 850 == 61_706
    assert column(network, "multiply_adds") == {
        "conv1": 6 * 28 * 28 * 25,
        "conv2": 16 * 10 * 10 * 6 * 25,
        "conv3": 120 * 1 * 1 * 16 * 25,
        "dense1": 84 * 120,
        "dense2": 10 * 84,
    }
    assert network.multiply_adds == 117_600 + 240_000 + 48_000 + 10_080 + 840
    assert network.shapes["conv3"] == (120, 1, 1)
    fields = column(network, "receptive_field")
    assert [fields[name] for name in ("conv1", "pool1", "conv2", "pool2", "conv3", "dense1")] == [
        "5x5",
        "6x6",  # 5 + 1·1
        "14x14",  # 6 + 4·2
        "16x16",  # 14 + 1·2
        "32x32",  # 16 + 4·4: LeCun's 32×32 input, here 28 and 2 of padding on each side
        "all",
    ]


def test_arai_by_hand():
    network = build("arai")
    assert (
        network.parameter_count == 32 * 10 + 64 * (32 * 9 + 1) + 100 * 3137 + 200 * 101 + 10 * 201 == 354_726
    )
    assert column(network, "multiply_adds") == {
        "conv1": 32 * 28 * 28 * 9,
        "conv2": 64 * 14 * 14 * 32 * 9,
        "dense1": 3136 * 100,
        "dense2": 100 * 200,
        "dense3": 200 * 10,
    }
    fields = column(network, "receptive_field")
    assert [fields[name] for name in ("conv1", "relu1", "pool1", "conv2", "pool2", "flatten1")] == [
        "3x3",
        "3x3",
        "4x4",
        "8x8",
        "10x10",
        "10x10",
    ]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("simple_convnet", 30 * 26 + 100 * (30 * 12 * 12 + 1) + 10 * 101),
        ("mlp", 256 * 785 + 128 * 257 + 10 * 129),
        ("perceptron", 10 * 785),
        ("ox", 2 * 5 + 2 * 3),
    ],
)
def test_parameters_of_the_other_named_networks(name, parameters):
    assert build(name).parameter_count == parameters


def test_strides_dilation_and_groups():
    network = Sequential(
        Convolution(8, 3, stride=2),  # field 3, step 2
        Convolution(8, 3, dilation=2, groups=4),  # field 3 + (5 - 1)·2 = 11, step 2
        AveragePool(3, stride=3),  # field 11 + 2·2 = 15, step 6
        Convolution(4, (1, 2), bias=False),  # rows 15, columns 15 + 1·6 = 21
        input_shape=(4, 33, 39),
    )
    fields = network.receptive_fields()
    assert [fields[f"conv{n}"].extent for n in (1, 2, 3)] == [(3, 3), (11, 11), (15, 21)]
    assert fields["pool1"].jump == (6, 6)
    assert column(network, "multiply_adds") == {
        "conv1": 8 * 16 * 19 * 4 * 9,
        "conv2": 8 * 12 * 15 * 2 * 9,
        "conv3": 4 * 4 * 4 * 8 * 2,
    }
    assert column(network, "parameters") == {"conv1": 8 * 37, "conv2": 8 * 19, "conv3": 4 * 16}


@pytest.mark.parametrize(("shape", "field"), [((2, 40), "7"), ((1, 9, 9, 9), "7x7x7"), ((5,), "-")])
def test_other_ranks(shape, field):
    layers = [ReLU()] if len(shape) == 1 else [Convolution(2, 3), Convolution(2, 5)]
    network = Sequential(*layers, input_shape=shape)
    assert str(network.receptive_fields()[network.output]) == field


def test_joined_branches_see_what_either_sees():
    # Two taps each: one branch sees positions i, i + 1, the other i - 1, i. Together that is three, not two.
    network = Network(
        {
            "right": (Convolution(1, 2, padding=[(0, 1)]), INPUT),
            "left": (Convolution(1, 2, padding=[(1, 0)]), INPUT),
            "sum": (Add(), ("right", "left")),
            "next": Convolution(1, 3, padding="same"),
        },
        (1, 8),
    )
    fields = network.receptive_fields()
    assert (fields["right"].first, fields["right"].last) == ((0,), (1,))
    assert (fields["left"].first, fields["left"].last) == ((-1,), (0,))
    assert fields["sum"].extent == (3,)
    assert fields["next"].extent == (5,)


def test_a_residual_block_and_an_inception_block():
    network = Network(
        {
            "stem": Convolution(4, 3, stride=2, padding=1),
            "conv1": Convolution(4, 3, padding="same"),
            "conv2": Convolution(4, 3, padding="same"),
            "skip": (Add(), ("conv2", "stem")),
            "one": (Convolution(2, 1), "skip"),
            "five": (Convolution(3, 5, padding="same"), "skip"),
            "pool": (MaxPool(3, stride=1, padding=1), "skip"),
            "concat": (Concatenate(), ("one", "five", "pool")),
            "mean": GlobalAveragePool(),
            "dense": Dense(10),
        },
        (3, 16, 16),
    )
    fields = {name: str(field) for name, field in network.receptive_fields().items()}
    assert fields["skip"] == "11x11"  # 3 + 2·2 + 2·2
    assert fields["concat"] == "19x19"  # 11 + 4·2
    assert fields["mean"] == fields["dense"] == "all"
    assert network.shapes["concat"] == (9, 8, 8)
    assert network.output_shape == (10,)
    text = network.summary()
    assert "skip <- conv2, stem" in text
    assert "one <- " not in text  # it takes the layer before it
    assert "five <- skip" in text


def test_the_table_lines_up():
    text = build("arai").summary()
    lines = text.splitlines()
    assert lines[0] == "arai: input 1x28x28, output 10"
    assert lines[-1].split() == ["total", "354,726", "4,174,064"]
    assert len(lines) == 2 + len(build("arai").nodes) + 1
    ends = {
        line.index(value) + len(value) for line, value in ((lines[1], "parameters"), (lines[-1], "354,726"))
    }
    assert len(ends) == 1


def test_flatten_keeps_the_field_until_a_dense_layer():
    network = Sequential(Convolution(2, 3), Flatten(), ReLU(), Dense(3), ReLU(), input_shape=(1, 6, 6))
    assert list(column(network, "receptive_field").values()) == ["3x3", "3x3", "3x3", "all", "all"]
