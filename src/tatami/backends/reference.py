"""The reference backend: NumPy, float32 and float64, written to be read. It is the oracle of all others.

Convolution runs in its im2col form, which one matrix product makes fast enough to train the lectures' networks;
``ReferenceBackend(form="direct")`` runs the direct sum instead, term by term, for small networks and explanations.
"""

from contextlib import AbstractContextManager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tatami.backends import correlation, pooling
from tatami.backends.base import Array, TieRule
from tatami.errors import SettingError
from tatami.geometry import Geometry
from tatami.single_thread import SingleThreadedProducts


class ReferenceBackend:
    """The textbook in NumPy.

    Args:
        form: 'im2col' (default) or 'direct', see `tatami.backends.correlation`.
    """

    name = "reference"
    xp: Any = np

    def __init__(self, form: Literal["im2col", "direct"] = "im2col") -> None:
        """Choose the form of the convolution."""
        if form not in ("im2col", "direct"):
            raise SettingError(f"reference backend: form must be 'im2col' or 'direct', got {form!r}")
        self.form = form

    def computing(self) -> AbstractContextManager[None]:
        """Return a context with one thread for matrix products: the same bits on every number of cores."""
        return SingleThreadedProducts()

    def asarray(self, values: NDArray[Any], dtype: str) -> Array:
        """Return the values as a NumPy array of that dtype, without a copy where none is needed."""
        return np.asarray(values, dtype=dtype)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        """Return the array itself."""
        return np.asarray(array)

    def correlate(self, x: Array, weight: Array, geometry: Geometry) -> Array:
        """Convolve, see `correlation.correlate_direct` for the formula."""
        if self.form == "direct":
            return correlation.correlate_direct(x, weight, geometry)
        return correlation.correlate_im2col(x, weight, geometry)

    def correlate_input_gradient(self, dy: Array, weight: Array, geometry: Geometry) -> Array:
        """Return dx of the convolution."""
        if self.form == "direct":
            return correlation.correlate_input_gradient_direct(dy, weight, geometry)
        return correlation.correlate_input_gradient_im2col(dy, weight, geometry)

    def correlate_weight_gradient(self, x: Array, dy: Array, geometry: Geometry) -> Array:
        """Return dweight of the convolution."""
        if self.form == "direct":
            return correlation.correlate_weight_gradient_direct(x, dy, geometry)
        return correlation.correlate_weight_gradient_im2col(x, dy, geometry)

    def max_pool(self, x: Array, geometry: Geometry) -> tuple[Array, Array]:
        """Return maxima and winners."""
        return pooling.max_pool(x, geometry)

    def max_pool_gradient(
        self, dy: Array, x: Array, y: Array, winner: Array, geometry: Geometry, ties: TieRule
    ) -> Array:
        """Return dx of the max pooling."""
        return pooling.max_pool_gradient(dy, x, y, winner, geometry, ties)

    def average_pool(self, x: Array, geometry: Geometry, count_padding: bool) -> Array:
        """Return means."""
        return pooling.average_pool(x, geometry, count_padding)

    def average_pool_gradient(self, dy: Array, geometry: Geometry, count_padding: bool) -> Array:
        """Return dx of the average pooling."""
        return pooling.average_pool_gradient(dy, geometry, count_padding)

    def lp_pool(self, x: Array, geometry: Geometry, p: float, normalise: bool) -> Array:
        """Return p-norms."""
        return pooling.lp_pool(x, geometry, p, normalise)

    def lp_pool_gradient(
        self, dy: Array, x: Array, y: Array, geometry: Geometry, p: float, normalise: bool
    ) -> Array:
        """Return dx of the Lp pooling."""
        return pooling.lp_pool_gradient(dy, x, y, geometry, p, normalise)

    def matmul(self, a: Array, b: Array) -> Array:
        """Return the matrix product."""
        return a @ b
