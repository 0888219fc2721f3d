"""What a study has found so far: its table, its picture, and its part of ``results/README.md``."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from errors import InputError
from figures import summary
from records.run_folder import read_config, read_json
from studies.study import Measurement, entries, get_study, refuse_other_recipes, results_of
from utils import read_regular, write_atomically

PICTURE = "curves.png"
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


def answer(name: str) -> tuple[str, Callable[[Path], object]]:
    """Read what a study has found so far.

    Returns
    -------
    text : str
        The study's part of the page: command, table, picture, what the numbers depend on.
    draw : callable
        Given a path, draws the picture there.

    Raises
    ------
    InputError
        If nothing is done yet, a file is damaged, or a run was made by another recipe.
    """
    study, state = get_study(name), ""
    if isinstance(study, Measurement):
        path = results_of(name) / "results.json"
        if not path.exists():
            raise InputError(f"{name} is not measured yet: python -m studies {name}")
        found = read_json(path)
        table, described = study.tabulate(found), [found]
    else:
        runs = entries(name, study)
        done = [entry for entry in runs if entry.done]
        refuse_other_recipes(done)
        if not done:
            raise InputError(f"no run of {name} is done yet: python -m studies {name}")
        found = summary.group([summary.read_run(entry.kept) for entry in done])
        table, described = summary.to_markdown(found), [read_config(entry.kept) for entry in done]
        counts = Counter(entry.recipe for entry in done)
        counted = ", ".join(f"`{recipe}` {counts[recipe]}" for recipe in study.recipes)
        state = f"Done of {len(study.seeds)} seeds: {counted}. "
    text = (
        f"    python -m studies {name} --data-dir DIR\n\n{table}\n\n"
        f"![{study.question}]({name}/{PICTURE})\n\n*{state}{made_by(described)}.*\n"
    )
    return text, partial(study.draw, found)


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
    (text, draw), page = answer(name), results_of(name).parent / "README.md"
    begin, end = borders(name)
    before, opened, rest = read_regular(page, 2**20).decode().partition(begin)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        raise InputError(f"{page} lacks the lines {begin.strip()} and {end.strip()}")
    draw(results_of(name) / PICTURE)
    write_atomically(page, f"{before}{begin}\n{text}\n{end}{after}".encode())
    return page
