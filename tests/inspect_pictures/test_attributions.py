"""Attributions: identities that define them, cases worked by hand, and networks of every kind."""

import numpy as np
import pytest
import torch
from tests.inspect_pictures.torch_copy import torch_copy

import tatami
from tatami.errors import SettingError, ShapeError, UnknownNameError
from tatami.initializers import Given
from tatami.inspect.class_activation import grad_cam, last_maps
from tatami.inspect.covering import occlusion
from tatami.inspect.gradients import (
    completeness_gap,
    gradient_times_input,
    input_gradient,
    integrated_gradients,
    saliency,
    scores,
    smooth_gradient,
)
from tatami.inspect.methods import METHODS, attribution_map
from tatami.inspect.rectified import deconvolution, guided_backpropagation
from tatami.inspect.units import Unit
from tatami.inspect.walk import walk_forward
from tatami.layers import (
    Add,
    AveragePool,
    Convolution,
    Dense,
    Flatten,
    GlobalAveragePool,
    LeakyReLU,
    MaxPool,
    ReLU,
    Sigmoid,
)
from tatami.random import RandomKey

EDGE = [[1, 0, -1]] * 3


def lines(*size, channels=1):
    """A network over one, two or three spatial axes with a skip connection."""
    return tatami.Network(
        {
            "conv1": Convolution(4, 3, padding="same"),
            "relu1": ReLU(),
            "conv2": Convolution(4, 3, padding="same"),
            "add1": (Add(), ("conv2", "relu1")),
            "relu2": ReLU(),
            "pool1": AveragePool(2),
            "flatten1": Flatten(),
            "dense1": Dense(3),
        },
        (channels, *size),
    )


def noise(*shape):
    return RandomKey(3).normal("images", shape)


class TestDeconvolutionByHand:
    """A 6×6 image, bright on the left; one filter finds the edge, the other its negative; 2×2 max pooling.

    The first map is 0 3 3 0 in each of its four rows, the second 0 -3 -3 0. Of equal maxima the first in row order
    wins: the switches of the first map stand at (0, 1), (0, 2), (2, 1), (2, 2), those of the second, all 0 after the
    ReLU, at the first place of each window.
    """

    image = np.zeros((1, 1, 6, 6))
    image[..., :3] = 1

    def network(self, weights):
        return tatami.Sequential(
            Convolution(2, 3, weight_initializer=Given([[EDGE], (-np.array([EDGE])).tolist()])),
            ReLU(),
            MaxPool(2),
            Flatten(),
            Dense(1, weight_initializer=Given([weights])),
            input_shape=(1, 6, 6),
        )

    def rebuilt(self, method, weights, target=0):
        network = self.network(weights)
        return method(network, network.initialize(dtype="float64"), self.image, target)[0, 0]

    def test_a_unit_of_the_pooling_is_put_where_its_maximum_stood(self):
        weights = [0.0] * 8
        expected = np.zeros((6, 6))
        expected[0:3, 1:4] = EDGE
        np.testing.assert_array_equal(
            self.rebuilt(deconvolution, weights, Unit("pool1", (0, 0, 0))), expected
        )
        expected = np.zeros((6, 6))
        expected[2:5, 2:5] = EDGE
        np.testing.assert_array_equal(
            self.rebuilt(deconvolution, weights, Unit("pool1", (0, 1, 1))), expected
        )

    def test_the_four_units_of_a_map_add_up(self):
        expected = np.zeros((6, 6))
        for row, column in ((0, 1), (0, 2), (2, 1), (2, 2)):
            expected[row : row + 3, column : column + 3] += EDGE
        np.testing.assert_array_equal(self.rebuilt(deconvolution, [0.0] * 8, Unit("pool1", (0,))), expected)

    def test_what_excites_passes_a_sleeping_unit_only_in_the_deconvolution_network(self):
        weights = [1.0, 0, 0, 0, 2.0, 0, 0, 0]
        seen = np.zeros((6, 6))
        seen[0:3, 1:4] = EDGE
        everything = seen.copy()
        everything[0:3, 0:3] -= 2 * np.array(EDGE)
        np.testing.assert_array_equal(self.rebuilt(deconvolution, weights), everything)
        np.testing.assert_array_equal(self.rebuilt(guided_backpropagation, weights), seen)
        np.testing.assert_array_equal(self.rebuilt(input_gradient, weights), seen)

    def test_what_inhibits_passes_only_in_the_gradient(self):
        weights = [1.0, -5.0, 0, 0, -2.0, 0, 0, 0]
        seen = np.zeros((6, 6))
        seen[0:3, 1:4] = EDGE
        gradient = seen.copy()
        gradient[0:3, 2:5] -= 5 * np.array(EDGE)
        np.testing.assert_array_equal(self.rebuilt(deconvolution, weights), seen)
        np.testing.assert_array_equal(self.rebuilt(guided_backpropagation, weights), seen)
        np.testing.assert_array_equal(self.rebuilt(input_gradient, weights), gradient)


