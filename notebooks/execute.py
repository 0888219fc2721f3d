"""Run the walkthrough from top to bottom in a new kernel, and keep it with its outputs.

    python notebooks/execute.py

Metadata of the machine and the moment are left out; times that cells print stay.
`tests/commands/test_notebook.py` runs the same, with fewer images, and keeps nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("cifar10_walkthrough.ipynb")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(timeout: int) -> Any:
    """Return the notebook with the outputs of every cell, each of which has `timeout` seconds.

    Raises nbclient's ``CellExecutionError`` if a cell raises.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    options = {"timeout": timeout, "record_timing": False, "coalesce_streams": True}
    place = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, kernel_name="python3", resources=place, **options).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", ()):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
    return notebook


def main() -> None:
    """Run the notebook and write it back."""
    notebook = execute(timeout=300)
    nbformat.write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK.name}: {NOTEBOOK.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
