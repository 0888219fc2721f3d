"""Load a file in a process of its own first, where a hostile one can do no harm to this one.

The libraries that read graphs are not written for files of strangers: a damaged one can end the
process, or ask for all the memory there is. The rehearsal meets that in a child with bounds on
memory and time; only what has gone well there is done here, with the same bytes.

What remains: the child has the user's rights, so a file that makes a library run code of its own
choosing would succeed; and a fault that depends on chance could spare the child and meet the
parent.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import struct
import subprocess
import sys

from errors import InputError

# Of address space: MXNet with its threads takes 3 GB of it before it does anything.
MEMORY = 6 * 2**30
MEMORY_PER_BYTE = 30  # of the file: the graph in several forms, weights in several layouts
SECONDS = 300
_DONE = b"done"


def rehearse(function: str, *parts: bytes, source: object) -> None:
    """Call a function in a child process, and raise unless it returns.

    Parameters
    ----------
    function : str
        ``module:function``, of this repository; called with `parts`.
    *parts : bytes
        Contents of files.
    source : object
        Where they come from, for the message.

    Raises
    ------
    InputError
        If the function raises, crashes, or exceeds its memory or time.
    """
    sizes = struct.pack(f"<{len(parts) + 1}Q", len(parts), *map(len, parts))
    memory = MEMORY + MEMORY_PER_BYTE * sum(map(len, parts))
    command = [sys.executable, os.path.abspath(__file__), function, str(memory)]
    try:
        child = subprocess.run(
            command,
            input=b"".join((sizes, *parts)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
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
    """Return the line of an error's message that says why; MXNet's begin with a stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = next((line for line in lines if "Error:" in line), lines[0] if lines else "")
    return f"{line:.200}" or type(error).__name__


def _main(function: str, memory: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data = sys.stdin.buffer.read()
    count = struct.unpack_from("<Q", data)[0]
    place, parts = 8 * (count + 1), []
    for size in struct.unpack_from(f"<{count}Q", data, 8):
        parts.append(data[place : place + size])
        place += size
    module, _, name = function.partition(":")
    try:
        getattr(importlib.import_module(module), name)(*parts)
    except Exception as error:  # whatever it is, the parent says it in one line
        sys.stdout.write(reason(error))
        sys.exit(1)
    sys.stdout.buffer.write(_DONE)


if __name__ == "__main__":
    _main(*sys.argv[1:])
