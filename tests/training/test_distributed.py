"""Jobs of several processes on the loopback: scheduler, server and two workers, all real."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from runtime import mx, physical_cores

import numpy as np
import psutil
import pytest

from errors import InputError
from records.checkpoints import newest
from training import launch
from training.distributed import Workers
from training.epoch import seed_step

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = [sys.executable, "-m", "training.launch"]
# Far more than a job takes, so that a job that hangs fails the test instead of holding it up.
PATIENCE = 240


def start(*arguments, **given):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **given}
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.Popen(
        [*LAUNCH, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=ROOT,
    )


def finish(process):
    output, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, output


def load(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


SSH = '#!/bin/bash\necho "$@" >> "$0.log"\nexec bash -c "${@: -1}"\n'


@pytest.mark.parametrize("cluster", ["local", "ssh"])
def test_two_workers_take_the_steps_of_one(cluster, tmp_path):
    """Those of `ssh` by a stand-in that runs the command here, as the real one would there."""
    script = ROOT / "tests" / "training" / "dist_worker.py"
    flags, environment = [], {"OMP_NUM_THREADS": None}
    if cluster == "ssh":
        (tmp_path / "ssh").write_text(SSH)
        (tmp_path / "ssh").chmod(0o755)
        (tmp_path / "hosts").write_text("127.0.0.1\nlocalhost:22\n")
        flags = ["--hosts", tmp_path / "hosts"]
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DMLC_INTERFACE": "lo"}
    job = start("--workers", 2, *flags, "--", script, tmp_path, "dist_sync", **environment)
    code, output = finish(job)
    assert code == 0, output
    subprocess.run([sys.executable, str(script), str(tmp_path), "device"], check=True)
    one, other, alone = (load(tmp_path / f"{name}.npz") for name in ("2-0", "2-1", "1-0"))
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


def wait_for(condition, process):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)


def workers_of(process):
    """Return the workers of a job, by their place in it."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            environment = child.environ()
            if environment.get("DMLC_ROLE") == "worker" and "training.launch" in child.cmdline()[2]:
                found[int(environment["DMLC_TASK_ID"])] = child
        except (psutil.Error, IndexError):
            continue
    return found


def test_a_dead_worker_ends_the_job_and_the_job_goes_on_from_its_checkpoint(tmp_path):
    run = tmp_path / "run"
    flags = ["--run-dir", tmp_path, "--name", "run", "--epochs", "50"]
    job = start("--", *TRAIN, *flags)
    wait_for(lambda: newest(run / "checkpoints", pytest.fail), job)
    victim = workers_of(job)[1]
    victim.kill()
    code, output = finish(job)
    assert code == 1
    assert f"(process {victim.pid}) has closed its connection" in output
    assert "go on with --resume" in output
    saved = newest(run / "checkpoints", pytest.fail).progress

    job = start("--", TRAIN[0], "--resume", run)
    moved = saved["epoch"] + 2
    wait_for(lambda: f"epoch {moved}/50 step" in (run / "train.log").read_text(), job)
    job.send_signal(signal.SIGTERM)
    code, output = finish(job)
    assert code == 128 + signal.SIGTERM, output
    assert f"from epoch-{saved['epoch']:05d}-step-{saved['step']:06d}" in output
    assert "stopped by SIGTERM" in output
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, len(lines) + 1))


def test_a_job_goes_on_where_only_validation_is_left_of_an_epoch(tmp_path):
    flags = ["--epochs", 1, "--run-dir", tmp_path, "--name", "run", "--checkpoint-minutes", 1e-9]
    assert finish(start("--", *TRAIN, *flags))[0] == 0
    end = tmp_path / "run" / "checkpoints" / "epoch-00001-step-000000"
    once = (end / "net.params").read_bytes()
    shutil.rmtree(end)

    code, output = finish(start("--", TRAIN[0], "--resume", tmp_path / "run"))
    assert code == 0, output
    assert "from epoch-00000-step-000008" in output
    assert (end / "net.params").read_bytes() == once


def test_a_job_that_cannot_start_says_why_once(tmp_path):
    data = ["--dataset", "folder", "--data-dir", "nowhere"]
    code, output = finish(start("--", *TRAIN, *data, "--run-dir", tmp_path))
    assert (code, output.count("\n")) == (2, 1), output
    assert output.startswith("error: there is no folder nowhere")
    assert list(tmp_path.iterdir()) == []


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


def supervise(monkeypatch, begin):
    """Return the exit code of a job of which `begin`, given the launcher's port, is all."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(launch, "GRACE", 0.1)
    monkeypatch.setattr(launch, "SILENCE", 0.5)
    monkeypatch.setattr(launch, "start", lambda arguments, command, port: begin(port))
    arguments = argparse.Namespace(cluster="local", workers=1, servers=1)
    return asyncio.run(asyncio.wait_for(launch.supervise(arguments, []), PATIENCE))


def test_silence_is_noticed(monkeypatch, capsys):
    connections = []

    def begin(port):
        connections.append(socket.create_connection(("127.0.0.1", port)))
        connections[0].sendall(b"worker on another planet\n")

    assert supervise(monkeypatch, begin) == 1
    assert "worker on another planet has said nothing" in capsys.readouterr().err
    connections[0].close()


def test_a_process_that_cannot_be_started_ends_the_job(monkeypatch, capsys):
    def begin(port):
        threading.Thread(
            target=subprocess.run, args=["exit 255"], kwargs={"shell": True, "check": True}
        ).start()

    assert supervise(monkeypatch, begin) == 255
    assert "launcher of one process has ended with exit code 255" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "nothing to start"),
        (["--", "nosuch.py"], "there is no script nosuch.py"),
        (["--hosts", "nowhere", "--", "train_cifar10.py"], "there is no such file"),
        (["--workers", "0", "--", "train_cifar10.py"], "must be at least 1"),
        (["--servers", "0", "--", "train_cifar10.py"], "must be at least 1"),
        (["--cluster", "ssh", "--", "train_cifar10.py"], "needs --hosts FILE"),
        (["--cluster", "mpi", "--", "train_cifar10.py"], "needs mpirun, which is not here"),
    ],
)
def test_what_the_launcher_cannot_use_is_refused(flags, told, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(ROOT)
    assert launch.main(flags) == 2
    assert told in capsys.readouterr().err
