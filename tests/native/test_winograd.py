"""Winograd's convolution: its matrices in rational numbers, and the rounding that follows from their magnitudes."""

from fractions import Fraction
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from tatami import layers, native
from tatami.losses import SquaredError
from tatami.network import Network, Sequential
from tatami.program import Program
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

INSTRUCTION_SETS = native.available() or ("none",)
KEY = RandomKey(seed=7)
UNIT_ROUNDOFF = 2.0**-24
P, Q = Fraction(5, 8), Fraction(3, 2)

Matrix = NDArray[np.object_]


def multiplied_out(roots: list[Fraction], size: int) -> list[Fraction]:
    """Return the coefficients of the polynomial with these roots, from the constant on."""
    coefficients = [Fraction(1)]
    for root in roots:
        coefficients = [
            before - root * here
            for before, here in zip([Fraction(0), *coefficients], [*coefficients, 0], strict=True)
        ]
    return coefficients + [Fraction(0)] * (size - len(coefficients))


def matrices(points: list[Fraction], outputs: int) -> tuple[Matrix, Matrix, Matrix]:
    """Return G, Bᵀ and Aᵀ of F(outputs, 3) for these points and infinity, by Lagrange's interpolation."""
    others = {point: [other for other in points if other != point] for point in points}
    norms = {point: prod((point - other for other in others[point]), start=Fraction(1)) for point in points}
    g = [[point**k / norms[point] for k in range(3)] for point in points] + [
        [Fraction(0), Fraction(0), Fraction(1)]
    ]
    size = len(points) + 1
    b = [multiplied_out(others[point], size) for point in points] + [multiplied_out(points, size)]
    a = [[point**k for k in range(outputs)] for point in points] + [
        [Fraction(0)] * (outputs - 1) + [Fraction(1)]
    ]
    return np.array(g, object), np.array(b, object), np.array(a, object).T


WHOLE = matrices([Fraction(0), P, -P, Q, -Q], 4)


def half() -> tuple[Matrix, Matrix, Matrix]:
    """Return what winograd.hpp does with half a tile: the whole one's G, without ±q, and Bᵀ scaled to fit it."""
    _, b, a = matrices([Fraction(0), P, -P], 2)
    own = matrices([Fraction(0), P, -P], 2)[0]
    g = WHOLE[0][[0, 1, 2, 5]]
    scale = [next(x / y for x, y in zip(own[row], g[row], strict=True) if y) for row in range(4)]
    return g, b * np.array(scale, object)[:, None], a


@pytest.mark.parametrize(("kind", "outputs"), [("whole", 4), ("half", 2)])
def test_the_matrices_give_the_correlation_exactly(kind: str, outputs: int) -> None:
    g, b, a = WHOLE if kind == "whole" else half()
    for tap in range(3):
        for pixel in range(outputs + 2):
            taps = np.array([Fraction(int(i == tap)) for i in range(3)], object)
            line = np.array([Fraction(int(i == pixel)) for i in range(outputs + 2)], object)
            expected = [Fraction(int(pixel == output + tap)) for output in range(outputs)]
            assert list(a @ ((g @ taps) * (b @ line))) == expected


def test_all_constants_but_those_of_the_weights_are_exact() -> None:
    for matrix in (*WHOLE[1:], *half()[1:]):
        for value in matrix.flat:
            assert Fraction(float(np.float32(float(value)))) == value


