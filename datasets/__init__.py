"""Small images in memory: `get_dataset` finds, downloads, reads or draws them.

Nothing here imports MXNet, so that images can be read where it is not installed.
"""

from __future__ import annotations

import os
from pathlib import Path

from datasets.augment import Augmentation
from datasets.base import Dataset, Split, split_validation
from datasets.cifar import CIFAR10, CIFAR100, load_cifar
from datasets.loader import TrainLoader, batches
from datasets.shapes import load_shapes
from errors import InputError, nearest

__all__ = [
    "Augmentation",
    "Dataset",
    "Split",
    "TrainLoader",
    "batches",
    "default_data_dir",
    "get_dataset",
    "list_datasets",
    "split_validation",
]

_CIFAR = {source.name: source for source in (CIFAR10, CIFAR100)}


def list_datasets() -> list[str]:
    """Return the names that `get_dataset` knows."""
    return [*_CIFAR, "shapes"]


def default_data_dir(name: str) -> Path:
    """Return where a data set is kept if nothing else is said: in MXNet's own data home."""
    home = os.environ.get("MXNET_HOME") or "~/.mxnet"
    return Path(home).expanduser() / "datasets" / name


def get_dataset(
    name: str, data_dir: str | os.PathLike[str] | None = None, seed: int = 0
) -> Dataset:
    """Return a data set, wherever it comes from.

    Parameters
    ----------
    name : str
        One of `list_datasets`.
    data_dir : str or path, optional
        Where it is, or is to be downloaded to; `default_data_dir` if omitted.
    seed : int
        Of the set that is drawn, ``shapes``.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If the name is unknown, or the data missing or unusable.
    """
    if name == "shapes":
        return load_shapes(seed)
    if name in _CIFAR:
        return load_cifar(_CIFAR[name], Path(data_dir or default_data_dir(name)))
    known = list_datasets()
    raise InputError(
        f"unknown data set {name!r}:{nearest(name, known)} there are {', '.join(known)}"
    )
