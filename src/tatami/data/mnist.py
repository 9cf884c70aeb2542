"""MNIST and its relatives: 60,000 images of 28×28 pixels to train on and 10,000 to test on, in four IDX files.

The files come from a folder that the user names, else from the user's cache, else from public mirrors. Only downloads
are verified: a folder that somebody names is theirs, and may hold another data set of the same form.

Sources: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"; H. Xiao, K. Rasul, R. Vollgraf
(2017), "Fashion-MNIST" (MIT licence); T. Clanuwat et al. (2018), "Deep learning for classical Japanese literature",
KMNIST (CC BY-SA 4.0).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.idx import read_idx
from tatami.data.remote_file import RemoteFile
from tatami.errors import DataError

FILE_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@dataclass(frozen=True)
class IdxSet:
    """A data set in four IDX files.

    Attributes:
        name: what it is called.
        files: images and labels to train on, then those to test on.
        mirrors: where to download from, tried in turn.
        class_names: in the order of the labels.
        format: what the images have in common.
    """

    name: str
    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]
    format: ImageFormat


def remote_files(*sizes_and_sums: tuple[int, str]) -> tuple[RemoteFile, ...]:
    """Return the four files with their sizes and checksums."""
    return tuple(
        RemoteFile(name, size, sha256)
        for name, (size, sha256) in zip(FILE_NAMES, sizes_and_sums, strict=True)
    )


MNIST = IdxSet(
    name="mnist",
    files=remote_files(
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://systemds.apache.org/assets/datasets/mnist/",
    ),
    class_names=tuple("0123456789"),
    # White digits on black, scaled into 20×20 of the 28×28 pixels and centred by their centre of mass.
    format=ImageFormat(maximum=255, background="dark", fill=20 / 28),
)

FASHION_MNIST = IdxSet(
    name="fashion_mnist",
    files=remote_files(
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    class_names=(
        "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    format=ImageFormat(maximum=255, background="dark", fill=1.0),
)  # fmt: skip

KMNIST = IdxSet(
    name="kmnist",
    files=remote_files(
        (18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        (29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        (3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        (5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    ),
    mirrors=(
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
    class_names=tuple("おきすつなはまやれを"),
    format=ImageFormat(maximum=255, background="dark", fill=1.0),
)

IDX_SETS = {one.name: one for one in (MNIST, FASHION_MNIST, KMNIST)}
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES = MNIST.files


def load_mnist(
    data_folder: str | Path | None = None, mirrors: Sequence[str] | None = None, kind: IdxSet = MNIST
) -> DatasetSplits:
    """Load MNIST, one of its relatives, or data of the same form.

    Args:
        data_folder: a folder with the four IDX files, gzip or not; without it the user's cache and, if they are
            not there, the mirrors.
        mirrors: where to download from, instead of the known places.
        kind: MNIST, FASHION_MNIST or KMNIST.

    Raises:
        DataError: a file is missing, damaged, cannot be downloaded, or does not fit the others.
    """
    if data_folder is None:
        found = find_or_download(kind, cache_folder(kind.name), kind.mirrors if mirrors is None else mirrors)
    else:
        found = find_in(kind, Path(data_folder).expanduser())
    train_images, train_labels, test_images, test_labels = found
    return DatasetSplits(
        train=read_part(kind, train_images, train_labels), test=read_part(kind, test_images, test_labels)
    )


def cache_folder(name: str = "mnist") -> Path:
    """Return where downloads are kept: tatami/<name> in $XDG_CACHE_HOME, or in ~/.cache without it."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tatami" / name


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


def find_in(kind: IdxSet, folder: Path) -> list[Path]:
    """Return the paths of the four files in a folder that the user named."""
    if not folder.is_dir():
        raise DataError(f"{kind.name}: the folder {folder} does not exist; it should hold {expected_files()}")
    found = {file: path for file in kind.files if (path := find(file, folder)) is not None}
    missing = [file.name for file in kind.files if file not in found]
    if missing:
        raise DataError(
            f"{kind.name}: {folder} lacks {', '.join(missing)}; it should hold {expected_files()}"
        )
    return [found[file] for file in kind.files]


def find_or_download(kind: IdxSet, folder: Path, mirrors: Sequence[str]) -> list[Path]:
    """Return the paths of the four files in the cache, downloading those that are not there yet."""
    from tatami.data.download import download  # with the modules of the network; most data are there already

    try:
        return [find(file, folder) or download(file, mirrors, folder) for file in kind.files]
    except DataError as error:
        raise DataError(
            f"{kind.name}: {error}. Without a connection, put {expected_files()} into a folder and name it "
            f"with --data FOLDER (data_folder in Python), or put them into {folder}"
        ) from error


def expected_files() -> str:
    """Say which files are wanted."""
    return "these four files, gzip or not: " + ", ".join(FILE_NAMES)


def read_part(kind: IdxSet, images_file: Path, labels_file: Path) -> Dataset:
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
    return Dataset(kind.name, images[:, None], labels, kind.class_names, kind.format)
