"""A checkpoint says everything, and one whose parts contradict each other is refused."""

import copy
import hashlib

import numpy as np
import pytest

from tatami.errors import CheckpointError, NotFiniteError
from tatami.optimizers import Adam
from tatami.schedules import Cosine, WarmUp
from tatami.training.checkpoint import (
    Checkpoint,
    content_of,
    load_checkpoint,
    save_checkpoint,
    tensors_of,
    weights_sha256,
)
from tatami.training.checkpoint_file import write_checkpoint_file
from tatami.training.run import train


@pytest.fixture(scope="module")
def checkpoint(network, data) -> Checkpoint:
    return train(
        network,
        data,
        preprocessing="standardise",
        epochs=2,
        batch_size=10,
        optimizer=Adam(0.01),
        schedule=WarmUp(after=Cosine()),
        validation=0.2,
        clip=0.5,
        seed=2**63 + 1,
    ).checkpoint


def test_everything_comes_back(checkpoint, tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert content_of(loaded) == content_of(checkpoint)
    assert loaded.network == checkpoint.network
    assert loaded.settings == checkpoint.settings
    assert loaded.preprocessing == checkpoint.preprocessing
    assert loaded.history == checkpoint.history
    assert loaded.class_names == checkpoint.class_names
    assert loaded.weights_sha256 == checkpoint.weights_sha256
    mine, theirs = tensors_of(checkpoint), tensors_of(loaded)
    assert list(mine) == list(theirs)
    for name in mine:
        np.testing.assert_array_equal(mine[name], theirs[name])
        assert mine[name].dtype == theirs[name].dtype


def test_the_fingerprint_is_that_of_the_bytes_in_the_order_of_the_names(checkpoint):
    digest = hashlib.sha256()
    for layer in sorted(checkpoint.parameters):
        for name in sorted(checkpoint.parameters[layer]):
            digest.update(checkpoint.parameters[layer][name].tobytes())
    assert weights_sha256(checkpoint.parameters) == digest.hexdigest()
    turned = {
        layer: dict(reversed(named.items())) for layer, named in reversed(checkpoint.parameters.items())
    }
    assert weights_sha256(turned) == digest.hexdigest()


def test_weights_that_are_not_finite_are_never_written(checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()
    broken = copy.deepcopy(checkpoint)
    broken.parameters["dense2"]["bias"][1] = np.inf
    with pytest.raises(NotFiniteError, match=r"dense2\.bias holds NaN or infinity; .* was not written"):
        save_checkpoint(path, broken)
    assert path.read_bytes() == before


def without(name):
    return lambda tensors, content: tensors.pop(name) if name in tensors else content.pop(name)


def with_tensor(name, array):
    return lambda tensors, content: tensors.update({name: array})


def with_content(**changes):
    return lambda tensors, content: content.update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("parameters/dense1.weight"), "'dense1' has the parameters bias, weight, got bias"),
        (
            with_tensor("parameters/dense1.weight", np.zeros((2, 2), np.float32)),
            r"should have shape \(12, 16\)",
        ),
        (with_tensor("parameters/dense9.weight", np.zeros(2, np.float32)), "dense9"),
        (with_tensor("anything", np.zeros(2)), "a tensor called 'anything', which belongs nowhere"),
        (with_tensor("state/relu1.mean", np.zeros(2)), "layer state has the shapes"),
        (without("optimizer/mean/dense1.bias"), "optimizer slot 'mean' has the shapes"),
        (with_tensor("optimizer/velocity/dense1.bias", np.zeros(12)), "Adam needs the slots"),
        (with_content(optimizer_count=-1), "the count of updates is -1"),
        (with_content(position={"epoch": -1, "batch": 0, "step": 0}), "position in the run: epoch is -1"),
        (with_content(position={"epoch": 0.5, "batch": 0, "step": 0}), "position in the run: epoch is 0.5"),
        (with_content(position={"epoch": 0}), "'batch' is missing"),
        (with_content(history=[]), "it says that 2 epochs are done, its history has 0"),
        (with_content(class_names=["left", "right"]), r"it names 2 classes for outputs of shape \(3,\)"),
        (with_tensor("parameters/dense2.bias", np.zeros(3, np.int64)), r"dense2\.bias is of type int64"),
        (with_content(class_names="abc"), "its class names are not a list of names"),
        (with_content(random={"generator": "mt19937"}), "drawn with the generator 'mt19937'"),
        (with_content(settings={}), "training settings need the entries"),
        (with_content(network={"format": 7}), "network format 7 is unknown"),
        (with_content(preprocessing={"type": "Launder"}), "unknown preprocessing 'Launder'"),
        (with_content(history=[{"epoch": 1}]), "a history record has the fields"),
        (with_content(history=3), "cannot be used"),
        (with_content(sums=None), "cannot be used"),
        (without("sums"), "'sums' is missing"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(checkpoint, tmp_path, change, message):
    """The checksum of these files is right: they were written by somebody who knows the format."""
    tensors, content = tensors_of(checkpoint), content_of(checkpoint)
    change(tensors, content)
    path = tmp_path / "last.safetensors"
    write_checkpoint_file(path, tensors, content, keep_previous=False)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_settings_that_cannot_be_are_refused(checkpoint, tmp_path):
    content = content_of(checkpoint)
    content["settings"]["optimizer"]["learning_rate"] = -1
    path = tmp_path / "last.safetensors"
    write_checkpoint_file(path, tensors_of(checkpoint), content, keep_previous=False)
    with pytest.raises(
        CheckpointError, match="training settings cannot be read: Adam: learning_rate must be"
    ):
        load_checkpoint(path)
