"""Each transform does what it says, on images whose result is known, and against other libraries."""

import numpy as np
import pytest
from scipy import ndimage

from tatami.data import Dataset
from tatami.data.augmentation import (
    Blur,
    Brightness,
    Contrast,
    Crop,
    CutMix,
    Draws,
    Elastic,
    Erase,
    Flip,
    Gamma,
    MaskFrequency,
    MaskTime,
    Mixup,
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
from tatami.data.augmentation.draws import normal_quantiles
from tatami.data.augmentation.filters import blurred
from tatami.data.augmentation.resampling import Outside, projected, sample, sample_nearest
from tatami.errors import SettingError, ShapeError
from tatami.random import RandomKey

EVERY = [
    Shift(), Rotate(), Zoom(), Shear(), Flip(), Crop(), Perspective(), Elastic(), Brightness(), Contrast(), Gamma(),
    Saturation(), Blur(), Sharpen(), PixelNoise(), SaltAndPepper(), Speckle(), Erase(), Erase(content="noise"),
    Mixup(), CutMix(),
]  # fmt: skip


def draw(count, shape, name="x"):
    return RandomKey(3).uniform(name, (count, *shape)).astype(np.float32)


def data_of(images, maximum=255):
    return Dataset("some", (images * maximum).astype(np.uint8), np.arange(len(images)) % 2)


@pytest.mark.parametrize("transform", EVERY, ids=lambda transform: type(transform).__name__)
def test_every_transform_takes_small_odd_images_and_changes_them(transform):
    for shape in ((3, 9, 14), (3, 2, 1)):
        data = data_of(draw(16, shape))
        images = Pipeline((transform,)).apply(data, np.arange(16), 1, 0).images
        assert images.shape == data.images.shape
        assert np.isfinite(images).all()
        if shape[1] > 2:
            assert (np.abs(images - data.images).reshape(16, -1).max(axis=1) > 0).mean() > 0.4


@pytest.mark.parametrize("transform", EVERY, ids=lambda transform: type(transform).__name__)
def test_probability_leaves_the_others_untouched(transform):
    data = data_of(draw(60, (3, 8, 8)))
    half = type(transform)(probability=0.5)
    images = Pipeline((half,)).apply(data, np.arange(60), 1, 0).images
    untouched = np.abs(images - data.images).reshape(60, -1).max(axis=1) < 1e-4
    assert 10 <= untouched.sum() <= 55


@pytest.mark.parametrize("border", ["constant", "edge", "reflect"])
def test_resampling_agrees_with_scipy(border):
    images = draw(3, (2, 9, 11))
    matrices = np.tile(np.eye(3), (3, 1, 1))
    matrices[:, :2, :] += draw(3, (2, 3), "m") * 0.6 - 0.3
    matrices[:, :2, 2] *= 12
    places = projected(matrices, 9, 11)
    read = sample(images, places, Outside(border, 0.3))
    # SciPy's 'constant' does not blend with the constant at the border; 'grid-constant' does.
    mode = {"constant": "grid-constant", "edge": "nearest", "reflect": "mirror"}[border]
    for one in range(3):
        for channel in range(2):
            expected = ndimage.map_coordinates(
                images[one, channel], [places.rows[one], places.columns[one]], order=1, mode=mode, cval=0.3
            )
            np.testing.assert_allclose(read[one, channel], expected, atol=2e-5)


def test_projections_agree_with_the_formula():
    matrices = np.array([[[1, 0.1, 2], [0.2, 1, -1], [0.01, 0.02, 1]]])
    places = projected(matrices, 5, 7)
    row, column = 1 - 2, 4 - 3
    divisor = 1 + 0.01 * row + 0.02 * column
    np.testing.assert_allclose(places.rows[0, 1, 4], (row + 0.1 * column + 2) / divisor + 2, rtol=1e-6)
    np.testing.assert_allclose(places.columns[0, 1, 4], (0.2 * row + column - 1) / divisor + 3, rtol=1e-6)


def test_no_movement_is_exact():
    data = data_of(draw(4, (1, 8, 9)))
    still = Pipeline((Shift(vertical=0, horizontal=0), Rotate(degrees=0), Zoom(factors=(1, 1))))
    np.testing.assert_allclose(still.apply(data, np.arange(4), 1, 0).images, data.images, atol=1e-4)


def test_flips_are_exact():
    data = data_of(draw(20, (1, 6, 5)))
    images = Pipeline((Flip(horizontal=True, vertical=False),)).apply(data, np.arange(20), 1, 0).images
    flipped = [
        np.abs(image - original[:, :, ::-1]).max() < 1e-3
        for image, original in zip(images, data.images.astype(float), strict=True)
    ]
    assert 4 <= sum(flipped) <= 16


def test_steps_in_a_row_are_one_reading():
    """A turn to the left and one to the right leave an image as sharp as it was."""
    images = np.zeros((1, 1, 21, 21), np.uint8)
    images[0, 0, 10, 3:18] = 255
    data = Dataset("line", np.repeat(images, 2, axis=0), np.array([0, 1]))
    pipeline = Pipeline((Zoom(factors=(2, 2)), Zoom(factors=(0.5, 0.5))))
    np.testing.assert_allclose(pipeline.apply(data, np.array([0]), 1, 0).images[0], images[0], atol=1e-3)


def test_shifts_rotations_and_shears_stay_within_their_settings():
    draws = Draws(RandomKey(1), 0, np.arange(500))
    shift = Shift(vertical=0.1, horizontal=0.2).matrices(draws, 10, 10)
    assert 0.9 < np.abs(shift[:, 0, 2]).max() <= 1
    assert 1.8 < np.abs(shift[:, 1, 2]).max() <= 2
    turn = Rotate(degrees=30).matrices(draws, 10, 10)
    assert 28 < np.degrees(np.arccos(turn[:, 0, 0])).max() <= 30.001
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-6)
    crop = Crop(sides=(0.5, 0.5)).matrices(draws, 10, 10)
    assert np.abs(crop[:, 0, 2]).max() <= 2.5


