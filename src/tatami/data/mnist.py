"""MNIST: 60,000 handwritten digits to train on and 10,000 to test on, 28×28 pixels.

The four IDX files come from a folder that the user names, else from the user's cache, else from public mirrors.
Only downloads are verified: a folder that somebody names is theirs, and may hold another data set of the same form.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.download import RemoteFile, download
from tatami.data.idx import read_idx
from tatami.errors import DataError

CLASS_NAMES = tuple("0123456789")
# White digits on black, scaled into 20×20 of the 28×28 pixels and centred by their centre of mass.
FORMAT = ImageFormat(maximum=255, background="dark", fill=20 / 28)

TRAIN_IMAGES = RemoteFile(
    "train-images-idx3-ubyte.gz",
    9_912_422,
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
)
TRAIN_LABELS = RemoteFile(
    "train-labels-idx1-ubyte.gz",
    28_881,
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
)
TEST_IMAGES = RemoteFile(
    "t10k-images-idx3-ubyte.gz",
    1_648_877,
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
)
TEST_LABELS = RemoteFile(
    "t10k-labels-idx1-ubyte.gz",
    4_542,
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://systemds.apache.org/assets/datasets/mnist/",
)


def load_mnist(data_folder: str | Path | None = None, mirrors: Sequence[str] = MIRRORS) -> DatasetSplits:
    """Load MNIST, or data of the same form.

    Args:
        data_folder: a folder with the four IDX files, gzip or not; without it the user's cache and, if they are
            not there, the mirrors.
        mirrors: where to download from.

    Raises:
        DataError: a file is missing, damaged, cannot be downloaded, or does not fit the others.
    """
    if data_folder is None:
        found = find_or_download(cache_folder(), mirrors)
    else:
        found = find_in(Path(data_folder).expanduser())
    return DatasetSplits(
        train=read_part(found[TRAIN_IMAGES], found[TRAIN_LABELS]),
        test=read_part(found[TEST_IMAGES], found[TEST_LABELS]),
    )


def cache_folder() -> Path:
    """Return where downloads are kept: tatami/mnist in $XDG_CACHE_HOME, or in ~/.cache without it."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tatami" / "mnist"


def spellings(file: RemoteFile) -> tuple[str, ...]:
    """Return the names that a file goes by: as downloaded, unpacked, and with a dot as some sites have it.

    >>> spellings(TEST_LABELS)[:2]
    ('t10k-labels-idx1-ubyte.gz', 't10k-labels-idx1-ubyte')
    """
    unpacked = file.name.removesuffix(".gz")
    dotted = unpacked.replace("-idx", ".idx")
    return (file.name, unpacked, dotted + ".gz", dotted)


def find(file: RemoteFile, folder: Path) -> Path | None:
    """Return the path of a file in a folder, whatever its spelling, or None."""
    candidates = (folder / name for name in spellings(file))
    return next((path for path in candidates if path.is_file()), None)


def find_in(folder: Path) -> dict[RemoteFile, Path]:
    """Return the paths of the four files in a folder that the user named."""
    if not folder.is_dir():
        raise DataError(f"mnist: the folder {folder} does not exist; it should hold {expected_files()}")
    found = {file: path for file in FILES if (path := find(file, folder)) is not None}
    missing = [file.name for file in FILES if file not in found]
    if missing:
        raise DataError(f"mnist: {folder} lacks {', '.join(missing)}; it should hold {expected_files()}")
    return found


def find_or_download(folder: Path, mirrors: Sequence[str]) -> dict[RemoteFile, Path]:
    """Return the paths of the four files in the cache, downloading those that are not there yet."""
    try:
        return {file: find(file, folder) or download(file, mirrors, folder) for file in FILES}
    except DataError as error:
        raise DataError(
            f"mnist: {error}. Without a connection, put {expected_files()} into a folder and name it "
            f"with --data FOLDER (data_folder in Python), or put them into {folder}"
        ) from error


def expected_files() -> str:
    """Say which files are wanted."""
    return "these four files, gzip or not: " + ", ".join(file.name for file in FILES)


def read_part(images_file: Path, labels_file: Path) -> Dataset:
    """Read one pair of files, and check that they fit together."""
    images: NDArray[Any] = read_idx(images_file)
    labels: NDArray[Any] = read_idx(labels_file)
    if images.ndim != 3:
        raise DataError(f"{images_file}: expected images of shape (N, H, W), got shape {images.shape}")
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{labels_file}: expected one label for each of the {len(images)} images in {images_file.name}, "
            f"got shape {labels.shape}"
        )
    return Dataset("mnist", images[:, None], labels, CLASS_NAMES, FORMAT)
