"""Sections of a report on a run that was not trained to tell classes apart."""

import base64
import io
from functools import partial
from typing import Any

import numpy as np

from tatami.inspect.figures import (
    draw_epochs,
    figure_svg,
    learning_rate_figure,
    loss_figure,
    small_figure,
)
from tatami.inspect.markup import Markup, element, together
from tatami.inspect.phrases import Language, Text
from tatami.inspect.report.parts import introduced, table
from tatami.inspect.report.subject import Subject
from tatami.inspect.task_drawings import drawings
from tatami.training.evaluation import Evaluation, TaskEvaluation
from tatami.training.history import History
from tatami.training.measures import MEASURES, Measure
from tatami.training.tasks import Segment

MOST_MEASURES = 3
TITLES: dict[str, Text] = {
    "masks.png": Text("Input, truth and prediction", "入力・正解・予測"),
    "worst.png": Text("The worst examples", "最も悪い例"),
    "reconstructions.png": Text("Before and after", "前と後"),
    "samples.png": Text("Drawn from the prior", "事前分布からの生成"),
    "latent.png": Text("The code", "潜在空間"),
    "regression.png": Text("Predicted against true", "予測と正解"),
    "letters.png": Text("How expected each letter was", "各文字の予想しやすさ"),
}


def measured_of(subject: Subject) -> TaskEvaluation:
    """Return what was measured, for a run of another task than classification."""
    assert not isinstance(subject.evaluation, Evaluation)
    return subject.evaluation


def draw_measure(axes: Any, history: History, language: Language, name: str) -> None:
    """Draw a measure over the epochs."""
    measure = MEASURES.get(name, Measure(name))

    def series(*, validation: bool) -> list[float]:
        values = history.measured(name, validation=validation)
        return [np.nan if value is None else measure.factor * value for value in values]

    draw_epochs(axes, history, series(validation=False), series(validation=True), language)
    unit = " %" if measure.factor == 100 else " dB" if "dB" in measure.pattern else ""
    axes.set_title(f"{measure.label}{f' /{unit}' if unit else ''}")


def measures_section(subject: Subject) -> Markup | None:
    """Return the learning curves of the loss and of every measure, or None before the first epoch."""
    history, language = subject.checkpoint.history, subject.language
    if not len(history):
        return None
    best, say = history.best_epoch, subject.say
    used = (
        say(
            f"The model is the one of epoch {best}, which had the lowest validation loss.",
            f"モデルは、検証の損失が最も小さかったエポック {best} のもの。",
        )
        if best is not None
        else say("The model is the one of the last epoch.", "モデルは最後のエポックのもの。")
    )
    figures = [figure_svg(loss_figure(history, language), say("Loss over the epochs", "損失の推移"))]
    for name in history.measures()[:MOST_MEASURES]:
        drawn = small_figure(partial(draw_measure, name=name), history, language)
        figures.append(figure_svg(drawn, f"{MEASURES.get(name, Measure(name)).label}"))
    rate = learning_rate_figure(history, language)
    figures.append(figure_svg(rate, say("Learning rate over the epochs", "学習率の推移")))
    return introduced(used, element("div", together(figures), class_="charts"))


def measures_table(subject: Subject) -> Markup:
    """Return every measure on the test examples, and for masks what belongs to each class."""
    measured, say = measured_of(subject), subject.say
    rows = [
        (MEASURES.get(name, Measure(name)).label, MEASURES.get(name, Measure(name)).written(value))
        for name, value in measured.measures.items()
    ]
    parts = [table((say("measure", "指標"), say("value", "値")), rows)]
    task = subject.model.task
    if isinstance(task, Segment):
        overlaps = task.overlaps(measured.tally)
        both, _, true = measured.tally.reshape(3, -1)
        of_classes = [
            (
                name,
                f"{overlap:.4f}" if np.isfinite(overlap) else "-",
                f"{100 * hit / count:.1f} %" if count else "-",
                f"{100 * count / max(true.sum(), 1):.1f} %",
            )
            for name, overlap, hit, count in zip(subject.class_names, overlaps, both, true, strict=False)
        ]
        header = (say("class", "クラス"), "IoU", say("found", "再現率"), say("share", "割合"))
        parts.append(table(header, of_classes))
    text = say(
        f"Measured on {len(measured):,} test examples, loss {measured.loss:.4f}.",
        f"テスト {len(measured):,} 例で測定。損失 {measured.loss:.4f}。",
    )
    return introduced(text, element("div", parts, class_="beside"))


def pictures_section(subject: Subject) -> Markup | None:
    """Return the pictures of the task, or None for a task without any."""
    found = []
    title = f"{subject.test.name}, {subject.network.name}"
    for name, draw in drawings(subject.model, measured_of(subject), subject.test, title).items():
        file = io.BytesIO()
        draw(file)
        source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
        called = TITLES[name].read(subject.language)
        found.append(element("h3", called))
        found.append(element("img", src=source, alt=called, style="max-width: 100%; height: auto"))
    return element("div", found) if found else None
