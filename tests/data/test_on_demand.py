"""Images that are not in memory: the same results as in memory, and bounded memory for any amount of them."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tatami.data import Dataset, DatasetSplits, MinMax, Standardise, load_image_folder
from tatami.data.augmentation import POLICIES
from tatami.data.on_demand import DecodedFiles, OnDemand, Selected, take_images
from tatami.errors import DataError
from tatami.training.run import identity, resume, train


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(2)
    for label, name in enumerate(("dark", "light", "middle")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 90, (6, 7)) + 80 * label
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "set" / name / f"{number}.png")
    return tmp_path / "set"


def test_indexing_is_that_of_an_array():
    whole = np.arange(60).reshape(5, 3, 4)
    lazy = DecodedFiles(
        [Path(str(number)) for number in range(5)], (3, 4), np.int64, lambda path: whole[int(path.name)]
    )
    for key in (
        0,
        -1,
        slice(1, 4),
        [2, 0],
        np.array([True, False, True, False, True]),
        (1, 2),
        (slice(0, 2), 1),
    ):
        np.testing.assert_array_equal(lazy[key], whole[key])
    np.testing.assert_array_equal(np.asarray(lazy), whole)
    assert (lazy.ndim, lazy.size, len(lazy), lazy.nbytes) == (3, 60, 5, 480)
    twice = take_images(take_images(lazy, np.array([4, 2, 0])), np.array([1, 1, 2]))
    assert isinstance(twice, Selected)
    assert not isinstance(twice.images, Selected)
    np.testing.assert_array_equal(twice[:], whole[[2, 2, 0]])
    with pytest.raises(IndexError):
        lazy[5]


def test_a_run_on_demand_ends_with_the_bits_of_one_in_memory(folder, tmp_path):
    kept, lazy = load_image_folder(folder), load_image_folder(folder, on_demand=True)
    assert isinstance(lazy.train.images, OnDemand)
    assert identity(lazy.train) == identity(kept.train)
    assert MinMax.fit(lazy.train) == MinMax.fit(kept.train)
    assert Standardise.fit(lazy.train, "feature") == Standardise.fit(kept.train, "feature")
    options = {"epochs": 3, "batch_size": 5, "validation": 0.3, "augmentation": POLICIES["geometric"]}
    first = train("perceptron", kept, **options)
    second = train("perceptron", lazy, out=tmp_path / "run", **options)
    assert second.weights_sha256 == first.weights_sha256
    assert resume(tmp_path / "run", lazy, epochs=4).test.accuracy >= 0


def test_images_that_are_mapped_are_never_copied_whole(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(1).random((30, 1, 4, 4)))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = Dataset("mapped", mapped, np.arange(30) % 2)
    assert isinstance(data.take([3, 1]).images, Selected)
    np.testing.assert_array_equal(data.take([3, 1]).images[0], mapped[3])
    broken = np.load(tmp_path / "x.npy", mmap_mode="r+")
    broken[7, 0, 2, 2] = np.nan
    with pytest.raises(DataError, match="sample 7 holds nan"):
        Dataset("mapped", broken, np.arange(30) % 2)


def test_a_damaged_image_is_named_when_its_batch_is_made(folder):
    splits = load_image_folder(folder, on_demand=True)
    path = (
        splits.train.images.paths[4] if hasattr(splits.train.images, "paths") else folder / "dark" / "1.png"
    )
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="the image cannot be read|damaged"):
        train("perceptron", splits, epochs=1)


def test_bad_images_can_be_skipped_and_are_listed(folder):
    (folder / "dark" / "3.png").write_bytes(b"")
    (folder / "light" / "5.png").write_text("not an image")
    skipped = []
    splits = load_image_folder(folder, skipped=skipped)
    assert len(splits.train) + len(splits.test) == 28
    assert len(skipped) == 2
    assert "3.png" in skipped[0]
    with pytest.raises(DataError, match=r"3\.png"):
        load_image_folder(folder)
    for path in (folder / "dark").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(DataError, match="class 'dark': none of its 10 images can be read"):
        load_image_folder(folder, skipped=[])


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
@pytest.mark.parametrize("workers", ["0", "2:processes"])
def test_more_image_data_than_the_process_may_hold(tmp_path, workers):
    """Trains on 250 MiB of images (a sparse file) in a process that may hold half of that."""
    count = 16000
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(count * 128 * 128)
    script = f"""
        import resource
        import numpy as np
        from tatami.data import Dataset
        from tatami.data.augmentation import Pipeline, Shift
        from tatami.layers import Dense, Flatten
        from tatami.network import Sequential
        from tatami.training.run import train
        images = np.memmap({str(path)!r}, np.uint8, "r", shape=({count}, 1, 128, 128))
        with open("/proc/self/status") as status:
            used = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
        limit = used + images.nbytes // 2
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        data = Dataset("large", images, np.arange({count}) % 2)
        network = Sequential(Flatten(), Dense(2), input_shape=(1, 128, 128))
        varied = Pipeline((Shift(),)) if {workers!r} != "0" else None
        run = train(
            network, data, epochs=1, batch_size=32, validation=0.1, workers={workers!r}, augmentation=varied
        )
        try:
            np.array(images)
        except MemoryError:
            print("more than the process may hold", len(run.history))
    """
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stdout == "more than the process may hold 1\n", done.stderr[-2000:]


def test_splits_of_mapped_images_stay_mapped(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20, 1, 4, 4), np.uint8))
    data = Dataset("mapped", np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(20) % 2)
    splits = DatasetSplits(train=data, test=data).limited(10)
    assert isinstance(splits.train.images, OnDemand)
