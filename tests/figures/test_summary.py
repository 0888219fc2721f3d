"""Runs compared over seeds: what is one row, what is averaged, and what a stranger's files do."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import statistics
import subprocess
import sys

import numpy as np
import pytest

from errors import InputError
from figures import summary


def edit(path, **values):
    described = json.loads(path.read_text())
    place = described["config"] if path.name == "config.json" else described
    place.update(values)
    path.write_text(json.dumps(described))


@pytest.fixture
def runs(tmp_path, finished_run):
    """Return folders: three seeds of one setting, the last of them running, and another setting."""
    folders = [tmp_path / "runs" / name for name in ("a", "b", "c", "d")]
    files = ("config.json", "metrics.jsonl", "results.json")
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for name in files:
            shutil.copy(finished_run / name, folder / name)
        edit(folder / "config.json", name=folder.name, seed=number % 3, preset=f"recipe{number}")
        edit(folder / "results.json", test_acc_best=0.5 + 0.1 * number)
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        epochs = [{**json.loads(line), "val_acc": 0.2 + 0.1 * number} for line in lines]
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, epochs)))
    (folders[2] / "results.json").unlink()
    edit(folders[3] / "config.json", lr=0.2)
    return folders


def test_seeds_are_averaged_and_unfinished_runs_are_not(runs, tmp_path, capsys):
    path = tmp_path / "runs.csv"
    assert summary.main([*map(str, runs), "--csv", str(path)]) == 0
    header, _, first, second = capsys.readouterr().out.splitlines()
    assert header.split("|")[1].strip() == "model"
    cells = [cell.strip() for cell in first.split("|")[1:-1]]
    assert cells[:5] == ["resnet20_sd", "lr=0.05", "2", "45.00 ± 7.07", "0: 50.00, 1: 40.00"]
    assert cells[-1] == "seed 2: 2/2"
    assert "| lr=0.2 |" in re.sub(" +", " ", second)

    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert float(first["test_error_mean"]) == pytest.approx(0.45)
    assert float(first["test_error_std"]) == pytest.approx(statistics.stdev([0.5, 0.4]))
    assert (second["seeds"], second["test_error_std"]) == ("1", "")
    described = json.loads((runs[0] / "config.json").read_text())
    assert int(first["parameters"]) == described["parameters"]
    last = json.loads((runs[0] / "metrics.jsonl").read_text().splitlines()[-1])
    assert float(first["train_error"]) == pytest.approx(1 - last["train_acc"])
    seconds = json.loads((runs[0] / "results.json").read_text())["train_seconds"]
    assert float(first["minutes"]) == pytest.approx(seconds / 60)


def test_the_picture_is_the_mean_in_a_band_of_the_finished_seeds(runs, tmp_path):
    rows = summary.group([summary.read_run(run) for run in runs])
    (axes,) = summary.plot(rows, tmp_path / "runs.png").axes
    assert (tmp_path / "runs.png").stat().st_size > 5000
    training, first, _, second = axes.lines
    np.testing.assert_allclose(first.get_ydata(), [75, 75])
    assert first.get_label() == "resnet20_sd lr=0.05 (2 seeds)"
    assert second.get_color() != first.get_color() == training.get_color()
    history = rows[0].finished[0].history
    expected = [100 * (1 - line["train_acc"]) for line in history]
    np.testing.assert_allclose(training.get_ydata(), expected)
    assert training.get_linewidth() < first.get_linewidth()
    _, band = axes.collections
    assert set(band.get_paths()[0].vertices[:, 1].round(6)) == {70, 80}


def test_the_gap_is_from_training_to_test_and_an_empty_column_is_left_out(runs):
    edit(runs[0] / "results.json", cpu_seconds=90)
    (row,) = summary.group([summary.read_run(runs[0])])
    values = row.values()
    assert values["gap"] == pytest.approx(values["test_error_mean"] - values["train_error"])
    assert values["cpu_minutes"] == 1.5
    header = summary.to_markdown([row]).splitlines()[0]
    assert "gap, %" in header
    assert "settings" not in header
    assert "unfinished" not in header


def test_a_run_that_was_kept_with_its_table_alone_reads_as_before(runs):
    before = summary.read_run(runs[0])
    lines = [json.loads(line) for line in (runs[0] / "metrics.jsonl").read_text().splitlines()]
    with (runs[0] / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    (runs[0] / "metrics.jsonl").unlink()
    assert summary.read_run(runs[0]) == before


def test_a_run_may_be_running_alone_and_without_an_epoch(runs):
    (runs[2] / "metrics.jsonl").unlink()
    rows = summary.group([summary.read_run(runs[2])])
    assert "seed 2: 0/2" in summary.to_markdown(rows)
    with pytest.raises(InputError, match="nothing to plot"):
        summary.plot(rows)


def test_other_images_under_the_same_name_are_another_row(runs):
    described = json.loads((runs[1] / "config.json").read_text())
    described["data"]["fingerprint"] = "b" * 64
    (runs[1] / "config.json").write_text(json.dumps(described))
    rows = summary.group([summary.read_run(run) for run in runs[:2]])
    assert [row.settings for row in rows] == ["data=aaaaaaaa", "data=bbbbbbbb"]


def test_what_is_no_run_or_the_same_run_again_is_told_and_left_out(runs, tmp_path, capsys):
    shutil.copytree(runs[0], tmp_path / "copy")
    arguments = [str(path) for path in (runs[0], runs[0], tmp_path / "copy", tmp_path)]
    assert summary.main(arguments) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert "holds no run" in captured.err
    assert "copy has the settings and the seed of another run" in captured.err
    assert summary.main([str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"config": {"lr": "x"}}'),
        ("config.json", b'{"config": {"nonsense": 1}}'),
        ("config.json", b'{"config": {}, "parameters": "many"}'),
        ("results.json", b"[1]"),
        ("results.json", b'{"test_acc_best": NaN, "train_seconds": 1}'),
        ("results.json", b'{"test_acc_best": 0.5, "train_seconds": 1e999}'),
        ("metrics.jsonl", b'{"epoch": 1, "lr": 0.1}'),
        ("metrics.jsonl", b"["),
        ("metrics.jsonl", None),
        ("config.json", None),
    ],
)
def test_damaged_files_are_told_in_one_line_and_the_other_runs_shown(runs, file, content, capsys):
    (runs[0] / file).unlink()
    if content is None:
        os.mkfifo(runs[0] / file)
    else:
        (runs[0] / file).write_bytes(content)
    assert summary.main([str(runs[0])]) == 2
    assert capsys.readouterr().out == ""
    assert summary.main([str(runs[0]), str(runs[3])]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("resnet20_sd") == 1
    assert re.fullmatch(r"error: .*/runs/a.*\n", captured.err)


def test_a_strangers_words_steer_neither_table_terminal_nor_spreadsheet(runs):
    edit(runs[0] / "config.json", model="=cmd|x\x1b[2J")
    rows = summary.group([summary.read_run(run) for run in runs[:2]])
    assert "| =cmd\\|x\\x1b[2J |" in summary.to_markdown(rows)
    assert b"\n'=cmd|x\\x1b[2J," in summary.to_csv(rows)


@pytest.mark.parametrize(
    ("module", "flag", "lines"),
    [("figures.__main__", "--out", 1), ("figures.summary", "--plot", 4)],
)
def test_pictures_need_no_mxnet(runs, tmp_path, module, flag, lines):
    code = f"import sys; sys.modules['mxnet'] = None; import {module} as m; sys.exit(m.main())"
    command = [sys.executable, "-c", code, *map(str, runs), flag, str(tmp_path / "runs.pdf")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, lines)
    assert (tmp_path / "runs.pdf").stat().st_size > 5000
