"""Start one training job on several processes or machines, and end it as a whole.

    python -m training.launch --workers 2 -- train_cifar10.py --kvstore dist_sync --dataset shapes
    python -m training.launch --workers 8 --hosts hosts.txt -- train_cifar10.py --kvstore dist_sync

The job is MXNet's parameter server: a scheduler here, servers and workers here or, by ssh, on
hosts. MXNet itself waits for ever for a worker that is gone. So the stdin of each process is a pipe
from this one: it brings signals, and the process ends when it is closed. ssh gives up a machine
that has been silent for 30 s. The network must be a trusted one: MXNet authenticates nobody.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Mapping, Sequence

from errors import InputError, Parser, command_line, flush_screen, one_line, tell
from training.signals import StopSignals

# Seconds that the other workers have to end by themselves after one has ended with an error.
GRACE = 10.0
_LOOK = 0.1  # seconds between looks at the processes
_SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3")
# Exit codes of train_cifar10.py that come with a reason.
_TOLD = (2, 3, *(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)))


def address_towards(host: str) -> str:
    """Return this machine's own address on the way to a host, which need not answer."""
    with one_line(f"cannot find {host}"), socket.socket(type=socket.SOCK_DGRAM) as way:
        way.connect((host, 9))
        return way.getsockname()[0]


def start(
    workers: int, servers: int, hosts: Sequence[str], command: Sequence[str]
) -> dict[str, subprocess.Popen]:
    """Start a job's processes, each of which is this module with a ``DMLC_ROLE``.

    The hosts (a name or an IPv4 address, after ``user@`` or not) get a process each in turn; where
    there are none, this machine gets all. The command is the workers' script and its arguments.

    Returns
    -------
    dict of str to subprocess.Popen
        By names such as ``worker 1 on HOST``.
    """
    ways = [address_towards(host.rpartition("@")[2]) for host in hosts] or ["127.0.0.1"]
    root = next((way for way in ways if not way.startswith("127.")), ways[0])
    with socket.socket() as free:
        free.bind((root, 0))
        port = free.getsockname()[1]
    settings = {
        "DMLC_PS_ROOT_URI": root,
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": str(workers),
        "DMLC_NUM_SERVER": str(servers),
    }
    if "OMP_NUM_THREADS" in os.environ:
        settings["OMP_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]
    elif not hosts:  # else every worker would take all cores
        from runtime import physical_cores

        settings["OMP_NUM_THREADS"] = str(max(1, physical_cores() // workers))
    processes = {}
    for role, count in (("scheduler", 1), ("server", servers), ("worker", workers)):
        for number in range(count):
            host = hosts[number % len(hosts)] if hosts and role != "scheduler" else ""
            given = [f"{key}={value}" for key, value in {**settings, "DMLC_ROLE": role}.items()]
            words = ["env", *given, sys.executable, "-m", "training.launch", "--", *command]
            if host:
                there = f"cd {shlex.quote(os.getcwd())} && exec {' '.join(map(shlex.quote, words))}"
                words = [*_SSH, host, there]
            processes[f"{role} {number} on {host or 'this machine'}"] = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the launcher, which passes it on
            )
    return processes


def supervise(processes: Mapping[str, subprocess.Popen]) -> int:
    """Wait for a job's processes, end all of them if one fails, and return the job's exit code.

    A signal is passed on to the workers, which then save and end by themselves.
    """
    workers = [process for name, process in processes.items() if name.startswith("worker")]
    running, working = list(processes.values()), workers
    code, passed_on, deadline = 0, False, float("inf")
    with StopSignals() as stop:
        while running and (not code or (working and time.monotonic() < deadline)):
            time.sleep(_LOOK)
            running, working = (
                [process for process in some if process.poll() is None]
                for some in (running, workers)
            )
            if stop.received and not passed_on:
                passed_on = True
                for process in working:
                    with contextlib.suppress(BrokenPipeError):  # it has ended meanwhile
                        print(stop.received, file=process.stdin, flush=True)
            failed = next((name for name, each in processes.items() if each.returncode), "")
            if failed and not code:
                deadline, code = time.monotonic() + GRACE, processes[failed].returncode
                code = code if code > 0 else 128 - code
                if code not in _TOLD:
                    tell(
                        f"the job ends: {failed} has ended with exit code {code}; if the run had "
                        "begun, go on with --resume"
                    )
    for process in processes.values():
        try:
            process.communicate(timeout=GRACE)  # which closes the pipe
        except subprocess.TimeoutExpired:  # an ssh to a machine that does not answer
            process.kill()
    return code


def take_part(command: Sequence[str]) -> int:
    """Run as what ``DMLC_ROLE`` says: a worker runs the command; a server serves until the end."""
    threading.Thread(target=_listen, daemon=True).start()
    # MXNet would take the first interface's, whatever it leads to.
    os.environ["DMLC_NODE_HOST"] = address_towards(os.environ["DMLC_PS_ROOT_URI"])
    if os.environ["DMLC_ROLE"] != "worker":
        import runtime  # noqa: F401  MXNet serves until the job ends

        return 0
    sys.argv = list(command)
    sys.path.insert(0, os.path.dirname(os.path.abspath(command[0])))
    try:
        runpy.run_path(command[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        code = 1
    if code:  # MXNet's goodbye would wait for the others for ever
        flush_screen()
        os._exit(code)
    return 0


def _listen() -> None:
    """Take signals from the launcher, and end this process when it closes the pipe or is gone."""
    while numbers := os.read(0, 64).split():
        os.kill(os.getpid(), int(numbers[0]))
    os._exit(1)  # MXNet may wait for ever; a checkpoint is whole at any moment


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Start a job, or, with ``DMLC_ROLE`` set, take part in one."""
    parser = Parser(
        description="Start a training job on several processes or machines.",
        usage="python -m training.launch --workers N [--hosts FILE] -- SCRIPT ...",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that train [2]")
    parser.add_argument("--servers", type=int, default=1, help="processes that add up [1]")
    parser.add_argument("--hosts", type=Path, help="file of hosts, one a line: [user@]name or IPv4")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args(argv)
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command or not os.path.isfile(command[0]):
        raise InputError("nothing to start: end with -- train_cifar10.py --kvstore dist_sync ...")
    if "DMLC_ROLE" in os.environ:
        return take_part(command)
    if min(arguments.workers, arguments.servers) < 1:
        raise InputError("--workers and --servers must be at least 1")
    hosts: list[str] = []
    if arguments.hosts:
        with one_line(f"--hosts {arguments.hosts}"):
            hosts = arguments.hosts.read_text(errors="replace").split()
        if not hosts:
            raise InputError(f"--hosts {arguments.hosts} names no machine")
    with one_line("cannot start ssh"):
        processes = start(arguments.workers, arguments.servers, hosts, command)
    return supervise(processes)


if __name__ == "__main__":
    sys.exit(main())
