"""CIFAR's Python batches, in any protocol, of Python 2 or 3, NumPy 1 or 2."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from datasets.base import IMAGE_SHAPE
from datasets.unpickle import read_batch
from errors import InputError
from sandbox import run_in_child


def decode_python(
    where: str, content: bytes, count: int, label_key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decode a batch; see `unpickle.py` for what a stranger's file cannot do.

    Parameters
    ----------
    where : str
        The file's name, for messages.
    content : bytes
        All of it.
    count : int
        Images that it must hold.
    label_key : str
        The labels' key in its dictionary.

    Returns
    -------
    images : numpy.ndarray
        uint8, (count, 3, 32, 32).
    labels : numpy.ndarray
        int64, (count,).

    Raises
    ------
    InputError
        If it is damaged, or holds anything that these files do not.
    """
    (data, labels), values = _load(where, content, "data", label_key)
    shape = [count, int(np.prod(IMAGE_SHAPE))]
    if type(data) is not dict or data["shape"] != shape or len(values) != shape[0] * shape[1]:
        raise InputError(f"{where} holds no {count} images of 3 x 32 x 32 bytes")
    counts = type(labels) is list and len(labels) == count
    if not counts or not all(type(label) is int and 0 <= label < 1 << 31 for label in labels):
        raise InputError(f"{where} holds no list of {count} {label_key}")
    pixels = np.frombuffer(values, np.uint8).reshape(shape, order=data["order"])
    return pixels.reshape(count, *IMAGE_SHAPE), np.array(labels, np.int64)


def decode_names(where: str, content: bytes, key: str) -> list[str]:
    """Decode the list of class names in the file beside the batches.

    Raises
    ------
    InputError
        If it is damaged, or there is no such list under the key.
    """
    (names,), _ = _load(where, content, key)
    if type(names) is not list or any(type(name) is not str for name in names):
        raise InputError(f"{where} holds no list of {key}")
    return names


def _load(where: str, content: bytes, *keys: str) -> tuple[list[Any], bytes]:
    """Return a file's values for keys, and the bytes of the array among them."""
    refusal = f"{where} is not one of CIFAR's Python batches"
    limits = {"memory": 1 << 28, "memory_per_byte": 8}  # of Python alone
    answer = run_in_child(read_batch, content, [*keys], refusal=refusal, **limits)
    header, _, values = answer.partition(b"\n")
    return json.loads(header), values
