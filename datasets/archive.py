"""Read the official archives in place; nothing is unpacked onto the disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO, Collection, Iterator, Mapping, cast

from errors import InputError
from utils import open_regular, read_regular

SLACK = 1 << 20  # bytes of headers, read-me files and padding allowed beyond what is wanted
_READ = 1 << 20
# What tarfile and gzip raise on a broken archive; headers without end overflow the stack.
_DAMAGE = (
    tarfile.TarError,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    RecursionError,
)


def check_archive(path: Path, expected: Mapping[str, str]) -> None:
    """Raise `InputError` unless an archive has these checksums.

    Parameters
    ----------
    path : Path
        The archive.
    expected : mapping of str to str
        Hexadecimal digest by algorithm.
    """
    actual = {algorithm: hashlib.new(algorithm) for algorithm in expected}
    with open_regular(path) as file:
        for block in iter(lambda: file.read(_READ), b""):
            for digest in actual.values():
                digest.update(block)
    for algorithm, digest in actual.items():
        if digest.hexdigest() != expected[algorithm]:
            raise InputError(
                f"{path} is truncated or altered: {algorithm} {digest.hexdigest()}, not "
                f"{expected[algorithm]}; delete it to download it again, or put the checksum of "
                f"an archive of your own into {path.name}.sha256 beside it"
            )


def own_digest(path: Path) -> dict[str, str] | None:
    """Return the checksum in the ``.sha256`` file beside an archive, None where there is none.

    Such a file, as `sha256sum` writes it, names an archive to accept instead of the official one,
    for example one that you packed yourself.

    Raises
    ------
    InputError
        If that file holds no checksum.
    """
    beside = path.with_name(path.name + ".sha256")
    if not beside.exists():
        return None
    words = read_regular(beside, 4096).decode("ascii", "replace").lower().split()
    if not words or len(words[0]) != 64 or set(words[0]) - set("0123456789abcdef"):
        raise InputError(f"{beside} does not begin with a SHA-256 in hexadecimal digits")
    return {"sha256": words[0]}


def read_members(
    path: Path, sizes: Mapping[str, int], optional: Collection[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted members of a ``.tar.gz``; other members are skipped.

    Memory stays within twice the sum of `sizes`, whatever the archive claims to hold.

    Parameters
    ----------
    path : Path
        The archive.
    sizes : mapping of str to int
        Most bytes of each wanted member.
    optional : collection of str
        Wanted members that may be missing.

    Yields
    ------
    name : str
        In the archive's order.
    content : bytes

    Raises
    ------
    InputError
        If the archive is damaged, holds more than it may, or a wanted member is missing, there
        twice, too long, or not a regular file.
    """
    missing = dict(sizes)
    try:
        with open_regular(path) as file:
            stream = _Bounded(path, file, sum(sizes.values()) + SLACK)
            with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
                for member in archive:
                    name = member.name[2:] if member.name.startswith("./") else member.name
                    if name not in sizes:
                        continue
                    if name not in missing:
                        raise InputError(f"{path} holds {name} twice: not the official archive")
                    if not member.isreg() or member.issparse() or member.size > missing.pop(name):
                        raise InputError(f"{path}: {name} is not a regular file of its size")
                    content = archive.extractfile(member)
                    yield name, content.read() if content else b""
            while stream.read(_READ):  # to the end, where gzip keeps its own checksum
                pass
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged: {error}") from error
    lacking = [name for name in missing if name not in optional]
    if lacking:
        raise InputError(f"{path} is not the official archive: {', '.join(lacking)} is missing")


class _Bounded(io.RawIOBase):
    """A gzip stream that refuses to grow beyond a number of bytes."""

    def __init__(self, path: Path, file: BinaryIO, limit: int) -> None:
        self._path = path
        self._stream = gzip.GzipFile(fileobj=file, mode="rb")
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(block)
        if self._left < 0:
            raise InputError(f"{self._path} unpacks to more than the official archive does")
        return block
