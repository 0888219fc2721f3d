"""A short, seeded part of `benchmarks/torture.py`; a few hundred rounds are run by hand."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import pytest
from torture import LostError, Torture


def test_nothing_is_lost_under_torture(tmp_path):
    torture = Torture(tmp_path, seed=3, report=lambda line: None, epochs=2)
    torture.hit("kill while writing")
    torture.hit("full disk", "truncated")
    torture.finish()
    assert torture.finished >= 1

    # And the torturer would notice.
    shutil.copytree(tmp_path / "calm", torture.run)
    torture.expected_files = {**torture.expected_files, "net.params": b"other weights"}
    with pytest.raises(LostError, match="differs"):
        torture.compare()
