"""Measure a net on a split of images.

python evaluate.py runs/NAME [runs/OTHER ...]      # several: each alone, and their ensemble
"""

from __future__ import annotations

from typing import Any

from runtime import mx

import numpy as np

from datasets import Split
from datasets.loader import batches
from utils import normalise


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities of logits (N, classes), in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def compute_logits(
    net: Any,
    split: Split,
    mean: np.ndarray,
    std: np.ndarray,
    ctx: Any,
    batch_size: int = 256,
    flip: bool = False,
) -> np.ndarray:
    """Return a net's outputs for every image of a split, in its order.

    Parameters
    ----------
    net : gluon.Block
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).
    split : Split
        uint8 images.
    mean, std : numpy.ndarray
        (3,), in units of 0 to 255.
    ctx : mxnet.Context or list of them
        Devices; a batch is divided among them.
    batch_size : int
        Images at a time, over all devices together; the last batch may be smaller.
    flip : bool
        Whether the images are mirrored first.

    Returns
    -------
    numpy.ndarray
        float32, (N, classes).
    """
    devices = list(ctx) if isinstance(ctx, (list, tuple)) else [ctx]
    outputs = []
    for images, _ in batches(split, batch_size):
        if flip:
            images = images[..., ::-1]
        parts = [part for part in np.array_split(images, len(devices)) if len(part)]
        running = []
        for part, device in zip(parts, devices):
            pixels = mx.nd.array(part, ctx=device, dtype=np.uint8)
            running.append(net(normalise(pixels, mean, std)))
        # The one wait for the devices, once a batch, when all of them are at work.
        outputs += [logits.asnumpy() for logits in running]
    return np.concatenate(outputs)


def evaluate_net(
    net: Any,
    split: Split,
    mean: np.ndarray,
    std: np.ndarray,
    ctx: Any,
    batch_size: int = 256,
) -> dict[str, Any]:
    """Measure a net on a split.

    Parameters
    ----------
    net, split, mean, std, ctx, batch_size
        As in `compute_logits`.

    Returns
    -------
    dict
        ``loss``, the mean cross-entropy in nats; ``top1``, the share of images whose most probable
        class is the right one; ``probabilities``, float64 (N, classes).
    """
    logarithms = log_softmax(compute_logits(net, split, mean, std, ctx, batch_size))
    right = logarithms[np.arange(len(split)), split.labels]
    return {
        "loss": float(-right.mean()),
        "top1": float((logarithms.argmax(axis=1) == split.labels).mean()),
        "probabilities": np.exp(logarithms),
    }
