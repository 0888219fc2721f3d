"""Compare runs over seeds: `python -m figures.summary runs/* --csv runs.csv --plot runs.png`.

Prints a Markdown table. Runs whose settings agree but for the seed are one row, with the mean and
the standard deviation (n - 1) of their test errors; what the rows' settings differ in stands beside
the model. Errors are those of the best net by validation, which is the last where nothing was held
out. Runs without results are named, and count for nothing but the picture of rows that have no
others.
"""

from __future__ import annotations

from errors import InputError, Parser, command_line, printable, tell  # isort: split

import csv
import io
import json
import math
import os
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Sequence

import matplotlib.figure as figures
import numpy as np
from matplotlib.ticker import MaxNLocator

from datasets.preview import caption
from figures.curves import read_history
from figures.style import curve_style, new_figure, save
from training.config import Config
from training.recipes import OWN
from training.run_folder import read_config, read_json
from utils import table, write_atomically

_IGNORED = (*OWN, "data_dir", "log_interval", "checkpoint_minutes", "seed")
_LONGEST = 80  # letters of a row's name in the picture
HEADER = (
    *("model", "settings", "seeds", "test error, %", "of each seed, %", "training error, %"),
    *("minutes", "parameters", "unfinished"),
)
COLUMNS = (
    *("model", "settings", "seeds", "test_error_mean", "test_error_std", "test_errors"),
    *("train_error", "minutes", "parameters", "unfinished"),
)


@dataclass(frozen=True)
class RunFacts:
    """What a run's folder says of it; `test_error`, a fraction, and `minutes` if it is finished."""

    path: Path
    settings: dict[str, Any]
    seed: int
    epochs: int
    parameters: float
    history: list[dict[str, Any]]
    finished: bool = False
    test_error: float = 0.0
    minutes: float = 0.0


@dataclass
class Row:
    """Runs that differ in nothing but the seed, by seed."""

    model: str
    settings: str
    finished: dict[int, RunFacts] = field(default_factory=dict)
    unfinished: dict[int, RunFacts] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return the row of a file: numbers by `COLUMNS`, errors as fractions, None for unknown."""
        runs = list(self.finished.values())
        errors = [run.test_error for run in runs]
        ends = [run.history[-1]["train_acc"] for run in runs if run.history]
        states = (f"seed {s}: {len(r.history)}/{r.epochs}" for s, r in self.unfinished.items())
        cells = (
            *(self.model, self.settings, len(runs)),
            statistics.mean(errors) if errors else None,
            statistics.stdev(errors) if len(errors) > 1 else None,
            " ".join(f"{run.seed}:{run.test_error:.4f}" for run in runs),
            1 - statistics.mean(ends) if ends else None,
            statistics.mean(run.minutes for run in runs) if runs else None,
            next(iter((*runs, *self.unfinished.values()))).parameters,
            ", ".join(states),
        )
        return dict(zip(COLUMNS, cells))


def read_run(path: Path) -> RunFacts:
    """Read ``config.json``, ``results.json`` and ``metrics.jsonl`` of a run.

    Raises
    ------
    InputError
        If one is damaged; the latter two may be missing.
    """
    described = read_config(path)
    try:
        config = Config.from_dict(described["config"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    settings = {name: v for name, v in config.to_dict().items() if name not in _IGNORED}
    data = described.get("data")  # the same name may stand for other images
    settings["data"] = str(data.get("fingerprint"))[:8] if isinstance(data, dict) else ""
    settings.update({name: str(described.get(name))[:20] for name in ("precision", "workers")})
    history = read_history(path) if os.path.exists(path / "metrics.jsonl") else []
    for line in history:
        _number(line, "train_acc", path / "metrics.jsonl")
    size = _number(described, "parameters", path / "config.json")
    facts = (path, settings, config.seed, config.epochs, size, history)
    if not os.path.exists(path / "results.json"):
        return RunFacts(*facts)
    results = read_json(path / "results.json")
    accuracy, seconds = (
        _number(results, name, path / "results.json") for name in ("test_acc_best", "train_seconds")
    )
    return RunFacts(*facts, True, 1 - accuracy, seconds / 60)


def _number(values: Any, name: str, path: Path) -> float:
    value = values.get(name) if isinstance(values, Mapping) else None
    if not isinstance(value, (int, float)) or not abs(value) < 1e12:  # nor is NaN below it
        raise InputError(f"{path} is damaged: {name} is no number")
    return value


def group(runs: Sequence[RunFacts]) -> list[Row]:
    """Return rows in the order of the runs; what repeats a row's seed is told and left out."""
    keys = [json.dumps(run.settings, sort_keys=True) for run in runs]
    names = list(runs[0].settings)
    differing = [name for name in names if len({_text(run, name) for run in runs}) > 1]
    rows: dict[str, Row] = {}
    pairs = sorted(zip(keys, runs), key=lambda pair: (not pair[1].finished, pair[1].seed))
    for key in dict.fromkeys(keys):
        run = runs[keys.index(key)]
        told = (f"{name}={_text(run, name)}" for name in differing if name != "model")
        rows[key] = Row(printable(run.settings["model"]), printable(", ".join(told)))
    for key, run in pairs:
        row = rows[key]
        if run.seed in row.finished or run.seed in row.unfinished:
            tell(f"{run.path} has the settings and the seed of another run: left out")
        else:
            (row.finished if run.finished else row.unfinished)[run.seed] = run
    return list(rows.values())


