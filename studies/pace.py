"""How long a run takes on this machine: a few of its steps, measured.

python -m studies.pace CONFIG    # what a child process is told
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from errors import InputError
from records.config import Config
from records.run_folder import read_json
from studies.study import ROOT
from utils import sha256, to_json, write_atomically

_CACHE = ROOT / "runs" / "pace.json"
_WARM, _STEPS = 4, 8
_FORWARD = 1 / 3  # of a training step's time


def hours(config: Config, threads: int) -> float:
    """Return how long a run takes, by a measurement of this machine, which is remembered.

    Parameters
    ----------
    config : Config
    threads : int
        That it computes with.
    """
    from runtime import processor_name

    known: dict[str, Any] = read_json(_CACHE) if os.path.exists(_CACHE) else {}
    options = [config.model, config.model_options(), config.batch_size, config.amp]
    key = sha256(to_json([options, processor_name(), threads]))
    if key not in known:
        command = [sys.executable, "-m", "studies.pace", json.dumps(config.to_dict())]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if child.returncode:
            raise InputError(f"a step of {config.model} cannot be measured: {child.stderr[-200:]}")
        known[key] = float(child.stdout.split()[-1])
        write_atomically(_CACHE, to_json(known, indent=1), make_folder=True)
    validated = config.val_size or 0
    images = (config.train_size or 50_000 - validated) + _FORWARD * validated
    return config.epochs * images / config.batch_size * known[key] / 3600


def measure(config: Config) -> float:
    """Return the seconds of a training step of a run, on images that need no download."""
    from runtime import mx

    import models
    from training.distributed import Workers
    from training.run import augmentation_of, build
    from training.step import train_step

    config = dataclasses.replace(
        config, dataset="shapes", data_dir=None, train_size=0, val_size=0, init_from=None
    )
    run, seconds = build(config, Workers(config.kvstore)), []
    for step, (images, targets) in enumerate(run.loader.epoch(0, augmentation_of(config, 0))):
        start = time.perf_counter()
        models.draw_gates(run.net, config.seed, step)
        train_step(run.net, run.trainer, images, targets, run.data.normaliser, run.ctx, config)
        mx.nd.waitall()
        seconds.append(time.perf_counter() - start)
        if len(seconds) == _WARM + _STEPS:
            break
    return statistics.median(seconds[_WARM:])  # now and then one builds a graph


if __name__ == "__main__":
    print(measure(Config.from_dict(json.loads(sys.argv[1]))))
