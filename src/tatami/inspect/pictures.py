"""The pictures of a run, drawn with matplotlib (extra ``plot``) into PNG files.

Nothing here opens a window: figures are made for the Agg canvas directly and leave matplotlib's global state,
and a user's own figures, alone.
"""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tatami.errors import import_extra
from tatami.inspect.phrases import Language, Text
from tatami.training.history import History

BLUE, ORANGE, GREY, INK = "#2a6f97", "#d97706", "#9ca3af", "#1f2933"
RED = "#b91c1c"
PURPOSE = "to draw the pictures of a run"
RESOLUTION = 150
WORST_COLUMNS = 6
# Of one of the worst images, in inches: its cell, its longer side, the line above it; and the heading of all.
CELL_WIDTH, CELL_HEIGHT, IMAGE_SIDE, CAPTION_HEIGHT, HEADING_HEIGHT = 1.55, 2.05, 1.45, 0.27, 0.4
MOST_CELLS_WITH_NUMBERS = 26
# Of more classes than can be told by their numbers: inches of the square, and how many names fit beside it.
LARGE_SIDE, MOST_NAMES = 9.0, 64
SHARES = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
PREDICTED, TRUE = Text("predicted", "判断"), Text("true", "正解")
SHARE = Text("share of the true class", "正解クラスに占める割合")
JAPANESE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "IPAexGothic",
    "Hiragino Sans",
    "Yu Gothic",
    "MS Gothic",
)
JAPANESE_FILES = ("NotoSansCJK-Regular", "NotoSansJP-Regular", "ipaexg", "ipag")
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class WorstImage:
    """An image and how the model misjudged it.

    Args:
        image: (C, H, W) or (H, W), any range of numbers.
        true_class: name of its label.
        predicted_class: name of the class with the highest probability.
        true_probability: what the model gave the true class.
        predicted_probability: what it gave the predicted class.
    """

    image: NDArray[Any]
    true_class: str
    predicted_class: str
    true_probability: float
    predicted_probability: float


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Any:
    """Return an empty figure on an Agg canvas; its parts find their places themselves unless ``layout`` is None."""
    figure_module = import_extra("matplotlib.figure", "plot", PURPOSE)
    agg = import_extra("matplotlib.backends.backend_agg", "plot", PURPOSE)
    figure = figure_module.Figure(figsize=(width, height), layout=layout)
    agg.FigureCanvasAgg(figure)
    return figure


def import_ahead() -> None:
    """Import matplotlib in a thread, if it is installed.

    That takes a quarter of a second, as long as unpacking a data set does, which leaves the interpreter alone.
    """
    Thread(target=import_quietly, name="tatami-pictures").start()


def import_quietly() -> None:
    """Import what figures are drawn with; what goes wrong is said by whoever draws one."""
    with contextlib.suppress(Exception):
        importlib.import_module("matplotlib.figure")
        importlib.import_module("matplotlib.backends.backend_agg")


def save_figure(figure: Any, path: Path | BinaryIO) -> None:
    """Write a figure of `new_figure` as a PNG file.

    ``figure.savefig`` draws everything twice, once only to find out how; laying out the texts is most of the time.

    Raises:
        OSError: the file cannot be written.
    """
    image = import_extra("PIL.Image", "plot", PURPOSE)
    figure.set_dpi(RESOLUTION)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # nothing of a figure is transparent
    picture = image.fromarray(np.ascontiguousarray(pixels))
    picture.save(path, format="png", dpi=(RESOLUTION, RESOLUTION))


@contextmanager
def styled() -> Iterator[None]:
    """Draw in our style; class names such as ア in a font that has them, where there is one."""
    matplotlib = import_extra("matplotlib", "plot", PURPOSE)
    with matplotlib.rc_context({**STYLE, "font.family": font_families()}), warnings.catch_warnings():
        # Without such a font the names are drawn as boxes, which everybody sees who looks at the picture.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font", category=UserWarning)
        # A Japanese font without a bold cut is drawn in its normal one; matplotlib would print that for each title.
        fonts = logging.getLogger("matplotlib.font_manager")
        level = fonts.level
        fonts.setLevel(logging.ERROR)
        try:
            yield
        finally:
            fonts.setLevel(level)


@cache
def font_families() -> list[str]:
    """Return matplotlib's own font and, behind it, the installed ones with Japanese characters."""
    module = import_extra("matplotlib.font_manager", "plot", PURPOSE)
    installed = {entry.name for entry in module.fontManager.ttflist}
    if not installed & set(JAPANESE_FONTS):  # matplotlib remembers fonts from when it was first used
        for path in module.findSystemFonts():
            if Path(path).stem in JAPANESE_FILES:
                module.fontManager.addfont(path)
        installed = {entry.name for entry in module.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in JAPANESE_FONTS if name in installed)]


