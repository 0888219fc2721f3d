"""Download a file from one of several mirrors, and resume where a connection broke off."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Mapping, Sequence
from urllib.parse import urlsplit

import portalocker
import requests
import urllib3
from tqdm import tqdm

from datasets.archive import check_archive, own_digest
from errors import InputError
from utils import one_line

TIMEOUT = (10, 30)  # seconds to connect, seconds without a byte
PAUSE = 1  # second before all mirrors are tried again
# In the first round a mirror that is slower than this after so many seconds is left for the next:
# universities throttle, and a file can take an hour from one mirror and a minute from another.
SLOW_BYTES_PER_SECOND, SLOW_SECONDS = 200_000, 30
PROGRESS = 1 << 20  # another round is tried if the last one has brought so many bytes
UNKNOWN_SIZE = 1 << 28  # most bytes of an archive whose checksum the user has given
_BLOCK = 1 << 16


class MirrorError(Exception):
    """Why one mirror did not give the file, in a few words."""


def download(path: Path, mirrors: Sequence[str], digests: Mapping[str, str], size: int) -> None:
    """Download a file unless it is there, and check it before it gets its name.

    What has arrived is kept in ``<name>.part`` and continued by the next try or the next run. If
    another process is downloading the file already, this one waits and uses its result.

    Parameters
    ----------
    path : Path
        The file to make.
    mirrors : sequence of str
        Addresses of folders that hold a file of this name, best first.
    digests : mapping of str to str
        Hexadecimal digest by algorithm; a ``.sha256`` file beside `path` replaces them.
    size : int
        Its length in bytes; ignored where there is such a file.

    Raises
    ------
    InputError
        If no mirror has it, or the folder cannot be written to; with one reason for each mirror.
    """
    with one_line(f"{path.parent} cannot be written to"):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(f"{path}.lock", "a")  # noqa: SIM115 (closed, and so unlocked, below)
    with lock:
        _wait_for_turn(lock, path)
        if not path.exists():
            _try_mirrors(path, mirrors, digests, None if own_digest(path) else size)


def _wait_for_turn(lock, path: Path) -> None:
    with one_line(f"{lock.name} cannot be locked"):
        try:
            portalocker.lock(
                lock, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
            )
        except portalocker.AlreadyLocked:
            print(f"waiting for another process to download {path}", file=sys.stderr)
            portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE)
        except portalocker.LockException as error:  # a file system without locks
            raise InputError(f"{lock.name} cannot be locked: {error}") from error


def _try_mirrors(
    path: Path, mirrors: Sequence[str], digests: Mapping[str, str], size: int | None
) -> None:
    partial = path.with_name(path.name + ".part")
    reasons: dict[str, str] = {}
    attempt = 0
    while True:
        before = _length(partial)
        for mirror in mirrors:
            url = f"{mirror.rstrip('/')}/{path.name}"
            with one_line(f"{partial} cannot be written"):
                try:
                    _fetch(url, partial, size, hurry=attempt == 0 and len(mirrors) > 1)
                    _accept(partial, path, digests)
                    return
                except MirrorError as error:
                    reasons[urlsplit(mirror).netloc or mirror] = str(error)
        attempt += 1
        if attempt > 1 and _length(partial) - before < PROGRESS:
            why = "; ".join(f"{host}: {reason}" for host, reason in reasons.items())
            raise InputError(f"{path.name} could not be downloaded ({why})")
        time.sleep(PAUSE)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _accept(partial: Path, path: Path, digests: Mapping[str, str]) -> None:
    """Give the file its name if its checksum is right, else delete it."""
    try:
        check_archive(partial, own_digest(path) or digests)
    except InputError as error:
        partial.unlink()
        raise MirrorError("wrong checksum") from error
    os.replace(partial, path)


def _fetch(url: str, partial: Path, size: int | None, hurry: bool) -> None:
    """Download what a partial file lacks."""
    have = _length(partial)
    if have and have == size:
        return
    # A server that compressed the archive once more would change its checksum.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    print(f"downloading {url}", file=sys.stderr)
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # its file is no longer than ours: not the same one
                partial.unlink()
                raise MirrorError("shorter than what was downloaded already")
            if response.status_code not in (200, 206):
                raise MirrorError(f"HTTP {response.status_code}")
            resumed = response.status_code == 206
            if resumed and not response.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            ):
                raise MirrorError("answers with another range than asked for")
            _append(response, partial, have if resumed else 0, size, hurry)
    except requests.Timeout as error:
        raise MirrorError("timed out") from error
    except requests.RequestException as error:
        raise MirrorError(f"no connection ({type(error).__name__})") from error
    except urllib3.exceptions.ReadTimeoutError as error:
        raise MirrorError("stalled") from error
    except urllib3.exceptions.HTTPError as error:
        raise MirrorError("connection broke off") from error


def _append(
    response: requests.Response, partial: Path, have: int, size: int | None, hurry: bool
) -> None:
    """Write the response's body behind the first `have` bytes of the file, up to the limit."""
    length = response.headers.get("Content-Length", "")
    total = size or (have + int(length) if length.isdecimal() else None)
    limit = size or UNKNOWN_SIZE
    began, begun_at = time.monotonic(), have
    with open(partial, "ab" if have else "wb") as file, tqdm(
        desc=partial.stem, initial=have, total=total, unit="B", unit_scale=True, disable=None
    ) as bar:
        for block in response.raw.stream(_BLOCK, decode_content=False):
            have += len(block)
            if have > limit:
                raise MirrorError(f"longer than {limit:,} bytes")
            file.write(block)
            bar.update(len(block))
            seconds = time.monotonic() - began
            if hurry and seconds > SLOW_SECONDS:
                if have - begun_at < seconds * SLOW_BYTES_PER_SECOND:
                    raise MirrorError(f"slow, {(have - begun_at) / seconds / 1e3:.0f} kB/s")
                hurry = False
    if total is not None and have < total:
        raise MirrorError(f"ended after {have:,} of {total:,} bytes")
