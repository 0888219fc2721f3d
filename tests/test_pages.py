"""What the pages say is so: links, files, commands with their flags, models, presets, sizes."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from inference.metrics import wilson
from records.recipes import PRESETS
from studies.report import borders
from weights import pretrained
from weights.parameters import named_parameters
from weights.params_file import read_params

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("README.md", "docs/*.md", "results/README.md", "pretrained/README.md")
    for path in ROOT.glob(pattern)
)
README_BYTES = 6144
PROGRAMS = ("train_cifar10.py", "evaluate.py", "export.py", "training.launch", "studies")
MADE_BY_A_RUN = {"export/", "checkpoints/"}


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def code(page):
    """Return the lines of code blocks, joined where one goes on, and the code in the text."""
    text = read(page)
    blocks = "\n".join(re.findall(r"^    .*$", text, re.MULTILINE)).replace("\\\n", " ")
    return [*blocks.splitlines(), *re.findall(r"`([^`]+)`", re.sub(r"^    .*$", "", text, flags=8))]


def commands(page):
    """Return the Python commands of a page: (what is run, its words), without remarks."""
    for line in code(page):
        match = re.match(r"\s*python (-m )?([\w./]+)(?: (.*))?$", re.sub(r"\s# .*", "", line))
        if match:
            yield match[2], (match[3] or "").replace("[", " ").replace("]", " ").split()


@functools.lru_cache(maxsize=None)
def flags_of(program):
    """Return a command's flags: what its --help prints, or, of a script beside, what it spells."""
    path = ROOT / program
    if path.suffix == ".py" and path.parent != ROOT:
        return set(re.findall(r'"(--[a-z][a-z-]+)"', path.read_text(encoding="utf-8")))
    name = path.stem if path.suffix == ".py" else program
    module = importlib.import_module(f"{name}.__main__" if (ROOT / name).is_dir() else name)
    if not hasattr(module, "main"):
        return set()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert module.main(["--help"]) == 0
    return set(re.findall(r"--[a-z][a-z-]+", said.getvalue()))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere_and_files_are_there(page):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", read(page)):
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
            assert anchor in [title.lower().replace(" ", "-") for title in titles], target
    for name in re.findall(r"`([\w./-]+(?:\.py|\.txt|/))`", read(page)):
        found = (ROOT / name).exists() or list(ROOT.glob(f"*/{name}"))
        assert found or name in MADE_BY_A_RUN or name.startswith(("runs/", "hosts")), name


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_flags_are_there(page):
    known = set().union(*map(flags_of, PROGRAMS))
    for line in code(page):
        flag = re.match(r"--[a-z][a-z-]+", line)
        assert not flag or flag[0] in known, line
    for program, words in commands(page):
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        flags -= {"--", "--help"}
        others = {word for word in words if word.endswith(".py")}  # the launcher's own command
        known = set().union(*map(flags_of, {program, *others}))
        assert flags <= known, f"{program}: {sorted(flags - known)}"


@pytest.mark.parametrize("page", PAGES)
def test_models_presets_and_targets_are_known(page):
    text = "\n".join(code(page))
    for name in re.findall(r"--model ([a-z]\w+)", text):
        assert name in {*models.list_models(), *models.ALIASES}, name
    names = re.findall(r"--preset ([a-z][\w./-]*)", text)
    assert {name for name in names if "/" not in name} <= set(PRESETS)
    targets = re.findall(r"^([a-z]+):", read("Makefile"), re.M)
    assert set(re.findall(r"^\s*make ([a-z]+)", text, re.M)) <= set(targets)


def test_the_tables_of_models_have_their_counts_and_published_errors():
    rows, row = set(), r"^\| `(\w+)`[^|]*\| ([\d,]+) \| ([\d,]+) M \| ([\d.]*)(?: % )?\|$"
    for page in ("README.md", "docs/papers.md"):
        rows |= set(re.findall(row, read(page), re.M))
    assert len(rows) > 12
    for name, parameters, work, error in rows:
        published = models.REGISTRY[name][2]
        assert error == (f"{published:.2f}" if published else ""), name
        net = models.get_model(name)
        assert models.count_parameters(net) == int(parameters.replace(",", "")), name
        assert round(models.count_multiply_accumulates(net) / 1e6) == int(work.replace(",", ""))


@pytest.mark.parametrize(
    ("run", "page", "told"),
    [
        (
            "cpu-90min",
            "results/README.md",
            "**{error:.2f} % test error** (95 % interval {low:.2f} to {high:.2f}) "
            "after {minutes:.1f} minutes",
        ),
        (
            "ninety-minutes/resnet11_pooled_sd-seed0",
            "README.md",
            "| `cpu-90min` | a ResNet-11 that pools early, with stochastic depth, {epochs} epochs "
            "| {minutes:.0f} minutes on two cores with AVX2: {error:.1f} %",
        ),
    ],
)
def test_runs_of_ninety_minutes_are_told_as_they_were(run, page, told):
    results = json.loads(read(f"results/{run}/results.json"))
    error, minutes = 100 * (1 - results["test_acc_best"]), results["train_seconds"] / 60
    low, high = (100 * bound for bound in wilson(round(100 * error), 10_000))
    text = told.format(error=error, minutes=minutes, low=low, high=high, **results)
    assert text in " ".join(read(page).split())


def test_the_readmes_pictures_are_of_the_errors_that_the_studies_found():
    def found(study):
        begin, end = borders(study)
        section = read("results/README.md").partition(begin)[2].partition(end)[0]
        return [f"{float(error):.1f} %" for error in re.findall(r" ([\d.]+) ± ", section)]

    k24, _, k8, *resnets = found("parameters")
    told = re.findall(r"Test errors: (.*)", read("README.md"))
    assert [re.findall(r"[\d.]+ %", errors) for errors in told] == [
        [k8, k24, resnets[-1], resnets[0]],
        found("stochastic-depth"),
    ]


@pytest.mark.parametrize("trained", [False, True])
def test_the_readmes_python_leaves_pretrained_weights_alone(trained):
    (snippet,) = re.findall(r"^    from runtime.*\n(?:    .*\n|\n)*", read("README.md"), re.M)
    row = pretrained.read_table()[0]
    snippet = snippet.replace('"densenet", classes=10', f'"{row["model"]}", pretrained={trained}')
    found: dict[str, Any] = {}
    exec(textwrap.dedent(snippet), found)
    arrays = read_params((ROOT / "pretrained" / row["file"]).read_bytes(), row["file"])
    kept = {
        name: np.array_equal(parameter.data().asnumpy(), arrays[name])
        for name, parameter in named_parameters(found["net"]).items()
    }
    assert kept["output.weight"] == trained
    assert all(kept.values()) == trained


def test_the_readme_can_be_finished():
    assert len(read("README.md").encode()) <= README_BYTES
