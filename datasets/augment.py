"""Augmentation of whole batches in NumPy, before pixels are normalised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PADDING = 4


@dataclass(frozen=True)
class Augmentation:
    """What to do to a batch of training images; `records.config` has the ranges of the numbers.

    Parameters
    ----------
    crop : bool
        Pad 4 pixels on each side with the mean colour and take a random 32×32 window, as in the
        DenseNet paper (arXiv 1608.06993): each of the 81 windows is equally likely.
    flip : bool
        Mirror left and right with probability 0.5.
    cutout : int
        Side in pixels of a square that is covered with the mean colour, centred on any pixel, so
        that part of it may lie outside (DeVries and Taylor, arXiv 1708.04552: 16 for CIFAR-10); 32
        at most, 0 is off.
    mixup : float
        Alpha of the Beta distribution that mixes pairs of images (Zhang et al., arXiv 1710.09412:
        1 for CIFAR-10); 0 is off.
    cutmix : float
        Alpha of the Beta distribution for the area of a box that comes from another image (Yun et
        al., arXiv 1905.04899: 1 for CIFAR); 0 is off. With mixup as well, each batch gets one of
        the two, with equal probability.
    label_smoothing : float
        Probability that is taken from the label and spread evenly over all classes, the label's
        included (Szegedy et al., arXiv 1512.00567); 0 is off.
    """

    crop: bool = True
    flip: bool = True
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0


def augment(
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    augmentation: Augmentation,
    rng: np.random.RandomState,
    fill: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return an augmented copy of a batch, and its targets.

    Parameters
    ----------
    images : numpy.ndarray
        uint8, (N, 3, 32, 32).
    labels : numpy.ndarray
        int32, (N,).
    classes : int
    augmentation : Augmentation
    rng : numpy.random.RandomState
        Source of all draws; a `RandomState`, because NumPy never changes its streams.
    fill : numpy.ndarray
        uint8, (3,): the mean colour, which normalises to about 0.

    Returns
    -------
    images : numpy.ndarray
        (N, 3, 32, 32); float32 in 0..255 if mixup is on, else uint8.
    targets : numpy.ndarray
        float32, (N, classes): the probability of each class.
    """
    images = _random_crop(images, rng, fill) if augmentation.crop else images.copy()
    if augmentation.flip:
        mirrored = rng.randint(0, 2, len(images)).astype(bool)
        images[mirrored] = images[mirrored][..., ::-1]
    if augmentation.cutout:
        images = _cutout(images, augmentation.cutout, rng, fill)
    targets = _smooth_one_hot(labels, classes, augmentation.label_smoothing)
    if augmentation.mixup:
        images = images.astype(np.float32)
    if augmentation.mixup and (not augmentation.cutmix or rng.randint(0, 2)):
        images, targets = _mixup(images, targets, augmentation.mixup, rng)
    elif augmentation.cutmix:
        images, targets = _cutmix(images, targets, augmentation.cutmix, rng)
    return images, targets


def _random_crop(images: np.ndarray, rng: np.random.RandomState, fill: np.ndarray) -> np.ndarray:
    """Pad, then take one of the 81 windows of each image."""
    count, channels, height, width = images.shape
    padded = np.empty((count, channels, height + 2 * PADDING, width + 2 * PADDING), images.dtype)
    padded[:] = fill[:, None, None]
    padded[:, :, PADDING:-PADDING, PADDING:-PADDING] = images
    windows = np.lib.stride_tricks.sliding_window_view(padded, (1, channels, height, width))
    top, left = rng.randint(0, 2 * PADDING + 1, (2, count))
    return windows[np.arange(count), 0, top, left, 0]


def _cutout(
    images: np.ndarray, side: int, rng: np.random.RandomState, fill: np.ndarray
) -> np.ndarray:
    """Cover one square of each image; its centre is any pixel, so it may stick out."""
    count, _, height, width = images.shape
    top = rng.randint(0, height, count) - side // 2
    left = rng.randint(0, width, count) - side // 2
    rows, columns = np.arange(height), np.arange(width)
    in_rows = (rows >= top[:, None]) & (rows < top[:, None] + side)
    in_columns = (columns >= left[:, None]) & (columns < left[:, None] + side)
    covered = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return np.where(covered, fill[:, None, None], images)


def _smooth_one_hot(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """Return (1 - smoothing) at the label and smoothing / classes everywhere."""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += np.float32(1 - smoothing)
    return targets


def _mixup(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Mix the batch with a permutation of itself, one weight a batch as in the authors' code."""
    weight = np.float32(rng.beta(alpha, alpha))
    partner = rng.permutation(len(images))
    return (
        weight * images + (1 - weight) * images[partner],
        weight * targets + (1 - weight) * targets[partner],
    )


def _cutmix(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Paste one box from a permutation of the batch; targets are mixed by the area pasted."""
    height, width = images.shape[2:]
    share = np.sqrt(1 - rng.beta(alpha, alpha))
    partner = rng.permutation(len(images))
    half_height, half_width = int(height * share) // 2, int(width * share) // 2
    row, column = rng.randint(0, height), rng.randint(0, width)
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    mixed = images.copy()
    mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    weight = np.float32(1 - (bottom - top) * (right - left) / (height * width))
    return mixed, weight * targets + (1 - weight) * targets[partner]
