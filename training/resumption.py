"""Resume a run that was stopped, from its newest undamaged checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping

import numpy as np

from errors import InputError
from training.checkpoints import (
    Checkpoint,
    Checkpoints,
    newest,
    optimizer_state,
    set_optimizer_state,
)
from training.config import RESUMABLE, Config
from training.optimisation import loss_scale_state, make_schedule, set_loss_scale_state
from training.run import Progress, Run
from training.run_folder import LOG, RunFolder, describe_environment
from utils import Normaliser, sha256, to_json
from weights.parameters import named_parameters, set_parameters

# What the last bits may depend on, beside the settings.
_MACHINE = ("device", "processor", "threads", "mxnet")


def identity(description: Mapping[str, Any]) -> str:
    """Return a digest of what ``config.json`` says that stays the same in all parts of a run.

    Raises
    ------
    InputError
        If it is damaged.
    """
    config = Config.from_dict(description["config"]).to_dict()
    # 5,000 validation images were the default when these digests were first stored.
    defaults = {**Config().to_dict(), "val_size": 5000}
    fixed = {
        name: value
        for name, value in config.items()
        if name not in RESUMABLE and value != defaults[name]
    }
    data = [description["data"][name] for name in ("fingerprint", "split")]
    return sha256(to_json([fixed, [*data, description["workers"], description["devices"]]]))


def open_checkpoints(run: Run, folder: RunFolder) -> tuple[Checkpoints, Checkpoint | None]:
    """Write a new run's config; of a resumed run, check it, and read the newest checkpoint.

    Returns
    -------
    Checkpoints
        To write to.
    Checkpoint or None
        What to go on from.

    Raises
    ------
    InputError
        If the run that was stopped differs from this one, or all its checkpoints are damaged.
    """
    description = run.description()
    if not run.config.resume:
        folder.write_config(description)
        LOG.info(
            "%s on %s: %s parameters, %d training images, %d to validate, run folder %s",
            description["net"],
            run.data.name,
            f"{description['parameters']:,}",
            len(run.loader.split),
            len(run.validation),
            folder.path,
        )
        return Checkpoints(folder.checkpoints), None
    stored = folder.read_config()
    check_same_run(run, stored)
    if run.config.init_from:  # its images are normalised as those of the source were
        try:
            normaliser = Normaliser.from_dict(stored["data"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"config.json is damaged: {error!r}") from error
        run.data = replace(run.data, normaliser=normaliser)
    loaded = newest(folder.checkpoints, LOG.warning)
    if run.config.init_from and not loaded:
        raise InputError(
            f"{folder.path} was stopped before it had saved the weights of {run.config.init_from}: "
            "remove it and start anew"
        )
    LOG.info("going on with %s from %s", folder.path, loaded.path.name if loaded else "the start")
    before, steps = stored["config"]["epochs"], run.loader.steps_per_epoch
    if loaded and run.config.epochs > before:
        done = loaded.progress["epoch"] * steps + loaded.progress["step"]
        old = make_schedule(replace(run.config, epochs=before), steps)
        LOG.info(
            "%d epochs instead of %d: the learning rate goes on at %g, it has come to %g",
            *(run.config.epochs, before, run.schedule(done), old(max(0, done - 1))),
        )
    parts = [
        *stored.get("resumed", []),
        {"device": description["device"], **describe_environment()},
    ]
    for name, was, is_ in _differences(stored, *parts):
        LOG.warning("%s: %s instead of %s; the last bits may differ", name, is_, was)
    # `PLACE` holds for this part alone, so that the run keeps its identity.
    settings = {name: description["config"][name] for name in RESUMABLE}
    folder.write_config({**stored, "config": {**stored["config"], **settings}, "resumed": parts})
    folder.remove_results()  # they are of the weights that the run goes on from
    return Checkpoints(folder.checkpoints, loaded), loaded


def _differences(*parts: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return what the last part of a run computes on otherwise than the one before it."""
    was, is_ = ({**part, **part.get("host", {}), **part.get("versions", {})} for part in parts[-2:])
    return [
        (name, was[name], is_[name]) for name in _MACHINE if name in was and was[name] != is_[name]
    ]


