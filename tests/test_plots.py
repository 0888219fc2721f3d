"""Curves from metrics.jsonl, drawn without MXNet."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image

import plots
from errors import InputError


def write_run(folder, epochs=3, validated=True):
    folder.mkdir()
    with (folder / "metrics.jsonl").open("w") as file:
        for epoch in range(1, epochs + 1):
            line = {"epoch": epoch, "lr": 0.1, "train_loss": 2.0 / epoch, "train_acc": 0.3}
            line.update(val_loss=1.5 if validated else None, val_acc=0.5 if validated else None)
            print(json.dumps(line), file=file)
    return folder


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_runs_with_and_without_validation_are_drawn(tmp_path, suffix):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", 1, False)]
    plots.plot_curves(runs, tmp_path / f"curves.{suffix}")
    assert (tmp_path / f"curves.{suffix}").stat().st_size > 5000


def test_a_run_without_an_epoch_yet_is_drawn_empty(tmp_path):
    plots.plot_curves([write_run(tmp_path / "a", 0)], tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 1000


def test_the_command_line_needs_no_mxnet(tmp_path):
    run, out = write_run(tmp_path / "a"), tmp_path / "curves.png"
    code = "import sys; sys.modules['mxnet'] = None; import plots; sys.exit(plots.main())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), "--out", str(out)], stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0
    assert done.stdout.strip() == str(out)
    assert out.exists()


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(InputError, match="is it a run folder"):
        plots.plot_curves([tmp_path], tmp_path / "curves.png")
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(InputError, match="line 2 is not an epoch"):
        plots.plot_curves([tmp_path], tmp_path / "curves.png")


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    run = write_run(tmp_path / "a")
    for out in (tmp_path / "nowhere" / "curves.png", tmp_path / "curves.docx"):
        with pytest.raises(InputError, match="cannot write"):
            plots.plot_curves([run], out)
