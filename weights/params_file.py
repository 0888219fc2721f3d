"""MXNet's ``.params`` files, read and written without MXNet.

MXNet's own reader trusts the file: a damaged or hostile one can ask for any amount of memory or end
the process. This one checks every length before it believes it; it returns arrays or raises, and
needs no more memory than the file. MXNet's own writer does not notice a disk that fills up.
"""

from __future__ import annotations

import struct
from typing import Mapping

import numpy as np

from errors import InputError

_LIST_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
# mshadow's type flags; bfloat16 has no numpy type and is refused.
_TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8", 7: "?"}
MAX_BYTES = 1 << 30  # of a file, for all who read one; the largest net here has 110 MB
_MAX_DIMENSIONS = 32
_CPU = 1  # mxnet.Context's number


class _Cursor:
    """A position in some bytes that cannot leave them."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, size: int) -> memoryview:
        if not 0 <= size <= len(self.data) - self.place:
            raise ValueError(f"ends at byte {len(self.data)} inside an entry")
        self.place += size
        return memoryview(self.data)[self.place - size : self.place]

    def number(self, form: str) -> int:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]


def _shape(cursor: _Cursor, dimensions: int, form: str) -> tuple[int, ...]:
    if not 0 < dimensions <= _MAX_DIMENSIONS:
        raise ValueError(f"an array of {dimensions} dimensions")
    return tuple(cursor.number(form) for _ in range(dimensions))


def _array(cursor: _Cursor) -> np.ndarray:
    magic = cursor.number("<I")
    if magic in (_V2, _V3):
        if cursor.number("<i") != 0:
            raise ValueError("a sparse array")
        shape = _shape(cursor, cursor.number("<i"), "<q")
    elif magic == _V1:
        shape = _shape(cursor, cursor.number("<I"), "<q")
    else:  # before MXNet 0.10 there was no magic number: the number of dimensions comes first
        shape = _shape(cursor, magic, "<I")
    cursor.take(8)  # the device it was saved from
    flag = cursor.number("<i")
    if flag not in _TYPES:
        raise ValueError(f"unknown type {flag}")
    dtype, size = np.dtype(_TYPES[flag]), 1
    for length in shape:
        size *= length
    if min(shape) < 0:
        raise ValueError(f"shape {shape}")
    return np.frombuffer(cursor.take(size * dtype.itemsize), dtype).reshape(shape)


def write_params(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the very bytes that ``mx.nd.save`` writes of a dictionary of arrays on the CPU."""
    parts = [struct.pack("<QQQ", _LIST_MAGIC, 0, len(arrays))]
    flags = {np.dtype(name): flag for flag, name in _TYPES.items()}
    for array in arrays.values():
        head = (_V2, 0, array.ndim, *array.shape, _CPU, 0, flags[array.dtype])
        parts += [struct.pack(f"<Iii{array.ndim}qiii", *head), array.tobytes()]
    parts.append(struct.pack("<Q", len(arrays)))
    for name in map(str.encode, arrays):
        parts += [struct.pack("<Q", len(name)), name]
    return b"".join(parts)


def read_params(data: bytes, source: object) -> Mapping[str, np.ndarray]:
    """Read what ``mx.nd.save`` wrote from a dictionary.

    Parameters
    ----------
    data : bytes
        The whole file.
    source : object
        Where it comes from, for the message.

    Returns
    -------
    mapping of str to numpy.ndarray
        In the file's order; the arrays are read-only views of `data`.

    Raises
    ------
    InputError
        If the bytes are not such a file, whole and nothing more.
    """
    cursor = _Cursor(data)
    try:
        if cursor.number("<Q") != _LIST_MAGIC:
            raise ValueError("starts like another kind of file")
        cursor.take(8)
        count = cursor.number("<Q")
        if count > len(data):
            raise ValueError(f"{count} arrays in {len(data)} bytes")
        arrays = [_array(cursor) for _ in range(count)]
        names = [
            bytes(cursor.take(cursor.number("<Q"))).decode() for _ in range(cursor.number("<Q"))
        ]
        if len(names) != count or len(set(names)) != count:
            raise ValueError(f"{len(set(names))} names for {count} arrays")
        if cursor.place != len(data):
            raise ValueError(f"{len(data) - cursor.place} bytes after its end")
    except ValueError as error:  # UnicodeDecodeError is one
        raise InputError(f"{source} is not a whole parameter file: {error}") from error
    return dict(zip(names, arrays))
