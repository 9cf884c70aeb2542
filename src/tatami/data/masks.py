"""Images with masks: a folder ``images/`` and a folder ``masks/`` with files of the same names.

::

    cells/                        cells/
      images/  a.png  b.jpg         train/  images/ …  masks/ …
      masks/   a.png  b.png         test/   images/ …  masks/ …
      classes.txt

A mask has the size of its image. Its classes are what it is painted with: grey values, the places of a palette, or
colours, in ascending order; ``classes.txt`` names them, one in a line. The value 255 of a palette, or of greys that
otherwise count from 0, means 'does not count'. Every fifth pair is for testing where there is no ``test/``.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.image_files import checked_size, read_pixels, size_and_colour
from tatami.data.image_folder import common_size, images_below
from tatami.data.image_formats import opened
from tatami.data.on_demand import DecodedFiles
from tatami.data.pillow import pillow
from tatami.data.splits import split_off_test
from tatami.errors import DataError

MOST_CLASSES = 256
NOT_COUNTED = 255
# A colour is told from a grey value or a place in a palette by this bit.
COLOUR = 1 << 24
LARGEST_KEPT_BYTES = 2 * 2**30
Values = NDArray[np.int64]


def has_pairs(folder: Path) -> bool:
    """Say whether a folder is laid out as images and masks."""
    return any(
        (folder / part / "images").is_dir() and (folder / part / "masks").is_dir() for part in ("", "train")
    )


def load_masks(
    folder: str | Path, size: int | tuple[int, int] | None = None, channels: int | None = None
) -> DatasetSplits:
    """Load pairs of images and masks.

    Args:
        folder: laid out as above.
        size: (height, width) to bring images and masks to; without it all must be of one size.
        channels: 1 for grey, 3 for colour; without it grey if all images are.

    Raises:
        DataError: an image without a mask, a mask of another size, a mask that is a photograph.
    """
    root = Path(folder).expanduser()
    divided = (root / "train" / "images").is_dir()
    wanted_parts = [part for part in ("train", "test") if (root / part).is_dir()] if divided else [""]
    parts = {part: pairs_in(root / part) for part in wanted_parts}
    pairs = [pair for found in parts.values() for pair in found]
    headers = {image: size_and_colour(image) for image, _ in pairs}
    for image, mask in pairs:
        sizes = headers[image][0], size_and_colour(mask)[0]
        if sizes[0] != sizes[1]:
            raise DataError(f"{mask}: the mask has {sizes[1]} pixels (height, width), its image {sizes[0]}")
    wanted = (
        checked_size(size) if size else common_size({image: found for image, (found, _) in headers.items()})
    )
    if channels is None:
        channels = 3 if any(colour for _, colour in headers.values()) else 1
    values, palette = painted_with([mask for _, mask in pairs])
    counted = [value for value in values if not is_void(value, values, palette)]
    names = class_names(root, counted, palette)
    decode = partial(decoded_mask, size=wanted, values=tuple(counted))

    def part(found: list[tuple[Path, Path]]) -> Dataset:
        shape = (channels, *wanted)
        images = kept(
            [image for image, _ in found], shape, np.uint8, lambda path: read_pixels(path, channels, wanted)
        )
        masks = kept([mask for _, mask in found], wanted, np.int16, decode)
        return Dataset(
            root.resolve().name, images, np.zeros(len(found), np.int64), ("",), ImageFormat(maximum=255), masks,
            names, colours_of(counted, palette),
        )  # fmt: skip

    if "test" in parts:
        return DatasetSplits(train=part(parts["train"]), test=part(parts["test"]))
    return split_off_test(part(pairs))


def pairs_in(root: Path) -> list[tuple[Path, Path]]:
    """Return the images of a folder with their masks, in the order of their names."""
    for needed in ("images", "masks"):
        if not (root / needed).is_dir():
            raise DataError(f"{root / needed}: no such folder; images lie in images/, their masks in masks/")
    images = {path.stem: path for path in images_below(root / "images")}
    masks = {path.stem.removesuffix("_mask"): path for path in images_below(root / "masks")}
    if set(images) != set(masks) or not images:
        odd = sorted(set(images) ^ set(masks))
        raise DataError(
            f"{root}: every image needs a mask of the same name; without a partner: {', '.join(odd[:5])}"
        )
    return [(images[name], masks[name]) for name in images]


def kept(
    paths: list[Path], shape: tuple[int, ...], dtype: Any, decode: Callable[[Path], NDArray[Any]]
) -> NDArray[Any]:
    """Return decoded files: in memory, or above 2 GiB when they are asked for."""
    files = DecodedFiles(paths, shape, dtype, decode)
    return cast(NDArray[Any], files) if files.nbytes > LARGEST_KEPT_BYTES else np.asarray(files)


def mask_values(path: Path, size: tuple[int, int] | None = None) -> Values:
    """Return what every point of a mask is painted with: (H, W) grey values, places in a palette, or colours."""
    with opened(path) as image:
        painted = (
            image if image.mode in ("P", "L", "1") or image.mode.startswith("I") else image.convert("RGB")
        )
        if image.mode == "1":
            painted = image.convert("L")
        if size is not None and painted.size != (size[1], size[0]):
            painted = painted.resize((size[1], size[0]), pillow("Image").Resampling.NEAREST)
        values = np.asarray(painted).astype(np.int64)
    if values.ndim == 2:
        return values
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    if (red == green).all() and (green == blue).all():
        return red
    return COLOUR | red << 16 | green << 8 | blue


def painted_with(paths: list[Path]) -> tuple[list[int], list[int]]:
    """Return the values that masks hold, in ascending order, and the palette of the first that has one."""
    found: set[int] = set()
    palette: list[int] = []
    for path in paths:
        found.update(np.unique(mask_values(path)).tolist())
        with opened(path) as image:
            if image.mode == "P" and not palette:
                palette = list(image.getpalette("RGB") or [])
        if len(found) > MOST_CLASSES:
            raise DataError(
                f"{path}: the masks hold more than {MOST_CLASSES} different values, so they are no masks but pictures; "
                f"save them as PNG, each class in one value"
            )
    if len(found) < 2:
        raise DataError(
            f"{paths[0].parent}: all masks hold one value, {sorted(found)[0]}; there is nothing to tell apart"
        )
    return sorted(found), palette


def is_void(value: int, values: list[int], palette: list[int]) -> bool:
    """Say whether a value means 'does not count': 255 of a palette, or beside greys that count from 0."""
    others = [other for other in values if other != NOT_COUNTED]
    counting = len(others) > 1 and others == list(range(len(others)))
    return value == NOT_COUNTED and (bool(palette) or counting)


def decoded_mask(path: Path, size: tuple[int, int], values: tuple[int, ...]) -> NDArray[np.int16]:
    """Return a mask as classes, -1 where it does not count."""
    painted = mask_values(path, size)
    places = np.minimum(np.searchsorted(np.array(values), painted), len(values) - 1)
    return np.where(np.array(values)[places] == painted, places, -1).astype(np.int16)


def class_names(root: Path, values: list[int], palette: list[int]) -> tuple[str, ...]:
    """Return the names in classes.txt; else background and object for two greys; else what classes are painted with."""
    file = root / "classes.txt"
    if file.is_file():
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if len(names) < len(values) or len(set(names)) != len(names):
            raise DataError(
                f"{file}: names {len(names)} classes, the masks hold {len(values)}: {values[:20]}"
            )
        if len(names) > len(values):
            raise DataError(
                f"{file}: names {len(names)} classes, the masks hold only {len(values)}: {values[:20]}; "
                f"leave out the classes that never occur"
            )
        return tuple(names)
    if len(values) == 2 and values[0] == 0 and not palette and values[1] < COLOUR:
        return ("background", "object")
    return tuple(f"#{value - COLOUR:06x}" if value >= COLOUR else str(value) for value in values)


def colours_of(values: list[int], palette: list[int]) -> tuple[tuple[int, int, int], ...]:
    """Return the colours that classes are painted in, or none for greys."""
    colours: list[tuple[int, int, int]] = []
    for value in values:
        if value >= COLOUR:
            colours.append((value >> 16 & 255, value >> 8 & 255, value & 255))
        elif palette and 3 * value + 2 < len(palette):
            colours.append((palette[3 * value], palette[3 * value + 1], palette[3 * value + 2]))
    return tuple(colours) if len(colours) == len(values) else ()
