"""Which image formats are read, and the opening of a file in one of them.

Pillow decodes. A file is told by its content, its name only says that it is meant to be an image. Every way in which
opening or decoding can fail becomes a `DataError` that names the file.
"""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from tatami.data.pillow import pillow
from tatami.errors import DataError, TatamiError

# A picture of Pillow, whose types are there only with the extra.
Picture = Any

LARGEST_PIXELS = 64 * 2**20

# Each format with the endings of its files; the frequent ones first, they are tried first.
SUFFIXES_OF_FORMAT: dict[str, tuple[str, ...]] = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
    "DIB": (".dib",),
    "BLP": (".blp",),
    "CUR": (".cur",),
    "DCX": (".dcx",),
    "DDS": (".dds",),
    "FITS": (".fit", ".fits"),
    "FLI": (".fli", ".flc"),
    "FTEX": (".ftc", ".ftu"),
    "GBR": (".gbr",),
    "ICNS": (".icns",),
    "ICO": (".ico",),
    "IM": (".im",),
    "MSP": (".msp",),
    "PCD": (".pcd",),
    "PCX": (".pcx",),
    "PIXAR": (".pxr",),
    "PSD": (".psd",),
    "QOI": (".qoi",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "SUN": (".ras",),
    "XBM": (".xbm",),
    "XPM": (".xpm",),
}
SUFFIXES = tuple(suffix for suffixes in SUFFIXES_OF_FORMAT.values() for suffix in suffixes)

# What Pillow also knows, and why we leave it alone.
NOT_READ = {
    "EPS": "a program that Ghostscript would run",
    "WMF": "a program that only Windows can draw",
    "BUFR": "recognised by Pillow, not decoded",
    "GRIB": "recognised by Pillow, not decoded",
    "HDF5": "recognised by Pillow, not decoded",
    "MPEG": "recognised by Pillow, not decoded",
    "IMT": "no ending of its own",
    "IPTC": "pictures inside texts of news agencies",
    "MCIDAS": "no ending of its own",
    "SPIDER": "no mark by which it is told; any file might be one",
    "XVTHUMB": "thumbnails of an old viewer",
}
# Pictures that people have and that are not read: better an error than images that silently are not there, or the
# small preview inside a camera's raw file instead of its picture.
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".svg", ".eps", ".wmf", ".emf", ".jxl"),
    *(".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".dng"),
)


@cache
def formats() -> tuple[str, ...]:
    """Return the formats that this machine's Pillow was built to read."""
    library = pillow("Image")
    library.init()
    return tuple(name for name in SUFFIXES_OF_FORMAT if name in library.OPEN)


class Silence:
    """Keeps Pillow's warnings about odd files off the screen; threads that read at the same time share it."""

    def __init__(self) -> None:
        """Begin with nobody inside."""
        self.lock = Lock()
        self.inside = 0
        self.caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        """Come in; the first one puts the filter up."""
        with self.lock:
            if self.inside == 0:
                self.caught = warnings.catch_warnings()
                self.caught.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        """Go out; the last one puts the filters back that were there before."""
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.caught.__exit__(None, None, None)


SILENCE = Silence()


@contextmanager
def opened(path: Path) -> Iterator[Picture]:
    """Open an image; every way in which that or the decoding can fail becomes a DataError that names the file."""
    library = pillow("Image")
    known = formats()
    try:
        require_file(path)
        # Pillow gets the open file and not its name: by name it maps the plainest TIFF into memory, those that are to
        # be turned on their side with their sides exchanged.
        with SILENCE, path.open("rb") as file, library.open(file, formats=known) as image:
            # Below the limit that Pillow warns at.
            if image.width * image.height > LARGEST_PIXELS:
                raise DataError(
                    f"{path}: the image has {image.width} x {image.height} pixels, at most "
                    f"{LARGEST_PIXELS:,} are read; make it smaller"
                )
            yield image
    except TatamiError:
        raise
    except library.UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image of a known format, or a damaged one") from error
    except library.DecompressionBombError as error:
        raise DataError(f"{path}: the image is too large to be read ({error}); make it smaller") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except MemoryError as error:
        raise DataError(f"{path}: the image is too large for the memory that is free") from error
    except Exception as error:
        # Pillow's decoders let almost anything out of a damaged file: struct.error, KeyError, zlib.error and others.
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        raise DataError(
            f"{path}: the image cannot be read: it is truncated or damaged ({error or type(error).__name__})"
        ) from error


def require_file(path: Path) -> None:
    """Raise unless a path is that of a file to try: with content, and no pipe, which would be waited for."""
    if path.suffix.lower() in OTHER_SUFFIXES:
        raise DataError(
            f"{path}: images of the kind {path.suffix} are not read; convert it, to PNG for example, or move it away"
        )
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: cannot be read as an image: not a file")
    if found.st_size == 0:
        raise DataError(f"{path}: the file is empty")
