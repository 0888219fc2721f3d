"""A run's folder: one writer at a time, and nothing overwritten."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from errors import InputError
from records.run_folder import RunFolder, log_to_screen
from utils import LOG


@pytest.fixture
def folder(tmp_path):
    made = RunFolder.create(tmp_path / "run")
    made.write_json("config.json", {"config": {}})
    yield made
    made.close()


def test_a_folder_with_anything_in_it_is_not_taken_for_a_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not empty"):
        RunFolder.create(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(InputError, match="holds no run"):
        RunFolder.resume(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_second_process_is_refused_and_told_who_writes(folder):
    code = (
        "import sys; from pathlib import Path; from records.run_folder import RunFolder\n"
        "RunFolder.resume(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder.path)], stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 1
    assert "is being written by process " in done.stderr


def test_a_disk_without_locks_is_not_taken_for_a_second_process(tmp_path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(InputError, match=r"cannot lock .*/lock: No locks available"):
        RunFolder.create(tmp_path / "run")


def test_a_killed_process_leaves_no_lock(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from records.run_folder import RunFolder\n"
        "RunFolder.create(Path(sys.argv[1])).write_json('config.json', {})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
    RunFolder.resume(tmp_path / "run").close()


def test_a_run_that_came_to_nothing_leaves_nothing(tmp_path):
    RunFolder.create(tmp_path / "run").close()
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".keep").touch()
    RunFolder.create(tmp_path / "run").close()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".keep"]


def test_the_history_is_rewritten_as_a_whole(folder):
    lines = [{"epoch": 1, "val_acc": None}, {"epoch": 2, "val_acc": 0.5}]
    folder.write_history(lines)
    folder.write_history(lines[:1])
    text = (folder.path / "metrics.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == lines[:1]
    assert (folder.path / "metrics.csv").read_text() == "epoch,val_acc\n1,\n"


def test_the_log_goes_to_the_screen_and_to_the_file(tmp_path, capsys):
    log_to_screen()
    folder = RunFolder.create(tmp_path / "run")
    folder.write_json("config.json", {})
    LOG.info("epoch %d", 1)
    LOG.info("run folder: \x1b[2J")
    folder.close()
    assert capsys.readouterr().out == "epoch 1\nrun folder: \\x1b[2J\n"
    assert (tmp_path / "run" / "train.log").read_text().splitlines()[0].endswith(" epoch 1")


def test_a_log_on_a_full_disk_ends_the_run(tmp_path):
    log_to_screen(quiet=True)
    folder = RunFolder.create(tmp_path / "run")
    folder.write_json("config.json", {})
    folder._log.setStream(open("/dev/full", "w")).close()  # noqa: SIM115
    with pytest.raises(InputError, match="No space left"):
        LOG.info("one line too many")
    folder.close()


def test_a_run_goes_on_without_tensorboardx(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    log_to_screen()
    folder = RunFolder.create(tmp_path / "run")
    for epoch in (1, 2):
        folder.write_events({"epoch": epoch, "train_loss": 1.0})
    folder.close()
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "no TensorBoard events will be written: tensorboardX is not installed"
