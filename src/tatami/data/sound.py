"""WAV files and spectrograms, with nothing but the standard library and NumPy.

A WAV file is a RIFF: pieces with a name of four letters and a size. ``fmt `` says how the samples are written, ``data``
holds them. What a header promises is compared with what the file holds before memory is taken.

Source: IBM and Microsoft (1991), "Multimedia Programming Interface and Data Specifications 1.0", and Microsoft's
WAVEFORMATEXTENSIBLE for more than 16 bits.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tatami.errors import DataError, SettingError

LARGEST_BYTES = 2**30
MOST_PIECES = 1000
MOST_CHANNELS = 256
SILENCE = 1e-10

WHOLE, FLOATING, EXTENSIBLE = 1, 3, 0xFFFE
FORMAT = struct.Struct("<HHIIHH")
# Where an extensible header keeps the number that tells whole from floating samples.
EXTENDED_AT = 24
WIDTHS = {WHOLE: (1, 2, 3, 4), FLOATING: (4, 8)}


@dataclass(frozen=True, eq=False)
class Sound:
    """A recorded signal.

    Attributes:
        samples: (channels, T) float32 in -1 … 1.
        rate: samples in a second.
    """

    samples: NDArray[np.float32]
    rate: int


@dataclass(frozen=True)
class WavHeader:
    """What a WAV file says of itself, checked against its size.

    Attributes:
        channels: signals side by side.
        rate: samples in a second.
        length: samples of each channel.
        width: bytes of a sample.
        floating: whether the samples are floating-point numbers.
        start: where they begin in the file.
    """

    channels: int
    rate: int
    length: int
    width: int
    floating: bool
    start: int


def read_wav(path: str | Path) -> Sound:
    """Read a WAV file of 8, 16, 24 or 32 bits, or of 32- or 64-bit floating-point numbers.

    Raises:
        DataError: not such a file, damaged, truncated, without samples, or too large.
    """
    place = Path(path)
    header = read_wav_header(place)
    with opened(place) as file:
        file.seek(header.start)
        content = file.read(header.length * header.channels * header.width)
    values = floating_numbers(content, header.width) if header.floating else numbers_of(content, header.width)
    samples = np.ascontiguousarray(values.reshape(-1, header.channels).T)
    if header.floating and not np.isfinite(samples).all():
        raise DataError(f"{place}: the WAV file holds samples that are not finite")
    return Sound(samples, header.rate)


def opened(place: Path) -> BinaryIO:
    """Open a file, or raise a DataError that names it."""
    try:
        if place.exists() and not place.is_file():
            raise DataError(f"{place}: cannot be read as a WAV file: not a file")
        return place.open("rb")
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error


def read_wav_header(place: Path) -> WavHeader:
    """Read what a WAV file says of itself; the samples are left where they are."""
    with opened(place) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_BYTES:
            raise DataError(f"{place}: more than {LARGEST_BYTES:,} bytes are not read")
        beginning = file.read(12)
        if len(beginning) < 12 or beginning[:4] != b"RIFF" or beginning[8:] != b"WAVE":
            raise DataError(f"{place}: not a WAV file, or a damaged one")
        layout: tuple[int, int, int, int] | None = None
        for _ in range(MOST_PIECES):
            head = file.read(8)
            if len(head) < 8:
                break
            name, promised = head[:4], int.from_bytes(head[4:], "little")
            start = file.tell()
            if name == b"fmt ":
                layout = layout_of(place, file.read(min(promised, 40)))
            elif name == b"data" and layout is not None:
                return header_of(place, layout, start, promised, size - start)
            file.seek(start + promised + promised % 2)
    raise DataError(f"{place}: the WAV file has no {'samples' if layout else 'description of its samples'}")


def layout_of(place: Path, content: bytes) -> tuple[int, int, int, int]:
    """Return kind, channels, rate and bytes of a sample; raise for what is not read."""
    if len(content) < FORMAT.size:
        raise DataError(
            f"{place}: the WAV file is truncated or damaged: its description of the samples is too short"
        )
    kind, channels, rate, _, frame, bits = FORMAT.unpack_from(content)
    if kind == EXTENSIBLE and len(content) >= EXTENDED_AT + 2:
        kind = int.from_bytes(content[EXTENDED_AT : EXTENDED_AT + 2], "little")
    width = (bits + 7) // 8
    if width not in WIDTHS.get(kind, ()):
        raise DataError(
            f"{place}: samples of kind {kind} with {bits} bits are not read; save it as plain PCM of 8 to 32 bits or "
            f"as floating-point numbers"
        )
    if not 1 <= channels <= MOST_CHANNELS or rate < 1 or frame != channels * width:
        raise DataError(
            f"{place}: the WAV file is damaged: {channels} channels, {rate} samples a second, {frame} bytes for all "
            f"channels of {width}"
        )
    return kind, channels, rate, width


def header_of(
    place: Path, layout: tuple[int, int, int, int], start: int, promised: int, present: int
) -> WavHeader:
    """Return the header, or raise if there are no samples or fewer than it promises."""
    kind, channels, rate, width = layout
    frame = channels * width
    if promised < frame:
        raise DataError(f"{place}: the WAV file has no samples")
    if promised > present:
        raise DataError(
            f"{place}: truncated: the header promises {promised // frame:,} samples, the file holds "
            f"{present // frame:,}"
        )
    return WavHeader(channels, rate, promised // frame, width, kind == FLOATING, start)


def numbers_of(content: bytes, width: int) -> NDArray[np.float32]:
    """Turn little-endian samples into -1 … 1; those of 8 bits count from 0, the others have a sign.

    >>> numbers_of(bytes([0, 128, 255]), 1).tolist()
    [-1.0, 0.0, 0.9921875]
    """
    if width == 1:
        return ((np.frombuffer(content, np.uint8).astype(np.float32) - 128) / 128).astype(np.float32)
    if width == 3:
        raw = np.frombuffer(content, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(raw), 4), np.uint8)
        wide[:, 1:] = raw
        return (wide.view("<i4")[:, 0] / 2**31).astype(np.float32)
    return np.asarray(np.frombuffer(content, f"<i{width}") / 2 ** (8 * width - 1), dtype=np.float32)


def floating_numbers(content: bytes, width: int) -> NDArray[np.float32]:
    """Read little-endian floating-point samples; those beyond the range of float32 become infinite."""
    with np.errstate(over="ignore"):
        return np.frombuffer(content, f"<f{width}").astype(np.float32)


def spectrogram(signals: NDArray[Any], window: int = 256, hop: int = 128) -> NDArray[np.float32]:
    """Return the logarithm of the power in each frequency and moment: (…, T) becomes (…, window/2 + 1, moments).

    Each moment is a stretch of ``window`` samples under a Hann window; log10(|F|² + 10⁻¹⁰).

    >>> spectrogram(np.zeros((2, 1, 1000)), window=64, hop=32).shape
    (2, 1, 33, 30)

    Raises:
        SettingError: a window longer than the signal, or below 2; a hop below 1.
    """
    if not 2 <= window <= signals.shape[-1] or hop < 1:
        raise SettingError(
            f"spectrogram: window must be from 2 to the signal's {signals.shape[-1]} samples and hop at least 1, "
            f"got {window} and {hop}"
        )
    pieces = np.lib.stride_tricks.sliding_window_view(signals, window, axis=-1)[..., ::hop, :]
    power = np.abs(np.fft.rfft(pieces * np.hanning(window), axis=-1)) ** 2
    return np.swapaxes(np.log10(power + SILENCE), -1, -2).astype(np.float32)
