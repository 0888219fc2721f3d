"""Images for tests, in memory and in files."""

from __future__ import annotations

import numpy as np
from PIL import Image

from datasets.base import Split

RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 256, (32, 32, 3)).astype(np.uint8)
CHANNELS_FIRST = PIXELS.transpose(2, 0, 1)


def numbered(labels):
    """Return images that are filled with their own number, and these labels."""
    numbers = np.arange(len(labels))[:, None, None, None] * np.ones((1, 3, 32, 32), int)
    return Split(numbers.astype(np.uint8), np.asarray(labels, np.int32))


def save(path, array=PIXELS, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def write_folder(root, train, test, classes):
    """Write two splits as PNG files in class folders."""
    for name, split in (("train", train), ("test", test)):
        for number, (image, label) in enumerate(zip(split.images, split.labels)):
            save(root / name / classes[label] / f"{number:04}.png", image.transpose(1, 2, 0))


def make_folder(root, classes=("cat", "dog", "emu")):
    """Write a folder of random images, four and two of each class, and return its splits."""
    splits = []
    for count in (4, 2):
        images = RNG.randint(0, 256, (len(classes) * count, 3, 32, 32)).astype(np.uint8)
        labels = np.arange(len(images), dtype=np.int32) % len(classes)
        splits.append(Split(images, labels))
    write_folder(root, *splits, classes)
    return splits
