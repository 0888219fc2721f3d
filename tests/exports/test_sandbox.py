"""The child that reads a stranger's file ends in an answer or in one line, within its bounds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from errors import InputError
from exports import sandbox


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (os.abort, (), "is damaged or hostile: reading it ended in SIGABRT"),
        (sys.exit, (), "cannot be used: reading it failed"),
        (int, ("x",), "cannot be used: invalid literal for int() with base 10: 'x'"),
        (print, ("done",), "cannot be used: cannot unpack non-iterable NoneType object"),
        (signal.pause, (), "is refused: reading it took over 4 seconds"),
    ],
    ids=["crash", "end", "error", "output", "time"],
)
def test_a_child_that_fails_is_one_line(monkeypatch, function, arguments, words):
    monkeypatch.setattr(sandbox, "SECONDS", 4 if function is signal.pause else 300)
    with pytest.raises(InputError) as caught:
        sandbox.try_in_child(function, *arguments, source="a file")
    assert str(caught.value) == f"a file {words}"


def test_large_libraries_and_a_users_own_limits_leave_an_export_readable(tmp_path):
    """MXNet's GPU build takes 3 GB of address space; clusters limit a job's processor time."""
    (tmp_path / "library.py").write_text(
        "import mmap, numpy as np\n"
        "held = mmap.mmap(-1, 2**33, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)\n"
        "def load():\n"
        "    return ('cat', 'dog'), {}, lambda images: np.zeros((len(images), 2))\n"
    )
    code = "import library, exports.sandbox as s; s.try_in_child(library.load, source='a file')"
    subprocess.run(
        ["sh", "-c", 'ulimit -t 200; exec "$0" -c "$1"', sys.executable, code],
        env={**os.environ, "PYTHONPATH": f"{sandbox._ROOT}:{tmp_path}"},
        check=True,
    )
