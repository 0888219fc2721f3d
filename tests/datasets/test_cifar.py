"""CIFAR is found in every form that users have on disk, and refused where it is damaged."""

from __future__ import annotations

import os

import numpy as np
import pytest
from tiny_cifar import TINY10, TINY100, pack, tiny_arrays, tiny_files, with_archive, write_all

import datasets
from datasets.cifar import CIFAR10, CIFAR100, MIRRORS_VARIABLE, load_cifar
from errors import InputError


def refused(folder, match, source=TINY10):
    with pytest.raises(InputError, match=match) as refusal:
        load_cifar(source, folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("source", [TINY10, TINY100], ids=["cifar10", "cifar100"])
@pytest.mark.parametrize("form", ["binary", "python"])
@pytest.mark.parametrize("place", ["here", "in its folder", "packed"])
def test_every_form_is_read_and_nothing_is_written(source, form, place, tmp_path):
    row, files = getattr(source, form), tiny_files(source, form)
    if place == "packed":
        archive = pack(row.folder, {"readme.html": b"x" * 1000, **files})
        files, source = {row.archive: archive}, with_archive(source, form, archive)
    folder = write_all(tmp_path / (row.folder if place == "in its folder" else "."), files)
    dataset = load_cifar(source, tmp_path)
    images, labels = tiny_arrays(source)
    border = source.train_size * len(source.binary.train)
    for split, part in ((dataset.train, slice(border)), (dataset.test, slice(border, None))):
        np.testing.assert_array_equal(split.images, images[part])
        np.testing.assert_array_equal(split.labels, labels[part])
    assert dataset.classes == source.classes
    assert sorted(os.listdir(folder)) == sorted(files)


def test_an_archive_that_is_not_the_published_one_is_refused(tmp_path):
    archive = pack(TINY10.binary.folder, tiny_files(TINY10, "binary"))
    write_all(tmp_path, {TINY10.binary.archive: archive})
    refused(tmp_path, r"gz is truncated or altered: sha256 \w{64}, not c4a38.* or unpack it")


def test_a_whole_set_of_the_official_size_is_read(tmp_path):
    content = np.full((10_000, 3073), 200, np.uint8)
    content[:, 0] = np.arange(10_000) % 10
    for name in (*CIFAR10.binary.train, CIFAR10.binary.test):
        content.tofile(tmp_path / name)
    dataset = datasets.get_dataset("cifar10", tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (50_000, 10_000)
    assert dataset.train.images.min() == 200
    assert dataset.classes[:3] == ("airplane", "automobile", "bird")
    assert list(CIFAR100.classes) == sorted(set(CIFAR100.classes))


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
        ("data_batch_4.bin", os.unlink, "data_batch_4.bin cannot be read: No such file"),
        ("data_batch_4.bin", pipe, "data_batch_4.bin is not a regular file"),
        ("data_batch_1.bin", first_label(10), "training set: label 10 of image 0 is out of range"),
        ("test_batch.bin", first_label(OTHER), "test set: class .* images, 3 expected"),
    ],
)
def test_a_damaged_file_is_named(name, change, match, tmp_path):
    write_all(tmp_path, tiny_files(TINY10, "binary" if name.endswith("bin") else "python"))
    change(tmp_path / name)
    refused(tmp_path, match)


def test_neither_data_nor_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv(MIRRORS_VARIABLE, "http://127.0.0.1:9")  # which refuses
    refused(tmp_path, f"cifar100 in {tmp_path}: .*cifar-100-b.*https://.*shapes", CIFAR100)


def test_mistyped_names_are_told(tmp_path):
    with pytest.raises(InputError, match="did you mean cifar100, cifar10"):
        datasets.get_dataset("cifar-100")
    with pytest.raises(InputError, match="there is no folder"):
        datasets.get_dataset("cifar10", tmp_path / "typing error")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("variable", "folder"), [("MXNET_HOME", "datasets"), ("HOME", ".mxnet/datasets")]
)
def test_the_default_folder_is_mxnets(variable, folder, monkeypatch, tmp_path):
    monkeypatch.delenv("MXNET_HOME")
    monkeypatch.setenv(variable, str(tmp_path))
    write_all(tmp_path / folder / "cifar10", {"data_batch_1.bin": b""})
    with pytest.raises(InputError, match=f"^{tmp_path / folder / 'cifar10'}/data"):
        datasets.get_dataset("cifar10")
