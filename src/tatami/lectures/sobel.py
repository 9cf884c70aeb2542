"""Arai's Sobel pair on a picture that is drawn here: one filter keeps upright strokes, the other level ones."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tatami.lectures.convolution import convolve
from tatami.lectures.walkthrough import (
    Grid,
    Grids,
    MakeStep,
    Number,
    Numbers,
    Pictures,
    Request,
    Step,
    Text,
    printed,
)

Array = NDArray[np.float64]

SIZE = 128
SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through both filters."""
    image = picture()
    upright, level = convolve(image, SOBEL), convolve(image, SOBEL.T)
    return (
        partial(drawn, image),
        partial(filtered, image, upright, level),
        why,
        partial(strength, upright, level),
    )


def picture() -> Array:
    """Draw a house with a window, a round sun and a slanted roof: 128×128 greys from 0 to 1.

    >>> picture().shape
    (128, 128)
    """
    row, column = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    image = np.full((SIZE, SIZE), 0.6)
    image[row > 108] = 0.35  # ground
    roof = (row > 28) & (row <= 60) & (np.abs(column - 48) < (row - 24))
    walls = (row > 60) & (row <= 108) & (column > 20) & (column < 77)
    image[roof] = 0.25
    image[walls] = 0.8
    image[(row > 84) & (row <= 108) & (column > 30) & (column < 44)] = 0.1  # door
    image[(row > 70) & (row < 88) & (column > 52) & (column < 70)] = 1.0  # window
    image[(row > 77) & (row < 81) & (column > 52) & (column < 70)] = 0.2
    image[(np.abs(column - 61) < 2) & (row > 70) & (row < 88)] = 0.2
    image[(row - 26) ** 2 + (column - 104) ** 2 < 14**2] = 1.0  # sun
    image[(row > 66) & (row <= 108) & (column > 96) & (column < 101)] = 0.15  # tree
    image[(row - 62) ** 2 + (column - 98) ** 2 < 15**2] = 0.3
    return image


def drawn(image: Array) -> Step:
    """The picture."""
    return Step(
        Text("A picture", "画像"),
        Text(
            "Arai filters a photograph of 128×128 pixels that we may not copy, so we draw a picture of the same"
            " size: upright"
            " walls, level ground, a slanted roof and a round sun.",
            "新井の講義では128×128画素の写真を使う。それは写せないので、同じ大きさの絵を描く。縦の壁、水平な地面、"
            "斜めの屋根、丸い太陽がある。",
        ),
        (),
        (Pictures(((Text("the picture, 128×128", "画像 128×128"), image),)),),
    )


def filtered(image: Array, upright: Array, level: Array) -> Step:
    """Both answers."""
    return Step(
        Text("Two filters, two answers", "2つのフィルタ、2つの答え"),
        Text(
            "F subtracts what is on the right from what is on the left, so it answers where the picture changes"
            " sideways: at"
            " upright edges. Its transpose answers at level ones. Slanted and round edges have a share of both."
            " Grey means"
            " no answer, light and dark the two signs.",
            "Fは左から右を引くので、横方向に変化する所、つまり縦の縁に反応する。転置したFは横の縁に反応する。"
            "斜めや丸い縁は両方に少しずつ現れる。灰色は反応なし、明暗は符号を表す。",
        ),
        (r"(F \star X)(j,k) = \sum_{\mu,\nu} F(\mu,\nu) \cdot X(j+\mu-1, k+\nu-1)",),
        (
            Grids(
                (
                    Grid("F", "F", SOBEL, printed([[1, 0, -1], [2, 0, -2], [1, 0, -1]])),
                    Grid("F transposed", "Fᵀ", SOBEL.T, printed([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])),
                )
            ),
            Pictures(
                (
                    (Text("F ⋆ X: upright edges", "F ⋆ X：縦の縁"), upright),
                    (Text("Fᵀ ⋆ X: level edges", "Fᵀ ⋆ X：横の縁"), level),
                )
            ),
            Numbers(
                (
                    Number(
                        "size",
                        Text("size of the answers", "結果の大きさ"),
                        upright.shape,
                        printed([126, 126]),
                    ),
                )
            ),
        ),
    )


def why() -> Step:
    """Strokes that are kept and lost."""
    stroke = np.zeros((7, 7), dtype=int)
    stroke[:, 3] = 1
    return Step(
        Text("Why: a stroke of each kind", "なぜか：1本の線で確かめる"),
        Text(
            "On an upright stroke F answers with +4 on one side and -4 on the other, and its transpose not at all:"
            " above and"
            " below, the stroke looks the same, so the difference is zero.",
            "縦の線に対し、Fは片側で+4、反対側で−4を返し、転置したFは何も返さない。"
            "線の上と下は同じなので差が0になるからである。",
        ),
        (),
        (
            Grids(
                (
                    Grid("stroke", "X", stroke),
                    "→",
                    Grid("kept", "F ⋆ X", convolve(stroke, SOBEL)),
                    Grid("lost", "Fᵀ ⋆ X", convolve(stroke, SOBEL.T)),
                )
            ),
        ),
    )


def strength(upright: Array, level: Array) -> Step:
    """Joining both."""
    both = np.sqrt(upright**2 + level**2)
    return Step(
        Text("Both together", "2つを合わせる"),
        Text(
            "Seen as the two components of an arrow, the answers give the strength of an edge whatever its"
            " direction. Cells"
            " with such profiles were found in the visual cortex in 1959; in a trained network the first filters"
            " often"
            " come out alike, without anybody having drawn them.",
            "2つの結果を矢印の成分と見れば、向きによらない縁の強さが得られる。"
            "このような受容野をもつ細胞は1959年ごろ視覚野で見つかった。"
            "学習した網の最初のフィルタも、誰も描いていないのにしばしばこれに似た形になる。",
        ),
        (r"\sqrt{{(F \star X)}^2 + {(F^T \star X)}^2}",),
        (Pictures(((Text("strength of the edges", "縁の強さ"), both),)),),
    )
