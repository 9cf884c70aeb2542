"""Small tasks that are made, not measured: enough to train every kind of network offline, in a minute.

Each function returns inputs (float32) and targets, drawn from the counter-based generator: the same seed gives the same
numbers everywhere, and another seed gives other examples of the same task. What distinguishes the classes never lies
at a fixed place, so that a linear model on the raw numbers does badly.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError
from tatami.random import RandomKey

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

ALPHABET = " abcdefghijklmnopqrstuvwxyz."
NOUNS = ("cat", "dog", "bird", "mouse", "fox")
VERBS = ("sees", "likes", "hears", "finds")
ADJECTIVES = ("small", "old", "red", "quick")


def shapes_with_masks(count: int, size: int = 32, seed: int = 0) -> tuple[Floats, Labels]:
    """Draw a disc and a square on a noisy ground, of the same brightness; the target names every pixel.

    Returns:
        Images (N, 1, size, size), and labels (N, size, size): 0 ground, 1 disc, 2 square (in front of the disc).

    >>> images, masks = shapes_with_masks(3)
    >>> images.shape, masks.shape, sorted(set(masks.ravel().tolist()))
    ((3, 1, 32, 32), (3, 32, 32), [0, 1, 2])
    """
    key = generator(count, seed)
    rows, columns = np.mgrid[:size, :size]
    places = key.uniform("places", (count, 2, 2)) * size * 0.7 + size * 0.15
    radii = size * (0.12 + 0.1 * key.uniform("radii", (count, 2)))
    dy, dx = (
        grid[np.newaxis, np.newaxis] - places[:, :, axis, np.newaxis, np.newaxis]
        for axis, grid in enumerate((rows, columns))
    )
    reach = radii[:, :, np.newaxis, np.newaxis]
    disc = (dy[:, 0] ** 2 + dx[:, 0] ** 2) <= reach[:, 0] ** 2
    square = np.maximum(np.abs(dy[:, 1]), np.abs(dx[:, 1])) <= reach[:, 1] * 0.9
    masks = np.where(square, 2, np.where(disc, 1, 0)).astype(np.int64)
    images = 0.8 * (masks > 0) + 0.15 * key.normal("noise", (count, size, size))
    return images[:, np.newaxis].astype(np.float32), masks


def bars(count: int, size: int = 28, seed: int = 0) -> tuple[Floats, Labels]:
    """Draw a bar anywhere on a noisy ground, brighter or darker than it: 0 lying, 1 rising, 2 standing, 3 falling.

    Every pixel is as often bright as dark in each class, so that no sum over pixels tells the classes apart: a linear
    model is left to guess, and a network needs detectors of orientation at every place.

    Returns:
        Images (N, 1, size, size) and labels (N,).

    >>> images, labels = bars(3)
    >>> images.shape, labels.shape
    ((3, 1, 28, 28), (3,))
    """
    key = generator(count, seed)
    labels = drawn_labels(key, count, 4)
    angle = (labels * np.pi / 4)[:, np.newaxis, np.newaxis]
    rows, columns = np.mgrid[:size, :size]
    place = size * (0.25 + 0.5 * key.uniform("places", (count, 2)))
    right = columns - place[:, 0, np.newaxis, np.newaxis]
    up = place[:, 1, np.newaxis, np.newaxis] - rows
    along, across = right * np.cos(angle) + up * np.sin(angle), up * np.cos(angle) - right * np.sin(angle)
    bar = (np.abs(along) <= 0.22 * size) & (np.abs(across) <= 0.04 * size + 0.5)
    sign = np.where(key.uniform("sign", (count, 1, 1)) < 0.5, -1.0, 1.0)
    images = sign * bar + 0.15 * key.normal("noise", (count, size, size))
    return images[:, np.newaxis].astype(np.float32), labels


def tones_and_chirps(count: int, time: int = 256, seed: int = 0) -> tuple[Floats, Labels]:
    """Draw signals with noise: 0 a steady tone, 1 a rising chirp, 2 a falling chirp, 3 a tone that beats.

    Frequency, phase and strength are random.

    Returns:
        Signals (N, 1, time) and labels (N,).

    >>> tones_and_chirps(5)[0].shape
    (5, 1, 256)
    """
    key = generator(count, seed)
    labels = drawn_labels(key, count, 4)
    t = np.arange(time) / time
    low = 10 + 12 * key.uniform("frequency", (count, 1))
    sweep = 10 + 6 * key.uniform("sweep", (count, 1))
    kind = labels[:, np.newaxis]
    start = np.where(kind == 2, low + sweep, low)
    slope = np.where(kind == 1, sweep, np.where(kind == 2, -sweep, 0))
    cycles = start * t + 0.5 * slope * t * t + key.uniform("phase", (count, 1))
    beat = np.where(kind == 3, np.cos(2 * np.pi * (5 * t + key.uniform("beat", (count, 1)))), 1.0)
    strength = 0.7 + 0.6 * key.uniform("strength", (count, 1))
    signals = strength * beat * np.sin(2 * np.pi * cycles) + 0.2 * key.normal("noise", (count, time))
    return signals[:, np.newaxis].astype(np.float32), labels


def gestures(count: int, time: int = 24, seed: int = 0) -> tuple[Floats, Labels]:
    """Move the ten joints of a stick figure: 0 waves left, 1 waves right, 2 bends the knees, 3 jumps.

    The figure stands anywhere, is of any size, holds its hands at any height, and begins at any moment of the movement.

    Returns:
        Coordinates (N, 2, joints, time) (x, then y upward) and labels (N,).

    >>> gestures(5)[0].shape
    (5, 2, 10, 24)
    """
    key = generator(count, seed)
    labels = drawn_labels(key, count, 4)
    # head, neck, left and right elbow, left and right hand, hip, left and right knee, pelvis
    x = np.array([0, 0, -0.4, 0.4, -0.5, 0.5, 0, -0.2, 0.2, 0])
    y = np.array([1.8, 1.5, 1.2, 1.2, 0.9, 0.9, 0.9, 0.45, 0.45, 1.0])
    body = np.stack([x, y])[np.newaxis, :, :, np.newaxis] * np.ones((count, 1, 1, time))
    speed = 1.5 + 1.5 * key.uniform("speed", (count, 1))
    phase = 2 * np.pi * (speed * np.arange(time) / time + key.uniform("phase", (count, 1)))
    raised = 0.8 * key.uniform("raised", (count, 2))
    body[:, 1, 4:6] += raised[:, :, np.newaxis]
    wave, hop = np.sin(phase), np.abs(np.sin(phase))
    for label, hand, elbow in ((0, 4, 2), (1, 5, 3)):
        mine = labels == label
        body[mine, 0, hand] += 0.3 * wave[mine]
        body[mine, 0, elbow] += 0.1 * wave[mine]
    bending, jumping = labels == 2, labels == 3
    body[bending, 1, :7] -= 0.35 * hop[bending][:, np.newaxis]
    body[bending, 1, 9] -= 0.35 * hop[bending]
    body[jumping, 1] += 0.5 * hop[jumping][:, np.newaxis]
    size = 0.6 + 0.8 * key.uniform("size", (count, 1, 1, 1))
    place = 0.5 * key.normal("place", (count, 2, 1, 1))
    return (size * body + place + 0.03 * key.normal("noise", body.shape)).astype(np.float32), labels


def moving_blobs(count: int, frames: int = 8, size: int = 16, seed: int = 0) -> tuple[Floats, Labels]:
    """Film a bright spot that moves 0 right, 1 left, 2 down, 3 up, around the edges of the picture.

    No single frame tells the class.

    Returns:
        Videos (N, 1, frames, size, size) and labels (N,).

    >>> moving_blobs(5)[0].shape
    (5, 1, 8, 16, 16)
    """
    key = generator(count, seed)
    labels = drawn_labels(key, count, 4)
    direction = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]])[labels]
    speed = 0.8 + 0.7 * key.uniform("speed", (count, 1))
    path = (
        key.uniform("start", (count, 1, 2)) * size
        + (speed * direction)[:, np.newaxis] * np.arange(frames)[np.newaxis, :, np.newaxis]
    )
    grid = np.arange(size)
    # Distance on a ring: what leaves on one side comes back on the other.
    apart = [(grid - path[:, :, axis, np.newaxis] + size / 2) % size - size / 2 for axis in (0, 1)]
    squared = apart[0][:, :, :, np.newaxis] ** 2 + apart[1][:, :, np.newaxis, :] ** 2
    videos = np.exp(-squared / 4) + 0.1 * key.normal("noise", squared.shape)
    return videos[:, np.newaxis].astype(np.float32), labels


def ellipsoids(count: int, size: int = 16, seed: int = 0) -> tuple[Floats, Labels]:
    """Draw an ellipsoid that is long along 0 depth, 1 height or 2 width, anywhere in a noisy volume.

    Returns:
        Volumes (N, 1, size, size, size) and labels (N,).

    >>> ellipsoids(5)[0].shape
    (5, 1, 16, 16, 16)
    """
    key = generator(count, seed)
    labels = drawn_labels(key, count, 3)
    short = size * (0.1 + 0.05 * key.uniform("short", (count, 1)))
    axes = np.where(np.arange(3) == labels[:, np.newaxis], 2.2 * short, short)
    middle = size * (0.3 + 0.4 * key.uniform("middle", (count, 3)))
    grid = np.stack(np.meshgrid(*(np.arange(size),) * 3, indexing="ij"))
    scaled = (grid - middle[:, :, None, None, None]) / axes[:, :, None, None, None]
    volumes = ((scaled**2).sum(axis=1) <= 1) + 0.2 * key.normal("noise", (count, size, size, size))
    return volumes[:, np.newaxis].astype(np.float32), labels


def adding_problem(count: int, time: int = 20, seed: int = 0) -> tuple[Floats, Floats]:
    """Mark two numbers of a sequence; the target is their sum. A network has to carry the first to the second.

    Returns:
        Sequences (N, 2, time), numbers from 0 to 1 and marks 0 or 1, and sums (N, 1).

    >>> x, sums = adding_problem(5)
    >>> bool(np.allclose((x[:, 0] * x[:, 1]).sum(axis=1), sums[:, 0]))
    True

    Source: Hochreiter and Schmidhuber (1997), experiment 4.
    """
    key = generator(count, seed)
    if time < 2:
        raise SettingError(f"adding problem: time must be at least 2, got {time}")
    numbers = key.uniform("numbers", (count, time))
    half = time // 2
    first = np.floor(key.uniform("first", (count,)) * half).astype(np.int64)
    second = half + np.floor(key.uniform("second", (count,)) * (time - half)).astype(np.int64)
    marks = np.zeros((count, time))
    examples = np.arange(count)
    marks[examples, first] = marks[examples, second] = 1
    x = np.stack([numbers, marks], axis=1).astype(np.float32)
    return x, (x[:, 0] * x[:, 1]).sum(axis=1, keepdims=True)


def character_text(count: int, time: int = 40, seed: int = 0) -> tuple[Floats, Labels]:
    """Cut pieces of simple English sentences; the target is the same text one letter further on.

    Letters are numbers, their places in `ALPHABET`. Words come at random, but a word that has begun can be continued,
    and adjectives stand before nouns.

    Returns:
        Tokens (N, time) and next tokens (N, time).

    >>> tokens, following = character_text(2, time=12, seed=1)
    >>> bool((tokens[:, 1:] == following[:, :-1]).all())
    True
    """
    key = generator(count, seed)
    words = 2 + time // 3  # more than enough: a sentence is longer than four letters
    drawn = key.uniform("words", (count, words, 5))
    pieces = []
    for example in range(count):
        sentences = (sentence(numbers) for numbers in drawn[example])
        text = "".join(sentences)
        start = int(key.uniform(f"start {example}", (1,))[0] * 10)
        pieces.append([ALPHABET.index(letter) for letter in text[start : start + time + 1]])
    text_numbers = np.array(pieces, dtype=np.int64)
    return text_numbers[:, :-1].astype(np.float32), text_numbers[:, 1:]


def sentence(numbers: NDArray[Any]) -> str:
    """Choose the words of 'the (adjective) noun verb the noun. ' by numbers from 0 to 1.

    >>> sentence(np.zeros(5))
    'the small cat sees the cat. '
    """
    adjective, noun, verb, other = (
        words[int(number * len(words))]
        for words, number in zip((ADJECTIVES, NOUNS, VERBS, NOUNS), numbers[:4], strict=True)
    )
    described = f"{adjective} {noun}" if numbers[4] < 0.5 else noun
    return f"the {described} {verb} the {other}. "


def generator(count: int, seed: int) -> RandomKey:
    """Return the generator, or raise unless the number of examples is positive."""
    if count < 1:
        raise SettingError(f"synthetic data: count must be at least 1, got {count}")
    return RandomKey(seed)


def drawn_labels(key: RandomKey, count: int, classes: int) -> Labels:
    """Draw a class for every example."""
    return np.floor(key.uniform("labels", (count,)) * classes).astype(np.int64)
