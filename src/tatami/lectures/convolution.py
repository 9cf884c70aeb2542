"""Convolution as Arai §2.2 and DAY4 do it by hand, padding, stride, and where the lectures slip."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends.correlation import correlate_direct
from tatami.geometry import Geometry
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
    printed,
)

COUNTING = np.arange(1, 37).reshape(6, 6)
PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
MAGIC = np.array([[16, 2, 3, 13], [5, 11, 10, 8], [9, 7, 6, 12], [4, 14, 15, 1]])
EXERCISE_FILTER = np.array([[0, 1, 0], [1, 1, 1], [0, -1, 1]])
CORNER = np.array([[1, 0], [0, 0]])
DAY4_IMAGE = np.array([[1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1]])
DAY4_FILTER = np.array([[2, 0, 1], [0, 1, 2], [1, 0, 2]])
# DAY4's 7×7 input repeats 1 2 3 0 along its rows, each row one step behind the one above.
DAY4_LARGE = np.array([[(column - row) % 4 for column in range(1, 8)] for row in range(7)])


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the examples."""
    return (
        definition,
        exercise,
        same_padding,
        even_filters,
        day4,
        stride,
        flipped,
    )


def convolve(image: NDArray[Any], kernel: NDArray[Any], **settings: Any) -> NDArray[Any]:
    """Convolve one image with one filter, term by term.

    >>> convolve(np.array([[1, 2], [3, 4]]), np.array([[1, 0], [0, 1]])).tolist()
    [[5]]
    """
    geometry = Geometry.of((1, *image.shape), kernel.shape, filters=1, **settings)
    map_: NDArray[Any] = correlate_direct(image[None, None], kernel[None, None], geometry)[0, 0]
    return map_


def terms(window: NDArray[Any], kernel: NDArray[Any]) -> str:
    r"""Write the products of a window and a filter as a sum, with its value.

    >>> terms(np.array([[1, 2]]), np.array([[0, -1]]))
    '0 \\cdot 1 + (-1) \\cdot 2 = -2'
    """
    products = [
        f"{weight if weight >= 0 else f'({weight})'} \\cdot {pixel}"
        for weight, pixel in zip(kernel.ravel(), window.ravel(), strict=True)
    ]
    return f"{' + '.join(products)} = {int((window * kernel).sum())}"


def definition() -> Step:
    """Arai's figure 2."""
    result = convolve(COUNTING, PLUS)
    return Step(
        Text("A filter walks over an image", "フィルタが画像の上を歩く"),
        Text(
            "Lay the filter on a corner of the image, multiply what lies on top of each other, add up, write the"
            " sum down;"
            " then move one column on, and at the end of the row one row down. Mathematicians call this a"
            " correlation;"
            " neural networks call it convolution, and so do we. The image shrinks by the filter's size minus one.",
            "フィルタを画像の隅に重ね、重なった数を掛けて足し、和を書く。1列進めて繰り返し、"
            "行の終わりまで来たら1行下がる。"
            "数学では相関積と呼ばれるが、ニューラルネットでは畳み込みと呼び、ここでもそう呼ぶ。"
            "画像は「フィルタの大きさ−1」だけ小さくなる。",
        ),
        (
            r"(F \star X)(j,k) = \sum_{\mu=1}^{m_1} \sum_{\nu=1}^{m_2} F(\mu,\nu) \cdot X(j+\mu-1, k+\nu-1)",
            r"1 \le j \le n_1 - m_1 + 1, \quad 1 \le k \le n_2 - m_2 + 1",
        ),
        (
            Grids(
                (
                    Grid("plus", "F", PLUS),
                    "⋆",
                    Grid("counting", "X", COUNTING, marked=tuple((i, j) for i in range(3) for j in range(3))),
                    "=",
                    Grid(
                        "figure 2",
                        "F ⋆ X",
                        result,
                        printed(
                            [[40, 45, 50, 55], [70, 75, 80, 85], [100, 105, 110, 115], [130, 135, 140, 145]]
                        ),
                        marked=((0, 0),),
                    ),
                )
            ),
            Worked((terms(COUNTING[:3, :3], PLUS), terms(COUNTING[:3, 1:4], PLUS))),
        ),
    )


