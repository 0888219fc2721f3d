"""What all pictures share: colours, line styles, sizes, bands, and how they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import matplotlib.figure as figures
import numpy as np

from utils import write_picture

# Okabe and Ito's colours can be told apart by the colour-blind, line styles on grey paper too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def curve_style(number: int) -> dict[str, Any]:
    """Return colour and line style of the curve of this number."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": STYLES[number % len(STYLES)],
    }


def draw_band(
    axes: Any, places: Sequence[float], middle: np.ndarray, curves: np.ndarray, **look: Any
) -> None:
    """Draw the middle of curves, (places,), in a band over all of them, (curves, places).

    One curve has no band. One place gets a mark, since it makes no line.
    """
    axes.plot(places, middle, marker="o" if len(places) == 1 else "", **look)
    if len(curves) > 1:
        band = {"color": look["color"], "alpha": 0.2, "linewidth": 0}
        axes.fill_between(places, curves.min(axis=0), curves.max(axis=0), **band)


def new_figure(width: float, height: float) -> figures.Figure:
    """Return an empty figure of so many inches."""
    return figures.Figure(figsize=(width, height), dpi=100, layout="constrained")


def save(figure: figures.Figure, path: str | Path | None) -> figures.Figure:
    """Write a figure where `path` says, in the format of its suffix; return it.

    Raises
    ------
    InputError
        If it cannot be written, or the suffix names no kind of picture.
    """
    if path is not None:
        write_picture(Path(path), figure, dpi=150)
    return figure
