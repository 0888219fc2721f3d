"""CIFAR-10 and CIFAR-100: found on disk in any of their forms, or downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping

import numpy as np

from datasets.archive import check_archive, read_members
from datasets.base import IMAGE_SHAPE, Dataset, Split, check_labels, make_dataset
from datasets.files import read_regular
from errors import InputError

PIXELS = 3 * 32 * 32
# A decoder turns a file's name and content into its images (n, 3, 32, 32) and labels (n,).
Decoder = Callable[[str, bytes, int], "tuple[np.ndarray, np.ndarray]"]


@dataclass(frozen=True)
class Form:
    """One of the forms in which a data set is published: an archive and the files in it."""

    archive: str
    digests: Mapping[str, str]
    folder: str
    train: tuple[str, ...]
    test: str


@dataclass(frozen=True)
class Source:
    """A row of the table of data sets; `mean` and `std` are the papers', in units of 0..255."""

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train_size: int  # images in each training file
    test_size: int
    label_bytes: int  # of a binary record; the last one is the label
    binary: Form
    python: Form


_CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR10 = Source(
    name="cifar10",
    classes=tuple(_CIFAR10_CLASSES.split()),
    mean=(125.3, 123.0, 113.9),
    std=(63.0, 62.1, 66.7),
    train_size=10_000,
    test_size=10_000,
    label_bytes=1,
    binary=Form(
        archive="cifar-10-binary.tar.gz",
        digests={
            "md5": "c32a1d4ab5d03f1284b67883e8d87530",
            "sha256": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        },
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test="test_batch.bin",
    ),
    python=Form(
        archive="cifar-10-python.tar.gz",
        digests={"md5": "c58f30108f718f92721af3b95e74349a"},
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
    ),
)


def load_cifar(source: Source, data_dir: Path) -> Dataset:
    """Read a data set from the first form found in a folder.

    Looked for in this order: the binary files, in the folder itself or in the archive's own
    sub-folder; the binary archive.

    Parameters
    ----------
    source : Source
        Which one.
    data_dir : Path
        Where to look.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If a file is missing, truncated, altered or unreadable.
    """
    form = source.binary
    for folder in (data_dir, data_dir / form.folder):
        if any((folder / name).exists() for name in (*form.train, form.test)):
            return _assemble(source, _loose_files(source, form, folder), str(folder))
    archive = data_dir / form.archive
    if archive.exists():
        check_archive(archive, form.digests)
        return _assemble(source, _archived_files(source, form, archive), str(archive))
    raise InputError(f"{data_dir} holds no {source.name}")


def _file_sizes(source: Source, form: Form) -> dict[str, int]:
    record = source.label_bytes + PIXELS
    sizes = dict.fromkeys(form.train, source.train_size * record)
    return {**sizes, form.test: source.test_size * record}


def _loose_files(source: Source, form: Form, folder: Path) -> Iterator[tuple[str, bytes]]:
    for name, size in _file_sizes(source, form).items():
        yield name, read_regular(folder / name, size)


def _archived_files(source: Source, form: Form, archive: Path) -> Iterator[tuple[str, bytes]]:
    sizes = _file_sizes(source, form)
    members = read_members(archive, {f"{form.folder}/{name}": sizes[name] for name in sizes})
    for name, content in members:
        yield name[len(form.folder) + 1 :], content


def _assemble(source: Source, files: Iterator[tuple[str, bytes]], where: str) -> Dataset:
    """Decode files into one array for each split."""
    form = source.binary
    trains = len(form.train)
    images = np.empty((trains * source.train_size + source.test_size, *IMAGE_SHAPE), np.uint8)
    labels = np.empty(len(images), np.int32)
    starts = {name: i * source.train_size for i, name in enumerate((*form.train, form.test))}
    for name, content in files:
        count = source.test_size if name == form.test else source.train_size
        part = slice(starts[name], starts[name] + count)
        images[part], labels[part] = decode_binary(
            f"{where}: {name}", content, count, source.label_bytes
        )
    border = trains * source.train_size
    for what, part in (("training", slice(border)), ("test", slice(border, None))):
        per_class = len(labels[part]) // len(source.classes)
        check_labels(labels[part], source.classes, f"{where}: {what} labels", per_class)
    return make_dataset(
        source.name,
        Split(images[:border], labels[:border]),
        Split(images[border:], labels[border:]),
        source.classes,
        source.mean,
        source.std,
    )


def decode_binary(
    where: str, content: bytes, count: int, label_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Decode a binary file: for each image its label bytes, then 1,024 red, green, blue pixels.

    Parameters
    ----------
    where : str
        The file's name, for messages.
    content : bytes
        All of it.
    count : int
        Images that it must hold.
    label_bytes : int
        How many label bytes each record begins with; the last one is the label.

    Returns
    -------
    images : numpy.ndarray
        uint8, (count, 3, 32, 32).
    labels : numpy.ndarray
        uint8, (count,).

    Raises
    ------
    InputError
        If the length is another.
    """
    record = label_bytes + PIXELS
    if len(content) != count * record:
        raise InputError(
            f"{where} has {len(content):,} bytes, not {count * record:,}: truncated or altered"
        )
    records = np.frombuffer(content, np.uint8).reshape(count, record)
    return records[:, label_bytes:].reshape(count, *IMAGE_SHAPE), records[:, label_bytes - 1]
