"""A study: a question, and the runs, or the measurement, that answer it."""

from __future__ import annotations

import dataclasses
import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from errors import InputError, nearest
from figures import summary
from figures.curves import read_history
from records.config import Config, make_config
from records.run_folder import read_config
from utils import read_regular, to_json, write_atomically

# In the order in which they are worth running.
NAMES = (
    "gradients",
    "stochastic-depth",
    "weights",
    "parameters",
    "feature-reuse",
    "mistakes",
    "ninety-minutes",
    "stochastic-depth-augmented",
)
ROOT = Path(__file__).resolve().parents[1]
_KEPT = ("metrics.csv", "results.json")


@dataclass(frozen=True)
class Study:
    """What is asked, and the runs that answer it.

    Parameters
    ----------
    question : str
        One line.
    recipes : mapping of str to mapping
        By a name for each: fields of `records.config.Config`.
    seeds : sequence of int
        Every recipe runs with each of them.
    draw : callable
        Given rows of `figures.summary` and where the picture goes.
    """

    question: str
    recipes: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    draw: Callable[[Sequence[summary.Row], Path], object] = summary.plot


@dataclass(frozen=True)
class Measurement:
    """What is asked, and what answers it without training.

    Parameters
    ----------
    question : str
        One line.
    measure : callable
        Given the folder of CIFAR-10, or None; returns what ``results.json`` is to hold, ``data``
        with the ``fingerprint`` of its images among it.
    tabulate : callable
        Given that, returns a Markdown table.
    draw : callable
        Given that, and where the picture goes.
    """

    question: str
    measure: Callable[[str | None], dict[str, Any]]
    tabulate: Callable[[Mapping[str, Any]], str]
    draw: Callable[[Mapping[str, Any], Path], object]


@dataclass(frozen=True)
class Entry:
    """One run of a study.

    Parameters
    ----------
    study, recipe : str
    config : Config
    """

    study: str
    recipe: str
    config: Config

    @property
    def name(self) -> str:
        """What the run is called within its study."""
        return f"{self.recipe}-seed{self.config.seed}"

    @property
    def working(self) -> Path:
        """The run's folder while it is trained."""
        return ROOT / "runs" / self.study / self.name

    @property
    def kept(self) -> Path:
        """The folder of what it leaves."""
        return results_of(self.study) / self.name

    @property
    def done(self) -> bool:
        """Whether the run has ended, and what it leaves is kept."""
        return os.path.exists(self.kept / "results.json")

    @property
    def folder(self) -> Path:
        """Where the run is, done or not."""
        return self.kept if self.done else self.working

    def epochs_done(self) -> int:
        """Count the whole epochs of a run that was stopped or is running."""
        path = self.working / "metrics.jsonl"
        return len(read_history(self.working)) if os.path.exists(path) else 0

    def differences(self) -> str:
        """Return in which settings a run that has begun differs from the recipe; "" if in none.

        Raises
        ------
        InputError
            If its ``config.json`` is damaged.
        """
        if not (self.done or os.path.exists(self.folder / "config.json")):
            return ""
        found = Config.from_dict(read_config(self.folder)["config"])
        return ", ".join(
            f"{field.name} was {old}, is {new}"
            for field in dataclasses.fields(Config)
            for old, new in [(getattr(found, field.name), getattr(self.config, field.name))]
            if field.name not in summary.FREE and old != new
        )

    def state(self) -> str:
        """Say in a few words how far the run has come."""
        found = "done"
        if not self.done:
            epochs = self.epochs_done()
            found = f"{epochs} of {self.config.epochs} epochs" if epochs else "missing"
        other = self.differences()
        return f"{found}, by another recipe: {other}" if other else found

    def keep(self) -> None:
        """Copy what a finished run leaves, without the places and names of this machine.

        Raises
        ------
        InputError
            If something is missing, or cannot be written.
        """
        described = read_config(self.working)
        described["config"].update(data_dir=None, run_dir="runs", resume=None, preset="")
        for part in (described, *described.get("resumed", [])):
            anonymise(part)
        text = to_json(described, indent=1) + b"\n"
        write_atomically(self.kept / "config.json", text, make_folder=True)
        for name in _KEPT:  # the results last: a run that has them is done
            write_atomically(self.kept / name, read_regular(self.working / name, 2**24))


def anonymise(described: dict[str, Any]) -> dict[str, Any]:
    """Take from what `describe_environment` returns where and by whom a machine is used."""
    described.pop("command", None)
    described.get("host", {}).pop("name", None)
    return described


def get_study(name: str) -> Study | Measurement:
    """Return a study by its name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in NAMES:
        raise InputError(
            f"unknown study {name!r}:{nearest(name, NAMES)} there are {', '.join(NAMES)}"
        )
    return importlib.import_module(f"studies.{name.replace('-', '_')}").STUDY


def entries(name: str, study: Study) -> list[Entry]:
    """Return a study's runs in the order in which they are taken: every recipe, seed by seed."""
    return [
        Entry(name, recipe, make_config(**settings, seed=seed))
        for seed in study.seeds
        for recipe, settings in study.recipes.items()
    ]


def results_of(name: str) -> Path:
    """Return the folder of what a study leaves: its runs or its measurement, and its picture."""
    return ROOT / "results" / name


def refuse_other_recipes(found: Sequence[Entry]) -> None:
    """Raise an `InputError` if a run, done or not, was made by another recipe than today's."""
    for entry in found:
        other = entry.differences()
        if other:
            raise InputError(f"{entry.folder} was made by another recipe: {other}; remove it")
