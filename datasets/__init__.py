"""Small images in memory: `get_dataset` finds, downloads, reads or draws them.

Nothing here imports MXNet, so that images can be read where it is not installed.
"""

from __future__ import annotations

import os
from pathlib import Path

from datasets.augment import Augmentation
from datasets.base import Dataset, Split, split_validation
from datasets.cifar import CIFAR10, CIFAR100, load_cifar
from datasets.folder import load_folder
from datasets.kaggle import is_kaggle, load_kaggle
from datasets.loader import TrainLoader
from datasets.shapes import load_shapes
from errors import InputError, nearest

__all__ = [
    "Augmentation",
    "Dataset",
    "Split",
    "TrainLoader",
    "default_data_dir",
    "get_dataset",
    "list_datasets",
    "split_validation",
]

_CIFAR = {source.name: source for source in (CIFAR10, CIFAR100)}


def list_datasets() -> list[str]:
    """Return the names that `get_dataset` knows."""
    return [*_CIFAR, "shapes", "folder"]


def default_data_dir(name: str) -> Path:
    """Return the folder of a data set where none is given: in MXNet's own data home."""
    home = os.environ.get("MXNET_HOME") or "~/.mxnet"
    return Path(home).expanduser() / "datasets" / name


def get_dataset(
    name: str, data_dir: str | os.PathLike[str] | None = None, seed: int = 0
) -> Dataset:
    """Find, download, read or draw a data set.

    Parameters
    ----------
    name : str
        One of `list_datasets`.
    data_dir : str or path, optional
        Where it is; CIFAR is downloaded there if it is not. Where omitted, CIFAR is in
        `default_data_dir`. For ``folder``, the images' folder, in class folders or as Kaggle has
        them.
    seed : int
        Of ``shapes``, which is drawn; the others do without.

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
    if name not in list_datasets():
        known = list_datasets()
        raise InputError(
            f"unknown data set {name!r}:{nearest(name, known)} there are {', '.join(known)}"
        )
    if data_dir is not None and not os.path.isdir(data_dir):
        raise InputError(f"there is no folder {data_dir}: make it, or correct --data-dir")
    if name in _CIFAR:
        return load_cifar(_CIFAR[name], Path(data_dir or default_data_dir(name)))
    if data_dir is None:
        raise InputError("--dataset folder needs --data-dir: the folder that the images are in")
    return load_kaggle(Path(data_dir)) if is_kaggle(Path(data_dir)) else load_folder(Path(data_dir))
