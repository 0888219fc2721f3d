"""Load a file that is not trusted in a child process first, where it cannot harm this one.

The libraries that read graphs trust their input: a damaged file can end the process, or ask for all
the memory there is. So the file is first read in a child with limits on memory and time. Only if
that goes well are the same bytes read here.

Two risks remain. The child has the user's rights, so a file that makes a library run its code can
do harm. And a fault that depends on chance may spare the child and hit the parent.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Callable

from errors import InputError

# Bytes of address space; MXNet takes 1.5 GB of it with a small net.
MEMORY = 3 * 2**30
MEMORY_PER_BYTE = 30  # of the file: the graph in several forms, weights in several layouts
SECONDS = 300
# Each thread reserves address space, a large machine has many, and two images need only one.
_FRUGAL = {"OMP_NUM_THREADS": "1", "MXNET_CPU_WORKER_NTHREADS": "1", "MALLOC_ARENA_MAX": "2"}
_DONE = b"done"
_ROOT = Path(__file__).resolve().parents[1]
_CHILD = "import sys; sys.path[0] = sys.argv[1]; from exports.sandbox import main; main()"


def rehearse(function: Callable[..., object], *parts: bytes, source: object) -> None:
    """Call a function in a child process, and raise unless it returns.

    Parameters
    ----------
    function : callable
        At the top of a module; the child imports it and calls it with `parts`.
    *parts : bytes
        Contents of files.
    source : object
        Where they come from, for the message.

    Raises
    ------
    InputError
        If the function raises, crashes, or exceeds its memory or time.
    """
    place = (function.__module__, function.__name__)
    sizes = struct.pack(f"<{len(parts) + 1}Q", len(parts), *map(len, parts))
    memory = MEMORY + MEMORY_PER_BYTE * sum(map(len, parts))
    command = [sys.executable, "-c", _CHILD, str(_ROOT), *place, str(memory)]
    try:
        child = subprocess.run(
            command,
            input=b"".join((sizes, *parts)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            env={**os.environ, **_FRUGAL},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{source} is refused: reading it took over {SECONDS} seconds") from error
    if child.returncode == 0 and child.stdout == _DONE:
        return
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise InputError(f"{source} is damaged or hostile: reading it ended in {name}")
    said = " ".join(child.stdout.decode("utf-8", "replace").split())
    raise InputError(f"{source} cannot be used: {said or 'reading it failed'}")


def reason(error: BaseException) -> str:
    """Return the line of an error's message that says why; MXNet's messages begin with a trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = next((line for line in lines if "Error:" in line), lines[0] if lines else "")
    return f"{line:.200}" or type(error).__name__


def main() -> None:
    """Run in the child of `rehearse`."""
    module, name, memory = sys.argv[2:]
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The libraries may print to stdout, so the answer gets a descriptor of its own.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    data = sys.stdin.buffer.read()
    count = struct.unpack_from("<Q", data)[0]
    place, parts = 8 * (count + 1), []
    for size in struct.unpack_from(f"<{count}Q", data, 8):
        parts.append(data[place : place + size])
        place += size
    try:
        getattr(importlib.import_module(module), name)(*parts)
    except Exception as error:  # whatever it is, the parent says it in one line
        answer.write(reason(error).encode())
        answer.close()
        sys.exit(1)
    answer.write(_DONE)
    answer.close()
