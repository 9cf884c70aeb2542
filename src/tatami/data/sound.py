"""WAV files and spectrograms, with nothing but the standard library and NumPy."""

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import DataError, SettingError

LARGEST_BYTES = 2**30
SILENCE = 1e-10


@dataclass(frozen=True, eq=False)
class Sound:
    """A recorded signal.

    Attributes:
        samples: (channels, T) float32 in -1 … 1.
        rate: samples in a second.
    """

    samples: NDArray[np.float32]
    rate: int


def read_wav(path: str | Path) -> Sound:
    """Read a WAV file of 8, 16, 24 or 32 bits.

    Raises:
        DataError: not such a file, damaged, truncated, without samples, or too large.
    """
    place = Path(path)
    try:
        if place.stat().st_size > LARGEST_BYTES:
            raise DataError(f"{place}: more than {LARGEST_BYTES:,} bytes are not read")
        with wave.open(str(place), "rb") as file:
            channels, width, rate, frames = file.getparams()[:4]
            # The header may lie: never more is asked for than the file can hold.
            content = file.readframes(min(frames, place.stat().st_size // max(1, channels * width)))
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error
    except (wave.Error, EOFError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise DataError(f"{place}: not a WAV file of plain samples, or a damaged one ({error})") from error
    if not content or frames == 0:
        raise DataError(f"{place}: the WAV file has no samples")
    if len(content) < frames * channels * width:
        raise DataError(
            f"{place}: truncated: the header promises {frames:,} samples, the file holds "
            f"{len(content) // (channels * width):,}"
        )
    values = numbers_of(content, width)
    return Sound(np.ascontiguousarray(values.reshape(-1, channels).T), rate)


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
