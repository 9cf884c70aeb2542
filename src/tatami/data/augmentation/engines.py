"""Who reads images at other places and blurs them: NumPy, the same bits everywhere, or OpenCV, several times faster.

Where every point of a result is read is computed once, by NumPy, for both; so are the weights of a blur. What differs
is the arithmetic of the reading itself. Images in 0 … 1 differ by at most `BOUND`; masks, which are read at the nearest
points by NumPy in either case, not at all.

OpenCV chooses its instructions by the processor, so its last bits are those of one version on one kind of machine.
A run that draws with it therefore keeps the fingerprint of a probe, a small picture that is drawn again whenever the
engine is taken up: one that differs is refused before it can draw something that the network never saw.
"""

import functools
import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.resampling import Outside, Places, sample
from tatami.description import Described
from tatami.errors import MissingExtraError, SettingError, import_extra

# The largest difference between both engines, of images in 0 … 1: most is 1e-5, from OpenCV's fused multiply-adds;
# an elastic distortion of white noise, 224 points wide, comes to 2e-4.
BOUND = 1e-3
# OpenCV 4 rounds places to 1/32 of a point, which is 0.03 of the range; 5 does not.
OLDEST_OPENCV = 5
# OpenCV counts rows and columns in 16 bits.
LONGEST_SIDE = 2**15 - 1
ENGINE_NAMES = ("auto", "numpy", "opencv")


@dataclass(frozen=True)
class Engine(Described, family="engine", abstract=True):
    """Base of the engines."""

    def require_ready(self) -> None:
        """Raise unless the engine is here and draws what it drew when the run began."""

    def settled(self) -> "Engine":
        """Return the engine with all that a run has to keep about it."""
        return self

    def sample(self, images: NDArray[np.float32], places: Places, outside: Outside) -> NDArray[np.float32]:
        """Read images (N, C, H, W) at places (N, h, w), bilinear: (N, C, h, w)."""
        raise NotImplementedError

    def filtered(
        self, images: NDArray[np.float32], taps: NDArray[np.float32], axes: int
    ) -> NDArray[np.float32]:
        """Correlate each of (N, C, *spatial) with its taps (N, odd number) along its last axes, one or two."""
        raise NotImplementedError


@dataclass(frozen=True)
class NumPy(Engine):
    """Additions and multiplications of float32, each on its own: every machine gives the same bits."""

    def sample(self, images: NDArray[np.float32], places: Places, outside: Outside) -> NDArray[np.float32]:
        """Read bilinearly."""
        return sample(images, places, outside)

    def filtered(
        self, images: NDArray[np.float32], taps: NDArray[np.float32], axes: int
    ) -> NDArray[np.float32]:
        """Correlate along one axis after the other."""
        for axis in range(images.ndim - axes, images.ndim):
            images = along(images, taps, axis)
        return images


@dataclass(frozen=True)
class OpenCV(Engine):
    """OpenCV 5, the extra ``augment``.

    It runs on as many threads as the process lets it (``cv2.setNumThreads``), which change nothing but the time; in
    worker processes on one.

    Attributes:
        version: of OpenCV, when the run began; empty before.
        probe: fingerprint of what it drew then; empty before.

    >>> OpenCV().to_json()
    {'type': 'OpenCV', 'version': '', 'probe': ''}
    """

    version: str = ""
    probe: str = ""

    def require_ready(self) -> None:
        """Raise a MissingExtraError without OpenCV 5, a SettingError if it is not the one that the run began with."""
        found = probed()
        if self.probe and found.probe != self.probe:
            raise SettingError(
                f"the images of this run were drawn by OpenCV {self.version} (its probe has the fingerprint "
                f"{self.probe}); the OpenCV {found.version} of this machine draws other bits ({found.probe}), so that "
                f"the run cannot go on or be drawn again here: use the OpenCV and the kind of processor that it began "
                f"with. Runs that are drawn by NumPy have the same bits everywhere"
            )

    def settled(self) -> "OpenCV":
        """Return the engine with the version and the probe of this machine."""
        self.require_ready()
        return probed()

    def sample(self, images: NDArray[np.float32], places: Places, outside: Outside) -> NDArray[np.float32]:
        """Read bilinearly, one image and channel after the other, so that none depends on its batch."""
        count, channels, *size = images.shape
        wanted = places.rows.shape[1:]
        if max(*size, *wanted) >= LONGEST_SIDE:
            return sample(images, places, outside)
        cv = opencv()
        border = borders()[outside.border]
        images = np.ascontiguousarray(images)
        result = np.empty((count, channels, *wanted), np.float32)
        read, linear, fill = cv.remap, cv.INTER_LINEAR, outside.fill
        for channel in range(channels):
            planes = zip(images[:, channel], places.columns, places.rows, result[:, channel], strict=True)
            for plane, columns, rows, drawn in planes:
                read(plane, columns, rows, linear, drawn, border, fill)
        return result

    def filtered(
        self, images: NDArray[np.float32], taps: NDArray[np.float32], axes: int
    ) -> NDArray[np.float32]:
        """Correlate planes along both axes at once; a single axis is left to NumPy."""
        if axes != 2 or max(images.shape[-2:]) >= LONGEST_SIDE:
            return NumPy().filtered(images, taps, axes)
        cv = opencv()
        images = np.ascontiguousarray(images)
        result = np.empty_like(images)
        planes = images.reshape(len(images), -1, *images.shape[-2:])
        filtered = result.reshape(planes.shape)
        for number, weights in enumerate(taps):
            # Each sample has its own width, so that rounding does not depend on its neighbours' zeros.
            own = trimmed(weights)
            for plane in range(planes.shape[1]):
                cv.sepFilter2D(
                    planes[number, plane], -1, own, own,
                    dst=filtered[number, plane], borderType=cv.BORDER_REPLICATE,
                )  # fmt: skip
        return result