def check_same_run(run: Run, stored: dict[str, Any]) -> None:
    """Refuse to go on with other data, workers or precision, naming what differs.

    Raises
    ------
    InputError
        If the run's description, as stored, does not fit.
    """
    now = run.description()
    names = ("name", "classes", "fingerprint", "split", "train", "val", "test")
    data = stored.get("data")
    if not isinstance(data, dict):
        raise InputError("config.json says nothing of the data: it is damaged")
    pairs = [(f"data {name}", data.get(name), now["data"][name]) for name in names]
    pairs += [(name, stored.get(name), now[name]) for name in ("workers", "devices")]
    # Runs of older versions have no entry for it.
    pairs.append(("precision", stored.get("precision", now["precision"]), now["precision"]))
    differing = [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]
    if differing:
        raise InputError(f"this is not the run that was stopped: {'; '.join(differing)}")


def restore(run: Run, checkpoint: Checkpoint | None, identity: str) -> Progress:
    """Restore a run from a checkpoint, on every worker.

    Parameters
    ----------
    run : Run
    checkpoint : Checkpoint or None
        What worker 0 has read; the others pass None.
    identity : str
        Of the run's ``config.json``.

    Returns
    -------
    Progress
        That of a new run if there is no checkpoint.

    Raises
    ------
    InputError
        If the checkpoint does not fit the run.
    """
    progress = Progress(identity=identity)
    if checkpoint is not None:
        path = checkpoint.path
        try:
            progress = Progress(**checkpoint.progress)
        except TypeError as error:
            raise InputError(f"{path}/manifest.json is of another version: {error}") from error
        if progress.identity != identity:
            raise InputError(
                f"{path} belongs to another run than its config.json: is that altered?"
            )
        set_parameters(run.net, checkpoint.arrays("net.params"), path / "net.params")
        state = checkpoint.arrays("state.params")
        average = run.average.net if run.average else None
        set_optimizer_state(run.net, run.trainer, state, path / "state.params", average)
        set_loss_scale_state(run.trainer, progress.loss_scale)
    if run.workers.count > 1:
        _share(run, progress)
    return progress


def _share(run: Run, progress: Progress) -> None:
    """Give the other workers what worker 0 has restored."""
    # Seconds too: a run may have been stopped when only the validation of an epoch was left.
    scale = loss_scale_state(run.trainer)
    place = np.array([progress.epoch, progress.step, progress.seconds, *scale], np.float32)
    epoch, step, seconds, *scale = run.workers.broadcast([place], 1)[0].tolist()
    progress.epoch, progress.step, progress.seconds = int(epoch), int(step), seconds
    if run.config.init_from:  # worker 0 alone knows what the weights were trained on
        known = run.data.normaliser
        mean, std = run.workers.broadcast([known.mean, known.std], 10)
        run.data = replace(run.data, normaliser=Normaliser(mean, std))
    elif not (epoch or step or seconds):
        return
    set_loss_scale_state(run.trainer, scale)
    parameters = named_parameters(run.net)
    for first, net in zip((1000, 200_000), run.nets):
        values = [p.list_data()[0].asnumpy() for p in named_parameters(net).values()]
        received = dict(zip(parameters, run.workers.broadcast(values, first)))
        set_parameters(net, received, "worker 0")
    if not run.config.momentum:
        return
    trained = {f"momentum/{name}": p for name, p in parameters.items() if p.grad_req != "null"}
    own = optimizer_state(run.net, run.trainer)  # only worker 0 has any momentum
    momentum = [
        own[key].asnumpy() if key in own else np.zeros(p.shape) for key, p in trained.items()
    ]
    state = dict(zip(trained, run.workers.broadcast(momentum, 50_000)))
    set_optimizer_state(run.net, run.trainer, state, "worker 0")
