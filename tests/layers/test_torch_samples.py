"""PyTorch's own sample inputs, run against our layers and losses wherever the semantics are the same.

`torch.testing` holds settings and inputs for every module that PyTorch tests itself with. Each mapping below reads a
module's settings and returns our layer and its parameters, or None where we do not offer what the sample asks for
(empty batches, inputs without axes, a scale without a bias). Values and all gradients have to agree in float64. The
last test counts the samples.
"""

import copy
import sys
import types
import unittest
import warnings

import numpy as np
import pytest
import torch
from tests.layers.agreement import OPS

import tatami
from tatami.layers import Context
from tatami.random import RandomKey

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    # Only PyTorch's own test cases use it; the lists of samples do not.
    stub = types.ModuleType("expecttest")
    stub.TestCase = unittest.TestCase
    stub.assert_expected_inline = None
    sys.modules.setdefault("expecttest", stub)
    common_modules = pytest.importorskip("torch.testing._internal.common_modules")


def named(module, **names):
    """Return our names of a module's parameters -> the parameters, those that exist."""
    return {
        ours: getattr(module, theirs) for ours, theirs in names.items() if getattr(module, theirs) is not None
    }


def convolution(m, x):
    if m.padding_mode != "zeros":
        return None
    layer = tatami.Convolution(
        m.out_channels, m.kernel_size, m.stride, m.padding, m.dilation, m.groups, m.bias is not None
    )
    return layer, named(m, weight="weight", bias="bias")


def transposed(m, x):
    layer = tatami.TransposedConvolution(
        *(m.out_channels, m.kernel_size, m.stride, m.padding, m.output_padding, m.dilation, m.groups),
        bias=m.bias is not None,
    )
    return layer, named(m, weight="weight", bias="bias")


def dense(m, x):
    return tatami.Dense(m.out_features, bias=m.bias is not None), named(m, weight="weight", bias="bias")


def average(m, x):
    if m.ceil_mode or getattr(m, "divisor_override", None):
        return None
    return tatami.AveragePool(m.kernel_size, m.stride, m.padding, m.count_include_pad), {}


def largest(m, x):
    dilated = m.dilation != 1 and set(np.atleast_1d(m.dilation)) != {1}
    if m.ceil_mode or dilated or m.return_indices:
        return None
    return tatami.MaxPool(m.kernel_size, m.stride, m.padding), {}


def power(m, x):
    if m.ceil_mode or m.norm_type % 2:  # PyTorch takes no magnitudes: another function for odd p
        return None
    return tatami.LpPool(m.kernel_size, m.stride, p=float(m.norm_type), normalise=False), {}


def adaptive(make):
    def mapping(m, x):
        if None in np.atleast_1d(m.output_size) or getattr(m, "return_indices", False):
            return None
        return make(m.output_size), {}

    return mapping


def batch_norm(m, x):
    if m.momentum is None or scale_alone(m):
        return None
    layer = tatami.BatchNormalization(m.momentum, m.eps, m.affine)
    return layer, named(m, scale="weight", bias="bias")


def instance_norm(m, x):
    if m.track_running_stats or scale_alone(m):
        return None
    layer = tatami.InstanceNormalization(epsilon=m.eps, affine=m.affine)
    return layer, named(m, scale="weight", bias="bias")


def scale_alone(m):
    return m.affine and m.bias is None


def group_norm(m, x):
    if scale_alone(m):
        return None
    layer = tatami.GroupNormalization(m.num_groups, epsilon=m.eps, affine=m.affine)
    return layer, named(m, scale="weight", bias="bias")


def layer_norm(m, x):
    if tuple(m.normalized_shape) != tuple(x.shape[1:]) or (m.weight is None) != (m.bias is None):
        return None
    layer = tatami.LayerNormalization(epsilon=m.eps, affine=m.weight is not None)
    return layer, named(m, scale="weight", bias="bias")


