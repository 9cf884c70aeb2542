"""PyTorch's sample inputs of its modules (ModuleInfo), run against our layers and losses.

Each mapping reads a module's settings and returns what it is for us, or says why we have no such thing. The last test
prints and bounds the count; `python -m tests.layers.torch_samples` prints it for all.
"""

import numpy as np
import pytest
import torch
from tests.layers.agreement import OPS
from tests.layers.torch_samples import (
    AGREE,
    CLOSE,
    EMPTY,
    NEGATIVE,
    NO_LABEL,
    OurLoss,
    Ours,
    compare,
    compare_loss,
    count,
    internal,
    outcomes,
    table,
)

import tatami
from tatami.layers import Context, Permute
from tatami.random import RandomKey

STATES = "initial states that are not zero"
PROJECTION = "a projection of the state"
DIVISOR = "an average with a divisor of one's own"
POWER = "a power of negative numbers without their magnitude"
ALL_BATCHES = "the average of all batches instead of a running one"
MAP_STATISTICS = "running statistics of single maps"
SLOPE = "softplus with a slope of its own"


def named(module, **names):
    """Return our names of a module's parameters -> the parameters, those that exist."""
    return {
        ours: getattr(module, theirs) for ours, theirs in names.items() if getattr(module, theirs) is not None
    }


def convolution(m, x):
    layer = tatami.Convolution(
        m.out_channels, m.kernel_size, m.stride, m.padding, m.dilation, m.groups, m.bias is not None
    )
    weights = named(m, weight="weight", bias="bias")
    if m.padding_mode == "zeros":
        return Ours([layer], weights)
    mode = {"reflect": "reflect", "replicate": "replicate", "circular": "circular"}[m.padding_mode]
    pad = tatami.Pad(m.padding, mode)
    unpadded = tatami.Convolution(
        *(m.out_channels, m.kernel_size, m.stride, 0, m.dilation, m.groups, m.bias is not None)
    )
    return Ours([pad, unpadded], weights)


def transposed(m, x):
    layer = tatami.TransposedConvolution(
        *(m.out_channels, m.kernel_size, m.stride, m.padding, m.output_padding, m.dilation, m.groups),
        bias=m.bias is not None,
    )
    return Ours([layer], named(m, weight="weight", bias="bias"))


def dense(m, x):
    return Ours(
        [tatami.Dense(m.out_features, bias=m.bias is not None)], named(m, weight="weight", bias="bias")
    )


def average(m, x):
    if getattr(m, "divisor_override", None):
        return DIVISOR
    return Ours(
        [tatami.AveragePool(m.kernel_size, m.stride, m.padding, m.count_include_pad, ceil=m.ceil_mode)]
    )


def largest(m, x):
    return Ours([tatami.MaxPool(m.kernel_size, m.stride, m.padding, dilation=m.dilation, ceil=m.ceil_mode)])


def power(m, x):
    if m.norm_type % 2:
        return POWER
    return Ours(
        [tatami.LpPool(m.kernel_size, m.stride, p=float(m.norm_type), normalise=False, ceil=m.ceil_mode)]
    )


def adaptive(make):
    def mapping(m, x):
        """None keeps the input's size on an axis."""
        rank = x.ndim - 2
        sizes = (m.output_size,) * rank if np.ndim(m.output_size) == 0 else m.output_size
        return Ours([make([n if size is None else size for n, size in zip(x.shape[2:], sizes, strict=True)])])

    return mapping


def batch_norm(m, x):
    if m.momentum is None:
        return ALL_BATCHES
    layer = tatami.BatchNormalization(m.momentum, m.eps, m.affine, shift=m.bias is not None)
    return Ours([layer], named(m, scale="weight", bias="bias"))


def instance_norm(m, x):
    if m.track_running_stats:
        return MAP_STATISTICS
    layer = tatami.InstanceNormalization(epsilon=m.eps, affine=m.affine, shift=m.bias is not None)
    return Ours([layer], named(m, scale="weight", bias="bias"))


def group_norm(m, x):
    layer = tatami.GroupNormalization(m.num_groups, epsilon=m.eps, affine=m.affine, shift=m.bias is not None)
    return Ours([layer], named(m, scale="weight", bias="bias"))


def layer_norm(m, x):
    settings = {"epsilon": m.eps, "affine": m.weight is not None, "shift": m.bias is not None}
    weights = named(m, scale="weight", bias="bias")
    if tuple(m.normalized_shape) == tuple(x.shape[1:]):
        return Ours([tatami.LayerNormalization(**settings)], weights)
    # Features last, as sequences are there: (N, time, features).
    assert len(m.normalized_shape) == 1
    assert x.ndim == 3
    turned = [Permute((1, 0)), tatami.LayerNormalization("channels", **settings), Permute((1, 0))]
    return Ours(turned, weights)


