"""Katakana from strokes: deterministic, of any size, different from each other and legible to a linear model."""

import hashlib

import numpy as np
import pytest
from PIL import ImageFont

from tatami.data import load
from tatami.data.katakana import FIFTEEN, NAMES, Handwriting, load_katakana
from tatami.data.katakana.handwriting import write_kana
from tatami.data.katakana.strokes import BOX, strokes_of
from tatami.errors import DataError, SettingError, UnknownNameError

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
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "89dd0abd455e2ae1"


def test_writers_differ():
    images = load_katakana(samples=10, test_samples=1).train.images
    assert len({image.tobytes() for image in images}) == len(images)


@pytest.mark.parametrize("size", [8, 28, (40, 20), 128])
def test_any_size(size):
    data = load_katakana(("ア", "ン"), samples=2, test_samples=1, size=size).train
    assert data.image_shape == (1, *(size if isinstance(size, tuple) else (size, size)))
    assert (data.images.reshape(4, -1).max(axis=1) > 100).all()
    assert data.images.mean() < 100


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
    splits = load_katakana(samples=2, test_samples=3, font=path)
    assert len(splits.test) == 45
    assert len({image.tobytes() for image in splits.test.images}) == 45
    assert splits.test.images.max() == 255


def test_a_font_without_katakana_is_named():
    matplotlib = pytest.importorskip("matplotlib")
    font = matplotlib.get_data_path() + "/fonts/ttf/DejaVuSans.ttf"
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf: the font has no ア; name a Japanese one"):
        load_katakana(samples=1, test_samples=1, font=font)