def test_the_gradient_agrees_with_central_differences_through_a_skip_connection():
    network = lines(5, 4)
    parameters, x = network.initialize(2, "float64"), noise(2, 1, 5, 4)
    gradient = input_gradient(network, parameters, x, [2, 0])
    direction = noise(*x.shape)[::-1]
    step = 1e-6
    ahead, behind = (scores(network, parameters, x + sign * step * direction, [2, 0]) for sign in (1, -1))
    expected = (ahead - behind) / (2 * step)
    np.testing.assert_allclose((gradient * direction).sum(axis=(1, 2, 3)), expected, rtol=1e-6)


def test_integrated_gradients_are_complete(model, doubled, examples):
    x, labels = examples
    attributions = integrated_gradients(model.network, doubled, x, labels, baseline=0.1, steps=200)
    gap = completeness_gap(model.network, doubled, x, labels, attributions, baseline=0.1)
    change = scores(model.network, doubled, x, labels) - scores(model.network, doubled, 0 * x + 0.1, labels)
    assert np.abs(gap).max() < 0.005 * np.abs(change).max()


def test_gradient_times_input_sums_to_the_score_of_a_network_without_biases():
    network = tatami.Sequential(
        Convolution(3, 3, bias=False), ReLU(), Flatten(), Dense(2, bias=False), input_shape=(1, 5, 5)
    )
    parameters, x = network.initialize(1, "float64"), noise(3, 1, 5, 5)
    sums = gradient_times_input(network, parameters, x, 1).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(sums, scores(network, parameters, x, 1), rtol=1e-12)


