"""Dropout: the rule while training, the rule while testing, and which probability goes into it."""

from functools import partial

import numpy as np

from tatami.backends import ReferenceBackend
from tatami.layers import DropConnect, Dropout
from tatami.layers.base import Context
from tatami.lectures.walkthrough import (
    Erratum,
    Grid,
    Grids,
    MakeStep,
    Number,
    Numbers,
    Request,
    Step,
    Text,
    Worked,
)
from tatami.random import RandomKey

OPS = ReferenceBackend()
X = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]])
RATIO = 0.25
DRAWS = 20_000


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the rule."""
    return (
        partial(training, request),
        partial(expectation, request),
        partial(testing, request),
        partial(backward, request),
        partial(relatives, request),
    )


def training(request: Request) -> Step:
    """The mask."""
    layer = Dropout(RATIO, name="dropout1")
    key = RandomKey(request.seed)
    mask = key.keep_mask("dropout1", X.shape, RATIO)
    y = layer.forward(OPS, (X,), {}, Context(training=True, key=key)).output
    return Step(
        Text("While training", "学習時"),
        Text(
            "Every unit is switched off with probability r, here a quarter, anew for every mini-batch. What is"
            " left is scaled up by"
            " 1/(1 - r), so that the sum that the next layer sees stays the same on average.",
            "各ユニットを確率r（ここでは1/4）で消す。選び直しはミニバッチごと。残ったものを1/(1−r)倍し、"
            "次の層が見る和の平均が変わらないようにする。",
        ),
        (
            r"y(i) = \frac{m(i) \cdot x(i)}{1 - r}, \quad m(i) = 0 \text{ with probability } r, \text{ else } 1",
        ),
        (
            Grids((Grid("x", "x", X), Grid("mask", "m", mask.astype(float)), Grid("y", "y", y))),
            Worked((rf"\frac{{1}}{{1 - 0.25}} = {1 / (1 - RATIO):.4f}",)),
        ),
    )


def expectation(request: Request) -> Step:
    """The mean over many masks."""
    masks = RandomKey(request.seed).keep_mask("dropout.many", (DRAWS, 8), RATIO)
    mean = (masks / (1 - RATIO) * X).mean(axis=0)
    return Step(
        Text("On average nothing changes", "平均は変わらない"),
        Text(
            f"The mean of y over {DRAWS:,} masks is x again, up to the chance of the draw.",
            f"{DRAWS:,}個のマスクでyを平均すると、くじの偶然を除いてxに戻る。",
        ),
        (r"\text{mean of } y(i) = \frac{(1 - r) \cdot 1 + r \cdot 0}{1 - r} x(i) = x(i)",),
        (
            Grids((Grid("x again", "x", X), Grid("mean y", "mean of y", mean, decimals=2))),
            Numbers((Number("share kept", Text("share kept", "残った割合"), masks.mean()),)),
        ),
    )


def testing(request: Request) -> Step:
    """The rule at test time and the article's slip."""
    masks = RandomKey(request.seed).keep_mask("dropout.many", (DRAWS, 8), RATIO)
    plain = float((masks * X).sum(axis=1).mean())
    total = float(X.sum())
    inverted = Dropout(RATIO, name="dropout1").forward(OPS, (X,), {}, Context()).output
    erratum = Erratum(
        "Qiita-dropout",
        Text("§6 (1) iii, Dropout", "6章(1) iii、Dropout"),
        Text("at test time multiply by the share that was dropped", "テスト時は、消去した割合を乗算する"),
        Text("multiply by the share that was kept, 1 - r", "残した割合1−rを乗算する"),
        Text(
            "Trained without the factor 1/(1 - r), the next layer got on average (1 - r) of the full sum. At test"
            " time, with all units"
            " at work, the same is had by multiplying with 1 - r. The share that was dropped gives a third of it"
            " here. With"
            " the factor used in training (the inverted form, Tatami's) nothing is multiplied at all.",
            "係数1/(1−r)なしで学習すると、次の層が受けた和は平均して全体の(1−r)倍である。"
            "全ユニットが働くテスト時に同じにするには1−rを掛ければよい。"
            "消去した割合を掛けると、この例では1/3になってしまう。学習時に係数を使う形（inverted、"
            "Tatamiの方式）なら何も掛けなくてよい。",
        ),
        (
            r"\text{training: mean of } \sum_{i} m(i) x(i) = (1 - r) \sum_{i} x(i)",
            r"\text{test: } (1 - r) \sum_{i} x(i)",
        ),
        (
            Numbers(
                (
                    Number(
                        "mean sum",
                        Text("mean sum while training, without the factor", "学習時の和の平均（係数なし）"),
                        plain,
                        None,
                        2,
                    ),
                    Number(
                        "kept sum",
                        Text("at test: sum × share kept, 0.75", "テスト時：和×残した割合 0.75"),
                        (1 - RATIO) * total,
                        None,
                        2,
                    ),
                    Number(
                        "dropped sum",
                        Text("at test: sum × share dropped, 0.25", "テスト時：和×消去した割合 0.25"),
                        RATIO * total,
                        None,
                        2,
                    ),
                )
            ),
        ),
    )
    return Step(
        Text("While testing", "テスト時"),
        Text(
            "All units are at work. In the form above nothing is to be done: y = x.",
            "すべてのユニットが働く。上の形では何もしなくてよく、y = x である。",
        ),
        (r"y(i) = x(i)",),
        (
            Grids(
                (Grid("x at test", "x", X), Grid("y at test", "y", inverted)),
            ),
        ),
        (erratum,),
    )


