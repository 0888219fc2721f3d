"""CIFAR's Python batches, as Python 2 and NumPy 1 saved the official ones.

A pickle is a program. Here it can call nothing but what stands for the three names below, so it
runs no code. The unpickler in Python reads it, since the one in C sets memory aside for any memo.
It knows only the instructions of such files, since some of the others set memory aside as well.
"""

from __future__ import annotations

import collections
import io
import pickle
from typing import Any, ClassVar

import numpy as np

from errors import InputError


class _Bytes:
    """Stands for NumPy's dtype of bytes, the only one that there is here."""

    def __init__(self, name: Any, *_: Any) -> None:
        if name not in ("u1", b"u1"):
            raise pickle.UnpicklingError("it holds an array, but not of bytes")

    def __setstate__(self, state: Any) -> None:
        """Ignore it."""


class _Array:
    """Stands for an array, which gets its pixels from its state."""

    pixels = np.empty(0, np.uint8)

    def __init__(self, *_: Any) -> None:
        """Ignore them: they make an empty array."""

    def __setstate__(self, state: Any) -> None:
        """Take an array's state: version, shape, type, whether in Fortran's order, and bytes."""
        _, shape, _, by_columns, values = state
        order = "F" if by_columns else "C"
        self.pixels = np.frombuffer(values, np.uint8).reshape(shape, order=order)


_NAMES: dict[str, Any] = {
    "numpy ndarray": None,
    "numpy dtype": _Bytes,
    "numpy.core.multiarray _reconstruct": _Array,
}


class _Dictionary(dict):
    """With keys that are text: another key's hash may take forever, or end the process."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) not in (bytes, str):
            raise pickle.UnpicklingError("it holds a key that is no text")
        super().__setitem__(key, value)


def _refuse(unpickler: Any) -> None:
    raise pickle.UnpicklingError("it holds an instruction that no batch has")


_INSTRUCTIONS = """
    PROTO GLOBAL REDUCE BUILD MARK STOP BINPUT LONG_BINPUT BINGET LONG_BINGET NONE NEWTRUE NEWFALSE
    BININT BININT1 BININT2 BINSTRING SHORT_BINSTRING BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2
    TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
"""


class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[Any] = collections.defaultdict(lambda: _refuse)
    for _code in (getattr(pickle, name)[0] for name in _INSTRUCTIONS.split()):
        dispatch[_code] = pickle._Unpickler.dispatch[_code]
    dispatch[pickle.EMPTY_DICT[0]] = lambda unpickler: unpickler.append(_Dictionary())

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name, or refuse it."""
        asked = f"{module} {name}"
        if asked not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module[:40]!r}, {name[:40]!r}")
        return _NAMES[asked]


def load_batch(where: str, content: bytes) -> dict[Any, Any]:
    """Return the dictionary in a batch.

    Keys are text; the value of ``data`` is an array of uint8. What else there is may be bytes or
    text, and must be checked. Messages begin with `where`.

    Raises
    ------
    InputError
        If it is damaged, or holds anything that these files do not.
    """
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        return {
            key.decode() if type(key) is bytes else key: getattr(value, "pixels", value)
            for key, value in batch.items()
        }
    except Exception as error:  # a broken pickle raises almost any exception
        reason = " ".join(str(error).split())[:120] or "it ends too early"
        raise InputError(f"{where} is not one of CIFAR's Python batches: {reason}") from error
