"""What a window sees, entry by entry, and the letters that formulas write for it."""

from collections.abc import Iterator

from tatami.geometry import Geometry
from tatami.inspect.explanation import Index

POSITIONS = {1: ("i",), 2: ("i", "j"), 3: ("h", "i", "j")}
TAPS = {1: (r"\mu",), 2: (r"\mu", r"\nu"), 3: (r"\lambda", r"\mu", r"\nu")}


def seen_by(geometry: Geometry, position: Index, tap: Index) -> Index | None:
    """Return the input position that a tap of the window at a position sees, None in the padding.

    >>> seen_by(Geometry.of((1, 4), 3, padding=1), (0,), (0,)), seen_by(Geometry.of((1, 4), 3), (1,), (2,))
    (None, (3,))
    """
    place = tuple(
        at * step + gap * mu - before
        for at, step, gap, mu, (before, _) in zip(
            position, geometry.stride, geometry.dilation, tap, geometry.padding, strict=True
        )
    )
    return place if all(0 <= at < n for at, n in zip(place, geometry.size, strict=True)) else None


def window_that_sees(geometry: Geometry, place: Index, tap: Index) -> Index | None:
    """Return the window whose tap sees an input position, or None if there is none.

    >>> window_that_sees(Geometry.of((1, 4), 2, stride=2), (3,), (1,))
    (1,)
    """
    position = []
    for at, step, gap, mu, (before, _), count in zip(
        place, geometry.stride, geometry.dilation, tap, geometry.padding, geometry.output_size, strict=True
    ):
        window, rest = divmod(at + before - gap * mu, step)
        if rest or not 0 <= window < count:
            return None
        position.append(window)
    return tuple(position)


def windows_over(geometry: Geometry, place: Index) -> Iterator[tuple[Index, Index]]:
    """Yield (tap, window) for every window that sees an input position, tap after tap."""
    for tap in geometry.taps():
        window = window_that_sees(geometry, place, tap)
        if window is not None:
            yield tap, window


def members(geometry: Geometry, position: Index) -> Iterator[tuple[Index, Index | None]]:
    """Yield (tap, input position) for every tap of a window, None for the padding."""
    for tap in geometry.taps():
        yield tap, seen_by(geometry, position, tap)


def sums(letters: tuple[str, ...]) -> str:
    """Return one summation sign for each letter."""
    return " ".join(rf"\sum_{{{letter}}}" for letter in letters)


def seen_places(geometry: Geometry, one_based: bool) -> str:
    r"""Return what a window's tap sees, in letters: i+\mu, or 2i+\mu-1 with stride 2 and padding 1.

    Counted from 1 it is the lectures' i+\mu-1.

    >>> seen_places(Geometry.of((1, 5, 5), 3), True)
    'i+\\mu-1,j+\\nu-1'
    >>> seen_places(Geometry.of((1, 5), 3, stride=2, padding=1), False)
    '2i+\\mu-1'
    """
    words = []
    for letter, tap, step, gap, (before, _) in zip(
        POSITIONS[geometry.rank],
        TAPS[geometry.rank],
        geometry.stride,
        geometry.dilation,
        geometry.padding,
        strict=True,
    ):
        shift = -before
        if one_based:
            # From 1: place - 1 = step·(i - 1) + gap·(μ - 1) - before.
            shift = 1 - before - step - gap
        word = f"{'' if step == 1 else step}{letter}+{'' if gap == 1 else gap}{tap}"
        words.append(word + (f"{shift:+d}" if shift else ""))
    return ",".join(words)
