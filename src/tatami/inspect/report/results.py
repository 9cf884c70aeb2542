"""Sections on what a run measured: settings, curves, confusions, calibration, worst mistakes."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from tatami.inspect.figures import (
    accuracy_figure,
    calibration_figure,
    figure_svg,
    learning_rate_figure,
    loss_figure,
    norms_figure,
)
from tatami.inspect.grids import filter_strip
from tatami.inspect.markup import Markup, element, together
from tatami.inspect.reliability import calibration
from tatami.inspect.report.parts import (
    captioned,
    definitions,
    gallery,
    grid_image,
    image,
    scrolling,
    section,
    table,
)
from tatami.inspect.report.subject import Subject
from tatami.training.evaluation import most_confused
from tatami.training.growth import FILTERS, GRADIENTS, WEIGHTS

WORST = 18
MOST_CLASSES = 26
MOST_PAIRS = 8


def settings_section(subject: Subject) -> Markup:
    """Return how the run was made."""
    settings = subject.checkpoint.settings
    augmentation = settings.augmentation
    values = {
        "Data": f"{subject.checkpoint.data.get('name', subject.test.name)}, {len(subject.test):,} test images",
        "Network": f"{subject.network.name}, {subject.network.parameter_count:,} parameters",
        "Preprocessing": type(subject.model.preprocessing).__name__,
        "Loss": described(settings.loss.to_json()),
        "Optimiser": described(settings.optimizer.to_json()),
        "Schedule": described(settings.schedule.to_json()),
        "Epochs": f"{len(subject.checkpoint.history)} of {settings.epochs}, batches of {settings.batch_size}",
        "Validation": f"{100 * settings.validation:g} % of the training images"
        if settings.validation
        else "",
        "Augmentation": ", ".join(type(step).__name__ for step in augmentation.steps) if augmentation else "",
        "Clipping": f"gradient norm at most {settings.clip:g}" if settings.clip else "",
        "Seed": str(settings.seed),
        "Computed by": f"{settings.backend}, {settings.precision}",
        "Weights": subject.model.weights_sha256[:16] + "…",
    }
    return section(
        "settings",
        "Settings",
        "How this run was made; the seed makes it come out the same again.",
        definitions(values),
    )


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
    used = (
        f"The model is the one of epoch {best}, which had the lowest validation loss."
        if best is not None
        else "The model is the one of the last epoch."
    )
    figures = [
        figure_svg(loss_figure(history), "Loss over the epochs"),
        figure_svg(accuracy_figure(history), "Accuracy over the epochs"),
        figure_svg(learning_rate_figure(history), "Learning rate over the epochs"),
    ]
    return section("curves", "Learning curves", used, element("div", together(figures), class_="charts"))


def growth_section(subject: Subject) -> Markup | None:
    """Return how weights, gradients and filters changed over the epochs; None for a run that recorded nothing."""
    growth = subject.growth
    if len(growth.epochs) < 2:
        return None
    charts = [
        figure_svg(norms_figure(growth.epochs, growth.series(group), title), f"{title} over the epochs")
        for group, title in ((WEIGHTS, "Norm of the weights"), (GRADIENTS, "Norm of the gradients"))
    ]
    parts: list[Markup] = [element("div", together(charts), class_="charts")]
    for name, values in growth.series(FILTERS).items():
        strip, moments = filter_strip(values)
        epochs = ", ".join(str(growth.epochs[moment]) for moment in moments)
        caption = f"{name}: {values.shape[1]} filters (rows) after epoch {epochs} (columns)"
        parts.append(captioned(grid_image(strip, f"filters of {name} over the epochs"), caption, "film"))
    introduction = (
        "How each layer's weights moved away from their initial values, which epoch 0 shows, and how large the "
        "gradients of the loss were, always on the same batch. Gradients that differ by powers of ten between layers "
        "vanish or explode."
    )
    return section("growth", "Growth", introduction, parts)


def confusion_section(subject: Subject) -> Markup:
    """Return which classes are taken for which."""
    evaluation = subject.evaluation
    pairs = most_confused(evaluation.confusion, subject.class_names, MOST_PAIRS)
    parts = []
    if len(subject.class_names) <= MOST_CLASSES:
        parts.append(confusion_table(subject))
    if pairs:
        rows = [(pair.true_class, pair.predicted_class, f"{pair.count:,}", f"{pair.of:,}") for pair in pairs]
        listed = table(("true", "seen as", "times", "of"), rows, left=(0, 1))
        parts.append(element("div", element("h3", "Most confused"), listed))
    introduction = (
        f"{evaluation.correct:,} of {len(evaluation.labels):,} test images are classified correctly. "
        f"Rows are true classes, columns what the model saw."
    )
    return section("confusion", "Confusion", introduction, element("div", parts, class_="beside"))


def confusion_table(subject: Subject) -> Markup:
    """Return the confusion matrix; the stronger the colour, the larger the share of the row."""
    confusion = subject.evaluation.confusion
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
    head = element("tr", element("th", ""), names, element("th", "right", scope="col"))
    return scrolling(element("table", element("thead", head), element("tbody", rows), class_="confusion"))


def calibration_section(subject: Subject) -> Markup | None:
    """Return whether the model knows how sure it may be, or None if it gives no probabilities."""
    if not subject.gives_probabilities:
        return None
    curve = calibration(subject.evaluation.probabilities, subject.evaluation.labels)
    introduction = (
        "Of the images of which the model is 70 to 80 % sure, 70 to 80 % should be right. Bars below the diagonal: it "
        "is too sure of itself; the numbers count the images."
    )
    figure = figure_svg(calibration_figure(curve), "Share of right answers against confidence")
    return section("calibration", "Calibration", introduction, element("div", figure, class_="charts"))


def worst_section(subject: Subject) -> Markup:
    """Return the images whose true class got the lowest probability."""
    evaluation = subject.evaluation
    figures = []
    for number in evaluation.worst(WORST):
        true, seen = int(evaluation.labels[number]), int(evaluation.predicted[number])
        texts = [
            element(
                "b", f"seen as {subject.class_names[seen]}:", class_="wrong" if true != seen else "right"
            ),
            element("span", f" {score(subject, number, seen)}"),
            element("br"),
            f"is {subject.class_names[true]}: {score(subject, number, true)}",
        ]
        pixels = subject.picture_of(int(number))
        figures.append(captioned(image(pixels, f"test image {number}"), texts))
    introduction = "The test images whose true class got the least, the worst first."
    if evaluation.correct == len(evaluation.labels):
        introduction = "There are no mistakes. These are the test images of which the model was least sure."
    return section("worst", "Worst mistakes", introduction, gallery(figures))


def score(subject: Subject, number: int, label: int) -> str:
    """Return what the model gave a class."""
    value = float(subject.evaluation.probabilities[number, label])
    return f"{100 * value:.0f}\u00a0%" if subject.gives_probabilities else f"{value:.3f}"
