"""From the perceptron to AlexNet: what each could do, and its sizes computed again."""

import numpy as np
from numpy.typing import NDArray

from tatami.geometry import Geometry
from tatami.layers import Convolution, Dense, Dropout, Flatten, LocalResponseNormalization, MaxPool, ReLU
from tatami.lectures.convolution import convolve
from tatami.lectures.pooling import moved
from tatami.lectures.walkthrough import (
    Grid,
    Grids,
    MakeStep,
    Number,
    Numbers,
    Request,
    Step,
    Table,
    Text,
)
from tatami.models import build
from tatami.network import Network, Sequential

Array = NDArray[np.float64]

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
ROUNDS = 20


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through four networks."""
    return perceptron, neocognitron, hidden_layer, lenet, alexnet


def learned(targets: Array) -> tuple[Array, float, list[int]]:
    """Train a perceptron with two inputs by Rosenblatt's rule; return weights, bias and mistakes of every round.

    >>> learned(np.array([0.0, 0.0, 0.0, 1.0]))[2][-1]
    0
    """
    weight, bias = np.zeros(2), 0.0
    mistakes = []
    for _ in range(ROUNDS):
        wrong = 0
        for x, target in zip(CORNERS, targets, strict=True):
            answer = float(x @ weight + bias > 0)
            if answer != target:
                wrong += 1
                weight = weight + (target - answer) * x
                bias += target - answer
        mistakes.append(wrong)
        if not wrong:
            break
    return weight, bias, mistakes


def perceptron() -> Step:
    """1958: a sum and a step."""
    gates = {"AND": [0, 0, 0, 1], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}
    rows, numbers = [], []
    for name, targets in gates.items():
        weight, bias, mistakes = learned(np.array(targets, dtype=np.float64))
        right = int(np.sum((CORNERS @ weight + bias > 0) == np.array(targets)))
        rows.append((name, f"{weight[0]:g}, {weight[1]:g}", f"{bias:g}", str(len(mistakes)), f"{right}/4"))
        numbers.append(Number(name, Text(f"{name}: corners right", f"{name}：正しい頂点の数"), right))
    return Step(
        Text("1958: the perceptron", "1958年：パーセプトロン"),
        Text(
            "A weighted sum and a step. Whenever it is wrong, it adds or subtracts the input. If a straight line"
            " can part the classes"
            " this rule finds one; XOR cannot be parted by a line, and the rule goes round in circles. That ended"
            " the first"
            " period.",
            "重み付き和とステップ。間違えるたびに入力を足すか引く。直線で分けられるならこの規則で必ず見つかるが、"
            "XORは直線では分けられず、規則は堂々巡りになる。"
            "これで第1期が終わった。",
        ),
        (
            r"y = 1 \text{ if } \sum_{i} w(i) \cdot x(i) + b > 0, \text{ else } 0",
            r"w \leftarrow w + (t - y) \cdot x",
        ),
        (
            Table(
                (
                    Text("gate", "ゲート"),
                    Text("weights", "重み"),
                    Text("bias", "バイアス"),
                    Text("rounds", "巡回数"),
                    Text("right", "正解"),
                ),
                tuple(rows),
            ),
            Numbers(tuple(numbers)),
        ),
    )


def hidden_layer() -> Step:
    """Back-propagation: one hidden layer solves XOR."""
    hidden_weight, hidden_bias = np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([-0.5, -1.5])
    hidden = (CORNERS @ hidden_weight.T + hidden_bias > 0).astype(float)
    output = (hidden @ np.array([1.0, -1.0]) - 0.5 > 0).astype(float)
    return Step(
        Text("1986: a layer between", "1986年：中間層"),
        Text(
            "Two units in between, 'at least one' and 'both', make XOR easy: the first and not the second. A step"
            " has no slope, so"
            " nobody could train such a layer; with the sigmoid in its place the error can be handed back layer by"
            " layer,"
            " which is the lecture 'backprop'.",
            "間に「少なくとも一方」と「両方」の2ユニットを置けばXORは簡単で、「前者かつ後者でない」になる。"
            "ステップには傾きがなく学習できなかったが、"
            "シグモイドに替えれば誤差を層ごとに返せる。それが講義 backprop の内容である。",
        ),
        (r"h_1 = x_1 + x_2 > 0.5, \quad h_2 = x_1 + x_2 > 1.5, \quad y = h_1 - h_2 > 0.5",),
        (
            Grids(
                (
                    Grid("corners", "x₁ x₂", CORNERS),
                    "→",
                    Grid("hidden", "h₁ h₂", hidden),
                    "→",
                    Grid("XOR solved", "y", output.reshape(4, 1)),
                )
            ),
        ),
    )


def neocognitron() -> Step:
    """1980: simple and complex cells."""
    image = np.zeros((8, 8))
    image[1:5, 2] = 1.0
    kernel = np.array([[-1.0, 2.0, -1.0]] * 3)

    def simple(picture: Array) -> Array:
        return np.asarray(np.maximum(convolve(picture, kernel), 0))

    def complex_(maps: Array) -> Array:
        return np.asarray(maps.reshape(2, 3, 2, 3).max(axis=(1, 3)))

    here, there = simple(image), simple(moved(image))
    return Step(
        Text("1980: the neocognitron", "1980年：ネオコグニトロン"),
        Text(
            "Fukushima built what physiologists had found in the visual cortex: simple cells that answer to a bar"
            " at one place, and"
            " complex cells that answer to it anywhere near. Today we say convolution with ReLU, and pooling. The"
            " bar below"
            " moves by one pixel: the simple cells change, the complex cells do not.",
            "福島は、生理学者が視覚野で見つけたしくみを組み立てた。ある位置の棒に反応する単純型細胞と、"
            "その近くならどこでも反応する複雑型細胞である。"
            "今の言葉では、畳み込み+ReLUとプーリング。下の棒が1画素動くと単純型細胞は変わるが、"
            "複雑型細胞は変わらない。",
        ),
        (r"S = \max(0, F \star X), \quad C = \max \text{ of } S \text{ nearby}",),
        (
            Grids((Grid("bar", "X", image), Grid("bar filter", "F", kernel))),
            Grids((Grid("simple", "S", here), "→", Grid("complex", "C", complex_(here)))),
            Grids(
                (Grid("simple moved", "S, X moved", there), "→", Grid("complex moved", "C", complex_(there)))
            ),
        ),
    )


def lenet() -> Step:
    """1998: LeNet-5."""
    network = build("lenet5")
    rows = {row["name"]: row for row in network.summary_rows()}
    original = Geometry.of((1, 32, 32), 5, filters=6)
    c1, c3, c5 = (rows[f"conv{n}"]["parameters"] for n in (1, 2, 3))
    return Step(
        Text("1998: LeNet-5", "1998年：LeNet-5"),
        Text(
            "LeCun's network read the postcodes and cheques of its time: convolutions, pooling, and all weights"
            " learned by"
            " back-propagation. Its input is 32×32; ours pads the 28×28 of MNIST by 2, which is the same. In the"
            " original a"
            " table leaves out some connections of C3 (1,516 parameters); here all are there.",
            "LeCunの網は郵便番号や小切手を読んだ。畳み込みとプーリングからなり、"
            "すべての重みを誤差逆伝播で学習する。入力は32×32で、"
            "ここではMNISTの28×28に2画素のパディングをする（同じこと）。"
            "原論文では表によりC3の結合の一部を省く（1,516個）が、ここではすべて結ぶ。",
        ),
        (r"32 \to 28 \to 14 \to 10 \to 5 \to 1",),
        (
            layer_table(network),
            Numbers(
                (
                    Number(
                        "C1 size",
                        Text("C1 from 32×32", "32×32からのC1"),
                        original.output_size,
                    ),
                    Number(
                        "LeNet sizes",
                        Text(
                            "sizes of conv 1, pool 1, conv 2, pool 2, conv 3",
                            "conv1、pool1、conv2、pool2、conv3のサイズ",
                        ),
                        [network.shapes[n][1] for n in ("conv1", "pool1", "conv2", "pool2", "conv3")],
                    ),
                    Number("C1 parameters", Text("parameters of C1", "C1のパラメータ"), c1),
                    Number(
                        "C3 parameters",
                        Text("parameters of C3, all connections", "C3のパラメータ（全結合）"),
                        c3,
                    ),
                    Number("C5 parameters", Text("parameters of C5", "C5のパラメータ"), c5),
                    Number(
                        "F6 parameters",
                        Text("parameters of F6", "F6のパラメータ"),
                        rows["dense1"]["parameters"],
                    ),
                )
            ),
        ),
    )


def alexnet_network(side: int = 227) -> Network:
    """Return AlexNet: five convolutions, three poolings, three dense layers; groups of 2 for the two graphics cards."""
    return Sequential(
        Convolution(96, 11, stride=4),
        ReLU(),
        LocalResponseNormalization(),
        MaxPool(3, 2),
        Convolution(256, 5, padding=2, groups=2),
        ReLU(),
        LocalResponseNormalization(),
        MaxPool(3, 2),
        Convolution(384, 3, padding=1),
        ReLU(),
        Convolution(384, 3, padding=1, groups=2),
        ReLU(),
        Convolution(256, 3, padding=1, groups=2),
        ReLU(),
        MaxPool(3, 2),
        Flatten(),
        Dropout(0.5),
        Dense(4096),
        ReLU(),
        Dropout(0.5),
        Dense(4096),
        ReLU(),
        Dense(1000),
        input_shape=(3, side, side),
        name="alexnet",
    )


def alexnet() -> Step:
    """2012: AlexNet."""
    network = alexnet_network()
    sizes = [
        network.shapes[name][1] for name in ("conv1", "pool1", "conv2", "pool2", "conv3", "conv5", "pool3")
    ]
    return Step(
        Text("2012: AlexNet", "2012年：AlexNet"),
        Text(
            "The same ideas, a hundred times larger, with ReLU, dropout and graphics cards: five convolutions and"
            " three dense layers"
            " for the 1000 classes of ImageNet. Two cards held half of the maps each, hence the groups. (The paper"
            " says 224×224;"
            " its sizes come out with 227.) Nothing is trained here, only computed: sizes, parameters,"
            " multiply-adds.",
            "同じ考えを100倍の規模にし、ReLU、ドロップアウト、GPUを使った。"
            "ImageNetの1000クラスに対し畳み込み5層と全結合3層。GPU"
            " 2枚がマップを半分ずつ持ったのでgroupsが2になる。"
            "（論文は224×224と書くが、サイズが合うのは227。）ここでは学習せず、"
            "サイズとパラメータと積和だけを計算する。",
        ),
        (r"\lfloor \frac{227 - 11}{4} \rfloor + 1 = 55",),
        (
            layer_table(network),
            Numbers(
                (
                    Number(
                        "AlexNet sizes",
                        Text(
                            "conv 1, pool 1, conv 2, pool 2, conv 3, conv 5, pool 3",
                            "conv1、pool1、conv2、pool2、conv3、conv5、pool3",
                        ),
                        sizes,
                    ),
                    Number(
                        "AlexNet parameters",
                        Text("parameters", "パラメータ"),
                        network.parameter_count,
                    ),
                    Number(
                        "AlexNet multiply-adds",
                        Text("multiply-adds, millions", "積和（百万）"),
                        network.multiply_adds / 1e6,
                        None,
                        1,
                    ),
                    Number(
                        "first convolution of 224",
                        Text("(224 - 11) / 4 + 1 is no whole number", "(224 − 11) / 4 + 1 は整数でない"),
                        (224 - 11) / 4 + 1,
                        None,
                        2,
                    ),
                )
            ),
        ),
    )


def layer_table(network: Network) -> Table:
    """List the layers that have parameters or change the size."""
    rows = tuple(
        (
            str(row["name"]),
            "×".join(map(str, row["output_shape"])),
            f"{row['parameters']:,}",
            f"{row['multiply_adds']:,}",
        )
        for row in network.summary_rows()
        if row["parameters"] or "pool" in row["name"]
    )
    header = (
        Text("layer", "層"),
        Text("output", "出力"),
        Text("parameters", "パラメータ"),
        Text("multiply-adds", "積和"),
    )
    return Table(header, rows)
