"""``tatami predict``: what a trained model sees in image files."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from tatami.cli.choices import choose_program
from tatami.cli.console import Console
from tatami.cli.options import (
    augment_option,
    backend_option,
    json_option,
    precision_option,
    threads_option,
    views_option,
)
from tatami.data import read_images
from tatami.data.augmentation import choose_policy
from tatami.errors import SettingError
from tatami.losses import SoftmaxCrossEntropy
from tatami.training.model import load_model
from tatami.training.views import predict_views

INVERT: dict[str, str | bool] = {"auto": "auto", "yes": True, "no": False}


@click.command(epilog="Example: tatami predict runs/digits-small_convnet-001 seven.png")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option(
    "--top", type=int, default=3, show_default=True, metavar="N", help="Classes to show for each image."
)
@click.option(
    "--invert", type=click.Choice(list(INVERT)), default="auto", show_default=True,
    help="Turn dark on light into light on dark; auto looks at the image's border.",
)  # fmt: skip
@backend_option
@precision_option
@threads_option
@augment_option
@views_option
@json_option
def command(model: Path, images: tuple[Path, ...], top: int, invert: str, **options: Any) -> None:
    """Print the class of every IMAGE (PNG, JPEG …) with its probability and the runners-up.

    MODEL is a run folder or a checkpoint. Images are brought to the size that the model was trained on.
    """
    if top < 1:
        raise SettingError(f"--top must be at least 1, got {top}")
    console = Console(machine=options["as_json"])
    trained = load_model(model)
    pixels = read_images(
        images, trained.network.input_shape, trained.preprocessing.format, invert=INVERT[invert]
    )
    program = choose_program(trained, options)
    if options["augment"] is None:
        scores = trained.predict(pixels, program)
    else:
        scores = predict_views(trained, pixels, choose_policy(options["augment"]), options["views"], program)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    # Only a softmax gives probabilities; other outputs are shown as the numbers that they are.
    probabilities = isinstance(trained.loss, SoftmaxCrossEntropy)
    names = trained.class_names

    def score(image: int, rank: int) -> str:
        value = scores[image, order[image, rank]]
        return f"{100 * value:.1f} %" if probabilities else f"{value:.4f}"

    console.table(
        ("image", "class", "probability" if probabilities else "output", "then"),
        [
            (
                path,
                names[order[number, 0]],
                score(number, 0),
                ", ".join(
                    f"{names[order[number, rank]]} {score(number, rank)}" for rank in range(1, order.shape[1])
                ),
            )
            for number, path in enumerate(images)
        ],
        left=(0, 1, 3),
    )
    console.json(
        {
            "model": str(model),
            "weights_sha256": trained.weights_sha256,
            "predictions": [
                {
                    "image": str(path),
                    "class": names[order[number, 0]],
                    "label": int(order[number, 0]),
                    "probability": float(scores[number, order[number, 0]]),
                    "top": [
                        {"class": names[at], "label": int(at), "probability": float(scores[number, at])}
                        for at in order[number]
                    ],
                }
                for number, path in enumerate(images)
            ],
        }
    )
