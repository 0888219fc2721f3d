"""CIFAR is found in every form that users have on disk, and refused where it is damaged."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import tarfile

import numpy as np
import pytest
from tiny_cifar import (
    TINY10,
    TINY100,
    names_file,
    pack,
    tiny_arrays,
    tiny_files,
    with_archive,
    write_all,
)

import datasets
from datasets.cifar import CIFAR10, CIFAR100, MIRRORS_VARIABLE, load_cifar
from errors import InputError

SOURCES = pytest.mark.parametrize("source", [TINY10, TINY100], ids=["cifar10", "cifar100"])
FORMS = pytest.mark.parametrize("form", ["binary", "python"])


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Let nothing reach the real mirrors: port 9 of this machine refuses."""
    monkeypatch.setenv(MIRRORS_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.download.PAUSE", 0)


def refused(folder, match, source=TINY10):
    with pytest.raises(InputError, match=match) as refusal:
        load_cifar(source, folder)
    assert "\n" not in str(refusal.value)


def assert_is(dataset, source):
    images, labels = tiny_arrays(source)
    border = source.train_size * len(source.binary.train)
    for split, part in ((dataset.train, slice(border)), (dataset.test, slice(border, None))):
        np.testing.assert_array_equal(split.images, images[part])
        np.testing.assert_array_equal(split.labels, labels[part])
        assert split.images.flags.c_contiguous


@SOURCES
@FORMS
@pytest.mark.parametrize("place", ["here", "in its folder", "packed"])
def test_every_form_is_read_and_nothing_is_written(source, form, place, tmp_path):
    row, files = getattr(source, form), tiny_files(source, form)
    if place == "packed":
        archive = pack(row.folder, files)
        files, source = {row.archive: archive}, with_archive(source, form, archive)
    folder = write_all(tmp_path / (row.folder if place == "in its folder" else "."), files)
    dataset = load_cifar(source, tmp_path)
    assert_is(dataset, source)
    assert dataset.classes == source.classes
    assert sorted(os.listdir(folder)) == sorted(files)


def test_python_batches_of_six_bytes_a_pixel_are_read(tmp_path, monkeypatch):
    images, labels = tiny_arrays(TINY10)
    monkeypatch.setattr("tiny_cifar.tiny_arrays", lambda _: (np.zeros_like(images), labels))
    write_all(tmp_path, tiny_files(TINY10, "python", protocol=0))
    assert not load_cifar(TINY10, tmp_path).train.images.any()


@SOURCES
@FORMS
def test_classes_have_the_names_that_lie_with_the_images(source, form, tmp_path):
    names = [f"class {number}" for number in range(len(source.classes))]
    row, files = getattr(source, form), tiny_files(source, form)
    archive = pack(row.folder, {**files, **names_file(source, form, names)})
    write_all(tmp_path, {row.archive: archive})
    assert load_cifar(with_archive(source, form, archive), tmp_path).classes == tuple(names)


@FORMS
@pytest.mark.parametrize("names", [["cat"] * 10, [*"abcdefghi"], [*"abcdefghijk"]])
def test_class_names_that_do_not_fit_are_refused(form, names, tmp_path):
    write_all(tmp_path, {**tiny_files(TINY10, form), **names_file(TINY10, form, names)})
    refused(tmp_path, r"meta.* does not hold 10 different class names")


def test_what_is_no_list_of_names_is_refused(tmp_path):
    write_all(tmp_path, tiny_files(TINY10, "python"))
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": 3}))
    refused(tmp_path, r"batches\.meta holds no list of label_names")


FILES = tiny_files(TINY10, "binary")
FOLDER = TINY10.binary.folder
WHOLE = pack(FOLDER, FILES)


def test_an_archive_of_ones_own_is_accepted_by_the_checksum_beside_it(tmp_path):
    others = {"readme.html": b"x" * 1000, "more/test_batch.bin": b"?", "../../test_batch.bin": b"?"}
    archive = pack(f"./{FOLDER}", {**others, **FILES})  # as `tar -C` names what it packs
    path = write_all(tmp_path, {TINY10.binary.archive: archive}) / TINY10.binary.archive
    refused(tmp_path, r"truncated or altered: sha256 \w{64}, not c4a38.*\.sha256 beside it")
    beside = path.with_name(path.name + ".sha256")
    beside.write_text(f"{hashlib.sha256(archive).hexdigest()}  {path.name}\n")
    assert_is(load_cifar(TINY10, tmp_path), TINY10)
    beside.write_text("no checksum")
    refused(tmp_path, "does not begin with a SHA-256")


@pytest.mark.parametrize(
    ("archive", "match"),
    [
        (pack(FOLDER, {"test_batch.bin": b""}, type=tarfile.SYMTYPE), "is not a regular file"),
        (
            pack(FOLDER, {**FILES, "test_batch.bin": bytes(92_191)}),
            "not a regular file of its size",
        ),
        (pack("elsewhere", FILES), ": data_batch_1.bin is missing"),
        (b"", "is damaged|is missing"),
        (b"no archive at all", "is damaged"),
        (gzip.compress(b"x"), "is damaged"),
        (WHOLE[: len(WHOLE) // 2], "is damaged"),
    ],
    ids=range(7),
)
def test_an_archive_that_lacks_something_is_refused(archive, match, tmp_path):
    write_all(tmp_path, {TINY10.binary.archive: archive})
    refused(tmp_path, f"binary.tar.gz.*{match}", with_archive(TINY10, "binary", archive))


def test_a_whole_set_of_the_official_size_is_read(tmp_path):
    content = np.full((10_000, 3073), 200, np.uint8)
    content[:, 0] = np.arange(10_000) % 10
    for name in (*CIFAR10.binary.train, CIFAR10.binary.test):
        content.tofile(tmp_path / name)
    dataset = datasets.get_dataset("cifar10", tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (50_000, 10_000)
    assert dataset.train.images.min() == 200
    assert dataset.classes[:3] == ("airplane", "automobile", "bird")


@pytest.mark.parametrize(
    ("source", "mean", "std"),
    [
        (CIFAR10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        (CIFAR100, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    ],
)
def test_statistics_are_those_of_the_papers_and_classes_in_their_order(source, mean, std):
    np.testing.assert_allclose(np.divide(source.mean, 255), mean, atol=3e-4)
    np.testing.assert_allclose(np.divide(source.std, 255), std, atol=3e-4)
    assert list(source.classes) == sorted(set(source.classes))
    assert len(source.classes) in (10, 100)


def first_label(label):
    return lambda path: path.write_bytes(bytes([label]) + path.read_bytes()[1:])


OTHER = (tiny_arrays(TINY10)[1][100] + 1) % 10  # than the first test image's


def resize(length):
    return lambda path: os.truncate(path, length)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("data_batch_3.bin", resize(61_459), "data_batch_3.bin has 61,459 bytes, not 61,460"),
        ("data_batch_2.bin", resize(61_461), "data_batch_2.bin has 61,461 bytes"),
        ("test_batch.bin", resize(0), "test_batch.bin has 0 bytes"),
        ("data_batch_3", resize(61_459), "data_batch_3 is not one of"),
        ("data_batch_4.bin", os.unlink, ": data_batch_4.bin is missing"),
        ("data_batch_4.bin", pipe, "data_batch_4.bin is not a regular file"),
        ("data_batch_1.bin", first_label(10), "training set: label 10 of image 0 is out of range"),
        ("test_batch.bin", first_label(OTHER), "test set: class .* images, 3 expected"),
    ],
)
def test_a_damaged_file_is_named(name, change, match, tmp_path):
    write_all(tmp_path, tiny_files(TINY10, "binary" if name.endswith("bin") else "python"))
    change(tmp_path / name)
    refused(tmp_path, match)


def test_neither_data_nor_network_says_what_to_do(tmp_path):
    with pytest.raises(InputError) as refusal:
        datasets.get_dataset("cifar100", tmp_path)
    message = str(refusal.value)
    assert "\n" not in message
    for part in ("cifar-100-binary.tar.gz", str(tmp_path), "https://", "--dataset shapes"):
        assert part in message


def test_mistyped_names_are_told(tmp_path):
    with pytest.raises(InputError, match="did you mean cifar100, cifar10"):
        datasets.get_dataset("cifar-100")
    with pytest.raises(InputError, match="there is no folder"):
        datasets.get_dataset("cifar10", tmp_path / "typing error")
    assert not os.listdir(tmp_path)


def test_the_default_folder_is_mxnets(monkeypatch, tmp_path):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    write_all(tmp_path / "datasets" / "cifar10", {"data_batch_1.bin": b""})
    with pytest.raises(InputError, match=str(tmp_path)):
        datasets.get_dataset("cifar10")
    monkeypatch.delenv("MXNET_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datasets.default_data_dir("cifar10") == tmp_path / ".mxnet" / "datasets" / "cifar10"
