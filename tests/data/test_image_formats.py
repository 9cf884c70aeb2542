"""Every format that Pillow reads, in every mode; hostile files; and nothing left open."""

import contextlib
import io
import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from tatami.data.image_files import read_pixels, size_and_colour
from tatami.data.image_formats import NOT_READ, OTHER_SUFFIXES, SILENCE, SUFFIXES_OF_FORMAT, formats
from tatami.errors import DataError, TatamiError

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
COLOURS = np.array([[[250, 10, 10], [10, 250, 10]], [[10, 10, 250], [240, 240, 240]]], np.uint8)
BLOCKS = COLOURS.repeat(16, axis=0).repeat(16, axis=1)


def content_of(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def test_every_format_of_pillow_is_read_or_refused_for_a_reason():
    Image.init()
    assert set(Image.OPEN) == set(formats()) | (set(NOT_READ) & set(Image.OPEN))
    assert not set(SUFFIXES_OF_FORMAT) & set(NOT_READ)
    of_pillow = {}
    for suffix, kind in Image.registered_extensions().items():
        of_pillow.setdefault({"MPO": "JPEG"}.get(kind, kind), set()).add(suffix)
    for kind in formats():
        assert set(SUFFIXES_OF_FORMAT[kind]) == of_pillow[kind], kind
    assert not set(OTHER_SUFFIXES) & {suffix for each in SUFFIXES_OF_FORMAT.values() for suffix in each}


@pytest.mark.parametrize(
    ("kind", "suffix", "tolerance"),
    [
        ("PNG", ".png", 0), ("BMP", ".bmp", 0), ("TIFF", ".tif", 0), ("PPM", ".ppm", 0), ("TGA", ".tga", 0),
        ("SGI", ".sgi", 0), ("PCX", ".pcx", 0), ("ICO", ".ico", 0), ("DDS", ".dds", 0), ("QOI", ".qoi", 0),
        ("GIF", ".gif", 8), ("JPEG", ".jpg", 6), ("JPEG2000", ".jp2", 3), ("WEBP", ".webp", 12), ("AVIF", ".avif", 12),
    ],
)  # fmt: skip
def test_a_colour_picture_of_each_format(tmp_path, kind, suffix, tolerance):
    if kind not in formats():
        pytest.skip(f"Pillow was built without {kind}")
    path = tmp_path / f"picture{suffix}"
    options = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    path.write_bytes(content_of(Image.fromarray(BLOCKS), kind, **options))
    pixels = read_pixels(path, 3).astype(int)
    assert size_and_colour(path) == ((32, 32), True)
    middles = pixels[:, 8::16, 8::16].transpose(1, 2, 0)
    assert np.abs(middles - COLOURS).max() <= tolerance
    # What a file is called does not matter, what is in it does.
    other = path.rename(tmp_path / "called-otherwise.png")
    np.testing.assert_array_equal(read_pixels(other, 3), pixels)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_of_each_format(tmp_path, kind):
    values = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    path = tmp_path / "picture"
    path.write_bytes(content_of(Image.fromarray(values), kind))
    assert read_pixels(path, 1).tolist() == [[[0, 0, 1], [128, 255, 255]]]
    assert size_and_colour(path) == ((2, 3), False)


def test_tiff_of_either_byte_order_and_of_several_pages(tmp_path):
    path = tmp_path / "pages.tiff"
    pages = [Image.new("L", (4, 3), value) for value in (70, 90)]
    path.write_bytes(content_of(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert read_pixels(path, 1).tolist() == [[[70] * 4] * 3]
    big_endian = Image.frombytes("I;16B", (2, 1), b"\x80\x00\x01\xff")
    path.write_bytes(content_of(big_endian, "TIFF"))
    assert read_pixels(path, 1).tolist() == [[[128, 1]]]


def test_the_first_frame_of_an_animation(tmp_path):
    path = tmp_path / "moving.gif"
    frames = [Image.new("L", (4, 3), value) for value in (10, 200)]
    path.write_bytes(content_of(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert read_pixels(path, 1).max() == 10


def test_cmyk_and_palettes_with_transparency(tmp_path):
    path = tmp_path / "print.jpg"
    path.write_bytes(content_of(Image.fromarray(BLOCKS).convert("CMYK"), "JPEG", quality=98))
    assert size_and_colour(path)[1]
    assert np.abs(read_pixels(path, 3)[:, 8, 8].astype(int) - COLOURS[0, 0]).max() < 8
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.putpixel((1, 0), 1)
    path = tmp_path / "holes.png"
    path.write_bytes(content_of(palette, "PNG", transparency=0))
    assert read_pixels(path, 3)[:, 0].T.tolist() == [[255, 255, 255], [200, 0, 0]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_way_to_hold_a_camera(tmp_path, kind, orientation):
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :16] = 255
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: np.rot90(upright.T, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "picture"
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    path.write_bytes(content_of(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options))
    assert size_and_colour(path)[0] == (16, 32)
    assert np.abs(read_pixels(path, 1)[0].astype(int) - upright).max() <= 2


def test_damaged_exif_data_do_not_hide_a_picture(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(
        content_of(Image.new("L", (4, 3), 90), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\0\x09\xff")
    )
    assert read_pixels(path, 1).shape == (1, 3, 4)


def test_pixels_without_a_known_range_are_refused(tmp_path):
    path = tmp_path / "picture.tif"
    path.write_bytes(content_of(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))
    with pytest.raises(
        DataError, match=r"picture\.tif: floating-point pixels have no range that is agreed on"
    ):
        read_pixels(path, 1)
    path.write_bytes(content_of(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF"))
    with pytest.raises(DataError, match=r"picture\.tif: greys from 0 to 70000; 8 and 16 bits are read"):
        read_pixels(path, 1)
    path.write_bytes(content_of(Image.new("LAB", (2, 2)), "TIFF"))
    with pytest.raises(DataError, match=r"picture\.tif: Lab colours are not read; convert the image to RGB"):
        read_pixels(path, 3)


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"folder\.png: cannot be read as an image: not a file"):
        read_pixels(tmp_path / "folder.png", 1)
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    with pytest.raises(DataError, match=r"round\.png: cannot be read: Too many levels of symbolic links"):
        read_pixels(tmp_path / "round.png", 1)
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"nowhere\.png: no such file"):
        read_pixels(tmp_path / "nowhere.png", 1)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(DataError, match=r"pipe\.png: cannot be read as an image: not a file"):
            read_pixels(tmp_path / "pipe.png", 1)


KINDS = [
    "PNG",
    "JPEG",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
    "WEBP",
    "TGA",
    "PCX",
    "ICO",
    "DDS",
    "JPEG2000",
    "QOI",
    "SGI",
]
GOOD = {kind: content_of(Image.fromarray(BLOCKS), kind) for kind in KINDS}


@FUZZ
@given(data=st.data())
def test_no_damage_does_more_than_raise_an_error_that_names_the_file(tmp_path, data):
    content = bytearray(GOOD[data.draw(st.sampled_from(sorted(GOOD)))])
    # Headers are where damage is dangerous: half of the places lie in the first bytes.
    places = st.one_of(st.integers(0, min(64, len(content)) - 1), st.integers(0, len(content) - 1))
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzz.png"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    for read in (size_and_colour, lambda place: read_pixels(place, 3, (4, 4))):
        message = str(path)
        try:
            read(path)
        except TatamiError as error:
            message = str(error)
        assert str(path) in message


@FUZZ
@given(content=st.binary(max_size=300))
def test_bytes_of_any_kind_are_no_image_or_one(tmp_path, content):
    path = tmp_path / "fuzz.png"
    path.write_bytes(content)
    with contextlib.suppress(TatamiError):
        read_pixels(path, 1, (4, 4))


@pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="open files are counted where Linux lists them"
)
def test_no_file_stays_open(tmp_path):
    good, bad, huge = (tmp_path / name for name in ("good.png", "bad.png", "huge.ppm"))
    good.write_bytes(GOOD["PNG"])
    bad.write_bytes(GOOD["PNG"][:-30])
    huge.write_bytes(b"P6 60000 60000 255\n")
    read_pixels(good, 3)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        for path in (good, bad, huge, tmp_path / "none.png"):
            with contextlib.suppress(DataError):
                read_pixels(path, 3)
            with contextlib.suppress(DataError):
                size_and_colour(path)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
def test_a_claimed_size_takes_no_memory(tmp_path):
    path = tmp_path / "huge.ppm"
    path.write_bytes(b"P6 30000 30000 255\n")
    with pytest.raises(DataError, match=r"huge\.ppm: the image (has|is too large)"):
        read_pixels(path, 3)


def test_threads_share_the_silence_and_leave_the_filters_as_they_were():
    before = list(warnings.filters)
    start = threading.Barrier(4)

    def enter(_):
        start.wait()
        for _ in range(200):
            with SILENCE:
                pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(4)))
    assert list(warnings.filters) == before
    assert SILENCE.inside == 0