def padding(mode):
    def mapping(m, x):
        sides = m.padding
        pairs = [(sides[at], sides[at + 1]) for at in range(0, len(sides), 2)][::-1]
        if any(side < 0 for pair in pairs for side in pair):
            return "padding below 0, which cuts"
        value = float(getattr(m, "value", 0)) if mode == "constant" else 0.0
        return Ours([tatami.Pad(pairs, mode, value)])

    return mapping


def embedding(m, x):
    if m.padding_idx is not None or m.max_norm is not None or m.scale_grad_by_freq:
        return "an embedding with a token that does not learn, bounded norms or rates by frequency"
    return Ours([tatami.Embedding(m.num_embeddings, m.embedding_dim)], {"weight": m.weight})


def softmax(m, x):
    assert getattr(m, "dim", 1) % max(x.ndim, 1) in (0, 1)
    return Ours([tatami.Softmax()])


def softplus(m, x):
    return Ours([tatami.Softplus()]) if m.beta == 1 else SLOPE


def simple(make):
    return lambda m, x: Ours([make(m)])


# Module -> mapping, and the number of axes of a batch (None: as it comes).
MAPPINGS = {
    **{f"Conv{n}d": (convolution, n + 2) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": (transposed, n + 2) for n in (1, 2, 3)},
    **{f"LazyConv{n}d": (convolution, n + 2) for n in (1, 2, 3)},
    **{f"LazyConvTranspose{n}d": (transposed, n + 2) for n in (1, 2, 3)},
    "Linear": (dense, 2),
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
    "PReLU": (lambda m, x: Ours([tatami.PReLU(shared=m.num_parameters == 1)], {"slope": m.weight}), None),
    "ReLU": (simple(lambda m: tatami.ReLU()), None),
    "SELU": (simple(lambda m: tatami.SELU()), None),
    "SiLU": (simple(lambda m: tatami.Swish()), None),
    "Sigmoid": (simple(lambda m: tatami.Sigmoid()), None),
    "Softmax": (softmax, None),
    "Softmax2d": (softmax, 4),
    "Softplus": (softplus, None),
    "Tanh": (simple(lambda m: tatami.Tanh()), None),
}
RECURRENT = ("RNN", "LSTM", "GRU")


def infos():
    """Return PyTorch's list of modules by name."""
    return {info.module_cls.__name__: info for info in internal("common_modules").module_db}


def without_counterpart():
    """List the modules that we have no layer or loss for."""
    return sorted(set(infos()) - set(MAPPINGS) - set(RECURRENT) - set(LOSSES))


def samples(name):
    """Return (module, arguments of its forward) of every sample of a module."""
    info = infos()[name]
    torch.manual_seed(0)
    inputs = info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=True
    )
    for sample in inputs:
        constructor = sample.constructor_input
        module = info.module_cls(*constructor.args, **constructor.kwargs).double()
        yield module, sample.forward_input.args, sample.forward_input.kwargs


def as_batch(x, axes):
    """Return the shape in which a sample's input is a batch: one example for inputs that have no axis of examples."""
    if axes is not None:
        assert x.ndim in (axes, axes - 1)
        return tuple(x.shape) if x.ndim == axes else (1, *x.shape)
    return tuple(x.shape) if x.ndim > 1 else (x.numel(), 1)


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", MAPPINGS)
def test_modules(name):
    mapping, axes = MAPPINGS[name]
    for module, arguments, keywords in samples(name):
        x = (arguments[0] if arguments else keywords["input"]).detach().clone()
        x.requires_grad_(x.is_floating_point())
        if not x.numel():
            count("modules", EMPTY)
            continue
        expected = module(x)
        if isinstance(expected, tuple):  # the places of the maxima are asked for too
            expected = expected[0]
        view = tuple(x.shape) if name == "Embedding" else as_batch(x, axes)
        ours = mapping(module, x.reshape(view))
        if isinstance(ours, str):
            count("modules", ours)
            continue
        compare(ours, x, expected, view)
        if name.startswith("BatchNorm") and module.track_running_stats:
            compare_statistics(ours.layers[0], module, x)
        count("modules", AGREE)
    # Where PyTorch has several settings for a module, we have most of them.
    assert outcomes["modules", AGREE] > 0


def compare_statistics(layer, module, x):
    """Compare the running statistics after one pass from their beginning."""
    array = x.detach().numpy()
    state = {name: np.asarray(values) for name, values in layer.initial_state(array.shape[1:]).items()}
    weights = {"scale": np.ones(array.shape[1]), "bias": np.zeros(array.shape[1])}
    mine = {name: weights[name] for name in layer.parameter_specs(array.shape[1:])}
    after = layer.forward(OPS, (array,), mine, Context(True, RandomKey(), state)).state
    np.testing.assert_allclose(after["running_mean"], module.running_mean.numpy(), **CLOSE)
    np.testing.assert_allclose(after["running_variance"], module.running_var.numpy(), **CLOSE)


