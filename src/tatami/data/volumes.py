"""Class folders of volumes in ``.npy`` files, and of videos in folders of frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.class_files import files_by_class, folders_by_class, in_turn
from tatami.data.dataset import DatasetSplits, ImageFormat
from tatami.data.image_files import checked_size, read_pixels, size_and_colour
from tatami.data.image_folder import images_below
from tatami.data.on_demand import Decoder, largest_value
from tatami.errors import DataError, SettingError

MAXIMA = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
# The range of other numbers is looked up in so many volumes.
LOOKED_AT = 16


def load_volumes(folder: str | Path) -> DatasetSplits:
    """Load class folders of volumes: ``.npy`` files of numbers (D, H, W) or (C, D, H, W), all of one shape and type.

    Above 2 GiB they stay in their files, memory-mapped, until a batch needs them.

    Raises:
        DataError: a file that is no such array, or of another shape or type than the first.
    """
    root = Path(folder).expanduser()
    files = files_by_class(root, (".npy",))
    paths = files.paths
    first = read_volume(paths[0])
    for path in paths:
        volume = read_volume(path)
        if (volume.shape, volume.dtype) != (first.shape, first.dtype):
            raise DataError(
                f"{path}: has shape {volume.shape} of {volume.dtype}, {paths[0]} has {first.shape} of {first.dtype}; "
                f"all must have the same"
            )
    some = paths[:: -(-len(paths) // LOOKED_AT)]
    maximum = MAXIMA.get(first.dtype) or max(1.0, *(largest_value(read_volume(path)) for path in some))
    return in_turn(root, files, VolumeFile(), (first.shape, first.dtype), ImageFormat(maximum=maximum))


@dataclass(frozen=True)
class VolumeFile(Decoder):
    """Maps volumes by `read_volume`."""

    def __call__(self, path: Path) -> NDArray[Any]:
        """Return (C, D, H, W)."""
        return read_volume(path)


def read_volume(path: Path) -> NDArray[Any]:
    """Map one volume into memory, as (C, D, H, W).

    Raises:
        DataError: not a plain array of numbers of that shape.
    """
    try:
        volume = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (
        Exception
    ) as error:  # SyntaxError, struct.error: whatever a crafted header provokes in NumPy's reader
        raise DataError(f"{path}: not a plain .npy array, or a damaged one ({error})") from error
    if volume.ndim not in (3, 4) or volume.dtype.kind not in "uif" or volume.size == 0:
        raise DataError(
            f"{path}: expected numbers (D, H, W) or (C, D, H, W), got {volume.dtype} {volume.shape}"
        )
    return np.asarray(volume[None] if volume.ndim == 3 else volume)


def load_videos(
    folder: str | Path, size: int | tuple[int, int] | None = None, channels: int | None = None
) -> DatasetSplits:
    """Load class folders of videos: each a folder of frames, in the order of their names, as (C, frames, H, W).

    Args:
        folder: with one sub-folder for each class, and in it one for each video.
        size: (height, width), or one number for both, to resize frames to; without it all must be of one size.
        channels: 1 for grey, 3 for colour; without it grey if the first frames of all videos are.

    Raises:
        DataError: a video without frames or with another number of them, frames of different sizes.
        SettingError: a size or a number of channels that cannot be.
    """
    if channels not in (None, 1, 3):
        raise SettingError(f"channels must be 1 (grey) or 3 (colour), got {channels!r}")
    root = Path(folder).expanduser()
    files = folders_by_class(root)
    paths = files.paths
    frames = {path: frames_of(path) for path in paths}
    for path in paths:
        if len(frames[path]) != len(frames[paths[0]]):
            raise DataError(
                f"{path}: has {len(frames[path])} frames, {paths[0]} has {len(frames[paths[0]])}; all videos must have "
                f"as many"
            )
    headers = {path: size_and_colour(found[0]) for path, found in frames.items()}
    depth = channels or (3 if any(colour for _, colour in headers.values()) else 1)
    spatial = headers[paths[0]][0] if size is None else checked_size(size)
    shape = (depth, len(frames[paths[0]]), *spatial)
    return in_turn(
        root, files, VideoFile(shape, size is not None), (shape, np.uint8), ImageFormat(maximum=255)
    )


@dataclass(frozen=True)
class VideoFile(Decoder):
    """Reads folders of frames by `read_video`."""

    shape: Sequence[int]
    resize: bool

    def __call__(self, path: Path) -> NDArray[Any]:
        """Return (C, frames, H, W)."""
        return read_video(path, tuple(self.shape), self.resize)


def frames_of(folder: Path) -> list[Path]:
    """Return the frames of a video in the order of their names."""
    frames = images_below(folder)
    if not frames:
        raise DataError(f"{folder}: the folder has no frames (images)")
    return frames


def read_video(path: Path, shape: tuple[int, ...], resize: bool) -> NDArray[np.uint8]:
    """Read the frames of a folder as (C, frames, H, W).

    Raises:
        DataError: another number of frames, or one of another size.
    """
    frames = frames_of(path)
    if len(frames) != shape[1]:
        raise DataError(f"{path}: has {len(frames)} frames, expected {shape[1]}")
    video = np.empty(shape, np.uint8)
    for number, frame in enumerate(frames):
        pixels = read_pixels(frame, shape[0], (shape[2], shape[3]) if resize else None)
        if pixels.shape[1:] != shape[2:]:
            raise DataError(
                f"{frame}: has {pixels.shape[1]} x {pixels.shape[2]} pixels (height x width), others have {shape[2]} x "
                f"{shape[3]}; give the size to bring them to (size=)"
            )
        video[:, number] = pixels
    return video
