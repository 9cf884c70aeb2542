"""The ○× exercise of the DSP slides: every number from the pixels to the weights after the update, and its errata."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tatami.inspect.trace import trace
from tatami.lectures import ox_slides as slides
from tatami.lectures.explained import worked_line
from tatami.lectures.numerals import numeral, numeral_row
from tatami.lectures.walkthrough import (
    Erratum,
    Grid,
    Grids,
    Number,
    Numbers,
    Plot,
    Request,
    Series,
    Step,
    Table,
    Text,
    Worked,
    printed,
    same,
)
from tatami.losses import SquaredError
from tatami.models import build
from tatami.network import Parameters
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.program.results import Step as Pass
from tatami.random import RandomKey

UPDATES = 5000
LABELS = np.array([0, 0, 0, 1, 1, 1])
CIRCLE, CROSS = 0, 3

ON_CIRCLE = Text("on ○", "○のとき")
ON_CROSS = Text("on ×", "×のとき")


def walk(request: Request) -> tuple[Step, ...]:
    """Walk through the exercise."""
    exercise = Exercise()
    return (
        images_and_filters(),
        filtering(exercise),
        activation(exercise),
        pooling(exercise),
        output(exercise),
        cost(exercise),
        delta_of_the_output(exercise),
        delta_of_the_filters(exercise),
        twice_the_derivative(exercise),
        one_update(exercise),
        after_one_update(exercise),
        one_by_one(request.updates),
        five_thousand_updates(),
    )


class Exercise:
    """One training step of the library on three ○ and three ×, everything kept."""

    def __init__(self) -> None:
        """Run the step in float64."""
        self.program = Program(build("ox"), SquaredError("sum"), precision="f64")
        self.parameters = self.program.network.initialize(dtype="float64")
        self.images = slides.THREE_OF_EACH[:, np.newaxis]
        self.step: Pass = self.program.train_step(self.parameters, self.images, LABELS, keep=True)
        self.trace = trace(
            self.program.network, self.parameters, slides.CIRCLE[np.newaxis], 0, SquaredError("sum")
        )
        optimizer = SGD(slides.RATE)
        self.updated, _ = optimizer.update(
            self.parameters, self.step.gradients, optimizer.initialize(self.parameters)
        )

    def value(self, layer: str, image: int) -> NDArray[np.float64]:
        """Return a layer's output for one image."""
        return np.asarray(self.step.values[layer][image])

    def delta(self, layer: str, image: int) -> NDArray[np.float64]:
        """Return the gradient of the cost with respect to a layer's output for one image."""
        return np.asarray(self.step.value_gradients[layer][image])

    def cost_of(self, parameters: Parameters, image: int) -> float:
        """Return the cost of one image."""
        only = slice(image, image + 1)
        return self.program.train_step(parameters, self.images[only], LABELS[only]).loss


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


def delta_of_the_output(exercise: Exercise) -> Step:
    """δ of the output units."""
    a = exercise.value("sigmoid2", CIRCLE)
    delta = exercise.delta("dense1", CIRCLE)
    return Step(
        Text("Backward: δ of the output", "逆伝播：出力のδ"),
        Text(
            "δ says how fast the cost grows with the weighted input of a unit. At the output it is the error times"
            " the"
            " slope of the sigmoid. Below zero means: this unit should get more.",
            "δは、ユニットの重み付き入力に対してコストがどれだけ増えるかを表す。"
            "出力では誤差とシグモイドの傾きの積。負なら、そのユニットはもっと大きくなるべきだという意味。",
        ),
        (r"\delta(n) = \frac{\partial C}{\partial z(n)} = (a(n) - t(n)) \cdot a(n) \cdot (1 - a(n))",),
        (
            Worked(
                (rf"\delta(1) = ({a[0]:.4f} - 1) \cdot {a[0]:.4f} \cdot (1 - {a[0]:.4f}) = {delta[0]:.4f}",)
            ),
            Numbers(
                (
                    Number("δ output ○", ON_CIRCLE, delta, printed([-0.1356, 0.1203], 4)),
                    Number(
                        "δ output ×", ON_CROSS, exercise.delta("dense1", CROSS), printed([0.0245, -0.0158], 4)
                    ),
                )
            ),
        ),
    )


