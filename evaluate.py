"""Measure a net on a split of images.

python evaluate.py runs/NAME [runs/OTHER ...]      # several: each alone, and their ensemble
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets import Split
from inference import compute_logits
from metrics import cross_entropy, softmax


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
    net : gluon.Block
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).
    split : Split
        Images and labels; every one counts, those of a last partial batch too.
    mean, std : numpy.ndarray
        (3,), in units of 0 to 255.
    ctx : mxnet.Context or list of them
        Devices; a batch is divided among them.
    batch_size : int
        Images at a time, over all devices together.

    Returns
    -------
    dict
        ``loss``, the mean cross-entropy in nats; ``top1``, the share of images whose most probable
        class is the right one; ``probabilities``, float64 (N, classes).
    """
    probabilities = softmax(compute_logits(net, split.images, mean, std, ctx, batch_size))
    return {
        "loss": cross_entropy(probabilities, split.labels),
        "top1": float((probabilities.argmax(axis=1) == split.labels).mean()),
        "probabilities": probabilities,
    }
