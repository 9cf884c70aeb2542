"""Figures of a network and of a run, drawn with matplotlib (extra ``plot``): each function returns a Figure.

Save one with ``figure.savefig("filters.png")``; in a notebook it shows itself. For pages `figure_svg` turns a figure
into SVG that follows the page's light or dark colours.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import import_extra
from tatami.inspect.activations import Spread
from tatami.inspect.colours import GREY as GREY_SCALE, INK_ON_PAPER, SIGNED, colour_filters, heat_over
from tatami.inspect.filter_growth import FilterGrowth
from tatami.inspect.grids import filter_grid, filter_strip, picture, plane, tile
from tatami.inspect.markup import Markup
from tatami.inspect.methods import METHODS
from tatami.inspect.phrases import Language, Text
from tatami.inspect.pictures import BLUE, GREY, INK, ORANGE, PURPOSE, draw_pair, new_figure, shorten, styled
from tatami.inspect.reliability import Calibration
from tatami.training.history import History

SMALL = (4.0, 2.5)
MOST_MAPS = 64
MOST_LINES = 12
LOSS, ACCURACY = Text("Loss", "損失"), Text("Accuracy in %", "正解率 (%)")
LEARNING_RATE, EPOCH = Text("Learning rate", "学習率"), Text("epoch", "エポック")
FILTER = Text("filter", "フィルタ")
TRAINING, VALIDATION = Text("training", "訓練"), Text("validation", "検証")
RIGHT, CALIBRATED = Text("right", "正解率"), Text("perfectly calibrated", "完全な較正")
MEAN_CONFIDENCE, CONFIDENCE = Text("mean confidence", "平均の確信度"), Text("confidence in %", "確信度 (%)")
ERROR_OF_CALIBRATION = Text("Right in %, error of calibration {:.1f} %", "正解率 (%)、較正誤差 {:.1f} %")
ZERO, INPUT_IMAGE = Text("zero", "が 0"), Text("Input", "入力")
# Colours of matplotlib's lines and texts -> what the page's style sheet calls them.
PAGE_COLOURS = {
    INK: "var(--ink)",
    GREY: "var(--soft)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    "#e5e7eb": "var(--grid)",
}


def filters_figure(filters: NDArray[Any], title: str = "") -> Any:
    """Draw filters (K, C, *kernel) as a grid: red positive, blue negative, white zero.

    Filters over three channels and two axes are drawn in colours, in which grey is zero.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if filters.ndim == 4 and filters.shape[1] == 3:
        return pixels_figure(
            colour_filters(filters), title or "Filters over red, green and blue; grey is zero"
        )
    return grid_figure(
        filter_grid(filters), SIGNED, title or "Filters, each divided by its largest magnitude"
    )


def maps_figure(maps: NDArray[Any], title: str = "") -> Any:
    """Draw the maps (C, *spatial) that a layer makes of one example, all on one scale."""
    if maps.ndim == 1:
        return grid_figure(plane(maps), GREY_SCALE if maps.min() >= 0 else SIGNED, title)
    scale = GREY_SCALE if maps.min() >= 0 else SIGNED
    return grid_figure(tile(maps[:MOST_MAPS]), scale, title)