def delta_of_the_filters(exercise: Exercise) -> Step:
    """δ through the pooling."""
    into = {image: exercise.delta("flatten1", image) for image in (CIRCLE, CROSS)}
    filters = {image: exercise.delta("conv1", image) for image in (CIRCLE, CROSS)}
    winners = {image: filters[image].sum(axis=(1, 2)) for image in (CIRCLE, CROSS)}
    return Step(
        Text("Backward: through the pooling to the filters", "逆伝播：プーリングを越えてフィルタへ"),
        Text(
            "Both outputs send their δ back along the weights; the sums arrive at the pooled units. The pooling"
            " passes"
            " each on to the unit that won the maximum, and to no other. There the slope of the sigmoid joins in,"
            " once."
            " The slide calls the product δ of the pooling; it is in fact already the δ of the winning filter unit.",
            "2つの出力のδが重みをさかのぼり、その和がプーリングのユニットに届く。"
            "プーリングはそれを最大値だったユニットだけに渡す。"
            "そこでシグモイドの傾きを一度だけ掛ける。スライドはこの積をδプーリングと呼ぶが、"
            "実はこれがすでに勝ったフィルタユニットのδである。",
        ),
        (
            r"\frac{\partial C}{\partial p(k)} = \sum_{n} W(n,k) \cdot \delta(n)",
            r"\delta(k,i,j) = \frac{\partial C}{\partial p(k)} \cdot a'(z(k,i,j))",
        ),
        (
            Numbers(
                (
                    Number("into pooled ○", Text("ΣW·δ on ○", "○のΣW·δ"), into[CIRCLE]),
                    Number("into pooled ×", Text("ΣW·δ on ×", "×のΣW·δ"), into[CROSS]),
                    Number(
                        "δ filters ○",
                        Text("δ of the winners on ○", "○の勝者のδ"),
                        winners[CIRCLE],
                        printed([-0.0091, 0.1040], 4),
                    ),
                    Number(
                        "δ filters ×",
                        Text("δ of the winners on ×", "×の勝者のδ"),
                        winners[CROSS],
                        printed([0.0035, -0.0071], 4),
                    ),
                )
            ),
            Grids(
                (
                    Grid("δ F1 ○", "δ₁ ○", filters[CIRCLE][0]),
                    Grid("δ F2 ○", "δ₂ ○", filters[CIRCLE][1]),
                    Grid("δ F1 ×", "δ₁ ×", filters[CROSS][0]),
                    Grid("δ F2 ×", "δ₂ ×", filters[CROSS][1]),
                )
            ),
        ),
    )