def tiles_of(size: int) -> list[tuple[int, bool]]:
    """Return where the tiles along an axis start, and which are whole."""
    if size <= 6:
        return [(start, False) for start in range(0, size, 2)]
    whole = [(4 * tile, True) for tile in range((size + 1) // 4)]
    return whole + ([(4 * len(whole), False)] if size % 4 in (1, 2) else [])


def magnitudes(x: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ |A|ᵀ [(|G| |g| |G|ᵀ) ⊙ (|B|ᵀ |d| |B|)] |A| for every output of a convolution with padding 1.

    It is what the magnitudes of all terms add up to that pass through the transforms.
    """
    batch, channels, height, width = x.shape
    padded = np.zeros((batch, channels, height + 6, width + 6))
    padded[:, :, 1 : height + 1, 1 : width + 1] = np.abs(x)
    y = np.zeros((batch, len(weight), height + 4, width + 4))
    forms = {
        whole: [np.abs(m.astype(float)) for m in (WHOLE if whole else half())] for whole in (True, False)
    }
    for top, high in tiles_of(height):
        for left, wide in tiles_of(width):
            (g1, b1, a1), (g2, b2, a2) = forms[high], forms[wide]
            patch = padded[:, :, top : top + b1.shape[1], left : left + b2.shape[1]]
            products = np.einsum("kcij,ncij->nkij", g1 @ np.abs(weight) @ g2.T, b1 @ patch @ b2.T)
            y[:, :, top : top + len(a1), left : left + len(a2)] = a1 @ products @ a2.T
    return y[:, :, :height, :width]


@settings(max_examples=25, deadline=None)
@given(
    channels=st.sampled_from((16, 17, 33, 64)),
    filters=st.sampled_from((16, 31, 33)),
    size=st.tuples(st.integers(2, 14), st.integers(2, 14)),
    batch=st.integers(1, 3),
    positive=st.booleans(),
)
@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_rounding_stays_within_the_bound_of_the_transforms(
    isa: str, channels: int, filters: int, size: tuple[int, int], batch: int, positive: bool
) -> None:
    """|error| <= γ(n) · the magnitudes above, for a number that goes through n roundings.

    A weight has at most 4 in each of two directions, a patch 4 (5 in half a tile), a product 1, its sum as many as
    there are channels, the way back 5 in each direction, the bias 1. Source: Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd edition, §3.1.
    """
    network = convolution(channels, filters, size)
    parameters = network.initialize(seed=4)
    x = KEY.normal("x", (batch, *network.input_shape)).astype(np.float32)
    x = np.abs(x) if positive else x
    came = on(isa, network).forward(parameters, x).output
    exact = Program(network, precision="f64").forward(parameters, x).output
    n = 2 * 4 + 2 * 5 + 1 + channels + 2 * 5 + 1
    gamma = n * UNIT_ROUNDOFF / (1 - n * UNIT_ROUNDOFF)
    weight, bias = (parameters["conv1"][name].astype(float) for name in ("weight", "bias"))
    bound = magnitudes(x.astype(float), weight) + np.abs(bias)[:, None, None]
    error = np.abs(came - exact)
    assert (error <= gamma * bound).all()
    # The points were chosen so that rounding grows little: a random walk of as many steps through these matrices.
    assert float(np.sqrt((error**2).mean())) <= np.sqrt(n) * UNIT_ROUNDOFF * growth() * rms_sum(x, weight)


def growth() -> float:
    """Return √(Σ A²·(Σ G²)·(Σ B²) / 3) of the worst output, squared for two directions.

    By so much the transforms lengthen a random error.
    """
    g, b, a = (m.astype(float) for m in WHOLE)
    return float(((a**2) @ ((g**2).sum(1) * (b**2).sum(1)) / 3).max())


def rms_sum(x: NDArray[np.float32], weight: NDArray[np.float64]) -> float:
    """Return the root of the sum of squares of the terms of an output: what they add up to at random."""
    return float(np.sqrt(9 * weight.shape[1] * (x.astype(float) ** 2).mean() * (weight**2).mean()))


def convolution(channels: int, filters: int, size: tuple[int, int]) -> Network:
    """Return one convolution that takes Winograd's way."""
    return Sequential(layers.Convolution(filters, 3, padding=1), input_shape=(channels, *size))


def on(isa: str, network: Network) -> Program:
    """Return the network on one instruction set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TATAMI_ISA", isa)
        return Program(network, backend="native", threads=2)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("size", [(2, 4), (6, 8), (7, 9), (14, 14), (32, 31)], ids=str)
@pytest.mark.parametrize("tail", [0, 2])
def test_one_image_shared_among_threads_has_the_same_bits(isa: str, size: tuple[int, int], tail: int) -> None:
    """Rows go to threads by whole tiles, so that no number of threads and no grouping of images changes a bit."""
    network = Sequential(
        layers.Convolution(33, 3, padding=1),
        *(layers.ReLU(), layers.MaxPool(2))[:tail],
        input_shape=(40, *size),
    )
    parameters = network.initialize(seed=4)
    x = KEY.normal("x", (5, *network.input_shape)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TATAMI_ISA", isa)
        programs = [Program(network, backend="native", threads=threads) for threads in (1, 2, 3, 8)]
    together = programs[0].forward(parameters, x).output
    for program in programs:
        np.testing.assert_array_equal(program.forward(parameters, x).output, together)
        alone = [program.forward(parameters, x[n : n + 1]).output for n in range(len(x))]
        np.testing.assert_array_equal(np.concatenate(alone), together)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize(
    ("channels", "size", "batch", "tail"),
    [
        (17, (9, 10), 37, 0),  # chunks of two and three images, whose tiles are added up together
        (33, (7, 13), 5, 1),
        (16, (31, 30), 33, 0),  # a map of 64 tiles: image by image
        (128, (8, 11), 34, 2),  # behind maxima
        (130, (7, 7), 3, 2),  # no whole vector of channels
    ],
    ids=str,
)
def test_gradients_from_tiles(isa: str, channels: int, size: tuple[int, int], batch: int, tail: int) -> None:
    """Of several images, of whole and half tiles, against float64; the same bits for any number of threads."""
    network = Sequential(
        layers.Convolution(channels, 1),
        layers.Convolution(33, 3, padding=1),
        *((), (layers.LeakyReLU(0.5),), (layers.ReLU(), layers.MaxPool(2)))[tail],
        input_shape=(2, *size),
    )
    parameters = network.initialize(seed=4)
    if tail == 2:  # no kinks: everything is positive, and where a maximum stands is clear
        parameters = {
            layer: {name: np.abs(array) for name, array in named.items()}
            for layer, named in parameters.items()
        }
    x = KEY.normal("x", (batch, *network.input_shape)).astype(np.float32)
    x = np.abs(x) * peaks(network.input_shape[1:]) if tail == 2 else x
    target = KEY.normal("target", (batch, *network.output_shape)).astype(np.float32)
    loss = SquaredError("mean")
    expected = Program(network, loss, precision="f64").train_step(parameters, x, target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TATAMI_ISA", isa)
        programs = [Program(network, loss, backend="native", threads=threads) for threads in (1, 2, 3)]
    steps = [program.train_step(parameters, x, target) for program in programs]
    for layer, named in expected.gradients.items():
        for name, gradient in named.items():
            came = steps[0].gradients[layer][name]
            error = np.abs(came - gradient).max() / np.abs(gradient).max()
            # A sum over all pixels of the batch, of terms that were rounded in transforms and in the layers around.
            n = batch * prod(size) + 2 * (channels * 9)
            assert error <= 8 * np.sqrt(n) * UNIT_ROUNDOFF, f"{layer}.{name}"
            for step in steps[1:]:
                np.testing.assert_array_equal(step.gradients[layer][name], came)


def peaks(size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return factors of one pixel in each window of 2×2 that tower above the others."""
    rows, columns = np.indices(size)
    return np.where((rows % 2 == 1) & (columns % 2 == 0), 64, 1).astype(np.float32)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("background", [0.0, 0.37])
def test_training_decides_kinks_on_an_even_background_as_the_reference(isa: str, background: float) -> None:
    """Windows over the background stand on ReLU's kink, or are equal under a maximum: no rounding may decide."""
    network = Sequential(
        layers.Convolution(16, 1, bias=False),
        layers.Convolution(17, 3, padding=1, bias=False),
        layers.ReLU(),
        layers.MaxPool(2),
        input_shape=(1, 15, 14),
    )
    parameters = network.initialize(seed=4)
    x = np.full((3, *network.input_shape), background, np.float32)
    x[:, :, 5:8, 4:9] = KEY.normal("x", (3, 1, 3, 5))
    target = KEY.normal("target", (3, *network.output_shape)).astype(np.float32)
    loss = SquaredError("sum")
    expected = Program(network, loss, backend="reference", precision="f64").train_step(parameters, x, target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TATAMI_ISA", isa)
        step = Program(network, loss, backend="native", threads=2).train_step(parameters, x, target)
    for layer, named in expected.gradients.items():
        for name, gradient in named.items():
            np.testing.assert_allclose(
                step.gradients[layer][name],
                gradient,
                rtol=0,
                atol=1e-5 * np.abs(gradient).max(),
                err_msg=layer,
            )
