"""Layers whose filters are chosen, not learned: a bank of image filters, and the short-time Fourier transform."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, exp, pi, prod, sin
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.description import nested_tuple
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Geometry, Padding, PerAxis, Shape, by_axis, check_positive
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.layers.convolution import Sliding
from tatami.layers.windows import add_tap_views, tap_views

SOBEL = (
    ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0)),
    ((-1.0, -2.0, -1.0), (0.0, 0.0, 0.0), (1.0, 2.0, 1.0)),
)


def gabor_filters(orientations: int, size: int, wavelength: float = 4.0, width: float = 1.8) -> Any:
    """Return Gabor filters: a cosine wave under a Gaussian, turned to equally spaced angles; mean 0, norm 1.

    g(x, y) = e^(-(x² + y²)/(2·width²))·cos(2π·x′ / wavelength), x′ = x·cos θ + y·sin θ: a model of the simple cells
    of the visual cortex, which answer to bars of one orientation.

    >>> np.array(gabor_filters(4, 5)).shape
    (4, 5, 5)

    Source: Hubel and Wiesel's simple cells (History); Daugman (1985).
    """
    reach = (size - 1) / 2
    filters = []
    for number in range(orientations):
        angle = pi * number / orientations
        rows = [
            [
                exp(-(x * x + y * y) / (2 * width * width))
                * cos(2 * pi * (x * cos(angle) + y * sin(angle)) / wavelength)
                for x in (column - reach for column in range(size))
            ]
            for y in (row - reach for row in range(size))
        ]
        values = np.array(rows)
        values = values - values.mean()
        filters.append(values / np.sqrt((values * values).sum()))
    return nested_tuple(np.round(np.stack(filters), 9))


@dataclass(frozen=True)
class FilterBank(Sliding):
    """Convolve every channel with each of M fixed filters; nothing is learned.

    y(c·M + m, i) = Σ_μ F(m, μ) x(c, s·i + μ - p)

    Args:
        filters: M filters, nested rows (M, *kernel), such as `SOBEL` (the default) or `gabor_filters`.
        stride, padding: as for `Convolution`.

    >>> FilterBank().output_shape((3, 28, 28))
    (6, 28, 28)

    Source: History, simple cells and image filters (Sobel).
    """

    filters: Any = SOBEL
    stride: PerAxis = 1
    padding: Padding = "same"
    kind: ClassVar[str] = "filters"

    def __post_init__(self) -> None:
        """Check that the filters are a regular array of numbers."""
        super().__post_init__()
        self.kernels()

    def kernels(self) -> NDArray[np.float64]:
        """Return the filters as an array (M, *kernel)."""
        try:
            kernels = np.array(self.filters, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise SettingError(f"{self.label}: filters are not a regular array of numbers") from error
        if kernels.ndim not in (2, 3, 4) or not kernels.size or not np.isfinite(kernels).all():
            raise SettingError(
                f"{self.label}: filters must be finite numbers of shape (M, *kernel), got {kernels.shape}"
            )
        return kernels

    def window(self, *input_shapes: Shape) -> Geometry:
        """Return the geometry: one group for each channel."""
        shape, kernels = only_input(self, input_shapes), self.kernels()
        if len(shape) != kernels.ndim:
            raise ShapeError(
                f"{self.label}: filters of {kernels.ndim - 1} axes do not fit to an input of shape {shape}"
            )
        return Geometry.of(
            shape,
            kernels.shape[1:],
            filters=shape[0] * len(kernels),
            stride=self.stride,
            padding=self.padding,
            groups=shape[0],
            layer=self.label,
        )

    def weight(self, ops: Backend, geometry: Geometry, dtype: Any) -> Array:
        """Return the filters once for each channel: (C·M, 1, *kernel)."""
        weight = np.tile(self.kernels()[:, np.newaxis], (geometry.channels, 1, *(1,) * geometry.rank))
        return ops.xp.astype(ops.asarray(weight, "float64"), dtype)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return F ⋆ x."""
        (x,) = inputs
        geometry = self.window(x.shape[1:])
        return Forward(ops.correlate(x, self.weight(ops, geometry, x.dtype), geometry), saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = correlate(x, filters)``; the filters stay."""
        geometry = self.window(saved["x"].shape[1:])
        return Backward((ops.correlate_input_gradient(dy, self.weight(ops, geometry, dy.dtype), geometry),))

    def settings(self) -> str:
        """Return number and size of the filters."""
        kernels = self.kernels()
        return f"{len(kernels)} fixed filters {by_axis(kernels.shape[1:])}"


@dataclass(frozen=True)
class ShortTimeFourier(Layer):
    """Turn a signal into a picture of its frequencies over time: y(c, f, t) = log(1 + |X(f)|²) of the frame at t.

    Frame t holds the samples hop·t … hop·t + length - 1, weighted by a Hann window w that sums to 1, and

        X(f) = Σ_n w(n) x(hop·t + n) e^(-2πi·f·n / length),    f = 0 … length/2.

    Signals (C, time) become images (C, frequencies, frames), on which a two-dimensional network can work.

    Args:
        length: samples in a frame.
        hop: samples from one frame to the next.
        gain: factor on the power under the logarithm.

    >>> ShortTimeFourier(64, 32).output_shape((1, 512))
    (1, 33, 15)

    Source: Gabor (1946); Allen and Rabiner (1977).
    """

    length: int = 64
    hop: int = 32
    gain: float = 100.0
    kind: ClassVar[str] = "spectrum"

    def __post_init__(self) -> None:
        """Check the gain and the frame."""
        super().__post_init__()
        check_positive((self.length, self.hop), "length and hop", self.label)
        if self.length < 2 or not self.gain > 0:
            raise SettingError(
                f"{self.label}: length must be at least 2 and gain above 0, got {self.length} and {self.gain}"
            )

    def frames(self, shape: Shape) -> Geometry:
        """Return the geometry of the frames in a signal."""
        if len(shape) != 2:
            raise ShapeError(f"{self.label}: expected a signal (C, time), got {shape}")
        return Geometry.of(shape, self.length, stride=self.hop, layer=self.label)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (C, length/2 + 1, frames)."""
        geometry = self.frames(only_input(self, input_shapes))
        return (geometry.channels, self.length // 2 + 1, *geometry.output_size)

    def waves(self, ops: Backend, dtype: Any) -> tuple[Array, Array]:
        """Return w(n)·cos and -w(n)·sin of 2π·f·n / length: two matrices (frequencies, samples)."""
        n = np.arange(self.length)
        window = 0.5 - 0.5 * np.cos(2 * pi * (n + 0.5) / self.length)
        phase = 2 * pi * np.outer(np.arange(self.length // 2 + 1), n) / self.length
        weights = window / window.sum()
        pair = (weights * np.cos(phase), -weights * np.sin(phase))
        real, imaginary = (ops.xp.astype(ops.asarray(wave, "float64"), dtype) for wave in pair)
        return real, imaginary

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return log(1 + gain·(Re² + Im²))."""
        (x,) = inputs
        seen = tap_views(ops, x, self.frames(x.shape[1:]))  # (samples, N, C, frames)
        frames = ops.xp.permute_dims(seen, (1, 2, 0, 3))  # (N, C, samples, frames)
        cosine, sine = self.waves(ops, x.dtype)
        real, imaginary = ops.matmul(cosine, frames), ops.matmul(sine, frames)
        power = self.gain * (real * real + imaginary * imaginary)
        return Forward(
            ops.xp.log1p(power), saved={"x": x, "real": real, "imaginary": imaginary, "power": power}
        )

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = log1p(gain * (real² + imaginary²))``, both linear in the frames.

        dpower = dy / (1 + power), dreal = 2·gain·real·dpower, dframes = cosᵀ dreal + sinᵀ dimaginary, and frames that
        overlap add up.
        """
        x = saved["x"]
        cosine, sine = self.waves(ops, x.dtype)
        slope = 2 * self.gain * dy / (1 + saved["power"])
        dframes = ops.matmul(cosine.T, slope * saved["real"]) + ops.matmul(sine.T, slope * saved["imaginary"])
        dseen = ops.xp.permute_dims(dframes, (2, 0, 1, 3))
        contributions = [dseen[n] for n in range(self.length)]
        return Backward((add_tap_views(ops, contributions, x, self.frames(x.shape[1:])),))

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """Return two products of (frequencies, samples) with all frames."""
        return 2 * prod(self.output_shape(*input_shapes)) * self.length

    def sees_everything(self) -> bool:
        """Frequencies are no positions; what an output sees is not followed."""
        return True

    def settings(self) -> str:
        """Return frame and hop."""
        return f"frames of {self.length}, hop {self.hop}"
