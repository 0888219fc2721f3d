"""A user's mistake is told in one line, and a script that meets one exits with code 2."""

from __future__ import annotations

import argparse
import difflib
import functools
import io
import sys
from typing import Callable, Iterable, NoReturn


class InputError(ValueError):
    """A user's mistake or an unusable file; the message is one line: what, where, what to do."""


class Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one line, as everything else does, without all its flags."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (--help lists the flags)")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the names most like an unknown one, to be put at the end of a message.

    Parameters
    ----------
    name : str
        What the user wrote.
    known : iterable of str
        The names that exist.

    Returns
    -------
    str
        `` did you mean a, b?`` with a space in front, the most alike first and three at most;
        empty where nothing is alike.
    """
    names = {known_name.lower(): known_name for known_name in known}
    alike = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    return f" did you mean {', '.join(names[match] for match in alike)}?" if alike else ""


def command_line(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap a script's main: an `InputError` becomes one line on stderr and exit code 2.

    Stdout writes what its encoding lacks, such as a file's name that is no text, with backslashes,
    as stderr does.

    Parameters
    ----------
    main : callable
        Returns an exit code, or None for 0.

    Returns
    -------
    callable
        Takes what `main` takes and returns the exit code.
    """

    @functools.wraps(main)
    def run(*args: object, **kwargs: object) -> int:
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return main(*args, **kwargs) or 0
        except InputError as error:
            print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
            return 2

    return run
