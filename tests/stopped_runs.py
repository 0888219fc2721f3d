"""Runs that are stopped and resumed in a test, and whether two are the same to the bit."""

from __future__ import annotations

import contextlib
import csv
import json
import signal
import time

import numpy as np
import pytest

from records.checkpoints import find
from records.flags import parse_args
from training.epoch import StoppedError
from training.train import train
from weights.params_file import read_params

# Far more than a job takes, so that one that hangs fails the test instead of holding it up.
PATIENCE = 240
# Dropout, mixup and an uneven number of images a batch: everything that is drawn is drawn.
FLAGS = [
    *("--dataset", "shapes", "--model", "densenet_bc40_k16", "--depth", "16", "--epochs", "3"),
    *("--batch-size", "24", "--val-size", "40", "--dropout", "0.2", "--mixup", "0.4"),
    *("--augment-off-epochs", "1", "--lr-schedule", "cosine", "--ctx", "cpu"),
]


def start(folder, *flags, name="run"):
    config = parse_args([*FLAGS, "--run-dir", str(folder), "--name", name, *flags])
    return train(config)


def resume(folder, *flags):
    return train(parse_args(["--resume", str(folder), *flags]))


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    with open(folder / "metrics.csv", newline="") as table:
        rows = [
            {k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(table)
        ]
    assert rows == lines
    return [
        {k: v for k, v in line.items() if not k.endswith(("_seconds", "_second"))} for line in lines
    ]


@contextlib.contextmanager
def stopped_after(steps):
    """Let a signal arrive after so many steps of a run in the block, and expect it to stop."""

    class Signals(contextlib.nullcontext):
        asked = 0

        def __enter__(self):
            return self

        @property
        def received(self):
            self.asked += 1
            return signal.SIGTERM if self.asked >= steps else 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.train.StopSignals", Signals)
        with pytest.raises(StoppedError) as stopped:
            yield
    assert stopped.value.exit_code == 143


def wait_for(happened, process=None):
    """Wait until something has happened, as long as a process, if it is given, is running."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert not process or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


def exported(folder):
    path = folder / "export" / "model-0000.params"
    return [*read_params(path.read_bytes(), path).values()]


def assert_same(folder, undisturbed):
    assert find(folder).files == find(undisturbed).files
    assert metrics(folder) == metrics(undisturbed)
    np.testing.assert_equal(exported(folder), exported(undisturbed))
