"""im2col: which row and which column of the matrix belongs to which window, and back again with col2im."""

import numpy as np

from tatami.backends.correlation import col2im, correlate_direct, im2col
from tatami.geometry import Geometry
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
    printed,
    same,
)

IMAGE = np.arange(1, 17).reshape(4, 4)
MATRIX = [[1, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]]


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through DAY4's matrices."""
    return one_image, rows_and_columns, product, batch, back, overlapping


def one_image() -> Step:
    """DAY4's 4×4 example."""
    geometry = Geometry.of((1, 4, 4), 2, filters=1, stride=2)
    columns = im2col(IMAGE[None, None], geometry)
    window = ((0, 0), (0, 1), (1, 0), (1, 1))
    return Step(
        Text("Windows become rows", "窓が行になる"),
        Text(
            "A convolution visits windows. im2col copies every window into a row of a matrix, so that the visits"
            " become one"
            " matrix product, which computers are very good at. A 4×4 image, a 2×2 filter and stride 2 give four"
            " windows"
            " of four pixels.",
            "畳み込みは窓を順に訪れる。im2colは各窓を行列の1行に写し、訪問全体を計算機の得意な行列積1回に変える。"
            "4×4の画像、2×2のフィルタ、ストライド2なら、4画素の窓が4つになる。",
        ),
        (r"\text{row } (n,i,j): \text{ the window of output } (i,j) \text{ of image } n",),
        (
            Grids(
                (
                    Grid("image", "X", IMAGE, marked=window),
                    "→",
                    Grid(
                        "matrix",
                        "im2col(X)",
                        columns,
                        printed(MATRIX),
                        marked=tuple((0, j) for j in range(4)),
                    ),
                )
            ),
        ),
    )


def rows_and_columns() -> Step:
    """A table of who is who."""
    geometry = Geometry.of((1, 4, 4), 2, filters=1, stride=2)
    columns = im2col(IMAGE[None, None], geometry)
    rows = []
    for number, row in enumerate(columns):
        i, j = divmod(number, 2)
        rows.append(
            (
                str(number + 1),
                f"({i + 1}, {j + 1})",
                f"{2 * i + 1}-{2 * i + 2}",
                f"{2 * j + 1}-{2 * j + 2}",
                ", ".join(str(int(value)) for value in row),
            )
        )
    taps = tuple(
        (str(number + 1), f"({tap[0] + 1}, {tap[1] + 1})", ", ".join(str(int(v)) for v in columns[:, number]))
        for number, tap in enumerate(geometry.taps())
    )
    return Step(
        Text("Which row, which column", "どの行、どの列か"),
        Text(
            "Read along a row and you see one window. Read down a column and you see what one place of the filter"
            " meets on"
            " its way over the image: a slice of the image in steps of the stride. That is how it is computed"
            " fast, with"
            " as many copies as the filter has weights, however large the image.",
            "行を読めば1つの窓が見える。列を読めば、フィルタの1か所が画像の上で出会う値、"
            "つまりストライド刻みのスライスが見える。"
            "だから画像がどれだけ大きくても、フィルタの要素数だけのコピーで速く作れる。",
        ),
        (),
        (
            Table(
                (
                    Text("row", "行"),
                    Text("output", "出力"),
                    Text("image rows", "画像の行"),
                    Text("image columns", "画像の列"),
                    Text("window", "窓"),
                ),
                tuple(rows),
                left=0,
            ),
            Table(
                (
                    Text("column", "列"),
                    Text("place in the filter", "フィルタの位置"),
                    Text("slice of the image", "画像のスライス"),
                ),
                taps,
                left=0,
            ),
        ),
    )


def product() -> Step:
    """Convolution as a product."""
    geometry = Geometry.of((1, 4, 4), 2, filters=1, stride=2)
    weight = np.array([[1, -1], [0, 2]])
    columns = im2col(IMAGE[None, None], geometry)
    direct = correlate_direct(IMAGE[None, None], weight[None, None], geometry)[0, 0]
    return Step(
        Text("The convolution is a product", "畳み込みは積になる"),
        Text(
            "Write the filter as a column too, row by row, and multiply. The product, folded back to 2×2, is the"
            " convolution.",
            "フィルタも行順に並べて列にし、掛ける。積を2×2に戻せば畳み込みの結果になる。",
        ),
        (r"Y = \text{im2col}(X) \cdot F",),
        (
            Grids(
                (
                    Grid("matrix again", "im2col(X)", columns),
                    "·",
                    Grid("filter column", "F", weight.reshape(4, 1)),
                    "=",
                    Grid("product", "Y", columns @ weight.reshape(4, 1)),
                )
            ),
            Grids((Grid("direct", "F ⋆ X", direct),)),
        ),
    )


