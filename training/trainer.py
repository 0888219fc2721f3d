"""The optimizer of a run, and the precision that its net computes in."""

from __future__ import annotations

from typing import Any, Sequence

import runtime  # noqa: F401  before MXNet, which it prepares this process for

from mxnet import gluon
from mxnet.contrib import amp

import compiler
from records.config import Config
from training.distributed import Workers
from utils import LOG


def prepare_amp(config: Config, ctx: Sequence[Any]) -> str:
    """Choose a run's precision, and switch MXNet's AMP on if it is needed, before any net is built.

    Float16 on GPUs, by AMP. On a CPU, AMP fails at the shortcut of a ResNet, whose zeros it casts
    to float32, so the compiler computes in bfloat16 there. Where it cannot, or would be slower, it
    is float32, and the log says why.

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
    """Return the optimizer of a net on the devices `ctx`: Nesterov SGD, updated on the workers.

    All devices and workers then hold the weights of the first one, and momentum is allocated.
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
