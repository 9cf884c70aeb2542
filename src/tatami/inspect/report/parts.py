"""The building blocks of a page: sections, tables, pictures with captions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.inspect.colours import SIGNED, as_image, coloured, data_uri
from tatami.inspect.grids import picture
from tatami.inspect.markup import Child, Markup, element, together


def introduced(introduction: str, *children: Child) -> Markup:
    """Return the inside of a section: a sentence on what one sees, and what there is to see."""
    return together([element("p", introduction, class_="intro"), *children])


def definitions(values: Mapping[str, str]) -> Markup:
    """Return names and values in two columns."""
    rows = [
        element("div", element("dt", name), element("dd", value)) for name, value in values.items() if value
    ]
    return element("dl", together(rows))


def table(header: Sequence[str], rows: Sequence[Sequence[Child]], *, left: Sequence[int] = (0,)) -> Markup:
    """Return a table that scrolls sideways where the page is narrower; numbers stand to the right."""

    def cell(tag: str, number: int, content: Child) -> Markup:
        return element(tag, content, class_=None if number in left else "number")

    head = element("tr", [cell("th", number, text) for number, text in enumerate(header)])
    body = [
        element("tr", [cell("td", number, content) for number, content in enumerate(row)]) for row in rows
    ]
    return scrolling(element("table", element("thead", head), element("tbody", body)))


def scrolling(child: Child) -> Markup:
    """Return a frame that scrolls sideways by itself, so that the page does not."""
    return element("div", child, class_="scroll", tabindex=0)


def image(pixels: NDArray[np.uint8], label: str, class_: str = "pixels") -> Markup:
    """Return a picture that is part of the page."""
    height, width = pixels.shape[:2]
    return element("img", src=data_uri(pixels), alt=label, width=width, height=height, class_=class_)


def captioned(content: Child, caption: Child, class_: str | None = None) -> Markup:
    """Return a picture with a caption under it."""
    return element("figure", content, element("figcaption", caption), class_=class_)


def example_image(example: NDArray[Any], label: str, *, as_ink: bool) -> Markup:
    """Return an example as a picture, stretched to the range of its numbers."""
    return image(as_image(picture(example), as_ink=as_ink), label)


def grid_image(grid: NDArray[Any], label: str, scale: str = SIGNED) -> Markup:
    """Return a plane of numbers as a picture, enlarged to whole pixels so that it stays crisp."""
    return image(coloured(grid, scale), label, "pixels wide")


def gallery(figures: Sequence[Markup], class_: str = "gallery") -> Markup:
    """Return pictures in rows, as many beside one another as the page has room for."""
    return element("div", together(figures), class_=class_)
