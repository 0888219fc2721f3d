"""A study's runs, as processes of their own, several at a time, out of everybody's way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Sequence

from runtime import physical_cores

from datasets import get_dataset
from errors import one_line, tell
from records.run_folder import describe_environment
from studies.study import ROOT, Entry, Measurement, anonymise, results_of
from training.signals import StopSignals
from utils import to_json, write_atomically

_LOOK = 0.2  # seconds between looks at the processes
NICEST = 19


def start(entry: Entry, data_dir: str | None, threads: int) -> tuple[subprocess.Popen, IO[bytes]]:
    """Begin a run, or go on with it, at the lowest priority; its log is in its folder.

    Parameters
    ----------
    entry : Entry
    data_dir : str, optional
        Where CIFAR-10 is.
    threads : int
        To compute with.

    Returns
    -------
    process : subprocess.Popen
    errors : file
        What it says to stderr; a pipe that nobody reads would fill up, and stop the run.
    """
    flags = ["--resume", str(entry.working)]
    if not os.path.exists(entry.working / "config.json"):
        recipe = entry.working / ".recipe.json"
        write_atomically(recipe, to_json({"config": entry.config.to_dict()}), make_folder=True)
        flags = ["--preset", str(recipe)]
        flags += ["--run-dir", str(entry.working.parent), "--name", entry.name]
    if data_dir:
        flags += ["--data-dir", os.path.abspath(data_dir)]
    with one_line(f"cannot write {entry.working}"):
        path = entry.working / ".errors"
        path.unlink(missing_ok=True)  # another runner's of the same run stays its own
        errors = open(path, "w+b")  # noqa: SIM115 (closed by `_ended`)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train_cifar10.py"), *flags],
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        start_new_session=True,  # Ctrl-C is for the runner, which passes it on
    )
    with contextlib.suppress(OSError):  # it may have ended; or another kind of system
        os.setpriority(os.PRIO_PROCESS, process.pid, NICEST)
        # Linux shares the processors between sessions first, and heeds `nice` within each alone.
        Path(f"/proc/{process.pid}/autogroup").write_text(str(NICEST))
    return process, errors


def run(
    entries: Sequence[Entry], data_dir: str | None = None, hours: float = 1e6, *, jobs: int
) -> int:
    """Take the missing runs, one after the other, until all are done, time is up or a signal comes.

    Whatever is running then saves a checkpoint, and goes on the next time.

    Parameters
    ----------
    entries : sequence of Entry
        Those that are done are left alone.
    data_dir : str, optional
        Where CIFAR-10 is.
    hours : float
        When to stop.
    jobs : int
        Runs at a time, which share the cores: as many as these, of one thread each, get more
        images a second through than one run on all of them.

    Returns
    -------
    int
        The exit code: 0; 2 if a run was refused, which is told; 3 if one diverged; or that of the
        signal.

    Raises
    ------
    InputError
        If the data cannot be used: once, and before any run; what has to be downloaded then is.
        Or if what a run begins with or leaves cannot be written: then the others are stopped.
    """
    threads = max(1, physical_cores() // jobs)
    waiting = [entry for entry in entries if not entry.done]
    if not waiting:
        _say("nothing is missing: to repeat a run, remove its folders in results and runs")
    for name in {entry.config.dataset for entry in waiting}:
        get_dataset(name, data_dir)
    running: dict[subprocess.Popen, tuple[Entry, IO[bytes]]] = {}
    deadline, code, asked = time.monotonic() + 3600 * hours, 0, False
    with StopSignals() as stop:
        try:
            while running or (waiting and not asked):
                while waiting and len(running) < jobs and not asked:
                    entry = waiting.pop(0)
                    if entry.done:  # by another runner, meanwhile
                        continue
                    _say(f"{entry.study}: {entry.name} starts")
                    process, errors = start(entry, data_dir, threads)
                    running[process] = entry, errors
                if not asked and (stop.received or time.monotonic() > deadline):
                    asked = True
                    for process in running:
                        process.terminate()
                for process in [process for process in running if process.poll() is not None]:
                    code = max(code, _ended(process, *running.pop(process)))
                time.sleep(_LOOK)
        finally:
            for process in running:
                if not asked:  # a second signal would end it while it saves
                    process.terminate()
            for process, (_, errors) in running.items():
                process.wait()
                errors.close()
    return 128 + stop.received if stop.received else code


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # that nobody reads it is no reason to stop
        print(line, flush=True)


def _ended(process: subprocess.Popen, entry: Entry, errors: IO[bytes]) -> int:
    """Keep what a run leaves, or say why it has ended without."""
    with errors:
        errors.seek(0)
        text = errors.read().decode(errors="replace")
    if process.returncode == 0:
        entry.keep()
        _say(f"{entry.study}: {entry.name} is done")
        return 0
    if process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM):  # the latter while starting
        _say(f"{entry.study}: {entry.name} stopped after {entry.epochs_done()} epochs")
        return 0
    lines = [line for line in text.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"exit code {process.returncode}"
    tell(f"{entry.study}: {entry.name}: {reason.replace('error: ', '', 1)}")
    return 3 if process.returncode == 3 else 2


def measure(name: str, study: Measurement, data_dir: str | None) -> None:
    """Measure what a study asks, and keep it beside what it depends on.

    Raises
    ------
    InputError
        If the data cannot be used, or the file not be written.
    """
    found = {**anonymise(describe_environment()), **study.measure(data_dir)}
    path = results_of(name) / "results.json"
    write_atomically(path, to_json(found, indent=1) + b"\n", make_folder=True)
