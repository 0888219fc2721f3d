"""Jobs of several processes on the loopback: scheduler, server and two workers, all real."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from runtime import mx, physical_cores

import dist_worker
import numpy as np
import psutil
import pytest
from stopped_runs import PATIENCE, wait_for

from errors import InputError
from records.checkpoints import newest
from training import launch
from training.distributed import Workers
from training.epoch import seed_step

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "training.launch", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def finish(process):
    output, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, output


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """Return flags for two hosts, which a stand-in for ssh reaches: it runs the command here."""
    (tmp_path / "ssh").write_text('#!/bin/bash\necho "$@" >> "$0.log"\nexec bash -c "${@: -1}"\n')
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "hosts").write_text("127.0.0.1\nme@localhost\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return ["--hosts", tmp_path / "hosts"]


@pytest.mark.parametrize("cluster", ["local", "ssh"])
def test_two_workers_take_the_steps_of_one(cluster, hosts, tmp_path, monkeypatch):
    script = ROOT / "tests" / "training" / "dist_worker.py"
    monkeypatch.delenv("OMP_NUM_THREADS")
    flags = hosts if cluster == "ssh" else []
    code, output = finish(start("--workers", 2, *flags, "--", script, tmp_path, "dist_sync"))
    assert code == 0, output
    dist_worker.main(str(tmp_path), "device")
    one, other, alone = (dict(np.load(tmp_path / f"{n}.npz")) for n in ("2-0", "2-1", "1-0"))
    threads = int(one.pop("threads")), int(other.pop("threads")), int(alone.pop("threads"))
    if cluster == "ssh":
        assert len((tmp_path / "ssh.log").read_text().splitlines()) == 3
    else:  # two workers that take all cores each train three times as slowly as one process
        assert threads[0] == threads[1] == max(1, physical_cores() // 2)
    seen, others = one.pop("seen"), other.pop("seen")
    assert not {image.tobytes() for image in seen} & {image.tobytes() for image in others}
    assert len(seen) + len(others) == len(alone["seen"])
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
        np.testing.assert_allclose(one[name], alone[name], rtol=1e-4, atol=1e-5)


TRAIN = [
    *(ROOT / "tests" / "tiny_train.py", "--kvstore", "dist_sync", "--dataset", "shapes"),
    *("--model", "resnet20_sd", "--batch-size", "16", "--val-size", "32"),
    *("--checkpoint-minutes", "0.005", "--log-interval", "1"),
]


def test_a_dead_worker_ends_the_job_and_the_job_goes_on_from_its_checkpoint(tmp_path):
    run = tmp_path / "run"
    flags = ["--run-dir", tmp_path, "--name", "run", "--epochs", "50"]
    job = start("--", *TRAIN, *flags)
    wait_for(lambda: [*run.glob("checkpoints/epoch-*")], job)
    processes = psutil.Process(job.pid).children()
    worker = next(each for each in processes if each.environ()["DMLC_ROLE"] == "worker")
    worker.kill()
    code, output = finish(job)
    assert code == 137
    assert re.search(r"worker \d on this machine has ended with .* 137; .*--resume", output)
    assert not any(process.is_running() for process in processes)
    saved = newest(run / "checkpoints").progress

    job = start("--", TRAIN[0], "--resume", run)
    moved = saved.epoch + 2
    wait_for(lambda: f"epoch {moved}/50 step" in (run / "train.log").read_text(), job)
    job.send_signal(signal.SIGTERM)
    code, output = finish(job)
    assert code == 128 + signal.SIGTERM, output
    assert f"from epoch-{saved.epoch:05d}-step-{saved.step:06d}" in output
    assert "stopped by SIGTERM" in output
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, len(lines) + 1))


def test_nothing_outlives_a_launcher_that_is_killed(tmp_path):
    job = start("--", *TRAIN, "--run-dir", tmp_path, "--name", "run", "--epochs", "1000")
    wait_for(lambda: [*tmp_path.glob("run/checkpoints/epoch-*")], job)
    job.kill()
    finish(job)  # its output ends when nobody is left who could write to it


def test_a_job_that_cannot_start_says_why(tmp_path):
    data = ["--dataset", "folder", "--data-dir", "nowhere"]
    code, output = finish(start("--", *TRAIN, *data, "--run-dir", tmp_path))
    assert code == 2
    (line,) = set(output.splitlines())  # of each worker the same
    assert line.startswith("error: there is no folder nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_cannot_be_reached_ends_the_job(hosts, tmp_path):
    (tmp_path / "ssh").write_text("#!/bin/sh\nexit 255\n")
    code, output = finish(start(*hosts, "--", *TRAIN, "--run-dir", tmp_path))
    assert code == 255
    assert "on 127.0.0.1 has ended with exit code 255" in output


def test_workers_that_would_train_alone_are_refused(monkeypatch):
    monkeypatch.setenv("DMLC_ROLE", "worker")
    with pytest.raises(InputError, match="with --kvstore dist_sync only"):
        Workers("device")


def draw(*place):
    seed_step(*place)
    return mx.nd.Dropout(mx.nd.ones((64,)), p=0.5, mode="always").asnumpy().tolist()


def test_dropout_depends_on_seed_step_and_worker_and_nothing_before():
    first = draw(0, 3, 0)
    draw(5, 5, 5)
    assert draw(0, 3, 0) == first
    assert len({tuple(draw(*place)) for place in [(0, 3, 0), (0, 3, 1), (0, 4, 0), (1, 3, 0)]}) == 4


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "nothing to start"),
        (["--", "nosuch.py"], "nothing to start"),
        (["--hosts", "nowhere", "--", "train_cifar10.py"], "--hosts nowhere: No such file"),
        (["--hosts", os.devnull, "--", "train_cifar10.py"], "names no machine"),
        (["--hosts", "{hosts}", "--", "train_cifar10.py"], "cannot find no.such.machine"),
        (["--servers", "0", "--", "train_cifar10.py"], "must be at least 1"),
    ],
)
def test_what_the_launcher_cannot_use_is_refused(flags, told, refused, monkeypatch, tmp_path):
    (tmp_path / "hosts").write_text("no.such.machine")
    monkeypatch.chdir(ROOT)
    assert told in refused(launch.main, [flag.format(hosts=tmp_path / "hosts") for flag in flags])