def test_blurring_agrees_with_scipy():
    images = draw(2, (1, 20, 17))
    ours = blurred(images, np.array([0.8, 1.0]))
    for one, deviation in enumerate((0.8, 1.0)):
        expected = ndimage.gaussian_filter(images[one, 0].astype(float), deviation, mode="nearest", radius=3)
        np.testing.assert_allclose(ours[one, 0], expected, atol=1e-5)


def test_elastic_moves_by_the_amount_that_is_asked_for(monkeypatch):
    seen = []
    original = sample

    def spy(images, places, outside):
        seen.append(places)
        return original(images, places, outside)

    monkeypatch.setattr("tatami.data.augmentation.engines.sample", spy)
    Pipeline((Elastic(amount=0.05),)).apply(data_of(draw(40, (1, 28, 28))), np.arange(40), 1, 0)
    moved = np.concatenate([places.rows - np.arange(28)[None, :, None] for places in seen])[:, 8:20, 8:20]
    assert 0.04 < np.sqrt((moved**2).mean()) / 28 < 0.06
    assert np.abs(np.diff(moved, axis=1)).max() < 1.5


def test_the_normal_numbers_are_normal():
    values = normal_quantiles().astype(float)
    assert len(values) == 65536
    np.testing.assert_array_equal(values, -values[::-1])
    np.testing.assert_allclose([values.var(), (values**4).mean()], [1, 3], rtol=2e-3)
    drawn = Draws(RandomKey(1), 0, np.arange(50)).normal("n", 1001)
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02


def test_beta_has_its_mean_and_variance():
    for alpha in (0.2, 1.0):
        shares = Draws(RandomKey(1), 0, np.arange(4000)).beta("share", alpha)
        assert abs(shares.mean() - 0.5) < 0.02
        assert abs(shares.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


def test_gamma_and_contrast_follow_their_formulas():
    data = data_of(draw(3, (1, 6, 6)))
    x = data.images / 255
    gamma = Pipeline((Gamma(exponents=(2, 2)),)).apply(data, np.arange(3), 1, 0).images / 255
    np.testing.assert_allclose(gamma, x**2, atol=3e-4)
    contrast = Pipeline((Contrast(factors=(0.5, 0.5)),)).apply(data, np.arange(3), 1, 0).images / 255
    np.testing.assert_allclose(contrast, 0.5 + 0.5 * (x - 0.5), atol=1e-6)


def test_erasing_hides_a_box_of_the_size_that_is_asked_for():
    data = Dataset("white", np.full((30, 1, 10, 20), 255, np.uint8), np.zeros(30, int))
    images = Pipeline((Erase(sides=(0.5, 0.5)),)).apply(data, np.arange(30), 1, 0).images
    assert set((images == 0).reshape(30, -1).sum(axis=1)) == {50}
    assert len({tuple(np.argwhere(image[0] == 0)[0]) for image in images}) > 10


def test_salt_and_pepper_sets_points_of_all_channels_to_the_ends():
    data = Dataset("grey", np.full((20, 3, 16, 16), 128, np.uint8), np.zeros(20, int))
    images = Pipeline((SaltAndPepper(share=0.5),)).apply(data, np.arange(20), 1, 0).images
    assert set(np.unique(images.round())) == {0, 128, 255}
    np.testing.assert_array_equal(images[:, 0], images[:, 2])


def test_cutmix_labels_are_the_areas():
    images = np.zeros((40, 1, 12, 12), np.uint8)
    images[1::2] = 200
    data = Dataset("two", images, np.arange(40) % 2)
    done = Pipeline((CutMix(alpha=1.0),)).apply(data, np.arange(40), 1, 0)
    bright = (done.images > 100).reshape(40, -1).mean(axis=1)
    np.testing.assert_allclose(done.targets[:, 1], bright, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 12, 12), (1, 4, 12, 12)])
