"""Training from Python: what it learns, what it measures, when it stops, what it refuses."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from tatami import native
from tatami.data import Dataset, Scale
from tatami.errors import (
    CheckpointError,
    DataError,
    NotFiniteError,
    SettingError,
    ShapeError,
    UnknownNameError,
)
from tatami.layers import Dense, Flatten, ReLU
from tatami.network import Sequential
from tatami.optimizers import SGD, Adam
from tatami.program import Program
from tatami.random import RandomKey
from tatami.schedules import Cosine, StepDecay
from tatami.training.checkpoint import load_checkpoint, save_checkpoint
from tatami.training.history import RunningSums
from tatami.training.interruption import TrainingInterrupted
from tatami.training.model import load_model
from tatami.training.progress import ProgressBar, Silent, epoch_line, epochs_to_print
from tatami.training.run import identity, resume, train
from tatami.training.run_folder import RunFolder
from tatami.training.settings import TrainingSettings

SETTINGS = {"epochs": 4, "batch_size": 8, "optimizer": SGD(0.3, momentum=0.5), "validation": 0.2, "seed": 5}


class Interrupt(Silent):
    """Sends this process a signal after some steps."""

    def __init__(self, steps, number=signal.SIGINT):
        self.steps = steps
        self.number = number

    def step(self, images, sums):
        self.steps -= 1
        if self.steps == 0:
            os.kill(os.getpid(), self.number)


class Watch(Silent):
    """Remembers what it was told."""

    def __init__(self):
        self.sums, self.records, self.notes, self.ended = [], [], [], 0

    def step(self, images, sums):
        self.sums.append(sums)

    def epoch(self, record):
        self.records.append(record)

    def note(self, text):
        self.notes.append(text)

    def end(self):
        self.ended += 1


def test_a_network_learns(network, data):
    run = train(network, data, **{**SETTINGS, "epochs": 12})
    assert run.test.accuracy == 1.0
    assert run.history.column("loss")[-1] < 0.5 * run.history.column("loss")[0]


def test_the_loop_does_what_the_lines_of_the_textbook_do(network, data):
    """Shuffling, keys, schedule and updates, written out once more in a few lines."""
    settings = {**SETTINGS, "validation": 0.0, "schedule": Cosine(), "batch_size": 25}
    run = train(network, data, **settings)
    optimizer, program = settings["optimizer"], Program(network)
    parameters = network.initialize(5)
    state = optimizer.initialize(parameters)
    losses, step = [], 0
    for epoch in range(4):
        order = RandomKey(5, epoch).permutation("shuffle", 60)
        losses.append(0.0)
        for start in (0, 25, 50):
            chosen = order[start : start + 25]
            x, labels = data.train.images[chosen].astype(np.float32) / 255, data.train.labels[chosen]
            result = program.train_step(parameters, x, labels, key=RandomKey(5, epoch, step))
            rate = 0.3 * Cosine().factor(step, 12)
            parameters, state = optimizer.update(parameters, result.gradients, state, rate)
            losses[-1] += result.loss * len(chosen)
            step += 1
    np.testing.assert_allclose(run.history.column("loss"), np.array(losses) / 60, rtol=1e-12)
    for layer, named in parameters.items():
        for name, array in named.items():
            np.testing.assert_array_equal(run.checkpoint.parameters[layer][name], array)


def test_what_is_measured_adds_up(network, data):
    watch = Watch()
    run = train(network, data, progress=watch, **SETTINGS)
    assert len(watch.records) == 4
    assert watch.ended == 1
    per_epoch = len(watch.sums) // 4
    assert watch.sums[per_epoch - 1].images == 48
    assert watch.records[0].loss == watch.sums[per_epoch - 1].loss / 48
    assert watch.records[0].accuracy == watch.sums[per_epoch - 1].correct / 48
    assert run.history.column("step") == [6, 12, 18, 24]
    assert run.test.confusion.sum() == 30


def test_the_learning_rate_follows_the_schedule(network, data):
    run = train(network, data, **{**SETTINGS, "schedule": StepDecay(every=0.5, decay=0.1)})
    np.testing.assert_allclose(run.history.column("learning_rate"), [0.3, 0.3, 0.03, 0.03])


def test_double_precision_stays_double(network, data):
    run = train(network, data, precision="f64", **SETTINGS)
    assert {array.dtype for named in run.checkpoint.parameters.values() for array in named.values()} == {
        np.dtype("float64")
    }


def test_the_model_is_the_one_of_the_best_epoch(network, data, tmp_path):
    settings = {**SETTINGS, "epochs": 12, "optimizer": SGD(2.5)}
    run = train(network, data, out=tmp_path / "run", **settings)
    best = load_checkpoint(tmp_path / "run" / "best.safetensors")
    assert len(best.history) == run.history.best_epoch < 12
    assert run.weights_sha256 == best.weights_sha256 != run.checkpoint.weights_sha256
    assert train(network, data, **settings).weights_sha256 == run.weights_sha256


def test_without_validation_the_model_is_the_last_one(network, data, tmp_path):
    run = train(network, data, out=tmp_path / "run", **{**SETTINGS, "validation": 0.0})
    assert run.history.best_epoch is None
    assert run.weights_sha256 == run.checkpoint.weights_sha256
    assert not (tmp_path / "run" / "best.safetensors").exists()


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_a_run_records_its_backend_and_goes_on_with_it(network, data, tmp_path, monkeypatch, backend):
    if backend == "native" and not native.is_built():
        pytest.skip("the kernels are not built")
    with monkeypatch.context() as patch:
        if backend == "reference":  # began where there were no kernels
            patch.setattr(native, "_kernels", None)
        run = train(network, data, out=tmp_path / "run", **SETTINGS)
        half = train(network, data, out=tmp_path / "half", **{**SETTINGS, "epochs": 2})
    assert run.checkpoint.settings.backend == run.model.backend == half.model.backend == backend
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["backend"] == backend
    longer = resume(tmp_path / "half", data, epochs=4)
    assert longer.checkpoint.settings.backend == backend
    assert longer.weights_sha256 == run.weights_sha256
    assert TrainingSettings(precision="f64").backend == "reference"


def test_early_stopping_and_training_on(network, data, tmp_path):
    settings = {**SETTINGS, "epochs": 60, "optimizer": SGD(2.5), "patience": 3}
    run = train(network, data, out=tmp_path / "run", **settings)
    assert len(run.history) == run.history.best_epoch + 3 < 60
    watch = Watch()
    again = resume(tmp_path / "run", data, progress=watch)
    assert watch.notes == [
        f"the run stopped early, after {len(run.history)} epochs; train on with a larger --patience"
    ]
    assert again.weights_sha256 == run.weights_sha256
    assert len(resume(tmp_path / "run", data, patience=5).history) > len(run.history)


def test_more_epochs_give_what_as_many_from_the_beginning_give(network, data, tmp_path):
    """With a rate that does not depend on the number of epochs."""
    train(network, data, out=tmp_path / "run", **{**SETTINGS, "epochs": 2})
    longer = resume(tmp_path / "run", data, epochs=4)
    assert longer.checkpoint.weights_sha256 == train(network, data, **SETTINGS).checkpoint.weights_sha256


@pytest.mark.parametrize("steps", [1, 6, 7, 23])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_is_the_same(network, data, tmp_path, steps, number):
    undisturbed = train(network, data, **SETTINGS)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(
        TrainingInterrupted, match=rf"after step {steps}, saved; continue with: tatami train --resume"
    ) as caught:
        train(network, data, out=tmp_path / "run", progress=Interrupt(steps, number), **SETTINGS)
    assert caught.value.exit_code == 128 + number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert load_checkpoint(tmp_path / "run" / "last.safetensors").position.step == steps
    resumed = resume(tmp_path / "run", data)
    assert resumed.weights_sha256 == undisturbed.weights_sha256
    assert resumed.history.without_clock() == undisturbed.history.without_clock()


def test_interrupted_without_a_folder_nothing_is_promised(network, data):
    with pytest.raises(TrainingInterrupted, match="nothing was saved"):
        train(network, data, progress=Interrupt(2), **SETTINGS)


def test_a_run_killed_before_its_first_checkpoint_begins_again(network, data, tmp_path):
    undisturbed = train(network, data, out=tmp_path / "run", **SETTINGS)
    for path in (tmp_path / "run").glob("*.safetensors"):
        path.unlink()
    assert resume(tmp_path / "run", data).weights_sha256 == undisturbed.weights_sha256


def test_a_best_checkpoint_of_an_epoch_to_come_is_replaced_by_the_right_one(network, data, tmp_path):
    """As if killed after saving a new best, before saving the last checkpoint, and resumed with fewer epochs."""
    settings = {**SETTINGS, "checkpoint_seconds": 0.0, "epochs": 6}
    train(network, data, out=tmp_path / "run", **settings)
    place = RunFolder(tmp_path / "run")
    previous = load_checkpoint(place.path / "best.previous.safetensors")
    last = load_checkpoint(place.last)
    save_checkpoint(
        place.last,
        replace(previous, settings=replace(last.settings, epochs=len(previous.history))),
    )
    resume(place.path, data)
    assert load_checkpoint(place.best).weights_sha256 == previous.weights_sha256


def test_settings_are_written_first_and_completely(network, data, tmp_path):
    train(network, data, out=tmp_path / "run", source={"dataset": "stripes"}, **SETTINGS)
    values = json.loads((tmp_path / "run" / "run.json").read_text())
    assert values["settings"]["seed"] == 5
    assert values["network"]["name"] == "small"
    assert values["class_names"] == ["left", "right", "top"]
    assert values["source"] == {"dataset": "stripes"}
    assert values["data"] == identity(data.train)


def test_a_model_is_loaded_from_a_folder_and_from_a_file(network, data, tmp_path):
    run = train(network, data, out=tmp_path / "run", **SETTINGS)
    for path in (tmp_path / "run", tmp_path / "run" / "best.safetensors"):
        model = load_model(path)
        assert model.weights_sha256 == run.weights_sha256
        np.testing.assert_array_equal(model.predict(data.test.images), run.test.probabilities)
    assert model.classes(data.test.images[:3]) == [model.class_names[i] for i in run.test.predicted[:3]]
    with pytest.raises(DataError, match="no image"):
        model.predict(data.test.images[:0])
    with pytest.raises(ShapeError, match="reshape|expected"):
        model.predict(data.test.images[:, :, :2])


def test_the_preprocessing_belongs_to_the_model(network, data, tmp_path):
    run = train(network, data, preprocessing="standardise", out=tmp_path / "run", **SETTINGS)
    assert load_model(tmp_path / "run").preprocessing == run.model.preprocessing
    assert run.model.preprocessing.mean != ()


# -- what is refused --------------------------------------------------------------------------------------------


def test_images_of_another_shape(data):
    other = Sequential(Flatten(), Dense(3), input_shape=(1, 5, 5), name="five")
    with pytest.raises(
        ShapeError, match=r"stripes has images of shape \(1, 4, 4\), network five takes \(1, 5, 5\)"
    ):
        train(other, data)


def test_an_output_that_is_no_vector(data):
    other = Sequential(ReLU(), input_shape=(1, 4, 4), name="maps")
    with pytest.raises(ShapeError, match=r"network maps has outputs of shape \(1, 4, 4\)"):
        train(other, data)


def test_labels_out_of_range(data):
    other = Sequential(Flatten(), Dense(2), input_shape=(1, 4, 4), name="two")
    with pytest.raises(
        SettingError, match="network two has 2 outputs, there are 3 classes; give the last layer 3 units"
    ):
        train(other, data)
    with pytest.raises(DataError, match="sample 1 has the label 3, expected 0 to 2"):
        Dataset("stripes", data.train.images[:2], np.array([0, 3]), data.train.class_names)


def test_a_batch_larger_than_the_data(network, data, tmp_path):
    with pytest.raises(DataError, match="the batch size 100 is larger than the data, 60 images"):
        train(network, data, batch_size=100, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_settings_and_names(network, data):
    with pytest.raises(UnknownNameError, match="unknown training setting 'epoch': did you mean 'epochs'"):
        train(network, data, epoch=3)
    with pytest.raises(UnknownNameError, match="unknown network 'lenet': did you mean 'lenet5'"):
        train("lenet", data)
    with pytest.raises(UnknownNameError, match="unknown preprocessing 'scal': did you mean 'scale'"):
        train(network, data, preprocessing="scal")


def test_other_data_and_other_settings_when_resuming(network, data, tmp_path):
    train(network, data, out=tmp_path / "run", **SETTINGS)
    with pytest.raises(SettingError, match="was trained on other data"):
        resume(tmp_path / "run", data.limited(30))
    with pytest.raises(
        SettingError, match="batch_size cannot change when a run is resumed, only epochs, patience"
    ):
        resume(tmp_path / "run", data, batch_size=3)
    with pytest.raises(CheckpointError, match="there is no run at"):
        resume(tmp_path / "gone", data)


def test_nan_in_the_data(data):
    images = data.train.images.astype(np.float32)
    images[7, 0, 1, 2] = np.nan
    with pytest.raises(DataError, match=r"sample 7 holds nan at \(0, 1, 2\)"):
        Dataset("stripes", images, data.train.labels)


def exploding(rate):
    return {**SETTINGS, "optimizer": SGD(rate), "epochs": 3}


def test_infinity_in_training_names_layer_epoch_and_step_and_keeps_the_last_good_checkpoint(
    network, data, tmp_path
):
    with pytest.raises(NotFiniteError) as caught:
        train(network, data, out=tmp_path / "run", checkpoint_steps=1, **exploding(1e12))
    message = str(caught.value)
    assert "NaN or infinity first appears in the " in message
    assert any(
        f"layer {name!r}" in message or f"of {name}." in message for name in ("dense1", "dense2", "relu1")
    )
    assert "in epoch 1, step " in message
    step = int(message.split("step ")[1].split(".")[0])
    kept = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert kept.position.step == step - 1
    assert (
        f"The last good checkpoint, after step {step - 1}, is {tmp_path / 'run' / 'last.safetensors'}"
        in message
    )


def test_infinity_is_traced_back_to_where_it_began(network, data, tmp_path):
    """The search from an old checkpoint finds the same place as one from just before."""
    messages = []
    for every in (1, None):
        with pytest.raises(NotFiniteError) as caught:
            train(network, data, out=tmp_path / str(every), checkpoint_steps=every, **exploding(1e12))
        messages.append(str(caught.value).split(". ")[0])
    assert messages[0] == messages[1]


def test_infinity_in_the_optimizer_alone_is_noticed(network, data, tmp_path):
    """Adam's mean square overflows while gradients, weights and loss are still finite."""
    bright = data.train.images.astype(np.float64) * 1e20
    with pytest.raises(NotFiniteError, match="the update of optimizer slot 'mean_square' of dense1.weight"):
        train(
            network,
            replace(data.train, images=bright),
            out=tmp_path / "run",
            **{**SETTINGS, "optimizer": Adam(1e-30)},
        )


