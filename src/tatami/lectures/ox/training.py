"""5000 updates: the cost curve, and what of the slides' numbers can be reproduced."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tatami.lectures.numerals import numeral_row
from tatami.lectures.ox import slides
from tatami.lectures.ox.exercise import CIRCLE, CROSS, LABELS, Exercise
from tatami.lectures.walkthrough import (
    Erratum,
    Number,
    Numbers,
    Plot,
    Series,
    Step,
    Table,
    Text,
    printed,
    same,
)
from tatami.optimizers import SGD
from tatami.random import RandomKey

UPDATES = 5000


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
