"""PyTorch's own sample inputs brought to our layers and losses: what a sample asks for, and whether we agree.

`torch.testing` holds settings and inputs for everything that PyTorch tests itself with: modules (ModuleInfo) and
functions (OpInfo). A mapping reads what a sample asks for and returns `Ours`, layers (or a loss) with the parameters of
the sample, or says in words why we have no such thing. Values and all gradients have to agree in float64.

    python -m tests.layers.torch_samples        # the whole count, with the reasons
"""

import sys
import types
import unittest
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.layers.agreement import OPS

from tatami.layers import Context, Layer
from tatami.losses import Loss
from tatami.random import RandomKey

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
EMPTY = "an empty batch"
NEGATIVE = "weights below 0"
NO_LABEL = "a mean over no label, NaN in PyTorch"

# Why we offer no such thing, by family: what a mapping returns, counted.
outcomes: Counter[tuple[str, str]] = Counter()
AGREE = "agree"


@cache
def internal(name: str) -> Any:
    """Import one of PyTorch's lists of samples; only its test cases need the package that is stubbed here."""
    stub = types.ModuleType("expecttest")
    stub.TestCase = unittest.TestCase  # type: ignore[attr-defined]
    stub.assert_expected_inline = None  # type: ignore[attr-defined]
    sys.modules.setdefault("expecttest", stub)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return import_module(f"torch.testing._internal.{name}")
        except ImportError as error:
            pytest.skip(f"PyTorch's samples cannot be read: {error}")


@dataclass
class Ours:
    """What a sample is for us.

    Args:
        layers: one behind another.
        weights: our names of the parameters -> the sample's tensors; they belong to the one layer that has any.
        more: further inputs of the first layer.
    """

    layers: Sequence[Layer]
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)
    more: Sequence[NDArray[Any]] = ()


def compare(ours: Ours, x: torch.Tensor, expected: torch.Tensor, view: tuple[int, ...] | None = None) -> None:
    """Compare values and gradients. ``view`` is the shape in which x is a batch for us, if it is none as it comes."""
    array = x.detach().numpy()
    values = (array if view is None else array.reshape(view),)
    weights = {name: tensor.detach().numpy() for name, tensor in ours.weights.items()}
    passes = []
    for number, layer in enumerate(ours.layers):
        inputs = (*values, *ours.more) if number == 0 else values
        shapes = [entry.shape[1:] for entry in inputs]
        mine = weights if layer.parameter_specs(*shapes) else {}
        state = {name: np.asarray(entry) for name, entry in layer.initial_state(*shapes).items()}
        forward = layer.forward(OPS, inputs, mine, Context(True, RandomKey(), state))
        passes.append((layer, forward, mine))
        values = (forward.output,)
    wanted = expected.detach().numpy()
    output = values[0]
    is_index = ours.layers[0].takes_indices
    if is_index:
        output = np.moveaxis(output, 1, -1)
    np.testing.assert_allclose(output.reshape(wanted.shape), wanted, **CLOSE)
    upstream = RandomKey(1).normal("upstream", wanted.shape)
    expected.backward(torch.tensor(upstream))
    dy = upstream.reshape(output.shape)
    if is_index:
        dy = np.moveaxis(dy, -1, 1)
    for layer, forward, mine in reversed(passes):
        backward = layer.backward(OPS, dy, forward.saved, mine)
        for name, gradient in backward.dparameters.items():
            theirs = ours.weights[name].grad
            assert theirs is not None
            np.testing.assert_allclose(gradient.reshape(theirs.shape), theirs.numpy(), **CLOSE, err_msg=name)
        dy = backward.dinputs[0]
    if not is_index:
        assert x.grad is not None
        np.testing.assert_allclose(dy.reshape(x.shape), x.grad.numpy(), **CLOSE)


@dataclass
class OurLoss:
    """What a sample of a loss is for us.

    Args:
        loss: with reduction 'sum'.
        factor: by which ours is multiplied to be PyTorch's sum.
        mean: by which PyTorch's mean divides its sum; by default the number of numbers in the target.
    """

    loss: Loss
    factor: float = 1.0
    mean: float | None = None


