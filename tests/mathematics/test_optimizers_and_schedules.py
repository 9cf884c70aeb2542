"""Optimisers by hand where PyTorch does not help, schedules by hand, and the errors of both."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tatami import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    ConstantRate,
    Cosine,
    RMSProp,
    SettingError,
    StepDecay,
    WarmUp,
    clip_gradients,
)
from tatami.optimizers import OPTIMIZERS, Optimizer
from tatami.schedules import SCHEDULES, Schedule

ALL = [
    SGD(0.1),
    SGD(0.1, momentum=0.9, weight_decay=0.01),
    SGD(0.1, momentum=0.9, nesterov=True),
    AdaGrad(0.1, epsilon=1e-6),
    RMSProp(0.1, rho=0.5),
    Adam(0.1, beta1=0.5),
    AdamW(0.1, weight_decay=0.2),
]


def parameters(*values, dtype="float64"):
    return {"dense1": {"weight": np.array(values, dtype), "bias": np.array(values, dtype)}}


def run(optimizer, w, g, steps, rates=None):
    state = optimizer.initialize(w)
    for step in range(steps):
        w, state = optimizer.update(w, g, state, None if rates is None else rates[step])
    return w, state


def test_the_velocity_holds_the_learning_rate():
    # v ← α·v - η·g: a rate that falls leaves the velocity gathered before as large as it was (Arai, Qiita).
    w, state = run(SGD(1.0, momentum=0.5), parameters(0.0), parameters(1.0), 2, rates=[1.0, 0.0])
    assert state.slots["velocity"]["dense1"]["weight"] == -0.5
    assert w["dense1"]["weight"] == -1.5


def test_arais_negative_beta_is_a_momentum():
    # Arai: ΔW_new = -Beta·ΔW_old … with Beta = -0.2 every step carries 0.2 of the last one on.
    w, _ = run(SGD(0.01, momentum=0.2), parameters(0.0), parameters(1.0), 3)
    assert w["dense1"]["weight"][0] == pytest.approx(-0.01 * (1 + 1.2 + 1.24))


@pytest.mark.parametrize("optimizer", ALL)
def test_biases_are_not_decayed(optimizer):
    decayed = type(optimizer)(**{**vars_of(optimizer), "weight_decay": 0.5})
    without = type(optimizer)(**{**vars_of(optimizer), "weight_decay": 0.0})
    (w1, _), (w0, _) = (
        run(each, parameters(2.0, -1.0), parameters(0.3, 0.2), 3) for each in (decayed, without)
    )
    np.testing.assert_array_equal(w1["dense1"]["bias"], w0["dense1"]["bias"])
    assert (np.abs(w1["dense1"]["weight"] - w0["dense1"]["weight"]) > 1e-6).all()


def vars_of(optimizer):
    description = optimizer.to_json()
    del description["type"]
    return description


@pytest.mark.parametrize("optimizer", ALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_precision_and_arrays_that_come_in_stay(optimizer, dtype):
    w, g = parameters(1.0, 2.0, dtype=dtype), parameters(0.5, -0.5, dtype=dtype)
    state = optimizer.initialize(w)
    for named in (w, g, *state.slots.values()):
        for array in named["dense1"].values() if "dense1" in named else ():
            array.flags.writeable = False
    new, new_state = optimizer.update(w, g, state, np.float64(0.1))
    assert new["dense1"]["weight"].dtype == dtype
    assert all(named["dense1"]["bias"].dtype == dtype for named in new_state.slots.values())
    assert (state.count, new_state.count) == (0, 1)
    # A NumPy learning rate gives the same bits as Python's own.
    same, _ = optimizer.update(w, g, state, 0.1)
    np.testing.assert_array_equal(new["dense1"]["weight"], same["dense1"]["weight"])


@pytest.mark.parametrize("optimizer", ALL)
def test_going_on_from_a_state_gives_the_same_bits(optimizer):
    w, g = parameters(1.0, -2.0, dtype="float32"), parameters(0.5, 0.25, dtype="float32")
    through, _ = run(optimizer, w, g, 5)
    half, state = run(optimizer, w, g, 2)
    for _ in range(3):
        half, state = optimizer.update(half, g, state)
    np.testing.assert_array_equal(half["dense1"]["weight"], through["dense1"]["weight"])


@pytest.mark.parametrize("optimizer", ALL)
def test_json(optimizer):
    assert Optimizer.from_json(json.loads(json.dumps(optimizer.to_json()))) == optimizer


def test_every_optimizer_has_a_name():
    assert set(OPTIMIZERS.values()) == set(Optimizer.members.values())


@pytest.mark.parametrize("cls", OPTIMIZERS.values())
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "fast", None, True, [0.1]])
def test_a_learning_rate_must_be_a_number(cls, value):
    with pytest.raises(SettingError, match=f"{cls.__name__}: learning_rate must be a"):
        cls(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(momentum=1), "momentum must be a number of at least 0 and below 1, got 1"),
        (lambda: SGD(nesterov=True), "nesterov needs a momentum above 0"),
        (lambda: SGD(nesterov="yes", momentum=0.9), "nesterov must be True or False"),
        (lambda: AdaGrad(epsilon=0), "epsilon must be above 0, got 0"),
        (lambda: RMSProp(rho=1.0), "rho must be a number of at least 0 and below 1"),
        (lambda: Adam(beta2=-0.1), "beta2 must be a number of at least 0"),
        (lambda: AdamW(weight_decay=-1), "weight_decay must be a number of at least 0"),
        (lambda: clip_gradients({}, 0), "largest norm must be above 0, got 0"),
        (lambda: clip_gradients({}, "1"), "largest norm must be above 0, got '1'"),
    ],
)
def test_wrong_settings(make, message):
    with pytest.raises(SettingError, match=message):
        make()


def test_clipping_leaves_short_gradients_alone_and_keeps_the_direction():
    g = parameters(3.0, dtype="float32")  # weight and bias: norm √18
    assert clip_gradients(g, 5.0) is g
    clipped = clip_gradients(g, math.sqrt(2))
    assert clipped["dense1"]["weight"].dtype == np.float32
    assert clipped["dense1"]["weight"][0] == pytest.approx(1.0)


# ---- schedules ---------------------------------------------------------------------------------------------


def factors(schedule, total, steps=None):
    return [schedule.factor(step, total) for step in (range(total) if steps is None else steps)]


def test_constant():
    assert factors(ConstantRate(), 3) == [1, 1, 1]


def test_step_decay_by_hand():
    assert factors(StepDecay(1 / 3, 0.1), 6) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    # 0.3 / 0.1 falls a rounding short of 3; the third decay still comes at step 3 of 10.
    assert factors(StepDecay(0.1, 0.5), 10) == [0.5**step for step in range(10)]


@given(parts=st.integers(1, 40), each=st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_step_decay_comes_on_time(parts, each):
    schedule = StepDecay(1 / parts, 0.5)
    for part in range(parts):
        assert schedule.factor(part * each, parts * each) == 0.5**part
        assert schedule.factor(part * each + each - 1, parts * each) == 0.5**part


def test_cosine_by_hand():
    quarter = (1 + math.sqrt(0.5)) / 2
    assert factors(Cosine(), 8, [0, 2, 4, 8]) == pytest.approx([1, quarter, 0.5, 0], abs=1e-15)
    assert factors(Cosine(0.2), 8, [0, 4, 8, 99]) == pytest.approx([1, 0.6, 0.2, 0.2])
    # Near the end it is (π·rest/2)², not rounded to nothing.
    assert Cosine().factor(999_999, 1_000_000) == pytest.approx((math.pi * 1e-6 / 2) ** 2, rel=1e-3)


def test_warm_up_by_hand():
    assert factors(WarmUp(0.5), 8) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    assert factors(WarmUp(0.5, Cosine()), 8) == pytest.approx(
        [0.25, 0.5, 0.75, 1, *(Cosine().factor(step, 4) for step in range(4))]
    )
    # 0.29 · 100 is 28.999…: 29 steps rise.
    assert WarmUp(0.29).factor(27, 100) == pytest.approx(28 / 29)
    assert WarmUp(0.29).factor(28, 100) == 1


@pytest.mark.parametrize("schedule", [*SCHEDULES.values(), StepDecay(1e-6, 1e-3), WarmUp(0.99, WarmUp(0.5))])
@given(total=st.integers(0, 10_000), data=st.data())
@settings(max_examples=20, deadline=None)
def test_factors_stay_between_0_and_1(schedule, total, data):
    step = data.draw(st.integers(0, max(total, 1) + 5))
    assert 0 <= schedule.factor(step, total) <= 1


@pytest.mark.parametrize("schedule", [*SCHEDULES.values(), WarmUp(0.2, StepDecay(0.25))])
def test_schedules_json(schedule):
    assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepDecay(0), "StepDecay: every must be from 1e-6 to 1"),
        (lambda: StepDecay(decay=2), "decay above 0 and at most 1"),
        (lambda: StepDecay("half"), "StepDecay: every must be a finite number, got 'half'"),
        (lambda: Cosine(-0.1), "Cosine: lowest must be between 0 and 1"),
        (lambda: WarmUp(1), "WarmUp: fraction must be at least 0 and below 1"),
        (lambda: WarmUp(after=SGD()), "WarmUp: after must be an object of the family 'schedule'"),
        (lambda: WarmUp(after=1), "WarmUp: after must be an object of the family 'schedule'"),
    ],
)
def test_wrong_schedules(make, message):
    with pytest.raises(SettingError, match=message):
        make()
