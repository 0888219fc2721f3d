"""Start one training job on several processes or machines, and end it as a whole.

    python launch.py --workers 2 -- train_cifar10.py --kvstore dist_sync --dataset shapes
    python launch.py --workers 8 --hosts hosts.txt -- train_cifar10.py --kvstore dist_sync
    python launch.py --workers 8 --cluster slurm -- train_cifar10.py --kvstore dist_sync

Starts MXNet's parameter server through the ``dmlc_tracker`` launchers in MXNet's wheel: a scheduler
here, servers and workers where the cluster says. All of them keep a connection to the scheduler's
process (`training.membership`), because MXNet itself waits for ever for a worker that is gone: when
one closes without a word, or says nothing for `SILENCE` seconds, every process of the job ends and
says why. The network must be a trusted one: neither MXNet's protocol nor this one knows who is
talking.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import types
from typing import Any, Sequence

import errors
from errors import InputError, Parser, command_line
from training import membership


def end(message: str, code: int = 1) -> None:
    """End this process at once, whatever it waits for; checkpoints are whole at any moment."""
    if message:
        errors.tell(message)
    errors.flush_screen()
    os._exit(code)


def take_part(port: int, command: Sequence[str]) -> int:
    """Be the process that ``DMLC_ROLE`` says: scheduler, server or worker.

    Parameters
    ----------
    port : int
        Of `membership.Scheduler`.
    command : sequence of str
        The workers' script and its arguments.

    Returns
    -------
    int
        The exit code.
    """
    role = os.environ["DMLC_ROLE"]
    # The ssh launcher passes on what the host file says, and MXNet can listen at addresses only;
    # without one, it takes that of DMLC_INTERFACE, or of the first interface.
    if not re.fullmatch(r"[\d.]+", os.environ.get("DMLC_NODE_HOST", "")):
        os.environ.pop("DMLC_NODE_HOST", None)
    if role != "worker":  # signals are for workers, who have yet to save; the rest ends after them
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    if role == "scheduler":
        scheduler = membership.Scheduler(port, lambda reason: _end_later(scheduler, reason))
        _serve()
        scheduler.wait()
        return scheduler.code
    member = membership.Member(
        (os.environ["DMLC_PS_ROOT_URI"], port),
        f"{role} on {socket.gethostname()} (process {os.getpid()})",
        end,
    )
    told: list[str] = []  # each worker meets the same mistake, so the scheduler says it, once
    errors.tell = lambda line: told.append(errors.printable(" ".join(line.split())))
    code = 1
    try:
        code = _work(command) if role == "worker" else _serve()
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except Exception:
        with contextlib.suppress(OSError):
            traceback.print_exc()
    member.done(code, " ".join(told))
    if code:  # the scheduler ends the job, and MXNet's goodbye would wait for it for ever
        end("", code)
    return code


def _end_later(scheduler: membership.Scheduler, reason: str) -> None:
    time.sleep(1)  # for the others to hear of it
    end(reason, scheduler.code or 1)


def _serve() -> int:
    """Import MXNet, which serves until the job ends if its role is scheduler or server."""
    with contextlib.suppress(SystemExit):
        import runtime  # noqa: F401
    return 0


def _work(command: Sequence[str]) -> int:
    sys.argv = list(command)
    sys.path.insert(0, os.path.dirname(os.path.abspath(command[0])))
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return 0


def free_port() -> int:
    """Return a port that nobody listens on here."""
    with contextlib.closing(socket.create_server(("", 0))) as listener:
        return listener.getsockname()[1]


def submit(arguments: argparse.Namespace, command: list[str]) -> int:
    """Start scheduler, servers and workers, wait for them, and return the job's exit code."""
    # dmlc_tracker calls a name that Python 3.9 dropped.
    thread: Any = threading.Thread
    thread.isAlive = threading.Thread.is_alive
    tracker: Any = importlib.import_module("dmlc_tracker.tracker")
    start = importlib.import_module(f"dmlc_tracker.{arguments.cluster}").submit

    port = free_port()
    own = [sys.executable, os.path.abspath(__file__), "--port", str(port), "--", *command]
    settings = types.SimpleNamespace(
        command=[shlex.quote(word) for word in own],
        num_workers=arguments.workers,
        num_servers=arguments.servers,
        host_file=arguments.hosts,
        host_ip="auto",
        sync_dst_dir=None,
        local_num_attempt=0,
        jobname="train",
        slurm_worker_nodes=None,
        slurm_server_nodes=None,
    )
    if arguments.cluster == "local":
        # It would ask the network even for this.
        tracker.get_host_ip = lambda host=None: "127.0.0.1"
        os.environ["DMLC_NODE_HOST"] = "127.0.0.1"
        if "OMP_NUM_THREADS" not in os.environ:  # else every worker would take all cores
            from runtime import physical_cores

            os.environ["OMP_NUM_THREADS"] = str(max(1, physical_cores() // arguments.workers))
    codes: list[int] = []

    def failed(thread: Any) -> None:
        codes.append(_code_of(thread.exc_value))
        threading.Thread(target=report_failure, args=(port, codes[-1] or 1), daemon=True).start()

    threading.excepthook = failed
    # Local workers hear of a Ctrl-C or a closed terminal themselves: a second signal would kill.
    local = arguments.cluster == "local"
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None if local else ask_to_stop(port))
    signal.signal(signal.SIGTERM, lambda *_: ask_to_stop(port))
    start(settings)
    return max(codes, default=0)


def ask_to_stop(port: int) -> None:
    """Let every worker of a job save and stop."""
    _tell_scheduler(port, "stop")


def report_failure(port: int, code: int) -> None:
    """End a job one of whose processes could not be started, or ended without a word.

    MXNet's scheduler would wait for it for ever. A job that ends by itself does so meanwhile.
    """
    time.sleep(2 * membership.GRACE)
    with contextlib.suppress(ConnectionError):  # the job has ended
        _tell_scheduler(port, f"name the launcher of one process\ndone {code}")


def _tell_scheduler(port: int, message: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"{message}\n".encode())


def _code_of(error: Any) -> int:
    """Return the exit code that one of the launcher's threads has met."""
    return abs(error.returncode) if isinstance(error, subprocess.CalledProcessError) else 0


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Start a job, or, with ``--port``, take part in one."""
    parser = Parser(
        description="Start a training job on several processes or machines.",
        usage="launch.py --workers N [--hosts FILE] -- train_cifar10.py --kvstore dist_sync ...",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that train [2]")
    parser.add_argument("--servers", type=int, default=1, help="processes that add up [1]")
    parser.add_argument("--hosts", help="file with one host a line, for ssh and mpi")
    parser.add_argument(
        "--cluster", choices=("local", "ssh", "mpi", "slurm"), help="[ssh with --hosts, else local]"
    )
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args(argv)
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise InputError("nothing to start: end with -- train_cifar10.py --kvstore dist_sync ...")
    if arguments.port:
        return take_part(arguments.port, command)
    if not os.path.isfile(command[0]):
        raise InputError(f"there is no script {command[0]}: give the path of train_cifar10.py")
    if min(arguments.workers, arguments.servers) < 1:
        raise InputError("--workers and --servers must be at least 1")
    if arguments.hosts and not os.path.isfile(arguments.hosts):
        raise InputError(f"--hosts {arguments.hosts}: there is no such file")
    arguments.cluster = arguments.cluster or ("ssh" if arguments.hosts else "local")
    if arguments.cluster == "ssh" and not arguments.hosts:
        raise InputError("--cluster ssh needs --hosts FILE, one host a line")
    program = {"ssh": "ssh", "mpi": "mpirun", "slurm": "srun"}.get(arguments.cluster)
    if program and not shutil.which(program):
        raise InputError(f"--cluster {arguments.cluster} needs {program}, which is not here")
    return submit(arguments, command)


if __name__ == "__main__":
    sys.exit(main())
