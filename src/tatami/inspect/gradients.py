"""Attribution by gradients: how much a score would change with each entry of the input.

All functions take a network, its parameters, a batch x (N, *input_shape) as the network sees it (preprocessed), and a
target: a class for all examples, one for each, or a `Unit`. The score of a class is its logit, not its probability:
a probability also rises when other classes fall (Simonyan et al., §3). Results have the shape of x and keep their sign.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError
from tatami.geometry import is_whole
from tatami.inspect.units import Target, resolve_target
from tatami.inspect.walk import Rules, walk_forward
from tatami.network import INPUT, Network, Parameters
from tatami.random import RandomKey

NOISE_STREAM = "smooth_gradient"


def scores(
    network: Network, parameters: Parameters, x: NDArray[Any], target: Target, state: Parameters | None = None
) -> NDArray[Any]:
    """Return the score S(x) of every example: (N,)."""
    walk = walk_forward(network, parameters, x, state)
    chosen = resolve_target(network, target, len(x))
    return chosen.scores(walk.values[chosen.layer])


def input_gradient(
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    *,
    state: Parameters | None = None,
    rules: Rules | None = None,
) -> NDArray[Any]:
    """Return ∂S/∂x, the gradient of a score with respect to the input.

    Args:
        network: the network.
        parameters: layer → name → array.
        x: a batch (N, *input_shape), preprocessed.
        target: a class for all examples, one for each, or a `Unit`.
        state: what layers carry; the initial state by default.
        rules: replacements for the backward pass of classes of layers, see `Walk.backward`.

    Returns:
        (N, *input_shape).

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Dense, Flatten
    >>> from tatami.network import Sequential
    >>> layers = Flatten(), Dense(2, weight_initializer=Given([[1, 2], [3, -4]]))
    >>> network = Sequential(*layers, input_shape=(1, 1, 2))
    >>> input_gradient(network, network.initialize(), np.ones((1, 1, 1, 2)), target=1)
    array([[[[ 3., -4.]]]], dtype=float32)
    """
    walk = walk_forward(network, parameters, x, state)
    chosen = resolve_target(network, target, len(x))
    seed = chosen.gradient(walk.values[chosen.layer])
    return walk.backward({chosen.layer: seed}, rules)[INPUT]


def saliency(
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    *,
    state: Parameters | None = None,
) -> NDArray[Any]:
    """Return the saliency map M(i) = max_c |∂S/∂x(c, i)|: where a small change matters, whatever its direction.

    Returns:
        (N, *spatial); for flat inputs (N, features).

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Dense, Flatten
    >>> from tatami.network import Sequential
    >>> layers = Flatten(), Dense(2, weight_initializer=Given([[1, 2], [3, -4]]))
    >>> network = Sequential(*layers, input_shape=(1, 1, 2))
    >>> saliency(network, network.initialize(), np.ones((1, 1, 1, 2)), target=1)
    array([[[3., 4.]]], dtype=float32)

    Source: Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks" (2013), §3.1.
    """
    magnitude = np.abs(input_gradient(network, parameters, x, target, state=state))
    largest: NDArray[Any] = magnitude.max(axis=1) if magnitude.ndim > 2 else magnitude
    return largest


def gradient_times_input(
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    *,
    state: Parameters | None = None,
) -> NDArray[Any]:
    """Return x · ∂S/∂x, entry by entry: what each entry contributes to the score of a linear model.

    With ReLU, poolings and no biases the network is linear around x and the contributions sum to the score.

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Dense
    >>> from tatami.network import Sequential
    >>> network = Sequential(Dense(1, weight_initializer=Given([[3, -4]])), input_shape=(2,))
    >>> gradient_times_input(network, network.initialize(), np.array([[2.0, 1.0]]), target=0)
    array([[ 6., -4.]])

    Source: Shrikumar, Greenside, Shcherbina, Kundaje, "Not just a black box" (2016).
    """
    return np.asarray(x * input_gradient(network, parameters, x, target, state=state))


def integrated_gradients(
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    *,
    baseline: float | NDArray[Any] = 0.0,
    steps: int = 50,
    state: Parameters | None = None,
) -> NDArray[Any]:
    """Return (x - x′) · ∫₀¹ ∂S/∂x (x′ + α(x - x′)) dα, the gradient along the straight way from a baseline x′.

    The contributions are complete: they sum to S(x) - S(x′). The integral is a Gauss-Legendre sum; `completeness_gap`
    tells how far it is off.

    Args:
        network: the network.
        parameters: layer → name → array.
        x: a batch (N, *input_shape), preprocessed.
        target: a class for all examples, one for each, or a `Unit`.
        state: what layers carry; the initial state by default.
        baseline: x′, one number or an array that broadcasts against x.
        steps: points of the quadrature.

    Returns:
        (N, *input_shape).

    >>> from tatami.layers import Dense, Tanh
    >>> from tatami.network import Sequential
    >>> network = Sequential(Dense(4), Tanh(), Dense(1), input_shape=(3,))
    >>> parameters, x = network.initialize(dtype="float64"), np.array([[1.0, -2.0, 0.5]])
    >>> total = integrated_gradients(network, parameters, x, target=0).sum()
    >>> change = scores(network, parameters, x, 0) - scores(network, parameters, 0 * x, 0)
    >>> bool(abs(total - change[0]) < 1e-9)
    True

    Source: Sundararajan, Taly, Yan, "Axiomatic attribution for deep networks" (2017), eq. 1 and proposition 1.
    """
    require_count("steps", steps)
    start = np.broadcast_to(np.asarray(baseline, dtype=np.result_type(x, np.float32)), x.shape)
    points, weights = np.polynomial.legendre.leggauss(steps)
    total = np.zeros(x.shape, dtype=np.float64)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        between = start + point * (x - start)
        total += weight * input_gradient(network, parameters, between, target, state=state)
    return np.asarray((x - start) * total, dtype=start.dtype)


def completeness_gap(
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    attributions: NDArray[Any],
    *,
    baseline: float | NDArray[Any] = 0.0,
    state: Parameters | None = None,
) -> NDArray[np.float64]:
    """Return Σ attributions - (S(x) - S(x′)) of every example: how far integrated gradients are from complete.

    Source: Sundararajan, Taly, Yan (2017), §5, who advise to raise the number of steps until it is small.
    """
    start = np.broadcast_to(np.asarray(baseline, dtype=np.result_type(x, np.float32)), x.shape)
    here = scores(network, parameters, x, target, state)
    there = scores(network, parameters, start, target, state)
    sums = attributions.reshape(len(x), -1).sum(axis=1, dtype=np.float64)
    return np.asarray(sums - (here.astype(np.float64) - there), dtype=np.float64)


def smooth_gradient(
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    *,
    noise: float = 0.15,
    samples: int = 25,
    key: RandomKey | None = None,
    state: Parameters | None = None,
) -> NDArray[Any]:
    """Return SmoothGrad, 1/n Σ ∂S/∂x (x + σ·z): the gradient averaged over noisy copies of the input.

    σ is ``noise`` times the range of the example, max x - min x. The normal z come from the counter-based generator, so
    that the same key gives the same picture.

    Args:
        network: the network.
        parameters: layer → name → array.
        x: a batch (N, *input_shape), preprocessed.
        target: a class for all examples, one for each, or a `Unit`.
        state: what layers carry; the initial state by default.
        noise: σ as a share of the example's range; the paper advises 0.1 to 0.2.
        samples: n.
        key: seed of the noise.

    Returns:
        (N, *input_shape).

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Dense
    >>> from tatami.network import Sequential
    >>> network = Sequential(Dense(1, weight_initializer=Given([[3, -4]])), input_shape=(2,))
    >>> smooth_gradient(network, network.initialize(), np.array([[2.0, 1.0]]), target=0)  # linear: nothing to smooth
    array([[ 3., -4.]])

    Source: Smilkov, Thorat, Kim, Viégas, Wattenberg, "SmoothGrad: removing noise by adding noise" (2017).
    """
    require_count("samples", samples)
    if noise < 0:
        raise SettingError(f"noise must be at least 0, got {noise!r}")
    start = key or RandomKey()
    axes = tuple(range(1, x.ndim))
    deviation = noise * (x.max(axis=axes, keepdims=True) - x.min(axis=axes, keepdims=True))
    total = np.zeros(x.shape, dtype=np.float64)
    for sample in range(samples):
        drawn = RandomKey(start.seed, start.epoch, sample).normal(NOISE_STREAM, x.shape)
        noisy = x + deviation * drawn
        total += input_gradient(network, parameters, noisy, target, state=state)
    return np.asarray(total / samples, dtype=np.result_type(x, np.float32))


def require_count(name: str, value: int) -> None:
    """Raise unless a value is a whole number of at least 1."""
    if not is_whole(value) or value < 1:
        raise SettingError(f"{name} must be a whole number of at least 1, got {value!r}")
