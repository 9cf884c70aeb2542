"""What `tatami predict` prints and writes for each task; each function returns what stands in the JSON object."""

from collections.abc import Sequence
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.cli.console import Console
from tatami.cli.examples import ARRAYS
from tatami.data.image_files import read_pixels, size_and_colour
from tatami.data.pillow import pillow
from tatami.errors import DataError, MissingExtraError
from tatami.losses import SoftmaxCrossEntropy
from tatami.program import Program
from tatami.random import RandomKey
from tatami.training.model import Model
from tatami.training.tasks import Reconstruct, Segment
from tatami.training.tasks.maps import most_probable
from tatami.training.tasks.reconstruct import LEAST_ERROR, noisy

Predictions = list[dict[str, Any]]
MOST_IN_PICTURE = 10
MOST_NUMBERS_IN_TABLE = 8


def show_classes(
    console: Console, model: Model, names_of_examples: Sequence[str], scores: NDArray[Any], top: int
) -> Predictions:
    """Print the class of every example with its probability, and the runners-up."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    # Only a softmax gives probabilities; other outputs are shown as the numbers that they are.
    probabilities = isinstance(model.loss, SoftmaxCrossEntropy)
    names = model.class_names

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
            for number, path in enumerate(names_of_examples)
        ],
        left=(0, 1, 3),
    )
    return [
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
        for number, path in enumerate(names_of_examples)
    ]


def show_numbers(console: Console, model: Model, names: Sequence[str], said: NDArray[Any]) -> Predictions:
    """Print the numbers of every example, in the units of the data."""
    shown = model.class_names[:MOST_NUMBERS_IN_TABLE]
    flat = said.reshape(len(said), len(model.class_names), -1)
    console.table(
        ("example", *shown),
        [
            (name, *(", ".join(f"{value:.6g}" for value in values[:5]) for values in row[: len(shown)]))
            for name, row in zip(names, flat, strict=True)
        ],
        left=(0,),
    )
    return [
        {
            "example": name,
            "values": {
                target: float(values[0]) if said.ndim == 2 else values.tolist()
                for target, values in zip(model.class_names, row, strict=True)
            },
        }
        for name, row in zip(names, flat, strict=True)
    ]


def show_masks(
    console: Console,
    model: Model,
    names: Sequence[str],
    examples: NDArray[Any],
    said: NDArray[Any],
    out: Path,
) -> Predictions:
    """Print the share of every class, and write each mask as a coloured PNG and over its image."""
    from tatami.inspect.task_pictures import palette_for

    assert isinstance(model.task, Segment)
    masks = most_probable(said)
    colours = palette_for(len(model.class_names), model.task.palette)
    out.mkdir(parents=True, exist_ok=True)
    predictions: Predictions = []
    for name, example, mask, stem in zip(names, examples, masks, stems(names), strict=True):
        shares = np.bincount(mask.reshape(-1), minlength=len(model.class_names)) / mask.size
        written = (
            write_mask(out, stem, name, example, mask, colours)
            if mask.ndim == 2
            else write_array(out, stem, mask)
        )
        predictions.append(
            {
                "image": name,
                "shares": {
                    label: float(share) for label, share in zip(model.class_names, shares, strict=False)
                },
                **written,
            }
        )
    console.table(
        ("image", *model.class_names),
        [
            (entry["image"], *(f"{100 * share:.1f} %" for share in entry["shares"].values()))
            for entry in predictions
        ],
        left=(0,),
    )
    console.heading(f"Written to {out}")
    kinds = ("mask", "overlay", "array")
    files = [Path(entry[kind]).name for entry in predictions[:6] for kind in kinds if kind in entry]
    console.line("  " + "  ".join(files))
    return predictions


def write_mask(
    out: Path,
    stem: str,
    name: str,
    example: NDArray[Any],
    mask: NDArray[np.int64],
    colours: NDArray[np.uint8],
) -> dict[str, str]:
    """Write a mask as a PNG whose pixels are classes, painted with a palette, and the image under it.

    Both have the size of the image's file, if there is one.
    """
    from tatami.inspect.task_pictures import flat_picture, overlaid

    library = pillow("Image")
    size = size_of(Path(name)) or (mask.shape[1], mask.shape[0])
    # Grey pixels with a palette are pixels that name their colour: the file holds the classes themselves.
    painted = library.fromarray(mask.astype(np.uint8))
    painted.putpalette(np.concatenate([colours.reshape(-1), np.zeros(768 - colours.size, np.uint8)]).tolist())
    mask_file, overlay_file = out / f"{stem}-mask.png", out / f"{stem}-overlay.png"
    painted.resize(size, library.Resampling.NEAREST).save(mask_file)
    if size == (mask.shape[1], mask.shape[0]):
        over = overlaid(flat_picture(example), mask, colours)
    else:  # the picture itself, sharper than what the network sees
        enlarged = np.asarray(
            library.fromarray(mask.astype(np.uint8)).resize(size, library.Resampling.NEAREST)
        )
        over = overlaid(flat_picture(read_pixels(Path(name), 3), 0, 255), enlarged.astype(np.int64), colours)
    library.fromarray(over).save(overlay_file)
    return {"mask": str(mask_file), "overlay": str(overlay_file)}


def size_of(path: Path) -> tuple[int, int] | None:
    """Return (width, height) of an image file as it is looked at, or None for anything else."""
    if path.suffix.lower() in ARRAYS or "[" in path.name:
        return None
    try:
        (height, width), _ = size_and_colour(path)
    except DataError:
        return None
    return width, height


def write_array(out: Path, stem: str, values: NDArray[Any]) -> dict[str, str]:
    """Write what no picture can hold, such as the mask of a volume."""
    path = out / f"{stem}.npy"
    np.save(path, values)
    return {"array": str(path)}


def show_reconstructions(
    console: Console,
    model: Model,
    program: Program,
    names: Sequence[str],
    examples: NDArray[Any],
    out: Path,
    noise: float | None,
    seed: int,
) -> Predictions:
    """Print how well every example is given back, and write what came back, and a picture before and after."""
    assert isinstance(model.task, Reconstruct)
    clean = model.preprocessing.apply(examples, program.dtype)
    seen = noisy(clean, noise or 0.0, RandomKey(seed))
    after = model.task.decoded(program.predict(model.parameters, seen, state=model.state), model.network)
    errors = model.task.scores(after, clean)
    out.mkdir(parents=True, exist_ok=True)
    raw = model.preprocessing.inverse(after.copy())
    maximum = model.preprocessing.format.maximum
    predictions: Predictions = []
    for name, example, error, stem in zip(names, raw, errors, stems(names), strict=True):
        psnr = 10 * log10(model.task.peak**2 / max(float(error), LEAST_ERROR))
        picture = example.ndim == 3 and example.shape[0] in (1, 3)
        written = (
            {"reconstruction": str(write_picture(out / f"{stem}-reconstruction.png", example, maximum))}
            if picture
            else write_array(out, f"{stem}-reconstruction", example)
        )
        predictions.append({"image": name, "mse": float(error), "psnr": psnr, **written})
    console.table(
        ("example", "MSE", "PSNR"),
        [(entry["image"], f"{entry['mse']:.5g}", f"{entry['psnr']:.2f} dB") for entry in predictions],
        left=(0,),
    )
    rows = {"input": list(clean[:MOST_IN_PICTURE])}
    if noise:
        rows["with noise"] = list(seen[:MOST_IN_PICTURE])
    rows["after"] = list(after[:MOST_IN_PICTURE])
    files = [Path(entry.get("reconstruction") or entry["array"]).name for entry in predictions[:6]]
    try:
        from tatami.inspect.task_pictures import draw_reconstructions

        captions = [f"MSE {error:.3g}" for error in errors[:MOST_IN_PICTURE]]
        draw_reconstructions(
            rows, out / "before-after.png", f"{model.network.name}: before and after", captions
        )
        files.append("before-after.png")
    except MissingExtraError:
        console.note(
            "No picture before and after: matplotlib draws it; install it with: pip install 'tatami[plot]'"
        )
    console.heading(f"Written to {out}")
    console.line("  " + "  ".join(files))
    return predictions


def write_picture(path: Path, image: NDArray[Any], maximum: float) -> Path:
    """Write (C, H, W) numbers from 0 to maximum as a PNG."""
    pixels = np.round(np.clip(image / maximum, 0, 1) * 255).astype(np.uint8)
    pillow("Image").fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(path)
    return path


def show_steps(console: Console, model: Model, names: Sequence[str], said: NDArray[Any]) -> Predictions:
    """Print the class of every step."""
    classes = most_probable(said)
    labels = [[model.class_names[step] for step in row] for row in classes]
    console.table(
        ("example", "classes of the steps"),
        [
            (name, " ".join(row[:24]) + (" …" if len(row) > 24 else ""))
            for name, row in zip(names, labels, strict=True)
        ],
        left=(0, 1),
    )
    return [{"example": name, "classes": row} for name, row in zip(names, labels, strict=True)]


def stems(names: Sequence[str]) -> list[str]:
    """Return the names of files to write: the examples' own, numbered where two are alike.

    >>> stems(["a/x.png", "b/x.png", "y.npy[3]"])
    ['x', 'x-2', 'y-3']
    """
    seen: dict[str, int] = {}
    found = []
    for name in names:
        file, bracket, number = name.rpartition("[") if name.endswith("]") else (name, "", "")
        stem = Path(file).stem + (f"-{number[:-1]}" if bracket else "")
        seen[stem] = seen.get(stem, 0) + 1
        found.append(stem if seen[stem] == 1 else f"{stem}-{seen[stem]}")
    return found
