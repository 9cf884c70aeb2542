"""Initial values of the parameters.

Drawn from the counter-based generator, from a stream that is named after the parameter, so that adding a layer
does not change what the others start from. ``fan_in`` is the number of inputs that one output unit sums over
(C / groups · taps for a convolution), ``fan_out`` the number of outputs that one input reaches.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tatami.description import Described, nested_tuple as nested_tuple
from tatami.errors import SettingError, ShapeError
from tatami.geometry import Shape
from tatami.random import RandomKey

Fan = Literal["in", "out", "average"]


@dataclass(frozen=True)
class ParameterSpec:
    """What the network has to know to create one parameter: its shape, initial value and fans."""

    shape: Shape
    initializer: "Initializer"
    fan_in: int = 1
    fan_out: int = 1


class Initializer(Described, family="initial value", abstract=True):
    """Base of the initial values."""

    def draw(self, spec: ParameterSpec, stream: str, key: RandomKey) -> NDArray[np.float64]:
        """Return the initial values of one parameter in float64."""
        raise NotImplementedError


@dataclass(frozen=True)
class Zeros(Initializer):
    """All zeros: right for biases, wrong for weights (all units of a layer then stay equal)."""

    def draw(self, spec: ParameterSpec, stream: str, key: RandomKey) -> NDArray[np.float64]:
        """Return zeros."""
        return np.zeros(spec.shape)


@dataclass(frozen=True)
class Constant(Initializer):
    """All the same number."""

    value: float = 0.0

    def draw(self, spec: ParameterSpec, stream: str, key: RandomKey) -> NDArray[np.float64]:
        """Return the constant everywhere."""
        return np.full(spec.shape, float(self.value))


@dataclass(frozen=True)
class Given(Initializer):
    """Numbers that somebody chose, such as the filters of the ○× exercise: nested rows of the parameter's shape.

    >>> Given([[1, 2], [3, 4]]).draw(ParameterSpec((2, 2), Given([])), "weight", RandomKey())
    array([[1., 2.],
           [3., 4.]])
    """

    values: Any

    def draw(self, spec: ParameterSpec, stream: str, key: RandomKey) -> NDArray[np.float64]:
        """Return the given numbers, or raise if they have another shape."""
        try:
            values = np.array(self.values, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise SettingError(
                f"{stream}: given initial values are not a regular array of numbers"
            ) from error
        if values.shape != spec.shape:
            raise ShapeError(
                f"{stream}: given initial values have shape {values.shape}, expected {spec.shape}"
            )
        return values


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal numbers with mean 0 and a fixed standard deviation."""

    std: float = 0.01

    def __post_init__(self) -> None:
        """Refuse a negative deviation."""
        super().__post_init__()
        if self.std < 0:
            raise SettingError(f"Normal: std must be at least 0, got {self.std}")

    def draw(self, spec: ParameterSpec, stream: str, key: RandomKey) -> NDArray[np.float64]:
        """Return std·z, z standard normal."""
        return float(self.std) * key.normal(stream, spec.shape)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Numbers uniform in [low, high)."""

    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        super().__post_init__()
        if not self.low < self.high:
            raise SettingError(f"Uniform: low must be below high, got {self.low} and {self.high}")

    def draw(self, spec: ParameterSpec, stream: str, key: RandomKey) -> NDArray[np.float64]:
        """Return low + (high - low)·u, u uniform in [0, 1)."""
        return float(self.low) + (float(self.high) - float(self.low)) * key.uniform(stream, spec.shape)


@dataclass(frozen=True)
class Scaled(Initializer, abstract=True):
    """Base of Xavier and He: zero mean, standard deviation √(gain / n), n chosen by ``fan``.

    The uniform form draws from ±√3·std, which has the same deviation.
    """

    distribution: Literal["normal", "uniform"] = "normal"
    fan: Fan = "in"

    def gain(self) -> float:
        """Return the variance that n units should share."""
        return 1.0

    def draw(self, spec: ParameterSpec, stream: str, key: RandomKey) -> NDArray[np.float64]:
        """Return numbers of standard deviation √(gain / n)."""
        fans = {"in": spec.fan_in, "out": spec.fan_out, "average": (spec.fan_in + spec.fan_out) / 2}
        std = sqrt(self.gain() / fans[self.fan])
        if self.distribution == "normal":
            return std * key.normal(stream, spec.shape)
        return std * sqrt(3) * (2 * key.uniform(stream, spec.shape) - 1)


@dataclass(frozen=True)
class Xavier(Scaled):
    """Standard deviation 1/√n: keeps the variance through layers that are linear around 0 (sigmoid, tanh).

    Source: Qiita §5 (4), n the number of inputs. Glorot and Bengio (2010) use the mean of inputs and outputs:
    ``Xavier(fan="average")``.
    """


@dataclass(frozen=True)
class He(Scaled):
    """Standard deviation √(2/n): ReLU sets half of the inputs to zero, so the rest needs twice the variance.

    Source: He et al. (2015); Arai's program. (Qiita prints √2/n, a slip.)
    """

    def gain(self) -> float:
        """Return 2."""
        return 2.0
