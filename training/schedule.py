"""The learning rate of a run, step by step."""

from __future__ import annotations

import math
from typing import Callable

from runtime import gluoncv

from records.config import Config


def make_schedule(config: Config, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the learning rate as a function of the number of steps done.

    Milestones below 1 are shares of the whole run, warm-up included, so raising ``--epochs`` of a
    stopped run moves those that it has not reached.
    """
    warmup, total = (n * steps_per_epoch for n in (config.warmup_epochs, config.epochs))
    parts = []
    if warmup:
        start, end = (config.warmup_lr,) * 2 if config.warmup_lr is not None else (0.0, config.lr)
        # GluonCV divides by the number of steps less one.
        mode = "linear" if warmup > 1 and start != end else "constant"
        parts.append(gluoncv.utils.LRScheduler(mode, base_lr=start, target_lr=end, niters=warmup))
    if config.lr_schedule == "step":
        epochs = (m * config.epochs if m < 1 else m for m in config.lr_milestones)
        # Rounded first: 0.55 * 100 is 55.00000000000001, and would fall a step late.
        steps = [math.ceil(round(epoch * steps_per_epoch, 6)) - warmup for epoch in epochs]
        parts.append(
            gluoncv.utils.LRScheduler("step", config.lr, niters=total - warmup, step_iter=steps)
        )
    else:
        mode = "cosine" if total - warmup > 1 else "constant"
        parts.append(gluoncv.utils.LRScheduler(mode, config.lr, niters=total - warmup))
    return gluoncv.utils.LRSequential(parts)
