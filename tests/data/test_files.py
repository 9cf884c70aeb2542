"""Tables, arrays, signals, volumes and videos; and what is wrong with them."""

import contextlib
import io
import wave
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from tatami.data import load
from tatami.data.files import load_arrays, load_table
from tatami.data.on_demand import OnDemand
from tatami.data.signals import load_signals, load_spectrograms
from tatami.data.sound import read_wav, spectrogram
from tatami.data.volumes import load_videos, load_volumes, read_volume
from tatami.errors import DataError, SettingError, TatamiError

FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def picture(path, value=100, size=(5, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


def wav(path, signal, width=2, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(signal))
        file.setsampwidth(width)
        file.setframerate(rate)
        whole = np.round(np.asarray(signal).T * (2 ** (8 * width - 1) - 1)).astype("<i8")
        if width == 1:
            file.writeframes((whole + 128).astype(np.uint8).tobytes())
        else:
            file.writeframes(whole.reshape(-1, 1).view(np.uint8)[:, :width].tobytes())


@pytest.fixture
def table(tmp_path):
    rows = ["path,label,part"]
    for number in range(12):
        picture(tmp_path / "images" / f"{number}.png", 20 * number)
        rows.append(
            f"images/{number}.png,{'cat' if number % 2 else 'dog'},{'test' if number > 8 else 'train'}"
        )
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return tmp_path / "list.csv"


def test_a_table_of_paths_and_labels(table):
    splits = load(str(table))
    assert str(splits.train) == "list: 9 images of shape (1, 5, 6), 2 classes"
    assert splits.class_names == ("cat", "dog")
    assert splits.train.images[3].max() == 60
    assert splits.train.labels[:3].tolist() == [1, 0, 1]
    assert load_table(table, size=4, channels=3).image_shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the table has no rows"),
        ("path,label\n,cat\n", "line 2 has no path or no label"),
        ("file,label\na.png,cat\n", "line 2 has no path"),
        ("path,label\n../../etc/passwd,cat\n", "leads out of"),
        ("path,label\n/etc/passwd,cat\n", "leads out of"),
        ("path,label\nnone.png,cat\n", r"none\.png: no such file"),
        ("path,label,part\nimages/1.png,cat,exam\n", "holds 'exam'; expected train or test"),
        ("path,label\nimages/1.png,cat,dog\n", "line 2 has more fields than the header has columns"),
    ],
)
def test_bad_tables(table, content, message):
    table.write_text(content)
    with pytest.raises(DataError, match=message):
        load(table)
    table.write_bytes(b"path,label\n\xff\xfe,x\n")
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        load(table)


def test_arrays(tmp_path):
    images = np.arange(10 * 4 * 4, dtype=np.uint8).reshape(10, 4, 4)
    np.savez(tmp_path / "a.npz", x=images, y=np.arange(10) % 2)
    assert load(tmp_path / "a.npz").image_shape == (1, 4, 4)
    np.savez(tmp_path / "b.npz", images=images[:, None], labels=np.arange(10) % 2, images_test=images[:3, None],
             labels_test=np.array([0, 1, 0]))  # fmt: skip
    assert len(load(tmp_path / "b.npz").test) == 3


