"""CIFAR in all its forms on disk, with a handful of images in each file."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np

from datasets.cifar import CIFAR10, CIFAR100, Form, Source

TINY10 = dataclasses.replace(CIFAR10, train_size=20, test_size=30)
TINY100 = dataclasses.replace(CIFAR100, train_size=200, test_size=100)


def tiny_arrays(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 3, 32, 32) and labels (N,), as many of each class in train and test."""
    rng = np.random.RandomState(0)
    sizes = [source.train_size * len(source.binary.train), source.test_size]
    labels = [rng.permutation(np.arange(size) % len(source.classes)) for size in sizes]
    images = rng.randint(0, 256, (sum(sizes), 3, 32, 32))
    return images.astype(np.uint8), np.concatenate(labels)


def tiny_files(source: Source, form: str) -> dict[str, bytes]:
    """Return the files of a form, ``binary`` or ``python``, by name."""
    row: Form = getattr(source, form)
    borders = np.arange(1, len(row.train) + 1) * source.train_size
    images, labels = (np.split(each, borders) for each in tiny_arrays(source))
    save = _binary_file if form == "binary" else python_file
    parts = zip((*row.train, row.test), images, labels)
    return {name: save(source, some, numbers) for name, some, numbers in parts}


def python_file(source: Source, images: np.ndarray, labels: np.ndarray) -> bytes:
    """Return a batch, byte for byte as Python 2 saved the official ones (protocol 2)."""
    pixels = images.reshape(len(images), -1)

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    rows, columns = (b"M" + struct.pack("<H", n) for n in pixels.shape)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01"
        b"cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01" + rows + columns + b"\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", pixels.size) + pixels.tobytes() + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(text(b"leptodactylus.png") for _ in labels) + b"e"
    parts = [text(b"batch_label"), text(b"training batch 1 of 5"), text(source.label_key.encode())]
    parts += [numbers, text(b"data"), array, text(b"filenames"), names]
    return b"\x80\x02}q\x00(" + b"".join(parts) + b"u."


def pack(folder: str, files: dict[str, bytes]) -> bytes:
    """Return a ``.tar.gz`` of files in a folder."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def write_all(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder, which is made, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def with_archive(source: Source, form: str, archive: bytes) -> Source:
    """Return a source whose official archive, binary or Python, is this one."""
    checksum = f"md5:{hashlib.md5(archive).hexdigest()}"
    row = dataclasses.replace(getattr(source, form), checksum=checksum)
    return dataclasses.replace(source, **{form: row})


def _binary_file(source: Source, images: np.ndarray, labels: np.ndarray) -> bytes:
    record_labels = np.full((len(labels), source.label_bytes), 7, np.uint8)
    record_labels[:, -1] = labels
    return np.concatenate([record_labels, images.reshape(len(images), -1)], axis=1).tobytes()
