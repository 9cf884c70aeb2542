"""A hand that writes: strokes with a pen's width, speed, jitter, slant, and joins that are missed.

Every number is a function of (seed, kana, sample), so any sample can be drawn alone and is always the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import radians

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.draws import Draws, rounded
from tatami.data.katakana.strokes import BOX, NAMES, Part, Stroke, strokes_of
from tatami.description import Described
from tatami.errors import SettingError
from tatami.random import RandomKey

# Straight pieces of the pen's way between two of a stroke's points.
PIECES = 6
# Numbers of (sample, row, column, piece) that are held at a time while ink is laid.
LARGEST_GRID = 2**21
# Joins are missed more often, and by more, than crossed: エ with a long upright stroke would be another character, 土,
# and テ would be チ. Strokes are too short by this much in the mean, in units of the deviation, and those that are too
# long are so by this share.
MISSED = 0.5
CROSSED = 0.4

# A stroke that begins or ends so near an earlier one joins it.
NEAR = 6.0

Points = NDArray[np.float64]
# The number of a stroke, and a place on its way.
Join = tuple[int, int]


@dataclass(frozen=True)
class Handwriting(Described, family="handwriting"):
    """How differently people write. Lengths are in hundredths of the box that a kana is drawn in.

    Attributes:
        pen: the thinnest and the thickest pen.
        speed: how much thinner a line gets where the pen is fast, in the middle and at the end of a stroke (0 to 1).
        jitter: deviation of every point of a stroke from where it belongs.
        wander: deviation of a whole stroke.
        slant: the largest slope of upright lines.
        turn: the largest angle in degrees.
        sizes: the smallest and the largest width and height of a kana, as a share of the image.
        shift: deviation of the kana from the middle of the image.
        joins: how far strokes begin and end too early or too late, so that joins are missed or, by less, crossed.
        rounding: the share of the writers who round off corners.
    """

    pen: Sequence[float] = (5.0, 11.0)
    speed: float = 0.4
    jitter: float = 1.8
    wander: float = 1.6
    slant: float = 0.18
    turn: float = 6.0
    sizes: Sequence[float] = (0.66, 0.86)
    shift: float = 2.5
    joins: float = 4.0
    rounding: float = 0.25

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        for name in ("pen", "sizes"):
            pair = getattr(self, name)
            if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
                raise SettingError(f"Handwriting: {name} must be two numbers above 0 in order, got {pair!r}")
        for name in ("speed", "jitter", "wander", "slant", "turn", "shift", "joins", "rounding"):
            if getattr(self, name) < 0:
                raise SettingError(f"Handwriting: {name} must be at least 0, got {getattr(self, name)!r}")
        if self.speed >= 1 or self.rounding > 1:
            raise SettingError("Handwriting: speed must be below 1 and rounding at most 1")


def write_kana(
    kana: str, samples: NDArray[np.int64], size: tuple[int, int], seed: int, hand: Handwriting
) -> NDArray[np.uint8]:
    """Draw samples of one kana, light on dark.

    Args:
        kana: one of the 46.
        samples: (N,) numbers of the samples; each has its own writer.
        size: (height, width) of the images.
        seed: another seed gives other writers.
        hand: how differently they write.

    Returns:
        (N, height, width) bytes.
    """
    # The place of the kana in the table takes the place of the epoch: each kana has its own numbers.
    draws = Draws(RandomKey(seed, NAMES.index(kana)), 0, samples)
    widths = draws.between("pen", *hand.pen) / 2
    ways: list[Points] = []
    radii = []
    for number, stroke in enumerate(strokes_of(kana)):
        aims = [None if join is None else moved_by(kana, join, ways) for join in joins_of(kana)[number]]
        way = written(stroke, number, draws, hand, aims)
        ways.append(way)
        radii.append(widths[:, None] * thickness(number, way.shape[1], draws, hand))
    placed = [on_paper(way, draws, size, hand) for way in ways]
    scale = min(size) / BOX
    return inked(placed, [radius * scale for radius in radii], size)


@cache
def model_ways(kana: str) -> tuple[Points, ...]:
    """Return the ways (points, 2) of a kana's strokes as they are drawn in the table."""
    return tuple(
        np.concatenate([curve(part[None])[0, int(place > 0) :] for place, part in enumerate(stroke)])
        for stroke in strokes_of(kana)
    )