def channels_first(array, order):
    """Bring (time, N, features), (N, time, features) or (time, features) to (N, features, time)."""
    return array.T[None] if array.ndim == 2 else array.transpose(order)


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_modules(name):
    """All of PyTorch's recurrent samples without initial states; stacked ones by our layers behind one another."""
    cell = getattr(tatami, name)
    for m, arguments, _ in samples(name):
        reasons = [(len(arguments) > 1, STATES), (getattr(m, "proj_size", 0), PROJECTION)]
        reason = next((text for applies, text in reasons if applies), None)
        if reason:
            count("modules", reason)
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
            weights = recurrent_weights(name, m, layer, number)
            forward = layer.forward(OPS, (y,), weights, Context(True))
            passes.append((layer, forward, weights, number))
            y = forward.output
        np.testing.assert_allclose(y, channels_first(expected.detach().numpy(), order), **CLOSE)
        dy = channels_first(upstream, order)
        for layer, forward, weights, number in reversed(passes):
            backward = layer.backward(OPS, dy, forward.saved, weights)
            (dy,) = backward.dinputs
            for prefix, _ in layer.walks():
                end = f"_l{number}" + ("_reverse" if prefix else "")
                for ours, theirs in (("input_weight", "weight_ih"), ("state_weight", "weight_hh")):
                    gradient = getattr(m, f"{theirs}{end}").grad.numpy()
                    np.testing.assert_allclose(backward.dparameters[f"{prefix}{ours}"], gradient, **CLOSE)
                if m.bias:
                    gradient = getattr(m, f"bias_ih{end}").grad.numpy()
                    np.testing.assert_allclose(backward.dparameters[f"{prefix}bias"], gradient, **CLOSE)
        np.testing.assert_allclose(dy, channels_first(x.grad.numpy(), order), **CLOSE)
        count("modules", AGREE)


def recurrent_weights(name, m, layer, number):
    """Return our parameters of one of a module's stacked layers; PyTorch's two biases add up to our one."""
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
    return weights


# ---- losses ------------------------------------------------------------------------------------------------


def squared_error(m, x, t):
    return OurLoss(tatami.SquaredError("sum"), 2.0)


def huber(m, x, t):
    return OurLoss(tatami.Huber("sum", float(m.delta)))


def smooth_l1(m, x, t):
    """Huber's, divided by δ."""
    return OurLoss(tatami.Huber("sum", float(m.beta)), 1 / m.beta)


def binary(m, x, t):
    if m.weight is not None and bool((m.weight < 0).any()):
        return NEGATIVE
    outputs = x.shape[1]
    return OurLoss(
        tatami.BinaryCrossEntropy("sum", for_each(m.weight, outputs), for_each(m.pos_weight, outputs))
    )


def for_each(weight, outputs):
    """Return a weight for each output, or None if there is none."""
    return None if weight is None else weight.expand(outputs).tolist()


def margin(m, x, t):
    """PyTorch divides the sum by the number of classes."""
    weights = None if m.weight is None else m.weight.tolist()
    if weights and min(weights) < 0:
        return NEGATIVE
    classes = x.shape[-1]
    return OurLoss(tatami.Hinge("sum", float(m.margin), m.p == 2, weights), 1 / classes)


def cross_entropy(m, x, t):
    """PyTorch's mean over labels divides by the weights of those that count, that over shares by their number."""
    weights = None if m.weight is None else m.weight.tolist()
    if weights and min(weights) < 0:
        return NEGATIVE
    is_soft = t.is_floating_point()
    counts = t != m.ignore_index
    if m.reduction == "mean" and not bool(counts.any()):
        return NO_LABEL
    if is_soft:
        classes = x.shape[0] if x.ndim == 1 else x.shape[1]
        mean = x.numel() / classes
    elif weights is None:
        mean = float(counts.sum())
    else:
        mean = float(m.weight[t[counts]].sum())
    ignored = None if is_soft else m.ignore_index
    return OurLoss(tatami.WeightedCrossEntropy("sum", m.label_smoothing, weights, ignored), 1.0, mean)


LOSSES = {
    "MSELoss": squared_error,
    "HuberLoss": huber,
    "SmoothL1Loss": smooth_l1,
    "BCEWithLogitsLoss": binary,
    "MultiMarginLoss": margin,
    "CrossEntropyLoss": cross_entropy,
}


@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    """Our 'sum' is PyTorch's; its 'mean' divides by the number of numbers (or labels), ours by that of examples."""
    for module, (x, target, *_), _ in samples(name):
        ours = LOSSES[name](module, x, target)
        if isinstance(ours, str):
            count("losses", ours)
            continue
        x = x.detach().clone().requires_grad_(True)
        compare_loss(ours, x, target, module(x, target), module.reduction)
        count("losses", AGREE)


def test_how_many_of_how_many():
    """Of the samples of these modules so many ask for what we offer, and all of those agree."""
    agree = {family: outcomes[family, AGREE] for family in ("modules", "losses")}
    total = sum(number for (family, _), number in outcomes.items() if family in agree)
    if total < 470:
        pytest.skip("the other tests of this file did not all run")
    print(table())
    assert agree["modules"] >= 260
    assert agree["losses"] >= 107
