"""Feed the readers mutated files: each must end in correct data or in a one-line error.

    python tests/fuzz_datasets.py --files 100000 --seed 1

goes on for as long as you like; the tests run a thousand. It stops at the first file that ends in
anything else, a crash, a hang of a minute or too much memory included, and says how to repeat it.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import faulthandler
import gzip
import hashlib
import io
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image, features
from tiny_cifar import TINY10, binary_files, official_python_file, pack, python_files, tiny_arrays

from datasets.base import Dataset, channel_statistics
from datasets.cifar import load_cifar
from datasets.folder import load_folder
from errors import InputError

SOURCE = dataclasses.replace(TINY10, train_size=10, test_size=10)
SECONDS = 60  # after which a file counts as a hang
MEMORY = 1500 << 20  # bytes: the bound on one image (0.9 GB), Python, NumPy and slack
SCRATCH = "/dev/shm" if os.path.isdir("/dev/shm") else None  # memory: nothing waits for a disk
Reader = Callable[[Path, np.random.RandomState], None]
INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def mutate(content: bytes, rng: np.random.RandomState) -> bytes:
    """Return a file with one to eight things wrong, more of them near its beginning."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 9)):
        end = rng.choice([64, 1024, len(data) + 1])
        at = rng.randint(0, max(1, min(end, len(data) + 1)))
        length = int(rng.choice([1, 2, 4, 16, 512]))
        kind = rng.randint(8)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randint(8)
        elif kind == 1:
            data[at : at + length] = rng.bytes(length)
        elif kind == 2:
            value = INTERESTING[rng.randint(len(INTERESTING))]
            data[at : at + 4] = value.to_bytes(4, "big" if rng.randint(2) else "little")
        elif kind == 3:
            data[at:at] = rng.bytes(length)
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            other = rng.randint(0, len(data) + 1)
            data[at : at + length] = data[other : other + length]
        elif kind == 6:
            data[at:at] = data[at : at + length] * 3
        elif rng.randint(4) == 0:
            del data[at:]
    return bytes(data)


def mutate_tar(content: bytes, rng: np.random.RandomState) -> bytes:
    """Return a tar with something wrong, most often in a header whose checksum is right again."""
    headers = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    if rng.randint(3) == 0 or not headers:
        return mutate(content, rng)
    data = bytearray(content)
    at = headers[rng.randint(len(headers))]
    header = bytearray(mutate(content[at : at + 512], rng)[:512].ljust(512, b"\0"))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[at : at + 512] = header
    return bytes(data)


def correct(dataset: Dataset) -> None:
    """Raise AssertionError unless a data set is what its types promise."""
    for split in (dataset.train, dataset.test):
        assert split.images.dtype == np.uint8
        assert split.images.shape == (len(split), 3, 32, 32)
        assert split.labels.min() >= 0
        assert split.labels.max() < len(dataset.classes)


def read_binary(folder: Path, rng: np.random.RandomState) -> None:
    """Binary files, one of them mutated; what is read must be what the file holds."""
    files = binary_files(SOURCE)
    name = list(files)[rng.randint(len(files))]
    # Most mutations change the length and so say little: often only bytes are exchanged.
    changed = mutate(files[name], rng)
    if rng.randint(2):
        changed = (changed + files[name][len(changed) :])[: len(files[name])]
    for other, content in {**files, name: changed}.items():
        (folder / other).write_bytes(content)
    dataset = load_cifar(SOURCE, folder)
    correct(dataset)
    split = dataset.test if name == SOURCE.binary.test else dataset.train
    start = 0 if split is dataset.test else SOURCE.binary.train.index(name) * SOURCE.train_size
    records = np.frombuffer(changed, np.uint8).reshape(-1, 3073)
    part = slice(start, start + len(records))
    assert (split.images[part].reshape(-1, 3072) == records[:, 1:]).all()
    assert (split.labels[part] == records[:, 0]).all()


def read_archive(folder: Path, rng: np.random.RandomState) -> None:
    """An archive, mutated before or after it is compressed, that its owner vouches for."""
    form = rng.choice(["binary", "python"])
    files = binary_files(SOURCE) if form == "binary" else python_files(SOURCE)
    row = getattr(SOURCE, form)
    archive = pack(row.folder, files)
    if rng.randint(4):
        archive = gzip.compress(mutate_tar(gzip.decompress(archive), rng), compresslevel=1)
    else:
        archive = mutate(archive, rng)
    (folder / row.archive).write_bytes(archive)
    (folder / f"{row.archive}.sha256").write_text(hashlib.sha256(archive).hexdigest())
    correct(load_cifar(SOURCE, folder))


