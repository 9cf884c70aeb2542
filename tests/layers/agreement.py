"""What the tests of layers share: gradient checks, JSON, precision, and agreement with PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tatami import Layer, RandomKey, check_gradients
from tatami.backends import ReferenceBackend
from tatami.geometry import Shape
from tatami.layers import Context, Forward

OPS = ReferenceBackend()
Arrays = dict[str, NDArray[Any]]


def draw(layer: Layer, shapes: Sequence[Shape], seed: int = 1, examples: int = 3, dtype: str = "float64"):
    """Return random inputs and parameters for a layer."""
    key = RandomKey(seed)
    inputs = tuple(key.normal(f"x{i}", (examples, *shape)).astype(dtype) for i, shape in enumerate(shapes))
    parameters = {
        name: (spec.initializer.draw(spec, name, key) + 0.1 * key.normal(f"{name} shift", spec.shape)).astype(
            dtype
        )
        for name, spec in layer.parameter_specs(*shapes).items()
    }
    return inputs, parameters


def run(
    layer: Layer,
    inputs: Sequence[NDArray[Any]],
    parameters: Mapping[str, NDArray[Any]],
    training: bool = True,
) -> Forward:
    """Run a layer forward from its initial state."""
    shapes = [x.shape[1:] for x in inputs]
    state = {
        name: np.asarray(values, dtype=inputs[0].dtype)
        for name, values in layer.initial_state(*shapes).items()
    }
    return layer.forward(OPS, tuple(inputs), parameters, Context(training, RandomKey(5), state))


def check(layer: Layer, *shapes: Shape, sample: int | None = 20) -> None:
    """Check gradients, the declared shape, JSON and that float32 stays float32."""
    report = check_gradients(layer, list(shapes), sample=sample)
    assert report.passed, str(report)
    assert Layer.from_json(layer.to_json()) == layer
    inputs, parameters = draw(layer, shapes, dtype="float32")
    for training in (True, False):
        forward = run(layer, inputs, parameters, training)
        assert forward.output.shape == (3, *layer.output_shape(*shapes))
        assert forward.output.dtype == np.float32
        backward = layer.backward(OPS, np.ones_like(forward.output), forward.saved, parameters)
        assert set(backward.dparameters) == set(parameters)
        for x, dx in zip(inputs, backward.dinputs, strict=True):
            assert dx.shape == x.shape
            assert dx.dtype == np.float32
        for name, values in backward.dparameters.items():
            assert values.shape == parameters[name].shape
            assert values.dtype == np.float32
        for values in forward.state.values():
            assert values.dtype == np.float32


def compare_with_torch(
    layer: Layer,
    shapes: Sequence[Shape],
    function: Callable[..., torch.Tensor],
    *,
    training: bool = True,
    tolerance: float = 1e-9,
    examples: int = 3,
) -> None:
    """Compare values and all gradients with a function of PyTorch in float64.

    The function gets the inputs as positional and the parameters as named arguments, all tensors.
    """
    inputs, parameters = draw(layer, shapes, examples=examples)
    forward = run(layer, inputs, parameters, training)
    upstream = RandomKey(2).normal("upstream", forward.output.shape)
    backward = layer.backward(OPS, upstream, forward.saved, parameters)
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    named = {name: torch.tensor(values, requires_grad=True) for name, values in parameters.items()}
    expected = function(*tensors, **named)
    expected.backward(torch.tensor(upstream))
    np.testing.assert_allclose(forward.output, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    for dx, tensor in zip(backward.dinputs, tensors, strict=True):
        wanted = np.zeros_like(dx) if tensor.grad is None else tensor.grad.numpy()
        np.testing.assert_allclose(dx, wanted, rtol=tolerance, atol=tolerance)
    for name, tensor in named.items():
        np.testing.assert_allclose(
            backward.dparameters[name], tensor.grad.numpy(), rtol=tolerance, atol=tolerance, err_msg=name
        )
