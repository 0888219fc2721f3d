"""A picture of what training sees: images, and below each what augmentation makes of it."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from datasets.augment import Augmentation, augment
from datasets.base import Dataset

COLUMNS, VERSIONS = 10, 4
_LONGEST = 18  # letters of a class's name that fit above an image at size 7


def preview(dataset: Dataset, augmentation: Augmentation, seed: int = 0) -> Figure:
    """Draw ten training images and four augmented versions of each, with labels.

    Parameters
    ----------
    dataset : Dataset
        Where the images come from.
    augmentation : Augmentation
        What to do to them; mixup and CutMix mix them with one another.
    seed : int
        Of the choice of images and of the augmentation.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rng = np.random.RandomState(seed)
    chosen = dataset.train.take(_one_of_each(dataset.train.labels, rng))
    columns, names = len(chosen), [caption(name, _LONGEST) for name in dataset.classes]
    figure = Figure(figsize=(1.25 * columns, 1.5 * (VERSIONS + 1)), layout="constrained")
    axes = figure.subplots(VERSIONS + 1, columns, squeeze=False)
    for column, label in enumerate(chosen.labels):
        _draw(axes[0, column], chosen.images[column], names[label], "bold")
    for row in range(1, VERSIONS + 1):
        images, targets = augment(
            chosen.images, chosen.labels, len(dataset.classes), augmentation, rng, dataset.fill
        )
        for column in range(columns):
            text = _describe(targets[column], names)
            _draw(axes[row, column], images[column], text, "normal")
    return figure


def caption(text: str, longest: int) -> str:
    """Return text that Matplotlib draws as it is, not as a formula, and no longer than `longest`.

    Long text loses its middle; what the font has no glyph for becomes a question mark.
    """
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[len(text) - (longest - 1) // 2 :]}"
    glyphs = get_font(findfont(FontProperties())).get_charmap()
    # A pair of dollars would enclose a formula.
    return "".join(c if ord(c) in glyphs else "?" for c in text).replace("$", r"\$")


def _one_of_each(labels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return the positions of ten images, spread evenly over the classes and sorted by class."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    turns = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = order[np.argsort(turns, kind="stable")[:COLUMNS]]
    return chosen[np.argsort(labels[chosen], kind="stable")]


def _describe(target: np.ndarray, classes: Sequence[str]) -> str:
    """Name the one or two most probable classes of a target: ``cat 70 %``, ``dog 30 %``."""
    first, second = np.argsort(-target, kind="stable")[:2]
    if target[first] > 0.999:
        return classes[first]
    likely = (first, second) if target[second] >= 0.05 else (first,)
    return "\n".join(f"{classes[label]} {100 * target[label]:.0f} %" for label in likely)


def _draw(axis, image: np.ndarray, text: str, weight: str) -> None:
    axis.imshow(np.rint(image).astype(np.uint8).transpose(1, 2, 0), interpolation="nearest")
    size = min(7, 7 * _LONGEST / max(map(len, text.split("\n"))))
    axis.set_title(text, fontsize=size, fontweight=weight, pad=2)
    axis.set_axis_off()