def padding(mode):
    def mapping(m, x):
        sides = m.padding
        pairs = [(sides[at], sides[at + 1]) for at in range(0, len(sides), 2)][::-1]
        if any(side < 0 for pair in pairs for side in pair):
            return None
        value = float(getattr(m, "value", 0)) if mode == "constant" else 0.0
        return tatami.Pad(pairs, mode, value), {}

    return mapping


def embedding(m, x):
    if m.padding_idx is not None or m.max_norm is not None or m.scale_grad_by_freq:
        return None
    return tatami.Embedding(m.num_embeddings, m.embedding_dim), {"weight": m.weight}


def softmax(m, x):
    return (tatami.Softmax(), {}) if getattr(m, "dim", 1) == 1 and x.ndim > 1 else None


def softplus(m, x):
    return (tatami.Softplus(), {}) if m.beta == 1 else None


def simple(make):
    return lambda m, x: (make(m), {})


# Module -> mapping, and the number of axes of a batch (None: as it comes).
MAPPINGS = {
    **{f"Conv{n}d": (convolution, n + 2) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": (transposed, n + 2) for n in (1, 2, 3)},
    "Linear": (lambda m, x: dense(m, x) if x.ndim == 2 else None, 2),
    **{f"AvgPool{n}d": (average, n + 2) for n in (1, 2, 3)},
    **{f"MaxPool{n}d": (largest, n + 2) for n in (1, 2, 3)},
    **{f"LPPool{n}d": (power, n + 2) for n in (1, 2, 3)},
    **{f"AdaptiveAvgPool{n}d": (adaptive(tatami.AdaptiveAveragePool), n + 2) for n in (1, 2, 3)},
    **{f"AdaptiveMaxPool{n}d": (adaptive(tatami.AdaptiveMaxPool), n + 2) for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": (batch_norm, None) for n in (1, 2, 3)},
    **{f"InstanceNorm{n}d": (instance_norm, n + 2) for n in (1, 2, 3)},
    "GroupNorm": (group_norm, None),
    "LayerNorm": (layer_norm, None),
    "LocalResponseNorm": (
        simple(lambda m: tatami.LocalResponseNormalization(m.size, m.alpha / m.size, m.beta, m.k)),
        None,
    ),
    **{f"ReflectionPad{n}d": (padding("reflect"), n + 2) for n in (1, 2, 3)},
    **{f"ReplicationPad{n}d": (padding("replicate"), n + 2) for n in (1, 2, 3)},
    **{f"ZeroPad{n}d": (padding("zero"), n + 2) for n in (1, 2, 3)},
    **{f"ConstantPad{n}d": (padding("constant"), n + 2) for n in (1, 2, 3)},
    **{f"CircularPad{n}d": (padding("circular"), n + 2) for n in (1, 2, 3)},
    "Embedding": (embedding, None),
    "ELU": (simple(lambda m: tatami.ELU(float(m.alpha))), None),
    "GELU": (simple(lambda m: tatami.GELU("tanh" if m.approximate == "tanh" else "exact")), None),
    "LeakyReLU": (simple(lambda m: tatami.LeakyReLU(float(m.negative_slope))), None),
    "Mish": (simple(lambda m: tatami.Mish()), None),
    "PReLU": (lambda m, x: (tatami.PReLU(shared=m.num_parameters == 1), {"slope": m.weight}), None),
    "ReLU": (simple(lambda m: tatami.ReLU()), None),
    "SELU": (simple(lambda m: tatami.SELU()), None),
    "SiLU": (simple(lambda m: tatami.Swish()), None),
    "Sigmoid": (simple(lambda m: tatami.Sigmoid()), None),
    "Softmax": (softmax, None),
    "Softmax2d": (softmax, 4),
    "Softplus": (softplus, None),
    "Tanh": (simple(lambda m: tatami.Tanh()), None),
}
INFOS = {info.module_cls.__name__: info for info in common_modules.module_db}
outcomes = {"agree": 0, "not offered": 0}


def samples(name):
    """Return (module, arguments of its forward) of every sample of a module."""
    info = INFOS[name]
    torch.manual_seed(0)
    inputs = info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=True
    )
    for sample in inputs:
        constructor = sample.constructor_input
        module = info.module_cls(*constructor.args, **constructor.kwargs).double()
        yield module, sample.forward_input.args, sample.forward_input.kwargs


def compare(layer, parameters, module, x, batched):
    """Compare values and gradients of one sample; the layer gets a batch axis if the sample has none."""
    is_index = not x.is_floating_point()
    x = x.detach().clone().requires_grad_(not is_index)
    expected = module(x)
    ours = x.detach().numpy() if batched else x.detach().numpy()[None]
    weights = {name: tensor.detach().numpy() for name, tensor in parameters.items()}
    shape = ours.shape[1:]
    state = {name: np.asarray(value) for name, value in layer.initial_state(shape).items()}
    context = Context(True, RandomKey(), state)
    forward = layer.forward(OPS, (ours,), weights, context)
    output = forward.output if batched else forward.output[0]
    wanted = expected.detach().numpy()
    if is_index:
        output = np.moveaxis(output, 1, -1)
    np.testing.assert_allclose(output, wanted, rtol=1e-9, atol=1e-9)
    upstream = RandomKey(1).normal("upstream", wanted.shape)
    expected.backward(torch.tensor(upstream))
    dy = np.moveaxis(upstream, -1, 1) if is_index else upstream
    backward = layer.backward(OPS, dy if batched else dy[None], forward.saved, weights)
    if not is_index:
        dx = backward.dinputs[0] if batched else backward.dinputs[0][0]
        np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-9, atol=1e-9)
    for name, tensor in parameters.items():
        gradient = backward.dparameters[name]
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", MAPPINGS)
def test_modules(name):
    mapping, axes = MAPPINGS[name]
    found = 0
    for module, arguments, keywords in samples(name):
        x = arguments[0] if arguments else keywords["input"]
        batched = axes is None or x.ndim == axes
        mapped = None
        if x.numel() and x.ndim > 0 and (batched or (axes is not None and x.ndim == axes - 1)):
            mapped = mapping(module, x if batched else x[None])
        if mapped is None or (axes is None and x.ndim < 2 and name in ("LayerNorm", "PReLU")):
            outcomes["not offered"] += 1
            continue
        compare(*mapped, copy.deepcopy(module) if not mapped[1] else module, x, batched)
        outcomes["agree"] += 1
        found += 1
    assert found > 0