def batch() -> Step:
    """Channels and images."""
    images = np.broadcast_to(IMAGE, (2, 2, 4, 4))
    columns = im2col(images, Geometry.of((2, 4, 4), 2, filters=1, stride=2))
    expected = [row + row for row in MATRIX] * 2
    sizes = im2col(np.zeros((2, 3, 7, 7)), Geometry.of((3, 7, 7), 5, filters=1)).shape
    return Step(
        Text("Channels to the right, images below", "チャンネルは右へ、画像は下へ"),
        Text(
            "A second channel adds columns, because a window then holds its pixels as well. A second image adds"
            " rows. Here are"
            " two images of two equal channels.",
            "チャンネルが増えると窓の画素が増えるので列が増え、画像が増えると行が増える。"
            "同じ2チャンネルの画像2枚の例。",
        ),
        (r"(N \cdot OH \cdot OW) \times (C \cdot FH \cdot FW)",),
        (
            Grids((Grid("batch matrix", "im2col", columns, printed(expected)),)),
            Numbers(
                (
                    Number(
                        "rows and columns",
                        Text("2 images, 2 channels: rows, columns", "画像2枚、2チャンネル：行と列"),
                        columns.shape,
                        printed([8, 8]),
                    ),
                    Number(
                        "larger",
                        Text("2 images 3×7×7, filter 5×5", "画像2枚 3×7×7、フィルタ5×5"),
                        sizes,
                    ),
                )
            ),
        ),
    )


def back() -> Step:
    """col2im without overlap."""
    geometry = Geometry.of((1, 4, 4), 2, filters=1, stride=2)
    restored = col2im(np.array(MATRIX), geometry)[0, 0]
    return Step(
        Text("col2im: rows become windows again", "col2im：行を窓に戻す"),
        Text(
            "The backward pass needs the way back: every row is laid where its window stood. With stride 2 the"
            " windows do not"
            " overlap and the image comes back.",
            "逆伝播では戻り道が要る。各行を、窓のあった場所に置き直す。ストライド2では窓が重ならず、元の画像に戻る。",
        ),
        (),
        (
            Grids(
                (
                    Grid("matrix back", "im2col(X)", MATRIX),
                    "→",
                    Grid("restored", "col2im", restored, printed(IMAGE)),
                )
            ),
        ),
    )


def overlapping() -> Step:
    """col2im adds."""
    geometry = Geometry.of((1, 4, 4), 2, filters=1, stride=1)
    ones = np.ones((9, 4))
    counted = col2im(ones, geometry)[0, 0]
    x = np.arange(1.0, 17).reshape(1, 1, 4, 4)
    columns = np.arange(36.0).reshape(9, 4)
    left = float((im2col(x, geometry) * columns).sum())
    right = float((x[0] * col2im(columns, geometry)[0]).sum())
    return Step(
        Text("Where windows overlap, col2im adds", "窓が重なる所では足し合わせる"),
        Text(
            "With stride 1 a pixel sits in up to four windows: im2col copied it four times, so its gradient is the"
            " sum over"
            " four copies. col2im of ones counts the copies. It is therefore not the inverse but the transpose of"
            " im2col,"
            " which the equation checks.",
            "ストライド1では1画素が最大4つの窓に入る。im2colが4回写したのだから、勾配は4つの写しの和になる。"
            "すべて1の行列のcol2imは写しの数を数える。つまりcol2imはim2colの逆ではなく転置であり、"
            "下の等式で確かめられる。",
        ),
        (r"\sum \text{im2col}(x) \odot c = \sum x \odot \text{col2im}(c)",),
        (
            Grids((Grid("counted", "col2im(1)", counted),)),
            Numbers(
                (
                    Number("transpose, left", same("Σ im2col(x)∘c"), left),
                    Number("transpose, right", same("Σ x∘col2im(c)"), right),
                )
            ),
        ),
    )
