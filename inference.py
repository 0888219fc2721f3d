"""Run a net over images."""

from __future__ import annotations

import json
from typing import Any

from runtime import mx

import numpy as np
from mxnet import gluon

from formats.weights import current_values
from models import portable_symbol
from models.tracing import on_cpu
from utils import to_input


def freeze(net: Any, ctx: Any) -> Any:
    """Return what a net computes now, for inference alone and faster on a CPU.

    There MXNet's oneDNN backend makes one operator of a convolution, its BatchNorm, an addition and
    ReLU. The operator keeps weights of its own, so the net must not learn on. It is used where
    every BatchNorm follows a convolution. In DenseNets, pre-activation ResNets and those that pool
    they do not: DenseNets are faster as they are, and in GluonCV's pre-activation ResNets the
    operator overwrites sums that are still to be read. Those, and all nets on a GPU, are returned
    unchanged.

    Parameters
    ----------
    net : gluon.HybridBlock
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).
    ctx : mxnet.Context or list of them
        Where it is.

    Returns
    -------
    gluon.HybridBlock
        Hybridized, unless it is `net`.
    """
    devices = _as_list(ctx)
    if not all(on_cpu(device) for device in devices):
        return net
    data = mx.sym.var("data", dtype="float32")
    fused = portable_symbol(net, data).get_backend_symbol("MKLDNN")
    if any(node["op"] == "BatchNorm" for node in json.loads(fused.tojson())["nodes"]):
        return net
    frozen = gluon.SymbolBlock(fused, data)
    values = current_values(net)
    for name, parameter in frozen.collect_params().items():
        parameter._load_init(values[name], devices)
    frozen.hybridize(static_alloc=True, static_shape=True)
    return frozen


def _as_list(ctx: Any) -> list:
    return list(ctx) if isinstance(ctx, (list, tuple)) else [ctx]


def compute_logits(
    net: Any,
    images: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    ctx: Any,
    batch_size: int = 256,
) -> np.ndarray:
    """Return a net's outputs for images, in their order.

    Parameters
    ----------
    net : gluon.Block
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).
    images : numpy.ndarray
        uint8, (N, 3, 32, 32), at least one.
    mean, std : numpy.ndarray
        (3,), in units of 0 to 255.
    ctx : mxnet.Context or list of them
        Devices; a batch is divided among them.
    batch_size : int
        Images at a time, over all devices together; the last batch may be smaller.

    Returns
    -------
    numpy.ndarray
        float32, (N, classes).
    """
    devices = _as_list(ctx)
    outputs = []
    for start in range(0, len(images), batch_size):
        parts = np.array_split(images[start : start + batch_size], len(devices))
        running = []
        for part, device in zip(parts, devices):
            if len(part):
                running.append(net(to_input(part, mean, std, device)))
        # The one wait for the devices, once a batch, when all of them are at work.
        outputs += [logits.asnumpy() for logits in running]
    return np.concatenate(outputs)