def twice_the_derivative(exercise: Exercise) -> Step:
    """Erratum (a): the derivative is multiplied twice."""
    found = slides.answer(slides.START, slides.THREE_OF_EACH)
    doubled = slides.filter_deltas(slides.START, found, slides.THREE_OF_EACH, slides.SLIDE)
    same_rings = slides.update(slides.START, slides.THREE_OF_EACH, slides.SLIDE)
    likely = slides.update(slides.START, slides.LIKELY_IMAGES, slides.SLIDE)
    true_value = float(exercise.delta("conv1", CIRCLE)[0, 0, 0])
    measured = measured_delta()
    erratum = Erratum(
        "DSP-a",
        Text(
            "Slide 'Back Propagation (Pooling → Convolutional)', eq. (4) and (8)",
            "「Back Propagation（Pooling → Convolutional）」式(4)と(8)",
        ),
        Text(
            "δ of filter 1 on ○ is -0.000161: a′(Z) is multiplied in eq. (4), and once more in eq. (8)",
            "○のフィルタ1のδは-0.000161。式(4)でa′(Z)を掛け、式(8)でもう一度掛けている",
        ),
        Text(f"δ of filter 1 on ○ is {true_value:.4f}", f"○のフィルタ1のδは{true_value:.4f}"),
        Text(
            "Between the filter's sum and the pooled number there is one sigmoid, so the chain rule has one a′."
            " Changing the"
            " sum by ±h and looking at the cost settles it. With the factor taken twice, and with eq. (7) handing the"
            " whole δ to every one of equal maxima, we get the slide's δ. Its ten filter numbers after the update"
            " come"
            " out too, to four digits, if the third ring of the training data lacks its lower right corner; with"
            " three"
            " equal rings filter 2 is off in the third.",
            "フィルタの和とプーリング値の間にシグモイドは1つなので、連鎖律に現れるa′も1つ。"
            "和を±h動かしてコストを見れば決着がつく。"
            "因子を2回掛け、式(7)のように並んだ最大値すべてにδ全体を渡すと、スライドのδになる。"
            "更新後の10個のフィルタの数も、"
            "教師データの3枚目の○に右下の角がないとすれば、4桁まで再現できる。"
            "3枚とも同じ○ならフィルタ2が3桁目でずれる。",
        ),
        (
            r"\frac{\partial C}{\partial z(k,i,j)} = \sum_{n} \delta(n) \cdot W(n,k) \cdot \frac{\partial"
            r" p(k)}{\partial a(k,i,j)} \cdot a'(z(k,i,j))",
        ),
        (
            Numbers(
                (
                    Number(
                        "measured δ",
                        Text(
                            "(C(z+h) - C(z-h)) / 2h for filter 1 on ○",
                            "○のフィルタ1の (C(z+h) - C(z-h)) / 2h",
                        ),
                        measured,
                    ),
                    Number(
                        "right δ",
                        Text("δ with a′ once", "a′を1回掛けたδ"),
                        true_value,
                        printed(-0.000161, 6),
                        erratum="DSP-a",
                    ),
                    Number(
                        "doubled δ F1 ○",
                        Text("δ of filter 1 on ○ with a′ twice", "a′を2回掛けた○のフィルタ1のδ"),
                        doubled[CIRCLE, 0, 0],
                        printed(-0.161e-3, 7),
                        7,
                    ),
                    Number(
                        "doubled δ F2 ○",
                        Text("filter 2 on ○, both maxima", "○のフィルタ2（2つの最大値）"),
                        doubled[CIRCLE, 1, 1:3],
                        printed([0.0109, 0.0109], 4),
                    ),
                    Number(
                        "doubled δ F1 ×",
                        Text("filter 1 on ×, both maxima", "×のフィルタ1（2つの最大値）"),
                        doubled[CROSS, 0, 1:3],
                        printed([0.1568e-3, 0.1568e-3], 7),
                        7,
                        erratum="DSP-f",
                    ),
                    Number(
                        "doubled δ F2 ×",
                        Text("filter 2 on ×, both maxima", "×のフィルタ2（2つの最大値）"),
                        doubled[CROSS, 1, ::3],
                        printed([-0.3225e-3, -0.3225e-3], 7),
                        7,
                    ),
                    Number(
                        "slide rule F1",
                        Text("F₁ after one update by the slide's rule", "スライドの規則で1回更新したF₁"),
                        likely.filters[0],
                        printed(SLIDE_FILTERS[0], 4),
                        5,
                    ),
                    Number(
                        "slide rule F2",
                        Text("F₂, third ○ without its corner", "F₂（3枚目の○に角なし）"),
                        likely.filters[1],
                        printed(SLIDE_FILTERS[1], 4),
                        5,
                    ),
                    Number(
                        "slide rule biases",
                        Text("biases of the filters", "フィルタのバイアス"),
                        likely.filter_biases,
                        printed(SLIDE_FILTER_BIASES, 4),
                        5,
                    ),
                    Number(
                        "equal rings F2",
                        Text("F₂ with three equal ○", "F₂（同じ○が3枚）"),
                        same_rings.filters[1],
                        None,
                        5,
                    ),
                )
            ),
        ),
    )
    swapped = Erratum(
        "DSP-f",
        Text("The same slide for ×", "同じスライドの×の場合"),
        Text("δ of filter 1 is 1.0e-0.3 × 0.1568", "フィルタ1のδは1.0e-0.3 × 0.1568"),
        Text(
            f"by the slide's own rule it is 1.0e-3 × {1000 * doubled[CROSS, 0, 1]:.4f}",
            f"スライド自身の規則では1.0e-3 × {1000 * doubled[CROSS, 0, 1]:.4f}",
        ),
        Text(
            "Two digits are swapped, and the power of ten is misprinted.",
            "数字が2つ入れ替わり、10の冪も誤植。",
        ),
    )
    return Step(
        Text("A factor too many", "余分な因子"),
        Text(
            "The slide's next page is wrong by a factor that makes the filters learn 10 to 60 times too slowly."
            " This step"
            " derives it.",
            "次のスライドには余分な因子があり、フィルタの学習が10〜60倍遅くなっている。それをここで導く。",
        ),
        errata=(erratum, swapped),
    )


