"""What a backend offers: the array primitives in which the mathematics of the layers is written.

A layer is written once, against the backend that is handed to it. Everything elementwise goes through ``xp``, a
namespace that follows the Python array API; windows (correlation and pooling) are methods, because every
library spells them differently. Arrays are (N, C, *spatial), N the number of examples.
"""

from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tatami.geometry import Geometry

# An array of whichever library the backend uses. The array API has no static type of its own yet.
Array = Any

TieRule = Literal["first", "all", "even"]
TIE_RULES: tuple[TieRule, ...] = ("first", "all", "even")


class Backend(Protocol):
    """The primitives, each one forward function followed by its gradients."""

    name: str
    xp: Any

    def computing(self) -> AbstractContextManager[None]:
        """Return the context in which a program computes, for backends that set something up, such as threads."""
        ...

    def asarray(self, values: NDArray[Any], dtype: str) -> Array:
        """Turn a NumPy array into one of this backend's, as 'float32', 'float64', 'int64' or 'bool'."""
        ...

    def to_numpy(self, array: Array) -> NDArray[Any]:
        """Turn one of this backend's arrays into a NumPy array."""
        ...

    def correlate(self, x: Array, weight: Array, geometry: Geometry) -> Array:
        """Return y(n, k, i) = Σ_c Σ_μ weight(k, c, μ) x(n, c, stride·i + dilation·μ - padding)."""
        ...

    def correlate_input_gradient(self, dy: Array, weight: Array, geometry: Geometry) -> Array:
        """Return dx, the gradient of Σ dy·y with respect to x."""
        ...

    def correlate_weight_gradient(self, x: Array, dy: Array, geometry: Geometry) -> Array:
        """Return dweight, the gradient of Σ dy·y with respect to weight."""
        ...

    def max_pool(self, x: Array, geometry: Geometry) -> tuple[Array, Array]:
        """Return the maximum of every window and the number of the tap where it first stands, row by row."""
        ...

    def max_pool_gradient(
        self, dy: Array, x: Array, y: Array, winner: Array, geometry: Geometry, ties: TieRule
    ) -> Array:
        """Return dx: every dy goes to the maxima of its window, by the rule for ties."""
        ...

    def average_pool(self, x: Array, geometry: Geometry, count_padding: bool) -> Array:
        """Return the mean of every window."""
        ...

    def average_pool_gradient(self, dy: Array, geometry: Geometry, count_padding: bool) -> Array:
        """Return dx: every dy is shared among the entries of its window."""
        ...

    def lp_pool(self, x: Array, geometry: Geometry, p: float, normalise: bool) -> Array:
        """Return (m Σ |x|^p)^(1/p) of every window, m = 1 / |window| if normalised, else 1."""
        ...

    def lp_pool_gradient(
        self, dy: Array, x: Array, y: Array, geometry: Geometry, p: float, normalise: bool
    ) -> Array:
        """Return dx = m·sign(x)·(|x| / y)^(p - 1)·dy, summed over the windows that hold x."""
        ...

    def matmul(self, a: Array, b: Array) -> Array:
        """Return the matrix product."""
        ...


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return NumPy's dtype for the names that backends use."""
    return np.dtype(name)
