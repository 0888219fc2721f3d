"""`train_cifar10.py` on the first few of the embedded images, so that a test can run it whole."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import train_cifar10
from datasets import Dataset, get_dataset
from training import run

TRAIN, VALIDATION, TEST = 160, 40, 40


def tiny_shapes(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Return a small part of a data set."""
    data = get_dataset(name, data_dir)
    train, test = data.train.take(np.arange(TRAIN)), data.test.take(np.arange(TEST))
    return dataclasses.replace(data, train=train, test=test)


if __name__ == "__main__":
    run.get_dataset = tiny_shapes
    sys.exit(train_cifar10.main())
