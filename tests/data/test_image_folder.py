"""A folder of class sub-folders as a data set."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tatami.data import load, load_image_folder
from tatami.errors import DataError, SettingError


def picture(path, value=0, size=(4, 3), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)


def fill(root, counts, **settings):
    """Write ``counts[name]`` images to the sub-folder of each class; the value tells class and image apart."""
    for number, (name, count) in enumerate(counts.items()):
        for image in range(count):
            picture(root / name / f"{image:03}.png", 100 * number + image, **settings)


def test_a_flat_folder_is_divided_by_the_fixed_rule(tmp_path):
    fill(tmp_path / "fruit", {"apple": 7, "pear": 3})
    splits = load(tmp_path / "fruit")
    assert splits.name == "fruit"
    assert splits.class_names == ("apple", "pear")
    assert splits.image_shape == (1, 3, 4)
    # The classes alternate as long as there are images; number 2 of each class is for testing.
    assert splits.train.images[:, 0, 0, 0].tolist() == [0, 100, 1, 101, 3, 4, 5, 6]
    assert splits.train.labels.tolist() == [0, 1, 0, 1, 0, 0, 0, 0]
    assert splits.test.images[:, 0, 0, 0].tolist() == [2, 102]
    assert splits.test.labels.tolist() == [0, 1]


def test_train_and_test_folders(tmp_path):
    fill(tmp_path / "train", {"a": 2, "b": 2})
    fill(tmp_path / "test", {"a": 1, "b": 2})
    splits = load_image_folder(str(tmp_path))
    assert splits.train.images[:, 0, 0, 0].tolist() == [0, 100, 1, 101]
    assert splits.test.images[:, 0, 0, 0].tolist() == [0, 100, 101]


def test_a_train_folder_alone_is_divided(tmp_path):
    fill(tmp_path / "train", {"a": 5, "b": 5})
    splits = load_image_folder(tmp_path)
    assert (len(splits.train), len(splits.test)) == (8, 2)


def test_a_class_that_is_called_train_is_a_class(tmp_path):
    fill(tmp_path, {"plane": 3, "train": 3})
    assert load_image_folder(tmp_path).class_names == ("plane", "train")


def test_a_class_without_test_images_is_fine(tmp_path):
    fill(tmp_path / "train", {"a": 2, "b": 2})
    fill(tmp_path / "test", {"b": 2})
    assert load_image_folder(tmp_path).test.labels.tolist() == [1, 1]


def test_numbers_are_in_the_order_of_numbers(tmp_path):
    fill(tmp_path, {name: 3 for name in ("10", "9", "2")})
    assert load_image_folder(tmp_path).class_names == ("2", "9", "10")


def test_hidden_files_and_files_that_are_no_images_are_ignored(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3, ".hidden": 2, "__MACOSX": 1})
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "a" / "._000.png").write_bytes(b"x")
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "readme.md").write_text("x")
    splits = load_image_folder(tmp_path)
    assert len(splits.train) + len(splits.test) == 6


def test_one_colour_image_makes_all_colour_and_the_number_can_be_chosen(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    assert load_image_folder(tmp_path).image_shape == (1, 3, 4)
    picture(tmp_path / "b" / "003.jpg", mode="RGB")
    assert load_image_folder(tmp_path).image_shape == (3, 3, 4)
    assert load_image_folder(tmp_path, channels=1).image_shape == (1, 3, 4)
    with pytest.raises(SettingError, match=r"channels must be 1 \(grey\) or 3 \(colour\), got 2"):
        load_image_folder(tmp_path, channels=2)


def test_images_of_different_sizes_need_a_size(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    picture(tmp_path / "b" / "001.png", size=(5, 6))
    with pytest.raises(
        DataError,
        match=r"b/001\.png has 6 x 5 pixels \(height x width\), .*a/000\.png has 3 x 4; .* give the size .*\(size=\)",
    ):
        load_image_folder(tmp_path)
    assert load(tmp_path, size=8).image_shape == (1, 8, 8)
    assert load(tmp_path, size=(8, 9)).image_shape == (1, 8, 9)


@pytest.mark.parametrize("size", [0, (3,), (3, -1), (2.5, 3), (2**14, 2**14)])
def test_a_size_that_cannot_be_is_refused(tmp_path, size):
    fill(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(SettingError, match="size"):
        load_image_folder(tmp_path, size=size)


def test_a_folder_without_classes(tmp_path):
    with pytest.raises(DataError, match="expected a sub-folder for each class, found none; put the images"):
        load_image_folder(tmp_path)
    picture(tmp_path / "1.png")
    with pytest.raises(DataError, match="found none; it holds images itself; put the images of each class"):
        load_image_folder(tmp_path)


def test_a_folder_with_one_class(tmp_path):
    fill(tmp_path, {"cat": 3})
    with pytest.raises(DataError, match="only one class, 'cat'; a network needs at least two to tell apart"):
        load_image_folder(tmp_path)


def test_an_empty_class_is_named(tmp_path):
    fill(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "emu").mkdir()
    (tmp_path / "emu" / "notes.txt").write_text("none yet")
    with pytest.raises(DataError, match="emu: the class has no images; add some or remove the folder"):
        load_image_folder(tmp_path)


def test_other_kinds_of_images_are_not_silently_left_out(tmp_path):
    fill(tmp_path, {"cat": 3, "dog": 4})
    (tmp_path / "dog" / "9.HEIC").write_bytes(b"x")
    # A camera's raw file can be opened as a TIFF, but holds a small preview there.
    picture(tmp_path / "dog" / "8.tif")
    (tmp_path / "dog" / "8.tif").rename(tmp_path / "dog" / "8.dng")
    with pytest.raises(
        DataError, match=r"8\.dng: images of the kind \.dng are not read; convert it, to PNG for"
    ):
        load_image_folder(tmp_path)
    skipped = []
    assert len(load_image_folder(tmp_path, skipped=skipped).train) == 5
    assert "8.dng" in skipped[0]
    assert "9.HEIC" in skipped[1]


def test_an_unreadable_image_is_named(tmp_path):
    fill(tmp_path, {"cat": 3, "dog": 3})
    path = tmp_path / "dog" / "001.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(
        DataError, match=r"dog/001\.png: the image cannot be read: it is truncated or damaged"
    ):
        load_image_folder(tmp_path)


def test_a_test_class_that_was_not_trained_is_named(tmp_path):
    fill(tmp_path / "train", {"a": 2, "b": 2})
    fill(tmp_path / "test", {"a": 2, "c": 2})
    with pytest.raises(DataError, match="test: no such class in train/: c; the classes are a, b"):
        load_image_folder(tmp_path)


def test_an_empty_test_folder_is_an_error(tmp_path):
    fill(tmp_path / "train", {"a": 2, "b": 2})
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="test: expected a sub-folder for each class, found none"):
        load_image_folder(tmp_path)


def test_too_few_images_to_keep_some_for_testing(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    with pytest.raises(DataError, match="no class has more than 2 images"):
        load_image_folder(tmp_path)


def test_more_memory_than_is_sensible_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tatami.data.image_folder.LARGEST_BYTES", 50)
    fill(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(
        DataError, match=r"6 images of 3 x 4 pixels would take .* give a smaller size with size="
    ):
        load_image_folder(tmp_path)


def test_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_image_folder(tmp_path / "nowhere")


def test_the_same_folder_gives_the_same_data(tmp_path):
    fill(tmp_path, {"a": 20, "b": 30})
    first, second = load_image_folder(tmp_path), load_image_folder(tmp_path)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    np.testing.assert_array_equal(first.test.labels, second.test.labels)


def test_images_of_a_class_lie_at_any_depth(tmp_path):
    fill(tmp_path / "set", {"cat": 3, "dog": 3})
    for number, place in enumerate(("cat/at home/2020", "cat/out", "dog/a/b/c/d/e")):
        picture(tmp_path / "set" / place / "9.png", 250 + number)
    picture(tmp_path / "set" / "cat" / ".thumbnails" / "1.png", 7)
    splits = load_image_folder(tmp_path / "set")
    values = np.concatenate([splits.train.images, splits.test.images])[:, 0, 0, 0]
    labels = np.concatenate([splits.train.labels, splits.test.labels])
    assert sorted(values[labels == 0].tolist()) == [0, 1, 2, 250, 251]
    assert sorted(values[labels == 1].tolist()) == [100, 101, 102, 252]


def test_links_are_followed_but_never_in_a_circle(tmp_path):
    fill(tmp_path / "set", {"cat": 3, "dog": 3})
    fill(tmp_path / "elsewhere", {"more": 2})
    root = tmp_path / "set"
    (root / "cat" / "linked").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "cat" / "again").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "cat" / "itself").symlink_to(root / "cat")
    (root / "cat" / "up").symlink_to(root)
    (root / "loop").symlink_to(root)
    (root / "dog" / "deep").mkdir()
    picture(root / "dog" / "deep" / "7.png", 7)
    (root / "dog" / "a link to what is there").symlink_to(root / "dog" / "deep")
    (root / "dog" / "round").symlink_to(root / "dog" / "round")
    splits = load_image_folder(root)
    assert splits.class_names == ("cat", "dog")
    labels = np.concatenate([splits.train.labels, splits.test.labels])
    assert np.bincount(labels).tolist() == [5, 4]


def test_names_of_any_language(tmp_path):
    names = {"ねこ": 3, "犬": 3, "חתול": 3, "naïve café": 3, "🐈": 3}
    fill(tmp_path / "絵", names)
    (tmp_path / "絵" / "ねこ" / "001.png").unlink()
    picture(tmp_path / "絵" / "ねこ" / "写真　その１.PNG")
    splits = load(tmp_path / "絵")
    assert splits.name == "絵"
    assert set(splits.class_names) == set(names)


def test_a_name_counts_the_same_however_its_accents_are_written(tmp_path):
    whole, parts = "ガ", "カ\N{COMBINING KATAKANA-HIRAGANA VOICED SOUND MARK}"
    fill(tmp_path / "train", {whole: 2, "ア": 2})
    fill(tmp_path / "test", {parts: 2, "ア": 2})
    assert set(load_image_folder(tmp_path).class_names) == {"ガ", "ア"}
    fill(tmp_path / "train", {parts: 2})
    with pytest.raises(DataError, match="another class folder has the same name, .* rename one of them"):
        load_image_folder(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 as Linux allows them")
def test_a_class_whose_name_is_no_text(tmp_path):
    fill(tmp_path, {"cat": 3, "dog": 3})
    os.rename(os.fsencode(tmp_path / "dog"), os.fsencode(tmp_path) + b"/\xff\xfe")
    with pytest.raises(DataError, match="the name of the class is not UTF-8; rename the folder"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".bmp", ".webp", ".ppm", ".JPG"])
def test_a_class_folder_holds_images_of_any_format(tmp_path, suffix):
    fill(tmp_path, {"cat": 3, "dog": 2})
    picture(tmp_path / "dog" / f"2{suffix}", 60)
    splits = load_image_folder(tmp_path)
    assert abs(int(splits.test.images[1].max()) - 60) < 4


READ_WITHOUT_RIGHTS = """
import os, sys
from tatami.data import load_image_folder
from tatami.errors import DataError
# Everything is imported while that may be read.
load_image_folder(sys.argv[1])
os.setuid(65534)
for place in sys.argv[2:]:
    try:
        load_image_folder(place)
    except DataError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="rights as Linux has them")
def test_what_may_not_be_read_is_named(tmp_path_factory, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only the administrator can become a user who may not read a file")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        cases = [root / case for case in ("well", "file", "folder", "names only", "root")]
        for case in cases:
            fill(case, {"cat": 3, "dog": 3})
        (root / "file" / "dog" / "001.png").chmod(0)
        (root / "folder" / "dog").chmod(0)
        (root / "names only" / "dog").chmod(0o444)
        (root / "root").chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", READ_WITHOUT_RIGHTS, *map(str, cases)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.stderr == ""
    file, folder, names_only, whole = done.stdout.splitlines()
    assert file.endswith("dog/001.png: cannot be read: Permission denied")
    assert folder.endswith("folder/dog: cannot be read: Permission denied")
    assert "names only/dog/000.png: cannot be read: Permission denied" in names_only
    assert whole.endswith("root/train: cannot be read: Permission denied") or whole.endswith(
        "root: cannot be read: Permission denied"
    )
