"""The record of how a network grew: it follows the run, survives a resume, and can be lost without harm."""

import numpy as np
import pytest

import tatami
from tatami.layers import Convolution, Dense, Flatten, ReLU
from tatami.training.growth import Growth
from tatami.training.run import resume, train


def network():
    return tatami.Sequential(
        Convolution(3, 3), ReLU(), Flatten(), Dense(10), input_shape=(1, 8, 8), name="tiny"
    )


@pytest.fixture(scope="module")
def few():
    return tatami.load("digits").limited(100)


def run_for(epochs, data, folder):
    return train(network(), data, epochs=epochs, batch_size=50, backend="reference", out=folder)


def test_norms_and_filters_are_those_of_the_weights(few, tmp_path):
    run = run_for(3, few, tmp_path / "run")
    growth = Growth.load(run.folder.growth_file)
    assert growth.epochs == [0, 1, 2, 3]
    start = network().initialize(0)
    for layer, named in run.checkpoint.parameters.items():
        for name, values in named.items():
            norms = growth.series("weight_norms")[f"{layer}.{name}"]
            np.testing.assert_allclose(norms[-1], np.linalg.norm(values), rtol=1e-6)
            np.testing.assert_allclose(norms[0], np.linalg.norm(start[layer][name]), rtol=1e-6)
            assert growth.series("gradient_norms")[f"{layer}.{name}"].shape == (4,)
    filters = growth.series("filters")["conv1"]
    assert filters.shape == (4, 3, 1, 3, 3)
    np.testing.assert_array_equal(filters[-1], run.checkpoint.parameters["conv1"]["weight"])


def test_a_resumed_run_goes_on_with_its_record_and_ends_in_the_same_bits(few, tmp_path):
    whole = run_for(4, few, tmp_path / "whole")
    part = run_for(2, few, tmp_path / "part")
    part = resume(part.folder.path, few, epochs=4)
    assert part.weights_sha256 == whole.weights_sha256
    one, two = Growth.load(whole.folder.growth_file), Growth.load(part.folder.growth_file)
    assert one.epochs == two.epochs
    for group in ("weight_norms", "gradient_norms", "filters"):
        for name, values in one.series(group).items():
            np.testing.assert_array_equal(two.series(group)[name], values)


@pytest.mark.parametrize("damage", [b"", b"\x10\x00", b"nonsense" * 100])
def test_a_damaged_record_is_no_reason_to_stop(few, tmp_path, damage):
    run = run_for(1, few, tmp_path / "run")
    run.folder.growth_file.write_bytes(damage)
    assert Growth.load(run.folder.growth_file).epochs == []
    run = resume(run.folder.path, few, epochs=2)
    assert Growth.load(run.folder.growth_file).epochs == [2]


def test_what_is_ahead_of_the_checkpoint_is_forgotten():
    growth = Growth()
    for epoch in range(5):
        growth.moments[epoch] = {"weight_norms/a.weight": np.float32(epoch)}
    growth.forget_after(2)
    assert growth.epochs == [0, 1, 2]


@pytest.mark.parametrize("epochs", [1, 39, 40, 41, 1000, 5000])
def test_a_long_run_records_few_moments_and_always_the_last(epochs):
    due = [epoch for epoch in range(epochs + 1) if Growth.is_due(epoch, epochs)]
    assert due[0] == 0
    assert due[-1] == epochs
    assert len(due) <= 42


def test_without_a_folder_nothing_is_recorded(few):
    assert train(network(), few, epochs=1, batch_size=50, backend="reference").folder is None
