"""What the READMEs name is there: files, flags, models and presets."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import models
from training.config import Config
from training.recipes import PRESETS

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "results/README.md")


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def flags_of_the_code():
    """Return those of `Config`, and those that scripts spell out."""
    flags = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(Config)}
    for folder in (".", "benchmarks", "datasets", "inference", "figures"):
        for path in (ROOT / folder).glob("*.py"):
            flags |= set(re.findall(r'"(--[a-z][a-z-]+)"', path.read_text(encoding="utf-8")))
    return flags


@pytest.mark.parametrize("page", PAGES)
def test_files_are_there(page):
    text = read(page)
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`([\w./-]+(?:\.py|/))`", text)
    assert linked
    assert named or page != "README.md"
    for name in linked:
        assert ((ROOT / page).parent / name).exists(), name
    for name in named:
        if name != "export/":  # of a run folder
            assert (ROOT / name).exists() or list(ROOT.glob(f"*/{name}")), name


@pytest.mark.parametrize("page", PAGES)
def test_flags_are_known(page):
    code = re.findall(r"`[^`\n]+`|^    .*$", read(page), re.MULTILINE)
    ours = "\n".join(line for line in code if "pip install" not in line)
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours)) - {"--help"}
    assert flags
    assert flags <= flags_of_the_code()


@pytest.mark.parametrize("page", PAGES)
def test_models_and_presets_are_known(page):
    text = read(page)
    for name in re.findall(r"--model ([a-z]\w+)", text):
        models.get_model(name)
    assert set(re.findall(r"--preset ([a-z][\w-]*)", text)) <= set(PRESETS)


def test_the_table_of_models_has_their_counts():
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([\d,]+) \| ([\d,]+) M \|", read("README.md"), re.M)
    assert len(rows) > 5
    for name, parameters, work in rows:
        net = models.get_model(name)
        assert models.count_parameters(net) == int(parameters.replace(",", "")), name
        assert round(models.count_multiply_accumulates(net) / 1e6) == int(work.replace(",", ""))
