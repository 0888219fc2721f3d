"""A GPU that MXNet's wheel has no code for is known as such before it is used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from driver import H100, RTX_3090, build_driver

import gpus
from gpus import Gpu


@pytest.mark.parametrize(
    ("capability", "supported"),
    [
        ((3, 7), False),  # Kepler
        ((5, 2), True),  # Maxwell
        ((6, 1), True),  # Pascal
        ((7, 0), True),  # Volta
        ((7, 5), True),  # Turing
        ((8, 0), True),  # Ampere
        ((8, 9), True),  # Ada
        ((9, 0), False),  # Hopper
        ((10, 0), False),  # Blackwell
        ((12, 0), False),
    ],
)
def test_the_wheel_runs_on_maxwell_to_ada(capability, supported):
    assert Gpu(0, "a GPU", capability).supported is supported


def test_machine_code_does_not_run_on_an_earlier_minor_version(monkeypatch):
    monkeypatch.setattr(gpus, "CAPABILITIES", ((8, 6),))
    assert [Gpu(0, "", (8, minor)).supported for minor in (0, 6, 9)] == [False, True, True]


def test_hopper_is_told_of_the_container_and_others_are_not():
    assert gpus.CONTAINER in Gpu(0, "H100", (9, 0)).limit
    assert gpus.CONTAINER not in Gpu(0, "B200", (10, 0)).limit + Gpu(0, "K80", (3, 7)).limit


def test_the_driver_is_asked_for_names_and_capabilities(tmp_path):
    library = build_driver(tmp_path, RTX_3090, H100)
    assert gpus.find_gpus(str(library)) == [
        Gpu(0, "NVIDIA GeForce RTX 3090", (8, 6)),
        Gpu(1, "NVIDIA H100 80GB HBM3", (9, 0)),
    ]


def test_without_a_usable_driver_there_are_no_gpus(tmp_path):
    assert gpus.find_gpus(str(tmp_path / "libcuda.so.1")) == []
    assert gpus.find_gpus(str(build_driver(tmp_path, H100, status=999))) == []


def test_it_says_what_there_is_with_nothing_installed(tmp_path):
    shutil.copy(gpus.__file__, tmp_path)
    build_driver(tmp_path, H100, RTX_3090, H100)
    program = [sys.executable, "-S", "gpus.py"]  # -S: no site-packages
    environment = {"LD_LIBRARY_PATH": str(tmp_path)}
    result = subprocess.run(
        program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    first, second = result.stdout.splitlines()
    assert first == "GPU 1: NVIDIA GeForce RTX 3090 (compute capability 8.6): supported"
    assert second.startswith("GPU 0, 2: NVIDIA H100 80GB HBM3 (compute capability 9.0): unsupp")


@pytest.mark.parametrize(
    ("name", "is_wheel"),
    [("mxnet_cu112-1.9.1", True), ("mxnet_cu112-1.9.0", False), ("mxnet_cu124-1.9.1", False)],
)
def test_what_is_known_of_one_wheel_is_said_of_no_other_build(
    tmp_path: Path, monkeypatch, name, is_wheel
):
    distribution, version = name.split("-")
    (tmp_path / f"{name}.dist-info").mkdir()
    (tmp_path / f"{name}.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution.replace('_', '-')}\nVersion: {version}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert gpus.is_wheel() is is_wheel
