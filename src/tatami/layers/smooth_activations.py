"""Activations without a kink: softplus, Swish, Mish, GELU. Each is ReLU with its corner rounded in another way."""

from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar, Literal

from tatami.backends.base import Array, Backend
from tatami.layers.activations import Activation


@dataclass(frozen=True)
class Softplus(Activation):
    """f(x) = log(1 + e^x), f′ = sigmoid(x). Always positive; `max(x, 0)` seen from far away.

    >>> Softplus().output_shape((8,))
    (8,)

    Source: Dugas et al. (2001); Glorot, Bordes, Bengio (2011).
    """

    kind: ClassVar[str] = "softplus"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return softplus."""
        return softplus(ops, x)

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return the sigmoid."""
        return sigmoid(ops, x)


@dataclass(frozen=True)
class Swish(Activation):
    """f(x) = x·σ(βx), σ the sigmoid; f′ = σ(βx) + βx·σ(βx)·(1 - σ(βx)). With β = 1 it is SiLU.

    Args:
        beta: β; 0 is the line x/2, a large one is ReLU.

    >>> Swish().output_shape((8,))
    (8,)

    Source: Qiita §4 (2); Ramachandran, Zoph, Le (2017).
    """

    beta: float = 1.0
    kind: ClassVar[str] = "swish"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return x·σ(βx)."""
        return x * sigmoid(ops, self.beta * x)

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return σ + βx·σ·(1 - σ)."""
        gate = sigmoid(ops, self.beta * x)
        return gate + self.beta * x * gate * (1 - gate)

    def settings(self) -> str:
        """Return β."""
        return f"beta {self.beta:g}"


@dataclass(frozen=True)
class Mish(Activation):
    """f(x) = x·tanh(s), s = log(1 + e^x); f′ = tanh(s) + x·(1 - tanh²(s))·σ(x).

    >>> Mish().output_shape((8,))
    (8,)

    Source: Qiita §4 (2); Misra (2019).
    """

    kind: ClassVar[str] = "mish"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return x·tanh(softplus(x))."""
        return x * ops.xp.tanh(softplus(ops, x))

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return tanh(s) + x·(1 - tanh²(s))·σ(x)."""
        gate = ops.xp.tanh(softplus(ops, x))
        return gate + x * (1 - gate * gate) * sigmoid(ops, x)


@dataclass(frozen=True)
class GELU(Activation):
    """f(x) = x·Φ(x), Φ the distribution function of the standard normal: x times the chance that x is the larger.

    f′ = Φ(x) + x·φ(x), φ(x) = e^(-x²/2) / √(2π).

    Args:
        form: 'exact', or 'tanh' for ½x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), which differs by less than 5·10⁻⁴.

    >>> GELU().output_shape((8,))
    (8,)

    Source: Hendrycks and Gimpel (2016). Φ(x) = ½ erfc(-x / √2) with `complementary_error_function`.
    """

    form: Literal["exact", "tanh"] = "exact"
    kind: ClassVar[str] = "gelu"

    def function(self, ops: Backend, x: Array) -> Array:
        """Return x·Φ(x), or its approximation by tanh."""
        return x * self.chance(ops, x)

    def chance(self, ops: Backend, x: Array) -> Array:
        """Return Φ(x), or its approximation by tanh."""
        if self.form == "exact":
            return 0.5 * complementary_error_function(ops, x * (-1 / sqrt(2)))
        return 0.5 * (1 + ops.xp.tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)))

    def derivative(self, ops: Backend, x: Array, y: Array) -> Array:
        """Return Φ(x) + x·φ(x), or the same of the approximation: its Φ has the slope 2Φ(1 - Φ)·(…)′."""
        chance = self.chance(ops, x)
        if self.form == "exact":
            return chance + x * ops.xp.exp(-0.5 * x * x) * (1 / sqrt(2 * pi))
        inner_slope = sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x)
        return chance + x * 2 * chance * (1 - chance) * inner_slope

    def settings(self) -> str:
        """Return the form."""
        return self.form


def sigmoid(ops: Backend, x: Array) -> Array:
    """Return 1 / (1 + e^-x), with the exponential of -|x| so that it cannot overflow."""
    small = ops.xp.exp(-ops.xp.abs(x))
    return ops.xp.where(x >= 0, 1 / (1 + small), small / (1 + small))


def softplus(ops: Backend, x: Array) -> Array:
    """Return log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), which cannot overflow."""
    return ops.xp.maximum(x, ops.xp.zeros_like(x)) + ops.xp.log1p(ops.xp.exp(-ops.xp.abs(x)))


# W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969), in the
# coefficients of his CALERF: numerator and denominator for |x| ≤ 0.46875, up to 4, and beyond. From the highest power.
ERF_NEAR_0 = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
ERFC_MIDDLE = (
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594e0,
        6.61191906371416295e1,
        2.98635138197400131e2,
        8.81952221241769090e2,
        1.71204761263407058e3,
        2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0,
        1.57449261107098347e1,
        1.17693950891312499e2,
        5.37181101862009858e2,
        1.62138957456669019e3,
        3.29079923573345963e3,
        4.36261909014324716e3,
        3.43936767414372164e3,
        1.23033935480374942e3,
    ),
)
ERFC_FAR = (
    (
        1.63153871373020978e-2,
        3.05326634961232344e-1,
        3.60344899949804439e-1,
        1.25781726111229246e-1,
        1.60837851487422766e-2,
        6.58749161529837803e-4,
    ),
    (
        1.0,
        2.56852019228982242e0,
        1.87295284992346725e0,
        5.27905102951428412e-1,
        6.05183413124413191e-2,
        2.33520497626869185e-3,
    ),
)
NEAR, MIDDLE = 0.46875, 4.0


def complementary_error_function(ops: Backend, x: Array) -> Array:
    """Return erfc(x) = 2/√π ∫ e^(-t²) dt from x to ∞, in float64 to 3·10⁻¹⁵ of its value for x < 5.

    (Further out e^(-x²) carries the rounding of x², 5·10⁻¹⁴ at x = 20.)

    Cody's three rational functions, computed for every entry and chosen by |x|; negative x by erfc(-x) = 2 - erfc(x).
    Array libraries have no erf in common, and SciPy is not needed for one function.
    """
    xp = ops.xp
    size = xp.abs(x)
    # Every branch sees only numbers of its own interval, so that none of them overflows.
    near = xp.clip(size, 0.0, NEAR)
    middle = xp.clip(size, NEAR, MIDDLE)
    far = xp.maximum(size, MIDDLE * xp.ones_like(size))
    erf_near = near * ratio(near * near, ERF_NEAR_0)
    erfc_middle = xp.exp(-middle * middle) * ratio(middle, ERFC_MIDDLE)
    # Beyond 4, erfc(x) = e^(-x²)/x · (1/√π - z·R(z)) with z = 1/x².
    z = 1 / (far * far)
    erfc_far = xp.exp(-far * far) / far * (1 / sqrt(pi) - z * ratio(z, ERFC_FAR))
    positive = xp.where(size <= NEAR, 1 - erf_near, xp.where(size <= MIDDLE, erfc_middle, erfc_far))
    return xp.where(x < 0, 2 - positive, positive)


def ratio(x: Array, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Array:
    """Return the quotient of two polynomials, each by Horner's rule."""
    numerator, denominator = (horner(x, polynomial) for polynomial in coefficients)
    return numerator / denominator


def horner(x: Array, coefficients: tuple[float, ...]) -> Array:
    """Return (…(a₀x + a₁)x + …)x + aₙ."""
    total = coefficients[0] * x + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * x + coefficient
    return total
