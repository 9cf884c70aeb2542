"""A program sees every change to the parameters it is handed, by whatever route it came."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tatami import layers, native
from tatami.network import Sequential
from tatami.program import Program

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

PIECE = 2**14  # floats that one thread compares at a time


def network():
    return Sequential(layers.Dense(7), layers.Tanh(), layers.Dense(5), input_shape=(6,))


X = np.linspace(-1, 1, 18, dtype=np.float32).reshape(3, 6)


def through_a_view(parameters):
    parameters["dense1"]["weight"][2:4, ::2].T[...] += 1


def through_a_buffer(parameters):
    memoryview(parameters["dense2"]["bias"]).cast("B").cast("f")[3] = 2.0


def through_an_address(parameters):
    array = parameters["dense1"]["bias"]
    ctypes.c_float.from_address(array.ctypes.data + 4 * (array.size - 1)).value = 3.0


def by_an_output_argument(parameters):
    np.multiply(parameters["dense2"]["weight"], 2, out=parameters["dense2"]["weight"])


def by_another_array(parameters):
    parameters["dense2"]["weight"] = parameters["dense2"]["weight"] + 1


def by_a_sorted_copy_in_fortran_order(parameters):
    parameters["dense1"]["weight"] = np.asfortranarray(np.sort(parameters["dense1"]["weight"]))


def by_other_numbers_of_another_type(parameters):
    parameters["dense1"]["weight"] = 2.0 * parameters["dense1"]["weight"].astype(np.float64)


def by_something_not_finite(parameters):
    parameters["dense2"]["bias"][0] = np.nan


def behind_a_read_only_view(parameters):
    base = parameters["dense1"]["bias"]
    view = base.view()
    view.flags.writeable = False
    parameters["dense1"]["bias"] = view
    base[0] = 5.0


ROUTES = [
    through_a_view,
    through_a_buffer,
    through_an_address,
    by_an_output_argument,
    by_another_array,
    by_a_sorted_copy_in_fortran_order,
    by_other_numbers_of_another_type,
    by_something_not_finite,
    behind_a_read_only_view,
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.__name__)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_change_is_seen(route, threads):
    program = Program(network(), backend="native", threads=threads)
    parameters = program.network.initialize(seed=4)
    before = program.forward(parameters, X).output
    route(parameters)
    after = program.forward(parameters, X).output
    afresh = Program(network(), backend="native", threads=threads).forward(parameters, X).output
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, afresh)


def test_parameters_that_are_no_arrays_of_floats_are_handed_over_once(monkeypatch):
    program = Program(network(), backend="native")
    parameters = {
        layer: {name: np.asfortranarray(array.astype(np.float64)) for name, array in named.items()}
        for layer, named in program.network.initialize(seed=4).items()
    }
    first = program.forward(parameters, X).output
    planned = program.executor.planned
    monkeypatch.setattr(planned, "set", lambda *_: pytest.fail("the engine has these numbers"))
    np.testing.assert_array_equal(program.forward(parameters, X).output, first)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 5, 33, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7]), max_size=5),
    threads=st.integers(1, 4),
    data=st.data(),
)
def test_exactly_the_arrays_with_other_bits_are_named(sizes, threads, data):
    memory = native.kernels().Remembered(sizes, threads)
    arrays = [np.arange(size, dtype=np.float32) - 3 for size in sizes]
    assert memory.changed(arrays) == list(range(len(sizes)))
    for number, array in enumerate(arrays):
        memory.remember(number, array)
    assert memory.changed(arrays) == []
    changed = set()
    for number, array in enumerate(arrays):
        if array.size and data.draw(st.booleans()):
            at = data.draw(st.sampled_from([0, array.size // 2, array.size - 1]))
            array[at] = -0.0 if array[at] == 0 else np.nextafter(array[at], np.float32(np.inf))
            changed.add(number)
    assert set(memory.changed(arrays)) == changed


def test_what_cannot_be_compared_counts_as_changed():
    memory = native.kernels().Remembered([4, 4], 2)
    array = np.ones(4, np.float32)
    memory.remember(0, array)
    memory.remember(1, array)
    strange = [
        array.astype(np.float64),
        array.tolist(),
        None,
        np.ones(8, np.float32)[::2],
        np.ones(5, np.float32),
    ]
    for other in strange:
        assert memory.changed([array, other]) == [1]
    for arrays in ([], [array], [array] * 3):
        with pytest.raises(ValueError, match="other arrays"):
            memory.changed(arrays)
    with pytest.raises(ValueError, match="another size"):
        memory.remember(0, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="another size"):
        memory.remember(2, array)
    with pytest.raises(ValueError, match="numbers"):
        native.kernels().Remembered([-1])
    with pytest.raises(ValueError, match="numbers"):
        native.kernels().Remembered([2**40, 2**40])
    with pytest.raises(ValueError, match="threads"):
        native.kernels().Remembered([1], 999)
