"""A cache of decoded images, valid as long as the image files do not change."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from pathlib import Path
from typing import Sequence

import numpy as np

from datasets.base import IMAGE_SHAPE
from datasets.images import read_images
from errors import InputError
from utils import one_line, open_regular, write_atomically

CACHE_NAME = "images-32x32.cache"
DECODER = "1"  # raise it when `read_image` returns other pixels than before
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)


def read_cached(data_dir: Path, paths: Sequence[Path]) -> np.ndarray:
    """Return the pixels of image files, decoded now or on an earlier run.

    The cache is a file in `data_dir`. It is used if the image files have the same names, lengths
    and times of change as before and its checksum is right; else it is made again. A folder that
    may not be written to gets none.

    Parameters
    ----------
    data_dir : Path
        A folder that contains all files.
    paths : sequence of Path
        The image files.

    Returns
    -------
    numpy.ndarray
        uint8, (N, 3, 32, 32), in the order of `paths`.

    Raises
    ------
    InputError
        If an image cannot be read, or the disk is full; an old cache stays as it was.
    """
    cache, fingerprint = data_dir / CACHE_NAME, _fingerprint(data_dir, paths)
    images = _load(cache, fingerprint, len(paths))
    if images is None:
        images = read_images(paths, f"decoding {data_dir}")
        _save(cache, fingerprint, images)
    return images


def _fingerprint(data_dir: Path, paths: Sequence[Path]) -> str:
    digest = hashlib.sha256(DECODER.encode())
    for path in paths:
        with one_line(f"{path} cannot be read"):
            status = os.stat(path)
        name = os.fsencode(os.path.relpath(path, data_dir))
        digest.update(b"%s\0%d\0%d\n" % (name, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def _load(cache: Path, fingerprint: str, count: int) -> np.ndarray | None:
    """Return what a cache holds, or None if it is absent, out of date or damaged."""
    try:
        with open_regular(cache) as file:
            header = file.read(len(_header(fingerprint, b"")))
            images = np.fromfile(file, np.uint8, count * int(np.prod(IMAGE_SHAPE)) + 1)
    except (InputError, OSError):  # then the images are decoded again
        return None
    if header != _header(fingerprint, images.data):
        return None
    return images.reshape(count, *IMAGE_SHAPE)


def _save(cache: Path, fingerprint: str, images: np.ndarray) -> None:
    try:
        write_atomically(cache, b"".join((_header(fingerprint, images.data), images.data)))
    except InputError as error:
        if getattr(error.__cause__, "errno", None) not in _NOT_OURS:
            raise
        logging.getLogger(__name__).warning(
            "%s may not be written to: its images are decoded at every start", cache.parent
        )


def _header(fingerprint: str, pixels: bytes | memoryview) -> bytes:
    return f"{fingerprint} {hashlib.sha256(pixels).hexdigest()}\n".encode()
