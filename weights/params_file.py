"""MXNet's ``.params`` files, read and written without MXNet.

MXNet's own reader trusts the file: a damaged or hostile one can ask for any amount of memory or end
the process. This one checks every length before it believes it; it returns arrays or raises, and
needs no more memory than the file. MXNet's own writer does not notice a disk that fills up.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Mapping

import numpy as np

from errors import InputError

_LIST_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA  # V1: MXNet 0.10 to 0.12
# mshadow's type flags; bfloat16 has no numpy type and is refused.
_TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8", 7: "?"}
MAX_BYTES = 1 << 30  # of a file, for all who read one; the largest net here has 110 MB
_MAX_DIMENSIONS = 32
_CPU = 1  # mxnet.Context's number


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
    place = 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal place
        values = struct.unpack_from(f"<{form}", data, place)  # raises where they are too few
        place += struct.calcsize(f"<{form}")
        return values

    def take_array() -> np.ndarray:
        nonlocal place
        (version,) = take("I")
        if version not in (_V1, _V2, _V3):
            raise ValueError(f"an array of version {version:#x}")
        if version != _V1 and take("i") != (0,):
            raise ValueError("a sparse array")
        (dimensions,) = take("I")
        if not 0 < dimensions <= _MAX_DIMENSIONS:
            raise ValueError(f"an array of {dimensions} dimensions")
        shape = take(f"{dimensions}q")
        *_, flag = take("iii")  # after the device that it was saved from
        if flag not in _TYPES or min(shape) < 0:
            raise ValueError(f"an array of type {flag} and shape {shape}")
        array = np.frombuffer(data, _TYPES[flag], math.prod(shape), place)
        place += array.nbytes
        return array.reshape(shape)

    try:
        magic, _, count = take("QQQ")
        if magic != _LIST_MAGIC:
            raise ValueError("it starts like another kind of file")
        arrays = [take_array() for _ in range(count)]
        names = [take(f"{take('Q')[0]}s")[0].decode() for _ in range(take("Q")[0])]
        if len(names) != count or len(set(names)) != count:
            raise ValueError(f"{len(set(names))} names for {count} arrays")
        if place != len(data):
            raise ValueError(f"{len(data) - place} bytes after its end")
    except (ValueError, OverflowError, struct.error) as error:  # UnicodeDecodeError is one, too
        raise InputError(f"{source} is not a whole parameter file: {error}") from error
    return dict(zip(names, arrays))
