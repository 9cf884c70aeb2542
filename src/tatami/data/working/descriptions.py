"""A data set told to another process: names and numbers as JSON, arrays as shared memory. Nothing is pickled.

Files are told by their paths and by who decodes them, memory-mapped arrays by their file, arrays in memory by a copy
that all workers share. What cannot be told so, such as images that a function of the user's makes, is left to threads.
"""

import json
import mmap
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation import Pipeline
from tatami.data.dataset import Dataset, ImageFormat
from tatami.data.on_demand import DecodedFiles, Decoder, OnDemand, Selected
from tatami.data.preprocessing import Preprocessing
from tatami.data.working.shared_memory import SharedMemory
from tatami.description import Described
from tatami.errors import SettingError

Description = dict[str, Any]
# Arrays that a description holds once more in shared memory, at most, unless processes are asked for.
LARGEST_COPY = 2**30
TOLD = ("name", "images", "labels", "class_names", "format", "targets", "target_names", "target_colours")
# What no worker needs to make batches.
NOT_TOLD = ("columns",)


class Parcel:
    """The shared memory that goes with a description."""

    def __init__(self) -> None:
        """Begin empty."""
        self.memories: list[SharedMemory] = []

    def add(self, array: NDArray[Any]) -> Description:
        """Put an array in, and return what tells where it is."""
        memory = SharedMemory.of(array)
        self.memories.append(memory)
        return {
            "kind": "array",
            "descriptor": memory.descriptor,
            "dtype": array.dtype.str,
            "shape": list(array.shape),
        }

    @property
    def descriptors(self) -> tuple[int, ...]:
        """File descriptors that the other process needs."""
        return tuple(memory.descriptor for memory in self.memories)

    def close(self) -> None:
        """Give all of it up."""
        for memory in self.memories:
            memory.close()


def why_not(dataset: Dataset, pipeline: Pipeline | None, preprocessing: Preprocessing) -> str | None:
    """Say what keeps a data set from being told to another process; None if nothing does."""
    if unknown := {entry.name for entry in fields(dataset)} - {*TOLD, *NOT_TOLD}:
        return f"{dataset.name} has {', '.join(sorted(unknown))}"
    for images in (dataset.images, dataset.targets):
        if images is not None and (reason := why_not_images(images)):
            return reason
    for part in (preprocessing, *(pipeline.steps if pipeline else ())):
        if not type(part).__module__.startswith("tatami."):
            return f"{type(part).__name__} is a class of your own, which another process does not know"
    return None


def why_not_images(images: Any) -> str | None:
    """Say what keeps images from being told to another process."""
    if isinstance(images, Selected):
        return why_not_images(images.images)
    if isinstance(images, DecodedFiles):
        if isinstance(images.decode, Decoder) and type(images.decode).__module__.startswith("tatami."):
            return None
        return "the images are decoded by a function of your own, which another process does not know"
    if isinstance(images, OnDemand):
        return f"the images are made by a {type(images).__name__}, which another process does not know"
    return None


def copied_bytes(dataset: Dataset) -> int:
    """Return how many bytes of a data set would be held once more."""

    def of(images: Any) -> int:
        if isinstance(images, Selected):
            return of(images.images)
        is_elsewhere = images is None or isinstance(images, OnDemand) or file_of(images) is not None
        return 0 if is_elsewhere else int(images.nbytes)

    return of(dataset.images) + of(dataset.targets)


def described(dataset: Dataset, parcel: Parcel) -> Description:
    """Tell a data set.

    Raises:
        SettingError: it cannot be told.
    """
    return {
        "name": dataset.name,
        "images": described_images(dataset.images, parcel),
        "labels": parcel.add(dataset.labels),
        "class_names": list(dataset.class_names),
        "format": dataset.format.to_json(),
        "targets": None if dataset.targets is None else described_images(dataset.targets, parcel),
        "target_names": list(dataset.target_names),
        "target_colours": [list(colour) for colour in dataset.target_colours],
    }


