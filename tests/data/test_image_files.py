"""Reading images: turned, flattened, inverted, placed; and every damaged one named."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tatami.data import ImageFormat, load, read_images
from tatami.data.image_files import read_pixels, size_and_colour
from tatami.data.image_formats import LARGEST_PIXELS
from tatami.errors import DataError, SettingError, ShapeError

MNIST_LIKE = ImageFormat(maximum=255, background="dark", fill=20 / 28)
PHOTOGRAPHS = ImageFormat(maximum=255)


def save(folder, picture, name="picture.png", **options):
    path = folder / name
    picture.save(path, **options)
    return path


def gradient(height=3, width=4):
    return np.arange(height * width, dtype=np.uint8).reshape(height, width) * 10


def test_grey_and_colour(tmp_path):
    grey = save(tmp_path, Image.fromarray(gradient()), "grey.png")
    np.testing.assert_array_equal(read_pixels(grey, 1), gradient()[None])
    np.testing.assert_array_equal(read_pixels(grey, 3), np.stack([gradient()] * 3))
    colour = np.stack([gradient(), gradient() + 1, gradient() + 2], axis=2)
    path = save(tmp_path, Image.fromarray(colour), "colour.png")
    np.testing.assert_array_equal(read_pixels(path, 3), colour.transpose(2, 0, 1))
    assert size_and_colour(grey) == ((3, 4), False)
    assert size_and_colour(path) == ((3, 4), True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_kind_of_png_gives_the_same_picture(tmp_path, mode):
    black_and_white = Image.fromarray((gradient() % 20 * 25).clip(0, 255).astype(np.uint8))
    expected = np.asarray(black_and_white)[None] > 127
    path = save(tmp_path, black_and_white.point(lambda value: 255 * (value > 127)).convert(mode))
    np.testing.assert_array_equal(read_pixels(path, 1), expected * 255)


def test_a_palette_of_greys_is_grey_and_one_of_colours_is_not(tmp_path):
    assert not size_and_colour(save(tmp_path, Image.fromarray(gradient()).convert("P")))[1]
    assert size_and_colour(save(tmp_path, Image.new("RGB", (3, 3), "red").convert("P")))[1]


def test_sixteen_bits_keep_their_upper_byte(tmp_path):
    pixels = np.array([[0, 255, 256], [32768, 65280, 65535]], dtype=np.uint16)
    path = save(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(read_pixels(path, 1), [[[0, 0, 1], [128, 255, 255]]])
    assert size_and_colour(path) == ((2, 3), False)


def test_what_is_transparent_becomes_white(tmp_path):
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((1, 2), (0, 0, 0, 255))
    pixels = read_pixels(save(tmp_path, picture), 1)
    assert pixels[0, 2, 1] == 0
    assert np.count_nonzero(pixels == 255) == 15


@pytest.mark.parametrize(
    ("orientation", "turned"), [(1, lambda x: x), (3, lambda x: x[::-1, ::-1]), (6, np.rot90)]
)
def test_pictures_are_turned_as_their_camera_says(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = gradient()
    # Orientation 6 is shown turned by 90° clockwise, so it is stored turned counter-clockwise.
    path = save(tmp_path, Image.fromarray(np.ascontiguousarray(turned(upright))), exif=exif)
    np.testing.assert_array_equal(read_pixels(path, 1)[0], upright)
    assert size_and_colour(path)[0] == upright.shape


def test_jpeg(tmp_path):
    path = save(tmp_path, Image.new("RGB", (16, 8), (200, 100, 50)), "picture.JPG", quality=95)
    assert abs(read_pixels(path, 3).mean(axis=(1, 2)) - [200, 100, 50]).max() < 3


def test_resizing_averages(tmp_path):
    pixels = np.kron(np.array([[0, 200], [100, 40]], dtype=np.uint8), np.ones((8, 8), np.uint8))
    small = read_pixels(save(tmp_path, Image.fromarray(pixels)), 1, (2, 2))
    assert abs(small.mean() - pixels.mean()) < 1
    assert abs(small[0].astype(int) - [[0, 200], [100, 40]]).max() < 35  # the filter reaches over the edge
    assert read_pixels(save(tmp_path, Image.fromarray(pixels)), 3, (5, 7)).shape == (3, 5, 7)


def png(width, height, body=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def good_png():
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello", "not an image of a known format, or a damaged one"),
        (b"GIF89a" + bytes(20), "not an image of a known format|truncated or damaged"),
        (good_png()[:-200], "the image cannot be read: it is truncated or damaged"),
        (good_png()[:40], "not an image of a known format, or a damaged one"),
        (
            good_png().replace(b"IDAT", b"IDAX"),
            "the image cannot be read: it is truncated or damaged|not an image",
        ),
        (png(9000, 9000), "the image has 9000 x 9000 pixels, at most 67,108,864 are read; make it smaller"),
        (png(60000, 60000), "the image is too large to be read"),
        (png(0, 5), "not an image of a known format|truncated or damaged"),
    ],
)
def test_a_damaged_image_is_named(tmp_path, content, message):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_pixels(path, 1)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("at", range(8, 120, 7))
def test_no_flipped_byte_does_more_than_raise_a_data_error(tmp_path, at):
    content = bytearray(good_png())
    content[at] ^= 0xFF
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert read_pixels(path, 1).shape[0] == 1


def test_a_missing_image_and_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.png: no such file"):
        read_pixels(tmp_path / "nothing.png", 1)
    with pytest.raises(DataError, match="cannot be read"):
        read_pixels(tmp_path, 1)


def test_the_limit_is_below_the_one_that_pillow_warns_at():
    assert LARGEST_PIXELS < Image.MAX_IMAGE_PIXELS


def test_an_image_of_the_networks_size_stays_as_it_is(tmp_path):
    pixels = load("digits").test.images[0] * 15
    path = save(tmp_path, Image.fromarray(pixels[0]))
    np.testing.assert_array_equal(read_images([path], (1, 8, 8), MNIST_LIKE), [pixels])


def test_values_reach_to_the_maximum_of_the_data(tmp_path):
    path = save(tmp_path, Image.fromarray(np.array([[0, 255], [51, 102]], dtype=np.uint8)))
    result = read_images([path], (1, 2, 2), ImageFormat(maximum=16))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[0, 0], [[0, 16], [3.2, 6.4]], rtol=1e-6)


@pytest.mark.parametrize(
    ("light_ground", "image_format", "invert", "inverted"),
    [
        (True, MNIST_LIKE, "auto", True),
        (False, MNIST_LIKE, "auto", False),
        (True, PHOTOGRAPHS, "auto", False),
        (False, PHOTOGRAPHS, True, True),
        (True, MNIST_LIKE, False, False),
        (True, MNIST_LIKE, True, True),
    ],
)
def test_the_rule_of_inverting(tmp_path, light_ground, image_format, invert, inverted):
    pixels = np.full((28, 28), 255 if light_ground else 0, dtype=np.uint8)
    pixels[10:18, 12:15] = 0 if light_ground else 255
    result = read_images([save(tmp_path, Image.fromarray(pixels))], (1, 28, 28), image_format, invert)
    np.testing.assert_array_equal(result[0, 0], 255 - pixels if inverted else pixels)


def draw(size, box, colour=0, ground=255):
    picture = Image.new("L", size, ground)
    ImageDraw.Draw(picture).rectangle(box, fill=colour)
    return picture


@pytest.mark.parametrize("box", [(20, 30, 59, 129), (150, 60, 189, 159), (0, 0, 39, 99)])
def test_a_drawing_is_put_where_the_data_have_theirs(tmp_path, box):
    path = save(tmp_path, draw((200, 160), box))
    image = read_images([path], (1, 28, 28), MNIST_LIKE)[0, 0]
    rows, columns = np.flatnonzero(image.max(axis=1) > 127), np.flatnonzero(image.max(axis=0) > 127)
    assert (rows[0], rows[-1]) == (4, 23)
    assert (columns[0], columns[-1]) == (10, 17)
    assert image[:4].max() == image[24:].max() == 0


def test_a_flat_drawing_and_one_that_fills_everything(tmp_path):
    image = read_images(
        [save(tmp_path, draw((200, 100), (5, 50, 194, 51)))], (1, 8, 8), ImageFormat(16, "dark", 1.0)
    )
    assert image.max() == 16
    assert (image[0, 0].max(axis=1) > 0).sum() == 1
    image = read_images(
        [save(tmp_path, draw((90, 100), (30, 0, 60, 99)))], (1, 8, 8), ImageFormat(16, "dark", 1.0)
    )
    assert (image[0, 0].max(axis=1) == 16).all()


def test_an_empty_drawing_is_only_resized(tmp_path):
    image = read_images([save(tmp_path, Image.new("L", (100, 50), 255))], (1, 28, 28), MNIST_LIKE)
    np.testing.assert_array_equal(image, 0)


def test_photographs_are_only_resized(tmp_path):
    path = save(tmp_path, draw((40, 40), (0, 0, 9, 39)))
    image = read_images([path], (1, 4, 4), PHOTOGRAPHS)[0, 0]
    assert image[:, 0].max() < 64
    assert image[:, 2:].min() > 250


def test_colour_drawings(tmp_path):
    picture = Image.new("RGB", (60, 60), "white")
    ImageDraw.Draw(picture).ellipse((10, 10, 40, 50), fill="blue")
    image = read_images([save(tmp_path, picture)], (3, 28, 28), MNIST_LIKE)[0]
    assert image.shape == (3, 28, 28)
    assert image[2].max() == 0  # blue on white is, inverted, yellow on black
    assert image[:2].max() == 255


def test_mnist_written_on_paper_comes_back_nearly_as_it_was(tmp_path, mnist_folder):
    originals = load("mnist", mnist_folder).test.images[:50]
    paths = []
    for number, pixels in enumerate(originals):
        digit = Image.fromarray(255 - pixels[0]).resize((140, 140), Image.Resampling.BICUBIC)
        paper = Image.new("L", (300, 260), 250)
        paper.paste(digit, (20 + number, 100 - number))
        paths.append(save(tmp_path, paper, f"{number}.png"))
    again = read_images(paths, (1, 28, 28), MNIST_LIKE)
    mass = again.sum(axis=(2, 3))
    centres = [(again.sum(axis=axis) * np.arange(28)).sum(axis=2) / mass for axis in (2, 3)]
    assert np.abs(np.array(centres) - 14).max() < 0.8
    error = np.abs(again - originals).mean(axis=(1, 2, 3)) / 255
    assert np.median(error) < 0.05


def test_bad_requests_are_refused(tmp_path):
    path = save(tmp_path, Image.fromarray(gradient()))
    with pytest.raises(ShapeError, match=r"takes inputs of shape \(64,\); an image file gives \(1, H, W\)"):
        read_images([path], (64,), PHOTOGRAPHS)
    with pytest.raises(ShapeError, match=r"takes inputs of shape \(2, 8, 8\)"):
        read_images([path], (2, 8, 8), PHOTOGRAPHS)
    with pytest.raises(SettingError, match="invert must be 'auto', True or False, got 'maybe'"):
        read_images([path], (1, 8, 8), PHOTOGRAPHS, "maybe")
    with pytest.raises(DataError, match="no images were named"):
        read_images([], (1, 8, 8), PHOTOGRAPHS)
    with pytest.raises(SettingError, match=r"1 channel \(grey\) or 3 \(colour\), asked for 2"):
        read_pixels(path, 2)


def test_large_jpegs_are_decoded_at_a_part_of_their_size_and_look_the_same(tmp_path, monkeypatch):
    row, column = np.indices((1200, 1600)) / 1600
    waves = [np.sin(9 * row + place) * np.cos(7 * column - place) for place in range(3)]
    pixels = ((np.stack(waves, axis=2) + 1) * 127).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    for name, size in (("large", (60, 80)), ("turned", (80, 60)), ("large", (500, 700))):
        quick = read_pixels(tmp_path / f"{name}.jpg", 3, size)
        with monkeypatch.context() as patch:
            patch.setattr("tatami.data.image_files.DRAFT_MARGIN", 10_000)
            whole = read_pixels(tmp_path / f"{name}.jpg", 3, size)
        assert quick.shape == whole.shape == (3, *size)
        assert np.abs(quick.astype(int) - whole).max() <= 4
    with Image.open(tmp_path / "large.jpg") as image:
        image.draft(None, (160, 160))
        assert image.size == (400, 300)
