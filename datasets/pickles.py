"""Read CIFAR's Python batches by an unpickler that calls nothing but functions of this module.

A pickle is a program that may call any function of Python by its name. This unpickler knows the few
names that arrays of bytes are written with, and a function of ours stands for each. Time and memory
stay within a few times what the official files take. It is built on `pickle._Unpickler`, which is
written in Python. The one in C cannot be bounded: it hashes whatever a file uses as a key, such as
tuples nested deeper than the stack; it makes its memo as large as the file says; and it runs any
number of instructions.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, Callable

import numpy as np

from datasets.base import IMAGE_SHAPE
from errors import InputError

# The official files take 3 to 5 instructions an image, those of Python 3's protocol 0 up to 12.
INSTRUCTIONS_PER_IMAGE, INSTRUCTIONS_BESIDES = 16, 1000
_LONGEST_KEY = 100
_Pythons: Any = pickle._Unpickler


def decode_python(
    where: str, content: bytes, count: int, label_key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decode one of CIFAR's Python batches, in any protocol, of Python 2 or 3, NumPy 1 or 2.

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
    images, labels = _load(where, content, count, "data", label_key)
    pixels = images.values if type(images) is _Array else None
    if pixels is None or pixels.shape != (count, int(np.prod(IMAGE_SHAPE))):
        raise InputError(f"{where} holds no {count} images of 3 x 32 x 32 bytes")
    if type(labels) is not list or len(labels) != count or not all(map(_is_count, labels)):
        raise InputError(f"{where} holds no list of {count} {label_key}")
    return pixels.reshape(count, *IMAGE_SHAPE), np.array(labels, np.int64)


def decode_names(where: str, content: bytes, count: int, key: str) -> list[str]:
    """Decode the list of class names in the file beside the batches, of about `count`.

    Raises
    ------
    InputError
        If it is damaged, or there is no such list under the key.
    """
    (names,) = _load(where, content, count, key)
    if type(names) is not list or any(type(name) not in (bytes, str) for name in names):
        raise InputError(f"{where} holds no list of {key}")
    return [name.decode("utf-8", "replace") if type(name) is bytes else name for name in names]


def _load(where: str, content: bytes, count: int, *keys: str) -> list[Any]:
    """Return a file's values for keys, which may be text or bytes in it; None if it has none."""
    limit = count * INSTRUCTIONS_PER_IMAGE + INSTRUCTIONS_BESIDES
    try:
        batch = _Unpickler(content, limit).load()
    except Exception as error:  # a broken pickle raises almost any exception
        reason = " ".join(str(error).split()) or "it ends too early"
        raise InputError(f"{where} is not one of CIFAR's Python batches: {reason:.120}") from error
    if type(batch) is not _Batch:
        raise InputError(f"{where} is not one of CIFAR's Python batches: no dictionary")
    return [batch.get(key.encode(), batch.get(key)) for key in keys]


def _is_count(value: Any) -> bool:
    """Whether a value is an integer from 0 to 2**31 - 1, so that arithmetic with it is quick."""
    return type(value) is int and 0 <= value < 1 << 31


class _Batch(dict):
    """A dictionary whose keys are short text, so that looking one up is quick."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) not in (bytes, str) or len(key) > _LONGEST_KEY:
            raise pickle.UnpicklingError("a key that is no text")
        super().__setitem__(key, value)


class _Uint8:
    """Stands for NumPy's uint8; what else a file says of the type does not matter."""

    def __setstate__(self, state: Any) -> None:
        """Ignore it."""


