"""Load an export that is not trusted in a child process first, where it cannot harm this one.

The libraries that read graphs trust their input: a damaged file can end the process, or ask for all
the memory there is. So the file is first loaded, and run once, in a child with limits on memory and
time. Only if that goes well are the same bytes loaded here.

Two risks remain. The child has the user's rights, so a file that makes a library run its code can
do harm. And a fault that depends on chance or on the images may spare the child, which shows the
net one and two black ones, and hit the parent.
"""

from __future__ import annotations

import importlib
import os
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Callable

import numpy as np

from errors import InputError
from exports.description import Loaded

# Bytes of address space, beside what the libraries take: 0.7 GB on a CPU, 3 GB with those for GPUs.
MEMORY = 3 * 2**30
MEMORY_PER_BYTE = 30  # of the file: the graph in several forms, weights in several layouts
SECONDS = 300
# Each thread reserves address space, a large machine has many, and two images need only one.
_FRUGAL = {"OMP_NUM_THREADS": "1", "MXNET_CPU_WORKER_NTHREADS": "1", "MALLOC_ARENA_MAX": "2"}
_DONE = b"done"
_ROOT = Path(__file__).resolve().parents[1]
_CHILD = "import sys; sys.path[0] = sys.argv[1]; from exports.sandbox import main; main()"


def try_in_child(load: Callable[..., Loaded], *arguments: bytes | str, source: object) -> None:
    """Load an export in a child process and run it there, and raise unless that goes well.

    Parameters
    ----------
    load : callable
        At the top of a module; the child imports it and calls it with `arguments`.
    *arguments : bytes or str
        Contents of files, which come from `source`.

    Raises
    ------
    InputError
        If it cannot be loaded or does not give a logit for each class, or if the child crashes or
        exceeds its memory or time.
    """
    memory = MEMORY + MEMORY_PER_BYTE * sum(map(len, arguments))
    place = (str(_ROOT), load.__module__, load.__name__, str(memory))
    try:
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, *place],
            input=pickle.dumps(arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            env={**os.environ, **_FRUGAL},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{source} is refused: reading it took over {SECONDS} seconds") from error
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise InputError(f"{source} is damaged or hostile: reading it ended in {name}")
    if child.returncode or child.stdout != _DONE:
        said = " ".join(child.stdout.decode("utf-8", "replace").split())
        raise InputError(f"{source} cannot be used: {said[:200] or 'reading it failed'}")


def _reason(error: BaseException) -> str:
    """Return the line of an error's message that says why; MXNet's messages begin with a trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = next((line for line in lines if "Error:" in line), lines[0] if lines else "")
    return line or type(error).__name__


def _limit(kind: int, most: int) -> None:
    """Limit this process; the limit that it has may be lower already."""
    limits = [limit for limit in resource.getrlimit(kind) if limit >= 0]  # -1: none
    resource.setrlimit(kind, (min([most, *limits]),) * 2)


def main() -> None:
    """Run in the child of `try_in_child`."""
    _, module, name, memory = sys.argv[1:]
    # The libraries may print to stdout, so the answer gets a descriptor of its own.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    arguments = pickle.load(sys.stdin.buffer)  # written by the parent, which is trusted
    try:
        load = getattr(importlib.import_module(module), name)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + int(memory))
        _limit(resource.RLIMIT_CPU, SECONDS)
        _limit(resource.RLIMIT_CORE, 0)
        classes, _, run = load(*arguments)
        for batch in (1, 2):
            logits = run(np.zeros((batch, 3, 32, 32), np.uint8))
            if not isinstance(logits, np.ndarray) or logits.shape != (batch, len(classes)):
                raise InputError("its output is not one logit for each class")
    except Exception as error:  # whatever it is, the parent says it in one line
        answer.write(_reason(error).encode("utf-8", "replace"))
        answer.close()
        sys.exit(1)
    answer.write(_DONE)
    answer.close()
