"""Resume a run that was stopped, from its newest undamaged checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping

from errors import InputError, expected_form
from records.checkpoints import Checkpoint, Checkpoints, newest
from records.config import RESUMABLE, Config
from records.run_folder import ENVIRONMENT, RunFolder, read_config
from training.run import Run
from training.schedule import make_schedule
from training.state import State
from utils import LOG, Normaliser, sha256, to_json


def identity(description: Mapping[str, Any]) -> str:
    """Return a digest of a run's settings, data, workers and devices, as ``config.json`` has them.

    It leaves out what may change when a run is resumed, so that it stays the same to the end.

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


def begin_or_resume(run: Run, state: State, folder: RunFolder) -> Checkpoints:
    """Write a new run's config; or check a stopped run, and load its newest checkpoint to `state`.

    Returns
    -------
    Checkpoints
        To write to.

    Raises
    ------
    InputError
        If the run that was stopped differs from this one, or all its checkpoints are damaged.
    """
    loaded, description = None, run.description()
    if run.config.resume:
        loaded = _resume(run, state, folder, description)
    else:
        folder.write_json("config.json", description)
        LOG.info(
            "%s on %s: %s parameters, %d training images, %d to validate, run folder %s",
            description["net"],
            run.data.name,
            f"{description['parameters']:,}",
            len(run.loader.split),
            len(run.validation),
            folder.path,
        )
    state.progress.identity = identity(read_config(folder.path))
    return Checkpoints(folder.path / "checkpoints", loaded)


def _resume(
    run: Run, state: State, folder: RunFolder, description: Mapping[str, Any]
) -> Checkpoint | None:
    """Load a stopped run's newest checkpoint, if it has any, and add this part to its config."""
    stored = read_config(folder.path)
    here = {name: description[name] for name in ("device", *ENVIRONMENT)}
    with expected_form(f"{folder.path}/config.json is damaged"):
        _check_same(stored, description)
        parts = [*stored.get("resumed", []), here]
        before = stored["config"]["epochs"]
        if run.config.init_from:  # its images are normalised as those of the source were
            run.data = replace(run.data, normaliser=Normaliser.from_dict(stored["data"]))
    loaded = newest(folder.path / "checkpoints")
    if loaded and loaded.progress.identity != identity(stored):
        raise InputError(
            f"{loaded.path} belongs to another run than its config.json: is that altered?"
        )
    if run.config.init_from and not loaded:
        raise InputError(
            f"{folder.path} was stopped before it had saved the weights of {run.config.init_from}: "
            "remove it and start anew"
        )
    LOG.info("going on with %s from %s", folder.path, loaded.path.name if loaded else "the start")
    steps = run.loader.steps_per_epoch
    if loaded and run.config.epochs > before:
        done = loaded.progress.epoch * steps + loaded.progress.step
        old = make_schedule(replace(run.config, epochs=before), steps)
        LOG.info(
            "%d epochs instead of %d: the learning rate goes on at %g, it has come to %g",
            *(run.config.epochs, before, run.schedule(done), old(max(0, done - 1))),
        )
    if loaded:
        state.load(loaded)
    # `PLACE` holds for this part alone, so that the run keeps its identity.
    settings = {name: description["config"][name] for name in RESUMABLE}
    changed = {"config": {**stored["config"], **settings}, "resumed": parts}
    folder.write_json("config.json", {**stored, **changed})
    folder.remove_results()  # they are of the weights that the run goes on from
    return loaded


def _check_same(stored: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with other data, workers or precision or another net, naming what differs."""
    data = stored["data"]
    names = ("name", "classes", "fingerprint", "split", "train", "val", "test")
    pairs = [(f"data {name}", data.get(name), now["data"][name]) for name in names]
    pairs += [(name, stored.get(name), now[name]) for name in ("workers", "devices")]
    for name in ("precision", "parameters"):  # of which runs of older versions have no entry
        pairs.append((name, stored.get(name, now[name]), now[name]))
    differing = [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]
    if differing:
        raise InputError(f"this is not the run that was stopped: {'; '.join(differing)}")