def measured_delta(h: float = 1e-6) -> float:
    """Return δ of filter 1 on ○ by a central difference on the sum of its first unit."""
    costs = []
    for change in (h, -h):
        found = slides.answer(slides.START, slides.CIRCLE[np.newaxis])
        z = found.sums[0] + slides.START.filter_biases[:, np.newaxis]
        z[0, 0] += change
        pooled = slides.sigmoid(z).max(axis=1)
        a = slides.sigmoid(slides.START.output @ pooled + slides.START.output_biases)
        costs.append(0.5 * float((a[0] - 1) ** 2 + a[1] ** 2))
    return (costs[0] - costs[1]) / (2 * h)


def one_update(exercise: Exercise) -> Step:
    """Gradient and update."""
    gradients, updated = exercise.step.gradients, exercise.updated
    sign = Erratum(
        "DSP-c",
        Text("Slide 'after one update', W of the first output", "「1回更新後」のスライドの1番目の出力の重み"),
        Text("the weight is -1.53", "重みは-1.53"),
        Text(
            f"it is +{updated['dense1']['weight'][0, 0]:.4f}",
            f"+{updated['dense1']['weight'][0, 0]:.4f}",
        ),
        Text(
            "It started at +1.5, and one step with rate 0.1 moves it by 0.033. With -1.53 the slide's own output"
            " 0.2447"
            " could not come out.",
            "初期値は+1.5で、学習率0.1の1回の更新で動くのは0.033だけ。"
            "-1.53ではスライド自身の出力0.2447は得られない。",
        ),
        (
            rf"1.5 - 0.1 \cdot ({gradients['dense1']['weight'][0, 0]:.4f}) = {updated['dense1']['weight'][0, 0]:.4f}",
        ),
        (
            Numbers(
                (
                    Number(
                        "W11",
                        same("W(1,1)"),
                        updated["dense1"]["weight"][0, 0],
                        printed(-1.53, 2),
                        erratum="DSP-c",
                    ),
                )
            ),
        ),
    )
    weight = updated["dense1"]["weight"]
    return Step(
        Text("One update", "1回の更新"),
        Text(
            "The gradient of a weight is δ of the unit it leads to, times the number it carries, summed over the"
            " six images;"
            " a filter weight is shared by four windows, so those add up as well. Each parameter moves against its"
            " gradient, with rate 0.1.",
            "重みの勾配は、行き先のユニットのδと運ぶ値の積を、6枚の画像について足したもの。"
            "フィルタの重みは4つの窓で共有されるので、それも足す。"
            "各パラメータは学習率0.1で勾配と逆に動く。",
        ),
        (
            r"\frac{\partial C_T}{\partial W(n,k)} = \sum_{\text{images}} \delta(n) \cdot p(k)",
            r"\frac{\partial C_T}{\partial F(k,\mu,\nu)} = \sum_{\text{images}} \sum_{i,j} \delta(k,i,j) \cdot"
            r" x(i+\mu-1, j+\nu-1)",
            r"w \leftarrow w - \eta \cdot \frac{\partial C_T}{\partial w}",
        ),
        (
            Grids(
                (
                    Grid("dW", "∂C/∂W", gradients["dense1"]["weight"]),
                    Grid("dF1", "∂C/∂F₁", gradients["conv1"]["weight"][0, 0]),
                    Grid("dF2", "∂C/∂F₂", gradients["conv1"]["weight"][1, 0]),
                )
            ),
            Worked(
                (
                    worked_line(
                        r"\text{on one ○:} \quad \frac{\partial C}{\partial W(1,1)}",
                        exercise.trace.explain_gradient("dense1.weight", (0, 0)),
                    ),
                    worked_line(
                        r"\frac{\partial C}{\partial F(2,1,1,1)}",
                        exercise.trace.explain_gradient("conv1.weight", (1, 0, 0, 0)),
                    ),
                )
            ),
            Numbers(
                (
                    Number("W updated, first row", Text("W to output 1", "出力1への重み"), weight[0]),
                    Number("W updated, -4.17", same("W(1,2)"), weight[0, 1], printed(-4.17, 2)),
                    Number(
                        "W updated, second row",
                        Text("W to output 2", "出力2への重み"),
                        weight[1],
                        printed([-2.63, 3.47], 2),
                    ),
                    Number(
                        "output biases updated",
                        Text("biases of the outputs", "出力のバイアス"),
                        updated["dense1"]["bias"],
                        printed([1.0333, 0.9686], 4),
                    ),
                    Number(
                        "F1 updated",
                        Text("F₁, right", "F₁（正しい値）"),
                        updated["conv1"]["weight"][0, 0].reshape(-1),
                        None,
                        5,
                    ),
                    Number(
                        "F2 updated",
                        Text("F₂, right", "F₂（正しい値）"),
                        updated["conv1"]["weight"][1, 0].reshape(-1),
                        None,
                        5,
                    ),
                    Number(
                        "filter biases updated",
                        Text("biases of the filters, right", "フィルタのバイアス（正しい値）"),
                        updated["conv1"]["bias"],
                        None,
                        5,
                    ),
                )
            ),
        ),
        (sign,),
    )


