"""Texts that a network writes: letter by letter, each drawn from what the network says of the next."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.texts import TextFormat
from tatami.errors import DataError, SettingError
from tatami.program import Program
from tatami.random import RandomKey
from tatami.training.model import Model
from tatami.training.tasks import Sequence

MOST_LETTERS = 1_000_000


def text_format(model: Model) -> TextFormat:
    """Return the letters of a model, or raise if it does not read text."""
    form = model.preprocessing.format
    if not isinstance(form, TextFormat):
        raise SettingError(
            f"network {model.network.name} does not read text: its inputs have the shape {model.network.input_shape}"
        )
    return form


def continued(
    model: Model,
    prompt: str,
    count: int,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    program: Program | None = None,
) -> str:
    """Return ``count`` letters that go on from a text.

    Each is drawn with probability p^(1/temperature), made to sum to 1, where p is what the network says after the last
    letters that fit into its window. Temperature 0 always takes the most probable letter. The same seed gives the
    same text.

    Args:
        model: trained to say the next letter.
        prompt: what stands before; at least one letter.
        count: letters to write.
        temperature: 0 or more: how daring.
        seed: of the generator.
        program: the model's network, planned.

    Raises:
        SettingError: a model of another task, a temperature below 0, a count out of range.
        DataError: no prompt, or letters that the model does not know.
    """
    form = text_format(model)
    if not isinstance(model.task, Sequence):
        raise SettingError(
            f"network {model.network.name} was trained to {model.task.name}, it does not write texts"
        )
    if not temperature >= 0 or not np.isfinite(temperature):
        raise SettingError(f"temperature must be a number of at least 0, got {temperature!r}")
    if not 0 <= count <= MOST_LETTERS:
        raise SettingError(f"a text of 0 to {MOST_LETTERS:,} letters can be written, got {count}")
    if not prompt:
        raise DataError("the prompt is empty; give at least one letter to go on from")
    planned = program or model.program()
    (length,) = model.network.input_shape
    letters = form.encoded(prompt).tolist()
    draws = RandomKey(seed).uniform("letters", (count,))
    for draw in draws:
        window = letters[-length:]
        # Behind the window's end stands anything: recurrent layers do not look ahead.
        tokens = np.array([window + [0] * (length - len(window))], np.int32)
        chances = model.predict(tokens, planned)[0, :, len(window) - 1]
        letters.append(drawn(chances, float(draw), temperature))
    return form.decoded(letters[len(letters) - count :]) if count else ""


def drawn(chances: NDArray[Any], draw: float, temperature: float) -> int:
    """Return the class that a number from 0 to 1 picks.

    >>> drawn(np.array([0.5, 0.25, 0.25]), 0.6, 1.0), drawn(np.array([0.5, 0.25, 0.25]), 0.99, 0.0)
    (1, 0)
    """
    if temperature == 0:
        return int(np.argmax(chances))
    logarithms = np.log(np.maximum(chances.astype(np.float64), 1e-300)) / temperature
    shares = np.exp(logarithms - logarithms.max())
    place = int(np.searchsorted(np.cumsum(shares / shares.sum()), draw, side="right"))
    return min(place, len(shares) - 1)
