"""PyTorch's sample inputs of its functions (OpInfo), run against our layers and losses.

They hold what the modules' samples lack: windows with gaps and with ends beyond the input, unpooling, paddings of every
kind, enlargements. Each mapping is called like the function and returns what it is for us, or says why we have no such
thing; `python -m tests.layers.torch_samples` prints the count.
"""

import warnings
from functools import cache
from math import prod

import numpy as np
import pytest
import torch
from tests.layers.test_torch_modules import DIVISOR, SLOPE
from tests.layers.torch_samples import (
    AGREE,
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

pytestmark = pytest.mark.slow
CUT = "padding below 0, which cuts"
NO_EPSILON = "an epsilon of 0 or less"
AXES = "four spatial axes, or none"


def given(**weights):
    """Return the weights that there are."""
    return {name: tensor for name, tensor in weights.items() if tensor is not None}


def convolution(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    stride, dilation = plain(stride), plain(dilation)
    layer = tatami.Convolution(
        *(
            weight.shape[0],
            tuple(weight.shape[2:]),
            stride,
            plain(padding),
            dilation,
            groups,
            bias is not None,
        )
    )
    return Ours([layer], given(weight=weight, bias=bias))


def transposed(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    rank = x.ndim - 2
    if (np.broadcast_to(plain(output_padding), rank) >= np.broadcast_to(plain(stride), rank)).any():
        return "an output padding of a whole stride or more"
    layer = tatami.TransposedConvolution(
        *(weight.shape[1] * groups, tuple(weight.shape[2:]), plain(stride), plain(padding)),
        *(plain(output_padding), plain(dilation), groups),
        bias=bias is not None,
    )
    return Ours([layer], given(weight=weight, bias=bias))


def plain(value):
    """Return a number for a list of one: both mean every axis."""
    if isinstance(value, tuple | list):
        return value[0] if len(value) == 1 else tuple(value)
    return value


def largest(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    return Ours(
        [
            tatami.MaxPool(
                plain(kernel_size), plain(stride), plain(padding), dilation=plain(dilation), ceil=ceil_mode
            )
        ]
    )


def average(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    if divisor_override is not None:
        return DIVISOR
    counts = count_include_pad and plain(padding) not in (0, (0,) * (x.ndim - 2))
    if ceil_mode and counts:
        return "an average that counts padding, with windows beyond the end"
    return Ours(
        [tatami.AveragePool(plain(kernel_size), plain(stride), plain(padding), counts, ceil=ceil_mode)]
    )


def adaptive(make):
    def mapping(x, output_size, return_indices=False):
        rank = x.ndim - 2
        sizes = (output_size,) * rank if np.ndim(output_size) == 0 else output_size
        return Ours([make([n if size is None else size for n, size in zip(x.shape[2:], sizes, strict=True)])])

    return mapping


def unpool(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Our unpooling takes what the pooling looked at; an input whose maxima stand at the indices is made up."""
    rank = x.ndim - 2
    size = tuple(output_size[-rank:])
    taken = indices.reshape(*x.shape[:2], -1)  # unbatched samples come with as many places
    if any(len(set(places.tolist())) != len(places) for maps in taken for places in maps):
        return "an unpooling in which windows share their maximum: values add up here, PyTorch keeps one"
    layer = tatami.MaxUnpool(plain(kernel_size), plain(stride), plain(padding))
    window = layer.pool.window((x.shape[1], *size))
    if window.output_size != tuple(x.shape[2:]):
        return "an unpooling to a size that the pooling would not have come from"
    before = np.zeros((*x.shape[:2], *size))
    for places in np.ndindex(tuple(x.shape[:2])):
        before[places] = looked_at(window, taken[places].tolist())
    return Ours([layer], more=(before,))


def looked_at(window, winners):
    """Return a map (*size) in which window i has its only maximum at the flat place winners[i]."""
    members = [places_of(window, position) for position in np.ndindex(window.output_size)]
    level = np.zeros(prod(window.size))
    changed = True
    while changed:  # every winner rises above what else its windows see
        changed = False
        for places, winner in zip(members, winners, strict=True):
            others = max((level[place] for place in places if place != winner), default=-1.0)
            if level[winner] <= others:
                level[winner], changed = others + 1, True
    return level.reshape(window.size)


def places_of(window, position):
    """Return the flat places that the window at a position sees."""
    places = []
    for tap in window.taps():
        place = [
            at * step - pair[0] + offset
            for at, step, pair, offset in zip(position, window.stride, window.padding, tap, strict=True)
        ]
        if all(0 <= at < n for at, n in zip(place, window.size, strict=True)):
            places.append(int(np.ravel_multi_index(place, window.size)))
    return places


def batch_norm(x, mean, variance, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if not training:
        return "fixed statistics, which are no setting but a state here"
    if weight is None and bias is not None:
        return "a bias without a scale"
    if not 0 <= momentum <= 1:
        return "a momentum below 0 or above 1"
    layer = tatami.BatchNormalization(momentum, eps, weight is not None, shift=bias is not None)
    return Ours([layer], given(scale=weight, bias=bias))


def instance_norm(
    x,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    if not use_input_stats:
        return "fixed statistics, which are no setting but a state here"
    if weight is None and bias is not None:
        return "a bias without a scale"
    layer = tatami.InstanceNormalization(epsilon=eps, affine=weight is not None, shift=bias is not None)
    return Ours([layer], given(scale=weight, bias=bias))


def group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    if weight is None and bias is not None:
        return "a bias without a scale"
    if eps <= 0:
        return NO_EPSILON
    layer = tatami.GroupNormalization(groups, epsilon=eps, affine=weight is not None, shift=bias is not None)
    return Ours([layer], given(scale=weight, bias=bias))


def layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    if tuple(shape) != tuple(x.shape[1:]):
        return "a normalisation over the examples too, or over some trailing axes"
    if weight is None and bias is not None:
        return "a bias without a scale"
    if eps <= 0:
        return NO_EPSILON
    layer = tatami.LayerNormalization(epsilon=eps, affine=weight is not None, shift=bias is not None)
    return Ours([layer], given(scale=weight, bias=bias))


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    return Ours([tatami.LocalResponseNormalization(size, alpha / size, beta, k)])


def pad(x, sides, mode="constant", value=None):
    """Sides are given from the last axis on; those beyond the spatial axes must be 0."""
    pairs = [(sides[at], sides[at + 1]) for at in range(0, len(sides), 2)][::-1]
    rank = x.ndim - 2
    if any(pair != (0, 0) for pair in pairs[: max(0, len(pairs) - rank)]):
        return "padding of examples or channels"
    pairs = [(0, 0)] * (rank - len(pairs)) + pairs[max(0, len(pairs) - rank) :]
    if any(side < 0 for pair in pairs for side in pair):
        return CUT
    return Ours([tatami.Pad(pairs, mode, float(value or 0))])


def enlargement(
    x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None
):
    sizes = x.shape[2:]
    if mode == "area" and size is not None:
        return adaptive(tatami.AdaptiveAveragePool)(x, size)
    if size is None:
        scales = (scale_factor,) * len(sizes) if np.ndim(scale_factor) == 0 else tuple(scale_factor)
        if any(scale != int(scale) for scale in scales):
            return "an enlargement by a factor that is not whole"
        factors = tuple(int(scale) for scale in scales)
    else:
        wanted = (size,) * len(sizes) if np.ndim(size) == 0 else tuple(size)
        if any(goal % n for goal, n in zip(wanted, sizes, strict=True)):
            return "an enlargement by a factor that is not whole"
        factors = tuple(goal // n for goal, n in zip(wanted, sizes, strict=True))
    if min(factors) < 1:
        return "an enlargement by a factor that is not whole"
    if mode in ("nearest", "nearest-exact"):
        return Ours([tatami.Upsample(factors)])
    if mode in ("linear", "bilinear", "trilinear"):
        return Ours([tatami.Upsample(factors, "linear", align_corners=bool(align_corners))])
    return f"an enlargement of mode {mode}"


def dense(x, weight, bias=None):
    if x.ndim > 2:
        return "a dense layer over the last of several axes"
    return Ours([tatami.Dense(weight.shape[0], bias=bias is not None)], given(weight=weight, bias=bias))


def embedding(
    x, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False
):
    if padding_idx is not None or max_norm is not None or scale_grad_by_freq:
        return "an embedding with a token that does not learn, bounded norms or rates by frequency"
    return Ours([tatami.Embedding(*weight.shape)], {"weight": weight})


def prelu(x, weight):
    return Ours([tatami.PReLU(shared=weight.numel() == 1)], {"slope": weight})


def softmax(x, dim, dtype=None):
    if x.ndim > 1 and dim % x.ndim != 1:
        return "a softmax over another axis than the channels"
    return Ours([tatami.Softmax()])


def softplus(x, beta=1, threshold=20):
    return Ours([tatami.Softplus()]) if beta == 1 and threshold >= 20 else SLOPE


def simple(make):
    return lambda x, **settings: Ours([make(**settings)])


def gelu(x, approximate="none"):
    return Ours([tatami.GELU("tanh" if approximate == "tanh" else "exact")])


# Function -> mapping, and the number of axes of a batch (None: as it comes).
MAPPINGS = {
    **{f"nn.functional.conv{n}d": (convolution, n + 2) for n in (1, 2, 3)},
    **{f"nn.functional.conv_transpose{n}d": (transposed, n + 2) for n in (1, 2, 3)},
    **{f"nn.functional.max_pool{n}d": (largest, n + 2) for n in (1, 2, 3)},
    **{f"nn.functional.avg_pool{n}d": (average, n + 2) for n in (1, 2, 3)},
    **{
        f"nn.functional.adaptive_avg_pool{n}d": (adaptive(tatami.AdaptiveAveragePool), n + 2)
        for n in (1, 2, 3)
    },
    **{f"nn.functional.adaptive_max_pool{n}d": (adaptive(tatami.AdaptiveMaxPool), n + 2) for n in (1, 2, 3)},
    **{f"nn.functional.max_unpool{n}d": (unpool, n + 2) for n in (1, 2, 3)},
    "nn.functional.batch_norm": (batch_norm, None),
    "nn.functional.instance_norm": (instance_norm, None),
    "nn.functional.group_norm": (group_norm, None),
    "nn.functional.layer_norm": (layer_norm, None),
    "nn.functional.local_response_norm": (local_response_norm, None),
    "nn.functional.pad": (pad, None),
    "nn.functional.interpolate": (enlargement, None),
    "nn.functional.upsample_nearest": (enlargement, None),
    "nn.functional.upsample_bilinear": (
        lambda x, size=None, scale_factor=None: enlargement(x, size, scale_factor, "bilinear", True),
        None,
    ),
    "nn.functional.linear": (dense, None),
    "nn.functional.embedding": (embedding, None),
    "nn.functional.prelu": (prelu, None),
    "nn.functional.softplus": (softplus, None),
    "nn.functional.gelu": (gelu, None),
    "nn.functional.elu": (simple(lambda alpha=1.0: tatami.ELU(float(alpha))), None),
    "nn.functional.leaky_relu": (
        lambda x, negative_slope=0.01: Ours([tatami.LeakyReLU(float(negative_slope))]),
        None,
    ),
    "nn.functional.relu": (simple(tatami.ReLU), None),
    "nn.functional.selu": (simple(tatami.SELU), None),
    "nn.functional.silu": (simple(tatami.Swish), None),
    "nn.functional.mish": (simple(tatami.Mish), None),
    # hardsigmoid is left out: PyTorch's gradient holds 1/6 in single precision, so it agrees to 3e-8 only.
    "softmax": (softmax, None),
    "sigmoid": (simple(tatami.Sigmoid), None),
    "tanh": (simple(tatami.Tanh), None),
}


@cache
def operators():
    """Return PyTorch's functions by name, each with its variants."""
    found = {}
    for op in internal("common_methods_invocations").op_db:
        if "complex" not in op.variant_test_name and "cudnn" not in op.variant_test_name:
            found.setdefault(op.name, []).append(op)
    return found


def samples(name):
    """Return (function, input, arguments, settings) of every sample of a function."""
    for op in operators()[name]:
        torch.manual_seed(0)
        for sample in op.sample_inputs("cpu", torch.float64, requires_grad=True):
            yield op.op, sample.input, sample.args, sample.kwargs


def fresh(value):
    """Return a tensor of one's own, without a gradient yet."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().clone().requires_grad_(value.is_floating_point())


def as_batch(name, x, axes):
    """Return the shape in which a sample's input is a batch for us."""
    if "embedding" in name:
        return tuple(x.shape) if x.ndim else (1,)
    if axes is not None:
        return tuple(x.shape) if x.ndim == axes else (1, *x.shape)
    if "linear" in name and x.ndim == 1:
        return (1, *x.shape)
    if name == "softmax" and x.ndim == 1:
        return (1, *x.shape)
    return tuple(x.shape) if x.ndim > 1 else (x.numel(), 1)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MAPPINGS)
def test_operators(name):
    mapping, axes = MAPPINGS[name]
    for function, given_x, given_arguments, given_settings in samples(name):
        x = fresh(given_x)
        arguments = [fresh(value) for value in given_arguments]
        settings = {key: fresh(value) for key, value in given_settings.items()}
        # Running statistics learn nothing.
        if name == "nn.functional.batch_norm":
            arguments[:2] = [None if value is None else value.detach() for value in arguments[:2]]
        settings |= {
            key: value.detach()
            for key, value in settings.items()
            if key.startswith("running") and value is not None
        }
        if "embedding" in name:  # the weight comes first in the list of samples
            x, arguments = arguments[0], [x, *arguments[1:]]
        if not x.numel():
            count("functions", EMPTY)
            continue
        if "embedding" in name:
            expected = function(arguments[0], x, *arguments[1:], **settings)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = function(x, *arguments, **settings)
        if isinstance(expected, tuple | list):  # the places of the maxima are asked for too
            expected = expected[0]
        view = as_batch(name, x, axes)
        if axes is None and len(view) > 5:
            count("functions", AXES)
            continue
        ours = mapping(x.reshape(view), *arguments, **settings)
        if isinstance(ours, str):
            count("functions", ours)
            continue
        compare(ours, x, expected, view)
        count("functions", AGREE)


# ---- losses ------------------------------------------------------------------------------------------------


def reduction_of(settings):
    return settings.get("reduction", "mean")


def squared_error(x, t, reduction="mean"):
    return OurLoss(tatami.SquaredError("sum"), 2.0)


def huber(x, t, reduction="mean", delta=1.0):
    return OurLoss(tatami.Huber("sum", float(delta)))


def smooth_l1(x, t, reduction="mean", beta=1.0):
    if beta == 0:
        return "the magnitude of the difference"
    return OurLoss(tatami.Huber("sum", float(beta)), 1 / beta)


def binary(x, t, weight=None, pos_weight=None, reduction="mean"):
    outputs = x.shape[1] if x.ndim > 1 else max(1, x.numel())
    if any(w is not None and w.ndim > 1 for w in (weight, pos_weight)) or x.ndim > 2:
        return "weights of single examples or positions"
    if any(w is not None and bool((w < 0).any()) for w in (weight, pos_weight)):
        return NEGATIVE
    if bool(((t < 0) | (t > 1)).any()):
        return "targets below 0 or above 1"
    weights = [None if w is None else w.expand(outputs).tolist() for w in (weight, pos_weight)]
    return OurLoss(tatami.BinaryCrossEntropy("sum", *weights))


def margin(x, t, p=1, margin=1.0, weight=None, reduction="mean"):
    if weight is not None and bool((weight < 0).any()):
        return NEGATIVE
    if margin <= 0:
        return "a margin of 0 or less"
    weights = None if weight is None else weight.tolist()
    classes = x.shape[-1] if x.ndim else 1
    return OurLoss(tatami.Hinge("sum", float(margin), p == 2, weights), 1 / classes)


def cross_entropy(x, t, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    if weight is not None and bool((weight < 0).any()):
        return NEGATIVE
    is_soft, counts = t.is_floating_point(), t != ignore_index
    if is_soft:
        if not np.allclose(t.sum(dim=min(1, x.ndim - 1)), 1) or bool((t < 0).any()):
            return "soft targets that are no shares"
        mean = x.numel() / (x.shape[0] if x.ndim == 1 else x.shape[1])
    else:
        mean = float(counts.sum() if weight is None else weight[t[counts]].sum())
        if reduction == "mean" and mean == 0:
            return NO_LABEL
    weights = None if weight is None else weight.tolist()
    loss = tatami.WeightedCrossEntropy("sum", label_smoothing, weights, None if is_soft else ignore_index)
    return OurLoss(loss, 1.0, mean)


LOSSES = {
    "nn.functional.mse_loss": squared_error,
    "nn.functional.huber_loss": huber,
    "nn.functional.smooth_l1_loss": smooth_l1,
    "nn.functional.binary_cross_entropy_with_logits": binary,
    "nn.functional.multi_margin_loss": margin,
    "nn.functional.cross_entropy": cross_entropy,
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    for function, given_x, given_arguments, settings in samples(name):
        x, target = fresh(given_x), given_arguments[0].detach()
        if not x.numel():
            count("losses as functions", EMPTY)
            continue
        more = given_arguments[1:]
        ours = LOSSES[name](x, target, *more, **settings)
        if isinstance(ours, str):
            count("losses as functions", ours)
            continue
        compare_loss(ours, x, target, function(x, target, *more, **settings), reduction_of(settings))
        count("losses as functions", AGREE)


def test_how_many_of_how_many():
    """Of the samples of these functions so many ask for what we offer, and all of those agree."""
    agree = {family: outcomes[family, AGREE] for family in ("functions", "losses as functions")}
    total = sum(number for (family, _), number in outcomes.items() if family in agree)
    if total < 4100:
        pytest.skip("the other tests of this file did not all run")
    print(table())
    assert agree["functions"] >= 3418
    assert agree["losses as functions"] >= 48
