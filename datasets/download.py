"""Download a file from the first of several mirrors that has it; go on where one broke off."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from pathlib import Path
from typing import Sequence

import requests
import urllib3
from tqdm import tqdm

from errors import InputError
from utils import one_line

TIMEOUT = (10, 30)  # seconds to connect, seconds without a byte
_BLOCK = 1 << 16


class MirrorError(Exception):
    """Why one mirror did not give the file, in a few words."""


def download(path: Path, mirrors: Sequence[str], checksum: str, limit: int) -> None:
    """Download a file unless it is there, and check it before it gets its name.

    What has arrived is kept in ``<name>.part``, and the next mirror or the next call goes on.

    Parameters
    ----------
    path : Path
        The file to make.
    mirrors : sequence of str
        Addresses of folders that hold a file of this name, best first.
    checksum : str
        ``algorithm:hexadecimal digits``.
    limit : int
        Most bytes to accept.

    Raises
    ------
    InputError
        If no mirror has it, or the folder cannot be written to; with one reason for each mirror.
    """
    reasons: dict[str, str] = {}
    partial = path.with_name(path.name + ".part")
    with one_line(f"{path.parent} cannot be written to"):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(f"{path}.lock", "a")  # noqa: SIM115 (closed, and so unlocked, below)
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of a job all come here: one downloads
        if path.exists():
            return
        for mirror in mirrors:
            try:
                with one_line(f"{partial} cannot be written"):
                    _fetch(f"{mirror.rstrip('/')}/{path.name}", partial, limit)
                    algorithm, _, expected = checksum.partition(":")
                    if hashlib.new(algorithm, partial.read_bytes()).hexdigest() != expected:
                        partial.unlink()
                        raise MirrorError("wrong checksum")
                    os.replace(partial, path)
                return
            except MirrorError as error:
                reasons[mirror] = str(error)
    why = "; ".join(f"{mirror}: {reason}" for mirror, reason in reasons.items())
    raise InputError(f"{path.name} could not be downloaded ({why})")


def _fetch(url: str, partial: Path, limit: int) -> None:
    """Write what is at an address to a file, behind what that has already."""
    print(f"downloading {url}", file=sys.stderr)
    have = partial.stat().st_size if partial.exists() else 0
    # A server that compressed the archive once more would change its checksum.
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={have}-"}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == requests.codes.range_not_satisfiable:
                return  # nothing is lacking; the checksum says whether it is right
            response.raise_for_status()
            have *= response.status_code == requests.codes.partial_content
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() else None
            with open(partial, "ab" if have else "wb") as file, tqdm(
                initial=have, total=total, unit="B", unit_scale=True, disable=None
            ) as bar:
                for block in response.raw.stream(_BLOCK, decode_content=False):
                    have += len(block)
                    if have > limit:
                        partial.unlink()
                        raise MirrorError(f"longer than {limit:,} bytes")
                    file.write(block)
                    bar.update(len(block))
    except requests.RequestException as error:
        code = getattr(error.response, "status_code", None)
        reason = f"HTTP {code}" if code else f"no answer: {type(error).__name__}"
        raise MirrorError(reason) from error
    except urllib3.exceptions.HTTPError as error:
        raise MirrorError(f"connection broke off: {type(error).__name__}") from error
