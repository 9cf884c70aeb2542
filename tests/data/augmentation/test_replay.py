"""What a pipeline makes of a sample depends on the seed, the epoch, the sample and the step, and on nothing else."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tatami.data import Batches, Dataset, ImageFormat, Scale
from tatami.data.augmentation import (
    POLICIES,
    CutMix,
    Mixup,
    Pipeline,
    PixelNoise,
    Rotate,
    SamplePairing,
    Shift,
    Transform,
    choose_policy,
)
from tatami.errors import DataError, SettingError, UnknownNameError
from tatami.random import RandomKey


def some(count=24, shape=(1, 12, 12), classes=3):
    images = RandomKey(5).uniform("images", (count, *shape)) * 255
    return Dataset("some", images.astype(np.uint8), np.arange(count) % classes, format=ImageFormat())


IMAGES, COLOURS, SIGNALS, VOLUMES = (
    some(),
    some(shape=(3, 10, 11)),
    some(shape=(2, 40)),
    some(shape=(1, 4, 9, 9)),
)
# Recorded once: another machine, another version of NumPy or a change of order would show here.
RECORDED = "44da88035188a10a"


def fitting(name):
    return {"photo": COLOURS, "signal": SIGNALS}.get(name, IMAGES)


def fingerprint(augmented):
    digest = hashlib.sha256(np.ascontiguousarray(augmented.images).tobytes())
    digest.update(np.ascontiguousarray(augmented.targets).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", POLICIES)
def test_a_sample_does_not_depend_on_its_batch(name):
    data, pipeline = fitting(name), POLICIES[name]
    order = np.array([7, 3, 20, 0, 11, 5])
    together = pipeline.apply(data, order, seed=3, epoch=2)
    for place, sample in enumerate(order):
        alone = pipeline.apply(data, np.array([sample]), seed=3, epoch=2)
        np.testing.assert_array_equal(alone.images[0], together.images[place])
        np.testing.assert_array_equal(alone.targets[0], together.targets[place])


@pytest.mark.parametrize("name", POLICIES)
def test_epochs_and_seeds_differ_and_nothing_else(name):
    data, pipeline = fitting(name), POLICIES[name]
    every = np.arange(len(data))
    prints = {fingerprint(pipeline.apply(data, every, seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}
    assert len(prints) == 6
    assert fingerprint(pipeline.apply(data, every, 2, 1)) == fingerprint(pipeline.apply(data, every, 2, 1))


@pytest.mark.parametrize("workers", [1, 8])
def test_threads_change_nothing(workers):
    pipeline = POLICIES["handwriting"]
    batches = Batches(IMAGES, 5, seed=9, preprocessing=Scale.fit(IMAGES), augmentation=pipeline)
    alone = [batches.batch(1, step).images.tobytes() for step in range(batches.steps)]
    with ThreadPoolExecutor(workers) as pool:
        drawn = pool.map(lambda step: batches.batch(1, step).images.tobytes(), range(batches.steps))
        assert list(drawn) == alone


def test_the_size_of_pieces_changes_nothing(monkeypatch):
    whole = fingerprint(POLICIES["cutmix"].apply(IMAGES, np.arange(24), 1, 1))
    monkeypatch.setattr("tatami.data.augmentation.pipeline.PIECE_PIXELS", 300)
    assert fingerprint(POLICIES["cutmix"].apply(IMAGES, np.arange(24), 1, 1)) == whole


def test_two_equal_steps_draw_different_numbers():
    once = Pipeline((PixelNoise(deviation=0.3),)).apply(IMAGES, np.array([1]), 1, 0).images
    twice = Pipeline((PixelNoise(deviation=0.3), PixelNoise(deviation=0.3))).apply(
        IMAGES, np.array([1]), 1, 0
    )
    assert np.abs(twice.images - once).max() > 1


def test_partners_come_through_the_earlier_steps_with_their_own_numbers():
    before = Pipeline((Rotate(degrees=40),))
    mixing = Pipeline((Rotate(degrees=40), SamplePairing(probability=1.0)))
    turned = before.apply(IMAGES, np.arange(24), 4, 1).images
    for sample in range(5):
        paired = mixing.apply(IMAGES, np.array([sample]), 4, 1).images[0]
        nearest = [np.abs((turned[sample] + other) / 2 - paired).max() for other in turned]
        assert min(nearest) < 1e-3


@pytest.mark.parametrize("transform", [Mixup(), CutMix()])
def test_mixed_labels_are_shares(transform):
    targets = Pipeline((transform,)).apply(IMAGES, np.arange(24), 1, 0).targets
    assert targets.shape == (24, 3)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert ((targets > 0.01).sum(axis=1) == 2).any()


@given(seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**32 - 1), sample=st.integers(0, 23))
@settings(max_examples=25)
def test_any_seed_and_epoch_gives_images_in_range(seed, epoch, sample):
    images = POLICIES["handwriting"].apply(IMAGES, np.array([sample]), seed, epoch).images
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 255


def test_the_bits_are_the_same_on_every_machine():
    data = some(6)
    images = Pipeline((Shift(), Rotate(), PixelNoise())).apply(data, np.arange(6), 1, 0).images
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == RECORDED


def test_pipelines_are_data(tmp_path):
    for name, pipeline in POLICIES.items():
        text = json.dumps(pipeline.to_json())
        assert Pipeline.from_json(json.loads(text)) == pipeline
        pipeline.write(tmp_path / f"{name}.json")
        assert choose_policy(str(tmp_path / f"{name}.json")) == pipeline
    assert set(Transform.members) >= {type(step).__name__ for step in POLICIES["photo"].steps}


def test_bad_pipelines_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown augmentation 'shfit': did you mean 'shift'"):
        choose_policy("shfit")
    with pytest.raises(SettingError, match="a pipeline has 1 to 32 steps, got 0"):
        Pipeline()
    with pytest.raises(SettingError, match="Rotate: degrees must be at least 0, got -3"):
        Rotate(degrees=-3)
    with pytest.raises(SettingError, match="Shift: probability must be above 0 and at most 1, got 0"):
        Shift(probability=0)
    path = tmp_path / "own.json"
    for content, message in {
        "{": "not a JSON file of a pipeline",
        "[" * 100_000: "not a JSON file",
        '{"type": "Pipeline", "steps": [{"type": "Rotat"}]}': "unknown type 'Rotat'",
        '{"type": "Pipeline", "steps": [{"type": "ImageFormat", "fill": 1.0}]}': "steps must be a list",
        '{"type": "Pipeline", "steps": [{"type": "Rotate", "degrees": "far"}]}': "degrees must be a finite number",
    }.items():
        path.write_text(content)
        with pytest.raises((DataError, SettingError, UnknownNameError), match=message):
            choose_policy(str(path))
    with pytest.raises(DataError, match="the pipeline cannot be read: No such file"):
        choose_policy(str(tmp_path / "none.json"))
