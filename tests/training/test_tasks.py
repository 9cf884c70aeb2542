"""The tasks themselves: what they measure against other libraries, sums that add up, and files that come back."""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import jaccard_score, mean_absolute_error, r2_score, root_mean_squared_error

from tatami.data import Scale
from tatami.data.made import load_made
from tatami.errors import CheckpointError, DataError, SettingError
from tatami.losses import BinaryCrossEntropy, SquaredError
from tatami.models.architectures import ARCHITECTURES, built, for_task
from tatami.optimizers import Adam
from tatami.random import RandomKey
from tatami.training.anomaly import threshold_for
from tatami.training.checkpoint import load_checkpoint
from tatami.training.generation import continued
from tatami.training.history import EpochRecord, History, RunningSums
from tatami.training.model import load_model
from tatami.training.run import resume, train
from tatami.training.settings import TrainingSettings
from tatami.training.tasks import (
    TASKS,
    Classify,
    Reconstruct,
    Regress,
    Segment,
    Sequence,
    Task,
    task_of,
)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 30))
@settings(max_examples=30, deadline=None)
def test_regression_is_measured_as_scikit_learn_does(seed, outputs, count):
    draws = np.random.default_rng(seed)
    true = draws.normal(5, 3, (count, outputs))
    said = true + draws.normal(0, 1, (count, outputs))
    task = Regress(tuple(draws.normal(0, 5, outputs)), tuple(draws.uniform(0.5, 4, outputs)))
    _, scaled = task.batch(np.zeros((count, 1)), true, None)
    predicted = (said - np.array(task.mean)) / np.array(task.deviation)
    pieces = [slice(0, count // 2), slice(count // 2, None)]
    tally = sum(task.tally(predicted[piece], scaled[piece]) for piece in pieces)
    measured = task.measures(tally)
    assert measured["r2"] == pytest.approx(r2_score(true, said), rel=1e-9, abs=1e-9)
    assert measured["mae"] == pytest.approx(mean_absolute_error(true, said))
    together = np.sqrt(np.mean(root_mean_squared_error(true, said, multioutput="raw_values") ** 2))
    assert measured["rmse"] == pytest.approx(together)
    np.testing.assert_allclose(task.decoded(predicted, None), said)
    np.testing.assert_allclose(task.truth(scaled), true)


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_overlaps_are_those_of_scikit_learn(seed, classes):
    draws = np.random.default_rng(seed)
    truth = draws.integers(-1, classes, (4, 5, 6))
    seen = draws.uniform(0, 1, (4, classes, 5, 6))
    task = Segment()
    tally = task.tally(seen[:2], truth[:2]) + task.tally(seen[2:], truth[2:])
    counted = truth >= 0
    true, said = truth[counted], seen.argmax(axis=1)[counted]
    expected = jaccard_score(true, said, labels=range(classes), average=None, zero_division=0)
    np.testing.assert_allclose(np.nan_to_num(task.overlaps(tally)), expected)
    assert task.measures(tally)["pixel_accuracy"] == pytest.approx(np.mean(true == said))


def test_tasks_come_back_from_json():
    for task in (
        Classify(),
        Regress((1.0,), (2.0,)),
        Segment(((1, 2, 3),)),
        Reconstruct(0.5, 2.0),
        Sequence(),
    ):
        again = Task.from_json(json.loads(json.dumps(task.to_json())))
        assert again == task
        assert TASKS[task.name] is type(task)
        read = TrainingSettings.from_json(TrainingSettings(task=task).to_json())
        assert read.task == task
    with pytest.raises(SettingError, match="as many deviations above 0 as means"):
        Regress((1.0,), (0.0,))
    with pytest.raises(SettingError, match="noise must be at least 0"):
        Reconstruct(noise=-1.0)
    assert task_of("regress") == Regress()


def test_settings_of_older_runs_classify():
    values = TrainingSettings().to_json()
    del values["task"]
    assert TrainingSettings.from_json(values).task == Classify()


def test_noise_is_added_to_the_input_only_and_is_the_same_for_the_same_step():
    images = np.zeros((3, 1, 4, 4), np.float32)
    task = Reconstruct(noise=0.5)
    inputs, targets = task.batch(images, images, RandomKey(1, 2, 3))
    again, _ = task.batch(images, images, RandomKey(1, 2, 3))
    other, _ = task.batch(images, images, RandomKey(1, 2, 4))
    assert targets is images
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs, again)
    assert not np.array_equal(inputs, other)
    network = built("denoising_autoencoder", (1, 4, 4), 0, "reconstruct")[0]
    assert Reconstruct().corruption(network) == 0.5


def test_losses_follow_the_range_of_the_data():
    shapes = load_made("shapes").train
    digits = train_data()
    assert Reconstruct().default_loss(digits, Scale.fit(digits)) == BinaryCrossEntropy()
    assert Reconstruct().default_loss(shapes, Scale.fit(shapes)) == SquaredError()
    loss = built("variational_autoencoder", (1, 32, 32), 0, "reconstruct")[1]
    assert Reconstruct().adapted(loss, shapes, Scale.fit(shapes)).likelihood == "gaussian"
    assert Reconstruct().adapted(loss, digits, Scale.fit(digits)).likelihood == "bernoulli"


def train_data():
    from tatami.data import load

    return load("digits").train.first(60)


def test_histories_hold_the_measures_of_every_task():
    record = EpochRecord(
        epoch=1, step=2, loss=1.0, learning_rate=0.1, seconds=1.0, images_per_second=9.0, metrics={"r2": 0.5},
    )  # fmt: skip
    history = History.from_json([record.to_json()])
    assert history.measures() == ["r2"]
    assert history.measured("r2") == [0.5]
    assert history.measured("r2", validation=True) == [None]
    broken = {**record.to_json(), "metrics": {"r2": "high"}}
    with pytest.raises(CheckpointError, match="history field 'metrics' holds"):
        History.from_json([broken])
    classified = EpochRecord(
        epoch=1, step=2, loss=1.0, accuracy=0.5, learning_rate=0.1, seconds=1.0, images_per_second=9.0
    )
    assert "metrics" not in classified.to_json()
    assert classified.measures == {"accuracy": 0.5}
    sums = RunningSums().plus(loss=1.0, correct=0, images=2, seconds=0.1, tally=[1.0, 2.0])
    sums = sums.plus(loss=1.0, correct=0, images=2, seconds=0.1, tally=[0.5, 0.0])
    assert sums.tally == (1.5, 2.0)
    assert RunningSums.from_json(json.loads(json.dumps(sums.to_json()))) == sums
    with pytest.raises(CheckpointError, match="hold the tally"):
        RunningSums.from_json({**sums.to_json(), "tally": ["x"]})


CASES = {
    "regress": ("adding", "sequence_classifier", Regress()),
    "segment": ("shapes", "fcn", Segment()),
    "reconstruct": ("gestures", "autoencoder", Reconstruct(noise=0.1)),
    "sequence": ("text", "char_rnn", Sequence()),
}


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_stopped_within_an_epoch_ends_with_the_same_bits(case, backend, tmp_path):
    from tatami import native
    from tatami.training.interruption import TrainingInterrupted
    from tatami.training.progress import Silent

    if backend == "native" and not native.is_built():
        pytest.skip("the native backend is not built")
    name, network, task = CASES[case]
    data = load_made(name).limited(40)
    chosen = {
        "epochs": 2, "batch_size": 8, "validation": 0.2, "seed": 3, "backend": backend, "task": task,
        "preprocessing": "none", "checkpoint_steps": 1, "optimizer": Adam(0.01),
    }  # fmt: skip

    class Stop(Silent):
        def __init__(self):
            self.steps = 0

        def step(self, images, sums):
            self.steps += 1
            if self.steps == 6:
                raise TrainingInterrupted("stopped as by a kill", 2)

    whole = train(network, data, out=tmp_path / "whole", **chosen)
    with pytest.raises(TrainingInterrupted):
        train(network, data, out=tmp_path / "part", progress=Stop(), **chosen)
    assert load_checkpoint(tmp_path / "part" / "last.safetensors").position.step < 8
    resumed = resume(tmp_path / "part", data)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert resumed.history.without_clock() == whole.history.without_clock()
    assert resumed.test.measures == whole.test.measures
    model = load_model(tmp_path / "part")
    assert model.task == whole.model.task
    assert model.measure(data.test).measures == pytest.approx(whole.test.measures, rel=1e-4)


def test_a_model_of_another_task_has_no_accuracy(tmp_path):
    data = load_made("adding").limited(40)
    model = train("mlp", data, epochs=1, batch_size=20, task=Regress(), preprocessing="none").model
    with pytest.raises(
        SettingError, match=r"trained to regress, it has no accuracy; measure it with Model\.measure"
    ):
        model.evaluate(data.test)
    with pytest.raises(SettingError, match="names no class for an image"):
        model.classes(data.test.images[:2])
    with pytest.raises(SettingError, match="does not read text"):
        continued(model, "a", 3)


def test_every_architecture_names_its_tasks():
    assert set(for_task("reconstruct")) >= {"autoencoder", "unet", "variational_autoencoder"}
    assert for_task("sequence") == ["char_rnn"]
    assert all(set(entry.tasks) <= set(TASKS) for entry in ARCHITECTURES.values())
    with pytest.raises(
        SettingError, match=r"network char_rnn reads tokens \(time,\), the data have examples of shape"
    ):
        built("char_rnn", (2, 20), 5, "sequence")


def test_thresholds():
    scores = np.arange(1.0, 21.0)
    assert threshold_for(scores, 0.1) == 18
    assert (scores > threshold_for(scores, 0.1)).mean() == 0.1
    assert threshold_for(scores, 0) == 20
    with pytest.raises(DataError, match="no normal example"):
        threshold_for(np.zeros(0), 0.1)
