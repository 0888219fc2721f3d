"""Checkpoints: everything that a run's next step depends on, in files that are whole or not there.

A checkpoint is a folder ``checkpoints/epoch-<epochs done>-step-<steps done in the next>`` with

- ``net.params``: parameters and running statistics, as ``net.save_parameters`` names them;
- ``best.params``: those of the epoch with the best validation error so far, or the same as above;
- ``state.params``: momentum, and the running statistics of each of several devices;
- ``manifest.json``: the place in the run, its history, and size and SHA-256 of the files.

It is written beside its place, synced and then renamed; the one before it stays until the next.
There is no pickle in it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping

from runtime import mx

import numpy as np

from errors import InputError
from params_file import read_params
from utils import sha256, sync_folder, to_json, write_synced, writing

_FILES = ("net.params", "best.params", "state.params")
_MAX_MANIFEST = 64 * 2**20
_MAX_FILE = 4 * 2**30
_NAME = re.compile(r"epoch-\d{5,}-step-\d{6,}")


def named_parameters(net: Any) -> dict[str, Any]:
    """Return a net's parameters under the names that its files use, as ``features.0.weight``."""
    return dict(net._collect_params_with_prefix())  # what Block.save_parameters itself calls


def current_value(parameter: Any) -> Any:
    """Return a parameter's value: devices differ in nothing but running statistics."""
    copies = parameter.list_data()
    if len(copies) == 1 or parameter.grad_req != "null":
        return copies[0]
    return sum(copy.as_in_context(copies[0].context) for copy in copies) / len(copies)


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> bytes:
    """Save arrays and return the file's bytes: the one place where anything trained is written."""
    with writing(path):
        path.open("wb").close()  # a lack of rights is an OSError here, and prose in MXNet
    # Without this wait MXNet 1.9.1 writes running statistics from before the last step.
    mx.nd.waitall()
    try:
        mx.nd.save(str(path), dict(arrays))
    except mx.MXNetError as error:
        raise InputError(f"cannot write {path}: is the disk full?") from error
    with writing(path):
        data = path.read_bytes()
        # MXNet does not notice a disk that fills up while the last bytes are flushed.
        if set(read_params(data, path)) != set(arrays):
            raise InputError(f"{path} was not written as a whole: is the disk full?")
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return data


