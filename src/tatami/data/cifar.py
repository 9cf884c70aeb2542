"""CIFAR-10 and CIFAR-100 in their binary form: colour photographs of 32×32 pixels, 50,000 and 10,000.

A record is one byte for the label (CIFAR-100: two, the coarse one first) and 3,072 for the pixels: red, green, blue,
each row by row. The records lie in files of their own, or in the archive that is downloaded; it is read in place and
never unpacked, so that no path in it can lead anywhere.

Source: A. Krizhevsky (2009), "Learning multiple layers of features from tiny images".
"""

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.mnist import cache_folder
from tatami.data.remote_file import RemoteFile
from tatami.errors import DataError, TatamiError

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
FORMAT = ImageFormat(maximum=255)
LARGEST_FILE = 2**28
MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "http://www.cs.toronto.edu/~kriz/")


@dataclass(frozen=True)
class CifarSet:
    """One of the two data sets.

    Attributes:
        name: what it is called.
        archive: the file that is downloaded.
        folder: what the archive calls its folder.
        train_files: names of the files to train on.
        test_files: names of those to test on.
        labels: bytes before the pixels; the last one is the label.
        class_names: in the order of the labels.
    """

    name: str
    archive: RemoteFile
    folder: str
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    labels: int
    class_names: tuple[str, ...]


CIFAR10 = CifarSet(
    name="cifar10",
    archive=RemoteFile(
        "cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    folder="cifar-10-batches-bin",
    train_files=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test_files=("test_batch.bin",),
    labels=1,
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR100 = CifarSet(
    name="cifar100",
    archive=RemoteFile(
        "cifar-100-binary.tar.gz",
        168_513_733,
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
    folder="cifar-100-binary",
    train_files=("train.bin",),
    test_files=("test.bin",),
    labels=2,
    class_names=(
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl",
        "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair",
        "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin",
        "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp",
        "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
        "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
        "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
        "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
        "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television",
        "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
        "woman", "worm",
    ),
)  # fmt: skip
CIFAR_SETS = {one.name: one for one in (CIFAR10, CIFAR100)}


def load_cifar(
    kind: CifarSet, data_folder: str | Path | None = None, mirrors: Sequence[str] = MIRRORS
) -> DatasetSplits:
    """Load CIFAR-10 or CIFAR-100.

    Args:
        kind: CIFAR10 or CIFAR100.
        data_folder: a folder with the binary files, or with the archive; without it the user's cache and, if the
            archive is not there, the mirrors.
        mirrors: where to download from.

    Raises:
        DataError: files are missing, damaged, or cannot be downloaded.
    """
    folder = cache_folder(kind.name) if data_folder is None else Path(data_folder).expanduser()
    if (files := binary_files(kind, folder)) is not None:
        return splits_of(kind, {name: read_file(path) for name, path in files.items()})
    archive = folder / kind.archive.name
    if not archive.is_file():
        if data_folder is not None:
            raise DataError(f"{kind.name}: {folder} should hold {expected_files(kind)}")
        from tatami.data.download import (
            download,
        )  # with the modules of the network; most data are there already

        try:
            archive = download(kind.archive, mirrors, folder)
        except DataError as error:
            raise DataError(
                f"{kind.name}: {error}. Without a connection, put {expected_files(kind)} into a folder and name it "
                f"with --data FOLDER (data_folder in Python), or put it into {folder}"
            ) from error
    return splits_of(kind, read_archive(kind, archive))


def expected_files(kind: CifarSet) -> str:
    """Say which files are wanted."""
    return f"{kind.archive.name}, or these files from it: {', '.join((*kind.train_files, *kind.test_files))}"


def binary_files(kind: CifarSet, folder: Path) -> dict[str, Path] | None:
    """Return the paths of the unpacked files, if all of them lie in a folder or in its sub-folder."""
    for place in (folder, folder / kind.folder):
        paths = {name: place / name for name in (*kind.train_files, *kind.test_files)}
        if all(path.is_file() for path in paths.values()):
            return paths
    return None


def read_file(path: Path) -> bytes:
    """Read a file of records."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path}: too large for a file of CIFAR: more than {LARGEST_FILE:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def opened_archive(path: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive; whatever is wrong with it becomes a DataError."""
    try:
        with tarfile.open(path, "r:*") as archive:
            yield archive
    except TatamiError:
        raise
    except (
        Exception
    ) as error:  # tarfile and three ways to unpack: whatever a damaged archive provokes in them
        raise DataError(f"{path}: the archive is truncated or damaged ({error}); fetch it again") from error


def read_archive(kind: CifarSet, path: Path) -> dict[str, bytes]:
    """Return the content of the wanted members of an archive, told by their names; all others are left alone."""
    wanted = (*kind.train_files, *kind.test_files)
    found: dict[str, bytes] = {}
    with opened_archive(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if name in wanted and member.isreg() and name not in found:
                if member.size > LARGEST_FILE:
                    raise DataError(f"{path}: {member.name} would unpack to {member.size:,} bytes")
                content = archive.extractfile(member)
                found[name] = content.read() if content else b""
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(f"{path}: the archive lacks {', '.join(missing)}; fetch it again")
    return found


def splits_of(kind: CifarSet, contents: dict[str, bytes]) -> DatasetSplits:
    """Return the data set that the contents of the files say."""

    def part(names: tuple[str, ...]) -> Dataset:
        records = [records_of(kind, name, contents[name]) for name in names]
        images = np.concatenate([record[:, kind.labels :] for record in records]).reshape(-1, *SHAPE)
        labels = np.concatenate([record[:, kind.labels - 1] for record in records])
        return Dataset(kind.name, images, labels, kind.class_names, FORMAT)

    return DatasetSplits(train=part(kind.train_files), test=part(kind.test_files))


def records_of(kind: CifarSet, name: str, content: bytes) -> NDArray[np.uint8]:
    """Return (N, label bytes + pixels), or raise if the file does not hold whole records."""
    length = kind.labels + PIXELS
    if not content or len(content) % length:
        raise DataError(
            f"{kind.name}: {name} holds {len(content):,} bytes, expected whole records of {length:,}; it is truncated "
            f"or something else"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, length)
