"""Optimisers: what each does with one gradient, and the paths they take down a ravine."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tatami.lectures.walkthrough import (
    MakeStep,
    Number,
    Numbers,
    Plot,
    Request,
    Series,
    Step,
    Table,
    Text,
    same,
)
from tatami.optimizers import SGD, AdaGrad, Adam, Optimizer, RMSProp

Array = NDArray[np.float64]

START = (-7.0, 2.0)
STEPS = 40
OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": SGD(0.95),
    "Momentum": SGD(0.1, momentum=0.85),
    "Nesterov": SGD(0.1, momentum=0.85, nesterov=True),
    "AdaGrad": AdaGrad(1.5),
    "RMSProp": RMSProp(0.3, rho=0.9),
    "Adam": Adam(0.4),
}
FORMULAS: dict[str, tuple[str, ...]] = {
    "SGD": (r"w \leftarrow w - \eta \cdot g",),
    "Momentum": (r"v \leftarrow \alpha \cdot v - \eta \cdot g, \quad w \leftarrow w + v",),
    "Nesterov": (
        r"v \leftarrow \alpha \cdot v - \eta \cdot g, \quad w \leftarrow w + \alpha \cdot v - \eta \cdot g",
    ),
    "AdaGrad": (r"h \leftarrow h + g^2, \quad w \leftarrow w - \frac{\eta \cdot g}{\sqrt{h} + \epsilon}",),
    "RMSProp": (
        r"h \leftarrow \rho \cdot h + (1 - \rho) \cdot g^2, \quad w \leftarrow w - \frac{\eta \cdot g}{\sqrt{h} +"
        r" \epsilon}",
    ),
    "Adam": (
        r"m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2",
        r"w \leftarrow w - \frac{\eta \cdot \hat{m}}{\sqrt{\hat{v}} + \epsilon}, \quad \hat{m} = \frac{m}{1 -"
        r" \beta_1^t}, \quad \hat{v} = \frac{v}{1 - \beta_2^t}",
    ),
}
PROSE: dict[str, Text] = {
    "SGD": Text(
        "Straight down the steepest slope. Across the ravine that is almost always the wrong way: it jumps from"
        " wall to wall and"
        " creeps along.",
        "最も急な方向へまっすぐ下る。谷を横切る向きはたいてい間違いで、壁から壁へ跳びながらゆっくり進む。",
    ),
    "Momentum": Text(
        "A ball that keeps rolling: steps that point the same way add up, steps that alternate cancel. It"
        " overshoots and comes"
        " back.",
        "転がり続ける球。同じ向きの歩みは積み重なり、交互の歩みは打ち消し合う。行き過ぎて戻ってくる。",
    ),
    "Nesterov": Text(
        "Momentum that looks ahead to where it is about to roll, and brakes earlier.",
        "転がっていく先を見て、早めにブレーキをかけるモーメンタム。",
    ),
    "AdaGrad": Text(
        "Each direction has a rate of its own, divided by all the slope it has seen: steep directions slow down at"
        " once. It never"
        " forgets, so in the end it hardly moves.",
        "方向ごとに、これまでの傾きの合計で割った学習率をもつ。急な方向はすぐに遅くなる。忘れないので、"
        "最後にはほとんど動かなくなる。",
    ),
    "RMSProp": Text(
        "AdaGrad that forgets old slopes and therefore keeps going; near the bottom it jitters by its rate.",
        "古い傾きを忘れるAdaGrad。だから動き続け、底の近くでは学習率の幅で揺れる。",
    ),
    "Adam": Text(
        "Momentum and RMSProp in one, both corrected for having started from zero.",
        "モーメンタムとRMSPropを合わせ、どちらも0から始まったことを補正する。",
    ),
}


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the ravine and down it."""
    return (ravine, *(partial(descent, name) for name in OPTIMIZERS), compared)


def height(x: Array, y: Array) -> Array:
    """Return x²/20 + y²: long in x, steep in y.

    >>> float(height(np.array(10.0), np.array(1.0)))
    6.0
    """
    result: Array = x**2 / 20 + y**2
    return result


def path(optimizer: Optimizer, steps: int = STEPS) -> Array:
    """Return the points that an optimiser visits from the start, (steps + 1, 2)."""
    parameters = {"point": {"weight": np.array(START)}}
    state = optimizer.initialize(parameters)
    points = [np.array(START)]
    for _ in range(steps):
        x, y = parameters["point"]["weight"]
        gradients = {"point": {"weight": np.array([x / 10, 2 * y])}}
        parameters, state = optimizer.update(parameters, gradients, state)
        points.append(parameters["point"]["weight"])
    return np.array(points)