def save_parameters(net: Any, path: str | Path) -> None:
    """Save a net's parameters and running statistics, after the device has finished with them.

    Parameters
    ----------
    net : gluon.Block
        An initialised net.
    path : path
        Replaced by the new file once that is whole and on the disk.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    path = Path(path)
    side = path.with_name(f".{path.name}.tmp")
    save_arrays(side, {name: current_value(p) for name, p in named_parameters(net).items()})
    with writing(path):
        os.replace(side, path)
        sync_folder(path.parent)


def set_parameters(
    net: Any, arrays: Mapping[str, np.ndarray], source: object, ctx: Any = None
) -> None:
    """Give a net the values of arrays, all of which must fit.

    Parameters
    ----------
    net : gluon.Block
        Initialised or not.
    arrays : mapping of str to numpy.ndarray
        By the names of `named_parameters`.
    source : object
        Where they come from, for the message.
    ctx : mxnet.Context or list of them, optional
        Where to put a net that is not initialised (default: the CPU); else left where it is.

    Raises
    ------
    InputError
        Naming every entry that is missing, not in the net, or of another shape.
    """
    parameters = named_parameters(net)
    faults = [f"missing {name}" for name in parameters if name not in arrays]
    faults += [f"extra {name}" for name in arrays if name not in parameters]
    for name, parameter in parameters.items():
        # A dimension of 0 is one that the net learns from its first input.
        wanted, found = parameter.shape, arrays[name].shape if name in arrays else None
        if found is None or wanted is None:
            continue
        if len(wanted) != len(found) or any(w not in (0, f) for w, f in zip(wanted, found)):
            faults.append(f"{name} is {found} instead of {wanted}")
    if faults:
        raise InputError(f"{source} does not fit the net: {'; '.join(faults)}")
    for name, parameter in parameters.items():
        value = mx.nd.array(arrays[name], dtype=parameter.dtype)
        parameter._load_init(value, parameter.list_ctx() if parameter._data else ctx or mx.cpu())


def load_parameters(net: Any, path: str | Path, ctx: Any = None) -> None:
    """Load what `save_parameters` wrote; see `set_parameters`."""
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_FILE:
            raise InputError(f"{path} has more than {_MAX_FILE} bytes: no net here is that large")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    set_parameters(net, read_params(data, path), path, ctx)


def _optimizer_state(net: Any, trainer: Any) -> dict[str, Any]:
    """Return momentum, and the running statistics that each of several devices has to itself.

    Trainer.save_states would pickle the optimizer, so the updater's arrays are read directly.
    """
    index = {parameter.name: number for number, parameter in enumerate(trainer._params)}
    arrays = {}
    for name, parameter in named_parameters(net).items():
        momentum = trainer._updaters[0].states.get(index[parameter.name])
        if momentum is not None:
            arrays[f"momentum/{name}"] = momentum
        copies = parameter.list_data()
        if parameter.grad_req == "null" and len(copies) > 1:
            arrays.update({f"device{n}/{name}": copy for n, copy in enumerate(copies)})
    return arrays


def set_optimizer_state(
    net: Any, trainer: Any, arrays: Mapping[str, np.ndarray], source: object
) -> None:
    """Give a net's trainer what `_optimizer_state` returned.

    Raises
    ------
    InputError
        If an entry does not belong to the net on these devices, or has another shape.
    """
    parameters = named_parameters(net)
    index = {parameter.name: number for number, parameter in enumerate(trainer._params)}
    for key, value in arrays.items():
        place, _, name = key.partition("/")
        parameter = parameters.get(name)
        devices = parameter.list_data() if parameter is not None else []
        known = ["momentum", *(f"device{device}" for device in range(len(devices)))]
        if parameter is None or place not in known or parameter.shape != value.shape:
            raise InputError(f"{source} does not fit the net and its devices: {key} {value.shape}")
        if place == "momentum":
            for updater, copy in zip(trainer._updaters, devices):
                number = index[parameter.name]
                updater.states[number] = mx.nd.array(value, copy.context, dtype=value.dtype)
                updater.states_synced[number] = True
        else:
            devices[int(place[len("device") :])][:] = mx.nd.array(value)


@dataclass
class Checkpoint:
    """A checkpoint that was read and found whole.

    Attributes
    ----------
    path : Path
        Its folder.
    progress : dict
        What `Checkpoints.save` was given.
    files : dict of str to bytes
        The three parameter files.
    """

    path: Path
    progress: dict[str, Any]
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
    try:
        if (path / "manifest.json").stat().st_size > _MAX_MANIFEST:
            raise InputError(f"{path}/manifest.json is too large to be one")
        manifest = json.loads((path / "manifest.json").read_bytes())
        claimed = manifest.pop("sha256")
        if claimed != sha256(to_json(manifest)):
            raise InputError(f"{path}/manifest.json is damaged: its checksum is another")
        files = {}
        for name in _FILES:
            size = manifest["files"][name]["bytes"]
            if (path / name).stat().st_size != size or size > _MAX_FILE:
                raise InputError(f"{path / name} is damaged: it should have {size} bytes")
            files[name] = (path / name).read_bytes()
            if sha256(files[name]) != manifest["files"][name]["sha256"]:
                raise InputError(f"{path / name} is damaged: its checksum is another")
        return Checkpoint(path, manifest["progress"], files)
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}/manifest.json is damaged: {error!r}") from error


def newest(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest whole checkpoint, or None where there is none at all.

    Parameters
    ----------
    folder : Path
        A run's ``checkpoints``.
    warn : callable
        Told, in one line, of each damaged checkpoint that is passed over.

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
            warn(f"checkpoint {path.name} is passed over: {error}")
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
    checkpoint = newest(run / "checkpoints", lambda line: None)
    if checkpoint is None:
        raise InputError(f"{run} holds no checkpoint: is it a run folder?")
    return checkpoint


def _list(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("epoch-*") if _NAME.fullmatch(path.name))


class Checkpoints:
    """The checkpoints of one run, as its one writer sees them.

    Parameters
    ----------
    folder : Path
        Where they are.
    loaded : Checkpoint, optional
        The one that the run goes on from.
    """

    def __init__(self, folder: Path, loaded: Checkpoint | None = None) -> None:
        self.folder = folder
        self.newest = loaded.path if loaded else None
        self._best = loaded.files["best.params"] if loaded else b""

    def read(self) -> Checkpoint:
        """Read the newest checkpoint again, for its best net."""
        if self.newest is None:
            raise InputError(f"there is no checkpoint in {self.folder} yet")
        return read_checkpoint(self.newest)

    def save(self, net: Any, trainer: Any, progress: Mapping[str, Any], best: bool = False) -> Path:
        """Write a checkpoint, then drop all but it and the one before it.

        Parameters
        ----------
        net, trainer : gluon.Block, gluon.Trainer
            Their state is saved.
        progress : mapping
            What else the next step depends on, in a form that JSON can hold; ``epoch`` and
            ``step`` are the place in the run.
        best : bool
            Whether the net as it is becomes ``best.params``.

        Returns
        -------
        Path
            The checkpoint's folder.

        Raises
        ------
        InputError
            If it cannot be written; the checkpoints there are stay as they are.
        FloatingPointError
            If a parameter is not finite.
        """
        path = self.folder / f"epoch-{progress['epoch']:05d}-step-{progress['step']:06d}"
        if path == self.newest:
            return path
        side = self.folder / ".writing"
        with writing(path):
            shutil.rmtree(side, ignore_errors=True)
            side.mkdir(parents=True)
            parameters = {n: current_value(p) for n, p in named_parameters(net).items()}
            state = _optimizer_state(net, trainer)
            files = {
                "net.params": save_arrays(side / "net.params", parameters),
                "state.params": save_arrays(side / "state.params", state),
            }
            _check_finite(files, side)
            files["best.params"] = files["net.params"] if best or not self._best else self._best
            write_synced(side / "best.params", files["best.params"])
            manifest: dict[str, Any] = {"progress": dict(progress), "files": {}}
            for name, data in files.items():
                manifest["files"][name] = {"bytes": len(data), "sha256": sha256(data)}
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
        return path


def _check_finite(files: Mapping[str, bytes], source: Path) -> None:
    for file, data in files.items():
        for name, value in read_params(data, source / file).items():
            if not np.isfinite(value).all():
                raise FloatingPointError(f"{name} is not finite")
