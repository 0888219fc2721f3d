"""The walkthrough runs from top to bottom, and says nothing of the machine that ran it last."""

from __future__ import annotations

import re

import nbformat
import pytest

from notebooks import execute

MAX_BYTES = 1_000_000
# Home and temporary folders, and moments such as 2026-01-31T12:00 or 12:00:00.
PERSONAL = re.compile(r"/(home|root|Users|tmp|var|work)/|\d{4}-\d\d-\d\dT\d|\d\d:\d\d:\d\d")


@pytest.fixture(scope="module")
def kept():
    return nbformat.read(execute.NOTEBOOK, as_version=4)


def outputs(notebook):
    """Return each output of each cell, and fail on what only goes wrong would print."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output for output in found if output.output_type == "error"] == []
    assert [output.text for output in found if output.get("name") == "stderr"] == []
    return found


def pictures(notebook):
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def test_every_cell_runs_in_a_kernel(monkeypatch, kept):
    monkeypatch.setenv("WALKTHROUGH_FAST", "1")
    notebook = execute.execute(timeout=200)  # raises where a cell does
    assert notebook.metadata == execute.METADATA
    assert pictures(notebook) == pictures(kept) >= 10
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in kept.cells]


def test_it_is_kept_with_the_outputs_of_one_run_and_nothing_of_the_machine(kept):
    cells = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert kept.metadata == execute.METADATA
    assert [cell.metadata for cell in kept.cells if cell.metadata] == []
    texts = [output.get("text", "") for output in outputs(kept)]
    texts += [str(output.get("data", {}).get("text/plain", "")) for output in outputs(kept)]
    assert [text for text in texts if PERSONAL.search(text)] == []
    assert execute.NOTEBOOK.stat().st_size < MAX_BYTES
