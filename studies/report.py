"""What a study has found so far: its table, its picture, and its part of ``results/README.md``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from errors import InputError
from figures import summary
from records.run_folder import read_config, read_json
from studies.study import Measurement, entries, get_study, refuse_other_recipes, results_of
from utils import read_regular, write_atomically

PICTURE = "curves.png"
_MAX_BYTES = 2**20
# What a number depends on beside its recipe's name, where ``config.json`` says it, and how many
# letters are enough to tell one from another.
_FACTS = {
    "epochs": ("config", "epochs", None),
    "training images": ("data", "train", None),
    "to choose the epoch": ("data", "val", None),
    "to test": ("data", "test", None),
    "images": ("data", "fingerprint", 8),
    "arithmetic": ("precision", "", None),
    "processor": ("host", "processor", None),
    "threads": ("host", "threads", None),
    "commit": ("git", "commit", 8),
}


def made_by(described: Sequence[Mapping[str, Any]]) -> str:
    """Return what numbers depend on, by the descriptions of all that they come from."""
    # A run that was stopped may have gone on by another commit, or on another processor.
    described = [part for each in described for part in (each, *each.get("resumed", []))]
    told = []
    for label, (part, name, letters) in _FACTS.items():
        parts = [each.get(part) for each in described]
        values = [each.get(name) if isinstance(each, Mapping) else each for each in parts]
        short = sorted({str(value)[:letters] for value in values if value not in (None, "")})
        if short:
            told.append(f"{label} {' or '.join(short)}")
    return "; ".join(told)


@dataclass(frozen=True)
class Answer:
    """A Markdown table; how many runs it is of; their descriptions; what draws it to a path."""

    table: str
    state: str
    described: list[dict[str, Any]]
    draw: Callable[[Path], object]


def answer(name: str) -> Answer:
    """Read what a study has found so far.

    Raises
    ------
    InputError
        If nothing is done yet, a file is damaged, or a run was made by another recipe.
    """
    study = get_study(name)
    if isinstance(study, Measurement):
        path = results_of(name) / "results.json"
        if not path.exists():
            raise InputError(f"{name} is not measured yet: python -m studies {name}")
        results = read_json(path)
        return Answer(study.tabulate(results), "", [results], partial(study.draw, results))
    found = entries(name, study)
    refuse_other_recipes(found)
    done = [entry for entry in found if entry.done]
    if not done:
        raise InputError(f"no run of {name} is done yet: python -m studies {name}")
    rows = summary.group([summary.read_run(entry.kept) for entry in done])
    counts = Counter(entry.recipe for entry in done)
    state = ", ".join(f"`{recipe}` {counts[recipe]}" for recipe in study.recipes)
    return Answer(
        summary.to_markdown(rows),
        f"Done of {len(study.seeds)} seeds: {state}. ",
        [read_config(entry.kept) for entry in done],
        partial(study.draw, rows),
    )


def block(name: str, found: Answer) -> str:
    """Return a study's part of the page: command, table, picture, what the numbers depend on."""
    return (
        f"    python -m studies {name} --data-dir DIR\n\n{found.table}\n\n"
        f"![{get_study(name).question}]({name}/{PICTURE})\n\n"
        f"*{found.state}{made_by(found.described)}.*\n"
    )


def borders(name: str) -> tuple[str, str]:
    """Return the lines between which a study's part of the page stands."""
    return f"<!-- {name}: written by --report -->\n", f"<!-- end of {name} -->\n"


def report(name: str) -> Path:
    """Draw a study's picture, write its part of ``results/README.md`` anew, return that page.

    Raises
    ------
    InputError
        As `answer` does; or if the page has no place for it, or cannot be written.
    """
    found, page = answer(name), results_of(name).parent / "README.md"
    begin, end = borders(name)
    before, opened, rest = read_regular(page, _MAX_BYTES).decode().partition(begin)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        raise InputError(f"{page} lacks the lines {begin.strip()} and {end.strip()}")
    found.draw(results_of(name) / PICTURE)
    text = before + begin + "\n" + block(name, found) + "\n" + end + after
    write_atomically(page, text.encode())
    return page
