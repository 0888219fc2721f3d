"""CIFAR's Python batches, in any protocol, of Python 2 or 3, NumPy 1 or 2.

A pickle is a program. Here it can call nothing but what stands for the few names below, so it runs
no code. Python's own unpickler reads it: the one in C sets memory aside for a memo of any size.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from datasets.base import IMAGE_SHAPE
from errors import InputError


class _Bytes:
    """Stands for NumPy's dtype of bytes, the only one that there is here."""

    def __init__(self, name: Any, *_: Any) -> None:
        if name not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it holds an array of {name!r:.20}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        """Ignore it."""


class _Array:
    """Stands for an array, which is filled at once or, in older protocols, by its state."""

    pixels = np.empty(0, np.uint8)

    def __init__(self, *arguments: Any) -> None:
        if len(arguments) == 4:
            values, _, shape, order = arguments
            self._fill(values, shape, order)

    def __setstate__(self, state: Any) -> None:
        """Take an array's state: version, shape, type, whether in Fortran's order, and bytes."""
        _, shape, _, by_columns, values = state
        self._fill(values, shape, "F" if by_columns else "C")

    def _fill(self, values: Any, shape: Any, order: Any) -> None:
        self.pixels = np.frombuffer(values, np.uint8).reshape(shape, order=order)


_NAMES: dict[str, Any] = {
    "numpy ndarray": None,
    "numpy dtype": _Bytes,
    "numpy.core.multiarray _reconstruct": _Array,
    "numpy.core.numeric _frombuffer": _Array,
    "_codecs encode": lambda text, encoding: text.encode("latin1"),
}


class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name, or refuse it."""
        asked = f"{module} {name}".replace("numpy._core.", "numpy.core.")  # NumPy 2, NumPy 1
        if asked not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module[:40]!r}, {name[:40]!r}")
        return _NAMES[asked]


def decode_python(
    where: str, content: bytes, count: int, label_key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decode a batch.

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
    data, labels = _load(where, content, "data", label_key)
    if type(data) is not _Array or data.pixels.shape != (count, int(np.prod(IMAGE_SHAPE))):
        raise InputError(f"{where} holds no {count} images of 3 x 32 x 32 bytes")
    numbers = type(labels) is list and all(type(label) is int for label in labels)
    if not numbers or len(labels) != count or not 0 <= min(labels) <= max(labels) < 1 << 31:
        raise InputError(f"{where} holds no list of {count} {label_key}")
    return data.pixels.reshape(count, *IMAGE_SHAPE), np.array(labels, np.int64)


def decode_names(where: str, content: bytes, key: str) -> list[str]:
    """Decode the list of class names in the file beside the batches.

    Raises
    ------
    InputError
        If it is damaged, or there is no such list under the key.
    """
    (names,) = _load(where, content, key)
    if type(names) is not list or not all(type(name) in (bytes, str) for name in names):
        raise InputError(f"{where} holds no list of {key}")
    return [name if type(name) is str else name.decode("utf-8", "replace") for name in names]


def _load(where: str, content: bytes, *keys: str) -> list[Any]:
    """Return a dictionary's values for keys, which may be text or bytes; None for absent ones."""
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        return [batch.get(key.encode(), batch.get(key)) for key in keys]
    except Exception as error:  # a broken pickle raises almost any exception
        reason = " ".join(str(error).split())[:120] or "it ends too early"
        raise InputError(f"{where} is not one of CIFAR's Python batches: {reason}") from error