def exercise() -> Step:
    """Arai's exercise 1."""
    return Step(
        Text("Exercise 1", "練習1"),
        Text(
            "A magic square and a filter with one weight below zero. Cover the answer and try it yourself first.",
            "魔方陣と、負の重みを1つもつフィルタ。答えを隠して、まず自分で計算してみるとよい。",
        ),
        (),
        (
            Grids(
                (
                    Grid("exercise filter", "F", EXERCISE_FILTER),
                    "⋆",
                    Grid("magic", "X", MAGIC),
                    "=",
                    Grid(
                        "exercise 1", "F ⋆ X", convolve(MAGIC, EXERCISE_FILTER), printed([[27, 38], [34, 21]])
                    ),
                )
            ),
            Worked((terms(MAGIC[:3, :3], EXERCISE_FILTER),)),
        ),
    )


def same_padding() -> Step:
    """Arai's exercise 2, odd filter."""
    return Step(
        Text("Zeros around the image", "画像のまわりに0を置く"),
        Text(
            "With a frame of zeros the result keeps the size of the image. For a filter of odd size m the frame is"
            " (m - 1)/2 wide on every side.",
            "まわりに0の枠を置けば、結果は画像と同じ大きさになる。奇数サイズmのフィルタなら、枠は各辺(m−1)/2の幅。",
        ),
        (r"p = \lfloor \frac{m}{2} \rfloor, \quad n + 2p - m + 1 = n",),
        (
            Grids(
                (
                    Grid("padded", "X̃", np.pad(MAGIC, 1)),
                    "→",
                    Grid(
                        "exercise 2",
                        "F ⋆ X, same",
                        convolve(MAGIC, EXERCISE_FILTER, padding="same"),
                        printed([[24, 20, 16, 8], [30, 27, 38, 19], [31, 34, 21, 25], [27, 40, 36, 28]]),
                    ),
                )
            ),
            Worked((terms(np.pad(MAGIC, 1)[:3, :3], EXERCISE_FILTER),)),
        ),
    )


def even_filters() -> Step:
    """Arai's exercise 2, even filter, and its erratum."""
    both_sides = convolve(MAGIC, CORNER, padding=1)
    erratum = Erratum(
        "Arai-a",
        Text("§2.3, definition of 'same' for even filters", "2.3節、偶数サイズのsame型の定義"),
        Text(
            "with a frame of one zero on all sides the result has one row too many; keep rows 1 to n",
            "全辺に0を1つ置くと結果が1行多くなるので、1行目からn行目を残す",
        ),
        Text(
            "drop row 1 (and column 1) and keep rows 2 to n + 1",
            "1行目（と1列目）を捨て、2行目からn+1行目を残す",
        ),
        Text(
            "Keeping rows 1 to n would shift the image down and to the right, as the left matrix shows. The answer"
            " printed for"
            " exercise 2, and the program in the appendix, keep the other rows. That is the same as putting the extra"
            " zero only at the end, the rule of today's frameworks and of Tatami.",
            "1行目からn行目を残すと、左の行列のように画像が右下へずれてしまう。練習2の解答も付録のプログラムも、"
            "もう一方の行を残している。"
            "これは余分な0を末尾だけに置くのと同じで、現在のフレームワークとTatamiの規則でもある。",
        ),
        (r"\text{definition: } G \star X = \text{shifted}, \quad \text{answer: } G \star X = X",),
        (
            Grids(
                (
                    Grid(
                        "same by the definition",
                        "rows 1…n",
                        both_sides[:4, :4],
                        printed(MAGIC),
                        erratum="Arai-a",
                    ),
                    Grid("same by the program", "rows 2…n+1", both_sides[1:, 1:], printed(MAGIC)),
                )
            ),
        ),
    )
    return Step(
        Text("A filter of even size", "偶数サイズのフィルタ"),
        Text(
            "A filter of size 2 has no middle: the frame cannot be the same on both sides. G picks the entry under"
            " its upper"
            " left corner, so the answer has to be the image itself.",
            "サイズ2のフィルタには中央がなく、両側を同じ幅にはできない。Gは左上の角の下の値を選ぶので、"
            "答えは画像そのものになるはずである。",
        ),
        (),
        (
            Grids(
                (
                    Grid("corner", "G", CORNER),
                    "⋆",
                    Grid("magic again", "X", MAGIC),
                    "=",
                    Grid(
                        "exercise 2, G",
                        "G ⋆ X, same",
                        convolve(MAGIC, CORNER, padding="same"),
                        printed(MAGIC),
                    ),
                )
            ),
        ),
        (erratum,),
    )


