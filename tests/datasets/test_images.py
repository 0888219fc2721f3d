"""An image of any kind becomes 32 by 32 pixels, or is refused by one line that names the file."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import CHANNELS_FIRST, PIXELS, save
from PIL import Image, ImageOps

from datasets import images
from datasets.images import GROUND, decode_image, read_image, read_images
from errors import InputError


def colour(value, shape=(32, 32)):
    """Return an image of one colour, uint8 (height, width, 3)."""
    return np.full((*shape, 3), value, np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.webp", "without_ending"])
def test_an_image_of_the_right_size_keeps_its_pixels(name, tmp_path):
    kind = {"format": "PNG"} if "." not in name else {}
    lossless = {"lossless": True} if name.endswith("webp") else {}
    path = save(tmp_path / name, **kind, **lossless)
    np.testing.assert_array_equal(read_image(path), CHANNELS_FIRST)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGB"])
def test_transparent_pixels_show_grey(mode, tmp_path):
    image = Image.fromarray(np.concatenate([colour(7, (16, 32)), colour(200, (16, 32))]))
    options = {"transparency": (7, 7, 7)} if mode == "RGB" else {}
    if mode != "RGB":
        image.putalpha(Image.fromarray(np.repeat([0, 255], 16)[:, None].repeat(32, 1).astype("u1")))
        image = image.quantize(4) if mode == "PA" else image.convert(mode)
    image.save(tmp_path / "a.png", **options)
    pixels = read_image(tmp_path / "a.png")
    assert (pixels[:, :16] == np.array(GROUND)[:, None, None]).all()
    assert (pixels[:, 16:] == 200).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_keep_the_upper_eight_and_thirty_two_are_refused(name, tmp_path):
    grey = PIXELS[..., 0]
    path = save(tmp_path / name, (grey.astype(np.uint16) << 8) + 77)
    np.testing.assert_array_equal(read_image(path), [grey] * 3)
    for kind in (np.int32, np.float32):
        path = save(tmp_path / "a.tif", grey.astype(kind))
        with pytest.raises(InputError, match="convert it to 8 bits"):
            read_image(path)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (480, 640)])
def test_any_size_becomes_32_by_32(shape, tmp_path):
    save(tmp_path / "a.png", colour((10, 100, 250), shape))
    assert (read_image(tmp_path / "a.png") == np.array([10, 100, 250])[:, None, None]).all()


def test_resizing_is_antialiased(tmp_path):
    fine = np.indices((256, 256)).sum(axis=0) % 2 * 255
    save(tmp_path / "a.png", fine.astype(np.uint8))
    assert abs(read_image(tmp_path / "a.png").astype(int) - 127).max() < 8


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(colour(value)) for value in (50, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.gif") == 50).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize(
    ("limit", "value", "match"),
    [
        ("MAX_PIXELS", 1023, r"\(32, 32\) pixels are more than 1,023"),
        ("MAX_BYTES", 99, "99 at most"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_decoded(
    limit, value, match, tmp_path, monkeypatch
):
    path = save(tmp_path / "a.png")
    monkeypatch.setattr(images, limit, value)
    monkeypatch.setattr(Image.Image, "resize", None)
    with pytest.raises(InputError, match=rf"a\.png.*{match}"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.eps", "a.ico"])
def test_no_program_is_started_for_an_image_nor_another_image_opened_in_it(name, tmp_path):
    save(tmp_path / name)
    with pytest.raises(InputError, match="not an image"):
        read_image(tmp_path / name)


def test_broken_images_are_named_three_of_them_at_least(tmp_path):
    paths = [save(tmp_path / f"{i}.png") for i in range(20)]
    for path in paths[10:15]:
        path.write_bytes(path.read_bytes()[:-500])
    paths[12].write_bytes(b"")
    with pytest.raises(InputError, match=r"10\.png .*11\.png .*12\.png .*\(and 2 more\)"):
        read_images(paths, "test")


@given(
    st.sampled_from(
        [
            ("PNG", "RGBA", {}),
            ("JPEG", "CMYK", {"progressive": True}),
            ("GIF", "P", {}),
            ("TIFF", "RGB", {"compression": "tiff_lzw"}),
            ("BMP", "RGB", {}),
            ("TGA", "RGB", {"compression": "tga_rle"}),
            ("WEBP", "RGB", {}),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 4095), st.binary(max_size=4)), min_size=1, max_size=8),
    st.booleans(),
)
def test_a_damaged_image_is_read_or_refused(kind, changes, cut_off):
    name, mode, options = kind
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, format=name, **options)
    content = file.getvalue()
    for position, change in changes:
        position %= len(content)
        end = b"" if cut_off and position > 64 else content[position + len(change) :]
        content = (content[:position] + change + end) or b"x"
    with warnings.catch_warnings(), contextlib.suppress(InputError):
        warnings.simplefilter("ignore")  # Pillow warns of much that is odd
        pixels = decode_image(content, "image")
        assert (pixels.shape, pixels.dtype) == ((3, 32, 32), np.uint8)
