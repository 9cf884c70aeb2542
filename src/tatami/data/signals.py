"""Class folders of WAV files, as signals or as their spectrograms."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tatami.data.class_files import files_by_class, in_turn
from tatami.data.dataset import DatasetSplits, ImageFormat
from tatami.data.on_demand import Decoder
from tatami.data.sound import WavHeader, read_wav, read_wav_header, spectrogram
from tatami.errors import DataError, SettingError

FORMAT = ImageFormat(maximum=1.0)
WINDOW = 256
# A spectrogram of short signals has at least about so many moments.
MOMENTS = 4


def load_signals(folder: str | Path, length: int | None = None) -> DatasetSplits:
    """Load class folders of WAV files as signals (channels, length) in -1 … 1, cut or filled with silence.

    Args:
        folder: with one sub-folder for each class, files in it at any depth.
        length: samples of a signal; by default the longest has.

    Raises:
        DataError: a file that cannot be read, or signals of different rates or numbers of channels.
        SettingError: a length below 1.
    """
    root = Path(folder).expanduser()
    files = files_by_class(root, (".wav",))
    header, longest = common_header(root, files.paths, length)
    return in_turn(root, files, SignalFile(longest), ((header.channels, longest), np.float32), FORMAT)


def load_spectrograms(
    folder: str | Path, length: int | None = None, window: int | None = None, hop: int | None = None
) -> DatasetSplits:
    """Load class folders of WAV files as spectrograms (channels, window/2 + 1, moments).

    Args:
        folder: with one sub-folder for each class.
        length: samples of a signal; by default the longest has.
        window: samples of a moment; by default 256, or for short signals the power of two at or below a quarter.
        hop: samples from one moment to the next; by default half a window.

    Raises:
        DataError: as `load_signals`.
        SettingError: a window or hop that does not fit.
    """
    root = Path(folder).expanduser()
    files = files_by_class(root, (".wav",))
    header, longest = common_header(root, files.paths, length)
    if window is None:
        window = max(2, min(WINDOW, 1 << max(1, (longest // MOMENTS).bit_length() - 1)))
    step = max(1, window // 2) if hop is None else hop
    shape = spectrogram(np.zeros((header.channels, longest), np.float32), window, step).shape
    return in_turn(root, files, SpectrogramFile(longest, window, step), (shape, np.float32), FORMAT)


def common_header(root: Path, paths: list[Path], length: int | None) -> tuple[WavHeader, int]:
    """Return what the first file says of itself and the length of the samples; raise where others differ."""
    if length is not None and length < 1:
        raise SettingError(f"length must be at least 1 sample, got {length}")
    headers = [read_wav_header(path) for path in paths]
    channels = sorted({header.channels for header in headers})
    if len(channels) > 1:
        raise DataError(f"{root}: the signals have {channels} channels; all must have as many")
    for path, header in zip(paths, headers, strict=True):
        if header.rate != headers[0].rate:
            raise DataError(
                f"{path}: {header.rate} samples a second, {paths[0]} has {headers[0].rate}; bring all to one rate"
            )
    return headers[0], length or max(header.length for header in headers)


@dataclass(frozen=True)
class SignalFile(Decoder):
    """Reads a signal, cut or filled with silence to a length."""

    length: int

    def __call__(self, path: Path) -> NDArray[np.float32]:
        """Return (channels, length)."""
        samples = read_wav(path).samples[:, : self.length]
        return np.pad(samples, ((0, 0), (0, self.length - samples.shape[1])))


@dataclass(frozen=True)
class SpectrogramFile(Decoder):
    """Reads the spectrogram of a signal."""

    length: int
    window: int
    hop: int

    def __call__(self, path: Path) -> NDArray[np.float32]:
        """Return (channels, window/2 + 1, moments)."""
        return spectrogram(SignalFile(self.length)(path), self.window, self.hop)