def day4() -> Step:
    """DAY4's example: valid, bias, padding."""
    valid = convolve(DAY4_IMAGE, DAY4_FILTER)
    return Step(
        Text("Bias and padding", "バイアスとパディング"),
        Text(
            "DAY4's example. The bias is one number for the whole filter and is added to every entry. A frame of"
            " one zero"
            " brings the 2×2 result back to 4×4; the valid result stands in its middle.",
            "DAY4の例。バイアスはフィルタに1つの数で、すべての値に足される。"
            "0の枠を1つ付けると2×2の結果が4×4に戻り、中央に元の結果が現れる。",
        ),
        (),
        (
            Grids(
                (
                    Grid("DAY4 image", "X", DAY4_IMAGE),
                    "⋆",
                    Grid("DAY4 filter", "F", DAY4_FILTER),
                    "=",
                    Grid("DAY4 valid", "valid", valid, printed([[15, 16], [6, 15]])),
                    "+ 3 =",
                    Grid("DAY4 bias", "+ b", valid + 3, printed([[18, 19], [9, 18]])),
                )
            ),
            Grids(
                (
                    Grid(
                        "DAY4 padded",
                        "p = 1",
                        convolve(DAY4_IMAGE, DAY4_FILTER, padding=1),
                        printed([[7, 12, 10, 2], [4, 15, 16, 10], [10, 6, 15, 6], [8, 10, 4, 3]]),
                        marked=((1, 1), (1, 2), (2, 1), (2, 2)),
                    ),
                )
            ),
            Worked((terms(DAY4_IMAGE[:3, :3], DAY4_FILTER),)),
        ),
    )


def stride() -> Step:
    """DAY4's 7×7 example with stride 2, and the sizes."""
    sizes = [
        (Text("4×4, filter 3", "4×4、フィルタ3"), Geometry.of((1, 4, 4), 3)),
        (
            Text("4×4, filter 3, padding 1", "4×4、フィルタ3、パディング1"),
            Geometry.of((1, 4, 4), 3, padding=1),
        ),
        (Text("7×7, filter 3, stride 2", "7×7、フィルタ3、ストライド2"), Geometry.of((1, 7, 7), 3, stride=2)),
        (
            Text("8×8, filter 3, stride 2: rounded down", "8×8、フィルタ3、ストライド2：切り捨て"),
            Geometry.of((1, 8, 8), 3, stride=2),
        ),
    ]
    return Step(
        Text("Stride", "ストライド"),
        Text(
            "A stride of 2 moves the filter two pixels at a time. What is left over at the end is not looked at,"
            " hence the"
            " rounding down.",
            "ストライド2ではフィルタが2画素ずつ動く。最後に余った部分は見ないので、式に切り捨てが入る。",
        ),
        (r"OH = \lfloor \frac{H + 2P - FH}{S} \rfloor + 1",),
        (
            Grids(
                (
                    Grid("DAY4 large", "X", DAY4_LARGE),
                    "⋆",
                    Grid("DAY4 filter again", "F", DAY4_FILTER),
                    "=",
                    Grid(
                        "DAY4 stride",
                        "s = 2",
                        convolve(DAY4_LARGE, DAY4_FILTER, stride=2),
                        printed([[15, 17, 15], [17, 15, 17], [15, 17, 15]]),
                    ),
                )
            ),
            Numbers(
                tuple(
                    Number(f"size {label.en}", label, geometry.output_size[0], None, 0)
                    for label, geometry in sizes
                )
            ),
        ),
    )


