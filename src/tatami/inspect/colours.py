"""From numbers to colours: planes as RGB images and as PNG files in a text (extra ``plot`` for the colour scales)."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.pillow import pillow
from tatami.errors import import_extra
from tatami.inspect.grids import MOST_ROWS, plane, tile

SIGNED, HEAT, GREY, INK_ON_PAPER = "RdBu_r", "Reds", "gray", "gray_r"
PURPOSE = "to colour pictures of a network"
# Largest side of a picture in a page; beyond it browsers scale anyway.
LARGEST_SIDE = 4096


def coloured(
    plane: NDArray[Any], scale: str, low: float | None = None, high: float | None = None
) -> NDArray[np.uint8]:
    """Return a plane (H, W) as (H, W, 4) bytes of red, green, blue and opacity; NaN is transparent.

    Args:
        plane: the numbers.
        scale: name of a colour scale of matplotlib. With the one for signed numbers 0 is white.
        low: number for the first colour; by default the smallest (for signed numbers minus the largest magnitude).
        high: number for the last colour, likewise.

    Raises:
        MissingExtraError: matplotlib is not installed.

    >>> coloured(np.array([[0.0, 1.0, np.nan]]), GREY)[0]
    array([[  0,   0,   0, 255],
           [255, 255, 255, 255],
           [  0,   0,   0,   0]], dtype=uint8)
    """
    matplotlib = import_extra("matplotlib", "plot", PURPOSE)
    values = np.asarray(plane, dtype=np.float64)
    bottom, top = limits(values, scale, low, high)
    shares = (values - bottom) / ((top - bottom) or 1.0)
    colours = matplotlib.colormaps[scale](np.nan_to_num(np.clip(shares, 0, 1)), bytes=True)
    colours[np.isnan(values)] = 0
    return np.asarray(colours, dtype=np.uint8)


def limits(
    values: NDArray[np.float64], scale: str, low: float | None, high: float | None
) -> tuple[float, float]:
    """Return the numbers for the first and the last colour."""
    known = values[np.isfinite(values)]
    if scale == SIGNED:
        largest = float(np.abs(known).max(initial=0)) or 1.0
        return (-largest if low is None else low), (largest if high is None else high)
    return (
        float(known.min(initial=np.inf)) if low is None and known.size else low or 0.0,
        float(known.max(initial=-np.inf)) if high is None and known.size else high or 0.0,
    )


def as_image(
    picture: NDArray[Any], *, as_ink: bool = False, limits: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Return an example as `grids.picture` gives it, (H, W) or (H, W, 3), in its own colours or in greys.

    Args:
        picture: the numbers.
        as_ink: draw large numbers dark, like ink on paper; for light strokes on a dark ground.
        limits: numbers for black and white; by default the smallest and the largest of this picture.
    """
    low, high = (float(picture.min()), float(picture.max())) if limits is None else limits
    if picture.ndim == 2:
        return coloured(picture, INK_ON_PAPER if as_ink else GREY, low, high)
    stretched = np.clip((picture - low) / ((high - low) or 1.0), 0, 1)
    opaque = np.ones((*picture.shape[:2], 1))
    return np.asarray(np.round(255 * np.concatenate([stretched, opaque], axis=2)), dtype=np.uint8)


def colour_filters(filters: NDArray[Any]) -> NDArray[np.uint8]:
    """Return filters (K, 3, H, W) over the three colours as a grid of small colour pictures, in which grey is zero.

    >>> colour_filters(np.zeros((4, 3, 5, 5)))[0, 0], colour_filters(np.zeros((4, 3, 5, 5))).shape
    (array([128, 128, 128, 255], dtype=uint8), (11, 11, 4))
    """
    grids = np.stack([tile(filters[:MOST_ROWS, channel]) for channel in range(3)], axis=-1)
    gaps = np.isnan(grids[..., :1])
    shares = np.where(gaps, 0, np.clip((grids + 1) / 2, 0, 1))
    return np.asarray(np.round(255 * np.concatenate([shares, ~gaps], axis=2)), dtype=np.uint8)


def laid_over(heat: NDArray[np.uint8], image: NDArray[np.uint8], strength: float = 0.3) -> NDArray[np.uint8]:
    """Darken a coloured map where an image of the same size is dark, so that one sees where it lies on the image."""
    grey = image[..., :3].mean(axis=2, keepdims=True) / 255
    mixed = heat[..., :3] * (1 - strength + strength * grey)
    return np.concatenate([np.round(mixed).astype(np.uint8), image[..., 3:]], axis=2)


def heat_over(
    values: NDArray[Any], shown: NDArray[Any], *, signed: bool, as_ink: bool = False
) -> NDArray[np.uint8]:
    """Return a map in colours, laid over its example where both have the same size.

    Args:
        values: the map (*spatial): with a sign red is for and blue against, else the redder the stronger.
        shown: the example as `grids.picture` gives it.
        signed: whether the map has a sign.
        as_ink: see `as_image`.
    """
    grid = plane(values)
    heat = coloured(grid, SIGNED) if signed else coloured(grid, HEAT, low=0.0)
    return laid_over(heat, as_image(shown, as_ink=as_ink)) if grid.shape == shown.shape[:2] else heat


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return (H, W, 3) or (H, W, 4) bytes as a PNG file."""
    buffer = io.BytesIO()
    pillow("Image").fromarray(pixels[:LARGEST_SIDE, :LARGEST_SIDE]).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return pixels as the address of a picture that holds the picture itself.

    >>> data_uri(np.zeros((1, 1, 3), np.uint8))[:32]
    'data:image/png;base64,iVBORw0KGg'
    """
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")