@cache
def joins_of(kana: str) -> tuple[tuple[Join | None, Join | None], ...]:
    """Return for begin and end of each stroke the earlier stroke that it joins, and the place on its way."""
    ways = model_ways(kana)

    def joined(number: int, point: NDArray[np.float64]) -> Join | None:
        for other in range(number):
            distances = np.sqrt(((ways[other] - point) ** 2).sum(axis=1))
            if distances.min() < NEAR:
                return other, int(distances.argmin())
        return None

    return tuple((joined(number, way[0]), joined(number, way[-1])) for number, way in enumerate(ways))


def moved_by(kana: str, join: Join, ways: Sequence[Points]) -> Points:
    """Return (N, 2): how far the place of a join lies from where it belongs in what is written already."""
    stroke, place = join
    return np.asarray(ways[stroke][:, place] - model_ways(kana)[stroke][place])


def written(
    stroke: Stroke,
    number: int,
    draws: Draws,
    hand: Handwriting,
    aims: Sequence[Points | None] = (None, None),
) -> Points:
    """Return the pen's way (N, points, 2) along a stroke, as each writer goes it.

    Whoever begins or ends at an earlier stroke aims at where that one really is: ``aims`` say how far it has moved.
    """
    moved = []
    wander = draws.normal(f"wander{number}", 1, 2) * hand.wander
    corner: Points | None = None
    for place, part in enumerate(stroke):
        jitter = draws.normal(f"jitter{number}.{place}", *part.shape) * hand.jitter
        points = part[None] + jitter + wander
        if corner is not None:
            points[:, 0] = corner
        corner = points[:, -1]
        moved.append(points)
    for end, aim in enumerate(aims):
        if aim is not None:
            moved[-end][:, -end] += aim - wander[:, 0]
    stretch_end(moved[0], 0, 1, (draws.normal(f"begin{number}", 1) - MISSED) * hand.joins)
    stretch_end(moved[-1], -1, -2, (draws.normal(f"end{number}", 1) - MISSED) * hand.joins)
    sharp = np.concatenate([curve(points)[:, int(place > 0) :] for place, points in enumerate(moved)], axis=1)
    if len(moved) == 1:
        return sharp
    soft = sharp.copy()
    for _ in range(2):
        soft[:, 1:-1] = (soft[:, :-2] + 2 * soft[:, 1:-1] + soft[:, 2:]) / 4
    rounds = draws.chosen("rounding", hand.rounding) if hand.rounding else np.zeros(len(draws), bool)
    return np.where(rounds[:, None, None], soft, sharp)


def stretch_end(points: Points, end: int, before: int, length: NDArray[np.floating]) -> None:
    """Make the end of a stroke longer or shorter, in its own direction; short strokes by less, and longer by less."""
    length = np.where(length > 0, CROSSED * length, length)
    direction = points[:, end] - points[:, before]
    distance = np.sqrt((direction**2).sum(axis=1, keepdims=True))
    points[:, end] += direction * np.clip(length / np.maximum(distance, 1.0), -0.35, 0.35)


def curve(points: Points) -> Points:
    """Return points (N, K, 2) along the smooth curve through (N, k, 2): Catmull and Rom's spline.

    >>> curve(np.array([[[0.0, 0.0], [10.0, 0.0]]])).shape
    (1, 7, 2)
    """
    first, last = 2 * points[:, :1] - points[:, 1:2], 2 * points[:, -1:] - points[:, -2:-1]
    around = np.concatenate([first, points, last], axis=1)
    before, start, end, after = (around[:, at : at + points.shape[1] - 1, None] for at in range(4))
    t = (np.arange(PIECES) / PIECES)[None, None, :, None]
    spline = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    return np.concatenate([spline.reshape(len(points), -1, 2), points[:, -1:]], axis=1)


