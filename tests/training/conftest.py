"""Runs in these tests train on a few of the embedded images."""

from __future__ import annotations

import pytest
from tiny_train import tiny_shapes

from training import run


@pytest.fixture(scope="module", autouse=True)
def _tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "get_dataset", tiny_shapes)
        yield
