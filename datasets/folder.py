"""A folder of image files in class folders: train/<class>/* and test/<class>/*."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from datasets.base import Dataset, Split, make_dataset
from datasets.images import read_images
from errors import InputError
from utils import one_line

_LITTER = ("thumbs.db", "desktop.ini")  # left by file managers; hidden files are skipped too


def load_folder(data_dir: Path) -> Dataset:
    """Read a folder of images; `images.decode_image` says how each is decoded and resized.

    The class folders' names are the class names, in alphabetical order; mean and standard
    deviation are those of the training images. Memory: 3 kB an image, and 1 GB at most while
    images of the largest size allowed are decoded.

    Raises
    ------
    InputError
        If a folder is missing or empty, a class's name is not in UTF-8, the classes of train and
        test differ, or an image is unreadable.
    """
    files = {split: _class_files(data_dir / split) for split in ("train", "test")}
    classes = list(files["train"])
    if len(classes) < 2:
        raise InputError(
            f"{data_dir / 'train'} has {len(classes)} class folders, at least 2 needed"
        )
    for one, other in (("train", "test"), ("test", "train")):
        lacking = [name for name in files[one] if name not in files[other]]
        if lacking:
            raise InputError(f"{data_dir / other} lacks the class {lacking[0]!r}, {one} has it")
    splits = []
    for split, found in files.items():
        paths = [path for name in classes for path in found[name]]
        images = read_images(paths, f"decoding {data_dir / split}")
        counts = [len(found[name]) for name in classes]
        splits.append(Split(images, np.repeat(np.arange(len(classes), dtype=np.int32), counts)))
    train, test = splits
    return make_dataset("folder", train, test, classes)


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each class in a folder, both sorted."""
    if not os.path.isdir(folder):
        raise InputError(
            f"there is no folder {folder}: --dataset folder needs train/<class>/* and "
            "test/<class>/*, or Kaggle's trainLabels.csv and train/<id>.png"
        )
    classes = {}
    for name in _entries(folder):
        if not os.path.isdir(folder / name):
            raise InputError(f"{folder / name} is in no class folder: move or remove it")
        # Such characters stand for bytes that are not in UTF-8.
        if any("\ud800" <= each <= "\udfff" for each in name):
            raise InputError(f"{folder}: the name {name!r} is not in UTF-8, as a class's must be")
        classes[name] = [folder / name / file for file in _entries(folder / name)]
        if not classes[name]:
            raise InputError(f"{folder / name} holds no images: every class needs some")
    return classes


def _entries(folder: Path) -> list[str]:
    with one_line(f"{folder} cannot be read"):
        names = sorted(os.listdir(folder))
    return [name for name in names if not name.startswith(".") and name.lower() not in _LITTER]