def thickness(number: int, points: int, draws: Draws, hand: Handwriting) -> Points:
    """Return (N, points) factors on the pen's width: full where the pen lands, thinner as it gets faster."""
    way = np.linspace(0, 1, points)[None, :]
    middle = draws.uniform(f"middle{number}", 1) * hand.speed * 0.5
    end = draws.uniform(f"tail{number}", 1) * hand.speed
    return np.asarray(1 - middle * 4 * way * (1 - way) - end * way**3)


def on_paper(way: Points, draws: Draws, size: tuple[int, int], hand: Handwriting) -> Points:
    """Turn, slant, scale and shift a way from the box into the image: (N, points, 2) as (x, y) in points of it."""
    x, y = way[..., 0] - BOX / 2, way[..., 1] - BOX / 2
    slope = draws.between("slant", -hand.slant, hand.slant)[:, None]
    x = x - slope * y
    angle = draws.between("turn", -1, 1) * radians(hand.turn)
    cosine, sine = rounded(np.cos(angle))[:, None], rounded(np.sin(angle))[:, None]
    x, y = cosine * x - sine * y, sine * x + cosine * y
    shift = draws.normal("shift", 2) * hand.shift / BOX
    sides = [draws.between(name, *hand.sizes)[:, None] for name in ("width", "height")]
    height, width = size
    return np.stack(
        [
            (x / BOX * sides[0] + 0.5 + shift[:, :1]) * width - 0.5,
            (y / BOX * sides[1] + 0.5 + shift[:, 1:]) * height - 0.5,
        ],
        axis=-1,
    )


def inked(ways: Sequence[Points], radii: Sequence[Points], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Lay ink of varying thickness along ways: white where a point lies within, shaded at the edge of the line."""
    starts = np.concatenate([way[:, :-1] for way in ways], axis=1)
    ends = np.concatenate([way[:, 1:] for way in ways], axis=1)
    thick = np.concatenate([(radius[:, :-1] + radius[:, 1:]) / 2 for radius in radii], axis=1)
    count, pieces = starts.shape[:2]
    images = np.zeros((count, *size), np.uint8)
    samples = max(1, LARGEST_GRID // (size[0] * size[1] * pieces))
    # Of large images a band of rows at a time, with the pieces that come near it.
    lower = np.minimum(starts[..., 1], ends[..., 1]) - thick - 1
    upper = np.maximum(starts[..., 1], ends[..., 1]) + thick + 1
    # Lines thinner than a point are pale, as on a scanner.
    strongest = np.minimum(1.0, 2 * thick.max(axis=1))
    band = max(1, LARGEST_GRID // (size[1] * pieces))
    for at in range(0, count, samples):
        block = slice(at, at + samples)
        for top in range(0, size[0], band):
            rows = np.arange(top, min(top + band, size[0]))
            near = ((lower[block] <= rows[-1]) & (upper[block] >= rows[0])).any(axis=0)
            if near.any():
                ways_near = starts[block][:, near], ends[block][:, near], thick[block][:, near]
                images[block, rows] = inked_rows(*ways_near, strongest[block], rows, size[1])
    return images


def inked_rows(
    starts: Part, ends: Part, thick: Points, strongest: Points, rows: NDArray[np.int64], width: int
) -> NDArray[np.uint8]:
    """Lay the ink of some samples on some rows: the distance of every point to every straight piece of the way."""
    y = rows[None, :, None, None]
    x = np.arange(width)[None, None, :, None]
    a = starts[:, None, None]
    direction = (ends - starts)[:, None, None]
    squared = np.maximum((direction**2).sum(axis=-1), 1e-9)
    dx, dy = x - a[..., 0], y - a[..., 1]
    along = np.clip((dx * direction[..., 0] + dy * direction[..., 1]) / squared, 0, 1)
    distance = np.sqrt((dx - along * direction[..., 0]) ** 2 + (dy - along * direction[..., 1]) ** 2)
    ink = (thick[:, None, None] - distance).max(axis=-1)
    shades: NDArray[np.uint8] = np.round(255 * np.clip(ink + 0.5, 0, strongest[:, None, None])).astype(
        np.uint8
    )
    return shades