# What the slide prints after one update, to five digits.
SLIDE_FILTERS = np.array([[1.00005, 0.99996, 0.99996, -1.0], [0.99470, -1.00218, -1.00327, 0.99470]])
SLIDE_FILTER_BIASES = np.array([0.99996, 0.99470])


def after_one_update(exercise: Exercise) -> Step:
    """Forward again, with the slide's weights and with ours."""
    weight, bias = exercise.updated["dense1"]["weight"], exercise.updated["dense1"]["bias"]
    theirs = slides.answer(
        slides.Weights(SLIDE_FILTERS, SLIDE_FILTER_BIASES, weight, bias), slides.THREE_OF_EACH
    )
    ours = exercise.program.train_step(exercise.updated, exercise.images, LABELS)
    outputs = np.array([[0.2447, 0.8080], [0.1859, 0.8542]])
    costs = 0.5 * ((outputs - np.eye(2)) ** 2).sum(axis=1)
    erratum = Erratum(
        "DSP-b",
        Text("Slides 'after one update', C", "「1回更新後」のスライドのC"),
        Text("C is 0.6267 on ○ and 0.0254 on ×, C_T is 1.9560", "Cは○で0.6267、×で0.0254、C_Tは1.9560"),
        Text(
            f"from the slide's own outputs follow {costs[0]:.4f} and {costs[1]:.4f}, and C_T = {3 * costs.sum():.4f}",
            f"スライド自身の出力からは{costs[0]:.4f}と{costs[1]:.4f}、C_T = {3 * costs.sum():.4f}となる",
        ),
        Text(
            "The cost is half the squared distance to the target, from the outputs that stand on the same slide."
            " The printed"
            " C_T is three times the sum of the two wrong costs.",
            "コストは同じスライドにある出力と目標の差の二乗和の半分。印刷されたC_Tは、"
            "誤った2つのコストの和の3倍になっている。",
        ),
        (
            r"\frac{1}{2} ({(1 - 0.2447)}^2 + {(0 - 0.8080)}^2) = " + f"{costs[0]:.4f}",
            r"\frac{1}{2} ({(0 - 0.1859)}^2 + {(1 - 0.8542)}^2) = " + f"{costs[1]:.4f}",
        ),
        (
            Numbers(
                (
                    Number(
                        "C ○ from the slide's outputs",
                        same("C ○"),
                        costs[0],
                        printed(0.6267, 4),
                        erratum="DSP-b",
                    ),
                    Number(
                        "C × from the slide's outputs",
                        same("C ×"),
                        costs[1],
                        printed(0.0254, 4),
                        erratum="DSP-b",
                    ),
                    Number(
                        "C_T from the slide's outputs",
                        same("C_T"),
                        3 * costs.sum(),
                        printed(1.9560, 4),
                        erratum="DSP-b",
                    ),
                )
            ),
        ),
    )
    circle_sums, circle_maps = theirs.sums[CIRCLE], theirs.maps[CIRCLE]
    cross_maps = theirs.maps[CROSS]
    return Step(
        Text("After one update", "1回更新した後"),
        Text(
            "Forward again. The upper lines use the filters that the slide prints, to check its pages; it cuts the"
            " sums off"
            " after two digits. The last lines use the right update: the cost falls further, because the filters now"
            " learn at full speed.",
            "もう一度、順伝播する。上の行はスライドの印刷されたフィルタで計算し、"
            "そのページを確かめたもの（和は2桁で切り捨てられている）。"
            "最後の行は正しい更新の結果で、フィルタが本来の速さで学ぶためコストはより下がる。",
        ),
        (),
        (
            Numbers(
                (
                    Number(
                        "slide u F1 ○",
                        Text("u of filter 1 on ○", "○のフィルタ1のu"),
                        circle_sums[0],
                        printed([2.99, 1.00, 1.00, 0.99], 2, cut_off=True),
                        5,
                    ),
                    Number(
                        "slide u F2 ○",
                        Text("u of filter 2 on ○", "○のフィルタ2のu"),
                        circle_sums[1],
                        printed([-1.01, 0.98, 0.98, -1.01], 2, cut_off=True),
                        5,
                    ),
                    Number(
                        "slide a F1 ○",
                        Text("a of filter 1 on ○", "○のフィルタ1のa"),
                        circle_maps[0],
                        printed([0.9820, 0.8808, 0.8808, 0.8808], 4),
                    ),
                    Number(
                        "slide a F2 ○",
                        Text("a of filter 2 on ○", "○のフィルタ2のa"),
                        circle_maps[1],
                        printed([0.4960, 0.8789, 0.8788, 0.4960], 4),
                    ),
                    Number(
                        "slide a F1 ×",
                        Text("a of filter 1 on ×", "×のフィルタ1のa"),
                        cross_maps[0],
                        printed([0.7311, 0.9526, 0.9526, 0.7311], 4),
                    ),
                    Number(
                        "slide a F2 ×",
                        Text("a of filter 2 on ×", "×のフィルタ2のa"),
                        cross_maps[1],
                        printed([0.9519, 0.2668, 0.2668, 0.9519], 4),
                    ),
                    Number(
                        "slide outputs ○",
                        Text("outputs on ○", "○の出力"),
                        theirs.outputs[CIRCLE],
                        printed([0.2447, 0.8080], 4),
                    ),
                    Number(
                        "slide outputs ×",
                        Text("outputs on ×", "×の出力"),
                        theirs.outputs[CROSS],
                        printed([0.1859, 0.8542], 4),
                    ),
                    Number(
                        "right outputs ○",
                        Text("outputs on ○ after the right update", "正しい更新後の○の出力"),
                        ours.output[CIRCLE],
                    ),
                    Number(
                        "right outputs ×",
                        Text("outputs on × after the right update", "正しい更新後の×の出力"),
                        ours.output[CROSS],
                    ),
                    Number("right C_T", Text("C_T after the right update", "正しい更新後のC_T"), ours.loss),
                )
            ),
        ),
        (erratum,),
    )