def growth_figure(grown: FilterGrowth, title: str = "", language: Language = "en") -> Any:
    """Draw chosen filters over the epochs as a strip: a row for each filter, a column for each moment.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    strip, moments = filter_strip(grown.weights)
    rows, columns = len(grown.numbers), len(moments)
    down, across = (strip.shape[0] + 1) / rows, (strip.shape[1] + 1) / columns
    width = 5.2
    height = float(np.clip((width - 0.6) * strip.shape[0] / strip.shape[1], 0.3, 11)) + 0.75
    with styled():
        figure = new_figure(width, height)
        axes = figure.subplots()
        axes.grid(False)
        axes.imshow(np.ma.masked_invalid(strip), cmap=SIGNED, vmin=-1, vmax=1, interpolation="none")
        axes.set_xticks(
            [at * across + (across - 2) / 2 for at in range(columns)], [grown.epochs[at] for at in moments]
        )
        axes.set_yticks([at * down + (down - 2) / 2 for at in range(rows)], grown.numbers)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel(EPOCH.read(language))
        axes.set_ylabel(FILTER.read(language))
        axes.set_title(title or f"{grown.layer}")
    return figure


def pixels_figure(pixels: NDArray[np.uint8], title: str) -> Any:
    """Draw pixels as they are."""
    height, width = pixels.shape[:2]
    across = float(np.clip(width / 14, 3.2, 10))
    with styled():
        figure = new_figure(across, float(np.clip(across * height / width, 0.5, 14)) + 0.4)
        axes = figure.subplots()
        axes.set_axis_off()
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(title)
    return figure


def grid_figure(grid: NDArray[Any], scale: str, title: str) -> Any:
    """Draw a plane of numbers with its colour scale."""
    height, width = grid.shape
    across = float(np.clip(width / 14, 3.2, 10))
    down = float(np.clip(across * height / width, 0.5, 14))
    with styled():
        figure = new_figure(across + 0.9, down + 0.5)
        axes = figure.subplots()
        axes.set_axis_off()
        largest = float(np.nanmax(np.abs(grid))) or 1.0
        span = {"vmin": -largest, "vmax": largest} if scale == SIGNED else {}
        shown = axes.imshow(np.ma.masked_invalid(grid), cmap=scale, interpolation="nearest", **span)
        bar = figure.colorbar(shown, ax=axes, shrink=0.9, pad=0.02, aspect=24)
        bar.outline.set_visible(False)
        axes.set_title(title)
    return figure


def attribution_figure(
    example: NDArray[Any],
    maps: Mapping[str, NDArray[Any]],
    title: str = "",
    *,
    as_ink: bool = False,
    language: Language = "en",
) -> Any:
    """Draw an example and heat maps over it, one for each method.

    Args:
        example: (C, *spatial) or (features,).
        maps: name of a method of `METHODS` → map (*spatial).
        title: stands above the figure.
        as_ink: draw the example's large numbers dark, like ink on paper.
        language: of the names of the methods.
    """
    shown = picture(example)
    columns = min(len(maps) + 1, 5)
    rows = -(-(len(maps) + 1) // columns)
    with styled():
        figure = new_figure(2.05 * columns, 2.3 * rows + (0.35 if title else 0.0))
        panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for axes in panels:
            axes.set_axis_off()
        draw_example(panels[0], shown, as_ink=as_ink)
        panels[0].set_title(INPUT_IMAGE.read(language), loc="center")
        for axes, (name, values) in zip(panels[1:], maps.items(), strict=False):
            axes.imshow(
                heat_over(values, shown, signed=METHODS[name].signed, as_ink=as_ink), interpolation="nearest"
            )
            axes.set_title(METHODS[name].title.read(language), loc="center")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def draw_example(axes: Any, shown: NDArray[Any], *, as_ink: bool) -> None:
    """Draw an example in its own colours or in greys."""
    low, high = float(shown.min()), float(shown.max())
    axes.imshow((shown - low) / ((high - low) or 1.0), cmap=INK_ON_PAPER if as_ink else GREY_SCALE)


def examples_figure(
    examples: Sequence[NDArray[Any]], captions: Sequence[str], title: str = "", *, as_ink: bool = False
) -> Any:
    """Draw examples side by side with a caption under each."""
    columns = min(max(len(examples), 1), 8)
    rows = max(1, -(-len(examples) // columns))
    with styled():
        figure = new_figure(max(1.3 * columns, 3.4), 1.6 * rows + 0.4)
        panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for axes in panels:
            axes.set_axis_off()
        for axes, example, caption in zip(panels, examples, captions, strict=False):
            draw_example(axes, picture(example), as_ink=as_ink)
            axes.set_title(shorten(caption, 16), loc="center", fontsize=8, pad=3)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def curves_figure(history: History, title: str = "", language: Language = "en") -> Any:
    """Draw loss, accuracy and learning rate over the epochs."""
    with styled():
        figure = new_figure(12, 3.4)
        loss, accuracy, rate = figure.subplots(1, 3)
        draw_loss(loss, history, language)
        draw_accuracy(accuracy, history, language)
        draw_learning_rate(rate, history, language)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def loss_figure(history: History, language: Language = "en") -> Any:
    """Draw the loss over the epochs."""
    return small_figure(draw_loss, history, language)


def accuracy_figure(history: History, language: Language = "en") -> Any:
    """Draw the accuracy over the epochs."""
    return small_figure(draw_accuracy, history, language)


def learning_rate_figure(history: History, language: Language = "en") -> Any:
    """Draw the learning rate at the end of every epoch."""
    return small_figure(draw_learning_rate, history, language)


def small_figure(draw: Callable[[Any, History, Language], None], history: History, language: Language) -> Any:
    """Return one curve as a figure of its own."""
    with styled():
        figure = new_figure(*SMALL)
        draw(figure.subplots(), history, language)
    return figure


def draw_loss(axes: Any, history: History, language: Language = "en") -> None:
    """Draw training and validation loss, on a logarithmic axis where they fall far."""
    losses = history.column("loss")
    draw_epochs(axes, history, losses, history.column("validation_loss"), language)
    positive = [value for value in losses if value > 0]
    if positive and max(positive) > 20 * min(positive):
        plain_logarithm(axes)
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(LOSS.read(language))
    axes.legend(loc="upper right")


def draw_epochs(
    axes: Any,
    history: History,
    training: Sequence[float],
    validation: Sequence[float | None],
    language: Language,
) -> None:
    """Draw a measured pair over the epochs, with its words in a language."""
    draw_pair(axes, history.column("epoch"), training, validation)
    for line, label in zip(axes.lines, (TRAINING, VALIDATION), strict=False):
        line.set_label(label.read(language))
    axes.set_xlabel(EPOCH.read(language))


def plain_logarithm(axes: Any) -> None:
    """Make the y axis logarithmic, with plain numbers."""
    ticker = import_extra("matplotlib.ticker", "plot", PURPOSE)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def draw_accuracy(axes: Any, history: History, language: Language = "en") -> None:
    """Draw training and validation accuracy in percent."""
    validation = [None if value is None else 100 * value for value in history.column("validation_accuracy")]
    training = [100 * value for value in history.column("accuracy")]
    draw_epochs(axes, history, training, validation, language)
    axes.set_title(ACCURACY.read(language))
    axes.legend(loc="lower right")


def draw_learning_rate(axes: Any, history: History, language: Language = "en") -> None:
    """Draw the learning rate."""
    draw_epochs(axes, history, history.column("learning_rate"), [None] * len(history), language)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.set_title(LEARNING_RATE.read(language))


def norms_figure(
    epochs: Sequence[int], norms: Mapping[str, NDArray[Any]], title: str, language: Language = "en"
) -> Any:
    """Draw norms over the epochs, a line for each weight, dark for the first layers and bright for the last.

    Args:
        epochs: at which the norms were taken.
        norms: name of a parameter → norms, as `tatami.training.growth.Growth.series` gives them.
        title: stands above the figure.
        language: of the axis.
    """
    matplotlib = import_extra("matplotlib", "plot", PURPOSE)
    shown = {name: values for name, values in norms.items() if name.endswith(".weight")} or dict(norms)
    names = list(shown)[:MOST_LINES]
    colours = matplotlib.colormaps["plasma"](np.linspace(0.28, 0.82, max(len(names), 1)))
    with styled():
        figure = new_figure(SMALL[0], SMALL[1] + 0.25)
        axes = figure.subplots()
        for name, colour in zip(names, colours, strict=True):
            label = shorten(name.removesuffix(".weight"), 14)
            axes.plot(
                epochs, shown[name], color=colour, marker="o", markersize=2.5, linewidth=1.3, label=label
            )
        if all(np.all(shown[name] > 0) for name in names):
            plain_logarithm(axes)
        axes.set_xlabel(EPOCH.read(language))
        axes.set_title(title)
        figure.legend(loc="outside lower center", ncols=4, fontsize=7.5)
    return figure


def calibration_figure(curve: Calibration, language: Language = "en") -> Any:
    """Draw how often the model is right against how sure it is; the diagonal is a model that knows itself."""
    filled = curve.counts > 0
    middles = (curve.edges[:-1] + curve.edges[1:]) / 2
    width = float(curve.edges[1] - curve.edges[0])
    with styled():
        figure = new_figure(*SMALL)
        axes = figure.subplots()
        axes.bar(
            100 * middles[filled],
            100 * curve.accuracy[filled],
            94 * width,
            color=BLUE,
            alpha=0.75,
            label=RIGHT.read(language),
        )
        axes.plot(
            [0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--", label=CALIBRATED.read(language)
        )
        axes.plot(
            100 * curve.confidence[filled], 100 * curve.accuracy[filled], color=ORANGE, marker="o", markersize=3.5,
            linestyle="none", label=MEAN_CONFIDENCE.read(language),
        )  # fmt: skip
        for middle, accuracy, count in zip(
            middles[filled], curve.accuracy[filled], curve.counts[filled], strict=True
        ):
            axes.annotate(
                f"{count}", (100 * middle, 100 * accuracy), xytext=(0, 2), textcoords="offset points",
                ha="center", fontsize=7,
            )  # fmt: skip
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 108)
        axes.set_xlabel(CONFIDENCE.read(language))
        axes.set_title(ERROR_OF_CALIBRATION.read(language).format(100 * curve.error))
        figure.legend(loc="outside lower center", ncols=3, fontsize=7.5)
    return figure


def histograms_figure(spreads: Mapping[str, Spread], title: str = "", columns: int = 3) -> Any:
    """Draw how the outputs of each layer are spread, one panel for each."""
    rows = -(-len(spreads) // columns)
    with styled():
        figure = new_figure(3.3 * columns, 1.9 * rows + (0.35 if title else 0))
        panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for axes in panels[len(spreads) :]:
            axes.set_axis_off()
        for axes, (name, spread) in zip(panels, spreads.items(), strict=False):
            draw_spread(axes, name, spread)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def spread_figure(name: str, spread: Spread, language: Language = "en") -> Any:
    """Draw how the outputs of one layer are spread."""
    with styled():
        figure = new_figure(3.3, 1.9)
        draw_spread(figure.subplots(), name, spread, language)
    return figure


def draw_spread(axes: Any, name: str, spread: Spread, language: Language = "en") -> None:
    """Draw one histogram, its height the share of the outputs."""
    shares = 100 * spread.counts / max(1, int(spread.counts.sum()))
    axes.bar(spread.edges[:-1], shares, np.diff(spread.edges), align="edge", color=BLUE)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100 %"])
    axes.set_ylim(0, 110)
    zeros = f", {100 * spread.zeros:.0f} % {ZERO.read(language)}" if spread.zeros >= 0.005 else ""
    axes.set_title(f"{shorten(name, 14)}: {spread.mean:.2f} ± {spread.deviation:.2f}{zeros}", fontsize=9)


def figure_svg(figure: Any, label: str) -> Markup:
    """Return a figure as an SVG element for a page: as wide as its place, in the page's colours, its texts as texts.

    Args:
        figure: of matplotlib.
        label: what it shows, for those who cannot see it.
    """
    matplotlib = import_extra("matplotlib", "plot", PURPOSE)
    buffer = io.StringIO()
    # A fixed salt and no date: the same figure gives the same text.
    with styled(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tatami"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    drawing = text[text.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"<style[^>]*>.*?</style>", "", drawing, flags=re.DOTALL)
    head = re.match(r"<svg[^>]*>", drawing)
    assert head is not None
    view = re.search(r'viewBox="[^"]*"', head[0])
    assert view is not None
    for colour, variable in PAGE_COLOURS.items():
        drawing = drawing.replace(colour, variable)
    drawing = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", drawing)
    opening = (
        f'<svg class="chart" role="img" aria-label="{label}" {view[0]} xmlns="http://www.w3.org/2000/svg" '
    )
    return Markup(opening + 'xmlns:xlink="http://www.w3.org/1999/xlink">' + drawing[head.end() :].strip())
