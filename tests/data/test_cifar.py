"""CIFAR in its binary form: from files, from the archive, and what is wrong with them."""

import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tatami.data import load
from tatami.data.cifar import CIFAR10, CIFAR100, load_cifar, read_archive, records_of
from tatami.data.mnist import IDX_SETS
from tatami.errors import DataError, TatamiError

TINY10 = replace(CIFAR10, class_names=("a", "b"))


def records(kind, count, first=0):
    labels = np.arange(count, dtype=np.uint8)[:, None] % 2
    pixels = (np.arange(count * 3072).reshape(count, 3072) + first) % 251
    coarse = np.full((count, kind.labels - 1), 9, np.uint8)
    return np.concatenate([coarse, labels, pixels.astype(np.uint8)], axis=1).tobytes()


def fill(folder, kind, count=4):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate((*kind.train_files, *kind.test_files)):
        (folder / name).write_bytes(records(kind, count, number))


def archive_of(path, contents):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_files_in_a_folder_or_its_sub_folder(tmp_path):
    fill(tmp_path / CIFAR10.folder, TINY10)
    splits = load_cifar(TINY10, tmp_path)
    assert str(splits.train) == "cifar10: 20 images of shape (3, 32, 32), 2 classes"
    assert len(splits.test) == 4
    assert splits.train.labels[:4].tolist() == [0, 1, 0, 1]
    assert splits.train.images[0, :, 0, :2].tolist() == [
        [0, 1],
        [1024 % 251, 1025 % 251],
        [2048 % 251, 2049 % 251],
    ]
    fill(tmp_path / "hundred", CIFAR100)
    with pytest.raises(DataError, match="no image of class 'baby'"):
        load_cifar(CIFAR100, tmp_path / "hundred")


def test_the_archive_is_read_in_place_whatever_its_paths(tmp_path):
    contents = {f"../../{name}": records(TINY10, 3) for name in TINY10.train_files}
    contents["/etc/test_batch.bin"] = records(TINY10, 3)
    archive_of(tmp_path / CIFAR10.archive.name, contents)
    before = sorted(tmp_path.rglob("*"))
    assert len(load_cifar(TINY10, tmp_path).train) == 15
    assert sorted(tmp_path.rglob("*")) == before


def test_damage_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cifar10: .* should hold cifar-10-binary\.tar\.gz, or these files"):
        load_cifar(CIFAR10, tmp_path)
    fill(tmp_path, TINY10)
    (tmp_path / "test_batch.bin").write_bytes(b"x" * 3000)
    with pytest.raises(DataError, match="test_batch.bin holds 3,000 bytes, expected whole records of 3,073"):
        load_cifar(TINY10, tmp_path)
    archive = tmp_path / "a.tar.gz"
    archive_of(archive, {"data_batch_1.bin": records(TINY10, 200)})
    with pytest.raises(DataError, match="the archive lacks data_batch_2.bin"):
        read_archive(TINY10, archive)
    archive.write_bytes(archive.read_bytes()[:-400])
    with pytest.raises(DataError, match="the archive is truncated or damaged|lacks"):
        read_archive(TINY10, archive)


@given(content=st.binary(max_size=300))
def test_anything_else_than_an_archive_is_an_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "cifar-10-binary.tar.gz"
    path.write_bytes(content)
    with pytest.raises(TatamiError):
        read_archive(CIFAR10, path)
    with pytest.raises(TatamiError):
        records_of(CIFAR10, "x", content)


def test_offline_the_error_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        DataError, match=r"put cifar-100-binary\.tar\.gz, .*into a folder and name it with --data"
    ):
        load_cifar(CIFAR100, mirrors=["http://127.0.0.1:1/"])


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_relatives_of_mnist_are_known(name, tmp_path):
    assert len(IDX_SETS[name].class_names) == 10
    with pytest.raises(DataError, match=f"{name}: .* lacks train-images-idx3-ubyte.gz"):
        load(name, tmp_path)
