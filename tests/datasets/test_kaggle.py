"""Kaggle's layout is read as its competition hands it out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from image_files import save

import datasets
from datasets import kaggle
from errors import InputError

COUNT = 60
NAMES = ("bird", "cat", "ship")


@pytest.fixture
def folder(tmp_path):
    """Sixty labelled images whose red is their number, and twelve unlabelled ones."""
    for split, count in (("train", COUNT), ("test", 12)):
        for number in range(1, count + 1):
            image = np.full((32, 32, 3), (number, 0, 7), np.uint8)
            save(tmp_path / split / f"{number}.png", image)
    lines = [f"{number},{NAMES[number % 3]}" for number in range(1, COUNT + 1)]
    # As Windows saves it.
    table = "\r\n".join(["\N{BYTE ORDER MARK}id,label", *lines, ""])
    (tmp_path / "trainLabels.csv").write_bytes(table.encode())
    return tmp_path


def refused(folder, match):
    with pytest.raises(InputError, match=match) as refusal:
        datasets.get_dataset("folder", folder)
    assert "\n" not in str(refusal.value)


def test_a_tenth_of_every_class_is_the_test_split(folder):
    dataset = datasets.get_dataset("folder", folder)
    assert dataset.classes == NAMES
    assert (len(dataset.train), len(dataset.test)) == (54, 6)
    assert np.bincount(dataset.test.labels).tolist() == [2, 2, 2]
    numbers = []
    for split in (dataset.train, dataset.test):
        numbers += split.images[:, 0, 0, 0].tolist()
        assert (split.images[:, 0, 0, 0] % 3 == split.labels).all()
    assert sorted(numbers) == list(range(1, COUNT + 1))


def test_unlabelled_images_come_in_the_order_of_their_numbers(folder, monkeypatch):
    monkeypatch.setattr(kaggle, "CHUNK", 5)
    (folder / "test" / "7.png").rename(folder / "test" / "007.png")
    (one, other, last) = kaggle.unlabelled_images(folder)
    assert [*one[0], *other[0], *last[0]] == [*"123456", "007", "8", "9", "10", "11", "12"]
    for ids, images in (one, other, last):
        assert images[:, 0, 3, 3].tolist() == list(map(int, ids))


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("61,cat", r"train/61\.png cannot be read"),
        ("1,cat", "line 62: not a new number and its label"),
        ("../test/1,cat", "line 62: not a new number"),
        ("\N{ARABIC-INDIC DIGIT TWO},cat", "line 62: not a new number"),
        ("61, ", "line 62: not a new number"),
        ("7,cat,dog", "line 62: not a new number"),
        ('62,"cat', "line 62: "),
        ("61," + "x" * 200_000, "field larger than field limit"),
    ],
    ids=range(8),
)
def test_a_line_that_makes_no_sense_is_named(line, match, folder):
    with open(folder / "trainLabels.csv", "a", encoding="utf-8") as table:
        table.write(line)
    refused(folder, match)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"\n7,cat", b"\n7,catt", r"trainLabels\.csv: test set: class 'catt' has 0 images"),
        (b"id,", b"ID,", "does not begin with the line id,label"),
        (b"id,label", b"\xff\xfe\0", "does not begin with the line id,label|line contains NUL"),
        (b"bird|ship", b"cat", "names 1 classes, at least 2 needed"),
    ],
)
def test_another_table_is_refused(old, new, match, folder):
    path = folder / "trainLabels.csv"
    path.write_bytes(re.sub(old, new, path.read_bytes()))
    refused(folder, match)


def empty(folder):
    for path in folder.iterdir():
        path.rename(path.with_suffix(".jpg"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda test: (test / "7.png").write_bytes(b""), r"test/7\.png"),
        (empty, r"no images of the name <id>\.png"),
        (lambda test: test.rename(test.with_name("x")), "test cannot be read"),
    ],
)
def test_unlabelled_images_that_are_not_there_or_broken_are_refused(change, match, folder):
    change(folder / "test")
    with pytest.raises(InputError, match=match):
        list(kaggle.unlabelled_images(folder))
