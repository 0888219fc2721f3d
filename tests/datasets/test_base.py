"""Splits and statistics are what a run's record says they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import numbered

from datasets import get_dataset
from datasets.base import Split, channel_statistics, make_dataset, split_validation
from errors import InputError


def rows(split):
    return {(image.tobytes(), int(label)) for image, label in zip(split.images, split.labels)}


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=60),
    st.tuples(st.floats(0, 0.99), st.floats(0, 1)),
    st.integers(0, 2**32 - 1),
)
def test_a_split_divides_the_images_and_keeps_the_shares_of_the_classes(labels, parts, seed):
    whole = numbered(labels)
    val_size = int(parts[0] * len(whole))
    others, val, fingerprint = split_validation(whole, val_size, seed)
    assert (len(others), len(val)) == (len(whole) - val_size, val_size)
    assert rows(others) | rows(val) == rows(whole)
    train_size = int(parts[1] * len(others)) or len(others)
    train, again, other = split_validation(whole, val_size, seed, train_size)
    assert (len(train), rows(again)) == (train_size, rows(val))
    assert rows(train) <= rows(others)
    assert other != fingerprint
    for part, among in ((val, whole), (train, others)):
        shares = np.bincount(among.labels, minlength=5) * len(part) / len(among)
        assert (abs(np.bincount(part.labels, minlength=5) - shares) < 1).all()


def test_a_split_is_the_same_under_every_numpy_but_not_of_another_seed():
    # A run is resumed with other versions than it was started with.
    one, other = (split_validation(numbered(np.arange(1000) % 10), 105, seed)[2] for seed in (7, 8))
    assert one == "70bba40082a4a6917e4c2344fe3627d418cdf82a677ca6880b50a4d17c7fc97a" != other


@pytest.mark.parametrize(
    ("val_size", "train_size", "match"),
    [
        (-1, 0, "choose from 0 to 49"),
        (50, 0, "choose from 0 to 49"),
        (10, 41, "cannot train on 41 of 40 images"),
    ],
)
def test_a_split_that_leaves_too_little_is_refused(val_size, train_size, match):
    with pytest.raises(InputError, match=match):
        split_validation(numbered(np.arange(50) % 10), val_size, 0, train_size)


def test_the_embedded_images_are_the_same_under_every_numpy():
    fingerprint = "16327c7b502ddc30fd3a96bc1f72c218b4fd5b801a7f7f2a58e7f4f1752ea4d4"
    assert get_dataset("shapes").fingerprint == fingerprint


def test_statistics_are_per_channel_over_all_pixels():
    images = np.random.RandomState(0).randint(0, 256, (300, 3, 32, 32)).astype(np.uint8)
    images[:, 1] //= 3
    images[:, 2] = 77  # a channel that is the same everywhere normalises to zero
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std[:2], images.std(axis=(0, 2, 3))[:2], rtol=1e-9)
    assert (mean[2], std[2]) == (77, 1)


def test_the_fill_is_the_mean_colour_and_the_fingerprint_sees_every_pixel_and_name():
    split = numbered([0, 1, 0, 1])
    one = make_dataset("x", split, split, ["a", "b"], mean=(125.3, 123.5, 113.9), std=(1, 1, 1))
    assert one.fill.tolist() == [125, 124, 114]
    assert one.fill.dtype == np.uint8
    altered, swapped = numbered([0, 1, 0, 1]), numbered([1, 0, 0, 1])
    altered.images[3, 2, 31, 31] = 1
    pairs = ((split, altered), (altered, split), (split, swapped))
    others = [make_dataset("x", *pair, ["a", "b"]) for pair in pairs]
    others.append(make_dataset("x", split, split, ["a", "c"]))
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_images_of_another_layout_and_labels_of_another_type_are_refused():
    with pytest.raises(InputError, match="images must be"):
        Split(np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.int32))
    with pytest.raises(InputError, match="labels must be"):
        Split(np.zeros((2, 3, 32, 32), np.uint8), np.zeros(2, np.int64))