def channels_first(array, order):
    """Bring (time, N, features), (N, time, features) or (time, features) to (N, features, time)."""
    return array.T[None] if array.ndim == 2 else array.transpose(order)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_recurrent_modules(name):
    """All of PyTorch's recurrent samples without initial states; stacked ones by our layers behind one another."""
    cell = getattr(tatami, name)
    found = 0
    for m, arguments, _ in samples(name):
        if len(arguments) > 1 or getattr(m, "proj_size", 0) or m.dropout:
            outcomes["not offered"] += 1
            continue
        x = arguments[0].detach().clone().requires_grad_(True)
        expected, _ = m(x)
        upstream = RandomKey(1).normal("upstream", tuple(expected.shape))
        expected.backward(torch.tensor(upstream))

        order = (0, 2, 1) if m.batch_first else (1, 2, 0)
        y, passes = channels_first(x.detach().numpy(), order), []
        for number in range(m.num_layers):
            settings = {"activation": m.nonlinearity} if name == "RNN" else {}
            layer = cell(m.hidden_size, "all", "both" if m.bidirectional else "forward", **settings)
            weights = {}
            for prefix, _ in layer.walks():
                end = f"_l{number}" + ("_reverse" if prefix else "")
                weights[f"{prefix}input_weight"] = getattr(m, f"weight_ih{end}").detach().numpy()
                weights[f"{prefix}state_weight"] = getattr(m, f"weight_hh{end}").detach().numpy()
                rows = m.hidden_size * layer.gates
                first, second = (
                    getattr(m, f"bias_{part}{end}").detach().numpy() if m.bias else np.zeros(rows)
                    for part in ("ih", "hh")
                )
                if name == "GRU":
                    weights[f"{prefix}state_bias"] = second[2 * m.hidden_size :]
                    second = np.concatenate([second[: 2 * m.hidden_size], np.zeros(m.hidden_size)])
                weights[f"{prefix}bias"] = first + second
            forward = layer.forward(OPS, (y,), weights, Context(True))
            passes.append((layer, forward, weights, number))
            y = forward.output
        np.testing.assert_allclose(y, channels_first(expected.detach().numpy(), order), rtol=1e-9, atol=1e-9)
        dy = channels_first(upstream, order)
        for layer, forward, weights, number in reversed(passes):
            backward = layer.backward(OPS, dy, forward.saved, weights)
            (dy,) = backward.dinputs
            for prefix, _ in layer.walks():
                end = f"_l{number}" + ("_reverse" if prefix else "")
                for ours, theirs in (("input_weight", "weight_ih"), ("state_weight", "weight_hh")):
                    np.testing.assert_allclose(
                        backward.dparameters[f"{prefix}{ours}"],
                        getattr(m, f"{theirs}{end}").grad.numpy(),
                        rtol=1e-9,
                        atol=1e-9,
                    )
        np.testing.assert_allclose(dy, channels_first(x.grad.numpy(), order), rtol=1e-9, atol=1e-9)
        outcomes["agree"] += 1
        found += 1
    assert found > 0