def read_pickle(folder: Path, rng: np.random.RandomState) -> None:
    """Python batches, one of them mutated, most often around its instructions."""
    files = python_files(SOURCE, protocol=rng.randint(6))
    images, labels = (part[:10] for part in tiny_arrays(SOURCE))
    files["data_batch_1"] = official_python_file(images, labels.tolist())
    name = list(files)[rng.randint(2)]
    content = files[name]
    if rng.randint(2):  # the instructions stand at both ends, pixels between them
        middle = len(content) - 600
        files[name] = content[:middle] + mutate(content[middle:], rng)
    else:
        files[name] = mutate(content[:1024], rng) + content[1024:]
    for other, changed in files.items():
        (folder / other).write_bytes(changed)
    correct(load_cifar(SOURCE, folder))


def read_images(folder: Path, rng: np.random.RandomState) -> None:
    """A folder of two classes, one image of it mutated."""
    name = list(PICTURES)[rng.randint(len(PICTURES))]
    for split in ("train", "test"):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
            (folder / split / label / "0.ppm").write_bytes(PICTURES["plain.ppm"])
    (folder / "train" / "a" / name).write_bytes(mutate(PICTURES[name], rng))
    dataset = load_folder(folder)
    correct(dataset)
    assert len(dataset.train) == 3
    assert np.isfinite(channel_statistics(dataset.train.images)).all()


def pictures() -> dict[str, bytes]:
    """Return images in many formats and modes by name."""
    noise = np.random.RandomState(0).randint(0, 256, (24, 40, 4)).astype(np.uint8)
    colour = Image.fromarray(noise[..., :3])
    exif = Image.Exif()
    exif[0x0112] = 6
    wanted: dict[str, tuple[Image.Image, dict]] = {
        "plain.ppm": (colour, {}),
        "colour.png": (colour, {"exif": exif}),
        "alpha.png": (Image.fromarray(noise), {}),
        "palette.png": (colour.quantize(16), {"transparency": 3}),
        "sixteen.png": (Image.fromarray(noise[..., 0].astype(np.uint16) << 8), {}),
        "bits.png": (colour.convert("1"), {}),
        "colour.jpg": (colour, {"exif": exif}),
        "progressive.jpg": (colour, {"progressive": True}),
        "cmyk.jpg": (colour.convert("CMYK"), {}),
        "animated.gif": (colour, {"save_all": True, "append_images": [colour.rotate(90)]}),
        "plain.tif": (colour, {}),
        "lzw.tif": (colour, {"compression": "tiff_lzw"}),
        "deflate.tif": (colour.convert("CMYK"), {"compression": "tiff_deflate"}),
        "colour.bmp": (colour, {}),
        "colour.tga": (colour, {"compression": "tga_rle"}),
    }
    if features.check("webp"):
        wanted["colour.webp"] = (colour, {})
    encoded = {}
    for name, (image, options) in wanted.items():
        file = io.BytesIO()
        image.save(file, format=Image.registered_extensions()[Path(name).suffix], **options)
        encoded[name] = file.getvalue()
    return encoded


READERS: dict[str, Reader] = {
    "binary": read_binary,
    "archive": read_archive,
    "pickle": read_pickle,
    "image": read_images,
}


def run(files: int, seed: int, readers: list[str]) -> dict[str, collections.Counter]:
    """Read mutated files and count how each ended, by reader."""
    counts: dict[str, collections.Counter] = {name: collections.Counter() for name in readers}
    for number in range(seed, seed + files):
        name = readers[number % len(readers)]
        # Overwritten each time: after a crash it says which file it was.
        print(f"repeat with: --files 1 --seed {number} --readers {name}", end="\r", file=sys.stderr)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        with tempfile.TemporaryDirectory(dir=SCRATCH) as outer:
            folder = Path(outer) / "data"
            folder.mkdir()
            counts[name][ending(READERS[name], folder, number)] += 1
            assert os.listdir(outer) == ["data"], "something was written outside the folder"
    faulthandler.cancel_dump_traceback_later()
    print(file=sys.stderr)
    return counts


def ending(reader: Reader, folder: Path, seed: int) -> str:
    """Return how reading one mutated file ends, if it ends as it should."""
    try:
        reader(folder, np.random.RandomState(seed))
    except InputError as error:
        if "\n" in str(error):
            raise AssertionError("more than one line") from error
        return "refused"
    return "read"


def main() -> None:
    """Parse the command line, run, and print the counts and the most memory taken."""
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow warns of much that is odd
    for name, counts in run(options.files, options.seed, options.readers).items():
        print(f"{name}: {counts['read']} read, {counts['refused']} refused")
    # Not ru_maxrss: that begins with what the process held that started this one.
    peak = 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    print(f"peak memory {peak >> 20} MB")
    assert peak < MEMORY, "too much memory"


PICTURES = pictures()

if __name__ == "__main__":
    main()
