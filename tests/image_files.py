"""Image files for tests to read."""

from __future__ import annotations

import numpy as np
from PIL import Image

RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 256, (32, 32, 3)).astype(np.uint8)
CHANNELS_FIRST = PIXELS.transpose(2, 0, 1)


def save(path, array=PIXELS, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def make_folder(root, classes=("cat", "dog", "emu"), train=4, test=2):
    """Write distinct images, and return their pixels by split in the order they will have."""
    expected = {}
    for split, count in (("train", train), ("test", test)):
        arrays = RNG.randint(0, 256, (len(classes), count, 32, 32, 3)).astype(np.uint8)
        for name, some in zip(classes, arrays):
            for index, array in enumerate(some):
                save(root / split / name / f"{index:03}.png", array)
        expected[split] = arrays.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
    return expected
