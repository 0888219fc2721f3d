"""What a run consists of: its config, data, net and optimizer."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Callable

import runtime  # noqa: F401  before MXNet, which it prepares this process for

import compiler
import models
from datasets import Dataset, Split, get_dataset, split_validation
from datasets.augment import Augmentation
from datasets.loader import TrainLoader
from errors import InputError
from inference.trained import InitialWeights
from records.config import Config
from records.naming import net_title
from records.run_folder import describe_environment
from training.averaging import Average
from training.distributed import Workers
from training.freezing import freeze
from training.schedule import make_schedule
from training.trainer import make_trainer, prepare_amp
from utils import contexts


class DivergedError(Exception):
    """A loss or a parameter is not finite."""


@dataclass
class Run:
    """The parts of a run; `build` makes them."""

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
    precision: str
    average: Average | None
    initial: InitialWeights | None

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
            **({"init": self.initial.facts} if self.initial else {}),
            **describe_environment(),
        }


def build(config: Config, workers: Workers, initial: InitialWeights | None = None) -> Run:
    """Make all parts of a run except its folder.

    It starts from `initial` weights if they are given (to worker 0), and then normalises images as
    those that the weights were trained on.

    Raises
    ------
    InputError
        If the data, the model, the weights, the devices or the batch do not fit.
    """
    if config.deterministic:
        # Read when cuDNN chooses an algorithm; on a CPU every run repeats its bits anyway.
        os.environ.update(MXNET_ENFORCE_DETERMINISM="1", MXNET_CUDNN_AUTOTUNE_DEFAULT="0")
    ctx = contexts(config.ctx, config.gpus)
    parts = workers.count * len(ctx) * config.accumulate
    if config.batch_size % parts:
        raise InputError(
            f"--batch-size {config.batch_size} cannot be split into {parts} equal parts (workers "
            "times devices times --accumulate): choose a multiple"
        )
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
        data.fill,
        workers.rank,
        workers.count,
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
    if initial:
        initial.load_into(net)
        data = replace(data, normaliser=initial.normaliser or data.normaliser)
    trainer = make_trainer(net, config, ctx, workers)
    average = None if config.ema is None else Average(make_net(), net, config.ema)
    schedule = make_schedule(config, loader.steps_per_epoch)
    return Run(
        *(config, workers, ctx, data, loader, validation, split, net, trainer, schedule),
        precision=precision,
        average=average,
        initial=initial,
    )


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
