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
    before = signal.getsignal(signal.SIGINT)
    with StopSignals() as stop:
        assert stop.received == 0
        os.kill(os.getpid(), number)
        assert stop.received == number
    assert signal.getsignal(signal.SIGINT) == before


def test_under_nohup_a_lost_terminal_stops_nothing():
    code = (
        "import os, signal; from training.signals import StopSignals\n"
        "with StopSignals() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    assert stop.received == 0\n"
    )
    assert subprocess.run(["nohup", sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_second_signal_kills():
    code = (
        "import os, signal; from training.signals import StopSignals\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"  # a shell's background jobs ignore it
        "with StopSignals() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    assert stop.received == signal.SIGINT\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGINT
