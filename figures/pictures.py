"""Pictures of a classifier: its confusion matrix and its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import matplotlib.figure as figures
import numpy as np

from figures.style import caption, new_figure, save

_MAX_NAMED = 30  # classes whose names and counts can be read
_MAX_IMAGES = 64
_LONGEST = 24  # letters of a name


def draw_confusion(
    confusion: np.ndarray, classes: Sequence[str], path: str | Path | None = None
) -> figures.Figure:
    """Draw a confusion matrix: shades are shares of the row, numbers are counts.

    Parameters
    ----------
    confusion : numpy.ndarray
        Integers, (classes, classes): rows are true classes, columns predicted ones.
    classes : sequence of str
    path : path, optional
        Where the picture goes; its suffix is the format.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    count, names = len(classes), [caption(name, _LONGEST) for name in classes]
    named = count <= _MAX_NAMED
    side = 2.5 + (0.55 * count if named else 8)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    # Square roots make single mistakes visible, which are what one looks for.
    picture = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if named:
        axes.set_xticks(range(count), names, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), names)
        for (row, column), number in np.ndenumerate(confusion):
            if number:
                colour = "white" if shares[row, column] > 0.3 else "black"
                axes.text(
                    column, row, number, ha="center", va="center", color=colour, fontsize="small"
                )
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the class, %")
    ticks = np.array([0, 1, 5, 10, 25, 50, 100])
    bar.set_ticks(np.sqrt(ticks / 100), labels=[str(tick) for tick in ticks])
    return save(figure, path)


def draw_predictions(
    images: np.ndarray,
    names: Sequence[str],
    probabilities: np.ndarray,
    classes: Sequence[str],
    path: str | Path | None = None,
    top: int = 10,
) -> figures.Figure:
    """Draw images beside a bar for each of their most probable classes.

    Parameters
    ----------
    images : numpy.ndarray
        uint8, (N, 3, 32, 32); the first 64 are drawn.
    names : sequence of str
        What the images are called.
    probabilities : numpy.ndarray
        (N, classes).
    classes : sequence of str
    path : path, optional
        Where the picture goes; its suffix is the format.
    top : int
        Most bars for an image.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    count, bars = min(len(images), _MAX_IMAGES), min(len(classes), top)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = new_figure(4.2 * columns, (0.6 + 0.19 * bars) * rows + 0.2)
    grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[2, 3] * columns)
    for axes in grid.flat:
        axes.axis("off")
    for i in range(count):
        row, column = divmod(i, columns)
        picture, chart = grid[row, 2 * column], grid[row, 2 * column + 1]
        picture.imshow(images[i].transpose(1, 2, 0), interpolation="nearest")
        picture.set_title(caption(Path(names[i]).name, _LONGEST), fontsize=8)
        best = np.argsort(-probabilities[i], kind="stable")[:bars]
        chart.axis("on")
        chart.barh(range(bars), probabilities[i][best], color="#0072B2", height=0.7)
        chart.set_yticks(
            range(bars), [caption(classes[each], _LONGEST) for each in best], fontsize=7
        )
        chart.set_ylim(bars - 0.4, -0.6)
        chart.set_xlim(0, 1)
        chart.set_xticks([0, 0.5, 1], ["0", "50", "100 %"], fontsize=7)
        chart.spines[["top", "right"]].set_visible(False)
    return save(figure, path)
