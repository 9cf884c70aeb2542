"""Every activation of the kernels against its definition in float64: all signs and sizes, every instruction set here.

What is held is the error relative to each value, not to the largest one, so that tails keep their digits too.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from tatami import layers, native
from tatami.layers import Layer
from tatami.losses import SquaredError
from tatami.network import Sequential
from tatami.program import Program

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

ACTIVATIONS = [
    *(layers.Identity(), layers.Step(), layers.Sigmoid(), layers.Tanh(), layers.ReLU()),
    *(layers.LeakyReLU(), layers.LeakyReLU(-0.5), layers.ELU(), layers.ELU(0.3), layers.SELU()),
    *(layers.Softplus(), layers.Swish(), layers.Swish(-2.5), layers.Mish(), layers.GELU()),
    *(layers.GELU("tanh"), layers.HardSigmoid(), layers.HardSigmoid(0.2)),
]
# e^x carries the rounding of x, 2^-24·|x|: beyond some tens nothing can be right to 1e-6.
FAR = 20.0


def numbers() -> NDArray[np.float32]:
    """Return numbers of both signs: around 0, around 1, far out; 1,043 of them, which no vector width divides."""
    small = np.geomspace(1e-30, 0.1, 120)
    large = np.linspace(0.1, FAR, 400)
    return np.concatenate([-large[::-1], -small[::-1], [0.0, -0.0, 0.0], small, large]).astype(np.float32)


def names(layer: Layer) -> str:
    return f"{type(layer).__name__} {layer.settings()}".strip()


def carried(layer: Layer, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return by how much the rounding of what stands in the exponent grows: it is |x|, x² or |x|³."""
    powers = {"exact": x * x, "tanh": np.abs(x) ** 3 / 2}
    exponent: NDArray[np.float32] = 1 + 0.1 * (
        powers[layer.form] if isinstance(layer, layers.GELU) else np.abs(x)
    )
    return exponent


def absolute(layer: Layer) -> float:
    """Return the smallest error that can be seen.

    The ramp of the hard sigmoid meets 0 as a difference, and so does 1 + tanh in the float64 it is compared with.
    """
    if isinstance(layer, layers.HardSigmoid):
        return 1e-7
    return 1e-14 if isinstance(layer, layers.GELU) and layer.form == "tanh" else 1e-36


@pytest.mark.parametrize("isa", native.available() or ("none",))
@pytest.mark.parametrize("layer", ACTIVATIONS, ids=names)
def test_values_and_slopes(layer: Layer, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = numbers()[np.newaxis]
    network = Sequential(layer, input_shape=x.shape[1:])
    exact = Program(network, SquaredError("sum"), precision="f64")
    monkeypatch.setenv("TATAMI_ISA", isa)
    program = Program(network, SquaredError("sum"), backend="native")
    assert not program.executor.planned.external  # type: ignore[attr-defined]
    wanted = exact.forward({}, x).output
    came = program.forward({}, x).output
    assert (np.abs(came - wanted) <= 1e-6 * carried(layer, x) * np.abs(wanted) + absolute(layer)).all()
    # With the target y - 1 the gradient of the output is 1 everywhere, and the input's is the slope.
    slope = program.train_step({}, x, came - 1, keep=True).value_gradients["input"]
    expected = exact.train_step({}, x, wanted - 1, keep=True).value_gradients["input"]
    np.testing.assert_allclose(slope, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=names)
def test_far_out_they_end_where_they_should(layer: Layer) -> None:
    x = np.array([[-3e38, -1e4, -200.0, 200.0, 1e4, 3e38, np.nan]], np.float32)
    network = Sequential(layer, input_shape=(7,))
    with np.errstate(all="ignore"):
        wanted = Program(network, precision="f64").forward({}, x).output
    came = Program(network, backend="native").forward({}, x).output
    assert np.isfinite(came[0, 1:5]).all()
    np.testing.assert_allclose(came[0, 1:5], wanted[0, 1:5], rtol=1e-6, atol=1e-30)
    if not isinstance(layer, layers.Step):
        assert np.isnan(came[0, 6])
