"""How a command ends: a user's mistake is one line and exit code 2, Ctrl-C says nothing.

Commands import this module first and call `end_on_ctrl_c`, because their other imports take
seconds.
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
from typing import Any, Callable, Iterable, Iterator, NoReturn, Sequence

# What writing to a screen fails with: no reader, no terminal, no room.
_UNWRITTEN = (errno.EPIPE, errno.EIO, errno.ENOSPC)


class InputError(ValueError):
    """A user's mistake or an unusable file; the message is one line: what, where, what to do."""


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are an `InputError` of one line, without a list of all flags."""

    def __init__(self, **options: Any) -> None:
        spec = sys.modules["__main__"].__spec__
        if spec:  # run by -m
            options.setdefault("prog", f"python -m {spec.name.replace('.__main__', '')}")
        super().__init__(**options)

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse would hide a failed write

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (--help lists the flags)")


@contextlib.contextmanager
def one_line(what: str) -> Iterator[None]:
    """Turn an operating system's error in the block into an `InputError`, ``what: reason``."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{what}: {error.strerror or error}") from error


# What reading data of another form than expected raises.
OTHER_FORM = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


@contextlib.contextmanager
def expected_form(fault: str) -> Iterator[None]:
    """Turn what data of another form raises in the block into an `InputError`, ``fault: error``."""
    try:
        yield
    except InputError:
        raise
    except OTHER_FORM as error:
        raise InputError(f"{fault}: {error!r:.150}") from error


def listed(faults: Sequence[str]) -> str:
    """Join the first three faults, and say how many more there are."""
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return "; ".join(faults[:3]) + more


def end_on_ctrl_c() -> None:
    """Let Ctrl-C end a command without a traceback while it is still importing.

    `command_line` restores Python's own handling. A signal that is ignored stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: `` did you mean a, b?``.

    It begins with a space and has three names at most, the most similar first; it is empty where
    none is similar.
    """
    names = {known_name.lower(): known_name for known_name in known}
    alike = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    return f" did you mean {', '.join(names[match] for match in alike)}?" if alike else ""


def printable(text: str) -> str:
    """Return text with its control characters as backslashes: names come from strangers."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tell(line: str) -> None:
    """Print one line to stderr; that nobody can read it is no error."""
    with contextlib.suppress(OSError):
        print(printable(" ".join(line.splitlines())), file=sys.stderr)


def flush_screen() -> OSError | None:
    """Flush stdout and stderr; return the error of one that cannot be written, or None.

    What is written there afterwards is dropped: its reader has gone, or its disk is full.
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
    """Wrap a command's main, so that it ends with an exit code and prints at most one line.

    - 2: an `InputError`, a package that is not installed, or output that cannot be written (a full
      disk); a line on stderr says which.
    - 130: Ctrl-C.
    - 141: nobody reads its output any more, as when `head` has seen enough.

    Characters that stdout's encoding lacks are written with backslashes, as on stderr.
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
