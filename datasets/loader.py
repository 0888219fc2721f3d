"""Batches for training: shuffled reproducibly and prepared ahead."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generator

import numpy as np

from datasets.augment import Augmentation, augment
from datasets.base import Split
from errors import InputError


@dataclass(eq=False)
class TrainLoader:
    """Shuffled, augmented batches of a training set.

    A batch is a function of (seed, epoch, step, worker) alone, so any step can be repeated and a
    run goes on after a stop as if nothing had happened. The workers of a job divide each batch
    between them: no image is seen twice in an epoch, and each worker's draws are its own.

    Parameters
    ----------
    split : Split
    classes : int
    batch_size : int
        Images a step over all workers together; a multiple of `workers`.
    seed : int
        Of order and augmentation, 0 to 2**32 - 1.
    fill : numpy.ndarray
        uint8, (3,): the mean colour.
    worker, workers : int
        This process's number, from 0, and how many there are.

    Attributes
    ----------
    steps_per_epoch : int
        Whole batches in an epoch; the images left over differ from epoch to epoch.

    Raises
    ------
    InputError
        If there are fewer images than a batch.
    """

    split: Split
    classes: int
    batch_size: int
    seed: int
    fill: np.ndarray
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse a batch that cannot be filled."""
        if len(self.split) < self.batch_size:
            raise InputError(
                f"{len(self.split)} training images do not fill one batch of {self.batch_size}: "
                "choose a smaller batch size"
            )
        self.steps_per_epoch = len(self.split) // self.batch_size

    def epoch(
        self, epoch: int, augmentation: Augmentation, start_step: int = 0
    ) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        """Yield this worker's share of each batch of an epoch.

        The next batch is made by a thread while the caller works on the last one. The thread ends
        with the iterator, also if that is closed early, and an error in it is raised here.

        Epochs and steps are counted from 0.

        Yields
        ------
        images : numpy.ndarray
            (batch_size / workers, 3, 32, 32), uint8, or float32 in 0..255 with mixup.
        targets : numpy.ndarray
            float32, (batch_size / workers, classes).
        """
        order = np.random.RandomState([self.seed, epoch]).permutation(len(self.split))
        with ThreadPoolExecutor(max_workers=1) as thread:
            upcoming = None
            for step in range(start_step, self.steps_per_epoch):
                ready = upcoming or thread.submit(self._batch, order, augmentation, epoch, step)
                if step + 1 < self.steps_per_epoch:
                    upcoming = thread.submit(self._batch, order, augmentation, epoch, step + 1)
                yield ready.result()

    def _batch(
        self, order: np.ndarray, augmentation: Augmentation, epoch: int, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        share = self.batch_size // self.workers
        start = step * self.batch_size + self.worker * share
        chosen = order[start : start + share]
        rng = np.random.RandomState([self.seed, epoch, step, self.worker])
        images, labels = self.split.images[chosen], self.split.labels[chosen]
        return augment(images, labels, self.classes, augmentation, rng, self.fill)
