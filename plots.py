"""Curves of runs: loss, error and learning rate over the epochs.

    python -m plots runs/A runs/B --out curves.png

Reads ``metrics.jsonl`` and nothing else, so it works while a run goes on, and without MXNet.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Sequence

import matplotlib.figure as figures
from matplotlib.ticker import MaxNLocator

from errors import InputError, command_line

# Okabe and Ito's colours are told apart by the colour-blind; line styles by everybody, on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")


def read_history(run_dir: str | Path) -> list[dict[str, Any]]:
    """Return the epochs of a run.

    Parameters
    ----------
    run_dir : path
        A run folder.

    Returns
    -------
    list of dict
        One a line of ``metrics.jsonl``.

    Raises
    ------
    InputError
        If there is no such file, or a line of it is no epoch.
    """
    path = Path(run_dir) / "metrics.jsonl"
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; is it a run folder?") from error
    history = []
    for number, line in enumerate(lines, 1):
        try:
            epoch = json.loads(line)
            history.append({**epoch, "epoch": int(epoch["epoch"])})
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number} is not an epoch: {error!r}") from error
    return history


def plot_curves(run_dirs: Sequence[str | Path], out: str | Path) -> None:
    """Draw loss, error and learning rate of runs side by side.

    A run has one colour and one line style; training is thin, validation thick.

    Parameters
    ----------
    run_dirs : sequence of path
        Run folders.
    out : path
        Where the picture goes; its suffix is the format.

    Raises
    ------
    InputError
        If a run cannot be read, or the picture not be written.
    """
    figure = figures.Figure(figsize=(12, 3.8), layout="constrained")
    loss, error, lr = figure.subplots(1, 3)
    for number, run_dir in enumerate(run_dirs):
        history, name = read_history(run_dir), Path(run_dir).resolve().name
        look = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": STYLES[number % len(STYLES)],
            "marker": "o" if len(history) == 1 else "",
        }
        for axes, key, percent in ((loss, "loss", False), (error, "acc", True)):
            for split, width in (("train", 1.0), ("val", 2.4)):
                points = [
                    (line["epoch"], 100 * (1 - line[f"{split}_{key}"]) if percent else value)
                    for line in history
                    for value in [line.get(f"{split}_{key}")]
                    if value is not None
                ]
                if points:
                    what = {"train": "training", "val": "validation"}[split]
                    label = f"{name}, {what}" if len(run_dirs) > 1 else what
                    axes.plot(*zip(*points), linewidth=width, label=label, **look)
        epochs = [line["epoch"] for line in history]
        lr.plot(epochs, [line["lr"] for line in history], label=name, linewidth=1.6, **look)
    for axes, title in ((loss, "loss"), (error, "error, %"), (lr, "learning rate")):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    lr.set_ylim(bottom=0)
    for axes in (loss, error, lr) if len(run_dirs) > 1 else (loss, error):
        if axes.lines:
            axes.legend(fontsize="small")
    try:
        figure.savefig(out, dpi=150)
    except (OSError, ValueError) as problem:
        raise InputError(f"cannot write {out}: {problem}") from problem


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description="Draw the curves of runs side by side.")
    parser.add_argument("run_dirs", nargs="+", metavar="RUN", help="run folder")
    parser.add_argument("--out", default="curves.png", help="picture to write [curves.png]")
    arguments = parser.parse_args(argv)
    plot_curves(arguments.run_dirs, arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    sys.exit(main())
