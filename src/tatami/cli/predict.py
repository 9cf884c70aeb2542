"""``tatami predict``: what a trained model makes of files and texts."""

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from tatami.cli.choices import choose_program
from tatami.cli.console import Console
from tatami.cli.examples import read_examples
from tatami.cli.options import (
    augment_option,
    backend_option,
    json_option,
    precision_option,
    threads_option,
    views_option,
)
from tatami.cli.predictions import show_classes, show_masks, show_numbers, show_reconstructions, show_steps
from tatami.cli.writing import show_texts
from tatami.data.augmentation import choose_policy
from tatami.data.texts import TextFormat
from tatami.errors import SettingError
from tatami.program import Program
from tatami.training.generation import text_format
from tatami.training.model import Model, load_model
from tatami.training.tasks import Classify
from tatami.training.views import predict_views

INVERT: dict[str, str | bool] = {"auto": "auto", "yes": True, "no": False}
OUT = Path("predictions")
# Options that mean something for some tasks only.
FOR_TASKS = {
    "out": ("segment", "reconstruct"),
    "noise": ("reconstruct",),
    "generate": ("sequence",),
    "temperature": ("sequence",),
}


@click.command(epilog="Example: tatami predict runs/digits-small_convnet-001 seven.png")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE...]")
@click.option(
    "--top", type=int, default=3, show_default=True, metavar="N", help="Classes to show for each image."
)
@click.option(
    "--invert",
    type=click.Choice(list(INVERT)),
    default="auto",
    show_default=True,
    help="Turn dark on light into light on dark; auto looks at the image's border.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help=f"Where masks and reconstructions are written ({OUT}).",
)
@click.option(
    "--noise", type=float, metavar="S", help="Add normal noise first: shows what a model removes of it."
)
@click.option(
    "--text", "texts", multiple=True, metavar="TEXT", help="A text instead of a file; repeat it for several."
)
@click.option("--generate", type=int, metavar="N", help="Letters to write on from each text.")
@click.option(
    "--temperature", type=float, metavar="T", help="How daring: 0 takes the likeliest letter (0.7)."
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Of what is drawn at random."
)
@backend_option
@precision_option
@threads_option
@augment_option
@views_option
@json_option
def command(model: Path, images: tuple[Path, ...], **options: Any) -> None:  # fmt: skip
    """Print what MODEL makes of every FILE (image, .npy or .npz array, .csv table, .wav signal) or --text.

    MODEL is a run folder or a checkpoint. What comes out depends on what it was trained for: the class with its
    probability and the runners-up; numbers; a mask, written as a coloured PNG and over the image; the reconstruction,
    written as PNG; or the letters that follow a text. Images are brought to the size that the model was trained on.
    """
    if options["top"] < 1:
        raise SettingError(f"--top must be at least 1, got {options['top']}")
    console = Console(machine=options["as_json"])
    trained = load_model(model)
    require_options(trained, options)
    program = choose_program(trained, options)
    about = {"model": str(model), "weights_sha256": trained.weights_sha256}
    if trained.task.name == "sequence" and isinstance(trained.preprocessing.format, TextFormat):
        if images:
            raise SettingError(
                f"the model reads text: give it with --text '...', not as a file ({images[0]})"
            )
        show_texts(console, trained, program, options, about)
        return
    names, examples = examples_for(trained, images, options)
    show(console, trained, program, names, examples, options, about)


def require_options(model: Model, options: dict[str, Any]) -> None:
    """Raise for options that mean nothing to a model."""
    for name, tasks in FOR_TASKS.items():
        if options[name] is not None and model.task.name not in tasks:
            raise SettingError(
                f"--{name} is for models of task {' and '.join(tasks)}; this one was trained to {model.task.name}"
            )
    if options["augment"] is not None and not isinstance(model.task, Classify):
        raise SettingError(
            f"--augment averages the classes of several views; this model was trained to {model.task.name}"
        )


def examples_for(
    model: Model, paths: tuple[Path, ...], options: dict[str, Any]
) -> tuple[list[str], NDArray[Any]]:
    """Return the raw examples that files or texts give, and their names."""
    if options["texts"]:
        if paths:
            raise SettingError("give files or --text, not both")
        form = text_format(model)
        length = model.network.input_shape[0]
        texts = list(options["texts"])
        return texts, np.stack([form.encoded(text, length) for text in texts]).astype(np.int32)
    if isinstance(model.preprocessing.format, TextFormat) and not paths:
        raise SettingError("the model reads text: give it with --text '...'")
    if not paths:
        raise click.UsageError("Missing argument 'FILE...'", click.get_current_context())
    return read_examples(paths, model, INVERT[options["invert"]])


def show(
    console: Console,
    model: Model,
    program: Program,
    names: list[str],
    examples: NDArray[Any],
    options: dict[str, Any],
    about: dict[str, Any],
) -> None:
    """Print and write what a model makes of examples."""
    task = model.task.name
    if task == "reconstruct":
        out = options["out"] or OUT
        noise, seed = options["noise"], options["seed"]
        predictions = show_reconstructions(console, model, program, names, examples, out, noise, seed)
    elif task == "classify" and options["augment"] is not None:
        pipeline = choose_policy(options["augment"])
        scores = predict_views(model, examples, pipeline, options["views"], program)
        predictions = show_classes(console, model, names, scores, options["top"])
    else:
        said = model.predict(examples, program)
        if task == "classify":
            predictions = show_classes(console, model, names, said, options["top"])
        elif task == "regress":
            predictions = show_numbers(console, model, names, said)
        elif task == "segment":
            predictions = show_masks(console, model, names, examples, said, options["out"] or OUT)
        else:
            predictions = show_steps(console, model, names, said)
    console.json({**about, "predictions": predictions})
