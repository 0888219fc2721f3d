"""Contenders measured in turn, each in a process of its own: what the comparing benchmarks share.

A benchmark script runs itself once for each contender. That process prepares, takes a few steps to
warm up, and then, whenever it is told to, takes a round of steps and says how long they took.
Rounds alternate between the contenders: a machine whose speed drifts treats all alike. Who does not
have the turn is stopped, since threads that wait by spinning would disturb the others.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# Before runtime prepares this process for MXNet: rivals prepare theirs as they do by themselves.
_ENVIRONMENT = dict(os.environ)
_PACKAGES = ("mxnet", "torch", "onnxruntime", "numpy")


def serve(step: Callable[[], Any], warm_up: int = 2) -> None:
    """Be a contender: take a round of steps for each number read from standard input.

    One more comes first and does not count: to a process that was stopped, caches are cold.

    Parameters
    ----------
    step : callable
        Takes one step and returns when it is computed.
    warm_up : int, default 2
        Steps to take first.
    """
    for _ in range(warm_up):
        step()
    _answer()
    for line in sys.stdin:
        step()
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        _answer(seconds=time.perf_counter() - start)


def _answer(**facts: Any) -> None:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("contest " + json.dumps({**facts, "peak_mb": peak_mb}), flush=True)


class Contender:
    """A contender's process, and what it did; started in turn, it warms up with nobody beside it.

    Parameters
    ----------
    command : sequence of str
        Arguments to Python, beginning with a script that calls `serve`.
    environment : mapping of str to str
        Variables beside ``OMP_NUM_THREADS``, which is the number of cores unless it is among them.

    Attributes
    ----------
    seconds : list of float
        A step's, one a round; empty if it failed.
    peak_mb : float
        Largest resident memory of its process.
    fault : str
        The last line that it printed before it failed, or "".
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.seconds: list[float] = []
        self.peak_mb, self.fault = 0.0, ""
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**_ENVIRONMENT, "OMP_NUM_THREADS": str(cores()), **environment},
        )
        self._listen()

    @property
    def median(self) -> float:
        """The median step, in seconds; infinite if it failed."""
        return statistics.median(self.seconds) if self.seconds else float("inf")

    def take(self, steps: int) -> None:
        """Have it take a round of steps, unless it has failed."""
        if not self.fault:
            assert self._process.stdin is not None
            self._process.send_signal(signal.SIGCONT)
            print(steps, file=self._process.stdin, flush=True)
            self._listen(steps)

    def end(self) -> None:
        """Let its process end."""
        self._process.send_signal(signal.SIGCONT)
        self._process.communicate()

    def _listen(self, steps: int = 1) -> None:
        assert self._process.stdout is not None
        line = ""
        for text in self._process.stdout:
            line = text.strip() or line
            if line.startswith("contest "):
                facts = json.loads(line[len("contest ") :])
                self.seconds += [facts["seconds"] / steps] if "seconds" in facts else []
                self.peak_mb = facts["peak_mb"]
                self._process.send_signal(signal.SIGSTOP)
                return
        code, self.seconds = self._process.wait(), []
        self.fault = f"ended by signal {-code}" if code < 0 else line or "ended without a word"


def cores() -> int:
    """Return the number of threads to give: that of physical cores."""
    from runtime import physical_cores

    return physical_cores()


def describe_machine() -> str:
    """Return processor, threads, system and versions in one line."""
    from runtime import processor_name

    installed = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {installed[name]}" for name in _PACKAGES if name in installed]
    return f"{processor_name()}, {cores()} threads, {platform.system()}; {', '.join(versions)}"


def median_and_range(values: Sequence[float], digits: int = 1) -> str:
    """Return the median and the extremes."""
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"
