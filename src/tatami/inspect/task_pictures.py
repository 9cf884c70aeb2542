"""Pictures of the tasks beside classification, drawn with matplotlib (extra ``plot``) into PNG files.

Masks beside their images, numbers said against true ones, reconstructions before and after, the latent plane, letters
by their probability, and what stands out as an anomaly.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tatami.errors import import_extra
from tatami.inspect.pictures import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PURPOSE,
    RED,
    draw_pair,
    new_figure,
    save_figure,
    styled,
)
from tatami.training.history import History
from tatami.training.measures import MEASURES, Measure

PALETTE = (
    (38, 38, 46), (42, 111, 151), (217, 119, 6), (34, 139, 87), (185, 28, 28), (124, 58, 237), (14, 165, 183),
    (202, 138, 4), (219, 39, 119), (101, 163, 13), (120, 113, 108), (59, 130, 246),
)  # fmt: skip
VOID_COLOUR = (255, 255, 255)
MOST_LEGEND = 20
MOST_NUMBERS = 6


def palette_for(classes: int, given: Sequence[Sequence[int]] = ()) -> NDArray[np.uint8]:
    """Return (classes, 3) colours: those of the data if there are enough, else our own, then shades between them.

    >>> palette_for(2).tolist()
    [[38, 38, 46], [42, 111, 151]]
    """
    if len(given) >= classes:
        return np.array(given[:classes], np.uint8)
    colours = [PALETTE[number % len(PALETTE)] for number in range(classes)]
    fade = [1 / (1 + number // len(PALETTE)) for number in range(classes)]
    mixed = [
        [255 - (255 - part) * share for part in colour] for colour, share in zip(colours, fade, strict=True)
    ]
    return np.array(mixed).astype(np.uint8)


def coloured_mask(mask: NDArray[Any], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a mask (H, W) as (H, W, 3) colours; what does not count is white."""
    picture: NDArray[np.uint8] = colours[np.maximum(mask, 0)]
    picture[np.asarray(mask) < 0] = VOID_COLOUR
    return picture