def test_masks_go_with_their_images(shape):
    images = np.zeros((10, *shape), np.uint8)
    images[..., 3:9, 4:10] = 255
    masks = (images[:, 0] > 0).astype(np.int64)
    pipeline = Pipeline(
        (Rotate(degrees=45), Shift(vertical=0.2, horizontal=0.2), Elastic(), CutMix(), PixelNoise())
    )
    done = pipeline.apply_to_pairs(images, masks, 1, 0, np.arange(10))
    assert done.masks.shape == masks.shape
    assert np.mean((done.images[:, 0] > 127) == done.masks.astype(bool)) > 0.94
    assert (done.masks != masks).any()
    with pytest.raises(SettingError, match="Mixup mixes images point by point; with masks use CutMix"):
        Pipeline((Mixup(),)).apply_to_pairs(images, masks, 1, 0, np.arange(2))


def test_nearest_reading_keeps_labels_whole():
    masks = np.arange(9).reshape(1, 3, 3)
    turned = projected(np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 1]]], float), 3, 3)
    np.testing.assert_array_equal(sample_nearest(masks, turned, Outside())[0], np.rot90(masks[0], -1))


def test_signals_are_shifted_stretched_and_masked():
    signal = np.zeros((8, 1, 50), np.uint8)
    signal[:, 0, 20] = 255
    data = Dataset("signal", signal, np.zeros(8, int))
    shifted = Pipeline((TimeShift(share=0.2),)).apply(data, np.arange(8), 1, 0).images
    places = shifted[:, 0].argmax(axis=1)
    assert shifted.max() == 255
    assert len(set(places)) > 3
    assert np.abs(places - 20).max() <= 10
    longer = Pipeline((Stretch(factors=(2, 2)),)).apply(data, np.arange(8), 1, 0).images
    assert set(longer[:, 0].argmax(axis=1)) <= {15, 16}
    white = Dataset("white", np.full((8, 1, 6, 50), 255, np.uint8), np.zeros(8, int))
    timed = Pipeline((MaskTime(shares=(0.2, 0.2)),)).apply(white, np.arange(8), 1, 0).images
    assert ((timed == 0).all(axis=2).sum(axis=2) == 10).all()
    banded = Pipeline((MaskFrequency(shares=(0.5, 0.5)),)).apply(white, np.arange(8), 1, 0).images
    assert ((banded == 0).all(axis=3).sum(axis=2) == 3).all()


def test_transforms_that_do_not_fit_the_data_say_so():
    signals = Dataset("signal", np.zeros((4, 1, 9), np.uint8), np.zeros(4, int))
    with pytest.raises(ShapeError, match=r"Rotate: expected images .*, got samples of shape \(1, 9\)"):
        Pipeline((Rotate(),)).apply(signals, np.arange(4), 1, 0)
    grey = Dataset("grey", np.zeros((4, 1, 9, 9), np.uint8), np.zeros(4, int))
    with pytest.raises(ShapeError, match=r"Saturation: expected colour images \(3, H, W\)"):
        Pipeline((Saturation(),)).apply(grey, np.arange(4), 1, 0)
    with pytest.raises(SettingError, match="Zoom: factors must be two numbers, the lowest and the highest"):
        Zoom(factors=(1.2, 0.8))
