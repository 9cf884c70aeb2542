"""Sections on the network itself: the diagram, the table of its layers, its filters."""

import numpy as np

from tatami.inspect.colours import colour_filters
from tatami.inspect.diagram import network_diagram
from tatami.inspect.filter_banks import filters, layers_with_filters
from tatami.inspect.grids import MOST_CHANNELS, MOST_FILTERS, MOST_ROWS, filter_grid, picture, tile
from tatami.inspect.markup import Markup, element
from tatami.inspect.report.parts import captioned, gallery, grid_image, image, scrolling, section, table
from tatami.inspect.report.subject import Subject
from tatami.layers import Convolution
from tatami.network import shape_text

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
    header = ("layer", "type", "settings", "output", "parameters", "multiply-adds", "receptive field")
    introduction = (
        f"{len(network.nodes)} layers, {network.parameter_count:,} parameters, {network.multiply_adds:,} multiply-adds "
        f"for an image. Blocks grow with the size of the maps (height) and their number (width)."
    )
    details = element("details", element("summary", "As a table"), table(header, rows, left=(0, 1, 2)))
    drawing = scrolling(Markup(network_diagram(network)))
    return section("network", "Network", introduction, drawing, details)


def filters_section(subject: Subject) -> Markup | None:
    """Return the filters of the convolutions, and of a dense layer that sees the input itself; None without any."""
    network = subject.network
    figures = []
    for name in layers_with_filters(network)[:MOST_LAYERS]:
        values = filters(network, subject.parameters, name)
        if isinstance(network[name], Convolution) and values.ndim == 4 and values.shape[1] == 3:
            text = (
                f"{name}: {count_of(len(values), MOST_ROWS)} filters over red, green and blue; grey is zero"
            )
            figures.append(captioned(image(colour_filters(values), f"filters of {name}"), text))
        elif isinstance(network[name], Convolution):
            figures.append(
                captioned(
                    grid_image(filter_grid(values), f"filters of {name}"), caption_of(name, values.shape)
                )
            )
        elif values.shape[1:] == network.input_shape and values.ndim > 2:
            templates = np.stack([as_plane(one) for one in values[:MOST_ROWS]])
            text = f"{name}: what each of {count_of(len(values), MOST_ROWS)} units looks for in the input"
            figures.append(captioned(grid_image(tile(templates), f"weights of {name}"), text))
    if not figures:
        return None
    introduction = "Each filter divided by its largest magnitude: red is positive, blue negative, white zero."
    return section("filters", "Filters", introduction, gallery(figures, "gallery large"))


def as_plane(
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the weights of a unit over the input as a plane; three colours are averaged."""
    shown = picture(weights)
    return shown.mean(axis=2) if shown.ndim == 3 else shown


def caption_of(name: str, shape: tuple[int, ...]) -> str:
    """Say which filters are shown."""
    size = shape_text(shape[2:]).replace("x", "×")
    if shape[1] == 1:
        return f"{name}: {count_of(shape[0], MOST_ROWS)} filters of {size}"
    rows, columns = count_of(shape[0], MOST_FILTERS), count_of(shape[1], MOST_CHANNELS)
    return f"{name}: {rows} filters of {size} (rows) over {columns} channels (columns)"


def count_of(count: int, most: int) -> str:
    """Say how many of how many are shown.

    >>> count_of(8, 16), count_of(64, 16)
    ('8', 'the first 16 of 64')
    """
    return f"{count}" if count <= most else f"the first {most} of {count}"
