"""The members of a job of several processes: notice one that is lost, and tell the others."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from typing import Callable

from errors import InputError

# A process that was killed is noticed at once; a machine that lost its power, after these seconds.
SILENCE = 30.0
# Seconds that the others have to end by themselves after one has ended with an error.
GRACE = 10.0
_BEAT = 1.0
_CONNECT = 120.0


class Scheduler:
    """The scheduler's end of the connections: notices who is lost, and tells the others.

    Parameters
    ----------
    port : int
        Where to listen.
    ended : callable
        Called once, with the reason why the job has to end.

    Attributes
    ----------
    code : int
        The first exit code that was not 0, or 0.
    """

    def __init__(self, port: int, ended: Callable[[str], None]) -> None:
        self._ended = ended
        self._members: dict[socket.socket, str] = {}
        self._watchers: list[threading.Thread] = []
        self._lock, self._ending = threading.Lock(), threading.Lock()
        self.code = 0
        self._listener = socket.create_server(("", port), backlog=1024)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            watcher = threading.Thread(target=self._watch, args=(connection,), daemon=True)
            self._watchers.append(watcher)
            watcher.start()

    def wait(self) -> None:
        """Wait until all members have ended and their last messages have been read."""
        for watcher in self._watchers:
            watcher.join()

    def _watch(self, connection: socket.socket) -> None:
        connection.settimeout(SILENCE)
        name, told, reason = "", "", "has closed its connection: it was killed or has crashed"
        try:
            for line in connection.makefile("r"):
                word, _, rest = line.strip().partition(" ")
                if word == "name":
                    name = rest
                    with self._lock:
                        self._members[connection] = name
                elif word == "stop":
                    self._tell("stop")
                elif word == "done":
                    code, _, told = rest.partition(" ")
                    self.code = self.code or int(code)
                    reason = f"has ended with exit code {code}" if int(code) else ""
                    break
        except socket.timeout:
            reason = f"has said nothing for {SILENCE:.0f} s"
        except OSError:
            pass  # a reset is one way of closing
        with self._lock:
            self._members.pop(connection, None)
        if "exit code" in reason:  # the others may be about to end for the same reason
            deadline = time.monotonic() + GRACE
            while time.monotonic() < deadline and self._workers():
                time.sleep(0.1)
        if name and reason and self._ending.acquire(blocking=False):
            self._tell("end")
            why = f"the job ends: {name} {reason}; if the run had begun, go on with --resume"
            self._ended(told or why)

    def _workers(self) -> int:
        with self._lock:
            return sum(name.startswith("worker") for name in self._members.values())

    def _tell(self, line: str) -> None:
        with self._lock:
            for member in self._members:
                with contextlib.suppress(OSError):  # that member is ending too
                    member.sendall(f"{line}\n".encode())


class Member:
    """A server's or worker's end of the connection: sends a beat, and ends when the job does.

    Parameters
    ----------
    address : tuple of str and int
        The scheduler's.
    name : str
        For messages.
    ended : callable
        Called when the job has to end: with the reason if the scheduler cannot say it, else "".
    """

    def __init__(self, address: tuple[str, int], name: str, ended: Callable[[str], None]) -> None:
        self._ended = ended
        deadline = time.monotonic() + _CONNECT
        while True:
            try:
                self._connection = socket.create_connection(address, timeout=5)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise InputError(
                        f"no scheduler at {address[0]}:{address[1]}: {error}"
                    ) from error
                time.sleep(0.2)
        self._connection.settimeout(None)
        self._done = threading.Event()
        self._send(f"name {name}")
        threading.Thread(target=self._beat, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()

    def _send(self, line: str) -> None:
        with contextlib.suppress(OSError):  # `_listen` sees the same and says so
            self._connection.sendall(f"{line}\n".encode())

    def _beat(self) -> None:
        while not self._done.wait(_BEAT):
            self._send("alive")

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # a reset is one way of closing
            for line in self._connection.makefile("r"):
                if line.strip() == "stop":
                    os.kill(os.getpid(), signal.SIGTERM)
                else:
                    self._ended("")
        if not self._done.is_set():
            self._ended("the job ends: the scheduler is gone; go on with --resume")

    def done(self, code: int, told: str = "") -> None:
        """Report that this process has ended by itself: its exit code, and one line to tell."""
        self._done.set()
        self._send(f"done {code} {told}")
