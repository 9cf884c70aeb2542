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
from tatami.inspect.phrases import Text, same
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

    title: Text
    function: Callable[..., NDArray[Any]]
    signed: bool
    meaning: Text
    needs_maps: bool = False


METHODS: dict[str, Method] = {
    "saliency": Method(
        Text("Saliency", "サリエンシー"),
        saliency,
        False,
        Text(
            "How much the class's score changes with each pixel, whatever the direction: max over channels of |∂S/∂x|.",
            "各画素が変わるとクラスのスコアがどれだけ変わるか (向きは問わない): チャンネルについての max |∂S/∂x|。",
        ),
    ),
    "gradient-input": Method(
        Text("Gradient × input", "勾配 × 入力"),
        gradient_times_input,
        True,
        Text(
            "x · ∂S/∂x: what each pixel contributes as long as the network acts like a line.",
            "x · ∂S/∂x: ネットワークが直線のように働くとしたときの、各画素の寄与。",
        ),
    ),
    "integrated-gradients": Method(
        Text("Integrated gradients", "積分勾配"),
        integrated_gradients,
        True,
        Text(
            "The gradient collected on the way from an empty image. The contributions sum to the change of the score.",
            "空の画像からこの画像までの道に沿って勾配を集めたもの。寄与の和はスコアの変化になる。",
        ),
    ),
    "smoothgrad": Method(
        same("SmoothGrad"),
        smooth_gradient,
        False,
        Text(
            "The gradient averaged over noisy copies of the image; its magnitude is drawn.",
            "雑音を加えた画像での勾配の平均。描くのはその大きさ。",
        ),
    ),
    "guided": Method(
        Text("Guided back-propagation", "誘導逆伝播"),
        guided_backpropagation,
        True,
        Text(
            "A backward pass that keeps only what excites, at every ReLU. It traces edges and says less of the class.",
            "すべての ReLU で、興奮させるものだけを残す逆伝播。輪郭をなぞり、クラスについては多くを語らない。",
        ),
    ),
    "deconvnet": Method(
        Text("Deconvolution network", "デコンボリューション"),
        deconvolution,
        True,
        Text(
            "What the network rebuilds on the way back through its filters and pooling switches.",
            "フィルタとプーリングのスイッチをさかのぼって、ネットワークが復元したもの。",
        ),
    ),
    "grad-cam": Method(
        same("Grad-CAM"),
        grad_cam,
        False,
        Text(
            "Where the last maps that tell places apart speak for the class.",
            "場所を区別できる最後の特徴マップのうち、どこがそのクラスを支持するか。",
        ),
        needs_maps=True,
    ),
    "occlusion": Method(
        Text("Occlusion", "遮蔽"),
        occlusion,
        True,
        Text(
            "How much the score falls when a patch is covered: red where covering hurts, blue where it helps.",
            "一部を覆うとスコアがどれだけ下がるか: 赤は覆うと下がる所、青は上がる所。",
        ),
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
