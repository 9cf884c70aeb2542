"""``tatami explain``: one number of a network with the formula and the numbers that made it."""

import json
import os
import re
import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from tatami.cli.choices import choose_network, choose_optimizer, shape_of
from tatami.cli.console import colour_wanted
from tatami.cli.options import classes_option, input_option, language_option
from tatami.data import read_images
from tatami.data.dataset import ImageFormat
from tatami.errors import DataError, SettingError, ShapeError, UnknownNameError, unknown_name
from tatami.inspect.explanation import Explanation
from tatami.inspect.trace import Trace, trace
from tatami.losses import Loss
from tatami.models import MODELS, recipe
from tatami.network import Network, Parameters

ENTRY = re.compile(r"(?P<name>[^\[\]]+?)\s*(?:\[(?P<index>[^\[\]]*)\])?")
FALLBACK_WIDTH = 100
FORMATS = ("text", "markdown", "html", "json")
INVERT: dict[str, str | bool] = {"auto": "auto", "yes": True, "no": False}


@click.command(epilog="Example: tatami explain ox circle.png 'conv1[0,1,0]' --gradient --target 0")
@click.argument("model")
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("entry")
@click.option("--gradient", is_flag=True, help="Explain the gradient of the loss there; needs --target.")
@click.option("--target", metavar="LABEL", help="Right class: its number from 0, or its name.")
@click.option(
    "--update", metavar="OPTIMIZER", help="Explain how an optimiser moves a weight; needs --target."
)
@click.option("--lr", "learning_rate", type=float, metavar="RATE", help="Learning rate of --update.")
@click.option(
    "--im2col", is_flag=True, help="Show the matrix of windows of a layer that has them; ENTRY is its name."
)
@click.option("--one-based", is_flag=True, help="Count indices from 1, as the lectures do.")
@language_option
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Output form."
)
@click.option(
    "--digits", type=int, default=4, show_default=True, metavar="N", help="Decimals of numbers in formulas."
)
@click.option(
    "--terms",
    type=int,
    default=12,
    show_default=True,
    metavar="N",
    help="Terms of a long sum to show; 0 for all.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Of a named network's values."
)
@click.option(
    "--invert", type=click.Choice(list(INVERT)), default="auto", show_default=True,
    help="Turn dark on light into light on dark, as for predict.",
)  # fmt: skip
@input_option
@classes_option
def command(model: str, image: Path, entry: str, **options: Any) -> None:
    """Explain one number of a pass over IMAGE: formula, the numbers in it, and where they came from.

    MODEL is a run folder, a checkpoint, the name of a network (with the initial values of --seed) or a JSON file
    of one. IMAGE is an image file (for a named network its pixels become 0 to 1), or a .npy file with numbers of the
    network's input shape. ENTRY is such as 'conv1[0,2,3]', 'conv1.weight[0,0,1,1]', 'input[0,4,4]' or 'loss';
    indices count from 0 (from 1 with --one-based).

    Whatever backend trained MODEL, the pass is computed by the reference in float64, so that the terms add up.
    """
    kept = traced(model, image, options)
    if options["im2col"]:
        show_im2col(kept, entry, options)
        return
    explanation = explained(kept, entry, options)
    show(explanation, options)


def traced(model: str, image: Path, options: dict[str, Any]) -> Trace:
    """Load model and image and run them."""
    path = Path(model).expanduser()
    if model not in MODELS and (path.is_dir() or path.suffix == ".safetensors"):
        return trace_of_model(path, image, options)
    network = choose_network(model, shape_of(options["input_shape"]), options["classes"])
    loss = recipe(model).loss if model in MODELS else None
    pixels = read_input(image, network, ImageFormat(maximum=1.0), "no")
    return run(network, network.initialize(options["seed"], "float64"), pixels, loss, {}, (), options)


def trace_of_model(path: Path, image: Path, options: dict[str, Any]) -> Trace:
    """Run a trained model on an image, preprocessed as in its training."""
    from tatami.training.model import load_model

    trained = load_model(path)
    raw = read_input(image, trained.network, trained.preprocessing.format, options["invert"])
    pixels = trained.preprocessing.apply(raw[np.newaxis], "float64")[0]
    names = trained.class_names
    return run(trained.network, trained.parameters, pixels, trained.loss, trained.state, names, options)


