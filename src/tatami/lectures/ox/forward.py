"""From the pixels to the cost."""

from tatami.lectures.explained import worked_line
from tatami.lectures.numerals import numeral
from tatami.lectures.ox import slides
from tatami.lectures.ox.exercise import CIRCLE, CROSS, ON_CIRCLE, ON_CROSS, Exercise
from tatami.lectures.walkthrough import (
    Erratum,
    Grid,
    Grids,
    Number,
    Numbers,
    Step,
    Text,
    Worked,
    printed,
    same,
)


def images_and_filters() -> Step:
    """The two images and what the network starts from."""
    return Step(
        Text("The task", "課題"),
        Text(
            "A network is to tell a ring from a cross, drawn on 3×3 pixels with 1 for black and 0 for white. It"
            " has two"
            " 2×2 filters, one maximum for each filter's map and two output units; the target is (1, 0) for ○ and"
            " (0, 1)"
            " for ×. All starting values are given, so every number below can be checked with a pocket calculator.",
            "3×3画素（黒=1、白=0）の○と×を見分ける網を作る。2×2のフィルタが2枚、各特徴マップの最大値が1つずつ、"
            "出力ユニットが2つ。目標は○なら(1, 0)、×なら(0, 1)。初期値はすべて与えられているので、"
            "以下の数はどれも電卓で確かめられる。",
        ),
        (r"u(k,i,j) = \sum_{\mu} \sum_{\nu} F(k,\mu,\nu) \cdot x(i+\mu-1, j+\nu-1)",),
        (
            Grids((Grid("○", "○", slides.CIRCLE), Grid("×", "×", slides.CROSS))),
            Grids(
                (
                    Grid("F1", "F₁", slides.START.filters[0].reshape(2, 2)),
                    Grid("F2", "F₂", slides.START.filters[1].reshape(2, 2)),
                    Grid("W", "W", slides.START.output, decimals=1),
                )
            ),
            Numbers(
                (
                    Number(
                        "filter biases",
                        Text("biases of the filters", "フィルタのバイアス"),
                        [1, 1],
                        printed([1, 1]),
                    ),
                    Number(
                        "output biases",
                        Text("biases of the outputs", "出力のバイアス"),
                        [1, 1],
                        printed([1, 1]),
                    ),
                )
            ),
        ),
    )


def filtering(exercise: Exercise) -> Step:
    """Convolution."""
    bias = 1.0
    circle, cross = (exercise.value("conv1", image) - bias for image in (CIRCLE, CROSS))
    return Step(
        Text("Filtering", "フィルタをかける"),
        Text(
            "Each filter is laid over the four places where it fits. Numbers on top of each other are multiplied,"
            " and the"
            " four products added. The bias, 1 here, is added to every entry: z = u + b.",
            "各フィルタを、収まる4か所に重ねる。重なった数どうしを掛け、4つの積を足す。"
            "すべての値にバイアス（ここでは1）を加えて z = u + b とする。",
        ),
        (r"z(k,i,j) = u(k,i,j) + b(k)",),
        (
            Worked(
                (
                    worked_line("z(1,1,1)", exercise.trace.explain("conv1", (0, 0, 0))),
                    worked_line("z(2,1,1)", exercise.trace.explain("conv1", (1, 0, 0))),
                )
            ),
            Grids(
                (
                    Grid("u F1 ○", "u₁ ○", circle[0], printed([[3, 1], [1, 1]])),
                    Grid("u F2 ○", "u₂ ○", circle[1], printed([[-1, 1], [1, -1]])),
                    Grid("u F1 ×", "u₁ ×", cross[0], printed([[0, 2], [2, 0]])),
                    Grid("u F2 ×", "u₂ ×", cross[1], printed([[2, -2], [-2, 2]])),
                )
            ),
        ),
    )


def activation(exercise: Exercise) -> Step:
    """Sigmoid."""
    circle, cross = exercise.value("sigmoid1", CIRCLE), exercise.value("sigmoid1", CROSS)
    return Step(
        Text("Activation", "活性化"),
        Text(
            "The sigmoid squeezes every z into (0, 1). Where the filter meets what it looks for, the unit comes"
            " close to 1.",
            "シグモイドは z を(0, 1)に押し込む。フィルタが探す形に出会った所では、ユニットは1に近づく。",
        ),
        (r"a = \frac{1}{1 + e^{-z}}",),
        (
            Worked((rf"a(1,1,1) = \frac{{1}}{{1 + e^{{-4}}}} = {circle[0, 0, 0]:.4f}",)),
            Grids(
                (
                    Grid("a F1 ○", "a₁ ○", circle[0], printed([[0.9820, 0.8808], [0.8808, 0.8808]], 4)),
                    Grid("a F2 ○", "a₂ ○", circle[1], printed([[0.5, 0.8808], [0.8808, 0.5]], 4)),
                    Grid("a F1 ×", "a₁ ×", cross[0], printed([[0.7311, 0.9526], [0.9526, 0.7311]], 4)),
                    Grid("a F2 ×", "a₂ ×", cross[1], printed([[0.9526, 0.2689], [0.2689, 0.9526]], 4)),
                )
            ),
        ),
    )


