"""From the cost back to the filters, and the slide's factor too many."""

import numpy as np

from tatami.lectures.ox import slides
from tatami.lectures.ox.exercise import CIRCLE, CROSS, ON_CIRCLE, ON_CROSS, Exercise
from tatami.lectures.ox.slides import SLIDE_FILTER_BIASES, SLIDE_FILTERS
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
