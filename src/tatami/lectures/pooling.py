"""Pooling: maximum, mean and norm of windows, the slope that goes back, and the shift by one pixel."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tatami.backends import ReferenceBackend
from tatami.layers import AveragePool, Layer, LpPool, MaxPool
from tatami.layers.base import Context
from tatami.lectures.walkthrough import (
    Grid,
    Grids,
    MakeStep,
    Number,
    Numbers,
    Request,
    Step,
    Text,
    printed,
)
from tatami.random import RandomKey

Array = NDArray[np.float64]

DAY4_IMAGE: Array = np.array(
    [
        [1, 2, 0, 7, 1, 0],
        [0, 9, 2, 3, 2, 3],
        [3, 0, 1, 2, 1, 2],
        [2, 4, 0, 1, 0, 1],
        [6, 0, 1, 2, 1, 2],
        [2, 4, 0, 1, 8, 1],
    ],
    dtype=np.float64,
)
OPS = ReferenceBackend()


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the poolings."""
    return maximum, shifted, other_poolings, backward, partial(many_shifts, request)


def pooled(layer: Layer, image: Array) -> Array:
    """Pool one image.

    >>> pooled(MaxPool(2), np.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
    [[3.0]]
    """
    return np.asarray(layer.forward(OPS, (image[None, None],), {}, Context()).output[0, 0])


def moved(image: Array) -> Array:
    """Shift an image one pixel to the right; a zero comes in from the left."""
    return np.pad(image, ((0, 0), (1, 0)))[:, :-1]


def maximum() -> Step:
    """DAY4's example."""
    return Step(
        Text("The largest of every window", "窓ごとの最大値"),
        Text(
            "Max pooling keeps the largest number of every window and forgets where in the window it stood. There"
            " is nothing"
            " to learn in it. The number of channels stays.",
            "最大プーリングは各窓の最大値だけを残し、窓の中の位置は忘れる。学習するものはない。"
            "チャンネル数は変わらない。",
        ),
        (r"y(i,j) = \max_{m,n} x(s i + m, s j + n)",),
        (
            Grids(
                (
                    Grid("image", "X", DAY4_IMAGE, marked=((1, 1), (0, 3), (4, 0), (5, 4))),
                    "→",
                    Grid("pooled", "3×3, s = 3", pooled(MaxPool(3), DAY4_IMAGE), printed([[9, 7], [6, 8]])),
                )
            ),
        ),
    )


def shifted() -> Step:
    """The same image moved by one pixel."""
    image = moved(DAY4_IMAGE)
    return Step(
        Text("Moved by one pixel", "1画素ずらす"),
        Text(
            "The image moves one pixel to the right, and the result stays the same: each of the four large numbers"
            " is still in"
            " the window it was in. This is what pooling is for. It is no law, though: a 9 at the right edge of"
            " its window"
            " would have left it; the last step counts how often that happens.",
            "画像を右に1画素ずらしても結果は同じ。大きな4つの数がそれぞれ元の窓に残っているからで、"
            "これがプーリングのねらいである。"
            "ただし法則ではない。9が窓の右端にあれば出て行ってしまう。どれくらい起こるかは最後の段階で数える。",
        ),
        (),
        (
            Grids(
                (
                    Grid("moved image", "X →", image, marked=((1, 2), (0, 4), (4, 1), (5, 5))),
                    "→",
                    Grid(
                        "moved and pooled", "3×3, s = 3", pooled(MaxPool(3), image), printed([[9, 7], [6, 8]])
                    ),
                )
            ),
        ),
    )


