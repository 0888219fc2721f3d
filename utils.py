"""What several scripts share: seeds, the way to a device, files that are whole, signals."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Iterator, Sequence

from runtime import mx

import numpy as np

from errors import InputError


def contexts(ctx: str, gpus: Sequence[int] = ()) -> list:
    """Return the devices to work on.

    Parameters
    ----------
    ctx : str
        ``cpu``, ``gpu``, or ``auto`` for a GPU if there is one, or if `gpus` names some.
    gpus : sequence of int
        Device numbers; the first device if empty.

    Returns
    -------
    list of mxnet.Context

    Raises
    ------
    InputError
        If a GPU is asked for that MXNet does not see.
    """
    available = mx.context.num_gpus()
    if ctx == "auto":
        ctx = "gpu" if available or gpus else "cpu"
    numbers = list(gpus) or [0]
    if ctx == "cpu":
        return [mx.cpu(number) for number in numbers]
    if max(numbers) >= available:
        raise InputError(
            f"GPU {max(numbers)} is not there: MXNet sees {available}; use --ctx cpu, or install "
            "requirements-gpu.txt on a machine with an NVIDIA driver"
        )
    return [mx.gpu(number) for number in numbers]


def to_device(array: np.ndarray, ctx: Any) -> Any:
    """Return a NumPy array as an NDArray, without copying it where `ctx` is the CPU.

    Parameters
    ----------
    array : numpy.ndarray
        Becomes read-only: MXNet reads it when it gets round to it.
    ctx : mxnet.Context

    Returns
    -------
    mxnet.nd.NDArray
        Of the same shape and type.
    """
    return mx.nd.from_numpy(np.ascontiguousarray(array)).as_in_context(ctx)


def to_input(images: np.ndarray, mean: np.ndarray, std: np.ndarray, ctx: Any) -> Any:
    """Turn pixels into a net's input on a device.

    By NumPy: on one core it is several times as fast as MXNet's operator on two, and the other
    core is free for the loader.

    Parameters
    ----------
    images : numpy.ndarray
        (N, 3, H, W), uint8 or float32, in units of 0 to 255.
    mean, std : numpy.ndarray
        (3,), in the same units.
    ctx : mxnet.Context

    Returns
    -------
    mxnet.nd.NDArray
        (N, 3, H, W) float32.
    """
    pixels = images.astype(np.float32)
    pixels -= np.reshape(mean, (3, 1, 1)).astype(np.float32)
    pixels *= np.reshape(1 / np.asarray(std, np.float64), (3, 1, 1)).astype(np.float32)
    return to_device(pixels, ctx)


def seed_step(seed: int, *place: int) -> None:
    """Seed MXNet's generators for one step: dropout in it depends on nothing that came before.

    The state of these generators can be neither read nor saved, so resuming in the middle of a run
    is exact only because every step starts from a seed of its own. It costs microseconds.

    Parameters
    ----------
    seed : int
        The run's.
    *place : int
        Step, worker: what the draws may depend on.
    """
    words = np.random.SeedSequence((seed, *place)).generate_state(1)
    mx.random.seed(int(words[0]) & 0x7FFFFFFF)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell a full disk, a missing folder or a lack of rights in one line.

    Raises
    ------
    InputError
        In place of an `OSError` in the block.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk, so that a rename in it survives a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by a whole new one, or leave it as it is.

    Parameters
    ----------
    path : Path
        The file; ``.<name>.tmp`` beside it is used on the way.
    data : bytes
        Its new content.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    side = path.with_name(f".{path.name}.tmp")
    with writing(path):
        write_synced(side, data)
        os.replace(side, path)
        sync_folder(path.parent)


def to_json(value: Any, indent: int | None = None) -> bytes:
    """Return JSON with sorted keys; a number that is not finite is refused by a ValueError."""
    return json.dumps(value, sort_keys=True, allow_nan=False, indent=indent).encode()


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class StopSignals:
    """Within the block, SIGINT, SIGTERM and SIGHUP are noted, not obeyed; the second one kills.

    One that is ignored stays ignored, as nohup has it.

    Attributes
    ----------
    received : int
        The signal's number, 0 as long as there was none.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.received = 0

    def __enter__(self) -> StopSignals:
        heard = [each for each in self._SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
        self._previous = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
