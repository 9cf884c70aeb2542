"""Sections on the network itself: the diagram, the table of its layers, its filters."""

import numpy as np

from tatami.inspect.colours import colour_filters
from tatami.inspect.diagram import network_diagram
from tatami.inspect.filter_banks import filters
from tatami.inspect.grids import MOST_CHANNELS, MOST_FILTERS, MOST_ROWS, filter_grid, picture, tile
from tatami.inspect.markup import Markup, element
from tatami.inspect.report.parts import captioned, gallery, grid_image, image, introduced, scrolling, table
from tatami.inspect.report.subject import Subject
from tatami.layers import Dense
from tatami.network import shape_text
from tatami.training.filters import layers_with_filters

MOST_LAYERS = 12


def diagram_section(subject: Subject) -> Markup:
    """Return the network as a drawing and as a table."""
    network = subject.network
    rows = [
        (
            row["name"],
            row["type"],
            row["settings"],
            shape_text(row["output_shape"]).replace("x", "×"),
            f"{row['parameters']:,}",
            f"{row['multiply_adds']:,}",
            row["receptive_field"].replace("x", "×"),
        )
        for row in network.summary_rows()
    ]
    header = (
        subject.say("layer", "層"),
        subject.say("type", "種類"),
        subject.say("settings", "設定"),
        subject.say("output", "出力"),
        subject.say("parameters", "パラメータ"),
        subject.say("multiply-adds", "積和"),
        subject.say("receptive field", "受容野"),
    )
    layers, parameters, adds = len(network.nodes), network.parameter_count, network.multiply_adds
    introduction = subject.say(
        f"{layers} layers, {parameters:,} parameters, {adds:,} multiply-adds for an image. Blocks grow with the size "
        f"of the maps (height) and their number (width).",
        f"{layers} 層、パラメータ {parameters:,} 個、画像1枚あたりの積和 {adds:,} 回。"
        f"箱の高さは特徴マップの大きさ、幅はその枚数を表す。",
    )
    summary = element("summary", subject.say("As a table", "表で見る"))
    details = element("details", summary, table(header, rows, left=(0, 1, 2)))
    drawing = scrolling(Markup(network_diagram(network, subject.language)))
    return introduced(introduction, drawing, details)


def filters_section(subject: Subject) -> Markup | None:
    """Return the filters of the convolutions, and of a dense layer that sees the input itself; None without any."""
    network = subject.network
    figures = []
    for name in layers_with_filters(network)[:MOST_LAYERS]:
        values = filters(network, subject.parameters, name)
        label = subject.say(f"filters of {name}", f"{name} のフィルタ")
        sliding = not isinstance(network[name], Dense)
        if sliding and values.ndim == 4 and values.shape[1] == 3:
            count = count_of(subject, len(values), MOST_ROWS)
            text = subject.say(
                f"{name}: {count} filters over red, green and blue; grey is zero",
                f"{name}: フィルタ {count} 枚。赤、緑、青への重みで、灰色が 0",
            )
            figures.append(captioned(image(colour_filters(values), label), text))
        elif sliding:
            text = caption_of(subject, name, values.shape)
            figures.append(captioned(grid_image(filter_grid(values), label), text))
        elif values.shape[1:] == network.input_shape and values.ndim > 2:
            templates = np.stack([as_plane(one) for one in values[:MOST_ROWS]])
            count = count_of(subject, len(values), MOST_ROWS)
            text = subject.say(
                f"{name}: what each of {count} units looks for in the input",
                f"{name}: ユニット {count} 個のそれぞれが入力に探すもの",
            )
            figures.append(captioned(grid_image(tile(templates), label), text))
    if not figures:
        return None
    introduction = subject.say(
        "Each filter divided by its largest magnitude: red is positive, blue negative, white zero.",
        "フィルタごとに絶対値の最大で割ってある: 赤が正、青が負、白が 0。",
    )
    return introduced(introduction, gallery(figures, "gallery large"))


def as_plane(
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the weights of a unit over the input as a plane; three colours are averaged."""
    shown = picture(weights)
    return shown.mean(axis=2) if shown.ndim == 3 else shown


def caption_of(subject: Subject, name: str, shape: tuple[int, ...]) -> str:
    """Say which filters are shown."""
    size = shape_text(shape[2:]).replace("x", "×")
    if shape[1] == 1:
        count = count_of(subject, shape[0], MOST_ROWS)
        return subject.say(f"{name}: {count} filters of {size}", f"{name}: {size} のフィルタ {count} 枚")
    rows = count_of(subject, shape[0], MOST_FILTERS)
    columns = count_of(subject, shape[1], MOST_CHANNELS)
    return subject.say(
        f"{name}: {rows} filters of {size} (rows) over {columns} channels (columns)",
        f"{name}: {size} のフィルタ {rows} 枚 (行)、チャンネル {columns} 個 (列)",
    )


def count_of(subject: Subject, count: int, most: int) -> str:
    """Say how many of how many are shown: 8, the first 16 of 64."""
    if count <= most:
        return f"{count}"
    return subject.say(f"the first {most} of {count}", f"{count} のうち最初の {most}")
