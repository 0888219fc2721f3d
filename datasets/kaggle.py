"""The layout of Kaggle's CIFAR-10 competition: train/<id>.png and trainLabels.csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from datasets.base import Dataset, Split, make_dataset, split_validation
from datasets.images import read_images
from errors import InputError
from utils import read_regular

LABELS = "trainLabels.csv"  # a folder with it has this layout
TEST_SHARE = 10  # one labelled image in so many is for testing


def load_kaggle(data_dir: Path) -> Dataset:
    """Read the labelled images.

    Kaggle does not publish the labels of its test images. So a tenth of the labelled images, the
    same share of every class and always the same images, is the test split. Class names are in
    alphabetical order.

    Raises
    ------
    InputError
        If the table or an image is missing or damaged.
    """
    names = _read_labels(data_dir / LABELS)
    classes = sorted(set(names.values()))
    if len(classes) < 2:
        raise InputError(f"{data_dir / LABELS} names {len(classes)} classes, at least 2 needed")
    paths = [data_dir / "train" / f"{number}.png" for number in names]
    images = read_images(paths, f"decoding {data_dir}")
    labels = np.array([classes.index(name) for name in names.values()], np.int32)
    train, test, _ = split_validation(Split(images, labels), len(names) // TEST_SHARE, seed=0)
    return make_dataset("folder", train, test, classes, where=data_dir / LABELS)


def _read_labels(path: Path) -> dict[str, str]:
    """Return the class name by the image's number, in the order of the table."""
    text = io.StringIO(read_regular(path).decode("utf-8-sig", "replace"), newline="")
    names: dict[str, str] = {}
    try:
        rows = csv.reader(text, strict=True)
        if next(rows, None) != ["id", "label"]:
            raise InputError(f"{path} does not begin with the line id,label")
        for row in rows:
            # Only digits, so that no entry names a file outside of the folder.
            number = row[0] if len(row) == 2 and row[1].strip() else ""
            if not (number.isdecimal() and number.isascii()) or number in names:
                raise InputError(f"{path}, line {rows.line_num}: not a new number and its label")
            names[number] = row[1]
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: {error}") from error
    return names