def compare_loss(
    ours: OurLoss, x: torch.Tensor, target: torch.Tensor, expected: torch.Tensor, reduction: str
) -> None:
    """Compare value and gradient; without a reduction example by example, each summed over what belongs to it."""
    output, truth = x.detach().numpy(), target.detach().numpy()
    if x.ndim < 2:  # one example, without an axis of examples
        output = output.reshape(1, -1)
        is_label = truth.dtype.kind == "i"
        truth = truth.reshape(1) if is_label else truth.reshape(1, -1)
    checked = ours.loss.target(truth, output.shape[1:])
    if reduction != "none":
        factor = ours.factor / (1.0 if reduction == "sum" else ours.mean or target.numel())
        expected.backward()
        assert factor * ours.loss.value(OPS, output, checked) == pytest.approx(
            float(expected.detach()), rel=1e-9, abs=1e-9
        )
        gradient = factor * ours.loss.gradient(OPS, output, checked)
    else:
        upstream = RandomKey(1).normal("upstream", (len(output),))
        wanted = expected.detach().numpy().reshape(len(output), -1)
        spread = np.repeat(upstream, wanted.shape[1]).reshape(expected.shape)
        expected.backward(torch.tensor(spread))
        gradient = np.empty_like(output)
        for n in range(len(output)):
            one = slice(n, n + 1)
            value = ours.factor * ours.loss.value(OPS, output[one], checked[one])
            assert value == pytest.approx(wanted[n].sum(), rel=1e-9, abs=1e-9)
            gradient[one] = upstream[n] * ours.factor * ours.loss.gradient(OPS, output[one], checked[one])
    assert x.grad is not None
    np.testing.assert_allclose(gradient.reshape(x.shape), x.grad.numpy(), **CLOSE)


def count(family: str, outcome: str) -> None:
    """Note that a sample agreed, or why we have no such thing."""
    outcomes[family, outcome] += 1


def table() -> str:
    """Return how many samples of each family agree, and why others were left out."""
    lines = []
    families = sorted({family for family, _ in outcomes})
    for family in families:
        mine = {outcome: number for (of, outcome), number in outcomes.items() if of == family}
        lines.append(
            f"{family}: {mine.pop(AGREE, 0)} of {sum(mine.values()) + outcomes[family, AGREE]} agree"
        )
        lines += [f"    {number:4d}  {reason}" for reason, number in sorted(mine.items())]
    agree = sum(number for (_, outcome), number in outcomes.items() if outcome == AGREE)
    reasons: Counter[str] = Counter()
    for (_, outcome), number in outcomes.items():
        reasons[outcome] += number
    del reasons[AGREE]
    lines.append(
        f"all: {agree} of {sum(outcomes.values())} agree; {sum(reasons.values())} ask for something else:"
    )
    lines += [f"    {number:4d}  {reason}" for reason, number in reasons.most_common()]
    return "\n".join(lines)


def main() -> None:
    """Run every sample and print the count."""
    from tests.layers import test_torch_modules as modules, test_torch_operators as operators

    warnings.simplefilter("ignore")
    runs: Iterator[tuple[Callable[[str], None], str]] = iter(
        [
            *((modules.test_modules, name) for name in modules.MAPPINGS),
            *((modules.test_recurrent_modules, name) for name in modules.RECURRENT),
            *((modules.test_losses, name) for name in modules.LOSSES),
            *((operators.test_operators, name) for name in operators.MAPPINGS),
            *((operators.test_losses, name) for name in operators.LOSSES),
        ]
    )
    for run, name in runs:
        run(name)
    print(table())
    print("modules of PyTorch's list without a counterpart here:", ", ".join(modules.without_counterpart()))


if __name__ == "__main__":
    # As the tests import it, so that both count in one place.
    import_module("tests.layers.torch_samples").main()
