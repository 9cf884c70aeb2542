"""Data sets in files of other kinds: a table of paths and labels, arrays in .npz, volumes, videos, WAV signals.

Each function returns the images to train on and those to test on: as the files say, else every fifth sample of a
class is kept for testing. What comes from outside is not trusted: nothing is pickled, and sizes are checked before
memory is taken.
"""

import csv
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tatami.data.class_folders import class_folders, files_with, is_folder, visible
from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.image_files import ImageFile, checked_size, read_pixels, size_and_colour
from tatami.data.image_folder import common_size, images_below
from tatami.data.on_demand import DecodedFiles, Decoder
from tatami.data.sound import read_wav
from tatami.data.splits import positions_within_class, split_off_test
from tatami.errors import DataError

LARGEST_TABLE = 256 * 2**20
LARGEST_ARRAYS = 16 * 2**30
IMAGE_NAMES = ("images", "x", "data")
LABEL_NAMES = ("labels", "y", "target")
FORMAT = ImageFormat(maximum=255)


def load_table(
    path: str | Path, size: int | tuple[int, int] | None = None, channels: int | None = None
) -> DatasetSplits:
    """Load a CSV file with the columns ``path`` and ``label``, and optionally ``part`` (train or test).

    Paths are relative to the file. Images are decoded when a batch needs them.

    Raises:
        DataError: a column or an image is missing, a path leads out of the file's folder, a part is unknown.
    """
    table = Path(path).expanduser()
    rows = rows_of(table)
    paths = [inside(table.parent, row["path"], table) for row in rows]
    names = sorted({row["label"] for row in rows}, key=lambda name: (not name.isdecimal(), name.zfill(12)))
    labels = np.array([names.index(row["label"]) for row in rows], np.int64)
    if channels is None:
        channels = 3 if any(size_and_colour(place)[1] for place in paths) else 1
    spatial = (
        checked_size(size) if size else common_size({place: size_and_colour(place)[0] for place in paths})
    )
    shape = (channels, *spatial)

    def part(at: NDArray[np.int64]) -> Dataset:
        decode = DecodedFiles(
            [paths[number] for number in at],
            shape,
            np.uint8,
            ImageFile(channels, spatial),
        )
        return Dataset(table.stem, cast(NDArray[Any], decode), labels[at], tuple(names), FORMAT)

    parts = np.array([row.get("part") or "train" for row in rows])
    unknown = sorted(set(parts.tolist()) - {"train", "test"})
    if unknown:
        raise DataError(f"{table}: the column 'part' holds {unknown[0]!r}; expected train or test")
    if (parts == "test").any() and (parts == "train").any():
        return DatasetSplits(
            train=part(np.flatnonzero(parts == "train")), test=part(np.flatnonzero(parts == "test"))
        )
    return split_off_test(part(np.arange(len(rows))))


def rows_of(table: Path) -> list[dict[str, str]]:
    """Read the rows of a table."""
    try:
        if table.stat().st_size > LARGEST_TABLE:
            raise DataError(f"{table}: more than {LARGEST_TABLE:,} bytes are not read")
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{table}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8 ({error})") from error
    if not rows:
        raise DataError(
            f"{table}: the table has no rows; expected a header with path and label, and a row for each image"
        )
    for number, row in enumerate(rows, start=2):
        if not row.get("path") or not row.get("label"):
            raise DataError(
                f"{table}: line {number} has no path or no label; the columns are path, label, part"
            )
    return rows


def inside(folder: Path, name: str, table: Path) -> Path:
    """Return a path below a folder, or raise if it leads out of it."""
    root = folder.resolve()
    place = (root / name.replace("\0", "")).resolve()
    if not place.is_relative_to(root):
        raise DataError(
            f"{table}: the path {name!r} leads out of {folder}; only files beside the table are read"
        )
    return place


