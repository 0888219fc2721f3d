"""Images for tests, in memory and in files."""

from __future__ import annotations

import numpy as np
from PIL import Image

from datasets.base import Split
from datasets.folder import write_folder

RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 256, (32, 32, 3)).astype(np.uint8)
CHANNELS_FIRST = PIXELS.transpose(2, 0, 1)


def numbered(labels):
    """Return images that are filled with their own number, and these labels."""
    numbers = np.arange(len(labels))[:, None, None, None] * np.ones((1, 3, 32, 32), int)
    return Split(numbers.astype(np.uint8), np.asarray(labels, np.int32))


def save(path, array=PIXELS, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def make_folder(root, classes=("cat", "dog", "emu"), train=4, test=2):
    """Write a folder of random images, and return its training and test split."""
    splits = []
    for count in (train, test):
        images = RNG.randint(0, 256, (len(classes) * count, 3, 32, 32)).astype(np.uint8)
        labels = np.arange(len(images), dtype=np.int32) % len(classes)
        splits.append(Split(images, labels))
    write_folder(root, *splits, classes)
    return splits
