"""A user's mistake is one line and exit code 2, Ctrl-C nothing; a fault of ours is a traceback."""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from errors import Parser, command_line

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    *("train_cifar10", "evaluate", "predict", "export", "studies", "figures", "figures.summary"),
    *("inference.old_checkpoints", "inference.publish"),
)


def test_a_main_keeps_its_exit_code_and_a_fault_of_ours_is_not_hidden():
    assert command_line(lambda: None)() == 0
    assert command_line(lambda code: code)(3) == 3
    with pytest.raises(ZeroDivisionError):
        command_line(lambda: 1 // 0)()


@pytest.fixture
def script(tmp_path):
    """Return what runs a command whose main is the given lines, in a process."""

    def run(*lines, stdout=subprocess.PIPE, **environment):
        path = tmp_path / "script.py"
        body = "".join(f"    {line}\n" for line in lines)
        path.write_text(
            "import os, sys\n"
            "from errors import InputError, command_line\n"
            "@command_line\n"
            f"def main(argv=None):\n{body}"
            "sys.exit(main())\n",
            encoding="utf-8",
        )
        return subprocess.run(
            [sys.executable, str(path)],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), **environment},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


STRANGE = "raise InputError('no\\nclass \\x1b[2J \\x9b31m \\u202e猫')"
FULL = "raise OSError(28, 'No space left on device', 'checkpoint')"


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        (STRANGE, 2, "", r"error: no class \\x1b\[2J \\x9b31m \\u202e猫\n"),
        ("print('\u00fc', os.fsdecode(b'\\xff'))", 0, r"\xfc \udcff", ""),
        ("raise KeyboardInterrupt", 128 + signal.SIGINT, "", ""),
        (FULL, 1, "", r"Traceback(.|\n)*No space left on device: 'checkpoint'\n"),
    ],
    ids=["no name steers the terminal", "stdout lacks a letter", "Ctrl-C", "not the screen's disk"],
)
def test_a_command_ends_with_a_code_and_at_most_one_line(script, line, code, out, err):
    encoding = "ascii" if out else "utf-8"
    result = script(line, PYTHONIOENCODING=encoding, PYTHONUTF8="1")
    assert (result.returncode, result.stdout.rstrip("\n")) == (code, out)
    assert re.fullmatch(err, result.stderr)


HELP = "import errors; errors.Parser().parse_args(['--help'])"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("lines", ["print(1)", "print('x' * 100_000)", HELP])
def test_output_that_nobody_reads_ends_quietly_and_on_a_full_disk_in_one_line(
    script, lines, unbuffered
):
    reader, writer = os.pipe()
    os.close(reader)
    result = script(lines, stdout=writer, PYTHONUNBUFFERED=unbuffered)
    os.close(writer)
    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, "")
    with open("/dev/full", "w") as full:
        result = script(lines, stdout=full, PYTHONUNBUFFERED=unbuffered)
    line = "error: cannot write the output: No space left on device\n"
    assert (result.returncode, result.stderr) == (2, line)


def run_with_ctrl_c(arguments, **environment):
    """Run Python in the repository's folder, where Ctrl-C is not ignored as it may be in tests."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_a_command_that_is_still_importing_without_a_traceback(command, tmp_path):
    (tmp_path / "numpy.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    done = run_with_ctrl_c(["-m", command, "--help"], PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_script_of_ones_own_may_catch_ctrl_c_whatever_it_imports():
    code = (
        "import os, signal, models, predict\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    print('caught')\n"
    )
    assert run_with_ctrl_c(["-c", code]).stdout == "caught\n"


def test_a_package_calls_itself_by_the_way_it_is_run(monkeypatch):
    spec = importlib.machinery.ModuleSpec("figures.__main__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    assert Parser().prog == "python -m figures"


@pytest.mark.parametrize("command", [*COMMANDS, "models", "training.launch"])
def test_every_command_has_help_and_tells_an_unknown_flag_in_one_line(command, capsys, refused):
    module = f"{command}.__main__" if (ROOT / command).is_dir() else command
    main = importlib.import_module(module).main
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: ")
    assert refused(main, ["--nothing"])
