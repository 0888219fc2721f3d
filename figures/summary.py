"""Compare runs over seeds: `python -m figures.summary runs/* --plot runs.png`.

Prints a Markdown table. Runs whose settings agree but for the seed are one row, with the mean and
the standard deviation (n - 1) of their test errors; what the rows' settings differ in stands beside
the model. Errors are those of the best net by validation, which is the last where nothing was held
out; the gap is from there to the training error of the last epoch. Runs without results are named,
and count for nothing but the picture of rows that have no others. A column that says nothing of any
row is left out. What is no run, or a damaged one, is told, and makes the exit code 2.
"""

from __future__ import annotations

from errors import InputError, Parser, command_line, end_on_ctrl_c, printable, tell  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import json
import os
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Sequence

import matplotlib.figure as figures
from matplotlib.lines import Line2D

from figures.curves import draw_splits, finish, read_history
from figures.style import caption, curve_style, new_figure, save
from records.config import Config
from records.recipes import OWN
from records.run_folder import read_config, read_results
from utils import table

# What may differ between runs of one recipe, beside their seeds: nothing that they learn from.
FREE = (*OWN, "data_dir", "log_interval", "checkpoint_minutes")
_LONGEST = 80  # letters of a row's name in the picture
HEADER = (
    *("model", "settings", "seeds", "test error, %", "of each seed, %", "training error, %"),
    *("gap, %", "minutes", "processor minutes", "parameters", "unfinished"),
)


@dataclass(frozen=True)
class RunFacts:
    """What a run's folder says of it; `test_error`, a fraction, and minutes if it is finished."""

    path: Path
    settings: dict[str, Any]
    seed: int
    epochs: int
    parameters: float
    history: list[dict[str, Any]]
    finished: bool = False
    test_error: float = 0.0
    minutes: float = 0.0
    cpu_minutes: float | None = None  # not all runs have counted them


@dataclass
class Row:
    """Runs that differ in nothing but the seed, by seed."""

    model: str
    settings: str
    finished: dict[int, RunFacts] = field(default_factory=dict)
    unfinished: dict[int, RunFacts] = field(default_factory=dict)

    @property
    def parameters(self) -> float:
        """How many parameters each of the nets has."""
        return next(iter((*self.finished.values(), *self.unfinished.values()))).parameters

    def cells(self) -> list[str]:
        """Return what the table says of the row, below `HEADER`; "" where nothing is known."""
        runs = list(self.finished.values())
        errors = [100 * run.test_error for run in runs]
        error = _mean(errors, 2)
        if len(errors) > 1:
            error += f" ± {statistics.stdev(errors):.2f}"
        trained = [100 * (1 - run.history[-1]["train_acc"]) for run in runs if run.history]
        gap = [statistics.mean(errors) - statistics.mean(trained)] if trained else []
        states = (f"seed {s}: {len(r.history)}/{r.epochs}" for s, r in self.unfinished.items())
        return [
            *(self.model, self.settings, str(len(runs)), error),
            ", ".join(f"{run.seed}: {100 * run.test_error:.2f}" for run in runs),
            *(_mean(trained, 2), _mean(gap, 2), _mean([run.minutes for run in runs], 1)),
            _mean([run.cpu_minutes for run in runs if run.cpu_minutes is not None], 1),
            *(f"{self.parameters:,}", ", ".join(states)),
        ]


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f}" if values else ""


