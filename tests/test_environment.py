"""One command builds the environment on any machine, or says in one line what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import runtime

import pytest

ROOT = Path(__file__).resolve().parents[1]
PINS = ["requirements.txt", *(f"requirements/{p.name}" for p in ROOT.glob("requirements/*.txt"))]


def test_the_gpu_file_brings_every_library_that_is_loaded_before_mxnet():
    pins = (ROOT / "requirements/gpu.txt").read_text()
    for library in runtime.GPU_LIBRARIES:
        folder = library.split("/")[0].replace("_", "-")
        assert f"nvidia-{folder}-cu11==" in pins


class Clone:
    """A folder with the Makefile, empty requirements, and no program on the path but those put."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        for tool in ("sh", "rm", "touch", "sed", "expand"):
            (self.programs / tool).symlink_to(str(shutil.which(tool)))
        shutil.copy(ROOT / "Makefile", folder)
        self.put_gpus()
        (folder / "requirements").mkdir()
        for name in PINS:
            (folder / name).write_text("")

    def put(self, name: str, script: str) -> None:
        program = self.programs / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def put_gpus(self, *devices: tuple[str, int, int]) -> None:
        """Put `gpus.py` there, and GPUs for it to find unless a job hides them."""
        found = f"[Gpu(number, *device) for number, device in enumerate({devices})]"
        hidden = "__import__('os').environ.get('CUDA_VISIBLE_DEVICES') == ''"
        text = (ROOT / "gpus.py").read_text()
        text = text.replace(" find_gpus()\n", f" ([] if {hidden} else {found})\n")
        (self.folder / "gpus.py").write_text(text)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(shutil.which("make")), *arguments],
            cwd=self.folder,
            env={"PATH": str(self.programs), "HOME": str(self.folder), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )


ENVIRONMENT = ".venv/installed-requirements.txt"
REAL = f'exec "{sys.executable}" "$@"'
SHIM = 'echo "pyenv: command not found" >&2; exit 127'
TOO_OLD = 'case "$1" in -c | gpus.py) exit 1;; *) touch wrong;; esac'
WITHOUT_VENV = f'case "$1" in -m) exit 1;; *) {REAL};; esac'


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def error_of(result: subprocess.CompletedProcess) -> str:
    """Return the line that says what is wrong; make adds one of its own."""
    assert result.returncode == 2
    line, added = result.stderr.splitlines()
    assert added.startswith("make")
    return line


def test_without_a_fitting_python_one_line_says_what_to_install(clone):
    clone.put("python3.11", SHIM)
    clone.put("python3", TOO_OLD)
    assert "found no Python from 3.8 to 3.13" in error_of(clone.make(ENVIRONMENT))
    assert "python9" in error_of(clone.make("PYTHON=python9", ENVIRONMENT))
    assert not (clone.folder / "wrong").exists()
    assert not (clone.folder / ".venv").exists()


def test_where_no_python_makes_an_environment_uv_is_asked(clone):
    clone.put("python3.12", WITHOUT_VENV)
    line = error_of(clone.make(ENVIRONMENT))
    assert line.startswith("error: python3.12 cannot make a virtual environment")
    assert "python3-venv" in line
    for tool in ("mkdir", "cp"):
        (clone.programs / tool).symlink_to(str(shutil.which(tool)))
    make_environment = 'echo "$@" >asked; mkdir -p .venv/bin; cp "$0" .venv/bin/python'
    clone.put("uv", f'if [ "$1" = venv ]; then {make_environment}; fi')
    assert clone.make(ENVIRONMENT).returncode == 0
    assert "--seed --python 3.11 .venv" in (clone.folder / "asked").read_text()
    assert (clone.folder / ENVIRONMENT).exists()


def test_an_environment_is_built_once_and_again_when_the_pins_change(clone):
    clone.put("python3.11", SHIM)
    clone.put("python3", REAL)
    (clone.folder / ".venv").mkdir()
    (clone.folder / ".venv" / "half").write_text("an installation that was interrupted")

    first = clone.make(ENVIRONMENT)
    assert first.returncode == 0, first.stderr
    assert "installing requirements.txt for Python 3." in first.stdout
    assert not (clone.folder / ".venv" / "half").exists()

    assert "installing" not in clone.make(ENVIRONMENT).stdout
    assert "installing" not in clone.make("PYTHON=python3", ENVIRONMENT).stdout

    later = (clone.folder / ENVIRONMENT).stat().st_mtime + 5
    os.utime(clone.folder / "requirements/common.txt", (later, later))
    assert "installing requirements.txt" in clone.make("-n", ENVIRONMENT).stdout
    clone.put("python3.13", 'echo "another version"')
    assert "installing" in clone.make("-n", "PYTHON=python3.13", ENVIRONMENT).stdout


GPU_BUILD, CPU_BUILD = "-r requirements/gpu.txt", "-r requirements.txt"


def test_the_gpus_decide_which_mxnet_is_installed(clone):
    clone.put("python3.11", SHIM)
    clone.put("python3", REAL)
    clone.put("nvidia-smi", "exit 0")  # there is a driver, says one who does not know libcuda
    assert CPU_BUILD in clone.make("-n", "train").stdout
    hopper, ampere = ("NVIDIA H100", 9, 0), ("NVIDIA GeForce RTX 3090", 8, 6)
    clone.put_gpus(hopper, hopper)
    planned = clone.make("-n", "train").stdout
    assert CPU_BUILD in planned
    assert planned.startswith(
        "MXNet for the CPU: GPU 0: NVIDIA H100 (compute capability 9.0): unsupported, "
    )
    assert GPU_BUILD in clone.make("-n", "GPU=1", "train").stdout
    clone.put_gpus(hopper, ampere)
    assert GPU_BUILD in clone.make("-n", "train").stdout
    assert CPU_BUILD in clone.make("-n", "GPU=0", "train").stdout
    # An environment is for the machine, not for the devices of one job.
    assert GPU_BUILD in clone.make("-n", "train", CUDA_VISIBLE_DEVICES="").stdout


def test_before_there_is_a_python_to_ask_the_driver_decides(clone):
    assert CPU_BUILD in clone.make("-n", "train").stdout
    clone.put("nvidia-smi", 'test "$1" = -L')
    assert GPU_BUILD in clone.make("-n", "train").stdout
