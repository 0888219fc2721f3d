"""A thousand mutated files, in a process of their own since some might crash it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_a_thousand_mutated_files_are_read_or_refused():
    script = Path(__file__).parents[1] / "fuzz_datasets.py"
    ended = subprocess.run(
        [sys.executable, script, "--files", "1000"],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    counts = re.findall(r"(\w+): (\d+) read, (\d+) refused", ended.stdout)
    assert [name for name, _, _ in counts] == ["binary", "archive", "pickle", "image"]
    for _, read, refused in counts:  # both happen, or the mutations would test nothing
        assert int(read) + int(refused) == 250
        assert int(read) >= 5
        assert int(refused) >= 100
