"""Losses: squared error and cross-entropy, the slope they start from, and why softmax is never computed naively."""

import numpy as np
from numpy.typing import NDArray

from tatami.backends import ReferenceBackend
from tatami.lectures.walkthrough import (
    Erratum,
    MakeStep,
    Number,
    Numbers,
    Plot,
    Request,
    Series,
    Step,
    Text,
    Worked,
    same,
)
from tatami.losses import SoftmaxCrossEntropy, SquaredError

Array = NDArray[np.float64]

OPS = ReferenceBackend()


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the losses."""
    return squared, softmax_step, entropy, beginning, overflow, reduction


def squared() -> Step:
    """½Σ(y - t)² and the sign of the article."""
    y, t = np.array([[0.1, 0.7, 0.2]]), np.array([[0.0, 1.0, 0.0]])
    loss = SquaredError("sum")
    value = loss.value(OPS, y, t)
    erratum = Erratum(
        "Qiita-squared-error",
        Text("§5 (1) i, squared error", "5章(1) i、2乗和誤差"),
        Text(
            "E = -½ Σ (y - t)², of numbers that were squared before the difference is taken",
            "E = −½ Σ (y−t)²。説明文では「それぞれ二乗し、その差分」",
        ),
        Text("E = +½ Σ (y - t)²: the difference is squared", "E = +½ Σ (y−t)²。差を取ってから二乗する"),
        Text(
            "With the minus sign the error would be largest, namely zero, where every output is right, and going"
            " downhill would"
            " lead away from the targets: the derivative would be t - y.",
            "マイナスだと、すべて正解のとき誤差が最大（0）になり、誤差を下げると目標から離れてしまう。"
            "微分もt−yになる。",
        ),
        (r"\frac{\partial}{\partial y(k)} (+\frac{1}{2} \sum_{j} {(y(j) - t(j))}^2) = y(k) - t(k)",),
        (
            Numbers(
                (
                    Number("right squared error", Text("with the plus", "プラスの場合"), value),
                    Number("printed squared error", Text("with the minus", "マイナスの場合"), -value),
                )
            ),
        ),
    )
    return Step(
        Text("Squared error", "二乗和誤差"),
        Text(
            "How far from the target, squared, so that large misses count more and no sign matters. The half is"
            " there for the"
            " derivative's sake. It is the loss of the ○× exercise.",
            "目標からの距離の二乗。大きな外れほど重く数え、符号は問わない。1/2は微分をきれいにするため。"
            "○×判定で使う損失である。",
        ),
        (
            r"E = \frac{1}{2} \sum_{k} {(y(k) - t(k))}^2, \quad \frac{\partial E}{\partial y(k)} = y(k) - t(k)",
        ),
        (
            Worked((rf"\frac{{1}}{{2}} (0.1^2 + {{(0.7 - 1)}}^2 + 0.2^2) = {value:.4f}",)),
            Numbers((Number("dE/dy", same("∂E/∂y"), loss.gradient(OPS, y, t)[0]),)),
        ),
        (erratum,),
    )


def softmax_step() -> Step:
    """Softmax."""
    z = np.array([[2.0, 1.0, -1.0]])
    loss = SoftmaxCrossEntropy()
    v = loss.predict(OPS, z)[0]
    return Step(
        Text("Softmax: from sums to probabilities", "ソフトマックス：和から確率へ"),
        Text(
            "Exponentials are never below zero, and divided by their sum they add up to 1: the largest sum becomes"
            " the most"
            " probable class. Adding the same number to all sums changes nothing.",
            "指数関数は負にならず、総和で割れば合計が1になる。最大の和が最も確率の高いクラスになる。"
            "すべての和に同じ数を足しても結果は変わらない。",
        ),
        (
            r"v(k) = \frac{e^{z(k)}}{\sum_{j} e^{z(j)}}",
            r"\frac{e^{z(k) + c}}{\sum_{j} e^{z(j) + c}} = \frac{e^c \cdot e^{z(k)}}{e^c \cdot \sum_{j} e^{z(j)}}"
            r" = v(k)",
        ),
        (
            Numbers(
                (
                    Number("z", same("z"), z[0], None, 1),
                    Number("v", same("v"), v),
                    Number("v sum", same("Σ v"), v.sum(), None, 6),
                    Number("v shifted", Text("v for z + 100", "z + 100 のv"), loss.predict(OPS, z + 100)[0]),
                )
            ),
        ),
    )


def entropy() -> Step:
    """Cross-entropy."""
    p = np.linspace(0.01, 1, 100)
    return Step(
        Text("Cross-entropy", "交差エントロピー"),
        Text(
            "Only the probability of the right class counts, through its logarithm: nothing to pay for certainty"
            " that is right, a"
            " lot for certainty that is wrong. The squared error would ask at most ½ for the same mistake.",
            "正解クラスの確率だけが、対数を通して数えられる。正しい確信には代価がなく、"
            "誤った確信には大きな代価を払う。二乗誤差なら同じ誤りに最大でも1/2しか求めない。",
        ),
        (r"E = -\sum_{k} r(k) \cdot \log v(k) = -\log v(\text{right})",),
        (
            Plot(
                Text("what a probability of the right class costs", "正解クラスの確率と損失"),
                (
                    Series(Text("cross-entropy", "交差エントロピー"), p, -np.log(p)),
                    Series(Text("squared error", "二乗誤差"), p, 0.5 * (1 - p) ** 2),
                ),
                Text("probability of the right class", "正解クラスの確率"),
                same("E"),
            ),
            Numbers(
                tuple(
                    Number(f"-log {share}", same(f"-log {share}"), -np.log(share))
                    for share in (0.99, 0.5, 0.1, 0.01)
                )
            ),
        ),
    )


def beginning() -> Step:
    """δ = v - r."""
    z = np.array([[2.0, 1.0, -1.0]])
    label = np.array([1])
    loss = SoftmaxCrossEntropy("sum")
    delta = loss.gradient(OPS, z, label)[0]
    h = 1e-6
    measured = np.array(
        [
            (loss.value(OPS, z + h * unit, label) - loss.value(OPS, z - h * unit, label)) / (2 * h)
            for unit in np.eye(3)
        ]
    )
    return Step(
        Text("Where δ begins", "δの出発点"),
        Text(
            "Differentiate the logarithm of the softmax: the sum of the exponentials gives v(k), the right class"
            " gives 1 less. That"
            " is all. A unit that should have said 1 and said 0.26 gets -0.74.",
            "ソフトマックスの対数を微分する。指数の和からv(k)が、正解クラスから−1が出て、それだけである。"
            "1と答えるべきところを0.26と答えたユニットのδは−0.74になる。",
        ),
        (
            r"E = \log \sum_{j} e^{z(j)} - z(\text{right})",
            r"\delta(k) = \frac{\partial E}{\partial z(k)} = \frac{e^{z(k)}}{\sum_{j} e^{z(j)}} - r(k) = v(k) - r(k)",
        ),
        (
            Numbers(
                (
                    Number("δ", Text("v - r", "v − r"), delta),
                    Number("δ measured", Text("central difference", "中心差分"), measured),
                    Number("δ sum", same("Σ δ"), round(float(delta.sum()), 12)),
                )
            ),
        ),
    )


def overflow() -> Step:
    """Numerics."""
    z = np.array([[1000.0, 0.0]])
    loss = SoftmaxCrossEntropy()
    with np.errstate(all="ignore"):
        naive = np.exp(z) / np.exp(z).sum()
    return Step(
        Text("Fused, so that nothing overflows", "桁あふれしない計算"),
        Text(
            "e to the 1000 is no number for a computer, and infinity by infinity is none either. Taking off the"
            " largest sum first"
            " changes nothing in the result and keeps every exponent at or below 0. Loss and softmax are computed"
            " together, so that no logarithm of 0 is taken.",
            "eの1000乗は計算機では表せず、無限大÷無限大も数ではない。先に最大の和を引いても結果は変わらず、"
            "指数はすべて0以下になる。"
            "損失とソフトマックスをまとめて計算するので、0の対数も現れない。",
        ),
        (r"E = \log \sum_{j} e^{z(j) - \max z} - (z(\text{right}) - \max z)",),
        (
            Numbers(
                (
                    Number(
                        "naive softmax", Text("naive softmax of (1000, 0)", "素朴な計算 (1000, 0)"), naive[0]
                    ),
                    Number("softmax", Text("shifted softmax", "最大値を引いた計算"), loss.predict(OPS, z)[0]),
                    Number(
                        "loss wrong",
                        Text("loss if class 2 is right", "クラス2が正解のときの損失"),
                        loss.value(OPS, z, np.array([1])),
                    ),
                )
            ),
        ),
    )


def reduction() -> Step:
    """Sum or mean."""
    z = np.array([[2.0, 1.0, -1.0]] * 100)
    label = np.ones(100, dtype=np.int64)
    total, mean = (SoftmaxCrossEntropy(how).gradient(OPS, z, label)[0] for how in ("sum", "mean"))
    return Step(
        Text("Sum or mean", "和か平均か"),
        Text(
            "Arai's program and DSP's slides add the error over the mini-batch, most others take the mean. It"
            " matters for the"
            " learning rate alone: 0.0001 on the sum over 100 images is 0.01 on the mean.",
            "新井のプログラムとDSPのスライドはミニバッチの誤差を足し、多くのプログラムは平均する。"
            "違いは学習率だけで、100枚の和に対する0.0001は平均に対する0.01にあたる。",
        ),
        (r"E = \frac{1}{N} \sum_{n} E_n",),
        (
            Numbers(
                (
                    Number("δ summed", Text("δ of one image, sum", "1枚のδ（和）"), total),
                    Number(
                        "δ mean", Text("δ of one image, mean of 100", "1枚のδ（100枚の平均）"), mean, None, 6
                    ),
                    Number(
                        "steps equal",
                        Text("0.0001·sum - 0.01·mean", "0.0001·和 − 0.01·平均"),
                        np.abs(1e-4 * total - 1e-2 * mean).max(),
                        None,
                    ),
                )
            ),
        ),
    )
