"""Drawing by NumPy and by OpenCV: equal within the bound, the same bits for any batch, refused where they differ."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import types
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tatami.data import Batches, Dataset
from tatami.data.augmentation import (
    POLICIES,
    Blur,
    Brightness,
    Elastic,
    NumPy,
    OpenCV,
    Perspective,
    Pipeline,
    Rotate,
    Sharpen,
    Shift,
)
from tatami.data.augmentation.engines import BOUND, probe, probed, trimmed
from tatami.data.augmentation.resampling import Outside, Places
from tatami.errors import CheckpointError, MissingExtraError, SettingError, TatamiError, UnknownNameError
from tatami.random import RandomKey
from tatami.training.run import resume, train
from tatami.training.settings import TrainingSettings

cv2 = pytest.importorskip("cv2")


def some(count=16, shape=(1, 12, 12), classes=2):
    images = (RandomKey(5).uniform("images", (count, *shape)) * 255).astype(np.uint8)
    return Dataset("some", images, np.arange(count) % classes)


def both(steps, data, at, **settings):
    """Return the images of both engines, divided by the largest value."""
    pipeline = Pipeline(steps, clip=False)
    drawn = (replace(pipeline, engine=engine) for engine in (NumPy(), OpenCV()))
    return [one.apply(data, at, 3, 1, **settings).images / data.format.maximum for one in drawn]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 64, 41), (1, 3, 17, 20), (3, 9, 1), (3, 1, 1)])
def test_both_engines_agree_within_the_bound(name, shape):
    data = some(shape=shape)
    first, second = both(POLICIES[name].steps, data, np.arange(16))
    np.testing.assert_allclose(first, second, atol=BOUND)
    if POLICIES[name].is_heavy and min(shape[-2:]) > 2:
        assert first.tobytes() != second.tobytes()


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    border=st.sampled_from(["constant", "edge", "reflect"]),
    degrees=st.floats(0, 360),
    shift=st.floats(0, 3),
    strength=st.floats(0, 0.9),
    deviation=st.floats(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_any_setting_agrees_within_the_bound(height, width, border, degrees, shift, strength, deviation):
    steps = (
        Rotate(degrees=degrees, border=border, fill=0.3),
        Shift(vertical=shift, horizontal=shift, border=border, fill=0.3),
        Perspective(strength=strength, border=border, fill=0.3),
        Blur(deviations=(0, deviation)),
    )
    first, second = both(steps, some(4, (1, height, width)), np.arange(4))
    np.testing.assert_allclose(first, second, atol=BOUND)


@pytest.mark.parametrize("engine", [NumPy(), OpenCV()])
def test_places_on_points_are_read_exactly(engine):
    images = RandomKey(1).uniform("x", (2, 3, 7, 9)).astype(np.float32)
    row, column = (axis.astype(np.float32)[None].repeat(2, axis=0) for axis in np.indices((7, 9)))
    for border in ("constant", "edge", "reflect"):
        np.testing.assert_array_equal(engine.sample(images, Places(row, column), Outside(border)), images)
        moved = engine.sample(images, Places(row + 2, column - 1), Outside(border, 0.5))
        np.testing.assert_array_equal(moved[:, :, :5, 1:], images[:, :, 2:, :-1])
    assert (moved[:, :, 5:] != 0.5).all()
    moved = engine.sample(images, Places(row + 2, column), Outside("constant", 0.5))
    np.testing.assert_array_equal(moved[:, :, 5:], np.full((2, 3, 2, 9), np.float32(0.5)))


@pytest.mark.parametrize("engine", [NumPy(), OpenCV()])
def test_a_quarter_turn_is_exact(engine):
    images = RandomKey(1).uniform("x", (1, 2, 8, 8)).astype(np.float32)
    row, column = (axis.astype(np.float32)[None] for axis in np.indices((8, 8)))
    turned = engine.sample(images, Places(column, 7 - row), Outside())
    np.testing.assert_array_equal(turned, np.rot90(images, axes=(2, 3)))


def test_masks_are_the_same_for_both():
    images = (RandomKey(1).uniform("x", (6, 1, 20, 20)) * 255).astype(np.uint8)
    masks = (images[:, 0] // 64).astype(np.int64)
    steps = (Rotate(degrees=40), Elastic())
    drawn = [
        Pipeline(steps, engine=engine).apply_to_pairs(images, masks, 1, 0, np.arange(6)).masks
        for engine in (NumPy(), OpenCV())
    ]
    # The displacement of the elastic step is blurred by the engine, so that a mask's border may move by 1e-4 points.
    assert (drawn[0] != drawn[1]).mean() < 1e-3


@pytest.mark.parametrize("name", ["handwriting", "photo", "blur", "perspective", "cutmix"])
def test_a_sample_does_not_depend_on_its_batch(name):
    data = some(24, (3, 21, 19))
    pipeline = replace(POLICIES[name], engine=OpenCV())
    order = np.array([7, 3, 20, 0, 11, 5])
    together = pipeline.apply(data, order, seed=3, epoch=2)
    for place, sample in enumerate(order):
        alone = pipeline.apply(data, np.array([sample]), seed=3, epoch=2)
        np.testing.assert_array_equal(alone.images[0], together.images[place])
        np.testing.assert_array_equal(alone.targets[0], together.targets[place])


def test_threads_of_opencv_change_nothing_and_are_left_as_they_are():
    script = """
        import hashlib, sys
        import cv2, numpy as np
        from tatami.data import Dataset
        from tatami.data.augmentation import OpenCV, Pipeline, Elastic, Rotate, Blur
        threads = int(sys.argv[1])
        cv2.setNumThreads(threads)
        images = (np.arange(2 * 3 * 600 * 700) * 7919 % 251).astype(np.uint8).reshape(2, 3, 600, 700)
        pipeline = Pipeline((Rotate(), Blur(deviations=(1, 3)), Elastic()), engine=OpenCV())
        drawn = pipeline.apply(Dataset("x", images, np.array([0, 1])), np.arange(2), 1, 0).images
        assert cv2.getNumThreads() == max(1, threads)
        print(hashlib.sha256(drawn.tobytes()).hexdigest())
    """
    prints = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), threads],
            capture_output=True,
            text=True,
            check=True,
            env=dict(os.environ),
        ).stdout
        for threads in ("0", "4")
    }
    assert len(prints) == 1


def test_a_pipeline_says_who_draws(tmp_path):
    chosen = POLICIES["rotate"].drawn_by("opencv", (1, 28, 28))
    assert chosen.engine == probed()
    assert chosen.engine.version == cv2.__version__
    assert len(chosen.engine.probe) == 16
    again = Pipeline.from_json(json.loads(json.dumps(chosen.to_json())))
    assert again == chosen
    assert POLICIES["rotate"].drawn_by("numpy", (1, 28, 28)).engine == NumPy()
    assert POLICIES["rotate"].drawn_by("auto", (1, 28, 28)) == chosen
    assert Pipeline((Brightness(),)).drawn_by("auto", (1, 28, 28)).engine == NumPy()
    assert Pipeline((Sharpen(),)).drawn_by("auto", (1, 300)).engine == NumPy()
    assert chosen.drawn_by("auto", (1, 28, 28)) == chosen
    with pytest.raises(UnknownNameError, match="unknown engine 'opencl': did you mean 'opencv'"):
        POLICIES["rotate"].drawn_by("opencl", (1, 28, 28))
    # Pipelines that were written before there were engines, and those that name none, are drawn by NumPy.
    data = some()
    old = {name: value for name, value in POLICIES["rotate"].to_json().items() if name != "engine"}
    assert Pipeline.from_json(old) == POLICIES["rotate"]
    for engine in (None, NumPy()):
        drawn = Pipeline.from_json({**old, "engine": engine and engine.to_json()}).apply(data, [1], 1, 0)
        plain = POLICIES["rotate"].apply(data, [1], 1, 0)
        np.testing.assert_array_equal(drawn.images, plain.images)


def test_another_opencv_is_refused():
    data = some()
    other = Pipeline((Rotate(),), engine=OpenCV(version="5.9.9", probe="0123456789abcdef"))
    for use in (
        lambda: other.apply(data, np.arange(2), 1, 0),
        lambda: other.drawn_by("auto", (1, 12, 12)),
        lambda: Batches(data, 4, augmentation=other).batch(0, 0),
        lambda: train("perceptron", data, epochs=1, batch_size=4, augmentation=other),
    ):
        with pytest.raises(
            SettingError, match=r"drawn by OpenCV 5\.9\.9 .*0123456789abcdef.*draws other bits"
        ):
            use()


def test_the_probe_tells_arithmetic_apart():
    class Slightly(NumPy):
        def sample(self, images, places, outside):
            return super().sample(images, places, outside) * np.float32(1 + 2**-23)

    prints = {probe(NumPy()), probe(OpenCV()), probe(Slightly())}
    assert len(prints) == 3
    assert probe(OpenCV()) == probe(OpenCV())


def test_without_opencv_the_extra_is_named(monkeypatch):
    from tatami.data.augmentation import engines

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"OpenCV is needed .* pip install 'tatami\[augment\]'"):
        engines.opencv()
    assert POLICIES["rotate"].drawn_by("auto", (1, 28, 28)).engine == NumPy()
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(__version__="4.13.0"))
    with pytest.raises(MissingExtraError, match=r"OpenCV 5 or newer .*, 4\.13\.0 is installed"):
        engines.opencv()
    assert not engines.is_installed()


def test_a_run_keeps_its_engine_and_resumes_with_it(tmp_path):
    data = some(30, (1, 8, 8))
    options = {"batch_size": 5, "augmentation": POLICIES["handwriting"].drawn_by("opencv", (1, 8, 8))}
    whole = train("perceptron", data, epochs=2, **options)
    train("perceptron", data, epochs=1, out=tmp_path / "run", **options)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["settings"]["augmentation"]["engine"] == probed().to_json()
    assert resume(tmp_path / "run", data, epochs=2).weights_sha256 == whole.weights_sha256
    plain = train("perceptron", data, epochs=2, batch_size=5, augmentation=POLICIES["handwriting"])
    assert plain.weights_sha256 != whole.weights_sha256


def test_engines_that_are_none_are_refused():
    values = POLICIES["rotate"].to_json()
    for engine in ("opencv", {"type": "Rotate"}, {"type": "OpenCV", "version": 5}, {"type": "Cuda"}):
        with pytest.raises(TatamiError):
            Pipeline.from_json({**values, "engine": engine})
    settings = TrainingSettings(augmentation=POLICIES["rotate"]).to_json()
    settings["augmentation"]["engine"] = {"type": "Cuda"}
    with pytest.raises(CheckpointError, match="Cuda"):
        TrainingSettings.from_json(settings)


def test_taps_are_trimmed_alike_on_both_sides():
    assert trimmed(np.array([0, 0, 1, 0, 0], np.float32)).tolist() == [1]
    assert trimmed(np.array([0, 1, 2, 0, 0], np.float32)).tolist() == [1, 2, 0]
    assert hashlib.sha256(trimmed(np.ones(3, np.float32)).tobytes()).digest()
