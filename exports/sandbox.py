"""Read a file that is not trusted in a child process first, where it cannot harm this one.

The libraries that read graphs trust their input, and a pickle is a program: a damaged or hostile
file can end the process, or ask for all the memory there is. So a child with limits on memory and
time reads it first. Only if that goes well is the file used here.

Two risks remain. The child has the user's rights, so a file that makes a library run its code can
do harm. And a fault that depends on chance may spare the child and hit the parent.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import pickle
import resource
import signal
import subprocess
import sys
from typing import Any, Callable

from errors import InputError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECONDS = 300
# Each thread reserves address space, a large machine has many, and two images need only one.
_FRUGAL = {"OMP_NUM_THREADS": "1", "MXNET_CPU_WORKER_NTHREADS": "1", "MALLOC_ARENA_MAX": "2"}
_DONE = b"done"


def run_in_child(
    function: Callable[..., bytes | None],
    *arguments: Any,
    refusal: str,
    memory: int = 3 * 2**30,
    memory_per_byte: int = 30,
) -> bytes:
    """Call a function in a child process, and return the bytes that it returns.

    Parameters
    ----------
    function : callable
        At the top of a file, which the child runs without the package around it.
    *arguments
        Contents of files, and what else the function takes.
    refusal : str
        The beginning of the message if it fails, as ``model.onnx cannot be used``.
    memory, memory_per_byte : int
        Bytes of address space, and more of them for each byte among the arguments. By default
        enough for MXNet, which takes 1.5 GB with a small net, and for a graph in several forms.

    Raises
    ------
    InputError
        If the function raises, crashes, or exceeds its memory or time.
    """
    memory += memory_per_byte * sum(len(each) for each in arguments if isinstance(each, bytes))
    file = os.path.abspath(inspect.getfile(function))
    command = [sys.executable, "-m", __name__, file, function.__name__, str(memory)]
    try:
        child = subprocess.run(
            command,
            input=pickle.dumps(arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            env={**os.environ, **_FRUGAL},
            cwd=ROOT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{refusal}: reading it took over {SECONDS} seconds") from error
    if child.returncode == 0 and child.stdout.startswith(_DONE):
        return child.stdout[len(_DONE) :]
    why = " ".join(child.stdout.decode("utf-8", "replace").split())[:200] or "reading it failed"
    if child.returncode < 0:
        why = f"reading it ended in {signal.Signals(-child.returncode).name}"
    raise InputError(f"{refusal}: {why}")


def reason(error: BaseException) -> str:
    """Return the line of an error's message that says why; MXNet's messages begin with a trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = next((line for line in lines if "Error:" in line), lines[0] if lines else "")
    return line or type(error).__name__


def main(file: str, name: str, memory: str) -> None:
    """Run in the child: call a function of a file with the arguments that stdin brings."""
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The libraries may print to stdout, so the answer gets a descriptor of its own.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    arguments = pickle.load(sys.stdin.buffer)  # of the parent, which is trusted
    try:
        spec: Any = importlib.util.spec_from_file_location("child", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        result = getattr(module, name)(*arguments)
    except Exception as error:  # whatever it is, the parent says it in one line
        answer.write(reason(error).encode("utf-8", "replace"))
        answer.close()
        sys.exit(1)
    answer.write(_DONE + (result or b""))
    answer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
