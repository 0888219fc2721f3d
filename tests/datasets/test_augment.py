"""Each augmentation does what its paper defines, to every image and its target."""

from __future__ import annotations

import collections
import hashlib

import numpy as np
import pytest
from image_files import numbered

from datasets.augment import Augmentation, augment

FILL = np.array([125, 123, 114], np.uint8)
OFF = {"crop": False, "flip": False}


def coded_images(count):
    """Return images whose every pixel tells its place: red the row, green the column, blue 200."""
    images = np.empty((count, 3, 32, 32), np.uint8)
    images[:, 0] = np.arange(32)[:, None]
    images[:, 1] = np.arange(32)
    images[:, 2] = 200
    return images


def apply(images, labels=None, classes=10, seed=0, **options):
    labels = np.zeros(len(images), np.int32) if labels is None else labels
    augmentation = Augmentation(**{**OFF, **options})
    return augment(images, labels, classes, augmentation, np.random.RandomState(seed), FILL)


def test_a_crop_is_one_of_the_81_windows_of_the_padded_image():
    padded = np.tile(FILL[:, None, None], (1, 40, 40))
    padded[:, 4:36, 4:36] = coded_images(1)[0]
    windows = {
        padded[:, top : top + 32, left : left + 32].tobytes(): (top, left)
        for top in range(9)
        for left in range(9)
    }
    images, _ = apply(coded_images(81 * 200), crop=True)
    counts = collections.Counter(windows[image.tobytes()] for image in images)
    assert len(counts) == 81
    # 200 expected of each, standard deviation 14: six of them either way.
    assert 115 < min(counts.values()) <= max(counts.values()) < 285


def test_half_of_the_images_are_mirrored_left_and_right():
    images, _ = apply(coded_images(10_000), flip=True)
    original, mirrored = coded_images(1)[0], coded_images(1)[0][..., ::-1]
    same = (images == original).all(axis=(1, 2, 3))
    other = (images == mirrored).all(axis=(1, 2, 3))
    assert (same | other).all()
    assert abs(other.mean() - 0.5) < 0.03


@pytest.mark.parametrize("side", [1, 7, 16, 32])
def test_cutout_covers_one_square_that_may_stick_out(side):
    images, _ = apply(coded_images(4000), cutout=side)
    covered = (images == FILL[:, None, None]).all(axis=1)
    rows, columns = covered.any(axis=2), covered.any(axis=1)
    # A rectangle: what its rows and columns span, and no pixel elsewhere touched.
    np.testing.assert_array_equal(covered, rows[:, :, None] & columns[:, None, :])
    untouched = ~covered[:, None] & np.ones((1, 3, 1, 1), bool)
    np.testing.assert_array_equal(
        images[untouched], np.broadcast_to(coded_images(1), images.shape)[untouched]
    )
    heights, widths = rows.sum(axis=1), columns.sum(axis=1)
    assert heights.max() == widths.max() == side
    assert heights.min() == widths.min() == (side + 1) // 2
    if side > 1:  # every pixel is reached
        assert covered.any(axis=0).all()


def test_label_smoothing_spreads_a_probability_over_all_classes():
    _, targets = apply(coded_images(2), np.array([0, 1], np.int32), 4, label_smoothing=0.2)
    expected = [[0.85, 0.05, 0.05, 0.05], [0.05, 0.85, 0.05, 0.05]]
    np.testing.assert_allclose(targets, expected, atol=1e-6)


def mixed(seed, **options):
    """Return fifty images and targets; both have the number of an image as their mean."""
    whole = numbered(np.arange(50))
    images, targets = apply(whole.images, whole.labels, 50, seed, **options)
    means = images.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(targets @ np.arange(50), means, rtol=1e-5, atol=1e-4)
    return images[:, 0], targets


def test_mixup_mixes_pixels_and_targets_by_the_same_weight():
    images, targets = mixed(0, mixup=1.0)
    assert (images == images[:, :1, :1]).all()
    assert len(np.unique(np.round(targets.max(axis=1), 5))) <= 2  # one weight a batch


def test_cutmix_pastes_one_box_and_weighs_the_targets_by_its_area():
    areas = set()
    for seed in range(200):
        images, targets = mixed(seed, cutmix=1.0)
        pasted = images != np.arange(50)[:, None, None]
        box = pasted.any(axis=0)
        np.testing.assert_array_equal(box, box.any(axis=1)[:, None] & box.any(axis=0))
        areas.add(box.sum())
        moved = pasted.any(axis=(1, 2))
        np.testing.assert_allclose(targets.diagonal()[moved], 1 - box.mean(), atol=1e-6)
    assert len(areas) > 50


def test_with_mixup_and_cutmix_each_batch_gets_one_of_the_two():
    cut = 0
    for seed in range(100):
        images, _ = mixed(seed, mixup=1.0, cutmix=1.0)
        assert images.dtype == np.float32  # always, so that a compiled graph sees one type
        whole = not (images % 1).any()
        assert whole or (images == images[:, :1, :1]).all()
        cut += whole
    assert 25 < cut < 75


def test_a_batch_is_the_same_under_every_numpy():
    # A run is resumed with other versions than it was started with.
    images, _ = apply(coded_images(64), crop=True, flip=True, cutout=8, cutmix=1.0)
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "6a0a737a587ff2e6"