def flipped() -> Step:
    """True convolution against correlation, and the slides' index slips."""
    turned = convolve(DAY4_IMAGE, DAY4_FILTER[::-1, ::-1])
    direct = true_convolution(DAY4_IMAGE, DAY4_FILTER)
    history = Erratum(
        "History-convolution",
        Text("History, slide on convolution filters", "History、畳み込みフィルタのスライド"),
        Text("the formula is Σ f(i-m, j-n)·g(m, n)", "式はΣ f(i−m, j−n)·g(m, n)"),
        Text(
            "the drawing is Σ f(i+m, j+n)·g(m, n), without turning the filter",
            "図はフィルタを回さないΣ f(i+m, j+n)·g(m, n)",
        ),
        Text(
            "The minus signs read the filter from its far corner: that is the convolution of mathematics, and"
            " equals the"
            " drawing only for a filter turned by 180°. As the weights are learned, either would do; every framework"
            " computes what the drawing shows, and so do we.",
            "マイナス記号はフィルタを反対の角から読むという意味で、数学でいう畳み込みである。"
            "図と等しくなるのはフィルタを180°回したときだけ。"
            "重みは学習されるのでどちらでもよいが、どのフレームワークも図の計算をしており、Tatamiも同じ。",
        ),
        (r"\sum_{m,n} f(i-m, j-n) \cdot g(m,n) \ne \sum_{m,n} f(i+m, j+n) \cdot g(m,n)",),
        (
            Grids(
                (
                    Grid("true convolution", "f(i-m, j-n)", direct),
                    Grid("turned", "F 180°", turned),
                    Grid("correlation", "f(i+m, j+n)", convolve(DAY4_IMAGE, DAY4_FILTER)),
                )
            ),
        ),
    )
    indices = Erratum(
        "DSP-g",
        Text("DSP, slide 'Convolutional Layer'", "DSP、「畳み込み層」のスライド"),
        Text("every weight in the sum is called w₁₁", "和の中の重みがすべてw₁₁になっている"),
        Text("the weights are w₁₁, w₁₂, … , w₃₃", "w₁₁, w₁₂, …, w₃₃"),
        Text(
            "With one weight for all pixels the filter could only add them up. The exercise's own slide has the right"
            " indices.",
            "全画素の重みが同じなら、フィルタは和を取ることしかできない。演習のスライドでは正しい添字になっている。",
        ),
    )
    return Step(
        Text("Convolution or correlation?", "畳み込みか相関か"),
        Text(
            "Two lectures write something else than they compute.",
            "書いてある式と計算が食い違っている講義が2つある。",
        ),
        errata=(history, indices),
    )


def true_convolution(image: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """Return Σ f(i-m, j-n)·g(m, n) wherever every pixel it asks for exists, by its definition."""
    rows, columns = (n - m + 1 for n, m in zip(image.shape, kernel.shape, strict=True))
    last = kernel.shape[0] - 1, kernel.shape[1] - 1
    return np.array(
        [
            [
                sum(
                    image[i + last[0] - m, j + last[1] - n] * kernel[m, n]
                    for m in range(kernel.shape[0])
                    for n in range(kernel.shape[1])
                )
                for j in range(columns)
            ]
            for i in range(rows)
        ]
    )
