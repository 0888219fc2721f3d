"""Which NVIDIA GPUs there are, and which of them MXNet's wheel can compute on.

A library for CUDA holds machine code for some GPUs; on others every kernel fails with "no kernel
image is available", but only when it is first called. So the driver is asked before. It needs
neither MXNet nor NumPy nor anything of this project::

    python gpus.py
"""

from __future__ import annotations

import ctypes
from importlib import metadata
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

WHEEL, VERSION = "mxnet-cu112", "1.9.1"
# What the wheel's libmxnet.so holds machine code for, and no PTX, which a driver could translate
# for later GPUs. Code for 8.6 runs on 8.6 and any later 8.x, but not on 9.0: CUDA C++ Programming
# Guide, "Binary Compatibility".
CAPABILITIES = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))
RANGE = "compute capabilities 5.0 to 8.9 (Maxwell to Ada)"
# The last release, stated for compute capability 6.0 to Hopper's; there is none for later GPUs:
# https://docs.nvidia.com/deeplearning/frameworks/mxnet-release-notes/rel-24-06.html
CONTAINER = "NVIDIA's container nvcr.io/nvidia/mxnet:24.06-py3"

# Of the CUDA driver API's cuDeviceGetAttribute.
_MAJOR, _MINOR = 75, 76


class Gpu(NamedTuple):
    """One device.

    Parameters
    ----------
    number : int
        As in ``mx.gpu(number)``: among those that ``CUDA_VISIBLE_DEVICES`` leaves, in CUDA's order,
        which is not that of nvidia-smi.
    name : str
        The driver's name of it.
    capability : tuple of int
        Compute capability, (major, minor).
    """

    number: int
    name: str
    capability: tuple[int, int]

    @property
    def supported(self) -> bool:
        """Whether the wheel holds code that runs on it."""
        major, minor = self.capability
        return any(major == built[0] and minor >= built[1] for built in CAPABILITIES)

    @property
    def limit(self) -> str:
        """Why the wheel cannot compute on it, and what is said to."""
        container = f"; {CONTAINER} is made for it" if self.capability[0] == 9 else ""
        return f"MXNet's wheel {WHEEL} runs on {RANGE} only{container}"

    def __str__(self) -> str:
        """Return what a message calls it."""
        major, minor = self.capability
        return f"{self.name} (compute capability {major}.{minor})"


def find_gpus(library: str = "libcuda.so.1") -> list[Gpu]:
    """Ask the driver which devices there are, without starting work on any.

    Parameters
    ----------
    library : str
        The driver's library.

    Returns
    -------
    list of Gpu
        None where there is no driver, or it cannot be used.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return []
    count, device, value = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = []
    for number in range(count.value):
        capability = []
        failed = cuda.cuDeviceGet(ctypes.byref(device), number)
        failed = failed or cuda.cuDeviceGetName(name, len(name), device)
        for attribute in (_MAJOR, _MINOR):
            failed = failed or cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            capability.append(value.value)
        if not failed:
            text = name.value.decode(errors="replace")
            found.append(Gpu(number, text, (capability[0], capability[1])))
    return found


def is_wheel() -> bool:
    """Whether MXNet is the wheel that `CAPABILITIES` is read from: other builds hold other code."""
    try:
        return metadata.version(WHEEL) == VERSION
    except metadata.PackageNotFoundError:
        return False


def report() -> str:
    """Return a line for each kind of GPU: which they are, and whether the wheel supports them."""
    lines = []
    for _, kind in groupby(sorted(find_gpus(), key=itemgetter(1, 2)), key=itemgetter(1, 2)):
        alike = list(kind)
        numbers = ", ".join(str(gpu.number) for gpu in alike)
        verdict = "supported" if alike[0].supported else f"unsupported, {alike[0].limit}"
        lines.append(f"GPU {numbers}: {alike[0]}: {verdict}")
    return "\n".join(lines) or "no GPU that a driver knows"


if __name__ == "__main__":
    print(report())