def test_bad_arrays(tmp_path):
    np.savez(tmp_path / "pickled.npz", x=np.array([{"a": 1}, None], dtype=object), y=np.arange(2))
    with pytest.raises(DataError, match="not an .npz file of plain arrays"):
        load_arrays(tmp_path / "pickled.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="expected the arrays images and labels .* it holds a"):
        load_arrays(tmp_path / "other.npz")
    np.savez(tmp_path / "words.npz", x=np.zeros((2, 3)), y=np.array(["a", "b"]))
    with pytest.raises(DataError, match="whole numbers for labels"):
        load_arrays(tmp_path / "words.npz")


@FUZZ
@given(data=st.data())
def test_damaged_arrays_are_errors(tmp_path, data):
    stream = io.BytesIO()
    np.savez(stream, x=np.zeros((6, 2, 2), np.uint8), y=np.arange(6) % 2)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzz.npz"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(TatamiError):
        load_arrays(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tatami.data.npz.LARGEST_ARRAYS", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\0" * 100_000)
    with pytest.raises(DataError, match="would unpack to 100,000 bytes"):
        load_arrays(tmp_path / "bomb.npz")


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_of_any_width(tmp_path, width):
    signal = np.stack([np.sin(np.arange(200) / 5), np.linspace(-1, 1, 200)]) * 0.9
    wav(tmp_path / "a.wav", signal, width)
    sound = read_wav(tmp_path / "a.wav")
    assert sound.rate == 8000
    np.testing.assert_allclose(sound.samples, signal, atol=2.5 / 2 ** (8 * min(width, 3) - 1))


def test_wav_folders_and_spectrograms(tmp_path):
    for label, name in enumerate(("low", "high")):
        for number in range(4):
            wav(tmp_path / name / f"{number}.wav", [np.sin(np.arange(300 + number) * (0.2 + label))])
    splits = load(tmp_path)
    assert splits.image_shape == (1, 303)
    assert load_signals(tmp_path, length=100).image_shape == (1, 100)
    power = spectrogram(splits.train.images, 64, 32)
    peak = power.mean(axis=-1)[:, 0].argmax(axis=1)
    assert (peak[splits.train.labels == splits.class_names.index("high")] > 8).all()
    assert (peak[splits.train.labels == splits.class_names.index("low")] < 5).all()
    with pytest.raises(SettingError, match="window must be from 2 to the signal's 303 samples"):
        spectrogram(splits.train.images, 500)


def test_spectrograms_by_their_kind(tmp_path):
    for label, name in enumerate(("low", "high")):
        for number in range(4):
            wav(tmp_path / name / "deep" / f"{number}.wav", [np.sin(np.arange(300) * (0.2 + label))])
    splits = load(f"spectrograms:{tmp_path}")
    assert splits.image_shape == (1, 33, 8)
    signals = load(tmp_path).train
    np.testing.assert_array_equal(splits.train.images, spectrogram(signals.images, 64, 32))
    assert splits.train.columns["file"][0] == "high/deep/0.wav"
    assert load_spectrograms(tmp_path, window=16, hop=4).image_shape == (1, 9, 72)
    assert load_spectrograms(tmp_path, length=2).image_shape == (1, 2, 1)
    with pytest.raises(SettingError, match="window must be from 2 to the signal's 300 samples"):
        load_spectrograms(tmp_path, window=500)


def test_sounds_that_do_not_fit_together(tmp_path):
    for name in ("a", "b"):
        for number in range(3):
            wav(tmp_path / name / f"{number}.wav", [np.zeros(30)])
    wav(tmp_path / "b" / "2.wav", [np.zeros(30)], rate=44100)
    with pytest.raises(
        DataError, match=r"b/2\.wav: 44100 samples a second, .*a/0\.wav has 8000; bring all to one"
    ):
        load(tmp_path)
    wav(tmp_path / "b" / "2.wav", [np.zeros(30), np.zeros(30)])
    with pytest.raises(DataError, match=r"the signals have \[1, 2\] channels; all must have as many"):
        load(tmp_path)
    with pytest.raises(SettingError, match="length must be at least 1 sample, got 0"):
        load_signals(tmp_path, length=0)


def test_sounds_to_test_on_are_kept_apart(tmp_path):
    for part, count in (("train", 2), ("test", 1)):
        for name in ("a", "b"):
            for number in range(count):
                wav(tmp_path / part / name / f"{number}.wav", [np.ones(20 + number)])
    splits = load(tmp_path)
    assert (len(splits.train), len(splits.test)) == (4, 2)
    assert splits.image_shape == (1, 21)
    wav(tmp_path / "test" / "c" / "1.wav", [np.ones(20)])
    with pytest.raises(DataError, match="test: no such class in train/: c"):
        load(tmp_path)


def test_what_does_not_fit_into_memory_is_decoded_when_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr("tatami.data.class_files.LARGEST_KEPT_BYTES", 100)
    for name in ("a", "b"):
        (tmp_path / "volumes" / name).mkdir(parents=True)
        for number in range(3):
            wav(tmp_path / "sounds" / name / f"{number}.wav", [np.full(30, number / 4)])
            np.save(tmp_path / "volumes" / name / f"{number}.npy", np.full((3, 4, 5), number, np.uint16))
            for frame in range(2):
                picture(tmp_path / "videos" / name / str(number) / f"{frame}.png", 10 * number + frame)
    for path in ("sounds", "spectrograms:sounds", "volumes", "videos:videos"):
        kind, _, folder = path.rpartition(":")
        splits = load(f"{kind}:{tmp_path / folder}" if kind else tmp_path / folder)
        assert isinstance(splits.train.images, OnDemand)
        assert len(np.asarray(splits.train.images)) == 4
    assert load(tmp_path / "volumes").format.maximum == 65535


def test_bad_wav(tmp_path):
    wav(tmp_path / "empty.wav", np.zeros((1, 0)))
    with pytest.raises(DataError, match=r"empty\.wav: the WAV file has no samples"):
        read_wav(tmp_path / "empty.wav")
    wav(tmp_path / "cut.wav", np.zeros((1, 100)))
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:-50])
    with pytest.raises(DataError, match="truncated|damaged"):
        read_wav(tmp_path / "cut.wav")
    (tmp_path / "text.wav").write_text("not a sound")
    with pytest.raises(DataError, match="not a WAV file"):
        read_wav(tmp_path / "text.wav")


