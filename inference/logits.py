"""Run a net over images, and measure it on a split of them."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from datasets import Split
from inference.metrics import cross_entropy, softmax
from utils import Normaliser, to_device


def compute_logits(
    net: Any,
    images: np.ndarray,
    normaliser: Normaliser,
    ctx: Sequence[Any],
    batch_size: int = 250,
) -> np.ndarray:
    """Return a net's outputs for images, in their order.

    Parameters
    ----------
    net : gluon.Block
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).
    images : numpy.ndarray
        uint8, (N, 3, 32, 32), at least one.
    normaliser : Normaliser
        The training images'.
    ctx : list of mxnet.Context
        Devices; a batch is divided among them.
    batch_size : int
        Images at a time, over all devices together; the last batch may be smaller.

    Returns
    -------
    numpy.ndarray
        float32, (N, classes).
    """
    outputs = []
    for start in range(0, len(images), batch_size):
        parts = np.array_split(images[start : start + batch_size], len(ctx))
        running = []
        for part, device in zip(parts, ctx):
            if len(part):
                running.append(net(to_device(normaliser.arrays(part), device)))
        # The one wait for the devices, once a batch, when all of them are at work.
        outputs += [logits.asnumpy() for logits in running]
    return np.concatenate(outputs)


def evaluate_net(
    net: Any, split: Split, normaliser: Normaliser, ctx: Sequence[Any]
) -> dict[str, Any]:
    """Measure a net on a split; see `compute_logits`.

    Returns
    -------
    dict
        ``loss``, the mean cross-entropy in nats; ``top1``, the share of images whose most probable
        class is the right one.
    """
    probabilities = softmax(compute_logits(net, split.images, normaliser, ctx))
    return {
        "loss": cross_entropy(probabilities, split.labels),
        "top1": float((probabilities.argmax(axis=1) == split.labels).mean()),
    }
