"""Settings that every test shares."""

from __future__ import annotations

import os
from pathlib import Path

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


@pytest.fixture
def refused(capsys):
    """Return what runs a command that ends in exit code 2, and returns the line that says why."""

    def run(main, arguments):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return run


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
    from tiny_train import VALIDATION, tiny_shapes

    import export
    from records.config import make_config
    from training import run
    from training.train import train

    chosen = {"model": "resnet20_sd", "epochs": 2, "batch_size": 40, "lr": 0.05}
    place = {"run_dir": str(tmp_path_factory.mktemp("runs")), "name": "first"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "get_dataset", tiny_shapes)
        config = make_config(dataset="shapes", val_size=VALIDATION, **chosen, **place)
        folder = train(config)["run_dir"]
    assert export.main([folder, "--format", "onnx"]) == 0
    return Path(folder)


@pytest.fixture
def caplog(caplog, monkeypatch):
    """Hear a run's log, too, which runs of other tests have sent to the screen alone."""
    from utils import LOG

    monkeypatch.setattr(LOG, "propagate", True)
    return caplog
