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
from typing import Any, Callable, Mapping, NamedTuple, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# Before runtime prepares this process for MXNet: rivals prepare theirs as they do by themselves.
_ENVIRONMENT = dict(os.environ)
_PACKAGES = ("mxnet", "torch", "onnxruntime", "numpy")


def serve(step: Callable[[], Any], warm_up: int = 2) -> None:
    """Be a contender: take a round of steps for each number read from standard input.

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
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        _answer(seconds=time.perf_counter() - start)


def _answer(**facts: Any) -> None:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("contest " + json.dumps({**facts, "peak_mb": peak_mb}), flush=True)


class Result(NamedTuple):
    """What a contender did.

    Attributes
    ----------
    seconds : list of float
        A step's, one a round; empty if it failed.
    peak_mb : float
        Largest resident memory of its process.
    fault : str
        The last line that it printed before it failed, or "".
    """

    seconds: list[float]
    peak_mb: float = 0.0
    fault: str = ""

    @property
    def median(self) -> float:
        """The median step, in seconds; infinite if it failed."""
        return statistics.median(self.seconds) if self.seconds else float("inf")


def compete(
    commands: Mapping[str, Sequence[str]],
    rounds: int,
    steps: int,
    environments: Mapping[str, Mapping[str, str]],
) -> dict[str, Result]:
    """Measure contenders in turn.

    Parameters
    ----------
    commands : mapping of str to sequence of str
        By the contender's name: arguments to Python, beginning with a script that calls `serve`.
    rounds, steps : int
        Rounds, and steps in each.
    environments : mapping of str to mapping of str to str
        Variables of the contenders named. All have ``OMP_NUM_THREADS``, the number of cores, unless
        it is among these.

    Returns
    -------
    dict of str to Result
    """
    running = {}
    results = {name: Result([]) for name in commands}
    for name, command in commands.items():
        running[name] = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**_ENVIRONMENT, "OMP_NUM_THREADS": str(cores()), **environments.get(name, {})},
        )
        # One after the other: warming up, too, wants the machine to itself.
        results[name] = _heard(running, name, results[name])
    for _ in range(rounds):
        for name, process in list(running.items()):
            assert process.stdin is not None
            process.send_signal(signal.SIGCONT)
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
            results[name] = _heard(running, name, results[name], steps)
    for process in running.values():
        process.send_signal(signal.SIGCONT)
        process.communicate()
    return results


def _heard(
    running: dict[str, subprocess.Popen], name: str, result: Result, steps: int = 1
) -> Result:
    """Wait for a contender's answer; one that ended without is struck off."""
    output, line = running[name].stdout, ""
    assert output is not None
    for text in output:
        line = text.strip() or line
        if line.startswith("contest "):
            facts = json.loads(line[len("contest ") :])
            taken = [facts["seconds"] / steps] if "seconds" in facts else []
            running[name].send_signal(signal.SIGSTOP)
            return Result(result.seconds + taken, facts["peak_mb"])
    code = running.pop(name).wait()
    return Result([], fault=f"ended by signal {-code}" if code < 0 else line)


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
