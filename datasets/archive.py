"""Official archives: known by their checksum, and read in place; nothing is unpacked."""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
import zlib
from pathlib import Path
from typing import Mapping

from errors import InputError
from utils import open_regular


def check_archive(path: Path, checksum: str) -> None:
    """Raise `InputError` unless a file has a checksum, ``algorithm:hexadecimal digits``."""
    algorithm, _, expected = checksum.partition(":")
    actual = hashlib.new(algorithm)
    with open_regular(path) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            actual.update(block)
    if actual.hexdigest() != expected:
        raise InputError(
            f"{path} is truncated or altered: {algorithm} {actual.hexdigest()}, not {expected}; "
            "delete it to download it again, or unpack it to have its files as they are"
        )


def read_members(path: Path, folder: str, limits: Mapping[str, int]) -> dict[str, bytes]:
    """Return those of the wanted files that a folder in a ``.tar.gz`` holds, by name.

    The archive's checksum says that it may be trusted: see `check_archive`. `limits` has the names
    of the wanted files, and the most bytes that each may have.

    Raises
    ------
    InputError
        If the archive is damaged, or a wanted file is too long, or not a regular file.
    """
    files = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                place, name = posixpath.split(posixpath.normpath(member.name))
                if place != folder or name not in limits:
                    continue
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or member.size > limits[name]:
                    raise InputError(f"{path}: {name} is not a regular file of its size")
                files[name] = content.read()
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return files
