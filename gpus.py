"""Which NVIDIA GPUs there are, and which of them MXNet's wheel can compute on: `python gpus.py`.

A library for CUDA holds machine code for some GPUs; on others every kernel fails with "no kernel
image is available", but only when it is first called. So the driver is asked before. It needs
neither MXNet nor NumPy nor anything of this project.
"""

from __future__ import annotations

import ctypes
from importlib import metadata
from typing import NamedTuple

WHEEL, VERSION = "mxnet-cu112", "1.9.1"
# The wheel's libmxnet.so holds machine code for 5.0, 6.0, 7.0, 8.0 and 8.6, and no PTX, which a
# driver could translate for later GPUs. Code for 8.0 runs on any 8.x, but not on 9.0: CUDA C++
# Programming Guide, "Binary Compatibility".
MAJORS = range(5, 9)
# The last release, stated for compute capability 6.0 to Hopper's; there is none for later GPUs:
# https://docs.nvidia.com/deeplearning/frameworks/mxnet-release-notes/rel-24-06.html
CONTAINER = "NVIDIA's container nvcr.io/nvidia/mxnet:24.06-py3"


class Gpu(NamedTuple):
    """A device: its number in ``mx.gpu(number)``, its name, its compute capability major.minor.

    The number is among those that ``CUDA_VISIBLE_DEVICES`` leaves, in CUDA's order, which is not
    that of nvidia-smi.
    """

    number: int
    name: str
    major: int
    minor: int

    @property
    def limit(self) -> str:
        """Why the wheel cannot compute on it, and what can; "" where the wheel can."""
        if self.major in MAJORS:
            return ""
        only = (
            f"MXNet's wheel {WHEEL} runs on compute capabilities 5.0 to 8.9 (Maxwell to Ada) only"
        )
        return f"{only}; {CONTAINER} is made for it" if self.major == 9 else only

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.major}.{self.minor})"


def find_gpus() -> list[Gpu]:
    """Ask the driver which devices there are, without starting work on any; none without one."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count, device, major, minor = (ctypes.c_int() for _ in range(4))
    name = ctypes.create_string_buffer(256)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = []
    for number in range(count.value):
        failures = [
            cuda.cuDeviceGet(ctypes.byref(device), number),
            cuda.cuDeviceGetName(name, len(name), device),
            cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device),
            cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device),
        ]
        if not any(failures):
            text = name.value.decode(errors="replace")
            found.append(Gpu(number, text, major.value, minor.value))
    return found


def is_wheel() -> bool:
    """Whether MXNet is the wheel that `MAJORS` is read from: other builds hold other code."""
    try:
        return metadata.version(WHEEL) == VERSION
    except metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    lines = [
        f"GPU {g.number}: {g}: {f'unsupported, {g.limit}' if g.limit else 'supported'}"
        for g in find_gpus()
    ]
    print("\n".join(lines) or "no GPU that a driver knows")
