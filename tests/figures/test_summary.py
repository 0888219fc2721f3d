"""Runs compared over seeds: what is one row, what is averaged, and what a stranger's files do."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
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
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for name in ("config.json", "metrics.jsonl", "results.json"):
            shutil.copy(finished_run / name, folder / name)
        edit(folder / "config.json", name=folder.name, seed=number % 3, preset=f"recipe{number}")
        edit(folder / "results.json", test_acc_best=0.5 + 0.1 * number)
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        epochs = [
            {**json.loads(line), "train_acc": 0.7, "val_acc": 0.2 + 0.1 * number} for line in lines
        ]
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, epochs)))
    (folders[2] / "results.json").unlink()
    edit(folders[3] / "config.json", lr=0.2)
    return folders


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_seeds_are_averaged_and_unfinished_runs_are_not(runs, capsys):
    for run in runs[:2]:
        edit(run / "results.json", train_seconds=120)
    edit(runs[3] / "results.json", cpu_seconds=90)
    assert summary.main([*map(str, runs)]) == 0
    header, _, *lines = map(cells, capsys.readouterr().out.splitlines())
    first, second = (dict(zip(header, line)) for line in lines)
    assert list(first.values())[:3] == ["resnet20_sd", "lr=0.05", "2"]
    assert first["test error, %"] == "45.00 ± 7.07"
    assert first["of each seed, %"] == "0: 50.00, 1: 40.00"
    assert (first["training error, %"], first["gap, %"]) == ("30.00", "15.00")
    assert (first["minutes"], second["processor minutes"]) == ("2.0", "1.5")
    assert (first["unfinished"], second["unfinished"]) == ("seed 2: 2/2", "–")
    assert (second["settings"], second["test error, %"]) == ("lr=0.2", "20.00")
    described = json.loads((runs[0] / "config.json").read_text())
    assert first["parameters"] == f"{described['parameters']:,}"
    assert summary.main([str(runs[0])]) == 0
    header = cells(capsys.readouterr().out.splitlines()[0])
    assert set(header).isdisjoint({"settings", "unfinished"})  # of which nothing is to be said


def test_the_picture_is_the_mean_in_a_band_of_the_finished_seeds(runs, tmp_path):
    rows = summary.group([summary.read_run(run) for run in runs])
    (axes,) = summary.plot(rows, tmp_path / "runs.png").axes
    assert (tmp_path / "runs.png").stat().st_size > 5000
    training, first, _, second = axes.lines
    np.testing.assert_allclose(first.get_ydata(), [75, 75])
    assert first.get_label() == "resnet20_sd lr=0.05 (2 seeds)"
    assert second.get_color() != first.get_color() == training.get_color()
    np.testing.assert_allclose(training.get_ydata(), [30, 30])
    assert training.get_linewidth() < first.get_linewidth()
    _, band = axes.collections
    assert set(band.get_paths()[0].vertices[:, 1].round(6)) == {70, 80}


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
    for run, letter in zip(runs, "ab"):
        described = json.loads((run / "config.json").read_text())
        described["data"]["fingerprint"] = letter * 64
        (run / "config.json").write_text(json.dumps(described))
    rows = summary.group([summary.read_run(run) for run in runs[:2]])
    assert [row.settings for row in rows] == ["data=aaaaaaaa", "data=bbbbbbbb"]


def test_the_same_run_again_is_told_and_left_out(runs, tmp_path, capsys):
    shutil.copytree(runs[0], tmp_path / "copy")
    assert summary.main([str(runs[0]), str(tmp_path / "copy")]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert "copy has the settings and the seed of another run" in captured.err


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b'{"config": {"lr": "x"}}'),
        ("config.json", b'{"config": {}, "parameters": "many"}'),
        ("results.json", b"[1]"),
        ("results.json", b'{"test_acc_best": NaN, "train_seconds": 1}'),
        ("results.json", b'{"test_acc_best": 0.5, "train_seconds": 1e999}'),
        ("metrics.jsonl", b'{"epoch": 1, "lr": 0.1}'),
        ("metrics.jsonl", b"["),
        ("metrics.jsonl", None),
        ("config.json", None),
        ("config.json", "missing"),
    ],
)
def test_damaged_files_are_told_in_one_line_and_the_other_runs_shown(runs, file, content, capsys):
    (runs[0] / file).unlink()
    if content is None:
        os.mkfifo(runs[0] / file)
    elif content != "missing":
        (runs[0] / file).write_bytes(content)
    assert summary.main([str(runs[0]), str(runs[3])]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("resnet20_sd") == 1
    assert re.fullmatch(r"error: .*/runs/a.*\n", captured.err)


def test_a_strangers_words_steer_neither_table_nor_terminal(runs):
    edit(runs[0] / "config.json", model="=cmd|x\x1b[2J")
    rows = summary.group([summary.read_run(run) for run in runs[:2]])
    assert "| =cmd\\|x\\x1b[2J |" in summary.to_markdown(rows)


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
