"""Activation functions, their slopes, and what ten slopes in a row leave of a gradient."""

import numpy as np
from numpy.typing import NDArray

from tatami.backends import ReferenceBackend
from tatami.layers import ELU, LeakyReLU, Mish, ReLU, Sigmoid, Step as StepFunction, Swish, Tanh
from tatami.layers.activations import Activation
from tatami.lectures.walkthrough import (
    MakeStep,
    Number,
    Numbers,
    Plot,
    Request,
    Series,
    Step,
    Text,
    printed,
    same,
)

Array = NDArray[np.float64]

OPS = ReferenceBackend()
AXIS = np.linspace(-4, 4, 161)
LAYERS = 10


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the functions."""
    return functions, slopes, vanishing, kink, descendants


def value(activation: Activation, x: Array) -> Array:
    """Return f(x)."""
    return np.asarray(activation.function(OPS, x), dtype=np.float64)


def slope(activation: Activation, x: Array) -> Array:
    """Return f′(x).

    >>> slope(Sigmoid(), np.array([0.0])).tolist()
    [0.25]
    """
    return np.asarray(activation.derivative(OPS, x, activation.function(OPS, x)), dtype=np.float64)


def lines(activations: dict[str, Activation], of_slopes: bool = False) -> tuple[Series, ...]:
    """Return a line for each function, or for its slope."""
    return tuple(
        Series(same(name), AXIS, slope(activation, AXIS) if of_slopes else value(activation, AXIS))
        for name, activation in activations.items()
    )


CLASSICS: dict[str, Activation] = {
    "step": StepFunction(),
    "sigmoid": Sigmoid(),
    "tanh": Tanh(),
    "ReLU": ReLU(),
}


def functions() -> Step:
    """The four classics."""
    at = np.array([-2.0, 0.0, 2.0])
    return Step(
        Text("What a unit answers", "ユニットの答え方"),
        Text(
            "Without a bend between them, two layers of sums are one layer of sums. The activation is that bend."
            " The step is the"
            " nerve cell of the textbooks: it fires or not. Sigmoid and tanh are steps that have been smoothed,"
            " ReLU lets"
            " everything above zero pass as it is.",
            "間に「曲がり」がなければ、和の層を2つ重ねても1つの層と同じである。活性化関数はその曲がりにあたる。"
            "ステップは教科書の神経細胞で、発火するかしないか。"
            "シグモイドとtanhはそれを滑らかにしたもの、ReLUは正の値をそのまま通す。",
        ),
        (
            r"\text{sigmoid: } \frac{1}{1 + e^{-x}}",
            r"\text{tanh: } \frac{e^x - e^{-x}}{e^x + e^{-x}}",
            r"\text{ReLU: } \max(0, x)",
        ),
        (
            Plot(Text("functions", "関数"), lines(CLASSICS), same("x"), same("f(x)"), y_range=(-1.2, 2.0)),
            Numbers(
                tuple(
                    Number(
                        f"{name} at -2, 0, 2",
                        Text(f"{name} at -2, 0, 2", f"{name}（x = -2, 0, 2）"),
                        value(f, at),
                    )
                    for name, f in CLASSICS.items()
                )
            ),
        ),
    )


def slopes() -> Step:
    """Their slopes."""
    smooth = {name: CLASSICS[name] for name in ("sigmoid", "tanh", "ReLU")}
    return Step(
        Text("Slopes", "傾き"),
        Text(
            "Learning goes through the slope. The sigmoid's is at most a quarter, at 0; that of tanh at most 1."
            " Both die out to"
            " the sides: a unit that is very sure can hardly be taught otherwise. Each can be computed from the"
            " output.",
            "学習は傾きを通して進む。シグモイドの傾きは0で最大でも1/4、tanhは最大1。どちらも両側で消えるので、"
            "確信しきったユニットはほとんど学び直せない。"
            "傾きはいずれも出力だけから計算できる。",
        ),
        (
            r"\text{sigmoid: } f' = f \cdot (1 - f)",
            r"\text{tanh: } f' = 1 - f^2",
            r"\text{ReLU: } f' = 1 \text{ for } x > 0, \text{ else } 0",
        ),
        (
            Plot(Text("slopes", "傾き"), lines(smooth, of_slopes=True), same("x"), same("f′(x)")),
            Numbers(
                (
                    Number(
                        "largest sigmoid slope",
                        Text("largest slope of the sigmoid", "シグモイドの最大の傾き"),
                        slope(Sigmoid(), AXIS).max(),
                        printed(0.25, 2),
                        2,
                    ),
                    Number(
                        "largest tanh slope",
                        Text("largest slope of tanh", "tanhの最大の傾き"),
                        slope(Tanh(), AXIS).max(),
                        printed(1.0, 1),
                        2,
                    ),
                    Number(
                        "ReLU slopes",
                        Text("slopes of ReLU at -1 and 1", "ReLUの傾き（x = -1, 1）"),
                        slope(ReLU(), np.array([-1.0, 1.0])),
                        printed([0, 1]),
                    ),
                )
            ),
        ),
    )


def vanishing() -> Step:
    """Ten slopes in a row."""
    best = {name: float(slope(f, AXIS).max()) ** LAYERS for name, f in CLASSICS.items() if name != "step"}
    usual = {
        name: float(np.mean(slope(CLASSICS[name], np.linspace(-2, 2, 401)))) ** LAYERS
        for name in ("sigmoid", "tanh", "ReLU")
    }
    return Step(
        Text("Ten in a row", "10層重ねると"),
        Text(
            f"Behind {LAYERS} sigmoids not a millionth of a gradient is left even if every unit sits at its"
            " steepest point; that is"
            " the vanishing gradient. The lower rows take the mean slope for inputs spread over -2 … 2. Weights"
            " above 1 can"
            " make up for it, which is what initial values are about.",
            f"シグモイドを{LAYERS}回通ると、どのユニットも最も急な所にいたとしても、勾配は100万分の1も残らない。"
            "これが勾配消失である。"
            "下の行は入力が−2から2に広がるときの平均の傾き。1より大きい重みで補うことができ、"
            "それが初期値の話になる。",
        ),
        (r"\prod_{l=1}^{10} f'(u_l)",),
        (
            Numbers(
                (
                    *(
                        Number(
                            f"best of ten {name}",
                            Text(f"{name}, at best", f"{name}（最良の場合）"),
                            v,
                            None,
                            8,
                        )
                        for name, v in best.items()
                    ),
                    *(
                        Number(
                            f"usual ten {name}",
                            Text(f"{name}, mean over -2 … 2", f"{name}（−2〜2の平均）"),
                            v,
                            None,
                            8,
                        )
                        for name, v in usual.items()
                    ),
                )
            ),
        ),
    )


def kink() -> Step:
    """Conventions at zero."""
    zero = np.array([0.0])
    return Step(
        Text("At zero", "0では"),
        Text(
            "ReLU has a kink at 0 and the step a jump; what to take there is a matter of agreement. Arai's program"
            " and DSP's slides"
            " agree on 0, and so does Tatami, on every backend.",
            "ReLUは0で折れ、ステップは0で跳ぶ。そこでの値は約束の問題である。"
            "新井のプログラムもDSPのスライドも0としており、Tatamiもすべてのバックエンドで同じ。",
        ),
        (),
        (
            Numbers(
                (
                    Number("ReLU slope at 0", same("ReLU′(0)"), slope(ReLU(), zero)[0], printed(0)),
                    Number(
                        "step at 0",
                        Text("step(0)", "ステップ(0)"),
                        value(StepFunction(), zero)[0],
                        printed(0),
                    ),
                )
            ),
        ),
    )


def descendants() -> Step:
    """ReLU's descendants."""
    family: dict[str, Activation] = {
        "leaky ReLU": LeakyReLU(),
        "ELU": ELU(),
        "Swish": Swish(),
        "Mish": Mish(),
    }
    at = np.array([-2.0, -1.0, 1.0])
    return Step(
        Text("What came after ReLU", "ReLUの後継"),
        Text(
            "A ReLU unit whose input is below zero for every image never learns again. Its descendants leave a"
            " slope there: a small"
            " one (leaky ReLU), a bent one (ELU), or one that even turns around (Swish and Mish).",
            "どの画像でも入力が負のReLUユニットは二度と学習しない。後継の関数はそこに傾きを残す。小さな傾き（Leaky"
            " ReLU）、曲線（ELU）、向きを変えるもの（Swish、Mish）。",
        ),
        (
            r"\text{ELU: } x \text{ for } x > 0, \text{ else } e^x - 1",
            r"\text{Swish: } \frac{x}{1 + e^{-x}}",
            r"\text{Mish: } x \cdot \tanh(\log(1 + e^x))",
        ),
        (
            Plot(Text("functions", "関数"), lines(family), same("x"), same("f(x)"), y_range=(-1.2, 2.0)),
            Numbers(
                tuple(
                    Number(
                        f"{name} slopes",
                        Text(f"slopes of {name} at -2, -1, 1", f"{name}の傾き（x = -2, -1, 1）"),
                        slope(f, at),
                    )
                    for name, f in family.items()
                )
            ),
        ),
    )
