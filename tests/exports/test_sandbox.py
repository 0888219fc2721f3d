"""What a child process does with a stranger's file never reaches the process that asked."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from errors import InputError
from exports import sandbox
from exports.sandbox import run_in_child

# These run in a child, which imports this file.


def double(content):
    print("what a library says is no answer")
    return 2 * content


def abort():
    os.abort()


def sleep():
    signal.pause()


def leave():
    sys.exit(0)


def take(size):
    bytearray(size)


def explain():
    raise RuntimeError("Traceback:\n  File x\nMXNetError: Invalid kernel\n")


def test_what_the_function_returns_comes_back_and_nothing_else():
    assert run_in_child(double, b"\n\0x", refusal="a file cannot be used") == b"\n\0x\n\0x"


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (abort, (), "reading it ended in SIGABRT"),
        (leave, (), "reading it failed"),
        (take, (2**34,), "MemoryError"),
        (explain, (), "MXNetError: Invalid kernel"),
    ],
)
def test_a_child_that_fails_is_one_line(function, arguments, words):
    with pytest.raises(InputError) as caught:
        run_in_child(function, *arguments, refusal="a file cannot be used")
    assert str(caught.value) == f"a file cannot be used: {words}"


def test_memory_grows_with_the_file_and_has_a_bound():
    limits = {"refusal": "no", "memory": 2**28, "memory_per_byte": 8}
    run_in_child(double, bytes(2**26), **limits)
    with pytest.raises(InputError, match=r"MemoryError|reading it failed"):
        run_in_child(take, 2**29, **limits)


def test_time_has_a_bound(monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 2)
    before = time.monotonic()
    with pytest.raises(InputError, match="took over 2 seconds"):
        run_in_child(sleep, refusal="no")
    assert time.monotonic() - before < sandbox.SECONDS + 60
