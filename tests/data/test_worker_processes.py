"""Worker processes: the same bits as without, bounded, and nothing left of them however they end."""

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tatami.data import Batches, Dataset, Scale, load_image_folder
from tatami.data.augmentation import POLICIES, Pipeline, Rotate, Shift
from tatami.data.augmentation.base import PointTransform
from tatami.data.image_files import ImageFile
from tatami.data.on_demand import DecodedFiles, OnDemand
from tatami.data.volumes import load_volumes
from tatami.data.workers import Workers
from tatami.data.working.descriptions import file_of
from tatami.data.working.processes import AHEAD
from tatami.data.working.shared_memory import SharedMemory
from tatami.errors import DataError, SettingError
from tatami.random import RandomKey
from tatami.training.run import resume, train

pytestmark = pytest.mark.skipif(os.name != "posix", reason="worker processes need POSIX")
SHAPE = (1, 9, 8)
PIXELS = (RandomKey(1).uniform("x", (40, *SHAPE)) * 255).astype(np.uint8)
DATA = Dataset("some", PIXELS, np.arange(40) % 3)


def left_behind():
    """Return what a leak would show in: children, threads, open files, segments of shared memory."""
    gc.collect()
    me = psutil.Process()
    shared = sorted(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else []
    threads = sorted(thread.name for thread in threading.enumerate())
    return len(me.children(recursive=True)), threads, me.num_fds(), shared


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = left_behind()
    yield
    assert left_behind() == before


@pytest.fixture
def folder(tmp_path):
    for number in range(24):
        path = tmp_path / "images" / ("dark", "light")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = (RandomKey(number).uniform("p", (8, 9)) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def bits(batches, epoch=1, start=0):
    return [
        (batch.step, batch.images.tobytes(), batch.targets.tobytes(), batch.indices.tobytes())
        for batch in batches.epoch(epoch, start)
    ]


def made_by(batches, count):
    return replace(batches, workers=f"{count}:processes")


@pytest.mark.parametrize(
    ("count", "policy"), [(1, "handwriting"), (2, "cutmix"), (8, "handwriting"), (1, None)]
)
def test_any_number_of_processes_gives_the_same_bits(count, policy):
    augmentation = POLICIES[policy] if policy else None
    alone = Batches(DATA, 7, seed=3, preprocessing=Scale.fit(DATA), augmentation=augmentation)
    assert bits(made_by(alone, count)) == bits(alone)


def test_opencv_draws_the_same_bits_in_processes_and_keeps_its_threads_here():
    cv2 = pytest.importorskip("cv2")
    threads = cv2.getNumThreads()
    alone = Batches(DATA, 7, augmentation=POLICIES["handwriting"].drawn_by("opencv", SHAPE))
    assert bits(made_by(alone, 2)) == bits(alone) == bits(replace(alone, workers="2:threads"))
    assert cv2.getNumThreads() == threads


def test_another_opencv_is_refused_when_the_work_is_taken_up():
    pytest.importorskip("cv2")
    other = {"type": "OpenCV", "version": "5.9.9", "probe": "0123456789abcdef"}
    pipeline = Pipeline.from_json({**POLICIES["rotate"].to_json(), "engine": other})
    with pytest.raises(SettingError, match="draws other bits"):
        bits(made_by(Batches(DATA, 7, augmentation=pipeline), 1))


def kinds_of_data(folder, tmp_path):
    """Yield data sets that lie in every kind of place."""
    np.save(tmp_path / "x.npy", PIXELS)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    yield "mapped", replace(DATA, images=mapped)
    yield "a part of what is mapped", replace(DATA, images=mapped[5:31], labels=DATA.labels[5:31])
    yield "some of what is mapped", replace(DATA, images=mapped).take([30, 2, 2, 7, 9, 11, 1])
    yield "files", load_image_folder(folder, on_demand=True).train
    yield (
        "some files",
        load_image_folder(folder, on_demand=True, size=(5, 4), channels=3).train.take([3, 1, 8]),
    )
    yield "vectors", Dataset("vectors", np.arange(60.0).reshape(20, 3), np.arange(20) % 2)
    yield "every other", replace(DATA, images=PIXELS[::2], labels=DATA.labels[::2])
    yield "masks", replace(DATA, targets=(PIXELS[:, 0] // 128).astype(np.int64), target_names=("a", "b"))
    yield "numbers", replace(DATA, targets=np.arange(80.0).reshape(40, 2), target_names=("a", "b"))
    for number in range(12):
        path = tmp_path / "volumes" / "ab"[number % 2] / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, RandomKey(number).uniform("v", (3, 4, 5)).astype(np.float32))
    yield "volumes", load_volumes(tmp_path / "volumes").train


def test_every_kind_of_data_can_be_told_to_another_process(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tatami.data.class_files.LARGEST_KEPT_BYTES", 0)  # volumes stay in their files
    for name, data in kinds_of_data(folder, tmp_path):
        augmentation = POLICIES["geometric"] if data.images.ndim > 3 else None
        alone = Batches(data, min(4, len(data)), seed=1, augmentation=augmentation, dtype="float64")
        with made_by(alone, 1).team() as team:
            assert bits(team) == bits(alone), name
            assert type(next(team.epoch(0)).images) is np.ndarray


def test_a_file_that_was_replaced_since_it_was_mapped_is_copied(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert file_of(mapped)[0] == tmp_path / "x.npy"
    assert file_of(mapped + 1) is None
    os.rename(tmp_path / "x.npy", tmp_path / "old.npy")
    np.save(tmp_path / "x.npy", PIXELS[::-1])
    assert file_of(mapped) is None
    alone = Batches(replace(DATA, images=mapped), 7)
    assert bits(made_by(alone, 1)) == bits(alone)
    (tmp_path / "x.npy").unlink()
    assert bits(made_by(alone, 1)) == bits(alone)


def test_a_team_works_epoch_after_epoch_and_from_the_middle_of_one():
    alone = Batches(DATA, 7, seed=3, augmentation=POLICIES["shift"])
    with alone.team() as team:
        processes = [worker.process.pid for worker in team.workers]
        for epoch in (0, 1, 5):
            assert bits(team, epoch) == bits(alone, epoch)
        assert bits(team, 2, start=4) == bits(alone, 2, start=4)
        assert bits(team, 2, start=6) == []
        assert [worker.process.pid for worker in team.workers] == processes
        with pytest.raises(SettingError, match="there is no step 7"):
            team.epoch(0, start=7)


def test_what_nobody_takes_is_forgotten():
    alone = Batches(DATA, 3, augmentation=POLICIES["handwriting"])
    with made_by(alone, 2).team() as team:
        for taken in (0, 1, 3):
            batches = team.epoch(0)
            for _ in range(taken):
                next(batches)
            batches.close()
        assert bits(team, 1) == bits(alone, 1)
        assert team.answers == {}
        assert team.wanted == set()
        assert all(len(worker.free) == AHEAD and not worker.doing for worker in team.workers)


def test_an_epoch_within_an_epoch_is_made_without_the_team():
    alone = Batches(DATA, 7)
    with made_by(alone, 2).team() as team:
        outer = team.epoch(0)
        first = next(outer)
        assert bits(team, 3) == bits(alone, 3)
        rest = [first, *outer]
        assert [batch.images.tobytes() for batch in rest] == [entry[1] for entry in bits(alone, 0)]


def test_workers_are_never_far_ahead():
    with made_by(Batches(DATA, 1), 2).team() as team:
        for _ in team.epoch(0):
            time.sleep(0.002)
            assert len(team.wanted) <= 2 * AHEAD
            assert len(team.answers) <= 2 * AHEAD
            assert all(len(worker.doing) <= AHEAD for worker in team.workers)


def test_an_epoch_that_is_left_takes_its_workers_with_it():
    batches = made_by(Batches(DATA, 3), 2).epoch(0)
    next(batches)
    assert len(psutil.Process().children()) == 2
    del batches


def test_an_error_of_a_file_is_the_same_as_without_workers(folder):
    data = load_image_folder(folder, on_demand=True).train
    damaged = (
        data.images.images.paths[data.images.at[5]] if hasattr(data.images, "at") else data.images.paths[5]
    )
    damaged.write_bytes(damaged.read_bytes()[:50])
    alone = Batches(data, 3, shuffle=False)
    with pytest.raises(DataError) as plain:
        bits(alone)
    batches = made_by(alone, 2).epoch(0)
    assert next(batches).step == 0
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(caught.value) == str(plain.value)
    assert damaged.name in str(caught.value)


def test_the_file_that_a_worker_died_of_is_named(folder, tmp_path):
    # An image whose decoding takes long enough to be killed in.
    Image.new("L", (8000, 8000)).save(tmp_path / "slow.png")
    paths = [*sorted(folder.rglob("*.png"))[:9], tmp_path / "slow.png"]
    data = Dataset("files", DecodedFiles(paths, SHAPE, np.uint8, ImageFile(1, SHAPE[1:])), np.arange(10) % 2)
    slow = 9
    with made_by(Batches(data, 1, shuffle=False), 2).team() as team:

        def kill_who_reads_it():
            while not gone.is_set():
                for worker in team.workers:
                    if worker.notes.descriptor >= 0 and worker.notes.array("<i8", (1,))[0] == slow:
                        os.kill(worker.process.pid, signal.SIGKILL)
                        return
                time.sleep(0.001)

        gone = threading.Event()
        killer = threading.Thread(target=kill_who_reads_it)
        killer.start()
        with pytest.raises(
            DataError, match=r"slow\.png: a worker process was ended by SIGKILL while it read this"
        ):
            list(team.epoch(0))
        gone.set()
        killer.join()
        # The others go on.
        assert len(team.workers) == 1
        assert len(next(team.epoch(1))) == 1


def test_workers_that_are_killed_otherwise_are_said():
    with made_by(Batches(DATA, 3, augmentation=POLICIES["elastic"]), 2).team() as team:
        batches = team.epoch(0)
        next(batches)
        for worker in team.workers:
            os.kill(worker.process.pid, signal.SIGKILL)
        with pytest.raises(
            DataError, match=r"some: a worker process was ended by SIGKILL.*; was it killed, or"
        ):
            list(batches)
        with pytest.raises(DataError, match="was ended by SIGKILL"):
            list(team.epoch(1))


def test_a_worker_that_does_not_start_is_said(monkeypatch, tmp_path):
    batches = made_by(Batches(DATA, 3), 2)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DataError, match="a worker process ended with status 1 before it was ready"):
        bits(batches)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(DataError, match="a worker process cannot be started: No such file"):
        bits(batches)


@dataclass(frozen=True)
class OwnTransform(PointTransform):
    def pixels(self, images, draws):
        return images


class OwnImages(OnDemand):
    shape, dtype = (40, *SHAPE), np.dtype(np.uint8)

    def read(self, at):
        return PIXELS[at]


@pytest.mark.parametrize(
    ("data", "steps", "reason"),
    [
        (replace(DATA, images=OwnImages()), (Shift(),), "the images are made by a OwnImages"),
        (
            replace(DATA, images=DecodedFiles([Path("x")] * 40, SHAPE, np.uint8, lambda path: PIXELS[0])),
            (Shift(),),
            "decoded by a function of your own",
        ),
        (DATA, (OwnTransform(),), "OwnTransform is a class of your own"),
    ],
)
def test_what_cannot_be_told_is_left_to_threads(monkeypatch, data, steps, reason):
    monkeypatch.setattr("tatami.data.batches.VALUES_WORTH_PROCESSES", 0)
    batches = Batches(data, 7, augmentation=Pipeline(steps), workers=2)
    assert not batches.uses_processes
    assert len(bits(batches)) == 6
    with pytest.raises(SettingError, match=rf"workers: .*{reason}.*; use threads"):
        bits(replace(batches, workers="2:processes"))


def test_the_kind_suits_the_data(monkeypatch, folder):
    files = load_image_folder(folder, on_demand=True).train
    varied = {"augmentation": Pipeline((Rotate(),))}
    assert not Batches(DATA, 7, workers=2, **varied).uses_processes
    monkeypatch.setattr("tatami.data.batches.VALUES_WORTH_PROCESSES", 0)
    assert Batches(DATA, 7, workers=2, **varied).uses_processes
    assert not Batches(DATA, 7, workers=0, **varied).uses_processes
    assert not Batches(DATA, 7, workers="2:threads", **varied).uses_processes
    assert not Batches(DATA, 7, workers=2).uses_processes
    assert Batches(files, 7, workers=2).uses_processes
    monkeypatch.setattr("tatami.data.working.descriptions.LARGEST_COPY", 100)
    assert not Batches(DATA, 7, workers=2, **varied).uses_processes
    monkeypatch.setattr("tatami.data.batches.can_start_processes", lambda: False)
    assert not Batches(files, 7, workers=2, **varied).uses_processes
    with pytest.raises(SettingError, match="processes cannot be started on this system"):
        _ = Batches(DATA, 7, workers="2:processes").uses_processes


def test_the_setting_of_the_workers():
    assert Workers.of(3) == Workers(3, "auto")
    assert Workers.of("3:threads") == Workers(3, "threads")
    assert Workers.of("auto:processes").kind == "processes"
    assert 1 <= Workers.of("auto").count <= 8
    assert Workers.of(Workers(2)) == Workers(2)
    for bad in (
        -1,
        True,
        1.5,
        "",
        "two",
        "2:fibres",
        "2:",
        "-1:threads",
        "257",
        257,
        "99999",
        None,
        ":threads",
    ):
        with pytest.raises(SettingError, match="workers must be a whole number of at least 0"):
            Workers.of(bad)
        with pytest.raises(SettingError, match="workers must be a whole number of at least 0"):
            Batches(DATA, 7, workers=bad)


def test_training_ends_in_the_same_bits_also_when_it_is_resumed(tmp_path):
    options = {"batch_size": 7, "augmentation": POLICIES["mixup"]}
    alone = train("perceptron", DATA, epochs=3, **options)
    many = train("perceptron", DATA, epochs=3, workers="2:processes", **options)
    assert many.weights_sha256 == alone.weights_sha256
    train("perceptron", DATA, epochs=1, workers="3:processes", out=tmp_path / "run", **options)
    again = resume(tmp_path / "run", DATA, epochs=3, workers="1:processes")
    assert again.weights_sha256 == alone.weights_sha256
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["workers"] == "3:processes"


SCRIPT = """
    import signal, sys, time
    import numpy as np
    from tatami.data import Batches, Dataset
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background is born deaf to it
    from tatami.data.augmentation import POLICIES
    data = Dataset("some", np.zeros((400, 1, 20, 20), np.uint8), np.arange(400) % 2)
    batches = Batches(data, 5, augmentation=POLICIES["handwriting"], workers="2:processes")
    with batches.team() as team:
        print(*[worker.process.pid for worker in team.workers], flush=True)
        for epoch in range(1000):
            for batch in team.epoch(epoch):
                time.sleep(0.005)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_one_who_asks_them(number):
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        workers = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        time.sleep(0.1)
        process.send_signal(number)
        errors = process.stderr.read().decode()
        process.wait(timeout=20)
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert (len(gone), alive) == (2, [])
    # One traceback, of the one who asked; the workers have nothing to say.
    assert errors.count("Traceback") == (number == signal.SIGINT)


def test_a_script_without_a_guard_may_use_workers(tmp_path):
    script = tmp_path / "script.py"
    text = textwrap.dedent(SCRIPT).replace("range(1000)", "range(1)")
    script.write_text("print('begun', flush=True)\n" + text)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("begun") == 1
    assert done.stderr == ""


def test_shared_memory_has_no_name_and_grows():
    memory = SharedMemory.of(np.arange(5, dtype=np.int32))
    assert memory.array("<i4", (5,)).tolist() == [0, 1, 2, 3, 4]
    kept = memory.array("<i4", (2,), offset=4)
    memory.resize(100)
    memory.array("<f8", (3,), offset=64)[...] = 7
    assert memory.array("<i4", (5,)).tolist() == [0, 1, 2, 3, 4]
    assert kept.tolist() == [1, 2]
    assert memory.array("<f8", (0, 3)).shape == (0, 3)
    memory.close()
    memory.close()
    assert kept.tolist() == [1, 2]


def test_a_lack_of_shared_memory_is_said(monkeypatch):
    def full(descriptor, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.ftruncate", full)
    with pytest.raises(DataError, match=r"1,000 bytes of shared memory cannot be had \(No space left"):
        SharedMemory.create(1000)