def read_run(path: Path) -> RunFacts:
    """Read ``config.json``, ``results.json`` and the history of a run.

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
    settings = {name: v for name, v in config.to_dict().items() if name not in (*FREE, "seed")}
    data = described.get("data")  # the same name may stand for other images
    settings["data"] = str(data.get("fingerprint"))[:8] if isinstance(data, dict) else ""
    settings.update({name: str(described.get(name))[:20] for name in ("precision", "workers")})
    begun = any(os.path.exists(path / f"metrics.{suffix}") for suffix in ("jsonl", "csv"))
    history = read_history(path) if begun else []
    for line in history:
        _number(line, "train_acc", path / "metrics", most=1)
    size = _number(described, "parameters", path / "config.json")
    facts = (path, settings, config.seed, config.epochs, size, history)
    results = read_results(path, config.epochs)
    if not results:
        return RunFacts(*facts)
    file = path / "results.json"
    accuracy = _number(results, "test_acc_best", file, most=1)
    minutes = _number(results, "train_seconds", file) / 60
    cpu = _number(results, "cpu_seconds", file) / 60 if "cpu_seconds" in results else None
    return RunFacts(*facts, True, 1 - accuracy, minutes, cpu)


def _number(values: Any, name: str, path: Path, most: float = 1e12) -> float:
    value = values.get(name) if isinstance(values, Mapping) else None
    if not isinstance(value, (int, float)) or not 0 <= value <= most:  # nor is NaN
        raise InputError(f"{path} is damaged: {name} is no number from 0 to {most:g}")
    return value


def group(runs: Sequence[RunFacts]) -> list[Row]:
    """Return rows in the order of the runs; what repeats a row's seed is told and left out."""
    keys = [json.dumps(run.settings, sort_keys=True) for run in runs]
    names = [name for name in runs[0].settings if name != "model"]
    differing = [name for name in names if len({_text(run, name) for run in runs}) > 1]
    rows: dict[str, Row] = {}
    pairs = sorted(zip(keys, runs), key=lambda pair: (not pair[1].finished, pair[1].seed))
    for key, run in zip(keys, runs):
        # What is None is the model's own.
        told = (f"{n}={_text(run, n)}" for n in differing if run.settings[n] is not None)
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
    """Return the table: errors in percent; a column that says nothing of any row is left out."""
    columns = zip(HEADER, *(row.cells() for row in rows))
    header, *body = zip(*(column for column in columns if any(column[1:])))
    return table(header, [[cell or "–" for cell in line] for line in body])


def plot(rows: Sequence[Row], out: str | Path | None = None) -> figures.Figure:
    """Draw the errors of each row over epochs: the mean over seeds, in a band; training is thin.

    The picture goes to `out`, in the format of its suffix. An `InputError` is raised if no row has
    anything to draw, or it cannot be written.
    """
    figure = new_figure(9, 5)
    axes = figure.subplots()
    drawn: dict[str, Line2D] = {}
    for number, row in enumerate(rows):
        runs = list((row.finished or row.unfinished).values())
        name = caption(f"{row.model} {row.settings}".strip(), _LONGEST)
        state = f"{len(runs)} seed{'s' * (len(runs) > 1)}{'' if row.finished else ', running'}"
        look = {"label": f"{name} ({state})", **curve_style(number)}
        drawn.update(draw_splits(axes, [run.history for run in runs], "acc", **look))
    if not axes.lines:
        raise InputError("these runs have no epoch yet: there is nothing to plot")
    axes.set_ylabel("error, %")
    banded = any(len(row.finished or row.unfinished) > 1 for row in rows)
    finish(axes, "mean over seeds; bands from the least to the largest error" if banded else "")
    named = {str(line.get_label()): line for line in axes.lines}  # the thick one of each row
    axes.legend(handles=[*named.values(), *drawn.values()])
    return save(figure, out)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Summarise the runs that the command line names."""
    parser = Parser(description="Compare runs over seeds, in a Markdown table.")
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--plot", metavar="FILE", help="draw errors over epochs, to .png or .pdf")
    arguments = parser.parse_args(argv)
    runs, code = [], 0
    for path in arguments.run_dirs:
        try:
            runs.append(read_run(path))
        except InputError as error:
            tell(f"error: {error}")
            code = 2
    if runs:
        rows = group(runs)
        print(to_markdown(rows))
        if arguments.plot:
            plot(rows, arguments.plot)
    return code


if __name__ == "__main__":
    sys.exit(main())