def draw_curves(history: History, path: Path, title: str = "") -> None:
    """Draw loss and accuracy over the epochs, training and (if there is one) validation.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with styled():
        figure = new_figure(9, 3.6)
        loss_axes, accuracy_axes = figure.subplots(1, 2)
        epochs = history.column("epoch")
        draw_pair(loss_axes, epochs, history.column("loss"), history.column("validation_loss"))
        accuracies = [100 * value for value in history.column("accuracy")]
        validations = [
            None if value is None else 100 * value for value in history.column("validation_accuracy")
        ]
        draw_pair(accuracy_axes, epochs, accuracies, validations)
        loss_axes.set_title("Loss")
        accuracy_axes.set_title("Accuracy in %")
        positive = [value for value in history.column("loss") if value > 0]
        if positive and max(positive) > 20 * min(positive):
            ticker = import_extra("matplotlib.ticker", "plot", PURPOSE)
            loss_axes.set_yscale("log")
            loss_axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        else:
            loss_axes.set_ylim(bottom=0)
        best = history.best_epoch
        if best is not None:
            mark_best(
                accuracy_axes,
                loss_axes,
                best,
                validations[best - 1],
                history.column("validation_loss")[best - 1],
            )
        loss_axes.legend(loc="upper right")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        save_figure(figure, path)


def draw_pair(
    axes: Any, epochs: Sequence[int], training: Sequence[float], validation: Sequence[float | None]
) -> None:
    """Draw a training curve and its validation curve."""
    ticker = import_extra("matplotlib.ticker", "plot", PURPOSE)
    marker = "o" if len(epochs) <= 30 else None
    axes.plot(epochs, training, color=BLUE, marker=marker, markersize=3.5, label="training")
    if any(value is not None for value in validation):
        known = [np.nan if value is None else value for value in validation]
        axes.plot(epochs, known, color=ORANGE, marker=marker, markersize=3.5, label="validation")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)


def mark_best(accuracy_axes: Any, loss_axes: Any, epoch: int, accuracy: float | None, loss: float) -> None:
    """Circle the epoch whose weights were kept as the best."""
    ring = {
        "marker": "o",
        "markersize": 9,
        "markerfacecolor": "none",
        "markeredgecolor": INK,
        "linestyle": "none",
    }
    loss_axes.plot([epoch], [loss], label=f"best, epoch {epoch}", **ring)
    if accuracy is not None:
        accuracy_axes.plot([epoch], [accuracy], **ring)


def draw_confusion(
    confusion: NDArray[np.int64], class_names: Sequence[str], path: Path, title: str = ""
) -> None:
    """Draw a confusion matrix: rows are true classes, columns predicted ones, colour the share of the row.

    Args:
        confusion: (classes, classes) counts.
        class_names: names in the order of the labels.
        path: PNG to write.
        title: stands above the picture.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with styled():
        save_figure(confusion_figure(confusion, class_names, title or "Confusion matrix"), path)


def confusion_figure(
    confusion: NDArray[np.int64], class_names: Sequence[str], title: str = "", language: Language = "en"
) -> Any:
    """Draw what `draw_confusion` writes, with its words in a language.

    Of many classes the errors are drawn red, on a scale of their own, and not every class is named.
    """
    count = len(class_names)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    many = count > MOST_CELLS_WITH_NUMBERS
    longest = max(len(name) for name in class_names)
    side = LARGE_SIDE if many else float(np.clip(0.42 * count + 1.6, 3.4, 14))
    with styled():
        figure = new_figure(side + 0.07 * longest + 0.6, side + 0.3)
        axes = figure.subplots()
        axes.grid(False)
        # The square root brings out the few errors, which on a linear scale all look like zero.
        seen = np.sqrt(shares)
        right = np.eye(count, dtype=bool)
        largest = float(seen[~right].max(initial=0.0)) or 1.0
        if many:
            axes.imshow(np.ma.masked_array(seen, ~right), cmap="Blues", vmin=0, vmax=1, interpolation="none")
            errors = np.ma.masked_array(seen, right)
            picture = axes.imshow(errors, cmap="Reds", vmin=0, vmax=largest, interpolation="none")
        else:
            picture = axes.imshow(seen, cmap="Blues", vmin=0, vmax=1)
        name_classes(axes, class_names)
        axes.set_xlabel(PREDICTED.read(language))
        axes.set_ylabel(TRUE.read(language))
        axes.set_title(title)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if not many:
            write_counts(axes, confusion, shares)
        bar = figure.colorbar(picture, ax=axes, shrink=0.75, pad=0.02, aspect=30)
        steps = np.array([step for step in SHARES if not many or step <= largest**2])
        bar.set_ticks(list(np.sqrt(steps)), labels=[f"{100 * step:g} %" for step in steps])
        bar.outline.set_visible(False)
        bar.set_label(SHARE.read(language))
    return figure


