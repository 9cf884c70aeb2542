"""Reading images: as they are for a data set, or brought to what a network was trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import ImageFormat
from tatami.data.image_formats import LARGEST_PIXELS, Picture, opened
from tatami.data.on_demand import Decoder
from tatami.data.pillow import pillow
from tatami.errors import DataError, SettingError, ShapeError

MODE_OF_CHANNELS = {1: "L", 3: "RGB"}
ORIENTATION = 0x0112
# What brings an image upright that its camera stored otherwise, by the number in its EXIF data; the last four turn it
# on its side.
UPRIGHT = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip
INVERT_CHOICES = ("auto", True, False)
# A point belongs to a drawing where it stands out from the ground by this share of the strongest contrast.
INK_CONTRAST = 0.25
# An image is never decoded at less than so many times the size that it is brought to.
DRAFT_MARGIN = 2


def size_and_colour(path: Path) -> tuple[tuple[int, int], bool]:
    """Return ((height, width), has colour) from an image's header, turned as its EXIF data say."""
    with opened(path) as image:
        height, width = image.height, image.width
        # Pillow turns TIFF by itself, and says the size that comes out.
        if image.format != "TIFF" and orientation_of(image) >= 5:
            height, width = width, height
        return (height, width), not is_grey(image)


def orientation_of(image: Picture) -> int:
    """Return how a camera was held, 1 to 8; 1 where the EXIF data do not say it or cannot be read."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # whatever damaged EXIF data provoke in Pillow: the pixels may be well
        return 1
    return int(value) if value in UPRIGHT else 1


def is_grey(image: Picture) -> bool:
    """Say whether an image has nothing but greys, apart from transparency."""
    if image.mode in ("P", "PA"):
        palette = image.getpalette("RGB") or []
        return palette[0::3] == palette[1::3] == palette[2::3]
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def read_pixels(path: Path, channels: int, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Read an image as (C, H, W) bytes.

    It is turned as its EXIF data say; what is transparent becomes white, like paper; 16-bit greys keep their
    upper byte; of several frames or pages the first one counts; with ``size`` it is resized, averaging where it
    shrinks.

    Args:
        path: a file of any format in `tatami.data.image_formats`.
        channels: 1 for grey, 3 for red, green, blue.
        size: (height, width) to resize to, or None to keep it.

    Raises:
        DataError: not readable, truncated, too large, or pixels whose range is not known.
        SettingError: another number of channels.
    """
    if channels not in MODE_OF_CHANNELS:
        raise SettingError(f"an image gives 1 channel (grey) or 3 (colour), asked for {channels}")
    with opened(path) as image:
        if size is not None:
            # A JPEG of a size far above is decoded at a half, a quarter or an eighth of it, as its blocks allow.
            least = DRAFT_MARGIN * max(size)
            image.draft(None, (least, least))
        picture = flattened(upright(image), path).convert(MODE_OF_CHANNELS[channels])
        return channels_first(picture if size is None else of_size(picture, size))