def described_images(images: Any, parcel: Parcel) -> Description:
    """Tell where images are."""
    if reason := why_not_images(images):
        raise SettingError(f"worker processes: {reason}; use threads")
    if isinstance(images, Selected):
        return {
            "kind": "selected",
            "images": described_images(images.images, parcel),
            "at": parcel.add(images.at),
        }
    if isinstance(images, DecodedFiles):
        names = json.dumps([str(path) for path in images.paths]).encode()
        return {
            "kind": "files",
            "paths": parcel.add(np.frombuffer(names, np.uint8)),
            "shape": list(images.shape[1:]),
            "dtype": images.dtype.str,
            "decode": cast(Described, images.decode).to_json(),
        }
    if (place := file_of(images)) is not None:
        path, offset = place
        return {
            "kind": "mapped",
            "path": str(path),
            "offset": offset,
            "dtype": images.dtype.str,
            "shape": list(images.shape),
        }
    return parcel.add(np.ascontiguousarray(images))


def file_of(images: Any) -> tuple[Path, int] | None:
    """Return the file and the place in it that a memory-mapped array shows; None for other arrays.

    A part of a mapped array keeps the offset of the whole, so the place is taken from the addresses.
    """
    if not isinstance(images, np.memmap) or images.filename is None or not images.flags.c_contiguous:
        return None
    whole = getattr(images, "_mmap", None)
    if whole is None or images.mode not in ("r", "r+"):
        return None
    start = np.frombuffer(whole, np.uint8).ctypes.data
    first = images.offset - images.offset % mmap.ALLOCATIONGRANULARITY
    path = Path(images.filename)
    if not path.is_file() or images.offset < 0:
        return None
    inside = images.ctypes.data - start
    if not 0 <= inside <= len(whole) - images.nbytes:
        return None
    place = first + inside
    # A file that was replaced since it was mapped goes on under its old content here, and not elsewhere.
    again = np.memmap(path, images.dtype, "r", place, images.shape) if fits(path, place, images) else None
    same = again is not None and all(np.array_equal(again[at], images[at]) for at in (0, -1))
    return (path.resolve(), place) if same else None


def fits(path: Path, offset: int, images: NDArray[Any]) -> bool:
    """Say whether a file is long enough for an array at a place in it."""
    return images.nbytes > 0 and path.stat().st_size >= offset + images.nbytes


def restored(told: Mapping[str, Any], note: Callable[[int], None]) -> Dataset:
    """Return the data set that a description tells; ``note`` is told the place of a file before it is read."""
    targets = told["targets"]
    return Dataset(
        name=told["name"],
        images=restored_images(told["images"], note),
        labels=restored_images(told["labels"], note),
        class_names=tuple(told["class_names"]),
        format=ImageFormat.from_json(told["format"]),
        targets=None if targets is None else restored_images(targets, note),
        target_names=tuple(told["target_names"]),
        target_colours=tuple((red, green, blue) for red, green, blue in told["target_colours"]),
    )


def restored_images(told: Mapping[str, Any], note: Callable[[int], None]) -> Any:
    """Return the images that a description tells."""
    kind = told["kind"]
    if kind == "selected":
        return Selected(restored_images(told["images"], note), restored_images(told["at"], note))
    if kind == "files":
        names = json.loads(restored_images(told["paths"], note).tobytes())
        decode = Decoder.from_json(told["decode"])
        return NotedFiles([Path(name) for name in names], tuple(told["shape"]), told["dtype"], decode, note)
    shape = tuple(told["shape"])
    if kind == "mapped":
        return np.memmap(told["path"], told["dtype"], "r", told["offset"], shape)
    return SharedMemory(told["descriptor"]).array(told["dtype"], shape, write=False)


class NotedFiles(DecodedFiles):
    """Files in a worker, which leaves a note of the one that it reads, for the case that it does not come back."""

    def __init__(
        self,
        paths: list[Path],
        shape: tuple[int, ...],
        dtype: str,
        decode: Decoder,
        note: Callable[[int], None],
    ) -> None:
        """Remember whom to tell."""
        super().__init__(paths, shape, dtype, decode)
        self.note = note

    def decoded(self, number: int) -> NDArray[Any]:
        """Leave the note, and decode."""
        self.note(number)
        image = super().decoded(number)
        self.note(-1)
        return image


def paths_of(images: Any) -> list[Path]:
    """Return the files that images are decoded from; none for others."""
    while isinstance(images, Selected):
        images = images.images
    return images.paths if isinstance(images, DecodedFiles) else []
