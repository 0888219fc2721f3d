"""A GPU that MXNet's wheel has no code for is known as such before it is used."""

from __future__ import annotations

import ctypes
import runpy

import pytest

import gpus
from gpus import Gpu

# Name, compute capability, and what is said of it.
DEVICES = (
    ("Tesla K80", 3, 7, "unsupported, MXNet's wheel mxnet-cu112 runs on"),
    ("NVIDIA GeForce GTX 980", 5, 2, "supported"),
    ("NVIDIA GeForce RTX 4090", 8, 9, "supported"),
    ("NVIDIA H100 80GB HBM3", 9, 0, f"only; {gpus.CONTAINER} is made for it"),
    ("NVIDIA B200", 10, 0, "(Maxwell to Ada) only"),
)


class Driver:
    """As the CUDA driver API has it: a device's handle is not its number; not 0 is an error."""

    def __init__(self, status=0):
        self.cuInit = lambda flags: status

    def cuDeviceGetCount(self, found):  # noqa: N802
        found._obj.value = len(DEVICES)
        return 0

    def cuDeviceGet(self, found, number):  # noqa: N802
        found._obj.value = 100 + number
        return 0

    def cuDeviceGetName(self, name, size, device):  # noqa: N802
        name.value = DEVICES[device.value - 100][0].encode()[:size]
        return 0

    def cuDeviceGetAttribute(self, found, attribute, device):  # noqa: N802
        found._obj.value = DEVICES[device.value - 100][attribute - 74]
        return 0


def test_the_driver_is_asked_and_the_wheel_runs_on_maxwell_to_ada(monkeypatch, capsys):
    monkeypatch.setattr(ctypes, "CDLL", lambda library: Driver())
    assert gpus.find_gpus() == [Gpu(i, *device[:3]) for i, device in enumerate(DEVICES)]
    runpy.run_path(gpus.__file__, run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(DEVICES)
    for number, (line, (name, major, minor, said)) in enumerate(zip(lines, DEVICES)):
        assert line.startswith(f"GPU {number}: {name} (compute capability {major}.{minor}): ")
        assert line.endswith(f": {said}") if said == "supported" else said in line


def test_without_a_usable_driver_there_are_no_gpus(monkeypatch, capsys):
    monkeypatch.setattr(ctypes, "CDLL", lambda library: Driver(status=999))
    assert gpus.find_gpus() == []

    def absent(library):
        raise OSError(f"{library}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    runpy.run_path(gpus.__file__, run_name="__main__")
    assert capsys.readouterr().out == "no GPU that a driver knows\n"


@pytest.mark.parametrize(("version", "is_wheel"), [("1.9.1", True), ("1.9.0", False)])
def test_what_is_known_of_one_wheel_is_said_of_no_other_build(
    version, is_wheel, tmp_path, monkeypatch
):
    folder = tmp_path / f"mxnet_cu112-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Name: mxnet-cu112\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert gpus.is_wheel() is is_wheel
