"""Start one training job on several processes or machines, and end it as a whole.

    python -m training.launch --workers 2 -- train_cifar10.py --kvstore dist_sync --dataset shapes
    python -m training.launch --workers 8 --hosts hosts.txt -- train_cifar10.py --kvstore dist_sync
    python -m training.launch --workers 8 --cluster slurm -- train_cifar10.py --kvstore dist_sync

Starts MXNet's parameter server through the ``dmlc_tracker`` launchers in MXNet's wheel: a scheduler
here, servers and workers where the cluster says. All of them keep a connection to this process,
because MXNet itself waits for ever for a worker that is gone: when one closes without a word, or
says nothing for `SILENCE` seconds, every process of the job ends and this one says why. The network
must be a trusted one: neither MXNet's protocol nor this one knows who is talking.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import re
import runpy
import shlex
import shutil
import signal
import socket
import sys
import threading
import traceback
import types
from typing import Any, NoReturn, Sequence

import errors
from errors import InputError, Parser, command_line, one_line

# A process that was killed is noticed at once; a machine that lost its power, after these seconds.
SILENCE = 30.0
BEAT = 1.0
# Seconds that the workers have to end by themselves after one has ended with an error.
GRACE = 10.0
ENDS = "the job ends: {}; if the run had begun, go on with --resume"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Job:
    """The launcher's view of the job's processes.

    Parameters
    ----------
    processes : int
        How many have to end well for the job to have ended well.

    Attributes
    ----------
    over : asyncio.Future
        Set when the job ends, to why: "" if all is well.
    code : int
        The first exit code that was not 0, or 0.
    members : dict of asyncio.StreamWriter to str
        The processes that take part, with their names.
    """

    def __init__(self, processes: int) -> None:
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.code = 0
        self.members: dict[asyncio.StreamWriter, str] = {}
        self._left = processes

    async def watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Listen to one process, which says its name first, until it ends or is lost."""
        name = (await reader.readline()).decode().strip()
        self.members[writer] = name
        word, why = "", "has closed its connection: it was killed or has crashed"
        try:
            while word != "done":
                line = (await asyncio.wait_for(reader.readline(), SILENCE)).decode()
                if not line:
                    break
                word, _, rest = line.strip().partition(" ")
        except asyncio.TimeoutError:
            why = f"has said nothing for {SILENCE:.0f} s"
        except OSError:
            pass  # a reset is one way of closing
        del self.members[writer]
        writer.close()
        if word == "done":
            code, _, told = rest.partition(" ")
            if code != "0":
                why = told or ENDS.format(f"{name} has ended with exit code {code}")
                await self.end(int(code), why, GRACE)
            self._left -= 1
            if not self._left:
                await self.end(0)
        elif name:
            await self.end(1, ENDS.format(f"{name} {why}"))

    async def end(self, code: int, why: str = "", grace: float = 0.0) -> None:
        """End the job, after some seconds for other workers to end for the same reason."""
        self.code = self.code or code
        for _ in range(int(10 * grace)):
            if not self.over.done() and any(n.startswith("worker") for n in self.members.values()):
                await asyncio.sleep(0.1)
        if not self.over.done():
            self.over.set_result(why)


async def supervise(arguments: argparse.Namespace, command: Sequence[str]) -> int:
    """Start scheduler, servers and workers, wait for them, and return the job's exit code."""
    loop = asyncio.get_running_loop()
    job = Job(1 + arguments.servers + arguments.workers)
    watchers: list[asyncio.Future[None]] = []
    listener = await asyncio.start_server(
        lambda *streams: watchers.append(asyncio.ensure_future(job.watch(*streams))),
        port=0,
        family=socket.AF_INET,
    )
    port = listener.sockets[0].getsockname()[1]

    def stop(number: int) -> None:
        # Local workers hear of Ctrl-C or a closed terminal themselves: a second signal would kill.
        if arguments.cluster != "local" or number == signal.SIGTERM:
            for writer in job.members:
                writer.write(f"{number}\n".encode())

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop, number)

    async def lost(code: int) -> None:
        await asyncio.sleep(GRACE)  # a process that has said why it ended ends the job meanwhile
        why = f"the launcher of one process has ended with exit code {code}"
        await job.end(code, ENDS.format(why), GRACE)

    def failed(problem: Any) -> None:
        """Hear of an exception in a thread of ``dmlc_tracker``, most often of an exit code."""
        if problem.thread is starter:
            loop.call_soon_threadsafe(job.over.set_exception, problem.exc_value)
        else:
            code = abs(getattr(problem.exc_value, "returncode", 1))
            asyncio.run_coroutine_threadsafe(lost(code), loop)

    threading.excepthook = failed
    starter = threading.Thread(target=start, args=(arguments, command, port), daemon=True)
    starter.start()
    why = await job.over
    listener.close()
    for writer in job.members:
        writer.write_eof()
    await asyncio.wait(watchers or [job.over], timeout=1)  # none outlives the launcher
    if why:
        errors.tell(why)
    return job.code


