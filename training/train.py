"""Train as a config says: one loop, from the start or from a checkpoint to the end."""

from __future__ import annotations

import math
import resource
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import runtime  # noqa: F401  before MXNet, which it prepares this process for

import compiler
import models
from datasets import Split
from exports.symbol import export_symbol
from inference.logits import evaluate_net
from inference.trained import open_weights, run_facts
from records.checkpoints import Checkpoint, Progress, read_checkpoint
from records.config import Config
from records.naming import new_folder
from records.run_folder import RunFolder, log_to_screen, read_config
from training.distributed import Workers
from training.epoch import StoppedError, finish_epoch, log_epoch, train_one_epoch
from training.pace import Pace
from training.resumption import begin_or_resume
from training.run import DivergedError, Run, build
from training.signals import StopSignals
from training.state import State
from training.trainer import loss_scaler
from utils import LOG, Normaliser, sha256
from weights.parameters import set_parameters


def evaluate(run: Run, split: Split) -> dict[str, Any]:
    """Return loss and accuracy of the net as it is, or of its moving average.

    Raises
    ------
    DivergedError
        If the loss is not finite.
    """
    result = evaluate_net(run.result, split, run.data.normaliser, run.ctx)
    if not math.isfinite(result["loss"]):
        raise DivergedError(f"the loss on {len(split)} held-out images is {result['loss']}")
    return result


def train(config: Config) -> dict[str, Any]:
    """Train as a config says, from the start or from a checkpoint to the end.

    Returns
    -------
    dict
        What ``results.json`` holds: ``test_acc_last``, ``test_acc_best``, ``run_dir`` and more;
        empty on workers other than the first.

    Raises
    ------
    InputError
        If anything about the run cannot be used.
    DivergedError
        If the run diverges.
    StoppedError
        If a signal has stopped it; a checkpoint is saved.
    """
    models.get_model(config.model, **config.model_options())  # better refused before a download
    workers = Workers(config.kvstore)
    log_to_screen(quiet=workers.rank > 0)
    if workers.rank > 0:
        return _train(build(config, workers), None)
    initial = None  # a resumed run has its weights in its checkpoints
    if config.init_from and not config.resume:
        initial = open_weights(config.init_from, config)
    if config.resume:
        folder = RunFolder.resume(Path(config.resume))
    else:
        folder = RunFolder.create(new_folder(config))
    with closing(folder):
        return _train(build(config, workers, initial), folder)


def _train(run: Run, folder: RunFolder | None) -> dict[str, Any]:
    config = run.config
    state = State(run.net, run.trainer, run.average.net if run.average else None)
    checkpoints = begin_or_resume(run, state, folder) if folder else None
    if run.workers.count > 1:  # worker 0 alone knows what initial weights were trained on
        known = run.data.normaliser
        mean, std = state.share(run.workers, known.mean, known.std)
        run.data = replace(run.data, normaliser=Normaliser(mean, std))
    progress = state.progress

    def save(best: bool = False) -> None:
        if run.workers.count > 1:
            run.average_statistics()
        if checkpoints:
            state.save(checkpoints, best)

    if config.init_from and not config.resume:  # so that resuming never reads the source again
        save()
    if folder and progress.history:  # a run killed after its checkpoint has a line to catch up with
        folder.write_history(progress.history)
    images = run.loader.steps_per_epoch * config.batch_size
    done = progress.epoch * images + progress.step * config.batch_size
    pace = Pace(config.epochs * images, done, shown=folder is not None)
    try:
        with StopSignals() as stop, closing(pace):
            while progress.epoch < config.epochs:
                train_one_epoch(run, progress, save, stop, pace)
                run.average_statistics()
                held_out = run.workers.rank == 0 and len(run.validation)
                validation = evaluate(run, run.validation) if held_out else None
                save(finish_epoch(run, progress, validation))
                if folder:
                    folder.write_history(progress.history)
                    folder.write_events(progress.history[-1])
                    log_epoch(progress.history[-1], config.epochs, pace)
                if stop.received and run.workers.count == 1:
                    raise StoppedError(stop.received)
        results: dict[str, Any] = {}
        if folder and checkpoints and checkpoints.newest:
            results = test_and_export(run, progress, folder, read_checkpoint(checkpoints.newest))
    except StoppedError as stopped:
        if folder:
            LOG.info("%s; go on with: --resume %s", stopped, folder.path)
        raise
    except (DivergedError, FloatingPointError) as error:
        last = checkpoints.newest if checkpoints and checkpoints.newest else "none yet"
        raise DivergedError(
            f"{error}; last good checkpoint: {last}; try a lower --lr, --warmup-epochs 5, "
            "--clip-grad 1, or another --seed"
        ) from error
    run.workers.wait()
    return results


def test_and_export(
    run: Run, progress: Progress, folder: RunFolder, checkpoint: Checkpoint
) -> dict[str, Any]:
    """Evaluate the last and the best net on the test set, once, and export the best.

    `run` has the net of the last epoch, and `checkpoint`, the newest one, the best.

    Returns
    -------
    dict
        What ``results.json`` holds.
    """
    if run.precision == "bfloat16":  # what is tested is what leaves: float32
        compiler.hybridize(run.result)
    last = evaluate(run, run.data.test)
    best = last
    if progress.best_epoch < progress.epoch:
        source = checkpoint.path / "best.params"
        set_parameters(run.result, checkpoint.arrays("best.params"), source)
        best = evaluate(run, run.data.test)
    results = {
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "sha256": sha256(checkpoint.files["best.params"]),
        "val_acc_best": progress.best_acc if len(run.validation) else None,
        "test_loss_last": last["loss"],
        "test_acc_last": last["top1"],
        "test_loss_best": best["loss"],
        "test_acc_best": best["top1"],
        "train_seconds": sum(line["epoch_seconds"] for line in progress.history),
        "cpu_seconds": sum(line.get("cpu_seconds", 0.0) for line in progress.history),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if loss_scaler(run.trainer):
        # MXNet's AMP has changed every operator of this process, and would be exported with them.
        LOG.info("to export the net: python export.py %s", folder.path)
    else:
        export_symbol(
            run.result,
            folder.path / "export",
            run.data.classes,
            run.data.normaliser,
            extra=run_facts(read_config(folder.path), results, checkpoint),
        )
    folder.write_json("results.json", results)
    LOG.info(
        "test error: %.2f %% at the last epoch, %.2f %% at the best (%d)",
        100 * (1 - results["test_acc_last"]),
        100 * (1 - results["test_acc_best"]),
        progress.best_epoch,
    )
    LOG.info("run folder: %s", folder.path)
    return {**results, "run_dir": str(folder.path)}
