"""Augmentation is part of a run: it is recorded, resumed to the bit, and its mixed labels reach the loss."""

import numpy as np
import pytest
import torch

from tatami import native
from tatami.backends import ReferenceBackend
from tatami.data.augmentation import POLICIES, Mixup, Pipeline, Rotate, Shift
from tatami.errors import DataError, ShapeError
from tatami.losses import SoftmaxCrossEntropy
from tatami.program import Program
from tatami.training.checkpoint import load_checkpoint
from tatami.training.interruption import TrainingInterrupted
from tatami.training.progress import Silent
from tatami.training.run import resume, train
from tatami.training.run_folder import RunFolder
from tatami.training.settings import TrainingSettings

PIPELINE = Pipeline((Rotate(degrees=20), Shift(), Mixup(), *POLICIES["noise"].steps))


class StopAfter(Silent):
    """Presses Ctrl-C after some steps."""

    def __init__(self, steps):
        self.steps = steps

    def step(self, images, sums):
        self.steps -= 1
        if self.steps == 0:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_a_resumed_run_ends_with_the_same_bits(network, data, tmp_path, backend):
    if backend == "native" and not native.is_built():
        pytest.skip("the native backend is not built")
    options = {"epochs": 4, "batch_size": 7, "seed": 3, "augmentation": PIPELINE, "backend": backend}
    whole = train(network, data, out=tmp_path / "whole", **options)
    plain = train(network, data, **{**options, "augmentation": None})
    assert whole.weights_sha256 != plain.weights_sha256
    for steps in (1, 12, 20):
        folder = tmp_path / f"stopped{steps}"
        with pytest.raises(TrainingInterrupted):
            train(network, data, out=folder, progress=StopAfter(steps), **options)
        assert resume(folder, data).weights_sha256 == whole.weights_sha256


def test_the_pipeline_is_part_of_the_record(network, data, tmp_path):
    train(network, data, out=tmp_path / "run", epochs=1, augmentation=PIPELINE)
    folder = RunFolder(tmp_path / "run")
    assert Pipeline.from_json(folder.settings()["settings"]["augmentation"]) == PIPELINE
    assert load_checkpoint(folder.last).settings.augmentation == PIPELINE


def test_records_from_before_augmentation_can_be_read():
    values = TrainingSettings().to_json()
    del values["augmentation"]
    assert TrainingSettings.from_json(values) == TrainingSettings()


def test_soft_targets_agree_with_pytorch():
    rng = np.random.default_rng(1)
    for shape in ((6, 4), (3, 4, 5, 2)):
        logits = rng.normal(size=shape)
        shares = rng.dirichlet(np.ones(4), size=(shape[0], *shape[2:]))
        shares = np.moveaxis(shares, -1, 1)
        loss, ops = SoftmaxCrossEntropy(reduction="sum"), ReferenceBackend()
        target = loss.target(shares, shape[1:])
        z = torch.tensor(logits, requires_grad=True)
        expected = torch.nn.functional.cross_entropy(z, torch.tensor(shares), reduction="sum")
        expected.backward()
        assert loss.value(ops, logits, target) == pytest.approx(expected.item(), rel=1e-12)
        np.testing.assert_allclose(loss.gradient(ops, logits, target), z.grad.numpy(), atol=1e-12)


def test_hard_shares_are_labels(network, data):
    backends = ["reference", *(["native"] if native.is_built() else [])]
    x, labels = data.train.images[:8].astype(np.float32) / 255, data.train.labels[:8]
    parameters = network.initialize(1)
    for backend in backends:
        program = Program(network, backend=backend)
        hard = program.train_step(parameters, x, labels)
        soft = program.train_step(parameters, x, np.eye(3, dtype=np.float32)[labels])
        assert soft.loss == pytest.approx(hard.loss, rel=1e-5)
        for layer, named in hard.gradients.items():
            for name, gradient in named.items():
                np.testing.assert_allclose(soft.gradients[layer][name], gradient, atol=1e-6)


def test_soft_targets_are_checked():
    loss = SoftmaxCrossEntropy()
    with pytest.raises(DataError, match="each at least 0 and together 1; example 1 has"):
        loss.target(np.array([[0.5, 0.5], [0.9, 0.3]]), (2,))
    with pytest.raises(DataError, match="together 1; example 0 has"):
        loss.target(np.array([[1.5, -0.5]]), (2,))
    with pytest.raises(DataError, match="example 0"):
        loss.target(np.array([[np.nan, 0.5]]), (2,))
    with pytest.raises(ShapeError, match="expected class labels of shape"):
        loss.target(np.zeros((2, 3)), (2,))