class _Array:
    """Stands for an array of bytes, which a pickle makes empty and then fills once."""

    values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        """Take an array's state: version, shape, type, whether in Fortran's order, and bytes."""
        _, shape, kind, by_columns, values = state
        if self.values is not None:
            raise pickle.UnpicklingError("values of what is no new array")
        if type(kind) is not _Uint8:
            raise pickle.UnpicklingError("an array of other things than bytes")
        if type(shape) is not tuple or len(shape) != 2 or not all(map(_is_count, shape)):
            raise pickle.UnpicklingError("an array that is no table")
        if type(values) is not bytes or len(values) != shape[0] * shape[1]:
            raise pickle.UnpicklingError(f"an array without its {shape} bytes")
        flat = np.frombuffer(values, np.uint8)
        self.values = flat.reshape(shape, order="F" if by_columns is True else "C")


def _stand_ins(room: int) -> dict[str, Any]:
    """Return what stands for each name that a pickle may use.

    New functions for each file, since a pickle can set attributes of functions.

    Parameters
    ----------
    room : int
        How many bytes may be encoded from text, in total.
    """

    def encode(text: str, encoding: str) -> bytes:
        nonlocal room
        room -= len(text)
        if encoding != "latin1" or room < 0:
            raise pickle.UnpicklingError("text that is no array's")
        return text.encode(encoding)

    def dtype(kind: Any, align: Any = None, copy: Any = None) -> _Uint8:
        if kind not in ("u1", b"u1"):
            raise pickle.UnpicklingError("an array of other things than bytes")
        return _Uint8()

    def from_buffer(values: bytes, kind: _Uint8, shape: tuple, order: str) -> _Array:
        array = _Array()
        array.__setstate__((1, shape, kind, order == "F", values))
        return array

    return {
        "numpy ndarray": None,
        "numpy dtype": dtype,
        "numpy.core.multiarray _reconstruct": lambda kind, shape=None, code=None: _Array(),
        "numpy.core.numeric _frombuffer": from_buffer,
        "_codecs encode": encode,
    }


class _Unpickler(_Pythons):
    """Runs the instructions that these files consist of, and at most `limit` of them."""

    _NAMES = """
        PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1
        STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
        UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 LIST EMPTY_LIST APPEND APPENDS
        DICT EMPTY_DICT SETITEM SETITEMS EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 TUPLE
        PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD
    """

    def __init__(self, content: bytes, limit: int) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._known = _stand_ins(room=len(content))
        codes = [getattr(pickle, name)[0] for name in self._NAMES.split()]
        names = {code: _Pythons.dispatch[code].__name__ for code in codes}
        methods = {code: getattr(_Unpickler, name) for code, name in names.items()}
        self.dispatch = _Instructions(methods, limit)

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name, or refuse it."""
        asked = f"{module} {name}".replace("numpy._core.", "numpy.core.")  # NumPy 2, NumPy 1
        if asked not in self._known:
            raise pickle.UnpicklingError(f"it asks for {module[:40]!r}, {name[:40]!r}")
        return self._known[asked]

    def load_reduce(self) -> None:
        """Call a function with a tuple alone: a long text would become a tuple of its letters."""
        if type(self.stack[-1]) is not tuple:
            raise pickle.UnpicklingError("arguments that are no tuple")
        super().load_reduce()

    def load_empty_dictionary(self) -> None:
        self.append(_Batch())

    def load_dict(self) -> None:
        """Make an empty dictionary: Python never writes DICT with entries."""
        if self.pop_mark():
            raise pickle.UnpicklingError("a dictionary in one piece")
        self.append(_Batch())

    # Python's own allocates as many bytes as the file announces.
    load_bytearray8 = _Pythons.load_binbytes8


class _Instructions(dict):
    """Methods by instruction; each lookup is counted, and `limit` of them are allowed."""

    def __init__(self, methods: dict[int, Callable[[Any], None]], limit: int) -> None:
        super().__init__(methods)
        self._limit = self._left = limit

    def __getitem__(self, code: int) -> Callable[[Any], None]:
        self._left -= 1
        if self._left < 0:
            raise pickle.UnpicklingError(f"more than {self._limit} instructions")
        if code not in self:
            raise pickle.UnpicklingError(f"instruction {chr(code)!r}, which they do without")
        return super().__getitem__(code)
