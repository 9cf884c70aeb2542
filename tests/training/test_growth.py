"""The record of how a network grew: it follows the run, survives a resume, and can be lost without harm."""

import re

import numpy as np
import pytest

import tatami
from tatami.errors import SettingError, UnknownNameError
from tatami.inspect import filter_growth
from tatami.layers import (
    Convolution,
    Dense,
    Flatten,
    FReLU,
    ReLU,
    SeparableConvolution,
    TableConvolution,
    TransposedConvolution,
)
from tatami.training.filters import filter_shape, filters_of, layers_with_filters, recorded_filters
from tatami.training.growth import Growth
from tatami.training.progress import Silent
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
    assert growth.numbers("conv1") == [0, 1, 2]
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


def everything():
    return tatami.Sequential(
        Convolution(4, 3, padding="same"), ReLU(), TransposedConvolution(3, 2),
        SeparableConvolution(3, 2), FReLU(), TableConvolution(2, ((0, 1), (2,))), Flatten(), Dense(10),
        input_shape=(1, 8, 8),
    )  # fmt: skip


def test_every_kind_of_filter_can_be_watched():
    network = everything()
    parameters = network.initialize(1)
    recorded = recorded_filters(network)
    assert list(recorded) == [name for name in layers_with_filters(network) if "dense" not in name]
    for layer in layers_with_filters(network):
        filters = filters_of(network, parameters, layer)
        assert filters.shape == filter_shape(network, layer)
        assert filters.ndim == 4
    asked = recorded_filters(network, ["dense1[3,7]", "conv1[2]", "conv1[0]"])
    assert asked["dense1"] == (3, 7)
    assert asked["conv1"] == (2, 0)


def test_large_layers_are_recorded_in_part_and_whatever_is_asked_for_whole():
    network = tatami.Sequential(*(Convolution(256, 3) for _ in range(3)), input_shape=(64, 16, 16))
    recorded = recorded_filters(network)
    assert 1 <= len(recorded["conv3"]) < 20
    assert recorded_filters(network, ["conv3[200,255]"])["conv3"] == (200, 255)
    with pytest.raises(
        SettingError, match="the filters to watch have 1,327,104 weights, at most 1,048,576 are kept"
    ):
        recorded_filters(network, ["conv1", "conv2", "conv3"])


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ("conv2", UnknownNameError, "unknown layer with filters of tiny 'conv2': did you mean 'conv1'"),
        ("conv1[3]", SettingError, "conv1 has the filters 0 to 2, there is no filter 3"),
        ("conv1[a]", SettingError, "such as conv2[5,17]; got 'conv1[a]'"),
    ],
)
def test_filters_that_there_are_not_are_refused_before_anything_is_written(
    few, tmp_path, asked, error, message
):
    with pytest.raises(error, match=re.escape(message)):
        train(network(), few, epochs=1, out=tmp_path / "run", watch=[asked])
    assert not (tmp_path / "run").exists()


def test_chosen_filters_are_followed_over_the_epochs(few, tmp_path):
    run = train(
        network(),
        few,
        epochs=3,
        batch_size=50,
        backend="reference",
        out=tmp_path / "run",
        watch=["dense1[4]"],
    )
    grown = filter_growth(run.folder.path, "conv1[2,0]")
    assert grown.numbers == (2, 0)
    assert grown.epochs == (0, 1, 2, 3)
    np.testing.assert_array_equal(grown.weights[-1], run.checkpoint.parameters["conv1"]["weight"][[2, 0]])
    units = filter_growth(run.folder.path, "dense1[4]")
    assert units.weights.shape == (4, 1, 3, 6, 6)
    assert filter_growth(run.folder.path).layer == "conv1"
    with pytest.raises(
        SettingError, match=r"dense1: filter 5 was not recorded, 4 were; .* --watch 'dense1\[5\]'"
    ):
        filter_growth(run.folder.path, "dense1[5]")
    with pytest.raises(UnknownNameError, match="unknown layer whose filters were recorded 'conv2'"):
        filter_growth(run.folder.path, "conv2")
    again = resume(run.folder.path, few, epochs=4)
    assert filter_growth(again.folder.path, "dense1[4]").epochs == (0, 1, 2, 3, 4)


def test_a_run_that_is_not_to_watch_itself_tells_nothing(few):
    class Notes(Silent):
        def __init__(self):
            self.said = []

        def note(self, text):
            self.said.append(text)

    for watched in (True, False):
        notes = Notes()
        train(
            network(), few, epochs=1, batch_size=50, backend="reference", optimizer=tatami.SGD(1e-9), progress=notes,
            diagnosis=watched,
        )  # fmt: skip
        assert bool(notes.said) == watched


def test_without_a_folder_nothing_is_recorded(few):
    assert train(network(), few, epochs=1, batch_size=50, backend="reference").folder is None
