"""The pictures of a run are drawn for every kind of data, and leave matplotlib's own state alone."""

import sys

import numpy as np
import pytest
from PIL import Image

from tatami.errors import MissingExtraError
from tatami.inspect.pictures import (
    WorstImage,
    draw_confusion,
    draw_curves,
    draw_worst,
    import_quietly,
    to_picture,
)
from tatami.training.history import EpochRecord, History


def history(epochs, validated):
    return History(
        tuple(
            EpochRecord(
                epoch=epoch,
                step=epoch,
                loss=2.0 / epoch**2,
                accuracy=1 - 1 / (epoch + 1),
                validation_loss=2.5 / epoch if validated else None,
                validation_accuracy=0.5 if validated else None,
                learning_rate=0.1,
                seconds=1.0,
                images_per_second=1.0,
            )
            for epoch in range(1, epochs + 1)
        )
    )


def assert_picture(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 200
        assert len(image.convert("RGB").getcolors(2**24)) > 10


@pytest.mark.parametrize("epochs", [1, 3, 60])
@pytest.mark.parametrize("validated", [True, False])
def test_curves(tmp_path, epochs, validated):
    pytest.importorskip("matplotlib")
    draw_curves(history(epochs, validated), tmp_path / "curves.png", "a title")
    assert_picture(tmp_path / "curves.png")


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_confusion(tmp_path, classes):
    pytest.importorskip("matplotlib")
    confusion = np.eye(classes, dtype=np.int64) * 5
    confusion[0, 1] = 2
    names = ["a class with a name that does not end", *map(str, range(1, classes))]
    draw_confusion(confusion, names, tmp_path / "confusion.png")
    assert_picture(tmp_path / "confusion.png")


def test_a_class_without_images(tmp_path):
    pytest.importorskip("matplotlib")
    draw_confusion(np.array([[0, 0], [1, 4]]), ["none", "some"], tmp_path / "confusion.png")
    assert_picture(tmp_path / "confusion.png")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (2, 5, 5), (1, 30), (4, 4)])
@pytest.mark.parametrize("count", [1, 8])
def test_worst(tmp_path, shape, count):
    pytest.importorskip("matplotlib")
    worst = [WorstImage(np.arange(np.prod(shape)).reshape(shape), "cat", "dog", 0.01, 0.9)] * count
    draw_worst(worst, tmp_path / "worst.png")
    assert_picture(tmp_path / "worst.png")


@pytest.mark.parametrize("shape", [(1, 40, 10), (1, 10, 40), (1, 9, 9)])
def test_the_worst_images_keep_their_proportions(tmp_path, shape):
    """A white image on white ground with a black frame: as many times as wide as high as it is in numbers."""
    pytest.importorskip("matplotlib")
    image = np.ones(shape)
    image[:, 0, :] = image[:, -1, :] = image[:, :, 0] = image[:, :, -1] = 0
    draw_worst([WorstImage(image, "", "", 0.0, 1.0)], tmp_path / "worst.png")
    with Image.open(tmp_path / "worst.png") as drawn:
        black = np.asarray(drawn.convert("L")) < 10  # the words are not quite black
    rows, columns = np.flatnonzero(black.any(axis=1)), np.flatnonzero(black.any(axis=0))
    down, across = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert abs(across / down - shape[2] / shape[1]) < 0.05 * shape[2] / shape[1]


def test_matplotlib_is_imported_ahead_where_it_is_installed(monkeypatch):
    import_quietly()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    import_quietly()  # whoever draws says that it is missing


def test_an_image_is_stretched_to_what_can_be_seen():
    np.testing.assert_array_equal(to_picture(np.array([[2.0, 4.0]])), [[0.0, 1.0]])
    np.testing.assert_array_equal(to_picture(np.full((1, 2, 2), 7)), np.zeros((2, 2)))
    assert to_picture(np.zeros((3, 4, 5))).shape == (4, 5, 3)
    assert to_picture(np.zeros((1, 6))).shape == (1, 6)


def test_matplotlib_keeps_its_state(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    draw_curves(history(2, validated=True), tmp_path / "curves.png")
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tatami\[plot\]'"):
        draw_curves(history(2, validated=False), tmp_path / "curves.png")