def name_classes(axes: Any, class_names: Sequence[str]) -> None:
    """Write the names of the classes beside a confusion matrix: of very many, every second, third … one."""
    count = len(class_names)
    named = range(0, count, -(-count // MOST_NAMES))
    names = [shorten(class_names[label], 18) for label in named]
    size = 9 if count <= MOST_CELLS_WITH_NUMBERS else min(11.0, LARGE_SIDE * 60 / len(names))
    wide = max(map(len, names)) > (3 if count <= MOST_CELLS_WITH_NUMBERS else 1)
    axes.set_xticks(named, names, rotation=90 if wide else 0, fontsize=size)
    axes.set_yticks(named, names, fontsize=size)
    axes.tick_params(length=0)


def write_counts(axes: Any, confusion: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    """Write the counts into the cells that are not empty; errors stand out in red."""
    for row, column in np.argwhere(confusion > 0):
        dark = np.sqrt(shares[row, column]) > 0.6
        colour = "white" if dark else (INK if row == column else RED)
        axes.text(
            column, row, int(confusion[row, column]), ha="center", va="center", fontsize=8, color=colour,
            fontweight="normal" if row == column else "bold",
            in_layout=False,  # it lies within the matrix: measuring a hundred of them would change nothing
        )  # fmt: skip


def draw_worst(worst: Sequence[WorstImage], path: Path, title: str = "", *, as_ink: bool = False) -> None:
    """Draw the images whose true class got the lowest probability, the worst first.

    Args:
        worst: the images.
        path: PNG to write.
        title: stands above the picture.
        as_ink: draw large numbers dark, like ink on paper; for light strokes on a dark ground.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    columns = min(WORST_COLUMNS, max(len(worst), 1))
    rows = max(1, -(-len(worst) // columns))
    width, height = max(CELL_WIDTH * columns, 3.4), CELL_HEIGHT * rows + HEADING_HEIGHT
    with styled():
        figure = new_figure(width, height, layout=None)
        axes = figure.add_axes((0, 0, 1, 1))  # one for all images, in inches: each of its own takes 10 ms
        axes.set_axis_off()
        for place, entry in enumerate(worst):
            row, column = divmod(place, columns)
            middle = width / columns * (column + 0.5)
            draw_misjudged(axes, entry, middle, height - HEADING_HEIGHT - CELL_HEIGHT * row, as_ink=as_ink)
        axes.set(xlim=(0, width), ylim=(0, height))
        figure.suptitle(title or "Worst test images: what the model saw", x=0.01, ha="left", fontsize=10)
        save_figure(figure, path)


def draw_misjudged(axes: Any, entry: WorstImage, middle: float, top: float, *, as_ink: bool) -> None:
    """Draw one image with what the model saw above and what it is below.

    Args:
        axes: in inches.
        entry: the image.
        middle: where its middle stands, from the left.
        top: where its cell begins, from the bottom.
        as_ink: draw large numbers dark.
    """
    picture = to_picture(entry.image)
    down, across = picture.shape[:2]
    scale = min(IMAGE_SIDE / down, IMAGE_SIDE / across)
    half = np.array([across, down]) * scale / 2
    centre = top - CAPTION_HEIGHT - IMAGE_SIDE / 2
    axes.imshow(
        picture,
        cmap="gray_r" if as_ink else "gray",
        interpolation="nearest",
        aspect="auto",
        extent=(middle - half[0], middle + half[0], centre - half[1], centre + half[1]),
    )
    wrong = entry.true_class != entry.predicted_class
    saw = f"saw {shorten(entry.predicted_class)}: {100 * entry.predicted_probability:.0f} %"
    axes.text(
        middle, centre + half[1] + 0.05, saw,
        ha="center", va="bottom", fontsize=10, fontweight="bold", color=RED if wrong else INK,
    )  # fmt: skip
    true = f"is {shorten(entry.true_class)}: {100 * entry.true_probability:.1f} %"
    axes.text(middle, centre - half[1] - 0.06, true, ha="center", va="top", fontsize=8)


def shorten(name: str, length: int = 12) -> str:
    """Cut a long class name."""
    return name if len(name) <= length else name[: length - 1] + "…"


def to_picture(image: NDArray[Any]) -> NDArray[np.float64]:
    """Turn (C, H, W), (C, W) or (H, W) numbers into what imshow draws, stretched to 0 … 1."""
    values = np.asarray(image, dtype=np.float64)
    while values.ndim > 3:  # of a volume or a video the slice in the middle
        values = values[:, values.shape[1] // 2]
    low, high = float(values.min()), float(values.max())
    values = (values - low) / ((high - low) or 1.0)
    if values.ndim == 1:
        return values[None, :]
    if values.ndim == 3:
        if values.shape[0] == 3:
            return np.moveaxis(values, 0, -1)
        return np.asarray(values[0])
    return values
