"""Loss and errors of a classifier's probabilities, with confidence intervals."""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np

TOP = 5
_Z = 1.959963984540054  # 95 % of a normal distribution lie within so many deviations


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits (N, classes), in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of -log of the right class's probability, in nats; labels are integers."""
    right = probabilities[np.arange(len(labels)), labels]
    # A probability too small for a float64 is 0 here, and would make the mean infinite.
    return float(-np.log(np.maximum(right, np.finfo(np.float64).tiny)).mean())


def wilson(wrong: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of an error rate, `wrong` out of `total`, as fractions.

    Wilson's score interval (Journal of the American Statistical Association 22, 1927): unlike the
    normal one it stays within 0 and 1, and is right for errors of a few percent.
    """
    share, weight = wrong / total, _Z**2 / total
    middle = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def measure(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Return everything that `evaluate.py` reports of a classifier.

    Parameters
    ----------
    probabilities : numpy.ndarray
        float64, (N, classes).
    labels : numpy.ndarray
        Integers, (N,).
    classes : sequence of str
        Class names.

    Returns
    -------
    dict
        ``images``; ``loss``; ``top1_error`` and ``top5_error`` with their ``_interval``, as
        fractions (the second None where there are no more than five classes);
        ``class_errors`` by name; ``confusion``, counts of images by their class (row) and the most
        probable class (column).
    """
    total = len(labels)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    wrong = {"top1": total - int(np.trace(confusion)), "top5": None}
    if len(classes) > TOP:
        right = probabilities[np.arange(total), labels]
        wrong["top5"] = int(((probabilities > right[:, None]).sum(axis=1) >= TOP).sum())
    result: dict[str, Any] = {"images": total, "loss": cross_entropy(probabilities, labels)}
    for name, count in wrong.items():
        result[f"{name}_error"] = None if count is None else count / total
        result[f"{name}_error_interval"] = None if count is None else list(wilson(count, total))
    counts, hits = confusion.sum(axis=1), np.diag(confusion)
    result["class_errors"] = {
        name: float(1 - hits[i] / counts[i]) if counts[i] else None
        for i, name in enumerate(classes)
    }
    result["confusion"] = confusion.tolist()
    return result
