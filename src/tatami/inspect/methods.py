"""The attributions by name, and what each says: for the command line, figures and reports."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import unknown_name
from tatami.inspect.class_activation import grad_cam
from tatami.inspect.covering import occlusion
from tatami.inspect.gradients import gradient_times_input, integrated_gradients, saliency, smooth_gradient
from tatami.inspect.rectified import deconvolution, guided_backpropagation
from tatami.inspect.units import Target
from tatami.network import Network, Parameters


@dataclass(frozen=True)
class Method:
    """A way to say which entries of an input speak for a score.

    Attributes:
        title: for people.
        function: (network, parameters, x, target, state=…) → array.
        signed: whether the result has a sign: for (positive) or against (negative).
        meaning: what it shows, in a sentence.
        needs_maps: whether it needs a convolution.
    """

    title: str
    function: Callable[..., NDArray[Any]]
    signed: bool
    meaning: str
    needs_maps: bool = False


METHODS: dict[str, Method] = {
    "saliency": Method(
        "Saliency",
        saliency,
        False,
        "How much the class's score changes with each pixel, whatever the direction: max over channels of |∂S/∂x|.",
    ),
    "gradient-input": Method(
        "Gradient × input",
        gradient_times_input,
        True,
        "x · ∂S/∂x: what each pixel contributes as long as the network acts like a line.",
    ),
    "integrated-gradients": Method(
        "Integrated gradients",
        integrated_gradients,
        True,
        "The gradient collected on the way from an empty image. The contributions sum to the change of the score.",
    ),
    "smoothgrad": Method(
        "SmoothGrad",
        smooth_gradient,
        False,
        "The gradient averaged over noisy copies of the image; its magnitude is drawn.",
    ),
    "guided": Method(
        "Guided back-propagation",
        guided_backpropagation,
        True,
        "A backward pass that keeps only what excites, at every ReLU. It traces edges, and says less about the class.",
    ),
    "deconvnet": Method(
        "Deconvolution network",
        deconvolution,
        True,
        "What the network rebuilds on the way back through its filters and pooling switches.",
    ),
    "grad-cam": Method(
        "Grad-CAM",
        grad_cam,
        False,
        "Where the last maps that tell places apart speak for the class.",
        needs_maps=True,
    ),
    "occlusion": Method(
        "Occlusion",
        occlusion,
        True,
        "How much the score falls when a patch is covered: red where covering hurts, blue where it helps.",
    ),
}


def attribution_map(
    name: str,
    network: Network,
    parameters: Parameters,
    x: NDArray[Any],
    target: Target,
    state: Parameters | None = None,
) -> NDArray[np.float64]:
    """Return an attribution by name as one map for each example.

    Channels are summed for methods with a sign; of the others the largest magnitude is taken.

    Args:
        name: one of `METHODS`.
        network: the network.
        parameters: layer → name → array.
        x: a batch (N, *input_shape), preprocessed.
        target: a class for all examples, one for each, or a `Unit`.
        state: what layers carry; the initial state by default.

    Returns:
        (N, *spatial); for flat inputs (N, features).
    """
    method = method_of(name)
    result = np.asarray(method.function(network, parameters, x, target, state=state), dtype=np.float64)
    if method.signed:
        return result.sum(axis=1) if result.ndim == x.ndim > 2 else result
    magnitude = np.abs(result)
    return np.asarray(magnitude.max(axis=1) if magnitude.ndim == x.ndim > 2 else magnitude)


def method_of(name: str) -> Method:
    """Return a method by name, or raise with the nearest."""
    if name not in METHODS:
        raise unknown_name("attribution", name, METHODS)
    return METHODS[name]
