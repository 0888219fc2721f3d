"""Curves of runs, from their histories alone: also while a run goes on, and without MXNet."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
from typing import Any, Sequence

import matplotlib.figure as figures
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from errors import OTHER_FORM, InputError
from figures.style import caption, curve_style, draw_band, log_ticks, new_figure, save
from utils import read_regular

SPLITS = {"train": ("training", 1.0), "val": ("validation", 2.4)}  # names, widths of their curves
_LONGEST = 40  # letters of a run's name


def read_history(run_dir: str | Path) -> list[dict[str, Any]]:
    """Return the epochs in a run's ``metrics.jsonl``, or, as `studies` keeps it, ``metrics.csv``.

    Raises
    ------
    InputError
        If there is no such file, or a line of it is no epoch.
    """
    path = Path(run_dir) / "metrics.jsonl"
    if not os.path.exists(path):
        path = path.with_suffix(".csv")
    if not os.path.exists(path):
        raise InputError(f"{path} is not there; is it a run folder?")
    lines = read_regular(path).decode(errors="replace").splitlines()
    epochs: Any = csv.DictReader(lines) if path.suffix == ".csv" else map(json.loads, lines)
    history: list[dict[str, Any]] = []
    try:
        for epoch in epochs:
            numbers = {key: float(value) for key, value in epoch.items() if value not in (None, "")}
            history.append({**numbers, "epoch": int(epoch["epoch"]), "lr": numbers["lr"]})
    except (csv.Error, *OTHER_FORM) as error:
        number = len(history) + 1
        raise InputError(f"{path}, line {number} is not an epoch: {error!r}") from error
    return history


def draw_splits(
    axes: Any, histories: Sequence[list[dict[str, Any]]], key: str, **look: Any
) -> dict[str, Line2D]:
    """Draw training, thin, and validation, thick, of runs: their mean, in a band.

    Only epochs that every history has come to are drawn; ``acc`` as an error in percent. Returns a
    sample of each kind of curve that is drawn, by its name, for a legend.
    """
    drawn = {}
    for split, (kind, width) in SPLITS.items():
        name = f"{split}_{key}"
        curves = [
            {
                line["epoch"]: 100 * (1 - line[name]) if key == "acc" else line[name]
                for line in history
                if math.isfinite(line.get(name, math.nan))
            }
            for history in histories
        ]
        epochs = sorted(set.intersection(*map(set, curves)))
        if epochs:
            values = np.array([[curve[epoch] for epoch in epochs] for curve in curves])
            draw_band(axes, epochs, values.mean(axis=0), values, linewidth=width, **look)
            drawn[kind] = Line2D([], [], color="gray", linewidth=width, label=kind)
    return drawn


def finish(axes: Any, title: str) -> None:
    """Give axes whose curves run over epochs their title, whole epochs and a grid."""
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def plot_curves(run_dirs: Sequence[str | Path], out: str | Path | None = None) -> figures.Figure:
    """Draw loss, error and learning rate of runs side by side.

    A run has one colour and one line style.

    Parameters
    ----------
    run_dirs : sequence of path
        Run folders.
    out : path, optional
        Where the picture goes; its suffix is the format.

    Raises
    ------
    InputError
        If a run cannot be read, or the picture not be written.
    """
    figure = new_figure(12, 4.2)
    loss, error, lr = figure.subplots(1, 3)
    drawn: dict[str, Line2D] = {}
    for number, run_dir in enumerate(run_dirs):
        history, name = read_history(run_dir), caption(Path(run_dir).resolve().name, _LONGEST)
        for axes, key in ((loss, "loss"), (error, "acc")):
            drawn.update(draw_splits(axes, [history], key, **curve_style(number)))
        rates = np.array([[line["lr"] for line in history]])
        look = {"label": name, "linewidth": 1.6, **curve_style(number)}
        draw_band(lr, [line["epoch"] for line in history], rates[0], rates, **look)
    for axes, title in ((loss, "loss, on a log scale"), (error, "error, %"), (lr, "learning rate")):
        finish(axes, title)
    # A net whose BatchNorm statistics still lag may begin with a loss ten times all others.
    loss.set_yscale("log")
    log_ticks(loss.yaxis)
    lr.set_ylim(bottom=0)
    figure.legend(handles=[*lr.lines, *drawn.values()], loc="outside lower center", ncols=5)
    return save(figure, out)
