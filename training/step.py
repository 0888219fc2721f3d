"""One step: forward, backward, and the update."""

from __future__ import annotations

from typing import Any, Sequence

from runtime import mx

import numpy as np
from mxnet import autograd, gluon
from mxnet.contrib import amp

from records.config import Config
from training.trainer import loss_scaler
from utils import Normaliser, to_device


def train_step(
    net: gluon.Block,
    trainer: gluon.Trainer,
    images: np.ndarray,
    targets: np.ndarray,
    normaliser: Normaliser,
    ctx: Sequence[Any],
    config: Config,
    after_inference: bool = False,
) -> Any:
    """Queue one step on the devices; the host waits for none of it.

    Parameters
    ----------
    net, trainer : gluon.Block, gluon.Trainer
    images : numpy.ndarray
        This worker's share of the batch, (N, 3, 32, 32), in units of 0 to 255.
    targets : numpy.ndarray
        (N, classes) float32: class probabilities.
    normaliser : Normaliser
    ctx : sequence of mxnet.Context
        N / (devices · accumulate) images go through each of them at a time.
    config : Config
        ``batch_size``, ``accumulate`` and ``clip_grad`` are used.
    after_inference : bool
        Whether the net has computed in inference mode since the last step, or this is the first
        step. The host then waits before the update.

    Returns
    -------
    mxnet.nd.NDArray
        (2,) on the CPU, not yet computed: the sum of the losses and the number of correct answers.
    """
    criterion = gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
    part = len(images) // (len(ctx) * config.accumulate)
    metrics = []
    if config.accumulate > 1:
        net.collect_params().zero_grad()
    for first in range(0, len(images), part * len(ctx)):
        losses = []
        for number, device in enumerate(ctx):
            chosen = slice(first + number * part, first + (number + 1) * part)
            pixels = to_device(normaliser.arrays(images[chosen]), device)
            target = to_device(targets[chosen], device)
            with autograd.record():
                logits = net(pixels)
                losses.append(criterion(logits, target))
            correct = logits.argmax(1) == target.argmax(1)
            sums = mx.nd.concat(losses[-1].sum(), correct.sum(), dim=0)
            metrics.append(sums.as_in_context(mx.cpu()))
        if loss_scaler(trainer):
            with autograd.record(), amp.scale_loss(losses, trainer) as scaled:
                autograd.backward(scaled)
        else:
            autograd.backward(losses)
    if after_inference:
        # Inference on a CPU leaves weights in a blocked layout, and the next training pass changes
        # them back in the background. Whether that happens before or after the update would
        # decide the last bits: nag_mom_update reads the weight that it has just written, unless
        # the layout makes it work on a copy.
        mx.nd.waitall()
    trainer.allreduce_grads()
    if config.clip_grad:
        _clip(trainer, net, config, ctx)
    trainer.update(config.batch_size)
    return mx.nd.add_n(*metrics)


def _clip(trainer: gluon.Trainer, net: gluon.Block, config: Config, ctx: Sequence[Any]) -> None:
    if loss_scaler(trainer):
        amp.unscale(trainer)
    trained = [p for p in net.collect_params().values() if p.grad_req != "null"]
    for device in ctx:
        # Gradients are sums over the batch up to here. Without the check the host need not wait;
        # a gradient that is not finite shows in the next step's loss.
        gluon.utils.clip_global_norm(
            [parameter.grad(device) for parameter in trained],
            config.clip_grad * config.batch_size,
            check_isfinite=False,
        )