def pooling(exercise: Exercise) -> Step:
    """Maximum of each map."""
    return Step(
        Text("Pooling", "プーリング"),
        Text(
            "Only the largest entry of each 2×2 map goes on. Pooling has no weights. On × both filters reach the same"
            " maximum twice; we remember the first one in row order.",
            "2×2の各マップから最大値だけを残す。プーリングに重みはない。×では最大値が2か所に並ぶので、"
            "行順で最初のものを覚えておく。",
        ),
        (r"p(k) = \max_{i,j} a(k,i,j)",),
        (
            Numbers(
                (
                    Number(
                        "pooled ○",
                        ON_CIRCLE,
                        exercise.value("flatten1", CIRCLE),
                        printed([0.9820, 0.8808], 4),
                    ),
                    Number(
                        "pooled ×", ON_CROSS, exercise.value("flatten1", CROSS), printed([0.9526, 0.9526], 4)
                    ),
                )
            ),
        ),
    )


def output(exercise: Exercise) -> Step:
    """The two output units."""
    sums = {image: exercise.value("dense1", image) - 1 for image in (CIRCLE, CROSS)}
    outputs = {image: exercise.value("sigmoid2", image) for image in (CIRCLE, CROSS)}
    pooled = exercise.value("flatten1", CROSS)
    copied = Erratum(
        "DSP-e",
        Text("Slide 'Pooling & Output Layer' for ×", "×の「Pooling & Output Layer」のスライド"),
        Text("the weighted sums are -2.2263 and 0.5296", "重み付き和は-2.2263と0.5296"),
        Text(
            f"they are {numeral(sums[CROSS][0])} and {numeral(sums[CROSS][1])}",
            f"{numeral(sums[CROSS][0])}と{numeral(sums[CROSS][1])}",
        ),
        Text(
            "The numbers were left over from the slide for ○. The outputs 0.1719 and 0.8650 beside them follow"
            " from the"
            " right sums.",
            "○のスライドの数が残っている。隣の出力0.1719と0.8650は正しい和から得られる。",
        ),
        (
            rf"1.5 \cdot {pooled[0]:.4f} - 4.2 \cdot {pooled[1]:.4f} = {sums[CROSS][0]:.4f}",
            rf"-2.6 \cdot {pooled[0]:.4f} + 3.5 \cdot {pooled[1]:.4f} = {sums[CROSS][1]:.4f}",
        ),
    )
    return Step(
        Text("Output", "出力"),
        Text(
            "Each output unit weighs both pooled numbers, adds its bias and takes the sigmoid. Before any training"
            " the"
            " network calls both images a cross.",
            "各出力ユニットは2つのプーリング値に重みを掛けて足し、バイアスを加えてシグモイドに通す。"
            "学習前の網はどちらの画像も×だと答える。",
        ),
        (r"z(n) = \sum_{k} W(n,k) \cdot p(k) + b(n), \quad a(n) = \frac{1}{1 + e^{-z(n)}}",),
        (
            Numbers(
                (
                    Number(
                        "sums ○",
                        Text("W·p on ○, before the bias", "○のW·p（バイアス前）"),
                        sums[CIRCLE],
                        printed([-2.2263, 0.5296], 4),
                    ),
                    Number(
                        "sums ×",
                        Text("W·p on ×, before the bias", "×のW·p（バイアス前）"),
                        sums[CROSS],
                        printed([-2.2263, 0.5296], 4),
                        erratum="DSP-e",
                    ),
                    Number(
                        "outputs ○",
                        Text("outputs on ○", "○の出力"),
                        outputs[CIRCLE],
                        printed([0.2268, 0.8219], 4),
                    ),
                    Number(
                        "outputs ×",
                        Text("outputs on ×", "×の出力"),
                        outputs[CROSS],
                        printed([0.1719, 0.8650], 4),
                    ),
                )
            ),
        ),
        (copied,),
    )


def cost(exercise: Exercise) -> Step:
    """Half the squared distance."""
    circle, cross = (exercise.cost_of(exercise.parameters, image) for image in (CIRCLE, CROSS))
    return Step(
        Text("Cost", "コスト"),
        Text(
            "The cost of an image is half the squared distance between target and output. The slides train on three"
            " rings and three crosses and add the costs up.",
            "画像1枚のコストは、目標と出力の差の二乗和の半分。スライドでは○3枚と×3枚で学習し、コストを合計する。",
        ),
        (r"C = \frac{1}{2} \sum_{n} {(t(n) - a(n))}^2, \quad C_T = \sum_{k} C_k",),
        (
            Numbers(
                (
                    Number("C ○", same("C ○"), circle, printed(0.6367, 4)),
                    Number("C ×", same("C ×"), cross, printed(0.0239, 4)),
                    Number("C_T", same("C_T = 3·(C○ + C×)"), exercise.step.loss, printed(1.9818, 4)),
                )
            ),
        ),
    )
