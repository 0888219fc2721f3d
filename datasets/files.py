"""Reading and writing whole files so that a failure is one line and never half a file."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO, Callable, Iterator

from errors import InputError


@contextlib.contextmanager
def one_line(path: Path | str, what: str) -> Iterator[None]:
    """Turn an operating system's error into an `InputError` that names the file.

    Parameters
    ----------
    path : Path
        The file or folder in question.
    what : str
        What could not be done with it, as in ``"cannot be read"``.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} {what}: {error.strerror or error}") from error


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or one that a link leads to, for reading.

    Raises
    ------
    InputError
        If it cannot be opened, or is a folder, a pipe or a device, which might never end.
    """
    with one_line(path, "cannot be read"):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{path} is not a regular file")
        return open(path, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """Return what is in a regular file.

    Parameters
    ----------
    path : Path
        The file.
    limit : int
        Most bytes to accept.

    Raises
    ------
    InputError
        If it cannot be read or is longer.
    """
    with open_regular(path) as file, one_line(path, "cannot be read"):
        length = os.fstat(file.fileno()).st_size
        if length > limit:
            raise InputError(f"{path} has {length:,} bytes, {limit:,} at most are expected")
        return file.read(length)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name and move it into place, so that it is whole or absent.

    Parameters
    ----------
    path : Path
        The file; one that is there is replaced.
    write : callable
        Gets the file, open for binary writing.

    Raises
    ------
    OSError
        If the folder is not writable, the disk is full, and so on; nothing is left behind.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's files are the owner's alone
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
