"""The folder of one run: its lock, its config, its log, its history and its pictures.

config.json  metrics.jsonl  metrics.csv  train.log  curves.png  results.json
tensorboard/  checkpoints/  export/
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import importlib.util
import io
import json
import logging
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, Mapping, Sequence

from tqdm import tqdm

from errors import InputError, flush_screen, printable
from utils import LOG, one_line, read_regular, to_json, write_atomically

ENVIRONMENT = ("versions", "host", "git", "command", "started")  # see `describe_environment`
_MAX_JSON = 16 * 2**20


class _Screen(logging.Handler):
    """The log on the screen, above a progress bar if there is one; without a screen runs go on."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            tqdm.write(printable(self.format(record)), file=sys.stdout)
        flush_screen()


class _File(logging.FileHandler):
    """The log in a file; a line that cannot be written ends the run instead of being dropped."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot write {self.baseFilename}: {reason}") from error

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_screen(quiet: bool = False) -> None:
    """Send the log to the screen; only warnings if `quiet`."""
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    for handler in list(LOG.handlers):
        LOG.removeHandler(handler)
        handler.close()
    screen = _Screen(logging.WARNING if quiet else logging.INFO)
    screen.setFormatter(logging.Formatter("%(message)s"))
    LOG.addHandler(screen)


class RunFolder:
    """A run's folder, locked from `create` or `resume` until `close`, or the process's end."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock
        self._writer: Any = None
        with one_line(f"cannot write {path}"):
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
            self._log = _File(path / "train.log", encoding="utf-8")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        LOG.addHandler(self._log)
        self._has_events = importlib.util.find_spec("tensorboardX") is not None
        if not self._has_events:  # metrics.jsonl has the same numbers
            LOG.warning("no TensorBoard events will be written: tensorboardX is not installed")

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make and lock the folder of a new run.

        Raises
        ------
        InputError
            If it cannot be written, is in use, or holds something already.
        """
        with one_line(f"cannot write {path}"):
            path.mkdir(parents=True, exist_ok=True)
            lock = _lock(path)
            # The log and the lock may be of a run that was killed before it wrote its config.
            names = {entry.name for entry in path.iterdir()} - {"lock", "train.log"}
        if all(name.startswith(".") for name in names):
            return cls(path, lock)
        lock.close()
        if "config.json" in names:
            raise InputError(
                f"{path} holds a run already: go on with it by --resume {path}, or choose another "
                "--name"
            )
        raise InputError(f"{path} is not empty and not a run folder: choose another --name")

    @classmethod
    def resume(cls, path: Path) -> RunFolder:
        """Lock the folder of a run to go on with.

        Raises
        ------
        InputError
            If it is no run folder, cannot be written, or is in use.
        """
        if not (path / "config.json").is_file():
            raise InputError(f"{path} holds no run (there is no config.json): check --resume")
        return cls(path, _lock(path))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write ``config.json`` (what the run is) or ``results.json`` (its errors at the end)."""
        write_atomically(self.path / name, to_json(value, indent=1) + b"\n")

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write ``metrics.jsonl`` and ``metrics.csv`` anew: one line an epoch, never half a line.

        The table's columns are in the order that they have in the JSON lines; null is empty.
        """
        lines = b"".join(to_json(epoch) + b"\n" for epoch in history)
        write_atomically(self.path / "metrics.jsonl", lines)
        table = io.StringIO()
        columns = sorted({name for epoch in history for name in epoch})
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_atomically(self.path / "metrics.csv", table.getvalue().encode())

    def remove_results(self) -> None:
        """Remove ``results.json`` before the run goes on."""
        with one_line(f"cannot write {self.path}"):
            (self.path / "results.json").unlink(missing_ok=True)

    def write_events(self, epoch: Mapping[str, Any]) -> None:
        """Add an epoch's numbers to TensorBoard's events; the first call hides older ones of it."""
        if not self._has_events:
            return
        folder = str(self.path / "tensorboard")
        with one_line(f"cannot write {folder}"):
            if self._writer is None:
                from tensorboardX import SummaryWriter

                self._writer = SummaryWriter(folder, purge_step=epoch["epoch"])
            for name, value in epoch.items():
                if name != "epoch" and value is not None:
                    self._writer.add_scalar(name, value, epoch["epoch"])
            self._writer.flush()

    def close(self) -> None:
        """Close the log and release the lock."""
        if self._writer is not None:
            self._writer.close()
        LOG.removeHandler(self._log)
        with contextlib.suppress(OSError):  # a full disk was reported when a line did not fit
            self._log.close()
        if not (self.path / "config.json").exists():  # the run has not begun
            with contextlib.suppress(OSError):  # hidden files may have been there before
                for name in ("train.log", "lock"):
                    (self.path / name).unlink()
                self.path.rmdir()
        self._lock.close()


def read_json(path: Path) -> Any:
    """Read a JSON file, or raise an `InputError`."""
    data = read_regular(path, _MAX_JSON)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged, or no JSON: {error}") from error


def read_config(run: Path) -> dict[str, Any]:
    """Return what a run's ``config.json`` holds: an object with its settings as ``config``.

    Raises
    ------
    InputError
        If there is no such file, or it holds anything else.
    """
    description = read_json(run / "config.json")
    if not (isinstance(description, dict) and isinstance(description.get("config"), dict)):
        raise InputError(f"{run / 'config.json'} is damaged: it holds no settings")
    return description


def read_results(run: Path, epochs: int, weights: str = "") -> dict[str, Any]:
    """Return what a run's ``results.json`` holds, if that belongs to the run as it is now.

    That is: to the `epochs` that its config asks for, and to the `weights` at hand, the SHA-256 of
    ``best.params`` where there is any. Else it is empty.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = run / "results.json"
    if not os.path.exists(path):
        return {}
    results = read_json(path)
    if not isinstance(results, dict) or not isinstance(results.get("epochs"), int):
        raise InputError(f"{path} is damaged: it names no epoch")
    # Runs of older versions have no checksum.
    same = not weights or results.get("sha256", weights) == weights
    return results if same and results.get("epochs") == epochs else {}


def _lock(path: Path) -> IO[str]:
    with one_line(f"cannot lock {path}/lock"):
        file = (path / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with file:
                file.seek(0)
                owner = file.read().strip() or "another process"
            if not isinstance(error, BlockingIOError):
                raise
            raise InputError(f"{path} is being written by {owner}: stop that run first") from error
    return file


def describe_environment() -> dict[str, Any]:
    """Return what a run's result may depend on besides its flags: versions, host, git commit."""
    from runtime import gluoncv, processor_name

    import mxnet
    import numpy

    return {
        "versions": {
            "python": platform.python_version(),
            "mxnet": mxnet.__version__,
            "numpy": numpy.__version__,
            "gluoncv": gluoncv.__version__,
        },
        "host": {
            "name": socket.gethostname(),
            "system": platform.platform(),
            "processor": processor_name(),
            "processors": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
        "git": _git_state(),
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _git_state() -> dict[str, Any] | None:
    """Return the commit and whether files differ from it; None outside of a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
    try:
        commit, changes = (
            subprocess.run([*git, *each], check=True, timeout=30, capture_output=True).stdout
            for each in commands
        )
    except (OSError, subprocess.SubprocessError):
        return None  # a copy of the files without git will do
    return {"commit": commit.decode().strip(), "changed": bool(changes)}
