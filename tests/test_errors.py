"""A user's mistake is one line on stderr and exit code 2; a fault of ours is still a traceback."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from errors import InputError, command_line, nearest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = (
    "datasets.__main__",
    "evaluate",
    "export",
    "launch",
    "formats.old_checkpoints",
    "plots",
    "predict",
    "pretrained.__main__",
    "train_cifar10",
)


def test_an_unknown_name_is_answered_with_the_names_most_like_it():
    known = ["densenet40_k12", "densenet_bc40_k16", "resnet110", "resnet110_sd"]
    assert nearest("resnet100", known).startswith(" did you mean resnet110")
    assert nearest("ResNet110_SD", known).startswith(" did you mean resnet110_sd, resnet110")
    assert nearest("densenet", known).endswith("?")
    assert nearest("quux", known) == ""
    assert nearest("anything", []) == ""


def test_a_main_that_ends_well_keeps_its_exit_code():
    assert command_line(lambda: None)() == 0
    assert command_line(lambda code: code)(3) == 3


def test_an_error_that_is_not_the_users_is_not_hidden():
    @command_line
    def main():
        raise KeyError("a fault of ours")

    with pytest.raises(KeyError):
        main()


def test_a_script_tells_a_users_mistake_in_one_line(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from errors import InputError, command_line\n"
        "@command_line\n"
        "def main(argv=None):\n"
        "    raise InputError('no such\\nmodel')\n"
        "sys.exit(main())\n"
    )
    result = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "error: no such model\n"


def test_a_name_that_stdout_cannot_say_is_written_with_backslashes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from errors import command_line\n"
        "@command_line\n"
        "def main(argv=None):\n"
        "    print('\u00fc', os.fsdecode(b'\\xff'))\n"
        "sys.exit(main())\n",
        encoding="utf-8",
    )
    result = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "\\xfc \\udcff\n"


def test_callers_may_catch_it_as_a_value_error():
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_flag_that_no_script_has_is_one_line(script, capsys):
    assert importlib.import_module(script).main(["--nothing"]) == 2
    assert re.fullmatch(r"error: .*\n", capsys.readouterr().err)