@FUZZ
@given(data=st.data())
def test_damaged_wav_are_errors(tmp_path, data):
    path = tmp_path / "fuzz.wav"
    wav(path, [np.zeros(20)])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(TatamiError):
        read_wav(path)


def test_volumes_and_videos(tmp_path):
    for label, name in enumerate(("a", "b")):
        (tmp_path / "volumes" / name).mkdir(parents=True)
        for number in range(3):
            np.save(tmp_path / "volumes" / name / f"{number}.npy", np.full((3, 4, 5), label, np.float32))
            for frame in range(4):
                picture(tmp_path / "videos" / name / f"clip{number}" / f"{frame}.png", 50 * frame)
    assert load(tmp_path / "volumes").image_shape == (1, 3, 4, 5)
    videos = load(f"videos:{tmp_path / 'videos'}")
    assert videos.image_shape == (1, 4, 5, 6)
    assert videos.train.images[0][0, :, 0, 0].tolist() == [0, 50, 100, 150]
    assert load_videos(tmp_path / "videos", size=8, channels=3).image_shape == (3, 4, 8, 8)
    np.save(tmp_path / "volumes" / "a" / "1.npy", np.zeros((3, 4, 6), np.float32))
    with pytest.raises(
        DataError, match=r"1\.npy: has shape \(1, 3, 4, 6\) of float32, .* all must have the same"
    ):
        load_volumes(tmp_path / "volumes")
    (tmp_path / "videos" / "b" / "clip1" / "3.png").unlink()
    with pytest.raises(DataError, match="clip1: has 3 frames, .* has 4; all videos must have as many"):
        load_videos(tmp_path / "videos")
    picture(tmp_path / "videos" / "b" / "clip1" / "3.png", size=(9, 9))
    with pytest.raises(DataError, match=r"3\.png: has 9 x 9 pixels .* others have 5 x 6; give the size"):
        load_videos(tmp_path / "videos")
    with pytest.raises(
        SettingError, match="size and channels are settings of images and videos, these are volumes"
    ):
        load(tmp_path / "volumes", size=8)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load("videos:nowhere")


@FUZZ
@given(data=st.data())
def test_damaged_volumes_are_errors(tmp_path, data):
    path = tmp_path / "fuzz.npy"
    np.save(path, np.zeros((2, 3, 4), np.uint8))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(TatamiError):
        read_volume(path)
