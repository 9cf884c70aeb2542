"""Tables, arrays, pairs, signals, volumes and videos; and what is wrong with them."""

import contextlib
import io
import wave
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from tatami.data import load
from tatami.data.files import load_arrays, load_pairs, load_signals, load_table, load_volumes, read_volume
from tatami.data.sound import read_wav, spectrogram
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
    monkeypatch.setattr("tatami.data.files.LARGEST_ARRAYS", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\0" * 100_000)
    with pytest.raises(DataError, match="would unpack to 100,000 bytes"):
        load_arrays(tmp_path / "bomb.npz")


def test_pairs(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / "masks" / f"{name}.png", 3)
    images, masks = load_pairs(tmp_path)
    assert images.shape == (2, 3, 5, 6)
    assert masks.shape == (2, 5, 6)
    assert set(masks.ravel()) == {3}
    picture(tmp_path / "masks" / "b.png", 3, (5, 5))
    with pytest.raises(DataError, match=r"masks/b\.png: the mask has \(5, 5\) pixels .* its image \(5, 6\)"):
        load_pairs(tmp_path)
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(DataError, match="without a partner: b"):
        load_pairs(tmp_path)
    with pytest.raises(DataError, match="no such folder; pairs lie in images/ and masks/"):
        load_pairs(tmp_path / "images")


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
    videos = load_volumes(tmp_path / "videos")
    assert videos.image_shape == (1, 4, 5, 6)
    assert videos.train.images[0][0, :, 0, 0].tolist() == [0, 50, 100, 150]
    np.save(tmp_path / "volumes" / "a" / "1.npy", np.zeros((3, 4, 6), np.float32))
    splits = load_volumes(tmp_path / "volumes")
    with pytest.raises(DataError, match=r"1\.npy: has shape \(1, 3, 4, 6\), .* all must have the same"):
        np.asarray(splits.train.images)


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
