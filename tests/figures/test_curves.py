"""Curves from metrics.jsonl, drawn without MXNet."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

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
def test_runs_with_and_without_validation_or_an_epoch_are_drawn(tmp_path, suffix):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", 1, False)]
    runs.append(write_run(tmp_path / "c", 0))
    curves.plot_curves(runs, tmp_path / f"curves.{suffix}")
    assert (tmp_path / f"curves.{suffix}").stat().st_size > 5000


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(InputError, match="is it a run folder"):
        curves.plot_curves([tmp_path], tmp_path / "curves.png")
    for line in (b'{"epo', b'{"epoch": 2}', b'{"epoch": Infinity, "lr": 1}', b"\xff", b"[" * 99999):
        (tmp_path / "metrics.jsonl").write_bytes(b'{"epoch": 1, "lr": 0.1}\n' + line)
        with pytest.raises(InputError, match="line 2 is not an epoch"):
            curves.plot_curves([tmp_path], tmp_path / "curves.png")


def test_a_picture_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    run = write_run(tmp_path / "a")
    monkeypatch.setenv("PATH", "")  # on which .pgf looks for a TeX
    for name in ("nowhere/curves.png", "curves.docx", "curves.pgf"):
        with pytest.raises(InputError, match="cannot write"):
            curves.plot_curves([run], tmp_path / name)


@pytest.mark.parametrize("validated", [False, True])
def test_the_legend_names_what_is_drawn_whatever_it_is_called(tmp_path, validated):
    run = write_run(tmp_path / "猫 $x$", validated=validated)
    figure = curves.plot_curves([run], tmp_path / "x.png")
    loss, error, _ = ([list(line.get_ydata()) for line in axes.lines] for axes in figure.axes)
    assert loss == [[2, 1, pytest.approx(2 / 3)], *[[1.5] * 3] * validated]
    assert error == [pytest.approx([70] * 3), *[[50] * 3] * validated]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [r"? \$x\$", "training"] + ["validation"] * validated


def test_a_confusion_matrix_says_what_its_axes_are_whatever_the_classes_are_called():
    axes = pictures.draw_confusion(np.eye(2, dtype=int), ["猫", "x\x1b"]).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [text.get_text() for text in axes.get_yticklabels()] == ["?", "x?"]
    axes.figure.savefig(io.BytesIO(), format="png")  # raises where it cannot be drawn
