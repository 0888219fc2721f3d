"""CIFAR in all its forms on disk, with a handful of images in each file."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np

from datasets.cifar import CIFAR10, CIFAR100, Form, Source

TINY10 = dataclasses.replace(CIFAR10, train_size=20, test_size=30)
TINY100 = dataclasses.replace(CIFAR100, train_size=200, test_size=100)


def tiny_arrays(source: Source, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 3, 32, 32) and labels (N,), as many of each class in train and test."""
    rng = np.random.RandomState(seed)
    sizes = [source.train_size * len(source.binary.train), source.test_size]
    labels = [rng.permutation(np.arange(size) % len(source.classes)) for size in sizes]
    images = rng.randint(0, 256, (sum(sizes), 3, 32, 32))
    return images.astype(np.uint8), np.concatenate(labels)


def binary_files(source: Source, seed: int = 0) -> dict[str, bytes]:
    """Return the binary files by name."""
    images, labels = tiny_arrays(source, seed)
    record_labels = np.full((len(labels), source.label_bytes), 7, np.uint8)
    record_labels[:, -1] = labels
    records = np.concatenate([record_labels, images.reshape(len(images), -1)], axis=1)
    return {name: part.tobytes() for name, part in _parts(source, source.binary, records)}


def python_files(source: Source, protocol: int = 4, seed: int = 0) -> dict[str, bytes]:
    """Return the Python batches by name, as Python 3 would save them."""
    images, labels = tiny_arrays(source, seed)
    pixels = dict(_parts(source, source.python, images.reshape(len(images), -1)))
    numbers = dict(_parts(source, source.python, labels))
    return {
        name: pickle.dumps(
            {
                "batch_label": name,
                source.label_key: numbers[name].tolist(),
                "data": pixels[name],
                "filenames": [f"image_{i}.png" for i in range(len(pixels[name]))],
            },
            protocol,
        )
        for name in pixels
    }


def official_python_file(images: np.ndarray, labels: list[int], key: bytes = b"labels") -> bytes:
    """Return a batch, byte for byte as Python 2 saved the official ones (protocol 2)."""
    pixels = images.reshape(len(images), -1)

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    rows, columns = (b"M" + struct.pack("<H", n) for n in pixels.shape)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01" + rows + columns + b"\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", pixels.size) + pixels.tobytes() + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(text(b"leptodactylus.png") for _ in labels) + b"e"
    return (
        b"\x80\x02}q\x00("
        + (text(b"batch_label") + text(b"training batch 1 of 5"))
        + (text(key) + numbers + text(b"data") + array + text(b"filenames") + names)
        + b"u."
    )


def pack(folder: str, files: dict[str, bytes]) -> bytes:
    """Return a ``.tar.gz`` of files in a folder, the same bytes each time."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        directory = tarfile.TarInfo(folder)
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)
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
    row: Form = getattr(source, form)
    digests = {name: hashlib.new(name, archive).hexdigest() for name in ("md5", "sha256")}
    changed = dataclasses.replace(row, digests=digests)
    if form == "python":
        return dataclasses.replace(source, python=changed)
    return dataclasses.replace(source, binary=changed, archive_size=len(archive))


def _parts(source: Source, form: Form, rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
    border = len(form.train) * source.train_size
    train = np.split(rows[:border], len(form.train))
    return [*zip(form.train, train), (form.test, rows[border:])]