def contours() -> tuple[Series, ...]:
    """Return ellipses of equal height."""
    angle = np.linspace(0, 2 * np.pi, 73)
    return tuple(
        Series(same(""), np.sqrt(20 * level) * np.cos(angle), np.sqrt(level) * np.sin(angle), faint=True)
        for level in (0.1, 0.5, 1.5, 3.0, 5.0)
    )


def drawing(names: tuple[str, ...]) -> Plot:
    """Draw paths over the ellipses."""
    paths = {name: path(OPTIMIZERS[name]) for name in names}
    series = tuple(Series(same(name), p[:, 0], p[:, 1], dots=True) for name, p in paths.items())
    return Plot(
        Text(f"{STEPS} steps from (-7, 2)", f"(-7, 2)から{STEPS}歩"),
        (*contours(), *series),
        same("x"),
        same("y"),
        x_range=(-10, 10),
        y_range=(-2.5, 2.5),
    )


def ravine() -> Step:
    """The landscape."""
    g = (START[0] / 10, 2 * START[1])
    return Step(
        Text("The ravine", "谷"),
        Text(
            "Errors of networks have long valleys with steep walls. The simplest has ellipses, more than four"
            " times as long as wide, for lines"
            " of equal height. At the start the slope across is almost six times that along, although the way to"
            " go is along.",
            "網の誤差には、壁の急な長い谷がよく現れる。最も簡単なのは細長い楕円である。出発点では、"
            "進むべきは谷に沿う向きなのに、横切る向きの傾きがその6倍近い。",
        ),
        (r"f(x, y) = \frac{x^2}{20} + y^2, \quad g = (\frac{x}{10}, 2y)",),
        (
            Numbers(
                (
                    Number(
                        "f at the start",
                        Text("height at (-7, 2)", "(-7, 2)での高さ"),
                        float(height(np.array(START[0]), np.array(START[1]))),
                    ),
                    Number("g at the start", Text("slope there", "そこでの傾き"), g, None, 2),
                )
            ),
            Plot(
                Text("lines of equal height", "等高線"),
                contours(),
                same("x"),
                same("y"),
                x_range=(-10, 10),
                y_range=(-2.5, 2.5),
            ),
        ),
    )


def descent(name: str) -> Step:
    """One optimiser: two updates as numbers, its path as a picture."""
    optimizer = OPTIMIZERS[name]
    points = path(optimizer)
    heights = height(points[:, 0], points[:, 1])
    return Step(
        same(name),
        PROSE[name],
        FORMULAS[name],
        (
            drawing((name,)),
            Numbers(
                (
                    Number(f"{name} first", Text("after the first step", "1歩目"), points[1]),
                    Number(f"{name} second", Text("after the second step", "2歩目"), points[2]),
                    Number(
                        f"{name} end", Text(f"height after {STEPS} steps", f"{STEPS}歩後の高さ"), heights[-1]
                    ),
                )
            ),
        ),
    )


def compared() -> Step:
    """All in one table."""
    rows = []
    for name, optimizer in OPTIMIZERS.items():
        points = path(optimizer)
        heights = height(points[:, 0], points[:, 1])
        below = np.flatnonzero(heights < 0.1)
        rows.append(
            (
                name,
                f"{optimizer.learning_rate:g}",
                f"{heights[10]:.4f}",
                f"{heights[-1]:.4f}",
                str(int(below[0])) if len(below) else "-",
            )
        )
    momentum = path(SGD(0.1, momentum=1e-12), 3)
    plain = path(SGD(0.1), 3)
    return Step(
        Text("Side by side", "並べて比べる"),
        Text(
            "Each with a rate that suits it; a fair race would tune all of them, and on another landscape the"
            " order changes. That no"
            " method wins everywhere is the one thing all lectures agree on.",
            "それぞれに合った学習率を使った。公平に競うなら全部を調整すべきだし、地形が変われば順位も変わる。"
            "どこでも勝つ方法はない、というのがすべての講義の一致した結論である。",
        ),
        (),
        (
            drawing(("SGD", "Momentum", "Adam")),
            Table(
                (
                    Text("optimiser", "最適化法"),
                    Text("rate", "学習率"),
                    Text("height after 10", "10歩後の高さ"),
                    Text(f"after {STEPS}", f"{STEPS}歩後"),
                    Text("first below 0.1", "0.1を切る歩数"),
                ),
                tuple(rows),
            ),
            Numbers(
                (
                    Number(
                        "momentum zero",
                        Text("largest distance of momentum → 0 from SGD", "慣性→0とSGDの最大の差"),
                        np.abs(momentum - plain).max(),
                    ),
                )
            ),
        ),
    )
