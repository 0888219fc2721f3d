"""Run a net over images."""

from __future__ import annotations

from typing import Any

import numpy as np

from utils import to_input


def as_list(ctx: Any) -> list:
    """Return a context, or several, as a list."""
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
    devices = as_list(ctx)
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