def one_by_one(updates: int) -> Step:
    """Every update in a row of a table."""
    weights, rows = slides.START, []
    for number in range(updates + 1):
        found = slides.answer(weights, slides.THREE_OF_EACH)
        rows.append(
            (
                str(number),
                f"{found.costs.sum():.4f}",
                numeral_row(found.outputs[CIRCLE]),
                numeral_row(found.outputs[CROSS]),
                numeral_row(weights.filters[0]),
                numeral_row(weights.filters[1]),
                numeral_row(weights.filter_biases),
                numeral_row(weights.output),
                numeral_row(weights.output_biases),
            )
        )
        weights = slides.update(weights, slides.THREE_OF_EACH, slides.RIGHT)
    return Step(
        Text("The updates one by one", "更新を1回ずつ"),
        Text(
            f"All parameters after each update, up to update {updates}. Ask for more of them with --updates N.",
            f"更新{updates}回目までの、毎回の全パラメータ。--updates N でもっと多く表示できる。",
        ),
        (),
        (
            Table(
                (
                    Text("update", "更新"),
                    same("C_T"),
                    Text("outputs ○", "出力 ○"),
                    Text("outputs ×", "出力 ×"),
                    same("F₁"),
                    same("F₂"),
                    same("b₁, b₂"),
                    same("W"),
                    Text("output biases", "出力バイアス"),
                ),
                tuple(rows),
                left=0,
            ),
        ),
    )


