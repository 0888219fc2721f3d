"""Folders of any images are read, or refused by one line that names the file."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import datasets
from datasets import cache, images
from datasets.folder import write_folder
from datasets.images import GROUND, decode_image, read_image, read_images
from errors import InputError

ROOT = Path(__file__).parents[1]
RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 256, (32, 32, 3)).astype(np.uint8)
CHANNELS_FIRST = PIXELS.transpose(2, 0, 1)


def save(path, array=PIXELS, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def make_folder(root, classes=("cat", "dog", "emu"), train=4, test=2):
    """Write distinct images, and return their pixels by split in the order they will have."""
    expected = {}
    for split, count in (("train", train), ("test", test)):
        arrays = RNG.randint(0, 256, (len(classes), count, 32, 32, 3)).astype(np.uint8)
        for name, some in zip(classes, arrays):
            for index, array in enumerate(some):
                save(root / split / name / f"{index:03}.png", array)
        expected[split] = arrays.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
    return expected


def refused(folder, match):
    with pytest.raises(InputError, match=match) as refusal:
        datasets.get_dataset("folder", folder)
    assert "\n" not in str(refusal.value)
    assert not (folder / cache.CACHE_NAME).exists()


# One image.


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.webp", "without_ending"])
def test_an_image_of_the_right_size_keeps_its_pixels(name, tmp_path):
    kind = {"format": "PNG"} if "." not in name else {}
    lossless = {"lossless": True} if name.endswith("webp") else {}
    path = save(tmp_path / name, **kind, **lossless)
    np.testing.assert_array_equal(read_image(path), CHANNELS_FIRST)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_modes_are_converted_as_pillow_does(mode, tmp_path):
    path = save(tmp_path / "a.tif", mode=mode)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_show_grey(mode, tmp_path):
    image = Image.fromarray(np.full((32, 32, 3), 200, np.uint8)).convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat([[0], [255]], 16, axis=0).repeat(32, 1).astype("u1")))
    if mode == "PA":
        image = image.quantize(4)
        image.save(tmp_path / "a.png")
    else:
        image.convert(mode).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert (pixels[:, :16] == np.array(GROUND)[:, None, None]).all()
    assert (pixels[:, 16:] == 200).all()


def test_a_colour_declared_transparent_shows_grey(tmp_path):
    save(tmp_path / "a.png", np.full((32, 32, 3), 200, np.uint8), transparency=(200, 200, 200))
    assert (read_image(tmp_path / "a.png") == np.array(GROUND)[:, None, None]).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_keep_the_upper_eight(name, tmp_path):
    grey = (PIXELS[..., 0].astype(np.uint16) << 8) + 77
    save(tmp_path / name, grey)
    np.testing.assert_array_equal(read_image(tmp_path / name), [PIXELS[..., 0]] * 3)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_are_refused(dtype, tmp_path):
    save(tmp_path / "a.tif", PIXELS[..., 0].astype(dtype))
    with pytest.raises(InputError, match="convert it to 8 bits"):
        read_image(tmp_path / "a.tif")


@given(
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
    st.tuples(st.integers(1, 80), st.integers(1, 80)),
    st.integers(0, 255),
)
def test_any_image_becomes_pixels_within_its_own_range(mode, size, value):
    array = np.full(size[::-1], value, np.uint8)
    if mode == "I;16":
        image = Image.fromarray(array.astype(np.uint16) << 8)
    else:
        image = Image.fromarray(array).convert(mode)
    file = io.BytesIO()
    image.save(file, format="PNG")
    pixels = decode_image(file.getvalue(), "image")
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == np.uint8
    expected = value if mode != "1" else 255 * (value >= 128)
    if mode != "1" or value in (0, 255):  # between them it is dithered
        assert (pixels == expected).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (33, 31), (480, 640), (64, 64)])
def test_any_size_becomes_32_by_32(shape, tmp_path):
    save(tmp_path / "a.png", np.full((*shape, 3), (10, 100, 250), np.uint8))
    assert (read_image(tmp_path / "a.png") == np.array([10, 100, 250])[:, None, None]).all()


def test_resizing_is_antialiased(tmp_path):
    fine = np.indices((256, 256)).sum(axis=0) % 2 * 255
    save(tmp_path / "a.png", fine.astype(np.uint8))
    assert abs(read_image(tmp_path / "a.png").astype(int) - 127).max() < 8


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((32, 32, 3), value, np.uint8)) for value in (50, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.gif") == 50).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(orientation, tmp_path):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    save(tmp_path / "a.png", np.zeros((300, 300), np.uint8))
    monkeypatch.setattr(images, "MAX_PIXELS", 300 * 300 - 1)
    monkeypatch.setattr(Image.Image, "resize", None)
    with pytest.raises(InputError, match=r"\(300, 300\) pixels are more than 89,999"):
        read_image(tmp_path / "a.png")


def test_a_bomb_of_a_few_kilobytes_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(tmp_path / "a.png", np.zeros((1, 1), np.uint8))
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_no_program_is_started_for_postscript(tmp_path):
    save(tmp_path / "a.eps")
    with pytest.raises(InputError, match="not an image in a format"):
        read_image(tmp_path / "a.eps")


def test_a_file_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(InputError, match=r"100 at most are expected"):
        read_image(save(tmp_path / "a.png"))


def test_broken_images_are_named_three_of_them_at_least(tmp_path):
    paths = [save(tmp_path / f"{i}.png") for i in range(200)]
    for path in paths[10:15]:
        path.write_bytes(path.read_bytes()[:-500])
    paths[12].write_bytes(b"")
    with pytest.raises(InputError, match=r"10\.png .*11\.png .*12\.png .*\(and 2 more\)"):
        read_images(paths, "test")


# A folder.


def test_a_folder_is_read_in_alphabetical_order(tmp_path):
    expected = make_folder(tmp_path)
    dataset = datasets.get_dataset("folder", tmp_path)
    assert dataset.classes == ("cat", "dog", "emu")
    np.testing.assert_array_equal(dataset.train.images, expected["train"])
    np.testing.assert_array_equal(dataset.test.images, expected["test"])
    assert dataset.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.test.labels.tolist() == [0] * 2 + [1] * 2 + [2] * 2
    np.testing.assert_allclose(dataset.mean, expected["train"].mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(dataset.std, expected["train"].std(axis=(0, 2, 3)), rtol=1e-6)


def test_images_written_as_a_folder_are_read_again(tmp_path):
    shapes = datasets.get_dataset("shapes")
    train, test = shapes.train.take(np.arange(60)), shapes.test.take(np.arange(40))
    write_folder(tmp_path / "images", train, test, shapes.classes)
    found = datasets.get_dataset("folder", tmp_path / "images")
    assert found.classes == tuple(sorted(shapes.classes))
    for split, written in ((found.train, train), (found.test, test)):
        names = np.array(shapes.classes)[written.labels]
        order = np.argsort(names, kind="stable")
        np.testing.assert_array_equal(split.images, written.images[order])
        assert [found.classes[label] for label in split.labels] == names[order].tolist()
    with pytest.raises(InputError, match="cannot be written"):
        write_folder(tmp_path / "images", train, test, shapes.classes)


def test_what_file_managers_leave_is_passed_over(tmp_path):
    make_folder(tmp_path)
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "train/.hidden",
        "train/cat/.DS_Store",
        "test/dog/desktop.ini",
    ):
        (tmp_path / name).write_text("litter")
    assert len(datasets.get_dataset("folder", tmp_path).train) == 12


def test_names_may_hold_anything(tmp_path):
    names = ("\N{CAT FACE} $x$", "no\nline", "b" * 200)
    make_folder(tmp_path, names, train=1, test=1)
    assert datasets.get_dataset("folder", tmp_path).classes == tuple(sorted(names))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda root: os.rename(root / "train", root / "x"), "no folder .*train: .*train/<class>"),
        (lambda root: os.rename(root / "test", root / "x"), "no folder .*test: "),
        (lambda root: os.rename(root / "test/dog", root / "dog"), "test lacks the class 'dog'"),
        (lambda root: (root / "test/fox").mkdir(), "test/fox holds no images"),
        (lambda root: (root / "train/fox").mkdir(), "train/fox holds no images"),
        (lambda root: save(root / "test/fox/0.png"), "train lacks the class 'fox'"),
        (lambda root: save(root / "train/0.png"), r"train/0\.png is in no class folder"),
        (lambda root: save(root / "train/cat/x/0.png"), "cat/x is not a regular file"),
        (lambda root: os.mkfifo(root / "train/cat/pipe"), "cat/pipe is not a regular file"),
        (lambda root: os.symlink("gone", root / "train/cat/link"), "cat/link cannot be read"),
        (lambda root: os.symlink("link", root / "train/cat/link"), "cat/link cannot be read"),
        (lambda root: (root / "train/cat/a.txt").write_text("x"), r"a\.txt is not an image"),
    ],
)  # fmt: skip
def test_what_is_no_folder_of_images_is_refused(change, match, tmp_path):
    make_folder(tmp_path)
    change(tmp_path)
    refused(tmp_path, match)


def test_a_name_that_is_no_text_is_refused(tmp_path):
    make_folder(tmp_path, ("cat", os.fsdecode(b"caf\xe9")))
    refused(tmp_path, r"train: the name 'caf\\udce9' is not in UTF-8")


def test_one_class_is_not_enough(tmp_path):
    make_folder(tmp_path, ("cat",))
    refused(tmp_path, "1 class folders, at least 2 needed")


def test_a_folder_has_to_be_named():
    with pytest.raises(InputError, match="needs --data-dir"):
        datasets.get_dataset("folder")


# The cache.


def test_images_are_decoded_once(tmp_path, monkeypatch):
    make_folder(tmp_path)
    one = datasets.get_dataset("folder", tmp_path)
    monkeypatch.setattr(cache, "read_images", None)
    other = datasets.get_dataset("folder", tmp_path)
    assert one.fingerprint == other.fingerprint
    other.train.images[:] = 0  # it may be worked on like any array


@pytest.mark.parametrize(
    "change",
    [
        lambda root: save(root / "train/cat/new.png"),
        lambda root: (root / "train/cat/000.png").unlink(),
        lambda root: os.rename(root / "train/cat/000.png", root / "train/cat/x.png"),
        lambda root: os.rename(root / "train/cat/000.png", root / "train/dog/x.png"),
        lambda root: save(root / "test/dog/000.png", np.zeros((32, 32), np.uint8)),
        lambda root: os.utime(root / "test/dog/000.png", ns=(1, 1)),
    ],
)
def test_a_change_in_the_folder_is_noticed(change, tmp_path, monkeypatch):
    make_folder(tmp_path)
    datasets.get_dataset("folder", tmp_path)
    decoded = []

    def read(paths, what):
        decoded.append(what)
        return read_images(paths, what)

    monkeypatch.setattr(cache, "read_images", read)
    change(tmp_path)
    datasets.get_dataset("folder", tmp_path)
    assert len(decoded) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b"",
        lambda content: content[:1000] + bytes([content[1000] ^ 1]) + content[1001:],
        lambda content: b"x" + content[1:],
    ],
)
def test_a_damaged_cache_is_made_again(damage, tmp_path):
    make_folder(tmp_path)
    one = datasets.get_dataset("folder", tmp_path)
    path = tmp_path / cache.CACHE_NAME
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert datasets.get_dataset("folder", tmp_path).fingerprint == one.fingerprint
    assert path.read_bytes() == whole


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_to_does_without(reason, tmp_path, monkeypatch, caplog):
    def refuse(**_):
        raise OSError(reason, os.strerror(reason))

    make_folder(tmp_path)
    monkeypatch.setattr("datasets.files.tempfile.mkstemp", refuse)
    assert len(datasets.get_dataset("folder", tmp_path).train) == 12
    assert "may not be written to" in caplog.text
    assert not (tmp_path / cache.CACHE_NAME).exists()


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
from datasets.__main__ import main
sys.exit(main(["--dataset", "folder", "--data-dir", sys.argv[1]]))
"""