def test_infinity_without_a_folder(network, data):
    with pytest.raises(NotFiniteError, match="first appears in"):
        train(network, data, **exploding(1e12))


def test_infinity_while_validating_keeps_the_last_good_checkpoint(network, data, tmp_path, monkeypatch):
    monkeypatch.setattr("tatami.training.loop.measure", broken_evaluation)
    with pytest.raises(NotFiniteError, match=r"is evaluated\. The last good checkpoint, after step 0"):
        train(network, data, out=tmp_path / "run", **SETTINGS)


def broken_evaluation(*_arguments):
    raise NotFiniteError("NaN or infinity first appears in the loss while the network is evaluated")


def test_a_model_whose_outputs_are_not_finite(network, data):
    model = train(network, data, **SETTINGS).model
    model.parameters["dense1"]["weight"] = np.full_like(model.parameters["dense1"]["weight"], 3e38)
    with pytest.raises(NotFiniteError, match="output of layer 'dense1' .* while the network is evaluated"):
        model.evaluate(data.test)


# -- what is told -----------------------------------------------------------------------------------------------


def test_a_few_epochs_get_a_line_each_and_many_about_thirty():
    assert epochs_to_print(5) == {1, 2, 3, 4, 5}
    assert 30 <= len(epochs_to_print(5000)) <= 32
    assert {1, 5000} <= epochs_to_print(5000)


def test_the_progress_goes_to_stderr(network, data, capsys):
    run = train(network, data, progress=ProgressBar(), **SETTINGS)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [epoch_line(record, 4) for record in run.history.records]
    assert "validation loss" in captured.err


def test_silence_is_the_default(network, data, capsys):
    train(network, data, **SETTINGS)
    assert capsys.readouterr() == ("", "")
    assert Silent().step(1, RunningSums()) is None


def test_a_preprocessing_that_is_fitted_already(network, data):
    given = Scale.fit(data.train)
    assert train(network, data, preprocessing=given, **SETTINGS).model.preprocessing is given


def test_images_alone_are_enough_to_train_on(network, data):
    assert train(network, data.train, **{**SETTINGS, "optimizer": Adam(0.01)}).test is None
