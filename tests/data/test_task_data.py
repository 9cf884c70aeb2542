"""Data for every task: masks beside images, numbers in tables, texts, arrays, and what does not fit."""

import numpy as np
import pytest
from PIL import Image

from tatami.data import Dataset, DatasetSplits
from tatami.data.made import MADE, load_made
from tatami.data.masks import load_masks
from tatami.data.matching import matched
from tatami.data.numbers import load_numbers
from tatami.data.task_sources import load_for_task, only_classes
from tatami.data.texts import TextFormat, load_text, load_text_table
from tatami.errors import DataError, SettingError, ShapeError, UnknownNameError


def pair(folder, name, image, mask, mode=None, palette=None):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    painted = Image.fromarray(mask)
    if palette is not None:
        painted.putpalette(palette)
    painted.save(folder / "masks" / f"{name}.png")


def grey(value, size=(6, 4)):
    return np.full(size, value, np.uint8)


@pytest.mark.parametrize("name", MADE)
def test_every_made_set_is_the_same_every_time_and_tests_on_others(name):
    first, again = load_made(name), load_made(name)
    np.testing.assert_array_equal(first.train.images, again.train.images)
    assert not np.array_equal(first.train.images[:20], first.test.images[:20])
    if first.train.targets is not None:
        np.testing.assert_array_equal(first.test.targets, again.test.targets)
        assert first.train.first(3).targets.shape[0] == 3
    else:
        assert set(first.test.labels) == set(range(len(first.class_names)))


def test_masks_are_numbered_by_what_they_are_painted_with(tmp_path):
    for number in range(10):
        mask = grey(0)
        mask[number % 3] = 255
        pair(tmp_path / "cells", f"{number}", grey(number), mask)
    splits = load_masks(tmp_path / "cells")
    assert (len(splits.train), len(splits.test)) == (8, 2)
    assert splits.train.image_shape == (1, 6, 4)
    assert splits.train.target_names == ("background", "object")
    np.testing.assert_array_equal(splits.train.targets[1][1], [1, 1, 1, 1])
    assert splits.train.targets.sum(axis=(1, 2)).tolist() == [4] * 8
    (tmp_path / "cells" / "classes.txt").write_text("ground\nnucleus\n")
    assert load_masks(tmp_path / "cells", size=(12, 8)).train.target_names == ("ground", "nucleus")
    assert load_masks(tmp_path / "cells", size=(12, 8)).train.targets.shape[1:] == (12, 8)
    assert load_masks(tmp_path / "cells", channels=3).image_shape == (3, 6, 4)
    assert load_for_task(str(tmp_path / "cells")).name == "cells"


def test_palettes_colours_and_what_does_not_count(tmp_path):
    palette = [0, 0, 0, 10, 20, 30, 200, 100, 0, *[0] * (3 * 253)]
    for number in range(5):
        mask = grey(0)
        mask[0], mask[1], mask[5] = 1, 2, 255
        pair(tmp_path / "p", f"{number}", grey(9), mask, palette=palette)
        colours = np.zeros((6, 4, 3), np.uint8)
        colours[2:] = (255, 0, 0)
        pair(tmp_path / "c", f"{number}", grey(9), colours)
    data = load_masks(tmp_path / "p").train
    assert data.target_colours == ((0, 0, 0), (10, 20, 30), (200, 100, 0))
    assert data.targets[0, :, 0].tolist() == [1, 2, 0, 0, 0, -1]
    data = load_masks(tmp_path / "c").train
    assert data.target_names == ("#000000", "#ff0000")
    assert data.target_colours == ((0, 0, 0), (255, 0, 0))


