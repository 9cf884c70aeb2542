"""Transforms whose result is known exactly: quarter turns, whole shifts, and settings that change nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tatami.data import Dataset
from tatami.data.augmentation import (
    POLICIES,
    Blur,
    Brightness,
    Contrast,
    Crop,
    Elastic,
    Erase,
    Flip,
    Gamma,
    MaskFrequency,
    MaskTime,
    NumPy,
    OpenCV,
    Perspective,
    Pipeline,
    PixelNoise,
    Rotate,
    SaltAndPepper,
    Saturation,
    Sharpen,
    Shear,
    Shift,
    Speckle,
    Stretch,
    TimeShift,
    Zoom,
)
from tatami.data.augmentation.base import Samples
from tatami.data.augmentation.engines import is_installed
from tatami.data.augmentation.geometric import Geometric, read_through
from tatami.random import RandomKey

GEOMETRIC = [
    Shift(), Rotate(degrees=30), Zoom(), Shear(vertical=0.1), Flip(vertical=True), Crop(), Perspective(), Elastic(),
]  # fmt: skip
NOTHING = [
    Shift(vertical=0, horizontal=0), Rotate(degrees=0), Zoom(factors=(1, 1)), Shear(horizontal=0), Crop(sides=(1, 1)),
    Flip(horizontal=False), Perspective(strength=0), Elastic(amount=0), Blur(deviations=(0, 0)),
    Sharpen(amounts=(0, 0)), Brightness(amount=0), Contrast(factors=(1, 1)), Gamma(exponents=(1, 1)),
    Saturation(factors=(1, 1)), PixelNoise(deviation=0), Speckle(deviation=0), SaltAndPepper(share=0),
    Erase(sides=(0, 0)), TimeShift(share=0), Stretch(factors=(1, 1)), MaskTime(shares=(0, 0)),
    MaskFrequency(shares=(0, 0)),
]  # fmt: skip
WITHOUT_OPENCV = pytest.mark.skipif(not is_installed(), reason="without the extra 'augment'")
ENGINES = [NumPy(), pytest.param(OpenCV(), marks=WITHOUT_OPENCV)]


def some(shape, count=6):
    pixels = (RandomKey(2).uniform("x", (count, *shape)) * 255).astype(np.uint8)
    return Dataset("some", pixels, np.arange(count) % 2)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("transform", NOTHING, ids=lambda transform: type(transform).__name__)
@pytest.mark.parametrize("shape", [(3, 9, 8), (3, 4, 7, 6)])
def test_settings_of_nothing_change_nothing(engine, transform, shape):
    data = some(shape)
    drawn = Pipeline((transform,), engine=engine).apply(data, np.arange(6), 1, 0).images
    # Gamma goes through a table of 4,096 steps, contrast and saturation through a middle that is added again.
    np.testing.assert_allclose(drawn, data.images, atol=0.04 if isinstance(transform, Gamma) else 1e-4)


class Fixed:
    """Random numbers that are what a test wants."""

    def __init__(self, value, count):
        self.value, self.count = value, count

    def __len__(self):
        return self.count

    def between(self, name, low, high):
        return np.full(self.count, low + (high - low) * self.value)

    def chosen(self, name, probability):
        return np.ones(self.count, np.bool_)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 3, 7, 7)])
def test_quarter_turns_and_whole_shifts_are_exact(engine, shape):
    images = RandomKey(1).uniform("x", (4, *shape)).astype(np.float32)
    masks = (images[:, 0] * 5).astype(np.int64)
    samples = replace(Samples(images, np.zeros(4, np.int64), 1), masks=masks, engine=engine)
    axes = (-2, -1)
    turned = read_through([Rotate(degrees=90)], samples, [Fixed(1.0, 4)])
    np.testing.assert_allclose(turned.images, np.rot90(images, -1, axes), atol=1e-6)
    np.testing.assert_array_equal(turned.masks, np.rot90(masks, -1, axes))
    half = read_through([Rotate(degrees=180)], samples, [Fixed(0.0, 4)])
    np.testing.assert_allclose(half.images, images[..., ::-1, ::-1], atol=1e-6)
    side = shape[-1]
    moved = read_through([Shift(vertical=2 / side, horizontal=0)], samples, [Fixed(1.0, 4)])
    np.testing.assert_allclose(moved.images[..., :-2, :], images[..., 2:, :], atol=1e-5)
    np.testing.assert_allclose(moved.images[..., -2:, :], 0, atol=1e-5)
    np.testing.assert_array_equal(moved.masks[..., :-2, :], masks[..., 2:, :])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("transform", GEOMETRIC, ids=lambda transform: type(transform).__name__)
@pytest.mark.parametrize("depth", [(), (4,)])
def test_masks_go_with_their_images_also_in_volumes(engine, transform, depth):
    """A mask that says where an image is light says so afterwards; all slices of a volume are moved alike."""
    row, column = np.indices((32, 32))
    disc = ((row - 14) ** 2 + (column - 18) ** 2 < 81).astype(np.uint8)
    masks = np.broadcast_to(disc, (8, *depth, 32, 32)).astype(np.int64)
    images = (masks[:, None] * 255).astype(np.uint8)
    pipeline = Pipeline((transform,), engine=engine)
    drawn = pipeline.apply_to_pairs(images, masks, 4, 1, np.arange(8))
    assert isinstance(transform, Geometric)
    assert ((drawn.images[:, 0] > 127.5) == (drawn.masks == 1)).mean() > 0.985
    assert (drawn.masks != masks).any()
    if depth:
        for number in range(1, depth[0]):
            np.testing.assert_array_equal(drawn.images[:, :, number], drawn.images[:, :, 0])
            np.testing.assert_array_equal(drawn.masks[:, number], drawn.masks[:, 0])


def test_pipelines_of_every_engine_are_recorded_as_data():
    for engine in (None, NumPy(), OpenCV()):
        pipeline = Pipeline(POLICIES["photo"].steps, engine=engine)
        assert Pipeline.from_json(json.loads(json.dumps(pipeline.to_json()))) == pipeline