def start(arguments: argparse.Namespace, command: Sequence[str], port: int) -> None:
    """Let ``dmlc_tracker`` start every process, each of which is this module with ``--port``."""
    # It calls a name that Python 3.9 dropped.
    thread: Any = threading.Thread
    thread.isAlive = threading.Thread.is_alive
    tracker: Any = importlib.import_module("dmlc_tracker.tracker")
    cluster = importlib.import_module(f"dmlc_tracker.{arguments.cluster}")
    if arguments.cluster == "local":
        # It would ask the network even for this.
        tracker.get_host_ip = lambda host=None: "127.0.0.1"
        os.environ["DMLC_NODE_HOST"] = "127.0.0.1"
        if "OMP_NUM_THREADS" not in os.environ:  # else every worker would take all cores
            from runtime import physical_cores

            os.environ["OMP_NUM_THREADS"] = str(max(1, physical_cores() // arguments.workers))
    own = [sys.executable, "-m", "training.launch", "--port", str(port), "--", *command]
    cluster.submit(
        types.SimpleNamespace(
            command=[shlex.quote(word) for word in own],
            num_workers=arguments.workers,
            num_servers=arguments.servers,
            host_file=arguments.hosts,
            host_ip="auto",
            sync_dst_dir=None,
            local_num_attempt=0,
            slurm_worker_nodes=None,
            slurm_server_nodes=None,
        )
    )


def take_part(port: int, command: Sequence[str]) -> int:
    """Be the process that ``DMLC_ROLE`` says, scheduler, server or worker; return its exit code.

    Parameters
    ----------
    port : int
        The launcher's, on the machine of the scheduler.
    command : sequence of str
        The workers' script and its arguments.
    """
    role, address = os.environ["DMLC_ROLE"], os.environ["DMLC_PS_ROOT_URI"]
    # The ssh launcher passes on what the host file says, and MXNet can listen at addresses only;
    # without one, it takes that of DMLC_INTERFACE, or of the first interface.
    if not re.fullmatch(r"[\d.]+", os.environ.get("DMLC_NODE_HOST", "")):
        os.environ.pop("DMLC_NODE_HOST", None)
    if role != "worker":  # signals are for workers, who have yet to save; the rest ends after them
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    with one_line(f"no launcher at {address}:{port}"):
        connection = socket.create_connection((address, port), timeout=SILENCE)
    name = f"{role} on {socket.gethostname()} (process {os.getpid()})"
    connection.sendall(f"{name}\n".encode())
    ending = threading.Event()
    threading.Thread(target=_listen, args=(connection, ending), daemon=True).start()
    told: list[str] = []  # each worker meets the same mistake, so the launcher says it, once
    errors.tell = lambda line: told.append(errors.printable(" ".join(line.split())))
    code = 1
    try:
        if role == "worker":
            sys.argv = list(command)
            sys.path.insert(0, os.path.dirname(os.path.abspath(command[0])))
            runpy.run_path(command[0], run_name="__main__")
        else:
            import runtime  # noqa: F401  MXNet serves until the job ends
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except Exception:
        with contextlib.suppress(OSError):
            traceback.print_exc()
    ending.set()
    connection.sendall(f"done {code} {' '.join(told)}\n".encode())
    if code:  # the launcher ends the job, and MXNet's goodbye would wait for it for ever
        _leave(code)
    return code


def _listen(connection: socket.socket, ending: threading.Event) -> None:
    """Let the launcher know that this process is alive, and take signals from it."""
    connection.settimeout(BEAT)
    heard = b"nothing yet"
    while heard:
        try:
            heard = connection.recv(64)
            if heard:
                os.kill(os.getpid(), int(heard.split()[0]))
        except socket.timeout:
            with contextlib.suppress(OSError):  # `recv` sees the same
                connection.sendall(b"alive\n")
        except OSError:
            break  # a reset is one way of closing
    if not ending.is_set():  # the job ends, or its launcher has been killed
        _leave(1)


def _leave(code: int) -> NoReturn:
    """End this process at once, whatever it waits for; checkpoints are whole at any moment."""
    errors.flush_screen()
    os._exit(code)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Start a job, or, with ``--port``, take part in one."""
    parser = Parser(
        description="Start a training job on several processes or machines.",
        usage="python -m training.launch --workers N [--hosts FILE] -- SCRIPT ...",
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
    return asyncio.run(supervise(arguments, command))


if __name__ == "__main__":
    sys.exit(main())
