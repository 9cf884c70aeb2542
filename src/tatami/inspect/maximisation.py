"""Activation maximisation: an image made to excite a unit, by climbing the gradient of its score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import SettingError
from tatami.geometry import is_whole
from tatami.inspect.gradients import require_count
from tatami.inspect.resampling import blur
from tatami.inspect.units import Unit, resolve_target
from tatami.inspect.walk import walk_forward
from tatami.network import INPUT, Network, Parameters
from tatami.random import RandomKey

PIXELS_OF_JITTER = 28


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """How an image is made.

    Without regularisers the climb ends in high-frequency patterns that excite the unit and that no data set holds; each
    of these keeps the image smoother or smaller.

    Args:
        steps: number of steps.
        rate: length of a step: the gradient is divided by its root mean square first.
        l2: share of the image that is taken away in each step, the gradient of ½·l2·|x|².
        blur: deviation of the Gaussian, in pixels, that smooths the image.
        blur_every: steps between two smoothings.
        jitter: the image is shifted by up to so many pixels before each gradient and back after it; by default one for
            every 28 of its shorter side, for a shift of one blurs an image of 8×8 beyond recognition.
        low: the image is kept at or above it, or None.
        high: likewise at or below it.
        noise: deviation of the normal noise that the image begins with.
    """

    steps: int = 120
    rate: float = 0.08
    l2: float = 0.02
    blur: float = 0.4
    blur_every: int = 4
    jitter: int | None = None
    low: float | None = None
    high: float | None = None
    noise: float = 0.05

    def __post_init__(self) -> None:
        """Check every number."""
        require_count("steps", self.steps)
        require_count("blur_every", self.blur_every)
        for name in ("rate", "l2", "blur", "noise"):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0:
                raise SettingError(f"{name} must be a finite number of at least 0, got {value!r}")
        if self.jitter is not None and (not is_whole(self.jitter) or self.jitter < 0):
            raise SettingError(f"jitter must be a whole number of at least 0, got {self.jitter!r}")


@dataclass(frozen=True)
class Maximum:
    """Images that excite their units.

    Attributes:
        images: (N, *input_shape), one for each unit, as the network sees them.
        scores: (N,) the scores at the end.
        history: (steps, N) the scores on the way, before each step.
    """

    images: NDArray[Any]
    scores: NDArray[np.float64]
    history: NDArray[np.float64]


def maximise_activation(
    network: Network,
    parameters: Parameters,
    target: int | Sequence[int] | Unit,
    *,
    ascent: Ascent | None = None,
    key: RandomKey | None = None,
    state: Parameters | None = None,
) -> Maximum:
    """Make an image x that maximises S(x) - ½·l2·|x|², climbing from noise.

    One step is x ← (1 - l2)·x + rate · g / rms(g) with g = ∂S/∂x.

    Args:
        network: the network.
        parameters: layer → name → array.
        state: what layers carry; the initial state by default.
        target: a class, several classes (an image for each), or a `Unit`.
        ascent: steps and regularisers.
        key: seed of the noise and the jitter.

    >>> from tatami.initializers import Given
    >>> from tatami.layers import Dense
    >>> from tatami.network import Sequential
    >>> network = Sequential(Dense(1, weight_initializer=Given([[3, -4]])), input_shape=(2,))
    >>> maximum = maximise_activation(network, network.initialize(), 0, ascent=Ascent(low=0, high=1))
    >>> maximum.images, maximum.scores
    (array([[1., 0.]], dtype=float32), array([3.]))

    Source: Erhan, Bengio, Courville, Vincent (2009); L2: Simonyan et al. (2013), §2; blur: Yosinski et al. (2015);
    jitter: Mordvintsev, Olah, Tyka (2015).
    """
    how = ascent or Ascent()
    start = key or RandomKey()
    count = 1 if isinstance(target, int | Unit) else len(target)
    chosen = resolve_target(network, target, count)
    places = tuple(range(2, len(network.input_shape) + 1))
    reach = min(network.input_shape[1:], default=0) // PIXELS_OF_JITTER if how.jitter is None else how.jitter
    x = how.noise * start.normal("activation_maximum", (count, *network.input_shape))
    x = kept_within(x, how)
    history = np.zeros((how.steps, count))
    for step in range(how.steps):
        drawn = RandomKey(start.seed, start.epoch, step).uniform("jitter", (len(places),))
        shift = tuple(int(offset) for offset in np.floor(drawn * (2 * reach + 1)) - reach)
        walk = walk_forward(network, parameters, np.roll(x, shift, places), state)
        value = walk.values[chosen.layer]
        history[step] = chosen.scores(value)
        climb = walk.backward({chosen.layer: chosen.gradient(value)})[INPUT]
        climb = np.roll(climb, tuple(-offset for offset in shift), places)
        size = np.sqrt(np.mean(climb * climb, axis=tuple(range(1, climb.ndim)), keepdims=True))
        x = (1 - how.l2) * x + how.rate * climb / np.where(size > 0, size, 1)
        if how.blur > 0 and (step + 1) % how.blur_every == 0:
            x = blur(x, how.blur, places)
        x = kept_within(x, how)
    walk = walk_forward(network, parameters, x, state)
    scores = chosen.scores(walk.values[chosen.layer]).astype(np.float64)
    return Maximum(walk.values[INPUT], scores, history)


def kept_within(x: NDArray[Any], how: Ascent) -> NDArray[Any]:
    """Cut off what leaves the range of the data."""
    if how.low is None and how.high is None:
        return x
    cut: NDArray[Any] = np.clip(x, how.low, how.high)
    return cut
