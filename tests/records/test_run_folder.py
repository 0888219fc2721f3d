"""A run's folder: one writer at a time, and nothing overwritten."""

from __future__ import annotations

import errno
import importlib.util
import os
import subprocess
import sys
from contextlib import closing

import pytest

from errors import InputError
from records.run_folder import RunFolder, log_to_screen
from utils import LOG


def test_a_folder_with_anything_in_it_is_not_taken_for_a_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not empty"):
        RunFolder.create(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(InputError, match="holds no run"):
        RunFolder.resume(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_second_process_is_refused_and_told_who_writes(tmp_path):
    with closing(RunFolder.create(tmp_path)) as folder:
        folder.write_json("config.json", {})
        with pytest.raises(InputError, match=f"is being written by process {os.getpid()} on "):
            RunFolder.resume(tmp_path)  # a lock is an open file's, so that it holds here, too


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


def test_the_log_goes_to_the_screen_and_to_the_file(tmp_path, capsys):
    log_to_screen()
    folder = RunFolder.create(tmp_path / "run")
    folder.write_json("config.json", {})
    LOG.info("epoch %d", 1)
    LOG.info("run folder: \x1b[2J\udcff")  # what Python makes of a name that is not in UTF-8
    folder.close()
    assert capsys.readouterr().out == "epoch 1\nrun folder: \\x1b[2J\\udcff\n"
    first, second = (tmp_path / "run" / "train.log").read_text().splitlines()
    assert first.endswith(" epoch 1")
    assert second.endswith(r" run folder: \x1b[2J\udcff")


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
