"""How a command ends: a user's mistake is one line and exit code 2, Ctrl-C says nothing.

Commands import this module before any other of theirs and call `end_on_ctrl_c`, because the rest
takes seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import functools
import io
import os
import signal
import sys
from typing import Any, Callable, Iterable, Iterator, NoReturn

# What writing to a screen fails with: no reader, no terminal, no room.
_UNWRITTEN = (errno.EPIPE, errno.EIO, errno.ENOSPC)


class InputError(ValueError):
    """A user's mistake or an unusable file; the message is one line: what, where, what to do."""


class Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one line, as everything else does, without all its flags."""

    def __init__(self, **options: Any) -> None:
        spec = sys.modules["__main__"].__spec__
        if spec:  # run by -m
            options.setdefault("prog", f"python -m {spec.name.replace('.__main__', '')}")
        super().__init__(**options)

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse keeps a failure to itself

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (--help lists the flags)")


@contextlib.contextmanager
def one_line(what: str) -> Iterator[None]:
    """Turn an operating system's error in the block into an `InputError`, ``what: reason``."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{what}: {error.strerror or error}") from error


def end_on_ctrl_c() -> None:
    """Let Ctrl-C end a command without a traceback until its main runs, which sets that back.

    For a command that has just been started, and has nothing to save or to say yet. A signal that
    is ignored stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the names most like an unknown one, to be put at the end of a message.

    It is `` did you mean a, b?`` with a space in front, the most alike first and three at most;
    empty where nothing is alike.
    """
    names = {known_name.lower(): known_name for known_name in known}
    alike = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    return f" did you mean {', '.join(names[match] for match in alike)}?" if alike else ""


def printable(text: str) -> str:
    """Return text with its control characters as backslashes: names come from strangers."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tell(line: str) -> None:
    """Say why a command ends, on stderr, if anybody reads that."""
    with contextlib.suppress(OSError):
        print(printable(" ".join(line.splitlines())), file=sys.stderr)


def flush_screen() -> OSError | None:
    """Write out what stdout and stderr hold; one that cannot be written goes nowhere from now on.

    Then return why: its reader has gone away, or its disk is full.
    """
    problem = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            problem = error
            with open(os.devnull, "wb") as nowhere:  # else Python's own flush at the end would fail
                os.dup2(nowhere.fileno(), stream.fileno())
    return problem


def command_line(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap a command's main, so that every end of it is an exit code and at most one line.

    An `InputError` is told on stderr, and so is a package that is not installed: 2. Ctrl-C: 130. A
    pipe that nobody reads any more ends it quietly, as it ends `head`'s other writers: 141; output
    that cannot be written for another reason, such as a full disk, is told: 2. Stdout writes what
    its encoding lacks, such as a file's name that is no text, with backslashes, as stderr does.
    """

    @functools.wraps(main)
    def run(*args: object, **kwargs: object) -> int:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in ("stdout", "stderr"):  # None where it was closed before the start
            setattr(sys, name, getattr(sys, name) or open(os.devnull, "w"))  # noqa: SIM115
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")
        code, problem = 0, None
        try:
            code = main(*args, **kwargs) or 0
        except InputError as error:
            tell(f"error: {error}")
            code = 2
        except ModuleNotFoundError as error:  # one that few commands need, so it is imported late
            tell(f"error: {error.name} is not installed: requirements.txt has the version to take")
            code = 2
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        except SystemExit as end:  # of argparse, after --help
            code = int(end.code or 0)
        except OSError as error:
            problem = flush_screen() or error
            if problem.errno not in _UNWRITTEN or problem.filename:
                raise
        problem = problem or flush_screen()
        if not problem or code:
            return code
        if problem.errno == errno.EPIPE:
            return 128 + signal.SIGPIPE
        tell(f"error: cannot write the output: {problem.strerror}")
        return 2

    return run
