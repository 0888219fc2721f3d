"""One step of training: learning rate, optimizer, mixed precision, and the step itself."""

from __future__ import annotations

import math
from typing import Any, Callable, Sequence

from runtime import gluoncv, mx

import numpy as np
from mxnet import autograd, gluon
from mxnet.contrib import amp

import compiler
from records.config import Config
from training.distributed import Workers
from utils import LOG, Normaliser, to_device


def make_schedule(config: Config, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the learning rate as a function of the number of steps done.

    Milestones below 1 are shares of the whole run, warm-up included, so raising ``--epochs`` of a
    stopped run moves those that it has not reached.

    Parameters
    ----------
    config : Config
        The fields ``lr*``, ``warmup*`` and ``epochs`` are used.
    steps_per_epoch : int

    Returns
    -------
    callable
        int to float.
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


def prepare_amp(config: Config, ctx: Sequence[Any]) -> str:
    """Let MXNet compute in 16 bits, before any net is built.

    On GPUs it is float16 from here on, by MXNet's own AMP. On a CPU that fails at the shortcut of
    a ResNet, whose zeros it casts to float32, so there the compiler computes in bfloat16. Where it
    cannot, or where the CPU would only be slower, it is float32, and the log says why.

    Returns
    -------
    str
        What the net is to compute in: float32, float16 or bfloat16.
    """
    if not config.amp:
        return "float32"
    if ctx[0].device_type == "gpu":
        amp.init()
        return "float16"
    if not (compiler.has_bfloat16() and compiler.compiles(ctx[0])):
        why = "this CPU has no AVX512-BF16, or oneDNN is off"
    elif config.no_hybridize:
        why = "--no-hybridize runs the plain net"
    elif config.model_options().get("dropout"):
        why = "MXNet has no dropout in bfloat16"
    else:
        return "bfloat16"
    LOG.warning("%s: computing in float32 in spite of --amp", why)
    return "float32"


def loss_scaler(trainer: gluon.Trainer) -> Any:
    """Return AMP's loss scaler, or None where there is none: only float16 needs one."""
    return getattr(trainer, "_amp_loss_scaler", None)


def make_trainer(
    net: gluon.Block, config: Config, ctx: Sequence[Any], workers: Workers
) -> gluon.Trainer:
    """Return the optimizer of an initialised net: Nesterov SGD, updated on the workers.

    Parameters
    ----------
    net : gluon.Block
    config : Config
    ctx : sequence of mxnet.Context
        The devices that the net is on.
    workers : Workers

    Returns
    -------
    gluon.Trainer
        Connected: all devices and workers hold the weights of the first. Its momentum is there.
    """
    parameters = net.collect_params()
    if config.no_decay_norm:
        for parameter in net.collect_params(".*(gamma|beta|bias)").values():
            parameter.wd_mult = 0.0
    if config.accumulate > 1:
        for parameter in parameters.values():
            if parameter.grad_req != "null":  # what is frozen stays so
                parameter.grad_req = "add"
    settings = {"learning_rate": config.lr, "momentum": config.momentum, "wd": config.wd}
    trainer = gluon.Trainer(
        parameters, "nag", settings, kvstore=workers.kvstore, update_on_kvstore=False
    )
    if config.amp and amp.amp._amp_initialized:
        amp.init_trainer(trainer)
    # Connected here rather than in the first step, which would overwrite what a checkpoint says of
    # each device's running statistics. The parameter server refuses arrays in oneDNN's blocked
    # layouts, in which inference leaves weights, so these are made anew; and without the wait, a
    # worker's first gradient may overtake the weights it asked for, and be taken for them.
    parameters.reset_ctx(list(ctx))
    trainer._init_kvstore()
    trainer._init_params()
    workers.wait()
    for updater, device in zip(trainer._updaters, ctx):  # as it would be made in the first step
        for number, parameter in enumerate(trainer._params):
            if parameter.grad_req != "null":
                momentum = trainer.optimizer.create_state(number, parameter.data(device))
                updater.states[number], updater.states_synced[number] = momentum, True
    return trainer


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
