"""Small images in memory: `get_dataset` finds, downloads, reads or draws them.

Nothing here imports MXNet, so that images can be read where it is not installed.
"""

from __future__ import annotations

import os
from pathlib import Path

from datasets.base import Dataset, Split, split_validation
from datasets.cifar import CIFAR10, CIFAR100, load_cifar
from datasets.folder import load_folder
from datasets.kaggle import LABELS, load_kaggle
from datasets.shapes import load_shapes
from errors import InputError, nearest

__all__ = [
    "Dataset",
    "Split",
    "get_dataset",
    "split_validation",
]

_CIFAR = {source.name: source for source in (CIFAR10, CIFAR100)}
_NAMES = (*_CIFAR, "shapes", "folder")


def get_dataset(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Find, download, read or draw a data set.

    Parameters
    ----------
    name : str
        ``cifar10``, ``cifar100``, ``shapes`` or ``folder``.
    data_dir : str or path, optional
        Where it is; CIFAR is downloaded there if it is not. Where omitted, CIFAR is in MXNet's own
        data home. For ``folder``, the images' folder, in class folders or as Kaggle has them.

    Raises
    ------
    InputError
        If the name is unknown, or the data missing or unusable.
    """
    if name not in _NAMES:
        raise InputError(
            f"unknown data set {name!r}:{nearest(name, _NAMES)} there are {', '.join(_NAMES)}"
        )
    if name == "shapes":
        return load_shapes()
    if data_dir is not None and not os.path.isdir(data_dir):
        raise InputError(f"there is no folder {data_dir}: make it, or correct --data-dir")
    if name in _CIFAR:
        home = Path(os.environ.get("MXNET_HOME") or "~/.mxnet").expanduser()
        return load_cifar(_CIFAR[name], Path(data_dir or home / "datasets" / name))
    if data_dir is None:
        raise InputError("--dataset folder needs --data-dir: the folder that the images are in")
    folder = Path(data_dir)
    return load_kaggle(folder) if os.path.isfile(folder / LABELS) else load_folder(folder)
