"""One epoch: its steps, when to save or to stop between them, its history and its log."""

from __future__ import annotations

import math
import signal
import time
from contextlib import closing
from typing import Any, Callable, Mapping, Sequence

from runtime import mx

import numpy as np

import models
from records.checkpoints import Progress
from training.pace import Pace, duration
from training.run import DivergedError, Run, augmentation_of
from training.signals import StopSignals
from training.step import train_step
from utils import LOG


class StoppedError(Exception):
    """A signal has ended the run, and a checkpoint is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class StepMetrics:
    """Adds up the metrics of steps in `progress`; reads each while the device works on the next."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self.run, self.progress = run, progress
        self._queued: Any = None

    def add(self, sums: Any, requests: Sequence[float]) -> Sequence[float]:
        """Queue a step's metrics, and count those of the step before.

        Parameters
        ----------
        sums : mxnet.nd.NDArray
            (2,): sum of losses and correct answers of this worker.
        requests : sequence of float
            1 for each of stopping and saving that this worker asks for, else 0.

        Returns
        -------
        sequence of float
            The requests of all workers, added up. With several workers they are those of the step
            before, because all have to act on them at the same step.
        """
        array = mx.nd.concat(sums, mx.nd.array(requests), dim=0)
        agreed = self.drain()
        self.run.workers.sum(array)
        self._queued = array
        return requests if self.run.workers.count == 1 else agreed or [0.0] * len(requests)

    def drain(self) -> Sequence[float]:
        """Wait for the queued step and count it; return its requests.

        Raises
        ------
        DivergedError
            If its loss is not finite.
        """
        if self._queued is None:
            return []
        # The one wait in a step. The step after it is queued already, so the device never idles.
        loss, correct, *requests = self._queued.asnumpy().tolist()
        self._queued = None
        if not math.isfinite(loss):
            place = self.progress.epoch * self.run.loader.steps_per_epoch + self.progress.step
            raise DivergedError(
                f"the loss of step {place + 1} (epoch {self.progress.epoch + 1}) is {loss} at "
                f"learning rate {self.run.schedule(place):g}"
            )
        self.progress.loss_sum += loss
        self.progress.correct += int(correct)
        self.progress.step += 1
        return requests


def seed_step(seed: int, *place: int) -> None:
    """Seed MXNet's generators for one step: dropout in it depends on nothing that came before.

    The state of these generators can be neither read nor saved, so resuming in the middle of a run
    is exact only because every step starts from a seed of its own: of the run's, step and worker.
    """
    words = np.random.SeedSequence((seed, *place)).generate_state(1)
    mx.random.seed(int(words[0]) & 0x7FFFFFFF)


def train_one_epoch(
    run: Run, progress: Progress, save: Callable[[], None], stop: StopSignals, pace: Pace
) -> None:
    """Train from the place in `progress`, which is kept up to date, to the end of its epoch.

    Parameters
    ----------
    run : Run
    progress : Progress
    save : callable
        Saves a checkpoint; called when one is due by time, and before stopping.
    stop : StopSignals
        Looked at after every step.
    pace : Pace
        Told of every step.

    Raises
    ------
    DivergedError
        If a loss is not finite.
    StoppedError
        If a signal has come; a checkpoint is saved.
    """
    config, loader = run.config, run.loader
    augmentation = augmentation_of(config, progress.epoch)
    metrics = StepMetrics(run, progress)
    before = progress.seconds, progress.cpu_seconds
    start = last_save = time.monotonic()
    cpu_start = time.process_time()
    first = progress.epoch * loader.steps_per_epoch
    begin = first + progress.step

    def settle() -> None:
        """Count the step that is queued, and the time until it is done."""
        metrics.drain()
        progress.seconds = before[0] + time.monotonic() - start
        progress.cpu_seconds = before[1] + time.process_time() - cpu_start

    with closing(loader.epoch(progress.epoch, augmentation, progress.step)) as batches:
        for step, (images, targets) in enumerate(batches, begin):
            run.trainer.set_learning_rate(run.schedule(step))
            models.draw_gates(run.net, config.seed, step)
            seed_step(config.seed, step, run.workers.rank)
            batch = (images, targets, run.data.normaliser, run.ctx, config)
            sums = train_step(run.net, run.trainer, *batch, after_inference=step == begin)
            if run.average:
                run.average.update(step)
            minutes = (time.monotonic() - last_save) / 60
            due = 0 < config.checkpoint_minutes <= minutes and run.workers.rank == 0
            stopping, saving = metrics.add(sums, (float(stop.received), float(due)))
            pace.add(config.batch_size, f"epoch {progress.epoch + 1}/{config.epochs}")
            if stopping or saving:
                settle()
                save()
                last_save = time.monotonic()
            if stopping:
                run.workers.wait()
                raise StoppedError(int(stop.received or signal.SIGTERM))
            if progress.step and (step + 1 - first) % config.log_interval == 0:
                _log_step(run, progress, pace)
    settle()


def _log_step(run: Run, progress: Progress, pace: Pace) -> None:
    seen = progress.step * run.config.batch_size
    LOG.info(
        "epoch %d/%d step %d/%d: loss %.4f, error %.2f %%, lr %g, %s",
        progress.epoch + 1,
        run.config.epochs,
        progress.step,
        run.loader.steps_per_epoch,
        progress.loss_sum / seen,
        100 * (1 - progress.correct / seen),
        run.trainer.learning_rate,
        pace,
    )


def finish_epoch(run: Run, progress: Progress, validation: Mapping[str, Any] | None) -> bool:
    """Add the epoch to the history, and move on to the next.

    `validation` has ``loss`` and ``top1`` on the held-out images; it is None where there are none,
    and on workers other than the first.

    Returns
    -------
    bool
        Whether the net is the best so far. Without validation, the newest one counts as the best.
    """
    seen = progress.step * run.config.batch_size
    steps = run.loader.steps_per_epoch
    line: dict[str, Any] = {
        "epoch": progress.epoch + 1,
        "lr": run.schedule((progress.epoch + 1) * steps - 1),
        "train_loss": progress.loss_sum / seen,
        "train_acc": progress.correct / seen,
        "val_loss": None,
        "val_acc": None,
        "epoch_seconds": progress.seconds,
        "cpu_seconds": progress.cpu_seconds,
        "images_per_second": seen / progress.seconds,
    }
    best = True
    if validation:
        line.update(val_loss=validation["loss"], val_acc=validation["top1"])
        best = line["val_acc"] > progress.best_acc
        progress.best_acc = max(progress.best_acc, line["val_acc"])
    progress.best_epoch = progress.epoch + 1 if best else progress.best_epoch
    progress.history.append(line)
    progress.epoch, progress.step = progress.epoch + 1, 0
    progress.loss_sum, progress.correct = 0.0, 0
    progress.seconds = progress.cpu_seconds = 0.0
    return best


def log_epoch(line: dict[str, Any], epochs: int, pace: Pace) -> None:
    """Log an epoch's numbers."""
    validation = ""
    if line["val_acc"] is not None:
        error = 100 * (1 - line["val_acc"])
        validation = f"validation loss {line['val_loss']:.4f}, error {error:.2f} %; "
    LOG.info(
        "epoch %d/%d: training loss %.4f, error %.2f %%; %s%s, %s",
        line["epoch"],
        epochs,
        line["train_loss"],
        100 * (1 - line["train_acc"]),
        validation,
        duration(line["epoch_seconds"]),
        pace,
    )
