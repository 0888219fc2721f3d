"""A folder of images, laid out in either way, is a data set, or is refused by one line."""

from __future__ import annotations

import os
import re

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


COUNT = 60
NAMES = ("bird", "cat", "ship")


@pytest.fixture
def kaggles(tmp_path):
    """Kaggle's layout: sixty labelled images whose red is their number."""
    for number in range(1, COUNT + 1):
        image = np.full((32, 32, 3), (number, 0, 7), np.uint8)
        save(tmp_path / "train" / f"{number}.png", image)
    lines = [f"{number},{NAMES[number % 3]}" for number in range(1, COUNT + 1)]
    # As Windows saves it.
    table = "\r\n".join(["\N{BYTE ORDER MARK}id,label", *lines, ""])
    (tmp_path / "trainLabels.csv").write_bytes(table.encode())
    return tmp_path


def test_a_tenth_of_every_class_is_the_test_split(kaggles):
    dataset = datasets.get_dataset("folder", kaggles)
    assert dataset.classes == NAMES
    assert (len(dataset.train), len(dataset.test)) == (54, 6)
    assert np.bincount(dataset.test.labels).tolist() == [2, 2, 2]
    numbers = []
    for split in (dataset.train, dataset.test):
        numbers += split.images[:, 0, 0, 0].tolist()
        assert (split.images[:, 0, 0, 0] % 3 == split.labels).all()
    assert sorted(numbers) == list(range(1, COUNT + 1))


END, WRONG = r"\Z", "line 62: not a new number and its label"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (END, "61,cat", r"train/61\.png cannot be read"),
        (END, "1,cat", WRONG),
        (END, "../test/1,cat", WRONG),
        (END, "\N{ARABIC-INDIC DIGIT TWO},cat", WRONG),
        (END, "61, ", WRONG),
        (END, "7,cat,dog", WRONG),
        (END, '62,"cat', "line 62: "),
        (END, "61," + "x" * 200_000, "field larger than field limit"),
        ("\n7,cat", "\n7,catt", r"trainLabels\.csv: test set: class 'catt' has 0 images"),
        ("id,", "ID,", "does not begin with the line id,label"),
        ("id,label", "\xff\0", "does not begin with the line id,label|line contains NUL"),
        ("bird|ship", "cat", "names 1 classes, at least 2 needed"),
    ],
    ids=range(12),
)
def test_a_table_that_makes_no_sense_is_refused(old, new, match, kaggles):
    path = kaggles / "trainLabels.csv"
    path.write_bytes(re.sub(old, new, path.read_bytes().decode()).encode())
    refused(kaggles, match)
