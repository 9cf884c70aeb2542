"""The compiled module called directly: hostile numbers are refused, nonsense never crashes, the stub is true."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import tatami
from tatami import native
from tatami.errors import SettingError, UnknownNameError

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

ONE = [1, 1, 1]
NONE = [0, 0, 0]
HUGE = 2**40
PARAMETER_CALLS = ("set_parameter", "get_parameter")


def engine(shape: list[int]) -> Any:
    made = native.kernels().Engine("", 1)
    made.add_input(shape)
    return made


def dense_engine() -> Any:
    made = engine([3])
    made.add_dense(0, 2, True)
    made.finish()
    return made


@pytest.mark.parametrize(
    ("kernel", "stride", "before", "dilation", "groups", "filters"),
    [
        ([1, 0, 3], ONE, NONE, ONE, 1, 4),
        ([1, -1, 3], ONE, NONE, ONE, 1, 4),
        ([1, 3, 3], [1, 0, 1], NONE, ONE, 1, 4),
        ([1, 3, 3], ONE, [0, -1, 0], ONE, 1, 4),
        ([1, 3, 3], ONE, NONE, [1, 0, 1], 1, 4),
        ([1, 9, 3], ONE, NONE, ONE, 1, 4),
        ([1, 3, 3], ONE, NONE, [1, 5, 1], 1, 4),
        ([1, 3, 3], ONE, NONE, ONE, 0, 4),
        ([1, 3, 3], ONE, NONE, ONE, 3, 4),
        ([1, 3, 3], ONE, NONE, ONE, 1, 0),
        ([1, 3, 3], ONE, NONE, ONE, 1, HUGE),
        ([1, 2**20, 2**20], ONE, [0, 2**20, 2**20], ONE, 1, 2**20),
        ([1, 3, 3], ONE, [0, 2**21, 0], ONE, 1, 4),
    ],
)
def test_hostile_convolutions_are_refused(
    kernel: list[int], stride: list[int], before: list[int], dilation: list[int], groups: int, filters: int
) -> None:
    made = engine([2, 6, 6])
    with pytest.raises(ValueError, match=r"\w"):
        made.add_convolution(0, filters, kernel, stride, before, NONE, dilation, groups, True)
    assert (
        made.add_convolution(0, 4, [1, 3, 3], ONE, NONE, NONE, ONE, 1, True) == 1
    )  # nothing was left behind


@pytest.mark.parametrize("shape", [[], [0], [-1, 3], [HUGE], [2**20, 2**20, 2**20], [1, 2, 3, 4, 5]], ids=str)
def test_hostile_shapes_are_refused(shape: list[int]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        engine(shape)


def test_windows_that_see_only_padding_are_refused() -> None:
    with pytest.raises(ValueError, match="padding"):
        engine([1, 4, 4]).add_max_pool(0, [1, 2, 2], [1, 2, 2], [0, 2, 0], NONE)


def test_other_mistakes_are_refused() -> None:
    made = engine([3])
    for number in (-1, 1, 10**6):
        with pytest.raises(ValueError, match="no node"):
            made.add_dense(number, 4, True)
    with pytest.raises(ValueError, match="exponent"):
        engine([1, 4, 4]).add_lp_pool(0, [1, 2, 2], ONE, NONE, NONE, float("nan"), True)
    with pytest.raises(ValueError, match="ratio"):
        made.add_dropout(0, 1.0, 0)
    with pytest.raises(ValueError, match="flat"):
        engine([1, 4, 4]).add_dense(0, 2, True)
    with pytest.raises(ValueError, match="not available"):
        native.kernels().Engine("avx1024", 1)


def test_arrays_of_wrong_sizes_and_types_are_refused() -> None:
    made = dense_engine()
    x, output, labels = np.ones((4, 3), np.float32), np.empty((4, 2), np.float32), np.zeros(4, np.int64)
    wrong: list[tuple[Any, Any]] = [
        (x[:, :2].copy(), output),
        (x, output[:3]),
        (x[:0], output[:0]),
        (np.ones(3, np.float32)[0:0], output),
    ]
    for bad_x, bad_output in wrong:
        with pytest.raises(ValueError, match=r"\w"):
            made.predict(bad_x, bad_output)
    for bad in (x.astype(np.float64), x[:, ::2], "x", None, [1.0]):
        with pytest.raises(TypeError):
            made.predict(bad, output)
    settings_of_step = (1.0, 0, 0, 0, 0.1, True, output)
    for bad_labels in (labels - 1, labels + 2, labels[:3]):
        with pytest.raises(ValueError, match="label"):
            made.train_step(x, bad_labels, None, *settings_of_step)
    with pytest.raises(ValueError, match="either"):
        made.train_step(x, None, None, *settings_of_step)
    with pytest.raises(ValueError, match="elements"):
        made.set_parameter(0, 0, np.ones(5, np.float32))
    with pytest.raises(ValueError, match="slot"):
        made.set_parameter(0, 2, np.ones(6, np.float32))
    with pytest.raises(ValueError, match="started"):
        dense_engine().run_forward(0, 1)
    with pytest.raises(ValueError, match="no gradients"):
        dense_engine().run_update(0.1)


def test_using_an_unfinished_network_is_refused() -> None:
    with pytest.raises(ValueError, match="not finished"):
        engine([3]).predict(np.ones((1, 3), np.float32), np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match="finished"):
        dense_engine().add_dense(0, 2, True)


NUMBERS = st.one_of(st.integers(-3, 12), st.sampled_from((2**20, 2**31, 2**40, 2**62, -(2**62))))
AXES = st.lists(NUMBERS, min_size=3, max_size=3)
NONSENSE = st.one_of(
    NUMBERS, AXES, st.floats(), st.booleans(), st.none(), st.text(max_size=3), st.lists(NUMBERS, max_size=5)
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_random_nonsense_never_crashes(data: st.DataObject) -> None:
    """Describe and run networks with random numbers: every call returns or raises."""
    module = native.kernels()
    refused = (ValueError, TypeError, RuntimeError, OverflowError, MemoryError)
    made = module.Engine("", data.draw(st.integers(1, 3)))
    shape = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    made.add_input(shape)
    calls = [name for name in dir(made) if name.startswith("add_") and name != "add_gradient"]
    small = st.integers(0, 4)
    for _ in range(data.draw(st.integers(1, 6))):
        name = data.draw(st.sampled_from(calls))
        count = {
            "add_convolution": 9,
            "add_dense": 3,
            "add_max_pool": 5,
            "add_average_pool": 6,
            "add_lp_pool": 7,
        }
        arguments = [
            data.draw(st.one_of(small, st.lists(small, min_size=3, max_size=3), NONSENSE))
            for _ in range(count.get(name, data.draw(st.integers(1, 3))))
        ]
        try:
            getattr(made, name)(*arguments)
        except refused:
            continue
    try:
        made.finish()
        for mode in range(3):
            x = np.ones((2, *shape), np.float32)
            stages = made.stages(mode, 2)
            made.start(mode, x)
            made.run_forward(0, len(stages))
            made.run_backward(0, len(stages)) if mode else None
            made.read_value(0, x)
    except refused:
        pass


def test_an_instruction_set_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.available()[-1] == "baseline"
    for name in native.available():
        monkeypatch.setenv("TATAMI_ISA", name)
        assert native.instruction_set() == name
        assert native.kernels().Engine(name, 1).isa == name
    monkeypatch.setenv("TATAMI_ISA", "avx-512")
    with pytest.raises(UnknownNameError, match="TATAMI_ISA"):
        native.instruction_set()


def test_without_kernels_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_kernels", None)
    monkeypatch.setattr(native, "_missing", "no compiler")
    assert not native.available()
    with pytest.raises(SettingError, match="compiler is found, or use backend='reference'"):
        native.kernels()


def test_the_stub_names_what_the_module_has() -> None:
    stub = ast.parse((Path(tatami.__file__).parent / "native" / "_kernels.pyi").read_text())
    functions = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    described = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    module = native.kernels()
    assert functions | set(described) == {name for name in dir(module) if not name.startswith("_")}
    for name, kind in described.items():
        methods = {node.name for node in kind.body if isinstance(node, ast.FunctionDef)}
        offered = {method for method in dir(getattr(module, name)) if not method.startswith("_")}
        assert methods - {"__init__"} == offered


def test_the_module_is_small_and_prints_nothing() -> None:
    path = Path(str(native.kernels().__file__))
    if "ASAN_OPTIONS" not in os.environ:  # a sanitizer's checks make it several times larger
        assert path.stat().st_size < 20 * 2**20
    code = "import tatami.native as n; n.available()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=os.environ)
    assert result.stdout == result.stderr == b""
