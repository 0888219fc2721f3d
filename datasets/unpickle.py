"""Say what is in one of CIFAR's Python batches, in a child of `sandbox.run_in_child`.

A pickle is a program. Here it can call nothing but the few names below. Only the standard library
is imported, so the child starts at once.
"""

from __future__ import annotations

import io
import json
import pickle
from typing import Any


class Type:
    """Stands for NumPy's dtype, of which only the name matters."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Ignore it."""


class Array:
    """Notes what an array is made of, at once or, as older protocols do, by its state."""

    def __init__(self, *arguments: Any) -> None:
        if len(arguments) == 4:
            values, kind, shape, order = arguments
            self.__setstate__((1, shape, kind, order == "F", values))

    def __setstate__(self, state: Any) -> None:
        """Take an array's state: version, shape, type, whether in Fortran's order, and bytes."""
        _, self.shape, self.kind, self.by_columns, self.values = state


NAMES: dict[str, Any] = {
    "numpy ndarray": None,
    "numpy dtype": Type,
    "numpy.core.multiarray _reconstruct": Array,
    "numpy.core.numeric _frombuffer": Array,
    "_codecs encode": lambda text, encoding: text.encode("latin1"),
}


class Unpickler(pickle.Unpickler):
    """Finds `NAMES` and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name, or refuse it."""
        asked = f"{module} {name}".replace("numpy._core.", "numpy.core.")  # NumPy 2, NumPy 1
        if asked not in NAMES:
            raise pickle.UnpicklingError(f"it asks for {module[:40]!r}, {name[:40]!r}")
        return NAMES[asked]


def read_batch(content: bytes, keys: list[str]) -> bytes:
    """Return a line of JSON with a dictionary's values, then the bytes of the last array in it.

    Parameters
    ----------
    content : bytes
        The file.
    keys : list of str
        Which values; in the file their names may be text or bytes. One that is absent is null.

    Raises
    ------
    Exception
        Almost any, if the pickle is broken.
    TypeError
        If there is anything but text, numbers, lists and an array of bytes.
    """
    pixels = b""

    def plain(value: Any) -> Any:
        nonlocal pixels
        if type(value) is bytes:
            return value.decode("utf-8", "replace")
        if type(value) is not Array or value.kind.name not in ("u1", b"u1"):
            raise TypeError("it holds other things than text, numbers and arrays of bytes")
        pixels = bytes(value.values)
        return {"shape": value.shape, "order": "F" if value.by_columns is True else "C"}

    batch = Unpickler(io.BytesIO(content), encoding="bytes").load()
    text = json.dumps([batch.get(key.encode(), batch.get(key)) for key in keys], default=plain)
    return text.encode() + b"\n" + pixels
