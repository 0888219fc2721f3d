"""Batches can be repeated, are shared without overlap, and leave no thread behind."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import numbered

from datasets.augment import Augmentation
from datasets.base import Split
from datasets.loader import TrainLoader
from errors import InputError

FILL = np.array([125, 123, 114], np.uint8)
PLAIN = Augmentation(crop=False, flip=False)


def numbers(images):
    return images[:, 0, 0, 0].tolist()


def loader(batch_size=8, **options):
    split = numbered(np.arange(100) % 10)
    return TrainLoader(split, 10, batch_size, 3, FILL, **options)


def test_an_epoch_shows_no_image_twice_and_leaves_out_others_than_the_last():
    one, left = loader(), set()
    assert one.steps_per_epoch == 12
    for epoch in range(5):
        shown = []
        for images, targets in one.epoch(epoch, PLAIN):
            shown += numbers(images)
            assert targets.argmax(axis=1).tolist() == [n % 10 for n in numbers(images)]
        assert len(shown) == len(set(shown)) == 96
        assert shown != sorted(shown)
        left.add(frozenset(range(100)) - frozenset(shown))
    assert len(left) == 5


@given(st.integers(0, 20), st.integers(0, 12))
def test_any_step_can_be_repeated_alone(epoch, step):
    mixed = Augmentation(mixup=1.0)
    whole = list(loader().epoch(epoch, mixed))
    rest = list(loader().epoch(epoch, mixed, start_step=step))
    np.testing.assert_equal(rest, whole[step:])


def test_seed_epoch_step_and_worker_each_change_the_augmentation():
    # Sixty-four copies of one image: what differs is the augmentation alone.
    image = np.random.RandomState(0).randint(0, 256, (1, 3, 32, 32)).astype(np.uint8)
    split = Split(np.repeat(image, 64, axis=0), np.zeros(64, np.int32))
    different = set()
    for seed, worker, epoch in itertools.product(range(3), range(2), range(3)):
        one = TrainLoader(split, 10, 32, seed, FILL, worker, workers=2)
        different.update(images.tobytes() for images, _ in one.epoch(epoch, Augmentation()))
    assert len(different) == 3 * 2 * 3 * 2


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_workers_share_each_batch_without_overlap(workers):
    alone = [numbers(images) for images, _ in loader().epoch(2, PLAIN)]
    shared = [loader(worker=worker, workers=workers).epoch(2, PLAIN) for worker in range(workers)]
    for batch, shares in zip(alone, zip(*shared)):
        assert batch == [n for images, _ in shares for n in numbers(images)]
    for iterator in shared:
        iterator.close()


def test_the_thread_ends_with_the_epoch_and_when_it_is_left_early():
    before = threading.active_count()
    list(loader().epoch(0, PLAIN))
    assert threading.active_count() == before
    epoch = loader().epoch(0, PLAIN)
    next(epoch)
    assert threading.active_count() == before + 1
    epoch.close()
    assert threading.active_count() == before


def test_a_batch_that_cannot_be_filled_is_refused():
    with pytest.raises(InputError, match="100 training images do not fill one batch of 101"):
        loader(batch_size=101)
