"""CIFAR's Python batches, read without Python's unpickler.

A pickle is a program, and Python's unpickler runs it with all of Python at hand. What follows
runs the few instructions that these files consist of, and builds dictionaries, lists, tuples,
strings, numbers and arrays of bytes. No code can be reached by it: what a pickle names is compared
with four names and never looked up. Nor can it take more time or memory than a few times what the
official files take.

The instructions are described in Python's own `pickletools`.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any, Callable

import numpy as np

from datasets.base import IMAGE_SHAPE
from errors import InputError

# The official files take 3 to 5 instructions an image.
INSTRUCTIONS_PER_IMAGE, INSTRUCTIONS_BESIDES = 16, 1000


def decode_python(
    where: str, content: bytes, count: int, label_key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decode one of CIFAR's Python batches.

    Parameters
    ----------
    where : str
        The file's name, for messages.
    content : bytes
        All of it.
    count : int
        Images that it must hold.
    label_key : str
        What the labels are called in it.

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
    try:
        batch = _Machine(content, count * INSTRUCTIONS_PER_IMAGE + INSTRUCTIONS_BESIDES).run()
    except _MalformedError as error:
        raise InputError(f"{where} is not one of CIFAR's Python batches: {error}") from error
    if type(batch) is not dict:
        raise InputError(f"{where} is not one of CIFAR's Python batches: no dictionary")
    images, labels = (batch.get(key.encode(), batch.get(key)) for key in ("data", label_key))
    pixels = images.values if type(images) is _Array else None
    if pixels is None or pixels.shape != (count, int(np.prod(IMAGE_SHAPE))):
        raise InputError(f"{where} holds no {count} images of 3 x 32 x 32 bytes")
    if type(labels) is not list or len(labels) != count or any(type(n) is not int for n in labels):
        raise InputError(f"{where} holds no list of {count} {label_key}")
    return pixels.reshape(count, *IMAGE_SHAPE), np.array(labels, np.int64)


class _MalformedError(Exception):
    """What is wrong with a pickle, in a few words."""


class _Name(str):
    """One of the names that a pickle may mention; a type of its own, so text cannot pose as it."""


class _Array:
    """An array in the making: empty, then given its values once."""

    values: np.ndarray | None = None


_NDARRAY, _RECONSTRUCT = _Name("ndarray"), _Name("_reconstruct")
_DTYPE, _UINT8 = _Name("dtype"), _Name("uint8")
_NAMES = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,  # in files written by NumPy 2
}


class _Machine:
    """Runs a pickle's instructions, up to a number of them."""

    def __init__(self, content: bytes, limit: int) -> None:
        self.content = content
        self.limit = limit
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(self.limit):
            opcode = self.take(1)
            if opcode == pickle.STOP:
                return self.pop()
            if opcode not in _INSTRUCTIONS:
                raise _MalformedError(f"instruction {opcode!r} at byte {self.position - 1}")
            _INSTRUCTIONS[opcode](self)
        raise _MalformedError(f"more than {self.limit} instructions")

    # Reading what follows an instruction.

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.content) - self.position:
            raise _MalformedError("it ends too early")
        self.position += count
        return self.content[self.position - count : self.position]

    def number(self, form: str) -> int:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, form: str) -> str:
        return self.take(self.number(form)).decode("utf-8", "replace")

    def line(self) -> str:
        length = self.content.find(b"\n", self.position) - self.position
        return (self.take(length) + self.take(1))[:-1].decode("latin1")

    # The stack.

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        # What lies below the last mark belongs to a container that is still open.
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _MalformedError("it takes what is not there")
        return self.stack.pop()

    def pop_many(self, count: int) -> tuple:
        return tuple([self.pop() for _ in range(count)][::-1])

    def pop_to_mark(self) -> list:
        if not self.marks:
            raise _MalformedError("it takes what is not there")
        start = self.marks.pop()
        items, self.stack[start:] = self.stack[start:], []
        return items

    def top(self, kind: type = object) -> Any:
        value = self.pop()
        self.push(value)
        if kind is not object and type(value) is not kind:
            raise _MalformedError(f"a {type(value).__name__} where a {kind.__name__} belongs")
        return value

    # Instructions.

    def remember(self, key: int) -> None:
        self.memo[key] = self.top()

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise _MalformedError("it recalls what it never saved")
        self.push(self.memo[key])

    def extend(self, items: Any) -> None:
        self.top(list).extend(items)

    def set_items(self, items: Any) -> None:
        if len(items) % 2 or any(type(key) not in (bytes, str) for key in items[::2]):
            raise _MalformedError("a key that is no text")
        self.top(dict).update(zip(items[::2], items[1::2]))

    def name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise _MalformedError("a name that is no text")
        if (module, name) not in _NAMES:
            raise _MalformedError(f"it asks for {module[:40]!r}, {name[:40]!r}")
        self.push(_NAMES[module, name])

    def call(self) -> None:
        """Make an empty array, or note that its elements are bytes: there are no other calls."""
        function, arguments = self.pop_many(2)
        first = arguments[0] if type(arguments) is tuple and arguments else None
        if function is _RECONSTRUCT and first is _NDARRAY:
            self.push(_Array())
        elif function is _DTYPE and first in ("u1", b"u1"):
            self.push(_UINT8)
        else:
            raise _MalformedError("a call that makes no array of bytes")

    def build(self) -> None:
        """Give an array its values; what is said about a type of single bytes does not matter."""
        state = self.pop()
        target = self.top()
        if target is _UINT8:
            return
        if type(target) is not _Array or target.values is not None:
            raise _MalformedError("a state of what is no new array")
        if type(state) is not tuple or len(state) != 5 or state[2] is not _UINT8:
            raise _MalformedError("an array of other things than bytes")
        _, shape, _, by_columns, values = state
        if type(shape) is not tuple or [type(n) for n in shape] != [int, int] or min(shape) < 0:
            raise _MalformedError("an array that is no table")
        if type(values) is not bytes or len(values) != shape[0] * shape[1]:
            raise _MalformedError(f"an array without its {shape} bytes")
        flat = np.frombuffer(values, np.uint8)
        target.values = flat.reshape(shape, order="F" if by_columns is True else "C")


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], Any]] = {
    pickle.PROTO: lambda m: m.take(1),
    pickle.FRAME: lambda m: m.take(8),
    pickle.MARK: lambda m: m.marks.append(len(m.stack)),
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.BININT: lambda m: m.push(m.number("<i")),
    pickle.BININT1: lambda m: m.push(m.number("<B")),
    pickle.BININT2: lambda m: m.push(m.number("<H")),
    pickle.BINSTRING: lambda m: m.push(m.take(m.number("<i"))),
    pickle.SHORT_BINSTRING: lambda m: m.push(m.take(m.number("<B"))),
    pickle.BINBYTES: lambda m: m.push(m.take(m.number("<I"))),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.take(m.number("<B"))),
    pickle.BINUNICODE: lambda m: m.push(m.text("<I")),
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.text("<B")),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.APPEND: lambda m: m.extend(m.pop_many(1)),
    pickle.APPENDS: lambda m: m.extend(m.pop_to_mark()),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.SETITEM: lambda m: m.set_items(m.pop_many(2)),
    pickle.SETITEMS: lambda m: m.set_items(m.pop_to_mark()),
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE1: lambda m: m.push(m.pop_many(1)),
    pickle.TUPLE2: lambda m: m.push(m.pop_many(2)),
    pickle.TUPLE3: lambda m: m.push(m.pop_many(3)),
    pickle.TUPLE: lambda m: m.push(tuple(m.pop_to_mark())),
    pickle.BINPUT: lambda m: m.remember(m.number("<B")),
    pickle.LONG_BINPUT: lambda m: m.remember(m.number("<I")),
    pickle.MEMOIZE: lambda m: m.remember(len(m.memo)),
    pickle.BINGET: lambda m: m.recall(m.number("<B")),
    pickle.LONG_BINGET: lambda m: m.recall(m.number("<I")),
    pickle.GLOBAL: lambda m: m.name(m.line(), m.line()),
    pickle.STACK_GLOBAL: lambda m: m.name(*m.pop_many(2)),
    pickle.REDUCE: lambda m: m.call(),
    pickle.BUILD: lambda m: m.build(),
}
