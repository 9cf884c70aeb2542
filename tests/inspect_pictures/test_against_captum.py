"""Attributions against captum, the library of attributions for PyTorch, in float64."""

import warnings

import numpy as np
import pytest
import torch
from captum.attr import (
    Deconvolution,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    Occlusion,
    Saliency,
)
from tests.inspect_pictures import test_attributions
from tests.inspect_pictures.torch_copy import torch_copy

from tatami.inspect.class_activation import grad_cam
from tatami.inspect.covering import occlusion
from tatami.inspect.gradients import gradient_times_input, input_gradient, integrated_gradients, saliency
from tatami.inspect.methods import METHODS
from tatami.inspect.rectified import deconvolution, guided_backpropagation

# Every attribution → what it is held against: a test of this file, or the identity that defines it in the other.
SECOND_OPINIONS = {
    "saliency": "test_saliency",
    "gradient-input": "test_gradient_times_input",
    "integrated-gradients": "test_integrated_gradients",
    "smoothgrad": "test_smooth_gradient_is_the_mean_over_noise_of_the_keys_stream",
    "guided": "test_guided_backpropagation",
    "deconvnet": "test_deconvolution",
    "grad-cam": "test_grad_cam",
    "occlusion": "test_occlusion",
}


@pytest.mark.parametrize("name", METHODS)
def test_every_attribution_has_a_second_opinion_and_a_sanity_check(name):
    assert name in SECOND_OPINIONS, f"compare {name} with captum, or with what defines it"
    places = {**globals(), **vars(test_attributions)}
    assert callable(places[SECOND_OPINIONS[name]])
    (sanity,) = test_attributions.test_a_method_changes_when_the_weights_are_randomised.pytestmark
    assert name in sanity.args[1]


@pytest.fixture(scope="module")
def twin(model, doubled):
    return torch_copy(model.network, doubled)


def asked(method, examples, **settings):
    """Return captum's attribution as a NumPy array; its warnings about hooks are no concern of ours."""
    x, labels = examples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = method.attribute(
            torch.from_numpy(x).requires_grad_(), target=torch.from_numpy(labels), **settings
        )
    return result.detach().numpy()


# captum keeps the steps of the quadrature and the sums over windows in float32.
SINGLE = 1e-6


def agree(ours, theirs, tolerance=1e-11):
    largest = np.abs(theirs).max()
    assert largest > 0
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * largest)


def test_gradient(model, doubled, examples, twin):
    agree(input_gradient(model.network, doubled, *examples), asked(Saliency(twin), examples, abs=False))


def test_saliency(model, doubled, examples, twin):
    agree(saliency(model.network, doubled, *examples), asked(Saliency(twin), examples)[:, 0])


def test_gradient_times_input(model, doubled, examples, twin):
    agree(gradient_times_input(model.network, doubled, *examples), asked(InputXGradient(twin), examples))


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_integrated_gradients(model, doubled, examples, twin, baseline):
    ours = integrated_gradients(model.network, doubled, *examples, baseline=baseline, steps=20)
    agree(ours, asked(IntegratedGradients(twin), examples, baselines=baseline, n_steps=20), SINGLE)


def test_guided_backpropagation(model, doubled, examples, twin):
    agree(guided_backpropagation(model.network, doubled, *examples), asked(GuidedBackprop(twin), examples))


def test_deconvolution(model, doubled, examples, twin):
    agree(deconvolution(model.network, doubled, *examples), asked(Deconvolution(twin), examples))


@pytest.mark.parametrize("layer", ["conv1", "relu1", "pool1", "conv2", "relu2"])
def test_grad_cam(model, doubled, examples, twin, layer):
    theirs = asked(LayerGradCam(twin, getattr(twin, layer)), examples, relu_attributions=True)
    agree(grad_cam(model.network, doubled, *examples, layer=layer, full_size=False), theirs[:, 0])
    enlarged = LayerAttribution.interpolate(torch.from_numpy(theirs), (8, 8), "bilinear").numpy()
    agree(grad_cam(model.network, doubled, *examples, layer=layer), enlarged[:, 0])


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 1), ((2, 3), (1, 2)), (3, 2)])
def test_occlusion(model, doubled, examples, twin, window, stride):
    ours = occlusion(model.network, doubled, *examples, window=window, stride=stride, fill=0.25)
    pair = (window, window) if isinstance(window, int) else window
    steps = (stride, stride) if isinstance(stride, int) else stride
    theirs = asked(
        Occlusion(twin), examples, sliding_window_shapes=(1, *pair), strides=(1, *steps), baselines=0.25,
        perturbations_per_eval=8,
    )  # fmt: skip
    agree(ours, theirs[:, 0], SINGLE)