def read_input(image: Path, network: Network, image_format: ImageFormat, invert: str) -> NDArray[Any]:
    """Read an image file, or the numbers of a .npy file, as one example of the network's input shape."""
    if image.suffix != ".npy":
        images: NDArray[Any] = read_images([image], network.input_shape, image_format, invert=INVERT[invert])
        pixels: NDArray[Any] = images[0]
        return pixels
    try:
        values = np.load(image, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{image}: no such file") from error
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{image}: not a .npy file of numbers: {error}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "buif":
        raise DataError(f"{image}: not a .npy file of numbers")
    if values.size != np.prod(network.input_shape):
        raise DataError(
            f"{image}: has the shape {values.shape}, network {network.name} takes {network.input_shape}"
        )
    numbers: NDArray[Any] = values.reshape(network.input_shape)
    return numbers


def run(
    network: Network,
    parameters: Parameters,
    pixels: NDArray[Any],
    loss: Loss | None,
    state: Parameters,
    class_names: tuple[str, ...],
    options: dict[str, Any],
) -> Trace:
    """Trace the pass, with the target if there is one."""
    target = None if options["target"] is None else label_of(options["target"], class_names)
    for option in ("gradient", "update"):
        if options[option] and target is None:
            raise SettingError(f"--{option} needs the right class: --target LABEL")
    return trace(network, parameters, pixels, target, loss, state=state or None)


def label_of(text: str, class_names: tuple[str, ...]) -> int:
    """Return a class's number from its name or number; a name that looks like a number counts as a name."""
    if text in class_names:
        return class_names.index(text)
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    if class_names:
        raise unknown_name("class", text, class_names)
    raise SettingError(f"--target: a named network has numbered classes, from 0, got {text!r}")


def explained(kept: Trace, text: str, options: dict[str, Any]) -> Explanation:
    """Find what an entry such as conv1[0,2,3] means, and explain it."""
    name, index = entry_of(text)
    if name in ("loss", "E") and name not in kept.records:
        if kept.target is None:
            raise SettingError("there is no loss without the right class: --target LABEL")
        return kept.explain_loss()
    if options["one_based"]:
        if any(at < 1 for at in index):
            raise SettingError(f"{text}: with --one-based indices count from 1")
        index = tuple(at - 1 for at in index)
    try:
        if options["update"]:
            optimizer = choose_optimizer(options["update"], {"learning_rate": options["learning_rate"]})
            return kept.explain_update(optimizer, name, index)
        return kept.explain_gradient(name, index) if options["gradient"] else kept.explain(name, index)
    except ShapeError as error:
        if options["one_based"]:
            raise ShapeError(f"{error}; with --one-based from 1, as in {text}") from error
        raise
    except UnknownNameError as error:
        if not options["gradient"] and name.endswith(".input"):
            raise UnknownNameError(
                f"{error}; the input of a layer is the output of the one before it"
            ) from error
        raise


def entry_of(text: str) -> tuple[str, tuple[int, ...]]:
    """Take an entry apart.

    >>> entry_of("conv1.weight[0, 0,1,1]"), entry_of("loss")
    (('conv1.weight', (0, 0, 1, 1)), ('loss', ()))
    """
    match = ENTRY.fullmatch(text.strip())
    if match is None:
        raise SettingError(f"expected an entry such as 'conv1[0,2,3]', got {text!r:.60}")
    if match["index"] is None:
        return match["name"], ()
    parts = [part.strip() for part in match["index"].split(",")] if match["index"].strip() else []
    if not all(re.fullmatch(r"-?\d{1,9}", part) for part in parts):
        raise SettingError(
            f"an index is whole numbers with commas, such as [0,2,3], got [{match['index']:.40}]"
        )
    return match["name"], tuple(int(part) for part in parts)


def show(explanation: Explanation, options: dict[str, Any]) -> None:
    """Print the explanation in the form that was asked for."""
    settings = {
        "language": options["language"],
        "one_based": options["one_based"],
        "digits": options["digits"],
        "most_terms": options["terms"] or None,
    }
    if options["form"] == "text":
        wanted = colour_wanted(error_stream=False)
        text = explanation.text(**settings, colour=wanted is not False, width=terminal_width())
        click.echo(text, color=wanted)
    elif options["form"] == "json":
        click.echo(json.dumps(explanation.to_json(**settings), ensure_ascii=False, allow_nan=False))
    else:
        click.echo(
            explanation.markdown(**settings)
            if options["form"] == "markdown"
            else explanation.html(**settings)
        )


def show_im2col(kept: Trace, entry: str, options: dict[str, Any]) -> None:
    """Print the matrix of windows."""
    name, index = entry_of(entry)
    if index:
        raise SettingError(
            f"--im2col shows the whole matrix: give the layer's name {name!r} without an index"
        )
    view = kept.im2col(name)
    settings: dict[str, Any] = {
        "language": options["language"],
        "one_based": options["one_based"],
        "digits": options["digits"],
    }
    if options["form"] == "markdown":
        raise SettingError("--im2col can be shown as text, html or json")
    if options["form"] == "json":
        click.echo(json.dumps(view.to_json(), allow_nan=False))
    else:
        as_html = options["form"] == "html"
        click.echo(view.html(**settings) if as_html else view.text(**settings, width=terminal_width()))


def terminal_width() -> int | None:
    """Return the columns of the terminal; into a file or a pipe nothing is broken unless COLUMNS says how wide."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return get_terminal_size((FALLBACK_WIDTH, 24)).columns