def load_arrays(path: str | Path) -> DatasetSplits:
    """Load an ``.npz`` file with the arrays images and labels (or x and y), and optionally x_test and y_test.

    Images are (N, C, *spatial), (N, H, W) or (N, features).

    Raises:
        DataError: not such a file, pickled objects in it, or more than 16 GiB.
    """
    place = Path(path).expanduser()
    known = read_arrays(place)

    def part(suffix: str) -> Dataset | None:
        images = next((known[name + suffix] for name in IMAGE_NAMES if name + suffix in known), None)
        labels = next((known[name + suffix] for name in LABEL_NAMES if name + suffix in known), None)
        if images is None or labels is None:
            return None
        if images.ndim == 3:
            images = images[:, None]
        if labels.dtype.kind not in "ui" or images.dtype.kind not in "uif":
            raise DataError(f"{place}: expected numbers for images and whole numbers for labels")
        top = 255.0 if images.dtype == np.uint8 else max(1.0, float(np.abs(images).max(initial=1)))
        return Dataset(place.stem, images, labels, format=ImageFormat(maximum=top))

    train, test = part(""), part("_test")
    if train is None:
        train = part("_train")
    if train is None:
        raise DataError(
            f"{place}: expected the arrays images and labels (or x and y), it holds {', '.join(known) or 'none'}"
        )
    return DatasetSplits(train=train, test=test) if test else split_off_test(train)


