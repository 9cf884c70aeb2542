"""Sections on what a run measured: settings, curves, confusions, calibration, worst mistakes."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from tatami.inspect.figures import (
    accuracy_figure,
    calibration_figure,
    figure_svg,
    growth_figure,
    learning_rate_figure,
    loss_figure,
    norms_figure,
)
from tatami.inspect.markup import Markup, element, together
from tatami.inspect.pictures import MOST_CELLS_WITH_NUMBERS, confusion_figure
from tatami.inspect.reliability import calibration
from tatami.inspect.report.parts import (
    captioned,
    definitions,
    gallery,
    image,
    introduced,
    scrolling,
    table,
)
from tatami.inspect.report.subject import Subject
from tatami.training.evaluation import most_confused
from tatami.training.growth import GRADIENTS, WEIGHTS

WORST = 18
MOST_PAIRS = 8


def settings_section(subject: Subject) -> Markup:
    """Return how the run was made."""
    settings = subject.checkpoint.settings
    augmentation = settings.augmentation
    say = subject.say
    data, images = subject.checkpoint.data.get("name", subject.test.name), f"{len(subject.test):,}"
    parameters = f"{subject.network.parameter_count:,}"
    done, share = len(subject.checkpoint.history), f"{100 * settings.validation:g} %"
    groups = settings.group_by
    values = {
        say("Data", "データ"): say(f"{data}, {images} test images", f"{data}、テスト画像 {images} 枚"),
        say("Network", "ネットワーク"): say(
            f"{subject.network.name}, {parameters} parameters",
            f"{subject.network.name}、パラメータ {parameters} 個",
        ),
        say("Preprocessing", "前処理"): type(subject.model.preprocessing).__name__,
        say("Loss", "損失"): described(settings.loss.to_json()),
        say("Optimiser", "オプティマイザ"): described(settings.optimizer.to_json()),
        say("Schedule", "学習率の計画"): described(settings.schedule.to_json()),
        say("Epochs", "エポック"): say(
            f"{done} of {settings.epochs}, batches of {settings.batch_size}",
            f"{settings.epochs} のうち {done}、バッチの大きさ {settings.batch_size}",
        ),
        say("Validation", "検証"): say(
            f"{share} of the training images{f', groups of {groups} kept together' if groups else ''}",
            f"訓練画像の {share}{f'({groups} ごとにまとめて分割)' if groups else ''}",
        )
        if settings.validation
        else "",
        say("Augmentation", "データ拡張"): ", ".join(type(step).__name__ for step in augmentation.steps)
        if augmentation
        else "",
        say("Clipping", "勾配の制限"): say(
            f"gradient norm at most {settings.clip:g}", f"ノルムは {settings.clip:g} 以下"
        )
        if settings.clip
        else "",
        say("Seed", "シード"): str(settings.seed),
        say("Computed by", "計算"): f"{settings.backend}, {settings.precision}",
        say("Weights", "重み"): subject.model.weights_sha256[:16] + "…",
    }
    introduction = say(
        "How this run was made; the seed makes it come out the same again.",
        "この実行の条件。同じシードなら同じ結果になる。",
    )
    return introduced(introduction, definitions(values))


def described(values: Mapping[str, Any]) -> str:
    """Return the JSON description of an object as a line; what is 0, empty or off is left out.

    >>> described({"type": "SGD", "learning_rate": 0.1, "momentum": 0.0, "nesterov": True, "rates": []})
    'SGD, learning rate 0.1, nesterov'
    """
    parts = [str(values.get("type", ""))]
    for name, value in values.items():
        words = name.replace("_", " ")
        if name == "type" or not value or isinstance(value, Mapping):
            continue
        if value is True:
            parts.append(words)
        else:
            parts.append(f"{words} {value:g}" if isinstance(value, int | float) else f"{words} {value}")
    return ", ".join(parts)


def curves_section(subject: Subject) -> Markup | None:
    """Return the learning curves, or None before the first epoch."""
    history = subject.checkpoint.history
    if not len(history):
        return None
    best = history.best_epoch
    say, language = subject.say, subject.language
    used = (
        say(
            f"The model is the one of epoch {best}, which had the lowest validation loss.",
            f"モデルは、検証の損失が最も小さかったエポック {best} のもの。",
        )
        if best is not None
        else say("The model is the one of the last epoch.", "モデルは最後のエポックのもの。")
    )
    figures = [
        figure_svg(loss_figure(history, language), say("Loss over the epochs", "損失の推移")),
        figure_svg(accuracy_figure(history, language), say("Accuracy over the epochs", "正解率の推移")),
        figure_svg(
            learning_rate_figure(history, language), say("Learning rate over the epochs", "学習率の推移")
        ),
    ]
    return introduced(used, element("div", together(figures), class_="charts"))


def growth_section(subject: Subject) -> Markup | None:
    """Return how weights, gradients and filters changed over the epochs; None for a run that recorded nothing."""
    growth = subject.growth
    if len(growth.epochs) < 2:
        return None
    say = subject.say
    charts = [
        figure_svg(norms_figure(growth.epochs, growth.series(group), title, subject.language), title)
        for group, title in (
            (WEIGHTS, say("Norm of the weights", "重みのノルム")),
            (GRADIENTS, say("Norm of the gradients", "勾配のノルム")),
        )
    ]
    parts: list[Markup] = [element("div", together(charts), class_="charts")]
    strips = [
        figure_svg(
            growth_figure(grown, title, subject.language),
            say(f"filters of {grown.layer} over the epochs", f"{grown.layer} のフィルタの推移"),
        )
        for grown in subject.grown_filters()
        for title in [say(f"Filters of {grown.layer}", f"{grown.layer} のフィルタ")]
    ]
    if strips:
        explained = say(
            "Filters over the epochs: red is positive, blue negative, white zero; of a filter over several channels "
            "the channel that ends up with the largest weights.",
            "エポックごとのフィルタ: 赤が正、青が負、白が 0。複数のチャンネルを持つフィルタは、"
            "最後に重みが最も大きくなるチャンネルを示す。",
        )
        parts.append(element("p", explained, class_="intro"))
        parts.append(element("div", together(strips), class_="charts"))
    introduction = say(
        "How each layer's weights moved away from their initial values, which epoch 0 shows, and how large the "
        "gradients of the loss were, always on the same batch. Gradients that differ by powers of ten between layers "
        "vanish or explode.",
        "各層の重みが初期値 (エポック 0) からどう動いたか。また、いつも同じバッチで測った損失の勾配の大きさ。"
        "層の間で何桁も違う勾配は、消失または爆発している。",
    )
    return introduced(introduction, parts)


def confusion_section(subject: Subject) -> Markup:
    """Return which classes are taken for which."""
    evaluation, say = subject.judged, subject.say
    pairs = most_confused(evaluation.confusion, subject.class_names, MOST_PAIRS)
    parts = []
    many = len(subject.class_names) > MOST_CELLS_WITH_NUMBERS
    parts.append(confusion_picture(subject) if many else confusion_table(subject))
    if pairs:
        rows = [(pair.true_class, pair.predicted_class, f"{pair.count:,}", f"{pair.of:,}") for pair in pairs]
        header = (say("true", "正解"), say("seen as", "判断"), say("times", "回数"), say("of", "全体"))
        listed = table(header, rows, left=(0, 1))
        parts.append(element("div", element("h3", say("Most confused", "最も多い取り違え")), listed))
    right, of = f"{evaluation.correct:,}", f"{len(evaluation.labels):,}"
    introduction = say(
        f"{right} of {of} test images are classified correctly. Rows are true classes, columns what the model saw.",
        f"テスト画像 {of} 枚のうち {right} 枚を正しく分類した。行は正解のクラス、列はモデルの判断。",
    )
    return introduced(introduction, element("div", parts, class_="beside"))


def confusion_picture(subject: Subject) -> Markup:
    """Return the confusion matrix of many classes as a picture; what it has off its diagonal stands out."""
    title = subject.say("Confusion matrix", "混同行列")
    figure = confusion_figure(subject.judged.confusion, subject.class_names, title, subject.language)
    legend = subject.say(
        "Blue: right. Red: taken for another class, the darker the more often.",
        "青: 正解。赤: 別のクラスと判断したもので、濃いほど多い。",
    )
    drawing = scrolling(element("div", figure_svg(figure, title), class_="heat"))
    return captioned(drawing, legend)


def confusion_table(subject: Subject) -> Markup:
    """Return the confusion matrix; the stronger the colour, the larger the share of the row."""
    confusion = subject.judged.confusion
    rows = []
    for label, counts in enumerate(confusion):
        total = max(1, int(counts.sum()))
        cells = [element("th", subject.class_names[label], scope="row")]
        for column, count in enumerate(counts):
            # The square root brings out the few errors, which on a linear scale all look like zero.
            opacity = sqrt(int(count) / total)
            colour = "42, 111, 151" if column == label else "200, 40, 40"
            style = f"background: rgba({colour}, {opacity:.2f})" + ("; color: #fff" if opacity > 0.55 else "")
            cells.append(element("td", f"{count}" if count else "", style=style if count else None))
        cells.append(element("td", f"{100 * int(counts[label]) / total:.0f} %", class_="share"))
        rows.append(element("tr", cells))
    names = [element("th", name, scope="col") for name in subject.class_names]
    head = element("tr", element("th", ""), names, element("th", subject.say("right", "正解率"), scope="col"))
    return scrolling(element("table", element("thead", head), element("tbody", rows), class_="confusion"))


def calibration_section(subject: Subject) -> Markup | None:
    """Return whether the model knows how sure it may be, or None if it gives no probabilities."""
    if not subject.gives_probabilities:
        return None
    curve = calibration(subject.judged.probabilities, subject.judged.labels)
    introduction = subject.say(
        "Of the images of which the model is 70 to 80 % sure, 70 to 80 % should be right. Bars below the diagonal: it "
        "is too sure of itself; the numbers count the images.",
        "確信度が 70 から 80 % の画像は、70 から 80 % が正解のはずである。棒が対角線より低ければ、モデルは自信過剰。"
        "数字は画像の枚数。",
    )
    label = subject.say("Share of right answers against confidence", "確信度に対する正解の割合")
    figure = figure_svg(calibration_figure(curve, subject.language), label)
    return introduced(introduction, element("div", figure, class_="charts"))


def worst_section(subject: Subject) -> Markup:
    """Return the images whose true class got the lowest probability."""
    evaluation, say = subject.judged, subject.say
    figures = []
    for number in evaluation.worst(WORST):
        true, seen = int(evaluation.labels[number]), int(evaluation.predicted[number])
        saw, was = subject.class_names[seen], subject.class_names[true]
        verdict = say(f"seen as {saw}:", f"判断 {saw}:")
        texts = [
            element("b", verdict, class_="wrong" if true != seen else "right"),
            element("span", f" {score(subject, number, seen)}"),
            element("br"),
            say(f"is {was}:", f"正解 {was}:") + f" {score(subject, number, true)}",
        ]
        pixels = subject.picture_of(int(number))
        figures.append(captioned(image(pixels, subject.image_name(int(number))), texts))
    introduction = say(
        "The test images whose true class got the least, the worst first.",
        "正解のクラスの値が最も小さかったテスト画像を、悪い順に並べる。",
    )
    if evaluation.correct == len(evaluation.labels):
        introduction = say(
            "There are no mistakes. These are the test images of which the model was least sure.",
            "間違いはない。モデルが最も迷ったテスト画像を並べる。",
        )
    return introduced(introduction, gallery(figures))


def score(subject: Subject, number: int, label: int) -> str:
    """Return what the model gave a class."""
    value = float(subject.judged.probabilities[number, label])
    return f"{100 * value:.0f}\u00a0%" if subject.gives_probabilities else f"{value:.3f}"
