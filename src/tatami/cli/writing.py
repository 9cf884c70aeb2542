"""Texts on the command line: what a model expects behind a text, or what it writes on from there."""

from typing import Any

import numpy as np

from tatami.cli.console import Console
from tatami.data.texts import TextFormat
from tatami.errors import DataError, SettingError
from tatami.program import Program
from tatami.training.generation import continued, text_format
from tatami.training.model import Model
from tatami.training.tasks.maps import surprise

TEMPERATURE = 0.7


def show_texts(
    console: Console, model: Model, program: Program, options: dict[str, Any], about: dict[str, Any]
) -> None:
    """Print for every text how likely it is and what the next letter may be, or what the model writes on from it."""
    texts = list(options["texts"])
    if not texts:
        raise SettingError(
            "the model reads text: give it with --text '...', and --generate N to let it write on"
        )
    form = text_format(model)
    predictions: list[dict[str, Any]] = []
    if options["generate"] is not None:
        temperature = TEMPERATURE if options["temperature"] is None else options["temperature"]
        for text in texts:
            more = continued(
                model,
                text,
                options["generate"],
                temperature=temperature,
                seed=options["seed"],
                program=program,
            )
            console.line(f"{text}{more}")
            predictions.append(
                {"text": text, "continuation": more, "temperature": temperature, "seed": options["seed"]}
            )
        console.json({**about, "predictions": predictions})
        return
    if options["temperature"] is not None:
        raise SettingError("--temperature is for --generate N")
    rows = []
    for text in texts:
        perplexity, chances = expectations(model, form, text, program)
        order = np.argsort(-chances, kind="stable")[: options["top"]]
        likely = [(form.vocabulary[at], float(chances[at])) for at in order]
        rows.append(
            (
                repr(text),
                "-" if perplexity is None else f"{perplexity:.3f}",
                ", ".join(f"{letter!r} {100 * chance:.1f} %" for letter, chance in likely),
            )
        )
        predictions.append(
            {
                "text": text,
                "perplexity": perplexity,
                "next": [{"letter": letter, "probability": chance} for letter, chance in likely],
            }
        )
    console.table(("text", "perplexity", "next"), rows, left=(0, 2))
    console.json({**about, "predictions": predictions})


def expectations(model: Model, form: TextFormat, text: str, program: Program) -> tuple[float | None, Any]:
    """Return the perplexity of a text from its second letter on, and the probabilities of the letter behind it.

    A text longer than the model's window is read in pieces, each from its own beginning.
    """
    if not text:
        raise DataError("the text is empty")
    (length,) = model.network.input_shape
    letters = form.encoded(text)
    pieces = [letters[start : start + length] for start in range(0, len(letters), length)]
    tokens = np.stack([np.pad(piece, (0, length - len(piece))) for piece in pieces]).astype(np.int32)
    said = model.predict(tokens, program)
    lost = [
        surprise(probabilities[None, :, : len(piece) - 1], piece[None, 1:])[0]
        for probabilities, piece in zip(said, pieces, strict=True)
    ]
    steps = np.concatenate(lost)
    return (float(np.exp(steps.mean())) if steps.size else None), said[-1, :, len(pieces[-1]) - 1]