def read_arrays(place: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz`` file; nothing is unpickled.

    Raises:
        DataError: not such a file, pickled objects in it, or more than 16 GiB.
    """
    try:
        with zipfile.ZipFile(place) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        if total > LARGEST_ARRAYS:
            raise DataError(f"{place}: would unpack to {total:,} bytes, at most {LARGEST_ARRAYS:,} are read")
        with np.load(place, allow_pickle=False) as arrays:
            known = {name: arrays[name] for name in arrays.files if not name.startswith(".")}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, NotImplementedError) as error:
        raise DataError(f"{place}: not an .npz file of plain arrays, or a damaged one ({error})") from error
    except Exception as error:  # zlib.error, struct.error, SyntaxError: whatever a crafted header provokes
        if isinstance(error, DataError):
            raise
        raise DataError(f"{place}: a damaged .npz file ({type(error).__name__}: {error})") from error
    return known


def load_pairs(folder: str | Path, channels: int = 3) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load segmentation pairs: ``images/`` and ``masks/`` with files of the same names.

    Returns:
        Images (N, C, H, W) and masks (N, H, W); a mask's grey values are its labels.

    Raises:
        DataError: an image without a mask, a mask of another size.
    """
    root = Path(folder).expanduser()
    images = {path.stem: path for path in images_below(required_folder(root / "images"))}
    masks = {path.stem: path for path in images_below(required_folder(root / "masks"))}
    if set(images) != set(masks) or not images:
        odd = sorted(set(images) ^ set(masks))
        raise DataError(
            f"{root}: every image needs a mask of the same name; without a partner: {', '.join(odd[:5])}"
        )
    for name, path in images.items():
        sizes = size_and_colour(path)[0], size_and_colour(masks[name])[0]
        if sizes[0] != sizes[1]:
            raise DataError(
                f"{masks[name]}: the mask has {sizes[1]} pixels (height, width), its image {sizes[0]}"
            )
    common_size({path: size_and_colour(path)[0] for path in images.values()})
    pixels = np.stack([read_pixels(path, channels) for path in images.values()])
    labels = np.stack([read_pixels(masks[name], 1)[0] for name in images]).astype(np.int64)
    return pixels, labels


def required_folder(folder: Path) -> Path:
    """Return a folder, or raise if there is none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; pairs lie in images/ and masks/")
    return folder


def load_signals(folder: str | Path, length: int | None = None) -> DatasetSplits:
    """Load class folders of WAV files as signals (channels, length) in -1 … 1, cut or filled with silence.

    Args:
        folder: with one sub-folder for each class.
        length: samples of a signal; by default the longest has.
    """
    root = Path(folder).expanduser()
    files = files_by_class(root, (".wav",))
    found = {path: read_wav(path).samples for paths in files.values() for path in paths}
    channels = {len(signal) for signal in found.values()}
    if len(channels) > 1:
        raise DataError(f"{root}: the signals have {sorted(channels)} channels; all must have as many")
    longest = length or max(signal.shape[1] for signal in found.values())

    def fitted(path: Path) -> NDArray[np.float32]:
        signal = found[path][:, :longest]
        return np.pad(signal, ((0, 0), (0, longest - signal.shape[1])))

    return in_turn(root, files, fitted, ImageFormat(maximum=1.0))


def load_volumes(folder: str | Path) -> DatasetSplits:
    """Load class folders of volumes: ``.npy`` files (D, H, W) or (C, D, H, W), or folders of frames (videos).

    Volumes are memory-mapped and frames decoded when a batch needs them.
    """
    root = Path(folder).expanduser()
    files = files_by_class(root, (".npy",), folders=True)
    return in_turn(root, files, VolumeFile(), ImageFormat(maximum=255.0), keep=False)


@dataclass(frozen=True)
class VolumeFile(Decoder):
    """Decodes volumes and folders of frames by `read_volume`."""

    def __call__(self, path: Path) -> NDArray[Any]:
        """Return (C, D, H, W)."""
        return read_volume(path)


def read_volume(path: Path) -> NDArray[Any]:
    """Read one volume, or the frames of a folder in the order of their names, as (C, D, H, W)."""
    if path.is_dir():
        frames = images_below(path)
        if not frames:
            raise DataError(f"{path}: the folder has no frames (images)")
        common_size({frame: size_and_colour(frame)[0] for frame in frames})
        channels = 3 if any(size_and_colour(frame)[1] for frame in frames) else 1
        return np.stack([read_pixels(frame, channels) for frame in frames], axis=1)
    try:
        volume = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise DataError(f"{path}: not a plain .npy array, or a damaged one ({error})") from error
    except Exception as error:  # whatever else a crafted header provokes in NumPy's reader
        raise DataError(f"{path}: a damaged .npy file ({type(error).__name__}: {error})") from error
    if volume.ndim not in (3, 4) or volume.dtype.kind not in "uif" or volume.size == 0:
        raise DataError(
            f"{path}: expected numbers (D, H, W) or (C, D, H, W), got {volume.dtype} {volume.shape}"
        )
    return np.asarray(volume[None] if volume.ndim == 3 else volume)


def files_by_class(root: Path, suffixes: Sequence[str], *, folders: bool = False) -> dict[str, list[Path]]:
    """Return the files of each class folder; raise if there are fewer than two classes or an empty one."""
    if not is_folder(root):
        raise DataError(f"{root}: no such folder")
    files = {
        name: [path for path in visible(place) if is_folder(path)] if folders else []
        for name, place in class_folders(root).items()
    }
    for name, place in class_folders(root).items():
        files[name] = files[name] or files_with(place, suffixes)
    if len(files) < 2:
        raise DataError(f"{root}: expected at least two sub-folders, one for each class, found {len(files)}")
    for name, paths in files.items():
        if not paths:
            raise DataError(
                f"{root / name}: the class has no {' or '.join(suffixes)} files; add some or remove it"
            )
    return files


def in_turn(
    root: Path,
    files: dict[str, list[Path]],
    decode: Callable[[Path], NDArray[Any]],
    sample_format: ImageFormat,
    *,
    keep: bool = True,
) -> DatasetSplits:
    """Return the samples of all classes in turn, in memory or on demand, divided for testing."""
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files.values()])
    order = np.lexsort((labels, positions_within_class(labels)))
    paths = [path for group in files.values() for path in group]
    first = decode(paths[0])
    samples = DecodedFiles([paths[at] for at in order], first.shape, first.dtype, decode)
    images = np.asarray(samples) if keep else cast(NDArray[Any], samples)
    return split_off_test(Dataset(root.resolve().name, images, labels[order], tuple(files), sample_format))