def backward(request: Request) -> Step:
    """The mask in δ."""
    layer = Dropout(RATIO, name="dropout1")
    forward = layer.forward(OPS, (X,), {}, Context(training=True, key=RandomKey(request.seed)))
    dx = layer.backward(OPS, np.ones_like(X), forward.saved, {}).dinputs[0]
    return Step(
        Text("Backward", "逆伝播"),
        Text(
            "The same mask and factor multiply the gradient: who was not there is not to blame. (Arai's program"
            " forgets this; see the"
            " lecture 'arai'.)",
            "勾配にも同じマスクと係数を掛ける。いなかった者に責任はない。（新井のプログラムはこれを忘れている。"
            "講義 arai を参照。）",
        ),
        (r"\frac{\partial E}{\partial x(i)} = \frac{m(i)}{1 - r} \cdot \frac{\partial E}{\partial y(i)}",),
        (Grids((Grid("dy", "∂E/∂y", np.ones_like(X)), Grid("dx", "∂E/∂x", dx))),),
    )


def relatives(request: Request) -> Step:
    """DropConnect and maxout."""
    key = RandomKey(request.seed)
    weight = np.round(key.normal("dropout.W", (2, 8)), 1)
    mask = key.keep_mask("drop_connect1", (2, 8), 0.5)
    layer = DropConnect(2, 0.5, bias=False, name="drop_connect1")
    y = layer.forward(OPS, (X,), {"weight": weight}, Context(training=True, key=key)).output[0]
    by_hand = (mask * weight / 0.5) @ X[0]
    maps = np.array([[0.1, 0.9, 0.4], [0.7, 0.2, 0.3]])
    return Step(
        Text("Relatives: connections, and maxout", "仲間：結合を切る、そしてmaxout"),
        Text(
            "DropConnect switches off connections instead of units: the mask has the shape of W. Maxout is another"
            " idea of those"
            " years: instead of bending each map, take the largest of several at every place. As pooling makes"
            " maps smaller,"
            " maxout makes them fewer.",
            "DropConnectはユニットではなく結合を切る。マスクはWと同じ形になる。Maxoutは同じ頃の別の考えで、"
            "各マップを曲げる代わりに、同じ位置の値の最大を取る。"
            "プーリングがマップを小さくするように、maxoutは枚数を減らす。",
        ),
        (r"u(k) = \sum_{i} \frac{M(k,i) \cdot W(k,i)}{1 - r} x(i)", r"y(i,j) = \max_{k} u(k,i,j)"),
        (
            Grids((Grid("W", "W", weight, decimals=1), Grid("M", "M", mask.astype(float)))),
            Numbers(
                (
                    Number("drop connect", Text("by the layer", "層の計算"), y),
                    Number("drop connect by hand", Text("by the formula", "式のとおり"), by_hand),
                )
            ),
            Grids(
                (
                    Grid("maps", "u(1), u(2)", maps, decimals=1),
                    "max →",
                    Grid("maxout", "y", maps.max(axis=0), decimals=1),
                )
            ),
        ),
    )