@pytest.mark.parametrize("old", [None, b"an older cache"])
def test_a_disk_that_fills_up_leaves_no_half_a_cache(old, tmp_path):
    make_folder(tmp_path)
    path = tmp_path / cache.CACHE_NAME
    if old:
        path.write_bytes(old)
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr == f"error: {path} cannot be written: File too large\n"
    assert (path.read_bytes() if path.exists() else None) == old
    assert sorted(os.listdir(tmp_path)) == sorted(
        {"train", "test"} | ({path.name} if old else set())
    )


def test_a_kill_in_the_middle_of_writing_leaves_no_half_a_cache(tmp_path):
    make_folder(tmp_path)
    program = (
        "import os, signal, sys, datasets.files as files\n"
        "files.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "import datasets; datasets.get_dataset('folder', sys.argv[1])"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / cache.CACHE_NAME).exists()
    assert len(datasets.get_dataset("folder", tmp_path).train) == 12


# The command.


@pytest.mark.parametrize(
    "flags",
    [
        ["--no-augment"],
        ["--cutout", "16", "--mixup", "1", "--cutmix", "1", "--label-smoothing", "0.1"],
    ],
)
def test_a_preview_is_drawn_of_any_data_set(flags, tmp_path, capsys):
    from datasets.__main__ import main

    make_folder(tmp_path, ("cat", "dollar $", "x_1"), train=2)
    picture = tmp_path / "preview.png"
    data = ["--dataset", "folder", "--data-dir", str(tmp_path)]
    assert main([*data, "--preview", str(picture), *flags]) == 0
    out, err = capsys.readouterr()
    assert "folder: 6 training, 6 test images" in out
    assert not err
    with Image.open(picture) as image:
        assert min(image.size) > 300


def test_a_preview_without_an_ending_is_png_and_says_so(tmp_path, capsys):
    from datasets.__main__ import main

    make_folder(tmp_path)
    data = ["--dataset", "folder", "--data-dir", str(tmp_path)]
    assert main([*data, "--preview", str(tmp_path / "grid")]) == 0
    assert capsys.readouterr().out.endswith(f"wrote {tmp_path / 'grid.png'}\n")
    assert (tmp_path / "grid.png").exists()


def test_captions_are_short_and_plain():
    from datasets.preview import caption

    assert caption("horizontal stripes", 18) == "horizontal stripes"
    assert caption("n02123045_tabby_cat_0", 11) == "n0212…cat_0"
    assert caption("n02123045_tabby_cat_0", 10) == "n0212…at_0"
    assert caption("$x$ caf\udce9", 18) == r"\$x\$ caf?"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "shape"], "unknown data set 'shape': did you mean shapes?"),
        (["--preview", "/nowhere/at/all.png"], "cannot be written: No such file"),
        (["--preview", "x.nothing"], "not supported"),
        (["--cutout", "-1"], "must be 0"),
        (["--seed", "-1"], "out of range"),
    ],
)
def test_a_mistake_is_one_line(flags, message, capsys):
    from datasets.__main__ import main

    assert main(flags) == 2
    assert re.fullmatch(rf"error: .*{re.escape(message)}.*\n", capsys.readouterr().err)