def of_size(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return a picture of (height, width): Hamming's window where both sides shrink, Lanczos' where one grows.

    Both take the mean of pixels that fall together; Hamming's is nearly as sharp as Lanczos', at a third of its cost.
    """
    height, width = size
    if picture.size == (width, height):
        return picture
    filters = pillow("Image").Resampling
    shrinks = picture.width >= width and picture.height >= height
    return picture.resize((width, height), filters.HAMMING if shrinks else filters.LANCZOS)


def upright(image: Picture) -> Picture:
    """Decode an image and turn it as its EXIF data say."""
    # A decoder that turns by itself does so here, and then no longer says that it has to be done.
    image.load()
    orientation = orientation_of(image)
    if orientation == 1:
        return image
    return image.transpose(getattr(pillow("Image").Transpose, UPRIGHT[orientation]))


@dataclass(frozen=True)
class ImageFile(Decoder):
    """Decodes images by `read_pixels`.

    Attributes:
        channels: 1 for grey, 3 for red, green, blue.
        size: (height, width) to resize to; empty to keep it.
    """

    channels: int
    size: Sequence[int] = ()

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        """Return (C, H, W) bytes."""
        return read_pixels(path, self.channels, (self.size[0], self.size[1]) if self.size else None)


def flattened(picture: Picture, path: Path) -> Picture:
    """Return an image without transparency and with bytes for pixels; raise if they have no range to bring to bytes."""
    library = pillow("Image")
    if picture.mode == "F":
        raise DataError(
            f"{path}: floating-point pixels have no range that is agreed on; save the image with 8 or 16 bits, or the "
            f"arrays of all images in an .npz file"
        )
    if picture.mode == "LAB":
        raise DataError(f"{path}: Lab colours are not read; convert the image to RGB")
    if picture.mode.startswith("I"):
        return library.fromarray(upper_bytes(np.asarray(picture), path))
    if picture.has_transparency_data:
        layers = picture.convert("RGBA")
        paper = library.new("RGBA", layers.size, "white")
        return library.alpha_composite(paper, layers).convert("RGB")
    return picture


def upper_bytes(pixels: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Return the upper bytes of 16-bit greys; raise for values that need more bits."""
    if pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise DataError(
            f"{path}: greys from {pixels.min()} to {pixels.max()}; 8 and 16 bits are read, more have no range that is "
            f"agreed on"
        )
    return (pixels >> 8).astype(np.uint8)


def channels_first(picture: Picture) -> NDArray[np.uint8]:
    """Return a grey or RGB picture as (C, H, W)."""
    pixels = np.asarray(picture, dtype=np.uint8)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def read_images(
    paths: Iterable[str | Path],
    image_shape: Sequence[int],
    image_format: ImageFormat,
    invert: str | bool = "auto",
) -> NDArray[np.float32]:
    """Read images from files and bring them to what a network was trained on.

    1. Grey or colour, and turned, by `read_pixels`.
    2. Inverted if ``invert`` is True. With 'auto' an image is inverted if the data show light on dark
       (``image_format.background`` is 'dark') and the median of its border is in the lighter half: ink on paper.
    3. An image of the network's size stays as it is. Another one is resized; if the data show centred drawings
       (``image_format.fill``), the drawing is first cut out, scaled so that its longer side fills that share of
       the image, and put into the middle: by its centre of mass, or by its box if it fills the image.
    4. Values are scaled from 0 … 255 to 0 … ``image_format.maximum``.

    Args:
        paths: image files.
        image_shape: (C, H, W) of the network's input.
        image_format: what the images of the data set had in common.
        invert: 'auto', True or False.

    Returns:
        An array (N, C, H, W), ready for the preprocessing.

    Raises:
        DataError: no images, or one that cannot be read.
        ShapeError: a network that does not take images.
        SettingError: another value of ``invert``.
    """
    if len(image_shape) != 3 or image_shape[0] not in MODE_OF_CHANNELS:
        raise ShapeError(
            f"the network takes inputs of shape {tuple(image_shape)}; an image file gives (1, H, W) or (3, H, W)"
        )
    if invert not in INVERT_CHOICES:
        raise SettingError(f"invert must be 'auto', True or False, got {invert!r}")
    channels, height, width = image_shape
    images = []
    for path in paths:
        pixels = read_pixels(Path(path), channels)
        if invert is True or (invert == "auto" and should_invert(pixels, image_format)):
            pixels = 255 - pixels
        images.append(fitted(pixels, (height, width), image_format.fill))
    if not images:
        raise DataError("no images were named")
    return (np.stack(images) * np.float32(image_format.maximum / 255)).astype(np.float32)


def should_invert(pixels: NDArray[np.uint8], image_format: ImageFormat) -> bool:
    """Say whether an image is dark on light while the network knows light on dark."""
    return image_format.background == "dark" and ground_level(pixels) > 127.5


def ground_level(pixels: NDArray[np.uint8]) -> float:
    """Return the median of an image's border, which is taken for its ground."""
    return float(
        np.median(np.concatenate([pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], axis=1))
    )


def fitted(pixels: NDArray[np.uint8], size: tuple[int, int], fill: float | None) -> NDArray[np.uint8]:
    """Bring (C, H, W) to the size of the network; a centred drawing to the place where the data have theirs."""
    if pixels.shape[1:] == size:
        return pixels
    if fill is not None and (box := drawing_box(pixels)) is not None:
        return placed(pixels[:, box[0], box[1]], size, fill, ground_level(pixels))
    return resized(pixels, size)


def resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (C, H, W), averaging where it shrinks."""
    picture = pillow("Image").fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    return channels_first(of_size(picture, size))


def contrast(pixels: NDArray[np.uint8], ground: float) -> NDArray[np.float64]:
    """Return for every point of (C, H, W) how far it stands out from the ground."""
    strength: NDArray[np.float64] = np.abs(pixels.astype(np.float64) - ground).max(axis=0)
    return strength


def drawing_box(pixels: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """Return the rows and columns that a drawing takes up, or None for an image with nothing on it."""
    strength = contrast(pixels, ground_level(pixels))
    if strength.max() == 0:
        return None
    inked = strength > INK_CONTRAST * strength.max()
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def placed(
    drawing: NDArray[np.uint8], size: tuple[int, int], fill: float, ground: float
) -> NDArray[np.uint8]:
    """Scale a drawing so that it fills a share of an empty image, and put it into the middle."""
    scale = min(fill * whole / part for whole, part in zip(size, drawing.shape[1:], strict=True))
    height, width = (
        max(1, min(whole, round(part * scale))) for whole, part in zip(size, drawing.shape[1:], strict=True)
    )
    small = resized(drawing, (height, width))
    starts = (size[0] - height + 1) // 2, (size[1] - width + 1) // 2
    if fill < 1:
        starts = mass_in_the_middle(contrast(small, ground), size)
    image = np.full((len(drawing), *size), round(ground), dtype=np.uint8)
    image[:, starts[0] : starts[0] + height, starts[1] : starts[1] + width] = small
    return image


def mass_in_the_middle(weight: NDArray[np.float64], size: tuple[int, int]) -> tuple[int, int]:
    """Return where a drawing has to start so that its centre of mass is at size / 2, as MNIST has it.

    Both are counted in pixels from 0; the drawing stays within the image.
    """
    starts = []
    for axis, (whole, part) in enumerate(zip(size, weight.shape, strict=True)):
        centre = np.arange(part) @ weight.sum(axis=1 - axis) / weight.sum()
        starts.append(min(max(round(whole / 2 - centre), 0), whole - part))
    return starts[0], starts[1]


def checked_size(size: Any) -> tuple[int, int]:
    """Return (height, width) from one number or two; raise a SettingError for anything else.

    >>> checked_size(28)
    (28, 28)
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and side >= 1 for side in pair):
        raise SettingError(f"size must be one number or (height, width), each at least 1, got {size!r}")
    if pair[0] * pair[1] > LARGEST_PIXELS:
        raise SettingError(f"size: at most {LARGEST_PIXELS:,} pixels, got {pair[0]} x {pair[1]}")
    return pair
