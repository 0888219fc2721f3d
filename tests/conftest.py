"""Settings that every test shares."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")  # no test opens a window
os.environ.setdefault("OMP_NUM_THREADS", "1")  # `make test` runs two tests at a time

settings.register_profile("project", deadline=None)  # nothing here depends on a machine's speed
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def mxnet_home(tmp_path_factory):
    """Keep tests, and what they start, away from the data sets in the user's own MXNet folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MXNET_HOME", str(tmp_path_factory.mktemp("mxnet_home")))
        yield


@pytest.fixture(scope="module")
def tiny_images():
    """Let runs in this process train on a few of the embedded images."""
    from tiny_train import tiny_shapes

    from training import run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "get_dataset", tiny_shapes)
        yield


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Return the folder of a run on a few images, exported as a symbol and as ONNX."""
    from exported import train_run

    import export

    folder = train_run(tmp_path_factory.mktemp("runs"), "first")
    assert export.main([str(folder), "--format", "onnx"]) == 0
    return folder
