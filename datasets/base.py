"""`Dataset`, the form in memory of every source of data, and its division into splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Sequence

import numpy as np
from numpy.typing import ArrayLike

from errors import InputError
from utils import Normaliser

IMAGE_SHAPE = (3, 32, 32)
_CHUNK = 10_000  # images processed at a time, where all at once would take too much memory


@dataclass(frozen=True)
class Split:
    """Images with their labels.

    Parameters
    ----------
    images : numpy.ndarray
        uint8, (N, 3, 32, 32), red, green, blue.
    labels : numpy.ndarray
        int32, (N,), counted from 0.

    Raises
    ------
    InputError
        If a type or a shape is wrong.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        """Refuse arrays of another type or shape, which would train on nonsense."""
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.shape[1:] != IMAGE_SHAPE:
            raise InputError(
                f"images must be uint8 (N, 3, 32, 32), these are {images.dtype} {images.shape}"
            )
        if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
            raise InputError(
                f"labels must be int32 {images.shape[:1]}, these are {labels.dtype} {labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Split:
        """Return a copy of the images and labels at these positions, in this order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """A whole data set; make one by `make_dataset`.

    Parameters
    ----------
    name : str
        The source's name in `get_dataset`.
    train, test : Split
        Images and labels.
    classes : tuple of str
        Class names; label ``i`` means ``classes[i]``.
    normaliser : Normaliser
        With mean and deviation of each channel over all pixels of the training images.
    fingerprint : str
        Hexadecimal SHA-256 over the arrays and the class names.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    normaliser: Normaliser
    fingerprint: str

    @property
    def fill(self) -> np.ndarray:
        """The mean colour as a pixel, uint8 (3,): what augmentation pads with."""
        return np.rint(self.normaliser.mean).astype(np.uint8)


def make_dataset(
    name: str,
    train: Split,
    test: Split,
    classes: Sequence[str],
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    where: object = None,
    balanced: bool = False,
) -> Dataset:
    """Check labels, compute what is missing, and return a `Dataset`.

    Parameters
    ----------
    name : str
    train, test : Split
    classes : sequence of str
    mean, std : array_like of float, (3,), optional
        Published statistics, in units of 0..255; computed from the training images if omitted.
    where : object, optional
        What the images belong to, for messages; `name` if omitted.
    balanced : bool
        Whether every class must have as many images of a split as every other.

    Raises
    ------
    InputError
        If a split is empty, a label lies out of range, or a class has no images in a split.
    """
    digest = hashlib.sha256("\n".join(classes).encode())
    for what, split in (("training set", train), ("test set", test)):
        _check_labels(split.labels, classes, f"{where or name}: {what}", balanced)
        digest.update(f"\n{len(split)}\n".encode())
        digest.update(split.labels.astype("<i4").tobytes())
        digest.update(np.ascontiguousarray(split.images).data)
    if mean is None or std is None:
        mean, std = channel_statistics(train.images)
    return Dataset(name, train, test, tuple(classes), Normaliser(mean, std), digest.hexdigest())


def _check_labels(labels: np.ndarray, classes: Sequence[str], where: str, balanced: bool) -> None:
    """Raise `InputError` unless every label names a class and every class has its images."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise InputError(
            f"{where}: label {labels[wrong[0]]} of image {wrong[0]} is out of range, there are "
            f"{len(classes)} classes: the file is damaged or of another data set"
        )
    counts, share = np.bincount(labels, minlength=len(classes)), len(labels) // len(classes)
    odd = np.flatnonzero(counts != share if balanced else counts == 0)
    if len(odd):
        raise InputError(
            f"{where}: class {classes[odd[0]]!r} has {counts[odd[0]]} images, "
            f"{share if balanced else 'at least 1'} expected"
        )


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel over all pixels, float64 (3,) each.

    Sums are of integers, so the result does not depend on their order. A constant channel gets
    the deviation 1, so that it normalises to 0.
    """
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(3):
            pixels = images[start : start + _CHUNK, channel].ravel()
            counts[channel] += np.bincount(pixels, minlength=256)
    values, total = np.arange(256), counts.sum(axis=1)
    mean = counts @ values / total
    variance = counts @ values**2 / total - mean**2
    return mean, np.where(variance > 1e-6, np.sqrt(np.maximum(variance, 0)), 1.0)


def split_validation(
    train: Split, val_size: int, seed: int, train_size: int = 0
) -> tuple[Split, Split, str]:
    """Hold images out of a training set, the same share of every class.

    Parameters
    ----------
    train : Split
        What to divide.
    val_size : int
        How many images to hold out; 0 leaves the training set as it is.
    seed : int
        The same seed chooses the same images, with every version of NumPy.
    train_size : int
        How many of the other images to train on, again the same share of every class; 0: all.

    Returns
    -------
    train, val : Split
        Images keep their order.
    fingerprint : str
        Hexadecimal SHA-256 of the positions chosen and the number of images.

    Raises
    ------
    InputError
        If there are too few images.
    """
    if not 0 <= val_size < len(train):
        raise InputError(
            f"cannot hold {val_size} validation images out of {len(train)} training images: "
            f"choose from 0 to {len(train) - 1}"
        )
    if not 0 <= train_size <= len(train) - val_size:
        raise InputError(
            f"cannot train on {train_size} of {len(train) - val_size} images: "
            "choose a smaller --train-size, or 0 for all"
        )
    everything = np.arange(len(train))
    val = _stratified(train.labels, everything, val_size, [seed, 0x5911])
    kept = np.setdiff1d(everything, val)
    chosen = f"{len(train)}:".encode() + val.astype("<i8").tobytes()
    if train_size:
        kept = _stratified(train.labels, kept, train_size, [seed, 0x5912])
        chosen += b":" + kept.astype("<i8").tobytes()
    return train.take(kept), train.take(val), hashlib.sha256(chosen).hexdigest()


def _stratified(labels: np.ndarray, among: np.ndarray, size: int, seed: list[int]) -> np.ndarray:
    """Draw `size` positions from those in `among`, the same share of every class, in order."""
    rng = np.random.RandomState(seed)  # a stream that NumPy never changes
    labels = labels[among]
    shares = np.bincount(labels) * size / len(among)
    quotas = np.floor(shares).astype(int)
    # Largest remainders first, ties in the order of the classes.
    most = np.argsort(quotas - shares, kind="stable")[: size - quotas.sum()]
    quotas[most] += 1
    drawn = [
        rng.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in enumerate(quotas)
    ]
    return among[np.sort(np.concatenate(drawn))]
