"""What Hypothesis draws for the tests of the mathematics: geometries of convolutions and poolings."""

from hypothesis import assume, strategies as st

from tatami import Geometry


@st.composite
def windows(draw, dilated=True, padding_below_window=False):
    """Draw (size, kernel, stride, padding, dilation) over 1 to 3 axes, such that a window fits."""
    rank = draw(st.integers(1, 3))
    largest = {1: 9, 2: 6, 3: 4}[rank]
    size, kernel, stride, padding, dilation = [], [], [], [], []
    for _ in range(rank):
        taps = draw(st.integers(1, 4 if rank < 3 else 3))
        gap = draw(st.integers(1, 3)) if dilated else 1
        window = (taps - 1) * gap + 1
        most = window - 1 if padding_below_window else 3
        before, after = draw(st.integers(0, min(most, 3))), draw(st.integers(0, min(most, 3)))
        least = max(1, window - before - after)
        size.append(draw(st.integers(least, max(least, largest))))
        kernel.append(taps)
        stride.append(draw(st.integers(1, 3)))
        padding.append((before, after))
        dilation.append(gap)
    return tuple(size), tuple(kernel), tuple(stride), tuple(padding), tuple(dilation)


@st.composite
def geometries(draw):
    """Draw the geometry of a convolution: groups, asymmetric padding, strides that do not divide."""
    size, kernel, stride, padding, dilation = draw(windows())
    groups = draw(st.integers(1, 3))
    channels, filters = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    return Geometry.of(
        (channels, *size),
        kernel,
        filters=filters,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@st.composite
def pooling_geometries(draw):
    """Draw the geometry of a pooling: overlapping, padded and non-dividing windows, each with some input."""
    size, kernel, stride, padding, _ = draw(windows(dilated=False, padding_below_window=True))
    geometry = Geometry.of((draw(st.integers(1, 2)), *size), kernel, stride=stride, padding=padding)
    assume(all(last_window_sees_input(geometry, axis) for axis in range(geometry.rank)))
    return geometry


def last_window_sees_input(geometry, axis):
    start = (geometry.output_size[axis] - 1) * geometry.stride[axis] - geometry.padding[axis][0]
    return start < geometry.size[axis]
