"""Checkpoints: all that a run's next step depends on, written as a whole or not at all.

A checkpoint is a folder ``checkpoints/epoch-<epochs done>-step-<steps done in the next>`` with

- ``net.params``: parameters and running statistics, as ``net.save_parameters`` names them;
- ``best.params``: those of the best epoch so far, or, before there is one, the same as above; with
  a moving average, the average's;
- ``state.params``: momentum, the running statistics of each of several devices, and the average;
- ``manifest.json``: the place in the run, its history, and size and SHA-256 of the files.

It is written to a temporary folder, synced and renamed. The one before it is kept. No pickles.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from errors import InputError, expected_form
from utils import LOG, one_line, read_regular, sha256, sync_folder, to_json, write_synced
from weights.parameters import save_arrays
from weights.params_file import MAX_BYTES, read_params

_FILES = ("net.params", "best.params", "state.params")
_NEEDED = {"epoch", "epoch_seconds"}  # of an epoch of the history; the rest may be null
_NAME = re.compile(r"epoch-\d{5,}-step-\d{6,}")


@dataclass
class Progress:
    """How far a run has come.

    ``epoch`` and ``step`` count what is done; the sums are over the epoch in progress.
    ``identity`` is that of the run's ``config.json``: a checkpoint does not continue any other.
    """

    epoch: int
    step: int
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best_epoch: int = 0
    best_acc: float = -1.0
    loss_scale: list[float] = field(default_factory=list)
    identity: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Checkpoint:
    """A checkpoint that has been read and is undamaged, with the bytes of its files by name."""

    path: Path
    progress: Progress
    files: dict[str, bytes]

    def arrays(self, name: str) -> Mapping[str, np.ndarray]:
        """Return the arrays of one of the files."""
        return read_params(self.files[name], self.path / name)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint and check all of it.

    Raises
    ------
    InputError
        If anything in it is missing, altered or unreadable.
    """
    with expected_form(f"{path}/manifest.json is damaged"):
        manifest = json.loads(read_regular(path / "manifest.json"))
        claimed = manifest.pop("sha256")
        if claimed != sha256(to_json(manifest)):
            raise InputError(f"{path}/manifest.json is damaged: its checksum is another")
        files = {name: read_regular(path / name, MAX_BYTES) for name in _FILES}
        for name, data in files.items():
            if manifest["files"][name] != _facts(data):
                raise InputError(f"{path / name} is damaged: its size or checksum is another")
        progress = Progress(**manifest["progress"])
        _check_progress(progress)
        return Checkpoint(path, progress, files)


def _check_progress(progress: Progress) -> None:
    """Refuse values that no run writes; whoever alters them can write their checksum, too."""
    for name, before in asdict(Progress(epoch=0, step=0)).items():
        value = getattr(progress, name)
        kind = (int, float) if isinstance(before, float) else type(before)
        if not isinstance(value, kind) or (isinstance(before, int) and value < 0):
            raise ValueError(f"{name} is {value!r}")
    for line in progress.history:
        numbers = [value for name, value in line.items() if value is not None or name in _NEEDED]
        if not (set(line) >= _NEEDED and all(isinstance(n, (int, float)) for n in numbers)):
            raise ValueError(f"an epoch of its history is {line!r:.80}")


def newest(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint in a run's ``checkpoints``, or None where there is none.

    Each damaged one that is skipped is reported to the log, which is stderr outside a run.

    Raises
    ------
    InputError
        If there are checkpoints, and every one is damaged.
    """
    fault = ""
    for path in reversed(_list(folder)):
        try:
            return read_checkpoint(path)
        except InputError as error:
            fault = str(error)
            LOG.warning("checkpoint %s is passed over: %s", path.name, error)
    if fault:
        raise InputError(f"no checkpoint in {folder} is whole: {fault}")
    return None


def find(run: Path) -> Checkpoint:
    """Return the newest whole checkpoint of a run folder; its ``best.params`` is the run's result.

    Raises
    ------
    InputError
        If there is none.
    """
    checkpoint = newest(run / "checkpoints")
    if checkpoint is None:
        raise InputError(f"{run} holds no checkpoint: is it a run folder?")
    return checkpoint


def _facts(data: bytes) -> dict[str, Any]:
    """Return what a manifest says of a file."""
    return {"bytes": len(data), "sha256": sha256(data)}


def _list(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("epoch-*") if _NAME.fullmatch(path.name))


class Checkpoints:
    """The checkpoints of one run, for the one process that writes them.

    `loaded` is the one that the run goes on from.
    """

    def __init__(self, folder: Path, loaded: Checkpoint | None = None) -> None:
        self.folder = folder
        self.newest = loaded.path if loaded else None
        self._best = loaded.files["best.params"] if loaded else b""

    def save(
        self,
        net: Mapping[str, Any],
        state: Mapping[str, Any],
        progress: Progress,
        best: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint, then drop all but it and the one before it.

        Parameters
        ----------
        net, state : mapping of str to mxnet.nd.NDArray
            What becomes ``net.params`` and ``state.params``.
        progress : Progress
            What else the next step depends on.
        best : mapping of str to mxnet.nd.NDArray, optional
            What becomes ``best.params``; that of the checkpoint before if omitted.

        Raises
        ------
        InputError
            If it cannot be written; the existing checkpoints stay as they are.
        FloatingPointError
            If a number is not finite.
        """
        path = self.folder / f"epoch-{progress.epoch:05d}-step-{progress.step:06d}"
        if path == self.newest:
            return
        side = self.folder / ".writing"
        with one_line(f"cannot write {path}"):
            shutil.rmtree(side, ignore_errors=True)
            self.folder.mkdir(exist_ok=True)  # but not its parent: a run that is gone stays so
            side.mkdir()
            files = {
                "net.params": save_arrays(side / "net.params", net),
                "state.params": save_arrays(side / "state.params", state),
                "best.params": self._best,
            }
            if best is not None:
                files["best.params"] = save_arrays(side / "best.params", best)
            else:
                write_synced(side / "best.params", self._best)
            facts = {name: _facts(data) for name, data in files.items()}
            manifest: dict[str, Any] = {"progress": asdict(progress), "files": facts}
            manifest["sha256"] = sha256(to_json(manifest))
            write_synced(side / "manifest.json", to_json(manifest))
            sync_folder(side)
            if path.exists():  # a damaged one: a whole one would have been resumed from
                shutil.rmtree(path)
            os.replace(side, path)
            sync_folder(self.folder)
            self._best = files["best.params"]
            for old in _list(self.folder):
                if old not in (path, self.newest):
                    shutil.rmtree(old)
        self.newest = path
