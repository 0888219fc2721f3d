"""A folder of images is a data set, or is refused by one line."""

from __future__ import annotations

import os

import numpy as np
import pytest
from image_files import make_folder, save

import datasets
from errors import InputError


def refused(folder, match):
    with pytest.raises(InputError, match=match) as refusal:
        datasets.get_dataset("folder", folder)
    assert "\n" not in str(refusal.value)


def test_a_folder_that_was_written_is_read_in_alphabetical_order(tmp_path):
    names = ("emu", "\N{CAT FACE} $x$", "no\nline", "b" * 200)
    written = make_folder(tmp_path, names)
    dataset = datasets.get_dataset("folder", tmp_path)
    assert dataset.classes == tuple(sorted(names))
    for split, original in zip((dataset.train, dataset.test), written):
        labels = np.array([dataset.classes.index(names[label]) for label in original.labels])
        order = np.argsort(labels, kind="stable")
        np.testing.assert_array_equal(split.images, original.images[order])
        np.testing.assert_array_equal(split.labels, labels[order])
    mean = written[0].images.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(dataset.normaliser.mean, mean, rtol=1e-6)


LITTER = (".DS_Store", "Thumbs.db", "train/.hidden", "train/cat/.DS_Store", "test/dog/desktop.ini")


def test_what_file_managers_leave_is_passed_over(tmp_path):
    make_folder(tmp_path)
    for name in LITTER:
        (tmp_path / name).write_text("litter")
    assert len(datasets.get_dataset("folder", tmp_path).train) == 12


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda root: os.rename(root / "train", root / "x"), "no folder .*train: .*train/<class>"),
        (lambda root: os.rename(root / "test/dog", root / "dog"), "test lacks the class 'dog'"),
        (lambda root: (root / "test/fox").mkdir(), "test/fox holds no images"),
        (lambda root: save(root / "test/fox/0.png"), "train lacks the class 'fox'"),
        (lambda root: save(root / "train/0.png"), r"train/0\.png is in no class folder"),
        (lambda root: save(root / "train/cat/x/0.png"), "cat/x is not a regular file"),
        (lambda root: os.mkfifo(root / "train/cat/pipe"), "cat/pipe is not a regular file"),
        (lambda root: os.symlink("gone", root / "train/cat/link"), "cat/link cannot be read"),
        (lambda root: (root / "train/cat/a.txt").write_text("x"), r"a\.txt is not an image"),
        (
            lambda root: os.rename(root / "train/cat", os.fsencode(root / "train") + b"/caf\xe9"),
            r"train: the name 'caf\\udce9' is not in UTF-8",
        ),
    ],
)
def test_what_is_no_folder_of_images_is_refused(change, match, tmp_path):
    make_folder(tmp_path)
    change(tmp_path)
    refused(tmp_path, match)


def test_one_class_is_not_enough_nor_no_folder(tmp_path):
    make_folder(tmp_path, ("cat",))
    refused(tmp_path, "1 class folders, at least 2 needed")
    refused(None, "needs --data-dir")
