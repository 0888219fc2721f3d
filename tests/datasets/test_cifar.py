"""CIFAR is found in every form that users have on disk, and refused where it is damaged."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_cifar import (
    TINY10,
    TINY100,
    binary_files,
    official_python_file,
    pack,
    python_files,
    tiny_arrays,
    with_archive,
    write_all,
)

import datasets
from datasets.cifar import CIFAR10, CIFAR100, MIRRORS_VARIABLE, decode_binary, load_cifar
from errors import InputError

FORMS = {"binary": binary_files, "python": python_files}
SOURCES = pytest.mark.parametrize("source", [TINY10, TINY100], ids=["cifar10", "cifar100"])


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Let nothing reach the real mirrors: port 9 of this machine refuses."""
    monkeypatch.setenv(MIRRORS_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.download.PAUSE", 0)


def assert_is(dataset, source):
    images, labels = tiny_arrays(source)
    border = source.train_size * len(source.binary.train)
    np.testing.assert_array_equal(dataset.train.images, images[:border])
    np.testing.assert_array_equal(dataset.train.labels, labels[:border])
    np.testing.assert_array_equal(dataset.test.images, images[border:])
    np.testing.assert_array_equal(dataset.test.labels, labels[border:])
    assert dataset.train.images.dtype == np.uint8
    assert dataset.train.labels.dtype == np.int32
    assert dataset.train.images.flags.c_contiguous


@SOURCES
@pytest.mark.parametrize("unpacked", [True, False])
def test_binary_files_are_read_with_or_without_their_folder(source, unpacked, tmp_path):
    folder = tmp_path / source.binary.folder if unpacked else tmp_path
    write_all(folder, binary_files(source))
    assert_is(load_cifar(source, tmp_path), source)


@SOURCES
def test_the_binary_archive_is_read_and_nothing_is_written(source, tmp_path):
    archive = pack(source.binary.folder, binary_files(source))
    write_all(tmp_path, {source.binary.archive: archive})
    assert_is(load_cifar(with_archive(source, "binary", archive), tmp_path), source)
    assert os.listdir(tmp_path) == [source.binary.archive]


@SOURCES
@pytest.mark.parametrize("protocol", range(6))
def test_python_batches_are_read(source, protocol, tmp_path):
    write_all(tmp_path / source.python.folder, python_files(source, protocol))
    assert_is(load_cifar(source, tmp_path), source)


def test_python_batches_of_six_bytes_a_pixel_are_read(tmp_path, monkeypatch):
    images, labels = tiny_arrays(TINY10)
    monkeypatch.setattr("tiny_cifar.tiny_arrays", lambda *_: (np.zeros_like(images), labels))
    write_all(tmp_path, python_files(TINY10, protocol=0))
    assert not load_cifar(TINY10, tmp_path).train.images.any()


@SOURCES
def test_the_python_archive_is_read(source, tmp_path):
    archive = pack(source.python.folder, python_files(source))
    write_all(tmp_path, {source.python.archive: archive})
    assert_is(load_cifar(with_archive(source, "python", archive), tmp_path), source)


@SOURCES
def test_python_batches_as_python_2_saved_them_are_read(source, tmp_path):
    images, labels = tiny_arrays(source)
    key = source.label_key.encode()
    names = (*source.python.train, source.python.test)
    borders = np.arange(1, len(names)) * source.train_size
    files = {
        name: official_python_file(some, numbers.tolist(), key)
        for name, some, numbers in zip(names, np.split(images, borders), np.split(labels, borders))
    }
    write_all(tmp_path, files)
    assert_is(load_cifar(source, tmp_path), source)


def names_file(source, form, names, protocol=0):
    if form == "binary":
        return {source.binary.names: "\n".join([*names, "", ""]).encode()}
    key = {"labels": "label_names", "fine_labels": "fine_label_names"}[source.label_key]
    return {source.python.names: pickle.dumps({key.encode(): [*map(str.encode, names)]}, protocol)}


@SOURCES
@pytest.mark.parametrize("form", ["binary", "python"])
@pytest.mark.parametrize("packed", [False, True])
def test_classes_have_the_names_that_lie_with_the_images(source, form, packed, tmp_path):
    names = [f"class {number}" for number in range(len(source.classes))]
    row, files = getattr(source, form), FORMS[form](source)
    assert source.classes == load_cifar(source, write_all(tmp_path / "a", files)).classes
    files.update(names_file(source, form, names))
    if packed:
        archive = pack(row.folder, files)
        files, source = {row.archive: archive}, with_archive(source, form, archive)
    assert load_cifar(source, write_all(tmp_path / "b", files)).classes == tuple(names)


@pytest.mark.parametrize("form", ["binary", "python"])
@pytest.mark.parametrize("names", [["cat"] * 10, [*"abcdefghi"], [*"abcdefghijk"]])
def test_class_names_that_do_not_fit_are_refused(form, names, tmp_path):
    write_all(tmp_path, {**FORMS[form](TINY10), **names_file(TINY10, form, names)})
    with pytest.raises(InputError, match=r"meta.* does not hold 10 different class names"):
        load_cifar(TINY10, tmp_path)


def test_what_is_no_list_of_names_is_refused(tmp_path):
    write_all(tmp_path, {**python_files(TINY10), "batches.meta": pickle.dumps({"label_names": 3})})
    with pytest.raises(InputError, match=r"batches\.meta holds no list of label_names"):
        load_cifar(TINY10, tmp_path)


def test_all_forms_give_the_same_data_set(tmp_path):
    write_all(tmp_path / "a", binary_files(TINY10))
    write_all(tmp_path / "b", python_files(TINY10))
    one, other = load_cifar(TINY10, tmp_path / "a"), load_cifar(TINY10, tmp_path / "b")
    assert one.fingerprint == other.fingerprint


def test_an_archive_of_ones_own_is_accepted_by_the_checksum_beside_it(tmp_path):
    files = binary_files(TINY10)
    archive = pack(TINY10.binary.folder, files)
    path = write_all(tmp_path, {TINY10.binary.archive: archive}) / TINY10.binary.archive
    with pytest.raises(InputError, match=r"truncated or altered.*\.sha256 beside it"):
        load_cifar(TINY10, tmp_path)
    digest = with_archive(TINY10, "binary", archive).binary.digests["sha256"]
    beside = path.with_name(path.name + ".sha256")
    beside.write_text(f"{digest}  {path.name}\n")
    assert_is(load_cifar(TINY10, tmp_path), TINY10)
    beside.write_text("no checksum")
    with pytest.raises(InputError, match="does not begin with a SHA-256"):
        load_cifar(TINY10, tmp_path)


@given(st.integers(1, 4), st.integers(1, 2), st.binary(max_size=3074 * 4), st.booleans())
def test_any_bytes_are_images_or_refused(count, label_bytes, content, fill_up):
    record = label_bytes + 3072
    if fill_up:
        content = content[: count * record].ljust(count * record, b"\x80")
    if len(content) != count * record:
        with pytest.raises(InputError, match="truncated or altered"):
            decode_binary("file", content, count, label_bytes)
        return
    images, labels = decode_binary("file", content, count, label_bytes)
    for index in range(count):
        one = content[index * record : (index + 1) * record]
        assert images[index].tobytes() == one[label_bytes:]
        assert labels[index] == one[label_bytes - 1]


def test_a_whole_set_of_the_official_size_is_read(tmp_path):
    record = 3073
    for name in (*CIFAR10.binary.train, CIFAR10.binary.test):
        content = np.zeros((10_000, record), np.uint8)
        content[:, 0] = np.arange(10_000) % 10
        content[:, 1:] = 200
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
def test_statistics_are_those_of_the_papers(source, mean, std):
    np.testing.assert_allclose(np.divide(source.mean, 255), mean, atol=3e-4)
    np.testing.assert_allclose(np.divide(source.std, 255), std, atol=3e-4)


def test_there_are_a_hundred_different_classes_in_order():
    assert len(set(CIFAR100.classes)) == 100
    assert list(CIFAR100.classes) == sorted(CIFAR100.classes)


# What is refused. Each message is one line that names the file.


def first_label(content, label):
    return bytes([label]) + content[1:]


@pytest.mark.parametrize(
    ("files", "name", "change", "words"),
    [
        (binary_files, "data_batch_3.bin", lambda old: old[:-1], "data_batch_3.bin has 61,459"),
        (python_files, "data_batch_3", lambda old: old[:-1], "data_batch_3 is not one of"),
        (binary_files, "data_batch_2.bin", lambda old: old + b"0", "data_batch_2.bin has 61,461"),
        (binary_files, "test_batch.bin", lambda old: b"", "test_batch.bin has 0 bytes"),
        (binary_files, "data_batch_4.bin", lambda old: None, "data_batch_4.bin cannot be read: No"),
        (binary_files, "data_batch_1.bin", lambda old: first_label(old, 10), "label 10 of image 0"),
        (
            binary_files,
            "test_batch.bin",
            lambda old: first_label(old, (old[0] + 1) % 10),
            "images, 3 expected",
        ),
    ],
    ids=["short", "short pickle", "long", "empty", "missing", "no class", "another class"],
)
def test_a_damaged_file_is_named(files, name, change, words, tmp_path):
    contents = files(TINY10)
    changed = change(contents.pop(name))
    write_all(tmp_path, contents if changed is None else {**contents, name: changed})
    with pytest.raises(InputError) as refusal:
        load_cifar(TINY10, tmp_path)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_pipe_in_a_files_place_does_not_hang(tmp_path):
    write_all(tmp_path, binary_files(TINY10))
    (tmp_path / "data_batch_3.bin").unlink()
    os.mkfifo(tmp_path / "data_batch_3.bin")
    with pytest.raises(InputError, match="not a regular file"):
        load_cifar(TINY10, tmp_path)


def test_neither_data_nor_network_says_what_to_do(tmp_path):
    with pytest.raises(InputError) as refusal:
        datasets.get_dataset("cifar100", tmp_path)
    message = str(refusal.value)
    assert "\n" not in message
    for part in ("cifar-100-binary.tar.gz", str(tmp_path), "https://", "--dataset shapes"):
        assert part in message


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean cifar100, cifar10"):
        datasets.get_dataset("cifar-100")


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
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
