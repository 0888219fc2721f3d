"""A run is told to stop, and goes where it can go on from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from training.signals import StopSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_the_first_signal_is_noted(number):
    before = signal.signal(number, signal.SIG_DFL)  # it may be ignored, as under nohup
    with StopSignals() as stop:
        assert stop.received == 0
        os.kill(os.getpid(), number)
        assert stop.received == number
    assert signal.signal(number, before) == signal.SIG_DFL


CODE = """
import os, signal
from training.signals import StopSignals
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
with StopSignals() as stop:
    os.kill(os.getpid(), signal.SIGHUP)
    assert stop.received == 0, "under nohup, a lost terminal stops nothing"
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.received == signal.SIGINT
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_one_that_is_ignored_stays_so_and_the_second_kills():
    done = subprocess.run(["nohup", sys.executable, "-c", CODE], timeout=60)
    assert done.returncode == -signal.SIGINT
