"""A study's runs are taken once, go on after whatever stopped them, and leave little."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
from stopped_runs import wait_for
from stub import entry, keep

from errors import InputError
from studies import runner, study
from utils import to_json

EPOCHS = 40
# A runner in a process of its own, which can be killed.
CODE = """
import json, sys
from pathlib import Path
from studies import runner, study
from records.config import Config
runner.NICEST, study.ROOT = 0, Path(sys.argv[1])
config = Config.from_dict(json.loads(sys.argv[2]))
runner.run([study.Entry("stub", "a", config)], jobs=1)
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Run in a folder of its own; and let tests be done also where the machine is at work."""
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "NICEST", 0)


def test_a_run_survives_its_runner_and_is_taken_once(tmp_path, capfd):
    """Its runner is killed, another finds it running, and a third one goes on with it."""
    long = entry(EPOCHS)
    command = [sys.executable, "-c", CODE, str(tmp_path), to_json(long.config.to_dict()).decode()]
    first = subprocess.Popen(command, cwd=runner.ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: long.epochs_done() > 0)
    number = int((long.working / "lock").read_text().split()[1])
    os.kill(number, signal.SIGSTOP)  # so that it is not done before it has been found
    first.kill()
    first.wait()
    try:
        assert runner.run([long], jobs=1) == 2
        assert not long.done
    finally:
        os.kill(number, signal.SIGTERM)
        os.kill(number, signal.SIGCONT)
    told = capfd.readouterr().err.splitlines()
    assert [line for line in told if f"is being written by process {number}" in line] == told[-1:]
    wait_for(lambda: not os.path.exists(f"/proc/{number}/exe"))
    before = (long.working / "metrics.jsonl").read_bytes()
    assert 0 < long.epochs_done() < EPOCHS

    assert runner.run([long], jobs=1) == 0
    assert long.done
    assert (long.working / "metrics.jsonl").read_bytes().startswith(before)
    assert long.differences() == ""
    assert {path.name for path in long.kept.iterdir()} == {
        *("config.json", "metrics.csv", "results.json")
    }
    described = (long.kept / "config.json").read_text()
    assert str(tmp_path) not in described
    assert "name" not in json.loads(described)["host"]


def test_what_is_done_is_left_alone(monkeypatch):
    monkeypatch.setattr(runner, "start", lambda *_: pytest.fail("it is done"))
    assert runner.run([keep(entry())], jobs=1) == 0
    # Also if another runner has done it since this one began.
    monkeypatch.setattr(runner, "get_dataset", lambda *_: keep(entry(seed=1)))
    assert runner.run([entry(seed=1)], jobs=1) == 0


def test_a_run_that_cannot_be_kept_stops_the_others(monkeypatch):
    commands = iter([["true"], ["sleep", "600"]])
    monkeypatch.setattr(
        runner, "start", lambda *_: (subprocess.Popen(next(commands)), io.BytesIO())
    )
    with pytest.raises(InputError, match=r"a-seed0/config\.json cannot be read"):
        runner.run([entry(), entry(seed=1)], jobs=2)
    assert psutil.Process().children() == []


def test_time_that_is_up_stops_a_run_whatever_it_is_doing(capsys):
    assert runner.run([entry(), entry(seed=1)], hours=1e-9, jobs=1) == 0
    assert capsys.readouterr().out.splitlines() == [
        "stub: a-seed0 starts",
        "stub: a-seed0 stopped after 0 epochs",
    ]


def test_data_that_are_not_cifar10s_are_refused_once_and_before_any_run(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "start", lambda *_: pytest.fail("there is nothing to train on"))
    for number in range(1, 6):
        (tmp_path / f"data_batch_{number}.bin").write_bytes(b"no images")
    (tmp_path / "test_batch.bin").write_bytes(b"no images")
    cifar = entry(dataset="cifar10")
    with pytest.raises(InputError, match="data_batch_1"):
        runner.run([cifar], str(tmp_path), jobs=1)
