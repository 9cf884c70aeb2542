"""Katakana from strokes: deterministic, of any size, different from each other and legible to a linear model."""

import hashlib

import numpy as np
import pytest
from PIL import ImageFont

from tatami.data import load
from tatami.data.augmentation.draws import Draws
from tatami.data.katakana import FIFTEEN, NAMES, Handwriting, handwriting, load_katakana
from tatami.data.katakana.fonts import glyph_of
from tatami.data.katakana.handwriting import write_kana
from tatami.data.katakana.strokes import BOX, strokes_of
from tatami.errors import DataError, SettingError, UnknownNameError
from tatami.random import RandomKey

# How many strokes every Japanese child learns for ア to ン.
COUNTS = (
    "ア2イ2ウ3エ3オ3カ2キ3ク2ケ3コ2サ3シ3ス2セ2ソ2タ3チ3ツ3テ3ト2ナ2ニ2ヌ2ネ4ノ1ハ2ヒ2フ1ヘ1ホ4マ2ミ3ム2メ2モ3ヤ2ユ2ヨ3"
    "ラ2リ2ル2レ1ロ3ワ2ヲ3ン2"
)


def test_the_46_have_their_strokes():
    assert "".join(f"{kana}{len(strokes_of(kana))}" for kana in NAMES) == COUNTS
    assert len(NAMES) == 46
    assert "".join(FIFTEEN) == "アイウエオカキクケコサシスセソ"
    for kana in NAMES:
        points = np.concatenate([part for stroke in strokes_of(kana) for part in stroke])
        assert points.min() >= 0
        assert points.max() <= BOX
        assert np.ptp(points, axis=0).max() >= 64


def test_a_sample_depends_on_seed_kana_and_number_only():
    together = write_kana("ネ", np.array([5, 9, 2]), (20, 24), 3, Handwriting())
    assert together.shape == (3, 20, 24)
    np.testing.assert_array_equal(write_kana("ネ", np.array([9]), (20, 24), 3, Handwriting())[0], together[1])
    assert (write_kana("ネ", np.array([9]), (20, 24), 4, Handwriting())[0] != together[1]).any()
    whole = load_katakana(samples=3, test_samples=2)
    more = load_katakana(samples=5, test_samples=4)
    np.testing.assert_array_equal(more.train.images[:45], whole.train.images)
    np.testing.assert_array_equal(more.test.images[:30], whole.test.images)


def test_the_bits_are_the_same_on_every_machine():
    images = load_katakana(NAMES, samples=1, test_samples=1, size=16).train.images
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "49ff983b62e2b659"


def test_writers_differ():
    images = load_katakana(samples=10, test_samples=1).train.images
    assert len({image.tobytes() for image in images}) == len(images)


@pytest.mark.parametrize("size", [8, 28, (40, 20), 128])
def test_any_size(size):
    data = load_katakana(("ア", "ン"), samples=2, test_samples=1, size=size).train
    assert data.image_shape == (1, *(size if isinstance(size, tuple) else (size, size)))
    assert (data.images.reshape(4, -1).max(axis=1) > 100).all()
    assert data.images.mean() < 100


@pytest.mark.parametrize("size", [(64, 50), (17, 90)])
def test_bands_of_a_large_image_are_the_image(monkeypatch, size):
    whole = write_kana("ネ", np.arange(5), size, 0, Handwriting())
    monkeypatch.setattr(handwriting, "LARGEST_GRID", 9_000)
    np.testing.assert_array_equal(write_kana("ネ", np.arange(5), size, 0, Handwriting()), whole)


def test_joins_are_missed_more_often_than_crossed():
    # The upright stroke of エ is to begin at the bar; far above it the character would be another one.
    hand = Handwriting()
    draws = Draws(RandomKey(0, NAMES.index("エ")), 0, np.arange(1000))
    assert handwriting.joins_of("エ")[1] == ((0, 3), None)
    bar = handwriting.written(strokes_of("エ")[0], 0, draws, hand)
    aim = handwriting.moved_by("エ", (0, 3), [bar])
    upright = handwriting.written(strokes_of("エ")[1], 1, draws, hand, (aim, None))
    joins = [np.interp(begin[0], one[:, 0], one[:, 1]) for begin, one in zip(upright[:, 0], bar, strict=True)]
    below = upright[:, 0, 1] - joins
    assert below.mean() > 1
    assert (below > 5).mean() > 4 * (below < -5).mean()
    assert (below < -5).mean() < 0.03
    neat = Handwriting(jitter=0, wander=0, joins=0)
    begin = handwriting.written(strokes_of("エ")[1], 1, draws, neat)[:, 0]
    np.testing.assert_allclose(begin, np.broadcast_to([50, 22], begin.shape), atol=1e-12)