def test_smooth_gradient_is_the_mean_over_noise_of_the_keys_stream(model, doubled, examples):
    x, labels = examples
    x, labels = x[:2], labels[:2]
    ours = smooth_gradient(model.network, doubled, x, labels, noise=0.2, samples=3, key=RandomKey(9))
    spread = 0.2 * np.array([image.max() - image.min() for image in x]).reshape(-1, 1, 1, 1)
    expected = np.mean(
        [
            input_gradient(
                model.network,
                doubled,
                x + spread * RandomKey(9, step=sample).normal("smooth_gradient", x.shape),
                labels,
            )
            for sample in range(3)
        ],
        axis=0,
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    again = smooth_gradient(model.network, doubled, x, labels, noise=0.2, samples=3, key=RandomKey(9))
    other = smooth_gradient(model.network, doubled, x, labels, noise=0.2, samples=3, key=RandomKey(10))
    np.testing.assert_array_equal(ours, again)
    assert not np.allclose(ours, other)


def test_grad_cam_agrees_with_hooks_in_pytorch(model, doubled, examples):
    x, labels = examples
    twin = torch_copy(model.network, doubled)
    kept = {}
    twin.relu2.register_forward_hook(lambda module, inputs, output: kept.update(maps=output))
    output = twin(torch.from_numpy(x))
    chosen = output[torch.arange(len(x)), torch.from_numpy(labels)].sum()
    (gradients,) = torch.autograd.grad(chosen, kept["maps"])
    heat = torch.relu((gradients.mean(dim=(2, 3), keepdim=True) * kept["maps"]).sum(dim=1, keepdim=True))
    enlarged = torch.nn.functional.interpolate(heat, (8, 8), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(
        grad_cam(model.network, doubled, x, labels), enlarged[:, 0].detach().numpy(), rtol=1e-9, atol=1e-12
    )
    assert last_maps(model.network) == "relu2"


@pytest.mark.parametrize("size", [(7,), (5, 4), (3, 4, 3)])
def test_occlusion_agrees_with_a_loop_over_windows(size):
    network = lines(*size, channels=2)
    parameters, x = network.initialize(4, "float64"), noise(2, 2, *size)
    ours = occlusion(network, parameters, x, [1, 2], window=2, stride=2, fill=0.3)
    total, times = np.zeros((2, *size)), np.zeros(size)
    corners = np.stack(np.meshgrid(*[range(0, side, 2) for side in size], indexing="ij"), axis=-1)
    for corner in corners.reshape(-1, len(size)):
        window = tuple(slice(at, at + 2) for at in corner)
        covered = x.copy()
        covered[(slice(None), slice(None), *window)] = 0.3
        fall = scores(network, parameters, x, [1, 2]) - scores(network, parameters, covered, [1, 2])
        total[(slice(None), *window)] += fall.reshape(-1, *(1,) * len(size))
        times[window] += 1
    np.testing.assert_allclose(ours, total / times, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size", [(9,), (6, 5), (4, 3, 4)])
def test_every_method_gives_a_map_over_any_number_of_axes(name, size):
    network = lines(*size, channels=3)
    parameters = network.initialize(1)
    values = attribution_map(name, network, parameters, noise(2, 3, *size), [0, 2])
    assert values.shape == (2, *size)
    assert np.isfinite(values).all()
    assert np.abs(values).max() > 0


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.needs_maps])
def test_every_method_that_can_works_on_flat_inputs(name):
    network = tatami.Sequential(Dense(8), ReLU(), Dense(3), input_shape=(5,))
    assert attribution_map(name, network, network.initialize(1), noise(2, 5), 1).shape == (2, 5)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_changes_when_the_weights_are_randomised(name, model, examples):
    """The sanity check of Adebayo et al. (2018): what does not depend on what was learned explains nothing of it."""
    x, labels = examples
    learned, random = (
        attribution_map(name, model.network, parameters, x, labels)
        for parameters in (model.parameters, model.network.initialize(seed=77))
    )
    correlations = []
    for one, other in zip(learned, random, strict=True):
        ranks = [np.argsort(np.argsort(values.ravel())).astype(float) for values in (one, other)]
        if one.std() and other.std():
            correlations.append(np.corrcoef(*ranks)[0, 1])
    assert np.mean(correlations) < 0.75


@pytest.mark.parametrize(
    "method", [input_gradient, guided_backpropagation, deconvolution, integrated_gradients]
)
def test_examples_do_not_see_each_other(method, model, doubled, examples):
    x, labels = examples
    together = method(model.network, doubled, x, labels)
    alone = np.concatenate(
        [method(model.network, doubled, x[at : at + 1], [labels[at]]) for at in range(len(x))]
    )
    np.testing.assert_allclose(together, alone, rtol=1e-10, atol=1e-12)


def test_other_rectifiers_and_sigmoids_keep_their_own_backward():
    network = tatami.Sequential(Dense(6), LeakyReLU(), Dense(6), Sigmoid(), Dense(2), input_shape=(4,))
    parameters, x = network.initialize(1, "float64"), noise(3, 4)
    expected = input_gradient(network, parameters, x, 0)
    np.testing.assert_array_equal(guided_backpropagation(network, parameters, x, 0), expected)


def test_a_rule_holds_for_subclasses_and_a_nearer_one_wins():
    class Louder(ReLU):
        pass

    network = tatami.Sequential(Louder(), input_shape=(2,))
    walk = walk_forward(network, {}, np.array([[1.0, -1.0]], dtype=np.float32))
    seed = {"relu1": np.array([[1.0, 1.0]], dtype=np.float32)}

    def times(factor):
        return lambda ops, layer, dy, saved, parameters: (factor * dy,)

    assert walk.backward(seed, {ReLU: times(3)})["input"].tolist() == [[3, 3]]
    assert walk.backward(seed, {ReLU: times(3), Louder: times(5)})["input"].tolist() == [[5, 5]]
    assert walk.backward(seed)["input"].tolist() == [[1, 0]]
    ReLU.members.pop("Louder")
    ReLU.every_member.pop("Louder")


def test_a_layer_that_does_not_depend_on_the_input_of_another_branch_gets_nothing():
    network = tatami.Network(
        {"left": ReLU(), "right": (ReLU(), "input"), "both": (Add(), ("left", "right"))}, (1, 2, 2)
    )
    walk = walk_forward(network, {}, np.ones((1, 1, 2, 2), np.float32))
    assert set(walk.backward({"left": np.ones((1, 1, 2, 2))})) == {"left", "input"}


def test_what_is_asked_for_is_checked(model, doubled, examples):
    x, _ = examples
    network = model.network
    with pytest.raises(ShapeError, match="class 10 is none of small: it has 10 outputs, counted 0 to 9"):
        saliency(network, doubled, x, 10)
    with pytest.raises(ShapeError, match="6 examples came with 2 classes to look at"):
        saliency(network, doubled, x, [1, 2])
    with pytest.raises(SettingError, match=r"a target is a class .* or a Unit, got 'seven'"):
        saliency(network, doubled, x, "seven")
    with pytest.raises(UnknownNameError, match="unknown layer of small 'conv3': did you mean 'conv2'?"):
        saliency(network, doubled, x, Unit("conv3", (0,)))
    with pytest.raises(
        ShapeError, match=r"conv1\[6\]: layer conv1 has outputs of shape \(6, 8, 8\), counted from 0"
    ):
        saliency(network, doubled, x, Unit("conv1", (6,)))
    with pytest.raises(SettingError, match="steps must be a whole number of at least 1, got 0"):
        integrated_gradients(network, doubled, x, 0, steps=0)
    with pytest.raises(SettingError, match="noise must be at least 0, got -1"):
        smooth_gradient(network, doubled, x, 0, noise=-1)
    with pytest.raises(SettingError, match="Grad-CAM needs a layer with maps .* 'dense1' of small has"):
        grad_cam(network, doubled, x, 0, layer="dense1")
    with pytest.raises(ShapeError, match="conv1 does not depend on 'conv2'; choose a layer before it"):
        grad_cam(network, doubled, x, Unit("conv1", (0,)), layer="conv2")
    with pytest.raises(SettingError, match="has no convolution; name a layer= with maps"):
        grad_cam(tatami.build("mlp"), tatami.build("mlp").initialize(), np.zeros((1, 1, 28, 28)), 0)
    with pytest.raises(SettingError, match="occlusion: window must be whole numbers from 1"):
        occlusion(network, doubled, x, 0, window=0)
    with pytest.raises(UnknownNameError, match="unknown attribution 'gradcam': did you mean 'grad-cam'?"):
        attribution_map("gradcam", network, doubled, x, 0)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("arai", "relu2"), ("lenet5", "tanh2"), ("small_convnet", "relu2"), ("ox", "sigmoid1")],
)
def test_grad_cam_looks_at_the_last_maps_with_places(name, layer):
    assert last_maps(tatami.build(name)) == layer
    assert last_maps(lines(6, 6)) == "relu2"


def test_global_pooling_and_grad_cam_at_a_named_layer():
    network = tatami.Sequential(
        Convolution(4, 3, padding="same"), ReLU(), GlobalAveragePool(), Dense(2), input_shape=(1, 6, 6)
    )
    parameters, x = network.initialize(3, "float64"), noise(1, 1, 6, 6)
    # With global average pooling Grad-CAM is the class activation map: the dense weights over the maps.
    maps = walk_forward(network, parameters, x).values["relu1"]
    expected = np.maximum(0, np.einsum("c,ncij->nij", parameters["dense1"]["weight"][1], maps) / 36)
    np.testing.assert_allclose(grad_cam(network, parameters, x, 1), expected, rtol=1e-10, atol=1e-15)


def test_the_walk_backward_is_that_of_a_training_step(model, doubled, examples):
    x, labels = examples
    step = model.program("reference", "f64").train_step(doubled, x, labels, keep=True)
    walk = walk_forward(model.network, doubled, x)
    output = model.network.output
    gradients = walk.backward({output: step.value_gradients[output]})
    assert set(gradients) == set(step.value_gradients)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(walk.values[name], step.values[name])
        np.testing.assert_array_equal(gradient, step.value_gradients[name])
