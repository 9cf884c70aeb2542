"""The two readable forms of the convolution against each other, im2col against its transpose.

Whole numbers are small enough for float64 to be exact, so they are compared bit by bit. For real numbers the sums
differ only in the order of at most n additions, so they agree to n·ε·Σ|terms|.
"""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from tests.mathematics.drawn import geometries

from tatami import Geometry, RandomKey, ShapeError, col2im, im2col
from tatami.backends import ReferenceBackend

DIRECT, IM2COL = ReferenceBackend("direct"), ReferenceBackend("im2col")
EPSILON = np.finfo(np.float64).eps


def whole(shape, seed):
    """Return small whole numbers, as floats."""
    return np.round(4 * RandomKey(seed).normal("whole", shape))


def problem(geometry, examples, numbers, seed):
    x = numbers((examples, *geometry.input_shape), seed)
    weight = numbers(geometry.weight_shape, seed + 1)
    dy = numbers((examples, *geometry.output_shape), seed + 2)
    return x, weight, dy


def real(shape, seed):
    return RandomKey(seed).normal("real", shape)


@given(geometry=geometries(), examples=st.integers(1, 3), seed=st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_both_forms_agree_exactly_on_whole_numbers(geometry, examples, seed):
    x, weight, dy = problem(geometry, examples, whole, seed)
    np.testing.assert_array_equal(
        DIRECT.correlate(x, weight, geometry), IM2COL.correlate(x, weight, geometry)
    )
    np.testing.assert_array_equal(
        DIRECT.correlate_input_gradient(dy, weight, geometry),
        IM2COL.correlate_input_gradient(dy, weight, geometry),
    )
    np.testing.assert_array_equal(
        DIRECT.correlate_weight_gradient(x, dy, geometry),
        IM2COL.correlate_weight_gradient(x, dy, geometry),
    )


@given(geometry=geometries(), examples=st.integers(1, 3), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_both_forms_agree_to_rounding_on_real_numbers(geometry, examples, seed):
    x, weight, dy = problem(geometry, examples, real, seed)
    for method, operands in (
        ("correlate", (x, weight)),
        ("correlate_input_gradient", (dy, weight)),
        ("correlate_weight_gradient", (x, dy)),
    ):
        direct = getattr(DIRECT, method)(*operands, geometry)
        magnitudes = getattr(DIRECT, method)(*map(np.abs, operands), geometry)
        terms = examples * np.prod(geometry.kernel) * geometry.channels * np.prod(geometry.output_size)
        error = abs(getattr(IM2COL, method)(*operands, geometry) - direct)
        assert (error <= 2 * terms * EPSILON * magnitudes).all(), method


@given(geometry=geometries(), examples=st.integers(1, 3), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_gradients_are_adjoint_to_the_forward_pass(geometry, examples, seed):
    # y is linear in x and in the weight: <dy, y> = <dx, x> = <dweight, weight>.
    x, weight, dy = problem(geometry, examples, whole, seed)
    for backend in (DIRECT, IM2COL):
        product = np.sum(dy * backend.correlate(x, weight, geometry))
        assert np.sum(x * backend.correlate_input_gradient(dy, weight, geometry)) == product
        assert np.sum(weight * backend.correlate_weight_gradient(x, dy, geometry)) == product


@given(geometry=geometries(), examples=st.integers(1, 3), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_col2im_is_the_transpose_of_im2col(geometry, examples, seed):
    x = whole((examples, *geometry.input_shape), seed)
    columns = im2col(x, geometry)
    assert columns.shape == (
        examples * np.prod(geometry.output_size),
        geometry.channels * np.prod(geometry.kernel),
    )
    other = whole(columns.shape, seed + 1)
    assert np.sum(columns * other) == np.sum(x * col2im(other, geometry))


@given(geometry=geometries(), data=st.data())
@settings(max_examples=30, deadline=None)
def test_one_output_by_the_definition(geometry, data):
    # y(n, k, i) = Σ_c Σ_μ weight(k, c, μ) x(n, c, stride·i + dilation·μ - padding), written out once more.
    x, weight, _ = problem(geometry, 1, whole, 0)
    k = data.draw(st.integers(0, geometry.filters - 1))
    i = tuple(data.draw(st.integers(0, size - 1)) for size in geometry.output_size)
    per_group = geometry.channels // geometry.groups
    first_channel = k // (geometry.filters // geometry.groups) * per_group
    total = 0.0
    for c in range(per_group):
        for tap in np.ndindex(*geometry.kernel):
            at = tuple(
                s * position + d * t - before
                for s, position, d, t, (before, _) in zip(
                    geometry.stride, i, geometry.dilation, tap, geometry.padding, strict=True
                )
            )
            if all(0 <= where < size for where, size in zip(at, geometry.size, strict=True)):
                total += weight[(k, c, *tap)] * x[(0, first_channel + c, *at)]
    assert DIRECT.correlate(x, weight, geometry)[(0, k, *i)] == total
    assert IM2COL.correlate(x, weight, geometry)[(0, k, *i)] == total


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", [DIRECT, IM2COL], ids=lambda backend: backend.form)
def test_the_precision_is_kept(backend, dtype):
    geometry = Geometry.of((4, 5, 6), 3, filters=6, padding="same", groups=2)
    x, weight, dy = (array.astype(dtype) for array in problem(geometry, 2, real, 0))
    assert backend.correlate(x, weight, geometry).dtype == dtype
    assert backend.correlate_input_gradient(dy, weight, geometry).dtype == dtype
    assert backend.correlate_weight_gradient(x, dy, geometry).dtype == dtype


@given(
    x=hnp.arrays(np.float64, (2, 2, 5), elements=st.floats(-1e3, 1e3)),
    poison=st.floats(allow_nan=True, allow_infinity=True),
)
@settings(max_examples=20, deadline=None)
def test_positions_that_no_window_sees_do_not_matter(x, poison):
    geometry = Geometry.of((2, 5), 2, filters=3, stride=3)  # windows at 0..1 and 3..4; position 2 is skipped
    weight = real(geometry.weight_shape, 1)
    changed = x.copy()
    changed[:, :, 2] = poison
    for backend in (DIRECT, IM2COL):
        np.testing.assert_array_equal(
            backend.correlate(x, weight, geometry), backend.correlate(changed, weight, geometry)
        )


def test_wrong_shapes_name_the_array_and_the_geometry():
    geometry = Geometry.of((3, 8, 8), 3, filters=4)
    x, weight, dy = problem(geometry, 2, real, 0)
    for call, name in (
        (lambda: IM2COL.correlate(x[:, :2], weight, geometry), "x"),
        (lambda: DIRECT.correlate(x, weight[:, :2], geometry), "weight"),
        (lambda: IM2COL.correlate_input_gradient(dy[..., 1:], weight, geometry), "dy"),
    ):
        with pytest.raises(ShapeError, match=rf"correlation: {name} should have shape .*kernel 3x3"):
            call()
    with pytest.raises(ShapeError, match=r"col2im: columns should have shape \(72, 27\)"):
        col2im(np.zeros((72, 26)), geometry)