def test_masks_that_cannot_be_used(tmp_path):
    folder = tmp_path / "bad"
    pair(folder, "a", grey(1), grey(0))
    with pytest.raises(DataError, match="all masks hold one value, 0; there is nothing to tell apart"):
        load_masks(folder)
    pair(folder, "b", grey(1), grey(0, (5, 4)))
    with pytest.raises(
        DataError, match=r"masks/b\.png: the mask has \(5, 4\) pixels \(height, width\), its image \(6, 4\)"
    ):
        load_masks(folder)
    (folder / "masks" / "b.png").unlink()
    with pytest.raises(DataError, match="every image needs a mask of the same name; without a partner: b"):
        load_masks(folder)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    pair(tmp_path / "photo", "a", grey(1, (40, 40)), noise)
    with pytest.raises(DataError, match="more than 256 different values, so they are no masks but pictures"):
        load_masks(tmp_path / "photo")
    with pytest.raises(DataError, match="no such folder; images lie in images/, their masks in masks/"):
        load_masks(tmp_path)


def test_numbers_of_a_table(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        "a,b,target,part\n" + "".join(f"{n},{2 * n},{3 * n},train\n" for n in range(6)) + "9,9,1,test\n"
    )
    splits = load_numbers(table)
    assert splits.train.images.tolist()[1] == [1.0, 2.0]
    assert splits.train.targets.tolist()[1] == [3.0]
    assert (len(splits.train), len(splits.test), splits.train.target_names) == (6, 1, ("target",))
    assert load_numbers(table, ("b", "target")).train.target_names == ("b", "target")
    with pytest.raises(DataError, match="unknown column 'c'"):
        load_numbers(table, ("c",))
    table.write_text("a,target\n1,2\n2,many\n")
    with pytest.raises(DataError, match="line 3, column 'target' holds 'many', expected a number"):
        load_numbers(table)


def test_numbers_beside_images(tmp_path):
    lines = ["path,age"]
    for number in range(6):
        Image.fromarray(grey(number)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number}.5")
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    splits = load_for_task(str(tmp_path / "faces.csv"), "regress")
    assert splits.train.image_shape == (1, 6, 4)
    assert splits.train.targets[:, 0].tolist() == [0.5, 1.5, 3.5, 4.5, 5.5]
    assert splits.train.target_names == ("age",)