def _text(run: RunFacts, name: str) -> str:
    return json.dumps(run.settings[name]).strip('"')


def to_markdown(rows: Sequence[Row]) -> str:
    """Return the table for people: errors in percent."""
    lines = []
    for row in rows:
        values = row.values()
        mean, std, train = (
            None if values[name] is None else f"{100 * values[name]:.2f}"
            for name in ("test_error_mean", "test_error_std", "train_error")
        )
        each = (f"{seed}: {100 * run.test_error:.2f}" for seed, run in row.finished.items())
        minutes = "–" if values["minutes"] is None else f"{values['minutes']:.1f}"
        cells = (row.model, row.settings or "–", values["seeds"], mean or "–", ", ".join(each))
        lines.append(
            [*cells, train or "–", minutes, f"{values['parameters']:,}", values["unfinished"]]
        )
        if std:
            lines[-1][3] = f"{mean} ± {std}"
    return table(HEADER, lines)


def to_csv(rows: Sequence[Row]) -> bytes:
    """Return the table for spreadsheets: errors are fractions."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = row.values()
        if values["model"].startswith(("=", "+", "-", "@")):  # a formula, from a stranger
            values["model"] = f"'{values['model']}"
        writer.writerow(values)
    return text.getvalue().encode()


def plot(rows: Sequence[Row], out: str | Path | None = None) -> figures.Figure:
    """Draw the validation error of each row over epochs: the mean over seeds, in a band.

    Parameters
    ----------
    rows : sequence of Row
        Those that validated nothing are left out.
    out : path, optional
        Where the picture goes; its suffix is the format.

    Raises
    ------
    InputError
        If no row has anything to draw, or the picture cannot be written.
    """
    figure = new_figure(9, 5)
    axes = figure.subplots()
    for number, row in enumerate(rows):
        runs = (row.finished or row.unfinished).values()
        curves = [
            {
                line["epoch"]: 100 * (1 - line["val_acc"])
                for line in run.history
                if math.isfinite(line.get("val_acc", math.nan))
            }
            for run in runs
        ]
        epochs = sorted(set.intersection(*map(set, curves)))  # those that every seed has come to
        if not epochs:
            continue
        errors = np.array([[curve[epoch] for epoch in epochs] for curve in curves])
        name = caption(f"{row.model} {row.settings}".strip(), _LONGEST)
        state = f"{len(curves)} seed{'s' * (len(curves) > 1)}{'' if row.finished else ', running'}"
        look = curve_style(number)
        look["marker"] = "o" if len(epochs) == 1 else ""  # one point makes no line
        axes.plot(epochs, errors.mean(axis=0), label=f"{name} ({state})", linewidth=2, **look)
        if len(curves) > 1:
            band = {"color": look["color"], "alpha": 0.2, "linewidth": 0}
            axes.fill_between(epochs, errors.min(axis=0), errors.max(axis=0), **band)
    if not axes.lines:
        raise InputError("no epoch of these runs was validated: there is nothing to plot")
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation error, %")
    axes.set_title("mean over seeds; bands from the least to the largest error")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return save(figure, out)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Summarise the runs that the command line names."""
    parser = Parser(description="Compare runs over seeds, in a Markdown table.")
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the numbers there, too")
    parser.add_argument("--plot", metavar="FILE", help="draw validation errors, to .png or .pdf")
    arguments = parser.parse_args(argv)
    runs = []
    for path in {os.path.realpath(path): path for path in arguments.run_dirs}.values():
        if os.path.exists(path / "config.json"):
            runs.append(read_run(path))
        else:
            tell(f"{path} holds no run (there is no config.json): left out")
    if not runs:
        raise InputError("none of these is a run folder")
    rows = group(runs)
    print(to_markdown(rows))
    if arguments.csv:
        write_atomically(arguments.csv, to_csv(rows))
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    sys.exit(main())
