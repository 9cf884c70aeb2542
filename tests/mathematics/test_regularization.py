"""L1, the bound on norms, the running average: by hand, from checkpointable state, and on the native backend."""

import numpy as np
import pytest
import torch

from tatami import (
    SGD,
    Adam,
    AdamW,
    BatchNormalization,
    Dense,
    Flatten,
    Program,
    RandomKey,
    ReLU,
    Sequential,
    SettingError,
    averaged_parameters,
)
from tatami.native import is_built
from tatami.optimizers import OPTIMIZERS, Optimizer, bounded_rows


def parameters():
    return {
        "dense1": {
            "weight": np.array([[3.0, -4.0], [0.3, 0.0]]),
            "bias": np.array([5.0, -5.0]),
            "reverse_bias": np.array([9.0]),
        }
    }


def zeros(like):
    return {
        layer: {name: np.zeros_like(values) for name, values in named.items()}
        for layer, named in like.items()
    }


def test_l1_pulls_every_weight_with_the_same_force_and_no_bias():
    w = parameters()
    optimizer = SGD(0.1, l1=0.5)
    moved, _ = optimizer.update(w, zeros(w), optimizer.initialize(w))
    np.testing.assert_allclose(moved["dense1"]["weight"], [[2.95, -3.95], [0.25, 0.0]])
    np.testing.assert_array_equal(moved["dense1"]["bias"], w["dense1"]["bias"])
    np.testing.assert_array_equal(moved["dense1"]["reverse_bias"], w["dense1"]["reverse_bias"])


def test_l2_spares_every_bias():
    w = parameters()
    for optimizer in (SGD(0.1, weight_decay=0.5), AdamW(0.1, weight_decay=0.5)):
        moved, _ = optimizer.update(w, zeros(w), optimizer.initialize(w))
        np.testing.assert_allclose(moved["dense1"]["weight"], 0.95 * w["dense1"]["weight"])
        np.testing.assert_array_equal(moved["dense1"]["reverse_bias"], [9])


def test_the_bound_on_norms_is_torchs_renorm():
    w = parameters()
    optimizer = SGD(0.0, max_norm=2.0)
    moved, _ = optimizer.update(w, zeros(w), optimizer.initialize(w))
    np.testing.assert_allclose(moved["dense1"]["weight"], [[1.2, -1.6], [0.3, 0]])
    np.testing.assert_array_equal(moved["dense1"]["bias"], [5, -5])
    filters = RandomKey(1).normal("w", (5, 3, 2, 2))
    expected = torch.renorm(torch.tensor(filters), 2, 0, 2.5).numpy()
    np.testing.assert_allclose(bounded_rows(filters, 2.5), expected, rtol=1e-6)
    assert bounded_rows(np.zeros((2, 2)), 1.0).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9, average=0.8), Adam(0.05, average=0.8)])
def test_the_running_average_is_the_weighted_mean_of_the_path(optimizer):
    w, path = parameters(), []
    state = optimizer.initialize(w)
    for step in range(5):
        g = {"dense1": {name: values + step for name, values in w["dense1"].items()}}
        w, state = optimizer.update(w, g, state)
        path.append(w["dense1"]["weight"])
    weights = 0.8 ** np.arange(4, -1, -1)
    expected = np.tensordot(weights / weights.sum(), np.stack(path), axes=1)
    np.testing.assert_allclose(averaged_parameters(optimizer, state)["dense1"]["weight"], expected)
    assert Optimizer.from_json(optimizer.to_json()) == optimizer


def test_without_an_average_there_is_an_error():
    w = parameters()
    with pytest.raises(SettingError, match="there is no average of the weights; set average"):
        averaged_parameters(SGD(), SGD().initialize(w))
    with pytest.raises(SettingError, match="there is no average"):
        averaged_parameters(SGD(average=0.9), SGD(average=0.9).initialize(w))


@pytest.mark.parametrize("cls", OPTIMIZERS.values())
def test_bad_settings(cls):
    for settings, message in (
        ({"l1": -1.0}, "l1 must be a number of at least 0"),
        ({"max_norm": 0.0}, "max_norm must be above 0"),
        ({"average": 1.0}, "average must be a number of at least 0 and below 1"),
    ):
        with pytest.raises(SettingError, match=message):
            cls(**settings)


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.1, l1=0.01),
        SGD(0.1, momentum=0.9, max_norm=0.5),
        SGD(0.1, average=0.9),
        SGD(0.1, weight_decay=0.1),
    ],
)
@pytest.mark.filterwarnings("ignore::tatami.program.native.SlowLayerWarning")
def test_the_native_backend_moves_parameters_like_the_reference(optimizer):
    if not is_built():
        pytest.skip("the kernels are not built")
    network = Sequential(Flatten(), Dense(6), BatchNormalization(), ReLU(), Dense(2), input_shape=(1, 3, 3))
    x = RandomKey(2).normal("x", (8, 1, 3, 3)).astype(np.float32)
    labels = (x.sum(axis=(1, 2, 3)) > 0).astype(int)
    ends = []
    for backend in ("reference", "native"):
        session = Program(network, backend=backend).session(network.initialize(1), optimizer)
        for step in range(5):
            session.step(x, labels, RandomKey(0, step=step), 0.1)
        ends.append(session.parameters)
    for layer, named in ends[0].items():
        for name, values in named.items():
            np.testing.assert_allclose(ends[1][layer][name], values, rtol=1e-4, atol=1e-5, err_msg=name)
