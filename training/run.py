"""What a run consists of: its config, data, net and optimizer, and how far it has come."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Sequence

from runtime import mx

import compiler
import models
from datasets import Dataset, Split, get_dataset, split_validation
from datasets.augment import Augmentation
from datasets.loader import TrainLoader
from errors import InputError
from training.averaging import Average
from training.config import Config
from training.distributed import Workers
from training.freezing import freeze, log_frozen
from training.initial import Given, take
from training.naming import net_title
from training.optimisation import make_schedule, make_trainer, prepare_amp
from training.run_folder import describe_environment
from utils import contexts


class DivergedError(Exception):
    """A loss or a parameter is not finite."""


@dataclass
class Progress:
    """How far a run has come: with the net and the optimizer, all that its next step depends on.

    ``epoch`` and ``step`` count what is done; the sums are over the epoch in progress.
    ``identity`` is that of the run's ``config.json``: a checkpoint does not continue any other.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best_epoch: int = 0
    best_acc: float = -1.0
    loss_scale: list[float] = field(default_factory=list)
    identity: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Run:
    """What a run works with, put together by `build`."""

    config: Config
    workers: Workers
    ctx: list[Any]
    data: Dataset
    loader: TrainLoader
    validation: Split
    split: str
    net: Any
    trainer: Any
    schedule: Callable[[int], float]
    precision: str = "float32"
    average: Average | None = None
    given: Given | None = None

    @property
    def nets(self) -> list[Any]:
        """The net in training, then its moving average if there is one."""
        return [self.net, self.average.net] if self.average else [self.net]

    @property
    def result(self) -> Any:
        """The net that counts, which is validated, kept as best, tested and exported."""
        return self.nets[-1]

    def average_statistics(self) -> None:
        """Give every device of every worker the mean of their running statistics."""
        for net in self.nets:
            self.workers.average_statistics(net)

    def description(self) -> dict[str, Any]:
        """Return what `config.json` holds: enough to build the net and to know the data again."""
        data = self.data
        return {
            "config": {**self.config.to_dict(), "resume": None},
            "net": net_title(self.config),
            "data": {
                "name": data.name,
                "classes": list(data.classes),
                **data.normaliser.to_dict(),
                "fingerprint": data.fingerprint,
                "split": self.split,
                "train": len(self.loader.split),
                "val": len(self.validation),
                "test": len(data.test),
            },
            "workers": self.workers.count,
            "devices": len(self.ctx),
            "device": self.ctx[0].device_type,
            "precision": self.precision,
            "parameters": models.count_parameters(self.net),
            **({"init": self.given.facts} if self.given else {}),
            **describe_environment(),
        }


def build(config: Config, workers: Workers, given: Given | None = None) -> Run:
    """Put together everything that a run needs, but for its folder.

    Parameters
    ----------
    config : Config
    workers : Workers
    given : Given, optional
        Weights to start from; those of worker 0 count. Images are then normalised as theirs were.

    Raises
    ------
    InputError
        If the data, the model, the weights, the devices or the batch do not fit.
    """
    if config.deterministic:
        # Read when cuDNN chooses an algorithm; on a CPU every run repeats its bits anyway.
        os.environ.update(MXNET_ENFORCE_DETERMINISM="1", MXNET_CUDNN_AUTOTUNE_DEFAULT="0")
    ctx = contexts(config.ctx, config.gpus)
    data = get_dataset(config.dataset, config.data_dir)
    val_size = min(5000, len(data.train) // 10) if config.val_size is None else config.val_size
    # Absolute, so that `evaluate.py` finds the data from any folder.
    data_dir = os.path.abspath(config.data_dir) if config.data_dir else None
    config = replace(config, val_size=val_size, data_dir=data_dir)
    train_images, validation, split = split_validation(
        data.train, val_size, config.seed, config.train_size
    )
    loader = TrainLoader(
        train_images,
        len(data.classes),
        config.batch_size,
        config.seed,
        Augmentation(),
        data.fill,
        workers.rank,
        workers.count,
    )
    parts = workers.count * len(ctx) * config.accumulate
    if config.batch_size % parts:
        raise InputError(
            f"--batch-size {config.batch_size} cannot be split into {parts} equal parts (workers "
            "times devices times --accumulate): choose a multiple"
        )
    precision = prepare_amp(config, ctx)

    def make_net() -> Any:
        net = models.get_model(config.model, classes=len(data.classes), **config.model_options())
        models.initialize(net, ctx, config.seed)
        if config.freeze:
            freeze(net, config.freeze)
        if not config.no_hybridize:
            compiler.hybridize(net, bfloat16=precision == "bfloat16")
        return net

    net = make_net()
    if given:
        take(net, given)
        data = replace(data, normaliser=given.normaliser or data.normaliser)
    if config.freeze:
        log_frozen(net)
    trainer = make_trainer(net, config, ctx, workers)
    average = None if config.ema is None else Average(make_net(), net, config.ema)
    schedule = make_schedule(config, loader.steps_per_epoch)
    run = Run(config, workers, ctx, data, loader, validation, split, net, trainer, schedule)
    return replace(run, precision=precision, average=average, given=given)


def augmentation_of(config: Config, epoch: int) -> Augmentation:
    """Return what is done to the images of an epoch, counted from 0."""
    plain = Augmentation(crop=not config.no_augment, flip=not config.no_augment)
    if epoch >= config.epochs - config.augment_off_epochs:
        return plain
    return replace(
        plain,
        cutout=config.cutout,
        mixup=config.mixup,
        cutmix=config.cutmix,
        label_smoothing=config.label_smoothing,
    )


class Tally:
    """Adds up the metrics of steps, and looks at each while the device works on the next.

    Parameters
    ----------
    run : Run
    progress : Progress
        Its sums are kept up to date, with the steps that are computed.
    """

    def __init__(self, run: Run, progress: Progress) -> None:
        self.run, self.progress = run, progress
        self._queued: Any = None

    def add(self, metrics: Any, requests: Sequence[float]) -> Sequence[float]:
        """Queue a step's metrics, and count those of the step before.

        Parameters
        ----------
        metrics : mxnet.nd.NDArray
            (2,): sum of losses and correct answers of this worker.
        requests : sequence of float
            What this worker would like to happen.

        Returns
        -------
        sequence of float
            Requests added up over workers: alone, those given; else those of the step before,
            because every worker must act on them at the same step.
        """
        array = mx.nd.concat(metrics, mx.nd.array(requests), dim=0)
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
