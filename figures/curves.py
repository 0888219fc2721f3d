"""Curves of runs, from their histories alone: also while a run goes on, and without MXNet."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any, Sequence

import matplotlib.figure as figures
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from datasets.preview import caption
from errors import InputError
from figures.style import curve_style, new_figure, save
from utils import read_regular

SPLITS = {"train": ("training", 1.0), "val": ("validation", 2.4)}  # names, widths of their curves
_LONGEST = 40  # letters of a run's name
_MAX_BYTES = 64 * 2**20
_NO_EPOCH = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def read_history(run_dir: str | Path) -> list[dict[str, Any]]:
    """Return the epochs of a run.

    Parameters
    ----------
    run_dir : path
        A run folder, or what `studies` keeps of one.

    Returns
    -------
    list of dict
        One a line of ``metrics.jsonl``, or, where that was not kept, of ``metrics.csv``.

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
    data = read_regular(path, _MAX_BYTES)
    lines: Any = data.splitlines()
    if path.suffix == ".csv":
        lines = csv.DictReader(data.decode(errors="replace").splitlines())
    history = []
    for number, line in enumerate(lines, 1):
        try:
            epoch = line if isinstance(line, dict) else json.loads(line)
            numbers = {key: float(value) for key, value in epoch.items() if value not in (None, "")}
            history.append({**numbers, "epoch": int(epoch["epoch"]), "lr": numbers["lr"]})
        except _NO_EPOCH as error:
            raise InputError(f"{path}, line {number} is not an epoch: {error!r}") from error
    return history


def plot_curves(run_dirs: Sequence[str | Path], out: str | Path | None = None) -> figures.Figure:
    """Draw loss, error and learning rate of runs side by side.

    A run has one colour and one line style; training is thin, validation thick.

    Parameters
    ----------
    run_dirs : sequence of path
        Run folders.
    out : path, optional
        Where the picture goes; its suffix is the format.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If a run cannot be read, or the picture not be written.
    """
    figure = new_figure(12, 4.2)
    loss, error, lr = figure.subplots(1, 3)
    drawn: dict[str, Line2D] = {}  # a sample of each split's curves
    for number, run_dir in enumerate(run_dirs):
        history, name = read_history(run_dir), caption(Path(run_dir).resolve().name, _LONGEST)
        look = {**curve_style(number), "marker": "o" if len(history) == 1 else ""}
        for axes, key, percent in ((loss, "loss", False), (error, "acc", True)):
            for split, (label, width) in SPLITS.items():
                points = [
                    (line["epoch"], 100 * (1 - line[f"{split}_{key}"]) if percent else value)
                    for line in history
                    for value in [line.get(f"{split}_{key}")]
                    if value is not None
                ]
                if points:
                    axes.plot(*zip(*points), linewidth=width, **look)
                    drawn[label] = Line2D([], [], color="gray", linewidth=width, label=label)
        epochs = [line["epoch"] for line in history]
        lr.plot(epochs, [line["lr"] for line in history], label=name, linewidth=1.6, **look)
    for axes, title in ((loss, "loss, on a log scale"), (error, "error, %"), (lr, "learning rate")):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    # A net whose BatchNorm statistics still lag may begin with a loss ten times all others.
    loss.set_yscale("log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    loss.yaxis.set_minor_formatter(NullFormatter())
    lr.set_ylim(bottom=0)
    figure.legend(handles=[*lr.lines, *drawn.values()], loc="outside lower center", ncols=5)
    return save(figure, out)
