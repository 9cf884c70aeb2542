"""Writing SVG and HTML: elements with attributes, and text that is always escaped."""

from collections.abc import Iterable
from html import escape

# Elements of HTML that have no end tag.
EMPTY = {"br", "hr", "img", "meta", "source"}


class Markup(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


Child = str | Iterable["Child"]


def element(tag: str, /, *children: Child, **attributes: object) -> Markup:
    """Return an element; children that are plain text are escaped, attributes always.

    Underscores in names of attributes become hyphens, one at their end is dropped (``class_``); None and False leave an
    attribute out, True writes it without a value.

    >>> element("p", "1 < 2", element("b", "so"), class_="note", data_unit="px")
    '<p class="note" data-unit="px">1 &lt; 2<b>so</b></p>'
    >>> element("img", src="a.png", alt='"quoted"')
    '<img src="a.png" alt="&quot;quoted&quot;">'
    """
    written = "".join(attribute(key, value) for key, value in attributes.items())
    if tag in EMPTY:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{together(children)}</{tag}>")


def attribute(key: str, value: object) -> str:
    """Return an attribute with the space before it, or nothing."""
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f' {name}="{escape(text)}"'


def together(children: Iterable[Child]) -> Markup:
    """Join children one behind the other, escaping what is plain text.

    >>> together(["a & b", [Markup("<br>"), "c"]])
    'a &amp; b<br>c'
    """
    parts = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(escape(child, quote=False))
        else:
            parts.append(str(together(child)))
    return Markup("".join(parts))
