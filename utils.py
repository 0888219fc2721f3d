"""What several packages share: devices, normalising of pixels, files written as a whole.

MXNet is imported inside the functions that need it, since ONNX files are used without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Mapping, Sequence

import numpy as np

from errors import InputError, one_line
from gpus import find_gpus, is_wheel

LOG = logging.getLogger("train")  # a run's log; outside of a run, warnings go to stderr


def contexts(ctx: str, gpus: Sequence[int] = ()) -> list:
    """Return the devices to work on, as MXNet's contexts.

    Parameters
    ----------
    ctx : str
        ``cpu``, ``gpu``, or ``auto`` for a GPU if there is one that MXNet can compute on, or if
        `gpus` names some; a warning says why not, if MXNet sees one.
    gpus : sequence of int
        Device numbers; if empty, the first device that MXNet can compute on.

    Raises
    ------
    InputError
        If a GPU is asked for that MXNet does not see, or has no code for.
    """
    from runtime import mx

    seen = mx.context.num_gpus()
    if ctx == "cpu" or not (ctx == "gpu" or seen or gpus):
        return [mx.cpu(number) for number in gpus or [0]]
    unfit = {}
    if is_wheel() or not seen:  # a build of another kind that sees them knows best what it can do
        unfit = {gpu.number: gpu for gpu in find_gpus() if gpu.limit}
    fit = [number for number in range(seen) if number not in unfit]
    if ctx == "auto" and not (gpus or fit):
        LOG.warning("computing on the CPU: GPU 0 is %s, and %s", unfit[0], unfit[0].limit)
        return [mx.cpu()]
    for number in gpus or fit[:1] or [0]:
        if number in unfit:
            gpu, usable = unfit[number], f"--gpus {fit[0]}" if fit else "--ctx cpu"
            raise InputError(f"GPU {number} is {gpu}, and {gpu.limit}: use {usable}")
        if number >= seen:
            raise InputError(
                f"GPU {number} is not there: MXNet sees {seen}; use --ctx cpu, or install "
                "requirements/gpu.txt on a machine with an NVIDIA driver"
            )
    return [mx.gpu(number) for number in gpus or fit[:1]]


def to_device(array: np.ndarray, ctx: Any) -> Any:
    """Return a NumPy array as an NDArray, without copying it where `ctx` is the CPU.

    The array becomes read-only, since MXNet reads it later, in the background.
    """
    from runtime import mx

    return mx.nd.from_numpy(np.ascontiguousarray(array)).as_in_context(ctx)


@dataclass(frozen=True)
class Normaliser:
    """What makes pixels a net's input: (pixel - mean) / std, channel by channel.

    Parameters
    ----------
    mean, std : array_like
        (3,), of the training images, in units of 0 to 255; kept as float32.

    Raises
    ------
    ValueError
        If one is not finite, or a deviation not above 0.
    """

    mean: np.ndarray
    std: np.ndarray

    def __post_init__(self) -> None:
        """Take any three numbers each, and refuse what cannot be divided by."""
        for name in ("mean", "std"):
            object.__setattr__(self, name, np.array(getattr(self, name), np.float32).reshape(3))
        if not (np.isfinite([self.mean, self.std]).all() and (self.std > 0).all()):
            raise ValueError(f"mean {self.mean} and deviation {self.std} are no statistics")

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Normaliser:
        """Return that of a description's ``mean`` and ``std``."""
        return cls(facts["mean"], facts["std"])

    def to_dict(self) -> dict[str, list[float]]:
        """Return ``mean`` and ``std`` in a form that JSON can hold."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    @property
    def scale(self) -> np.ndarray:
        """1 / std, float32 (3,)."""
        return (1 / self.std.astype(np.float64)).astype(np.float32)

    def arrays(self, images: np.ndarray) -> np.ndarray:
        """Normalise images, (N, 3, H, W) in units of 0 to 255, to float32.

        By NumPy: on one core it is several times as fast as MXNet's operator on two, and the other
        core is free for the loader.
        """
        pixels = images.astype(np.float32)
        pixels -= self.mean.reshape(3, 1, 1)
        pixels *= self.scale.reshape(3, 1, 1)
        return pixels

    def graph(self, data: Any) -> tuple[Any, dict[str, np.ndarray]]:
        """Normalise a Symbol (N, 3, H, W); return the new one, and its constants by their names."""
        constants = {"pixel_mean": self.mean, "pixel_scale": self.scale}
        constants = {name: value.reshape(1, 3, 1, 1) for name, value in constants.items()}
        from runtime import mx

        offset, scale = (mx.sym.var(name, shape=(1, 3, 1, 1)) for name in constants)
        return mx.sym.broadcast_mul(mx.sym.broadcast_sub(data, offset), scale), constants


def read_regular(path: Path, limit: int = 1 << 26) -> bytes:
    """Return what is in a regular file, or one that a link leads to, of so many bytes at most.

    Raises
    ------
    InputError
        If it cannot be read, is longer, or is a folder, a pipe or a device, which might never end.
    """
    with one_line(f"{path} cannot be read"):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{path} is not a regular file")
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if length > limit:
                raise InputError(f"{path} has {length:,} bytes, {limit:,} at most are expected")
            return file.read(length)


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


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write; it gets its new content when the block ends without an error.

    A link stays one: the file that it leads to is replaced. A pipe or a device is written to. The
    content is first written to a hidden file beside it.

    Raises
    ------
    InputError
        If it cannot be written; nothing is left behind.
    """
    with one_line(f"cannot write {path}"):
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        side = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        with side.open("xb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(side, target)
            except BaseException:
                side.unlink()
                raise
        sync_folder(target.parent)


def write_atomically(path: Path, data: bytes, make_folder: bool = False) -> None:
    """Write a file in one piece, if asked to in a folder that is made first: see `whole_file`."""
    if make_folder:
        with one_line(f"cannot write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(data)


def to_json(value: Any, indent: int | None = None) -> bytes:
    """Return JSON with sorted keys; a number that is not finite is refused by a ValueError."""
    return json.dumps(value, sort_keys=True, allow_nan=False, indent=indent).encode()


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as a Markdown table, numbers to the right."""
    texts = [[str(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    first, *others = (max(map(len, column)) for column in zip(*texts))
    cells = [[row[0].ljust(first), *map(str.rjust, row[1:], others)] for row in texts]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    rule = "|".join(["", "-" * (first + 2), *("-" * (width + 1) + ":" for width in others), ""])
    return "\n".join([lines[0], rule, *lines[1:]])