def test_texts(tmp_path):
    (tmp_path / "a.txt").write_text("abcabcabcab" * 4, encoding="utf-8")
    splits = load_text(tmp_path / "a.txt", 4)
    form = splits.train.format
    assert form.vocabulary == "abc"
    assert form.decoded(splits.train.images[1]) == "bcab"
    assert form.decoded(splits.train.targets[1]) == "cabc"
    assert len(splits.test) == 1
    assert TextFormat.from_json(form.to_json()) == form
    with pytest.raises(DataError, match="44 letters give 1 pieces of 40, at least 2 are needed"):
        load_text(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text in UTF-8"):
        load_text(tmp_path / "b.txt")
    with pytest.raises(SettingError, match="length must be from 1"):
        load_text(tmp_path / "a.txt", 0)


def test_tables_of_texts(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        "text,label\n" + "".join(f"{'x' * (n + 1)}y,{'even' if n % 2 else 'odd'}\n" for n in range(8))
    )
    data = load_text_table(table).train
    assert data.image_shape == (9,)
    assert data.images[0].tolist() == [2, 3, 0, 0, 0, 0, 0, 0, 0]
    assert data.format.encoded("xzx", 4).tolist() == [2, 1, 2, 0]
    table.write_text("text,label\nhello,\n")
    with pytest.raises(DataError, match="line 2 has no text or no label"):
        load_text_table(table)


def test_arrays_for_each_task(tmp_path):
    x, masks = np.zeros((10, 4, 4), np.float32), np.arange(160).reshape(10, 4, 4) % 3
    np.savez(tmp_path / "m.npz", x=x, masks=masks, names=np.array(["a", "b", "c"]))
    data = load_for_task(str(tmp_path / "m.npz"), "segment").train
    assert data.image_shape == (1, 4, 4)
    assert data.target_names == ("a", "b", "c")
    assert data.has_masks
    np.savez(tmp_path / "r.npz", x=x[:, 0], y=np.arange(10.0))
    assert load_for_task(str(tmp_path / "r.npz"), "regress").train.targets.shape == (8, 1)
    np.savez(tmp_path / "o.npz", x=x)
    assert load_for_task(str(tmp_path / "o.npz"), "reconstruct").train.image_shape == (1, 4, 4)
    with pytest.raises(DataError, match="task segment needs targets"):
        load_for_task(str(tmp_path / "o.npz"), "segment")
    np.savez(
        tmp_path / "s.npz", x=np.ones((5, 2, 4)), y=np.ones((5, 4), int), lengths=np.array([1, 2, 3, 4, 4])
    )
    data = load_for_task(str(tmp_path / "s.npz"), "sequence").train
    assert data.targets[1].tolist() == [1, 1, -1, -1]
    assert data.images[1, 0].tolist() == [1, 1, 0, 0]
    np.savez(
        tmp_path / "l.npz", x=np.ones((5, 2, 4)), y=np.ones((5, 4), int), lengths=np.array([1, 2, 3, 4, 9])
    )
    with pytest.raises(DataError, match="expected a length from 1 to 4 for each of 5 sequences"):
        load_for_task(str(tmp_path / "l.npz"), "sequence")


def test_images_without_classes_and_with_one(tmp_path):
    for number in range(5):
        for folder in (tmp_path / "flat", tmp_path / "one" / "train" / "good"):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(grey(number)).save(folder / f"{number}.png")
    for name in ("flat", "one"):
        splits = load_for_task(str(tmp_path / name), "reconstruct")
        assert (len(splits.train), len(splits.test)) == (4, 1)
    with pytest.raises(SettingError, match="columns to learn are a setting of CSV files"):
        load_for_task("digits", targets=("a",))


def test_classes_that_are_left_out():
    splits = only_classes(load_for_task("digits"), ["7", "1"])
    assert splits.class_names == ("1", "7")
    assert set(splits.train.labels) == {0, 1}
    with pytest.raises(UnknownNameError, match="unknown class of digits '12'"):
        only_classes(load_for_task("digits"), ["12"])


def test_other_data_are_numbered_as_the_model_numbers_them(tmp_path):
    (tmp_path / "a.txt").write_text("cab" * 20, encoding="utf-8")
    (tmp_path / "b.txt").write_text("cbcb" * 20, encoding="utf-8")
    model = load_text(tmp_path / "a.txt", 5)
    other = load_text(tmp_path / "b.txt", 5)
    brought = matched(other, model.format, model.train.target_names)
    assert model.format.decoded(brought.train.images[0]) == other.format.decoded(other.train.images[0])
    assert brought.train.target_names == ("a", "b", "c")
    assert model.format.decoded(brought.train.targets[0]) == other.format.decoded(other.train.targets[0])
    with pytest.raises(DataError, match="holds the letter 'a', which was not in the text"):
        matched(model, other.format, other.train.target_names)


def test_targets_that_do_not_fit():
    images, labels = np.zeros((3, 1, 4, 4), np.uint8), np.zeros(3, np.int64)
    with pytest.raises(ShapeError, match=r"3 images need targets of shape \(3, …\)"):
        Dataset("d", images, labels, targets=np.zeros((2, 4, 4), np.int64), target_names=("a",))
    with pytest.raises(DataError, match="the targets hold the classes 0 to 2, expected 0 to 1"):
        Dataset("d", images, labels, targets=np.arange(3).reshape(3, 1), target_names=("a", "b"))
    with pytest.raises(DataError, match="2 numbers to learn have 1 names"):
        Dataset("d", images, labels, targets=np.zeros((3, 2)), target_names=("a",))
    with pytest.raises(DataError, match="sample 1 holds nan"):
        Dataset("d", images, labels, targets=np.array([[0.0], [np.nan], [1.0]]), target_names=("a",))
    one = Dataset("d", images, labels, targets=np.zeros((3, 1)), target_names=("a",))
    two = Dataset("d", images, labels, targets=np.zeros((3, 1)), target_names=("b",))
    with pytest.raises(DataError, match="the targets to train and to test on have different names"):
        DatasetSplits(one, two)
