"""Curves from metrics.jsonl, drawn without MXNet."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from errors import InputError
from figures import curves, pictures


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
    curves.plot_curves(runs, tmp_path / f"curves.{suffix}")
    assert (tmp_path / f"curves.{suffix}").stat().st_size > 5000


def test_a_run_without_an_epoch_yet_is_drawn_empty(tmp_path):
    curves.plot_curves([write_run(tmp_path / "a", 0)], tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 1000


def test_the_command_line_needs_no_mxnet(tmp_path):
    run, out = write_run(tmp_path / "a"), tmp_path / "curves.png"
    code = (
        "import sys; sys.modules['mxnet'] = None; import figures.__main__ as f; sys.exit(f.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), "--out", str(out)], stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0
    assert done.stdout.strip() == str(out)
    assert out.exists()


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(InputError, match="is it a run folder"):
        curves.plot_curves([tmp_path], tmp_path / "curves.png")
    for line in (b'{"epo', b'{"epoch": 2}', b'{"epoch": Infinity, "lr": 1}', b"\xff", b"[" * 99999):
        (tmp_path / "metrics.jsonl").write_bytes(b'{"epoch": 1, "lr": 0.1}\n' + line)
        with pytest.raises(InputError, match="line 2 is not an epoch"):
            curves.plot_curves([tmp_path], tmp_path / "curves.png")


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    run = write_run(tmp_path / "a")
    for out in (tmp_path / "nowhere" / "curves.png", tmp_path / "curves.docx"):
        with pytest.raises(InputError, match="cannot write"):
            curves.plot_curves([run], out)


@pytest.mark.parametrize("validated", [False, True])
def test_the_legend_names_what_is_drawn(tmp_path, validated):
    (legend,) = curves.plot_curves([write_run(tmp_path / "run", validated=validated)]).legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["run", "training"] + ["validation"] * validated


def test_a_run_may_have_any_name(tmp_path):
    (legend,) = curves.plot_curves([write_run(tmp_path / "猫 $x$")], tmp_path / "x.png").legends
    assert legend.get_texts()[0].get_text() == r"? \$x\$"


def drawn(figure):
    """Return what a figure looks like; raises where it cannot be drawn."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def test_curves_are_shown_anew_after_each_epoch_and_at_the_end(tmp_path):
    shown, looked = [], threading.Event()

    def show(figure):
        shown.append(len(figure.axes[0].lines[0].get_xdata()))
        looked.set()

    with curves.live_curves(tmp_path / "a", show, seconds=0.01):
        write_run(tmp_path / "c", 2).rename(tmp_path / "a")
        assert looked.wait(20)
        write_run(tmp_path / "b", 3)
        os.replace(tmp_path / "b" / "metrics.jsonl", tmp_path / "a" / "metrics.jsonl")
    assert shown == [2, 3]


def test_a_run_that_fails_before_its_first_epoch_shows_nothing(tmp_path):
    shown = []
    drawing = curves.live_curves(tmp_path / "a", shown.append, seconds=0.01)
    with pytest.raises(InputError, match="no data"), drawing:
        raise InputError("no data")
    assert shown == []


def test_a_confusion_matrix_says_what_its_axes_are_whatever_the_classes_are_called():
    axes = pictures.draw_confusion(np.eye(2, dtype=int), ["猫", "x\x1b"]).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [text.get_text() for text in axes.get_yticklabels()] == ["?", "x?"]
    assert drawn(axes.figure)