def flat_picture(
    image: NDArray[Any], low: float | None = None, high: float | None = None
) -> NDArray[np.uint8]:
    """Return an example as (H, W, 3) bytes: of a volume or video its middle slice, of a signal a strip."""
    values = np.asarray(image, np.float64)
    while values.ndim > 3:
        values = values[:, values.shape[1] // 2]
    if values.ndim == 1:
        values = values[None, None]
    elif values.ndim == 2:
        values = values[None]
    if values.shape[0] not in (1, 3):
        values = values.mean(axis=0, keepdims=True)
    bottom = float(values.min()) if low is None else low
    top = float(values.max()) if high is None else high
    shares = np.clip((values - bottom) / ((top - bottom) or 1.0), 0, 1)
    grey = np.repeat(shares, 3, axis=0) if shares.shape[0] == 1 else shares
    return np.moveaxis(np.round(255 * grey), 0, -1).astype(np.uint8)


def flat_mask(mask: NDArray[Any]) -> NDArray[Any]:
    """Return the plane of a mask that `flat_picture` shows of its image."""
    values = np.asarray(mask)
    while values.ndim > 2:
        values = values[values.shape[0] // 2]
    return values[None] if values.ndim == 1 else values


def overlaid(picture: NDArray[np.uint8], mask: NDArray[Any], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image with a mask half transparent over it; the first class, the ground, stays as it is."""
    flat = flat_mask(mask)
    over = np.round(0.5 * picture + 0.5 * coloured_mask(flat, colours)).astype(np.uint8)
    return np.where((flat > 0)[..., None], over, picture)


def draw_measures(history: History, path: Path | BinaryIO, title: str = "") -> None:
    """Draw the loss and the first two measures over the epochs, training and (if there is one) validation."""
    names = history.measures()[:2]
    with styled():
        figure = new_figure(4.2 * (1 + len(names)) + 0.6, 3.6)
        panels = figure.subplots(1, 1 + len(names), squeeze=False)[0]
        epochs = history.column("epoch")
        draw_pair(panels[0], epochs, history.column("loss"), history.column("validation_loss"))
        panels[0].set_title("Loss")
        losses = [value for value in history.column("loss") if value > 0]
        if len(losses) == len(history) and max(losses) > 20 * min(losses):
            panels[0].set_yscale("log")
        for axes, name in zip(panels[1:], names, strict=True):
            measure = MEASURES.get(name, Measure(name))
            series = [
                [
                    None if value is None else measure.factor * value
                    for value in history.measured(name, validation=held)
                ]
                for held in (False, True)
            ]
            draw_pair(axes, epochs, [np.nan if value is None else value for value in series[0]], series[1])
            unit = " in %" if measure.factor == 100 else " in dB" if "dB" in measure.pattern else ""
            axes.set_title(measure.label + unit)
            known = [value for part in series for value in part if value is not None]
            if name == "r2" and min(known) < -0.5:  # the first epochs may be far worse than the mean
                axes.set_ylim(-0.5, 1.05)
        best = history.best_epoch
        if best is not None:
            loss = history.column("validation_loss")[best - 1]
            panels[0].plot(
                [best], [loss], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=INK,
                linestyle="none", label=f"best, epoch {best}",
            )  # fmt: skip
        panels[0].legend(loc="upper right")
        save(figure, path, title)


def save(figure: Any, path: Path | BinaryIO, title: str) -> None:
    """Write a figure with its title."""
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)


def draw_rows(
    rows: Mapping[str, Sequence[NDArray[np.uint8]]],
    path: Path | BinaryIO,
    title: str = "",
    captions: Sequence[str] = (),
) -> Any:
    """Draw pictures in rows, each row with its name.

    Args:
        rows: what a row shows → its pictures (H, W, 3).
        path: PNG to write.
        title: stands above.
        captions: below each column.
    """
    with styled():
        figure, _ = grid_of(rows, captions)
        save(figure, path, title)


def grid_of(rows: Mapping[str, Sequence[NDArray[np.uint8]]], captions: Sequence[str] = ()) -> tuple[Any, Any]:
    """Return a figure with pictures in rows, and its panels."""
    columns = max(len(pictures) for pictures in rows.values())
    height, width = next(iter(rows.values()))[0].shape[:2]
    across = 1.25
    down = float(np.clip(across * height / width, 0.35, 2.5))
    figure = new_figure(max(across * columns + 1.1, 4.0), down * len(rows) + 0.75)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, pictures) in zip(panels, rows.items(), strict=True):
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(False)
            for spine in axes.spines.values():
                spine.set_visible(False)
        for axes, picture in zip(line, pictures, strict=False):
            axes.imshow(picture, interpolation="nearest", aspect="auto" if height * 6 < width else "equal")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, caption in zip(panels[-1], captions, strict=False):
        axes.set_xlabel(caption, fontsize=8)
    return figure, panels


def draw_masks(
    images: Sequence[NDArray[Any]],
    truths: Sequence[NDArray[Any]],
    seen: Sequence[NDArray[Any]],
    class_names: Sequence[str],
    path: Path | BinaryIO,
    title: str = "",
    palette: Sequence[Sequence[int]] = (),
    captions: Sequence[str] = (),
) -> None:
    """Draw images, their masks, the predicted masks, and where these are wrong (in red).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    colours = palette_for(len(class_names), palette)
    masks = [(flat_mask(truth), flat_mask(guess)) for truth, guess in zip(truths, seen, strict=True)]
    pictures = [flat_picture(image) for image in images]
    wrong = []
    for picture, (truth, guess) in zip(pictures, masks, strict=True):
        pale = np.round(255 - 0.45 * (255 - picture.astype(np.float64))).astype(np.uint8)
        wrong.append(
            np.where(((truth != guess) & (truth >= 0))[..., None], np.array([200, 30, 30], np.uint8), pale)
        )
    rows = {
        "input": pictures,
        "truth": [coloured_mask(truth, colours) for truth, _ in masks],
        "prediction": [coloured_mask(guess, colours) for _, guess in masks],
        "wrong": wrong,
    }
    patches = import_extra("matplotlib.patches", "plot", PURPOSE)
    with styled():
        figure, _ = grid_of(rows, captions)
        handles = [
            patches.Patch(facecolor=tuple(colour / 255), edgecolor=GREY, linewidth=0.5, label=name)
            for colour, name in zip(colours[:MOST_LEGEND], class_names[:MOST_LEGEND], strict=False)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), fontsize=8)
        save(figure, path, title)


def draw_numbers(
    said: NDArray[Any], true: NDArray[Any], names: Sequence[str], path: Path | BinaryIO, title: str = ""
) -> None:
    """Draw what was said against what is true, one panel for each number, and the errors' distribution.

    Args:
        said: (N, numbers, …) predictions.
        true: likewise.
        names: of the numbers.
        path: PNG to write.
        title: stands above.
    """
    count = min(len(names), MOST_NUMBERS)
    with styled():
        figure = new_figure(3.4 * (count + 1) + 0.4, 3.5)
        panels = figure.subplots(1, count + 1, squeeze=False)[0]
        for number, axes in enumerate(panels[:-1]):
            x, y = true[:, number].reshape(-1), said[:, number].reshape(-1)
            low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
            axes.plot([low, high], [low, high], color=GREY, linewidth=1, zorder=1)
            axes.scatter(x, y, s=9, color=BLUE, alpha=0.5, linewidths=0, zorder=2)
            axes.set_xlabel("true")
            axes.set_ylabel("predicted")
            axes.set_title(names[number])
        errors = panels[-1]
        for number in range(count):
            error = (said[:, number] - true[:, number]).reshape(-1)
            shown = {"color": BLUE} if count == 1 else {"label": names[number], "alpha": 0.5}
            errors.hist(error, bins=40, **shown)
        errors.axvline(0, color=INK, linewidth=0.8)
        errors.set_title("Error: predicted − true")
        if count > 1:
            errors.legend(fontsize=8)
        save(figure, path, title)


def draw_reconstructions(
    rows: Mapping[str, Sequence[NDArray[Any]]],
    path: Path | BinaryIO,
    title: str = "",
    captions: Sequence[str] = (),
) -> None:
    """Draw examples before and after: images in rows of one scale, signals as lines.

    Args:
        rows: what a row shows, such as 'input' → examples (C, *spatial) or (features,).
        path: PNG to write.
        title: stands above.
        captions: below each column.
    """
    first = next(iter(rows.values()))[0]
    if np.ndim(first) <= 2:
        draw_lines(rows, path, title, captions)
        return
    reference = np.stack([np.asarray(image) for image in next(iter(rows.values()))])
    low, high = float(reference.min()), float(reference.max())
    shown = {name: [flat_picture(image, low, high) for image in images] for name, images in rows.items()}
    draw_rows(shown, path, title, captions)


def draw_lines(
    rows: Mapping[str, Sequence[NDArray[Any]]], path: Path | BinaryIO, title: str, captions: Sequence[str]
) -> None:
    """Draw signals before and after, one panel for each example."""
    count = len(next(iter(rows.values())))
    colours = (GREY, BLUE, ORANGE, RED)
    with styled():
        figure = new_figure(7.5, 1.1 * count + 0.8)
        panels = figure.subplots(count, 1, squeeze=False, sharex=True)[:, 0]
        for number, axes in enumerate(panels):
            for colour, (name, examples) in zip(colours, rows.items(), strict=False):
                line = np.asarray(examples[number]).reshape(-1, np.shape(examples[number])[-1])[0]
                axes.plot(line, color=colour, linewidth=1, label=name)
            if captions:
                axes.set_ylabel(captions[number], rotation=0, ha="right", va="center", fontsize=8)
        panels[0].legend(loc="upper right", ncols=len(rows), fontsize=8)
        save(figure, path, title)


def draw_latent(
    codes: NDArray[Any],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    plane: NDArray[Any],
    reach: float,
    path: Path | BinaryIO,
    title: str = "",
) -> None:
    """Draw where examples lie in the first two numbers of the code, and what the decoder makes of a grid of codes.

    Args:
        codes: (N, latent) means of the test examples.
        labels: (N,) their classes, which the network was never told.
        class_names: of the classes.
        plane: (rows, columns, C, H, W) decoded grid, from -reach to reach, upward.
        reach: end of the grid.
        path: PNG to write.
        title: stands above.
    """
    with styled():
        figure = new_figure(10.4, 5.0)
        left, right = figure.subplots(1, 2)
        colours = palette_for(max(len(class_names) + 1, 2))[1:] / 255
        for label, name in enumerate(class_names[:MOST_LEGEND]):
            mine = labels == label
            if mine.any():
                second = codes[mine, 1] if codes.shape[1] > 1 else np.zeros(int(mine.sum()))
                left.scatter(
                    codes[mine, 0], second, s=8, color=colours[label], linewidths=0, label=name or None
                )
        left.set_title("Codes of the test examples")
        left.set_xlabel("first number of the code")
        left.set_ylabel("second number")
        if len(class_names) > 1:
            left.legend(fontsize=8, markerscale=1.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
        low, high = float(plane.min()), float(plane.max())
        tiles = [np.concatenate([flat_picture(image, low, high) for image in row], axis=1) for row in plane]
        right.imshow(
            np.concatenate(tiles),
            interpolation="nearest",
            extent=(-reach, reach, -reach, reach),
            aspect="auto",
        )
        right.grid(False)
        right.set_title("What the decoder draws there")
        right.set_xlabel("first number of the code")
        save(figure, path, title)


def draw_letters(texts: Sequence[str], chances: NDArray[Any], path: Path | BinaryIO, title: str = "") -> None:
    """Draw pieces of text, each letter on a ground that says how probable the network found it: white sure, red not.

    Args:
        texts: pieces.
        chances: (pieces, time) probability of each letter, given those before.
        path: PNG to write.
        title: stands above.
    """
    length = max(len(text) for text in texts)
    with styled():
        matplotlib = import_extra("matplotlib", "plot", PURPOSE)
        figure = new_figure(max(0.17 * length + 0.4, 4.0), 0.3 * len(texts) + 0.75)
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_xlim(0, length)
        axes.set_ylim(len(texts) + 0.8, 0)
        scale = matplotlib.colormaps["Reds"]
        patches = import_extra("matplotlib.patches", "plot", PURPOSE)
        for row, text in enumerate(texts):
            for column, letter in enumerate(text):
                colour = scale(0.75 * (1 - float(chances[row, column])))
                axes.add_patch(
                    patches.Rectangle((column, row + 0.06), 1, 0.88, facecolor=colour, linewidth=0)
                )
                shown = letter if letter.isprintable() else "·"
                axes.text(column + 0.5, row + 0.52, shown, ha="center", va="center", fontsize=9)
        axes.text(
            0,
            len(texts) + 0.15,
            "The redder a letter, the less the network expected it.",
            va="top",
            fontsize=8,
        )
        save(figure, path, title)


def draw_roc(
    false_alarms: NDArray[Any],
    found: NDArray[Any],
    area: float,
    chosen: tuple[float, float] | None,
    path: Path | BinaryIO,
    title: str = "",
) -> None:
    """Draw a ROC curve, its area, and the point of the chosen threshold."""
    with styled():
        figure = new_figure(4.6, 4.4)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        axes.plot(false_alarms, found, color=BLUE, linewidth=1.8, label=f"AUC {area:.4f}")
        if chosen is not None:
            axes.plot(
                [chosen[0]], [chosen[1]], marker="o", color=ORANGE, linestyle="none",
                label=f"threshold: {100 * chosen[1]:.1f} % found, {100 * chosen[0]:.1f} % false alarms",
            )  # fmt: skip
        axes.set_xlabel("share of normal examples that raise a false alarm")
        axes.set_ylabel("share of anomalies that are found")
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.02)
        axes.legend(loc="lower right", fontsize=8)
        save(figure, path, title)


def draw_scores(
    scores: NDArray[Any],
    strange: NDArray[np.bool_] | None,
    threshold: float,
    path: Path | BinaryIO,
    title: str = "",
) -> None:
    """Draw how the scores of normal examples and of anomalies are spread, and the threshold between them."""
    positive = scores[scores > 0]
    logarithmic = len(positive) == len(scores) and scores.max() > 30 * scores.min()
    edges = (
        np.geomspace(scores.min(), scores.max(), 41)
        if logarithmic
        else np.linspace(0, float(scores.max()) or 1, 41)
    )
    with styled():
        figure = new_figure(5.6, 3.4)
        axes = figure.subplots()
        groups = (
            {"all": scores} if strange is None else {"normal": scores[~strange], "anomalies": scores[strange]}
        )
        for colour, (name, values) in zip((BLUE, ORANGE), groups.items(), strict=False):
            axes.hist(values, bins=edges, color=colour, alpha=0.65, label=f"{name}: {len(values):,}")
        axes.axvline(threshold, color=INK, linewidth=1.2, label=f"threshold {threshold:.4g}")
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xlabel("error of the reconstruction")
        axes.set_ylabel("examples")
        axes.legend(fontsize=8)
        save(figure, path, title)
