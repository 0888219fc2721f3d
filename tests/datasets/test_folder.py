"""A folder of images is a data set, or is refused by one line."""

from __future__ import annotations

import os

import numpy as np
import pytest
from image_files import make_folder, save

import datasets
from datasets import cache
from datasets.folder import write_folder
from errors import InputError


def refused(folder, match):
    with pytest.raises(InputError, match=match) as refusal:
        datasets.get_dataset("folder", folder)
    assert "\n" not in str(refusal.value)
    assert not (folder / cache.CACHE_NAME).exists()


def test_a_folder_is_read_in_alphabetical_order(tmp_path):
    expected = make_folder(tmp_path)
    dataset = datasets.get_dataset("folder", tmp_path)
    assert dataset.classes == ("cat", "dog", "emu")
    np.testing.assert_array_equal(dataset.train.images, expected["train"])
    np.testing.assert_array_equal(dataset.test.images, expected["test"])
    assert dataset.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.test.labels.tolist() == [0] * 2 + [1] * 2 + [2] * 2
    np.testing.assert_allclose(
        dataset.normaliser.mean, expected["train"].mean(axis=(0, 2, 3)), rtol=1e-6
    )
    np.testing.assert_allclose(
        dataset.normaliser.std, expected["train"].std(axis=(0, 2, 3)), rtol=1e-6
    )


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