def other_poolings() -> Step:
    """Average and Lp, and the limit p → ∞."""
    window = np.array([[1.0, 2.0], [3.0, 4.0]])
    ladder = [1, 2, 4, 16, 400]
    return Step(
        Text("Mean and norm", "平均とノルム"),
        Text(
            "Average pooling takes the mean. Lp pooling joins both: p = 1 is the mean of absolute values, and the"
            " larger p"
            " the closer it comes to the maximum.",
            "平均プーリングは平均を取る。LPプーリングは両方をつなぐ。p=1なら絶対値の平均で、"
            "pが大きいほど最大値に近づく。",
        ),
        (
            r"\text{mean: } y = \frac{1}{|P|} \sum_{m} x(m)",
            r"\text{Lp: } y = {(\frac{1}{|P|} \sum_{m} {|x(m)|}^p)}^{\frac{1}{p}}",
        ),
        (
            Grids(
                (
                    Grid("small window", "X", window),
                    "→",
                    Grid("mean", "mean", pooled(AveragePool(2), window)),
                    Grid("maximum", "max", pooled(MaxPool(2), window)),
                )
            ),
            Numbers(
                tuple(
                    Number(
                        f"p = {p}",
                        Text(f"Lp with p = {p}", f"p = {p}のLP"),
                        pooled(LpPool(2, p=p), window)[0, 0],
                    )
                    for p in ladder
                )
            ),
        ),
    )


def backward() -> Step:
    """Where the gradient goes."""
    dy = np.array([[1.0, 2.0], [3.0, 4.0]])
    tied = np.array([[5.0, 5.0], [1.0, 5.0]])
    grids: list[Grid] = []
    for ties, name in (("first", "first"), ("even", "even"), ("all", "all")):
        layer = MaxPool(2, ties=ties)  # type: ignore[arg-type]
        forward = layer.forward(OPS, (tied[None, None],), {}, Context())
        back = layer.backward(OPS, np.array([[[[6.0]]]]), forward.saved, {})
        grids.append(Grid(f"ties {name}", name, back.dinputs[0][0, 0]))
    layer = MaxPool(3)
    forward = layer.forward(OPS, (DAY4_IMAGE[None, None],), {}, Context())
    dx = layer.backward(OPS, dy[None, None], forward.saved, {}).dinputs[0][0, 0]
    return Step(
        Text("Backward", "逆伝播"),
        Text(
            "A small change of the winner changes the maximum by as much; a small change of any other number"
            " changes nothing."
            " So the gradient goes to the winner alone. Where several are equally large the derivative is not"
            " defined,"
            " and a rule decides: Tatami gives all to the first in row order (as MATLAB's and NumPy's max), DSP's"
            " slide"
            " the whole to each.",
            "勝者を少し変えれば最大値も同じだけ変わり、ほかの数を変えても何も変わらない。だから勾配は勝者だけに行く。"
            "同じ最大値が並ぶと微分は定義されず、規則で決める。"
            "Tatamiは（MATLABやNumPyのmaxと同じく）行順で最初のものに全部を渡し、DSPのスライドは各々に全体を渡す。",
        ),
        (r"\frac{\partial y}{\partial x(m)} = 1 \text{ if } x(m) \text{ is the maximum, else } 0",),
        (
            Grids((Grid("dy", "dy", dy), "→", Grid("dx", "dx", dx))),
            Grids((Grid("tied", "x", tied), "dy = 6 →", *grids)),
        ),
    )


def many_shifts(request: Request) -> Step:
    """How often the shift changes the result, for random images."""
    rounds = 200
    images = RandomKey(request.seed).uniform("pooling.images", (rounds, 6, 6))
    kept = {size: 0.0 for size in (2, 3, 6)}
    for size in kept:
        equal = [pooled(MaxPool(size), x) == pooled(MaxPool(size), moved(x)) for x in images]
        kept[size] = float(np.mean(equal))
    single = float(np.mean([x == moved(x) for x in images]))
    return Step(
        Text("How often does it hold?", "どれくらい成り立つか"),
        Text(
            f"{rounds} images of random numbers, moved by one pixel: the share of entries that stay the same."
            " Without pooling"
            " next to none; the larger the window, the more.",
            f"乱数の画像{rounds}枚を1画素ずらし、変わらない値の割合を見る。プーリングなしではほぼ0、"
            "窓が大きいほど増える。",
        ),
        (r"\text{one of } m \text{ columns leaves: } 1 - \frac{1}{m}",),
        (
            Numbers(
                (
                    Number(
                        "stays without pooling", Text("without pooling", "プーリングなし"), single, None, 3
                    ),
                    *(
                        Number(
                            f"stays with {size}",
                            Text(f"window {size}×{size}", f"窓 {size}×{size}"),
                            share,
                            None,
                            3,
                        )
                        for size, share in kept.items()
                    ),
                )
            ),
        ),
    )