@cache
def library_curve() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Train with the library for 5000 updates; return C_T before every update and the outputs at the end."""
    exercise = Exercise()
    session = exercise.program.session(exercise.parameters, SGD(slides.RATE))
    costs = [session.step(exercise.images, LABELS, RandomKey(), slides.RATE).loss for _ in range(UPDATES)]
    final = exercise.program.train_step(session.parameters, exercise.images, LABELS)
    return np.array([*costs, final.loss]), np.asarray(final.output)


@cache
def likely_readings() -> tuple[tuple[Text | str, ...], ...]:
    """Train by every likely reading of the slides; return a row of a table for each."""
    tries = (
        (
            Text("a′ once, first maximum (right)", "a′を1回、最初の最大値（正しい）"),
            slides.THREE_OF_EACH,
            slides.RIGHT,
        ),
        (
            Text("a′ twice, all maxima (the slide's rule)", "a′を2回、すべての最大値（スライドの規則）"),
            slides.THREE_OF_EACH,
            slides.SLIDE,
        ),
        (
            Text("the same, third ○ without its corner", "同じ規則、3枚目の○に角なし"),
            slides.LIKELY_IMAGES,
            slides.SLIDE,
        ),
        (
            Text("a′ twice, first maximum", "a′を2回、最初の最大値"),
            slides.THREE_OF_EACH,
            slides.Rule("first", 2),
        ),
    )
    rows: list[tuple[Text | str, ...]] = []
    for name, images, rule in tries:
        weights, curve = slides.train(images, rule, UPDATES)
        found = slides.answer(weights, images)
        rows.append(
            (
                name,
                f"{curve[1]:.4f}",
                f"{curve[-1]:.4f}",
                numeral_row(found.outputs[CIRCLE]),
                numeral_row(found.outputs[CROSS]),
            )
        )
    return tuple(rows)


def five_thousand_updates() -> Step:
    """The cost curve, and what of it can be reproduced."""
    costs, outputs = library_curve()
    rows = list(likely_readings())
    rows.append(
        (
            Text("printed on the slides", "スライドの値"),
            "1.9560",
            "0.0188",
            "0.9254, 0.0008",
            "0.0692, 0.9895",
        )
    )
    erratum = Erratum(
        "DSP-d",
        Text("Slides on 5000 updates", "5000回更新のスライド"),
        Text(
            "outputs 0.9254, 0.0008 and 0.0692, 0.9895; C_T = 0.0188",
            "出力は0.9254, 0.0008と0.0692, 0.9895、C_T = 0.0188",
        ),
        Text(
            f"with the right gradient and three copies of each image C_T falls to {costs[-1]:.4f}, below 0.01",
            f"正しい勾配と各画像3枚でC_Tは{costs[-1]:.4f}まで下がり、0.01を切る",
        ),
        Text(
            "No reading of the slides gives their numbers: the table lists the likely ones. The printed outputs do"
            " not even"
            " give the printed C_T unless the images differ from each other in a way the text does not tell.",
            "スライドをどう読んでもこの数は得られない（表に有力な読み方を示す）。印刷された出力からは、"
            "画像どうしが本文にない形で異なっていない限り、印刷されたC_Tも得られない。",
        ),
        (),
        (
            Numbers(
                (
                    Number(
                        "C_T after 5000",
                        Text("C_T after 5000 updates", "5000回更新後のC_T"),
                        costs[-1],
                        printed(0.0188, 4),
                        erratum="DSP-d",
                    ),
                    Number(
                        "outputs ○ after 5000",
                        Text("outputs on ○", "○の出力"),
                        outputs[CIRCLE],
                        printed([0.9254, 0.0008], 4),
                        erratum="DSP-d",
                    ),
                    Number(
                        "outputs × after 5000",
                        Text("outputs on ×", "×の出力"),
                        outputs[CROSS],
                        printed([0.0692, 0.9895], 4),
                        erratum="DSP-d",
                    ),
                )
            ),
            Table(
                (
                    Text("rule", "規則"),
                    Text("C_T after 1", "1回後のC_T"),
                    Text("after 5000", "5000回後"),
                    Text("outputs ○", "出力 ○"),
                    Text("outputs ×", "出力 ×"),
                ),
                tuple(rows),
            ),
        ),
    )
    shown = np.unique(np.concatenate([np.arange(0, 100), np.arange(100, UPDATES + 1, 20)]))
    return Step(
        Text("5000 updates", "5000回の更新"),
        Text(
            "The cost stays on a shoulder for some hundred updates, while the outputs still call everything a"
            " cross, then"
            " falls quickly and levels off towards zero.",
            "コストは数百回のあいだ高いまま（どの画像も×だと答えている）、そこから急に下がり、"
            "ゼロに近づいて平らになる。",
        ),
        (r"C_T \to 0",),
        (
            Plot(
                Text("C_T over 5000 updates", "5000回の更新とC_T"),
                (Series(same("C_T"), shown.astype(np.float64), costs[shown]),),
                Text("update", "更新"),
                same("C_T"),
            ),
            Numbers(
                (
                    Number(
                        "C_T at the start",
                        Text("C_T at the start", "最初のC_T"),
                        costs[0],
                        printed(1.9818, 4),
                    ),
                )
            ),
        ),
        (erratum,),
    )
