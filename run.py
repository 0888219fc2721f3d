"""What a run consists of: its config, data, net and optimizer, and how far it has come."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from typing import Any, Callable

import numpy as np

import models
from checkpoints import Checkpoint, named_parameters, set_optimizer_state, set_parameters
from config import RESUMABLE, Config
from datasets import Dataset, Split, get_dataset, split_validation
from datasets.augment import Augmentation
from datasets.loader import TrainLoader
from distributed import Workers
from errors import InputError
from optimisation import make_schedule, make_trainer, prepare_amp
from run_folder import describe_environment
from utils import contexts, sha256, to_json


@dataclass
class Progress:
    """How far a run has come: with the net and the optimizer, all that its next step depends on.

    ``epoch`` and ``step`` count what is done; the sums are over the epoch in progress.
    ``identity`` is that of the `Run`: a checkpoint does not continue any other.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_acc: float = -1.0
    loss_scale: float = 0.0
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

    def description(self) -> dict[str, Any]:
        """Return what `config.json` holds: enough to build the net and to know the data again."""
        data = self.data
        return {
            "config": {**self.config.to_dict(), "resume": None},
            "data": {
                "name": data.name,
                "classes": list(data.classes),
                "mean": data.mean.tolist(),
                "std": data.std.tolist(),
                "fingerprint": data.fingerprint,
                "split": self.split,
                "train": len(self.loader.split),
                "val": len(self.validation),
                "test": len(data.test),
            },
            "workers": self.workers.count,
            "devices": len(self.ctx),
            "parameters": sum(
                math.prod(p.shape)
                for p in self.net.collect_params().values()
                if p.grad_req != "null"
            ),
            **describe_environment(),
        }

    def identity(self) -> str:
        """Return a digest of what must not change between the parts of a run."""
        config = self.config.to_dict()
        fixed = {name: value for name, value in config.items() if name not in RESUMABLE}
        data = [self.data.fingerprint, self.split, self.workers.count, len(self.ctx)]
        return sha256(to_json([fixed, data]))


def build(config: Config, workers: Workers) -> Run:
    """Put together everything that a run needs, but for its folder.

    Raises
    ------
    InputError
        If the data, the model, the devices or the batch do not fit.
    """
    if config.deterministic:
        # Read when cuDNN chooses an algorithm; on a CPU every run repeats its bits anyway.
        os.environ.update(MXNET_ENFORCE_DETERMINISM="1", MXNET_CUDNN_AUTOTUNE_DEFAULT="0")
    ctx = contexts(config.ctx, config.gpus)
    data = get_dataset(config.dataset, config.data_dir)
    train_images, validation, split = split_validation(data.train, config.val_size, config.seed)
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
    prepare_amp(config, ctx)
    net = models.get_model(config.model, classes=len(data.classes), **config.model_options())
    models.initialize(net, ctx, config.seed)
    if not config.no_hybridize:
        net.hybridize(static_alloc=True, static_shape=True)
    trainer = make_trainer(net, config, ctx, workers)
    schedule = make_schedule(config, loader.steps_per_epoch)
    return Run(config, workers, ctx, data, loader, validation, split, net, trainer, schedule)


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


def check_same_run(run: Run, stored: dict[str, Any]) -> None:
    """Refuse to go on with other data, another split or other workers, naming what differs.

    Raises
    ------
    InputError
        If the run's description, as stored, does not fit.
    """
    now = run.description()
    names = ("name", "classes", "fingerprint", "split", "train", "val", "test")
    pairs = [(f"data {name}", stored["data"].get(name), now["data"][name]) for name in names]
    pairs += [(name, stored.get(name), now[name]) for name in ("workers", "devices")]
    differing = [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]
    if differing:
        raise InputError(f"this is not the run that was stopped: {'; '.join(differing)}")


def restore(run: Run, checkpoint: Checkpoint | None) -> Progress:
    """Bring a run to where a checkpoint is, on every worker.

    Parameters
    ----------
    run : Run
    checkpoint : Checkpoint or None
        What worker 0 has read; the others pass None.

    Returns
    -------
    Progress
        That of a new run if there is no checkpoint.

    Raises
    ------
    InputError
        If the checkpoint does not fit the run.
    """
    progress = Progress(identity=run.identity())
    if checkpoint is not None:
        path = checkpoint.path
        try:
            progress = Progress(**checkpoint.progress)
        except TypeError as error:
            raise InputError(f"{path}/manifest.json is of another version: {error}") from error
        if progress.identity != run.identity():
            raise InputError(
                f"{path} belongs to another run than its config.json: is that altered?"
            )
        set_parameters(run.net, checkpoint.arrays("net.params"), path / "net.params")
        state = checkpoint.arrays("state.params")
        set_optimizer_state(run.net, run.trainer, state, path / "state.params")
        if run.config.amp:
            run.trainer._amp_loss_scaler._loss_scale = progress.loss_scale
            run.trainer._amp_loss_scaler._next_loss_scale = progress.loss_scale
    if run.workers.count > 1:
        _share(run, progress)
    return progress


def _share(run: Run, progress: Progress) -> None:
    """Give the other workers what worker 0 has restored."""
    place = np.array([progress.epoch, progress.step], np.float32)
    place = run.workers.broadcast([place], 1)[0]
    progress.epoch, progress.step = int(place[0]), int(place[1])
    if not place.any():
        return
    parameters = named_parameters(run.net)
    values = [p.list_data()[0].asnumpy() for p in parameters.values()]
    received = dict(zip(parameters, run.workers.broadcast(values, 1000)))
    set_parameters(run.net, received, "worker 0")
    updater = run.trainer._updaters[0]
    trained = {name: p for name, p in parameters.items() if p.grad_req != "null"}
    index = {p.name: number for number, p in enumerate(run.trainer._params)}
    momentum = [
        updater.states[index[p.name]].asnumpy() if run.workers.rank == 0 else np.zeros(p.shape)
        for p in trained.values()
    ]
    received = dict(zip(trained, run.workers.broadcast(momentum, 50_000)))
    state = {f"momentum/{name}": value for name, value in received.items()}
    set_optimizer_state(run.net, run.trainer, state, "worker 0")
