"""The first update, what the slides print after it, and every further one on request."""

import numpy as np

from tatami.lectures.explained import worked_line
from tatami.lectures.numerals import numeral_row
from tatami.lectures.ox import slides
from tatami.lectures.ox.exercise import CIRCLE, CROSS, LABELS, Exercise
from tatami.lectures.ox.slides import SLIDE_FILTER_BIASES, SLIDE_FILTERS
from tatami.lectures.walkthrough import (
    Erratum,
    Grid,
    Grids,
    Number,
    Numbers,
    Step,
    Table,
    Text,
    Worked,
    printed,
    same,
)


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
    cross_sums, cross_maps = theirs.sums[CROSS], theirs.maps[CROSS]
    sum_of_cross = Erratum(
        "DSP-h",
        Text("Slide 'after one update' for ×, filter 2", "×の「1回更新後」のスライドのフィルタ2"),
        Text("the sums off the diagonal are -2.006", "対角線の外の和は-2.006"),
        Text(f"they are {cross_sums[1, 1]:.5f}", f"{cross_sums[1, 1]:.5f}"),
        Text(
            "They are the sum of two weights that stand on the same slide. The other sums there are cut off after their"
            " last digit; cut off or rounded, this one is -2.005.",
            "同じスライドにある2つの重みの和である。ほかの和は最後の桁で切り捨てられているが、"
            "切り捨てても四捨五入しても-2.005になる。",
        ),
        (rf"{SLIDE_FILTERS[1, 1]:.5f} - {-SLIDE_FILTERS[1, 2]:.5f} = {cross_sums[1, 1]:.5f}",),
    )
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
                        "slide u F1 × off",
                        Text("u of filter 1 on ×, off the diagonal", "×のフィルタ1のu（対角線の外）"),
                        cross_sums[0, 1:3],
                        printed([1.999, 1.999], 3, cut_off=True),
                        5,
                    ),
                    Number(
                        "slide u F1 × on",
                        Text("the same, on the diagonal", "同じく対角線上"),
                        cross_sums[0, ::3],
                        printed([0.0001, 0.0001], 4),
                        5,
                    ),
                    Number(
                        "slide u F2 × on",
                        Text("u of filter 2 on ×, on the diagonal", "×のフィルタ2のu（対角線上）"),
                        cross_sums[1, ::3],
                        printed([1.989, 1.989], 3, cut_off=True),
                        5,
                    ),
                    Number(
                        "slide u F2 × off",
                        Text("the same, off the diagonal", "同じく対角線の外"),
                        cross_sums[1, 1:3],
                        printed([-2.006, -2.006], 3),
                        5,
                        erratum="DSP-h",
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
        (sum_of_cross, erratum),
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