def along(images: NDArray[np.float32], taps: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Correlate each sample with its taps along one axis; beyond the border lie the nearest points."""
    radius = taps.shape[1] // 2
    width = [(0, 0)] * images.ndim
    width[axis] = (radius, radius)
    padded = np.moveaxis(np.pad(images, width, mode="edge"), axis, -1)
    size = images.shape[axis]
    total = np.zeros((*padded.shape[:-1], size), np.float32)
    against = (-1, *(1,) * (images.ndim - 1))
    for place in range(taps.shape[1]):
        total += taps[:, place].reshape(against) * padded[..., place : place + size]
    return np.moveaxis(total, -1, axis)


def trimmed(taps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Leave out the zeros at both ends.

    >>> trimmed(np.array([0, 0.25, 0.5, 0.25, 0], np.float32)).tolist()
    [0.25, 0.5, 0.25]
    """
    radius = len(taps) // 2
    used = int(np.abs(np.flatnonzero(taps) - radius).max(initial=0))
    return np.ascontiguousarray(taps[radius - used : radius + used + 1])


def opencv() -> Any:
    """Return OpenCV.

    Raises:
        MissingExtraError: it is not installed, or older than 5.
    """
    cv = import_extra("cv2", "augment", "to draw augmented images with it", package="OpenCV")
    major = re.match(r"\d+", cv.__version__)
    if major is None or int(major[0]) < OLDEST_OPENCV:
        raise MissingExtraError(
            f"OpenCV {OLDEST_OPENCV} or newer is needed to draw augmented images, {cv.__version__} is installed and "
            f"rounds places to 1/32 of a point; install the newer one with: pip install 'tatami[augment]'"
        )
    return cv


@functools.cache
def borders() -> dict[str, int]:
    """Return OpenCV's numbers for what lies outside."""
    cv = opencv()
    return {
        "constant": cv.BORDER_CONSTANT,
        "edge": cv.BORDER_REPLICATE,
        "reflect": cv.BORDER_REFLECT_101,
    }


@functools.cache
def probed() -> OpenCV:
    """Return OpenCV as it is here: its version, and the fingerprint of the probe."""
    return replace(OpenCV(), version=str(opencv().__version__), probe=probe(OpenCV()))


def probe(engine: Engine) -> str:
    """Return the fingerprint of a small picture: odd sizes, every border, places in- and outside, two blurs."""
    height, width = 37, 53
    grid = np.arange(2 * height * width, dtype=np.int64)
    images = ((grid * 7919 % 1009) / np.float32(1009)).astype(np.float32).reshape(2, 1, height, width)
    row, column = (axis.astype(np.float32) for axis in np.indices((height, width)))
    bend = np.float32(0.01) * row * column / np.float32(7)
    shift = np.array([-3.3125, 4.7], np.float32)[:, None, None]
    places = Places(
        row * np.float32(0.9) + bend + shift, column * np.float32(1.07) - bend - shift * np.float32(0.61)
    )
    digest = hashlib.sha256()
    for border in ("constant", "edge", "reflect"):
        digest.update(engine.sample(images, places, Outside(border, 0.25)).tobytes())
    distance = np.abs(np.arange(-4, 5))
    taps = np.stack([0.5**distance, 0.8**distance]).astype(np.float32)
    digest.update(engine.filtered(images, taps / np.float32(6), 2).tobytes())
    return digest.hexdigest()[:16]


def is_installed() -> bool:
    """Say whether OpenCV can draw here."""
    try:
        opencv()
    except MissingExtraError:
        return False
    return True


NUMPY = NumPy()
