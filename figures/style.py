"""What all pictures share: colours, line styles, sizes, bands, captions, and how they are saved."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Sequence

import matplotlib.figure as figures
import numpy as np
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from errors import InputError
from utils import write_atomically

# Okabe and Ito's colours can be told apart by the colour-blind, line styles on grey paper too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")


def curve_style(number: int) -> dict[str, Any]:
    """Return colour and line style of the curve of this number."""
    colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
    return {"color": colour, "linestyle": style}


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


def log_ticks(axis: Any) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10 and so on, without powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def caption(text: str, longest: int) -> str:
    """Return text that Matplotlib draws as it is, not as a formula, and no longer than `longest`.

    Long text loses its middle; what the font has no glyph for becomes a question mark.
    """
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[len(text) - (longest - 1) // 2 :]}"
    glyphs = get_font(findfont(FontProperties())).get_charmap()
    # A pair of dollars would enclose a formula.
    return "".join(c if ord(c) in glyphs else "?" for c in text).replace("$", r"\$")


def new_figure(width: float, height: float) -> figures.Figure:
    """Return an empty figure of so many inches."""
    return figures.Figure(figsize=(width, height), dpi=100, layout="constrained")


def save(figure: figures.Figure, path: str | Path | None) -> figures.Figure:
    """Write a figure where `path` says, in the format of its suffix (default: PNG); return it.

    Raises
    ------
    InputError
        If it cannot be written, or the suffix names no kind of picture.
    """
    if path is None:
        return figure
    path, drawn = Path(path), io.BytesIO()
    if not path.suffix and (path.is_file() or not path.exists()):  # not a pipe or a device
        path = Path(f"{path}.png")
    try:
        figure.savefig(drawn, dpi=150, format=path.suffix[1:] or "png")
    except (ValueError, RuntimeError) as error:  # of an unknown suffix; of .pgf without a TeX
        raise InputError(f"cannot write {path}: {error}") from error
    write_atomically(path, drawn.getvalue())
    return figure
