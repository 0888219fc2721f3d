"""Download a file from one of several mirrors, and resume where a connection broke off."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Sequence
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm import tqdm

from datasets.archive import check_archive, own_checksum
from errors import InputError
from utils import one_line

TIMEOUT = (10, 30)  # seconds to connect, seconds without a byte
MAX_BYTES = 1 << 28  # of a file
ROUNDS, PROGRESS = 2, 1 << 20  # through all mirrors, not counting those that bring so many bytes
PAUSE = 1  # second before all mirrors are tried again
# In the first round a mirror that is slower than this after so many seconds is left for the next:
# universities throttle, and a file can take an hour from one mirror and a minute from another.
SLOW_BYTES_PER_SECOND, SLOW_SECONDS = 200_000, 30
_BLOCK = 1 << 16


class MirrorError(Exception):
    """Why one mirror did not give the file, in a few words."""


def download(path: Path, mirrors: Sequence[str], checksum: str) -> None:
    """Download a file unless it is there, and check it before it gets its name.

    What has arrived is kept in ``<name>.part`` and continued by the next try or the next run. If
    another process is downloading the file already, this one waits and uses its result.

    Parameters
    ----------
    path : Path
        The file to make.
    mirrors : sequence of str
        Addresses of folders that hold a file of this name, best first.
    checksum : str
        ``algorithm:hexadecimal digits``; a ``.sha256`` file beside `path` replaces it.

    Raises
    ------
    InputError
        If no mirror has it, or the folder cannot be written to; with one reason for each mirror.
    """
    checksum, partial = own_checksum(path) or checksum, path.with_name(path.name + ".part")
    reasons: dict[str, str] = {}
    with one_line(f"{path.parent} cannot be written to"):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(f"{path}.lock", "a")  # noqa: SIM115 (closed, and so unlocked, below)
    with lock, one_line(f"{partial} cannot be written"):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process to download {path}", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        rounds, hurry = 0, len(mirrors) > 1
        while rounds < ROUNDS:
            before = _length(partial)
            for mirror in mirrors:
                url = f"{mirror.rstrip('/')}/{path.name}"
                try:
                    _fetch(url, partial, hurry)
                    _check(partial, checksum)
                    os.replace(partial, path)
                    return
                except MirrorError as error:
                    reasons[urlsplit(mirror).netloc or mirror] = str(error)
            rounds, hurry = rounds + (_length(partial) - before < PROGRESS), False
            time.sleep(PAUSE)
    why = "; ".join(f"{host}: {reason}" for host, reason in reasons.items())
    raise InputError(f"{path.name} could not be downloaded ({why})")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check(partial: Path, checksum: str) -> None:
    """Delete a file that is not the one wanted, so that the next try begins again."""
    try:
        check_archive(partial, checksum)
    except InputError as error:
        partial.unlink()
        raise MirrorError("wrong checksum") from error


def _fetch(url: str, partial: Path, hurry: bool) -> None:
    """Download what a partial file lacks."""
    have = _length(partial)
    print(f"downloading {url}", file=sys.stderr)
    # A server that compressed the archive once more would change its checksum.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # nothing is lacking; the checksum says if it is right
                return
            response.raise_for_status()
            _append(response, partial, have if response.status_code == 206 else 0, hurry)
    except requests.RequestException as error:
        code = getattr(error.response, "status_code", None)
        reason = f"HTTP {code}" if code else f"no answer: {type(error).__name__}"
        raise MirrorError(reason) from error
    except urllib3.exceptions.HTTPError as error:
        raise MirrorError(f"connection broke off: {type(error).__name__}") from error


def _append(response: requests.Response, partial: Path, have: int, hurry: bool) -> None:
    """Write the response's body behind the first `have` bytes of the file."""
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdecimal() else None
    began, begun_at = time.monotonic(), have
    with open(partial, "ab" if have else "wb") as file, tqdm(
        desc=partial.stem, initial=have, total=total, unit="B", unit_scale=True, disable=None
    ) as bar:
        for block in response.raw.stream(_BLOCK, decode_content=False):
            have += len(block)
            if have > MAX_BYTES:
                raise MirrorError(f"longer than {MAX_BYTES:,} bytes")
            file.write(block)
            bar.update(len(block))
            seconds = time.monotonic() - began
            if hurry and seconds > SLOW_SECONDS:
                if have - begun_at < seconds * SLOW_BYTES_PER_SECOND:
                    raise MirrorError(f"slow, {(have - begun_at) / seconds / 1e3:.0f} kB/s")
                hurry = False