@pytest.mark.parametrize(
    ("setting", "low", "high"),
    [("pen", (3, 3), (14, 14)), ("sizes", (0.4, 0.4), (0.9, 0.9)), ("speed", 0.9, 0.0)],
)
def test_settings_of_the_hand_do_what_they_say(setting, low, high):
    ink = [
        write_kana("ア", np.arange(20), (28, 28), 0, Handwriting(**{setting: value})).mean()
        for value in (low, high)
    ]
    assert ink[0] < 0.9 * ink[1]


@pytest.mark.parametrize("setting", ["jitter", "wander", "slant", "turn", "shift", "joins"])
def test_writers_differ_by_each_setting_alone(setting):
    still = {"pen": (7, 7), "sizes": (0.8, 0.8), "rounding": 0, "speed": 0}
    still |= dict.fromkeys(("jitter", "wander", "slant", "turn", "shift", "joins"), 0.0)
    alike = write_kana("キ", np.arange(9), (28, 28), 0, Handwriting(**still))
    assert (alike == alike[0]).all()
    value = {"slant": 0.2, "turn": 8.0}.get(setting, 4.0)
    different = write_kana("キ", np.arange(9), (28, 28), 0, Handwriting(**{**still, setting: value}))
    assert len({image.tobytes() for image in different}) == 9


def test_other_writers_are_recognised_by_their_nearest_neighbours():
    splits = load_katakana(NAMES, samples=8, test_samples=2, size=16)
    train = splits.train.images.reshape(len(splits.train), -1).astype(float)
    test = splits.test.images.reshape(len(splits.test), -1).astype(float)
    distances = ((test[:, None] - train[None]) ** 2).sum(axis=2)
    found = splits.train.labels[distances.argmin(axis=1)]
    assert (found == splits.test.labels).mean() > 0.6


def test_by_name():
    splits = load("katakana", size=12)
    assert str(splits.train) == "katakana: 1500 images of shape (1, 12, 12), 15 classes"
    assert len(splits.test) == 600
    assert splits.train.labels[:15].tolist() == list(range(15))


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown katakana 'あ'"):
        load_katakana(("ア", "あ"))
    with pytest.raises(SettingError, match="name at least two different classes, got ア, ア"):
        load_katakana(("ア", "ア"))
    with pytest.raises(SettingError, match="samples must be from 1 to 1,048,576, got 0"):
        load_katakana(samples=0)
    with pytest.raises(SettingError, match="would take more than 4 GiB"):
        load_katakana(samples=100_000, size=1000)
    with pytest.raises(SettingError, match="pen must be two numbers above 0 in order"):
        Handwriting(pen=(5, 3))
    (tmp_path / "no.ttf").write_bytes(b"not a font")
    with pytest.raises(DataError, match=r"no\.ttf: not a font file that can be read"):
        load("katakana", tmp_path / "no.ttf")
    with pytest.raises(DataError, match=r"none\.ttf: not a font file that can be read"):
        load("katakana", tmp_path / "none.ttf")


def test_a_font_gives_a_second_style():
    try:
        path = ImageFont.truetype("NotoSansCJK-Regular.ttc", 10).path
    except OSError:
        pytest.skip("there is no font with katakana on this machine")
    # ロ is a box, as many fonts draw what they lack.
    assert all(glyph_of(kana, (28, 28), path).max() == 255 for kana in NAMES)
    assert glyph_of("ア", (3, 40_000), path).shape == (3, 40_000)
    splits = load_katakana(samples=2, test_samples=3, font=path)
    assert len(splits.test) == 45
    assert len({image.tobytes() for image in splits.test.images}) == 45
    assert splits.test.images.max() == 255


def test_a_font_without_katakana_is_named():
    matplotlib = pytest.importorskip("matplotlib")
    font = matplotlib.get_data_path() + "/fonts/ttf/DejaVuSans.ttf"
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf: the font has no ア; name a Japanese one"):
        load_katakana(samples=1, test_samples=1, font=font)
