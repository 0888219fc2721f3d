"""Splits and statistics are what a run's record says they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.base import Split, channel_statistics, make_dataset, split_validation
from errors import InputError


def some_split(labels):
    labels = np.asarray(labels, np.int32)
    images = np.arange(len(labels), dtype=np.uint32).view(np.uint8).reshape(-1, 4)  # all different
    whole = np.zeros((len(labels), 3 * 32 * 32), np.uint8)
    whole[:, :4] = images
    return Split(whole.reshape(-1, 3, 32, 32), labels)


def rows(split):
    return {(image.tobytes(), int(label)) for image, label in zip(split.images, split.labels)}


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.data(), st.integers(0, 2**32 - 1))
def test_a_split_divides_the_images_and_keeps_the_shares_of_the_classes(labels, data, seed):
    whole = some_split(labels)
    val_size = data.draw(st.integers(0, len(whole) - 1))
    train, val, fingerprint = split_validation(whole, val_size, seed)
    assert (len(train), len(val)) == (len(whole) - val_size, val_size)
    assert rows(train) | rows(val) == rows(whole)
    shares = np.bincount(whole.labels, minlength=5) * val_size / len(whole)
    assert (abs(np.bincount(val.labels, minlength=5) - shares) < 1).all()
    assert split_validation(whole, val_size, seed)[2] == fingerprint


def test_another_seed_or_size_is_another_split():
    whole = some_split(np.arange(1000) % 10)
    fingerprints = {
        split_validation(whole, size, seed)[2] for size in (100, 101) for seed in range(5)
    }
    assert len(fingerprints) == 10


def test_a_split_is_the_same_under_every_numpy():
    # A run is resumed with other versions than it was started with.
    _, _, fingerprint = split_validation(some_split(np.arange(1000) % 10), 105, 7)
    assert fingerprint == "70bba40082a4a6917e4c2344fe3627d418cdf82a677ca6880b50a4d17c7fc97a"


@pytest.mark.parametrize("val_size", [-1, 50, 51])
def test_a_split_that_leaves_nothing_is_refused(val_size):
    with pytest.raises(InputError, match="choose from 0 to 49"):
        split_validation(some_split(np.arange(50) % 10), val_size, 0)


def test_a_smaller_training_set_is_stratified_and_leaves_the_validation_images_alone():
    whole = some_split(np.arange(1000) % 10)
    all_train, val, fingerprint = split_validation(whole, 100, 3)
    train, same_val, other = split_validation(whole, 100, 3, train_size=205)
    assert len(train) == 205
    assert rows(train) < rows(all_train)
    assert rows(same_val) == rows(val)
    assert set(np.bincount(train.labels)) == {20, 21}
    assert other != fingerprint
    assert other != split_validation(whole, 100, 3, train_size=204)[2]
    with pytest.raises(InputError, match="cannot train on 901 of 900 images"):
        split_validation(whole, 100, 3, train_size=901)


def test_statistics_are_per_channel_over_all_pixels():
    images = np.random.RandomState(0).randint(0, 256, (300, 3, 32, 32)).astype(np.uint8)
    images[:, 1] //= 3
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, images.std(axis=(0, 2, 3)), rtol=1e-9)


def test_a_channel_that_is_the_same_everywhere_normalises_to_zero():
    images = np.full((4, 3, 32, 32), 77, np.uint8)
    mean, std = channel_statistics(images)
    assert not ((images - mean[:, None, None]) / std[:, None, None]).any()


def test_the_fill_is_the_mean_colour_and_the_fingerprint_sees_every_pixel_and_name():
    split = some_split([0, 1, 0, 1])
    one = make_dataset("x", split, split, ["a", "b"], mean=(125.3, 123.5, 113.9), std=(1, 1, 1))
    assert one.fill.tolist() == [125, 124, 114]
    assert one.fill.dtype == np.uint8
    altered = some_split([0, 1, 0, 1])
    altered.images[3, 2, 31, 31] = 1
    swapped = some_split([1, 0, 0, 1])
    others = [
        make_dataset("x", split, altered, ["a", "b"]),
        make_dataset("x", altered, split, ["a", "b"]),
        make_dataset("x", split, swapped, ["a", "b"]),
        make_dataset("x", split, split, ["a", "c"]),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2], "x: test: label 2 of image 2 is out of range"),
        ([0, -1, 1], "x: test: label -1 of image 1 is out of range"),
        ([0, 0], "x: test: class 'b' has 0 images"),
        ([], "x: test: class 'a' has 0 images"),
    ],
)
def test_labels_that_make_no_sense_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        make_dataset("x", some_split([0, 1]), some_split(labels), ["a", "b"])


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, np.int32)),
        (np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.int32)),
        (np.zeros((2, 3, 32, 32), np.uint8), np.zeros(3, np.int32)),
        (np.zeros((2, 3, 32, 32), np.uint8), np.zeros(2, np.int64)),
    ],
)
def test_arrays_of_other_types_or_shapes_are_refused(images, labels):
    with pytest.raises(InputError, match="must be"):
        Split(images, labels)


def test_data_can_be_read_where_mxnet_is_not_installed():
    program = "import sys; sys.modules['mxnet'] = None; import datasets, datasets.images"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True)