def squared_error(m, x, t):
    return tatami.SquaredError("sum"), 2.0


def huber(m, x, t):
    return tatami.Huber("sum", float(m.delta)), 1.0


def binary(m, x, t):
    if m.weight is not None or m.pos_weight is not None:
        return None
    return tatami.BinaryCrossEntropy("sum"), 1.0


def margin(m, x, t):
    if m.weight is not None or x.ndim != 2:
        return None
    return tatami.Hinge("sum", float(m.margin), m.p == 2), 1 / x.shape[1]


def cross_entropy(m, x, t):
    if t.is_floating_point() or x.ndim < 2 or t.shape != (x.shape[0], *x.shape[2:]):
        return None
    weights = None if m.weight is None else m.weight.tolist()
    if weights and min(weights) < 0:
        return None
    if m.reduction == "mean" and (weights is not None or bool((t == m.ignore_index).any())):
        return None  # PyTorch's mean over the weights of the labels
    return tatami.WeightedCrossEntropy("sum", m.label_smoothing, weights, m.ignore_index), 1.0


LOSS_MAPPINGS = {
    "MSELoss": squared_error,
    "HuberLoss": huber,
    "BCEWithLogitsLoss": binary,
    "MultiMarginLoss": margin,
    "CrossEntropyLoss": cross_entropy,
}


@pytest.mark.parametrize("name", LOSS_MAPPINGS)
def test_losses(name):
    """Our 'sum' is PyTorch's; its 'mean' divides by the number of numbers (or labels), ours by that of examples."""
    found = 0
    for module, (x, target, *_), _ in samples(name):
        mapped = None
        if module.reduction in ("sum", "mean") and x.ndim > 1:
            mapped = LOSS_MAPPINGS[name](module, x, target)
        if mapped is None:
            outcomes["not offered"] += 1
            continue
        loss, factor = mapped
        if module.reduction == "mean":
            factor /= target.numel()
        x = x.detach().clone().requires_grad_(True)
        expected = module(x, target)
        expected.backward()
        output = x.detach().numpy()
        checked = loss.target(target.detach().numpy(), output.shape[1:])
        value = factor * loss.value(OPS, output, checked)
        assert value == pytest.approx(float(expected.detach()), rel=1e-9, abs=1e-9)
        gradient = factor * loss.gradient(OPS, output, checked)
        np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-9, atol=1e-9)
        outcomes["agree"] += 1
        found += 1
    assert found > 0


def test_how_many_of_how_many():
    """Of the samples of these modules so many ask for what we offer, and all of those agree."""
    total = sum(outcomes.values())
    if len(MAPPINGS) and total < 300:
        pytest.skip("the other tests of this file did not all run")
    print(f"{outcomes['agree']} of {total} samples of PyTorch agree, the others ask for what we do not offer")
    assert outcomes["agree"] >= 240
