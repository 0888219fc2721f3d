"""Import MXNet 1.9.1 so that it uses all cores, finds CUDA and bears today's NumPy.

MXNet's last release is from 2022. As it is, it computes on half of the processors, wants CUDA 11
installed on the machine before it sees a GPU, and fails beside NumPy 1.24 or later. This module
sets that right before the first import of MXNet and imports it, on Python 3.8 to 3.13 with NumPy
1.17 to 2.2 (from Python 3.12 on, setuptools has to be installed for `distutils`). It needs nothing
else of this project: copy the file to use it in another. Write, before any import of mxnet::

    from runtime import gluoncv, mx
    from mxnet import autograd, gluon
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import platform
import sys
import types
import warnings
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Iterator

import numpy

# ------------------------------------------------------------------------------------- threads


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # another kernel or system, which does not tell


def _cgroup_limits(root: Path) -> Iterator[float]:
    """Yield the processors' worth of time that each control group above this process grants."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = PurePosixPath(name)
        for level in (group, *group.parents):
            folder = mount / level.relative_to("/")
            if controllers:  # version 1
                values = [_read(folder / f"cpu.cfs_{key}_us") for key in ("quota", "period")]
            else:
                values = _read(folder / "cpu.max").split()
            with contextlib.suppress(ValueError):  # no such file, or "max": no limit here
                quota, period = (int(value) for value in values)
                if quota > 0:
                    yield quota / period


def physical_cores(root: str = "/") -> int:
    """Count the physical cores that this process may use.

    Two hardware threads of a core count once, because they share the units that MXNet's loops
    keep busy. The process's affinity and its control groups' CPU limits (a container's) count too.
    ``/sys`` and ``/proc`` are in `root`.
    """
    if hasattr(os, "sched_getaffinity"):
        processors = os.sched_getaffinity(0)
    else:
        processors = set(range(os.cpu_count() or 1))
    topology = Path(root) / "sys/devices/system/cpu"
    cores = {
        _read(topology / f"cpu{processor}/topology/thread_siblings_list") or str(processor)
        for processor in processors
    }
    return max(1, int(min([len(cores), *_cgroup_limits(Path(root))])))


def set_threads() -> None:
    """Let MXNet use every physical core, and wait for them briefly, unless the user has set that.

    MXNet supposes two hardware threads to a core and takes half of the processors: one of two
    where there is no hyper-threading. OpenMP's threads wait for each other some thousand times in a
    training step. One that sleeps at once is dear to wake (a fifth to a half of the step), and one
    that spins for long takes its processor from other programs, on which the slowest thread then
    waits. 30,000 turns are half a millisecond to one and a half: longer than most waits, shorter
    than a time slice. The variables are read once, when MXNet is imported.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(physical_cores()))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")


def processor_name(root: str = "/") -> str:
    """Return what the processor calls itself, and its widest instructions: ``EPYC (AVX2)``.

    Where there is no ``/proc`` in `root`, the answer is the architecture.
    """
    text = _read(Path(root) / "proc/cpuinfo")
    names = (line.partition(":")[2] for line in text.splitlines() if line.startswith("model name"))
    flags = {"avx512_bf16": "AVX512-BF16", "avx512f": "AVX-512", "avx2": "AVX2"}
    widest = (f" ({name})" for flag, name in flags.items() if flag in text.split())
    return next(names, platform.machine()).strip() + next(widest, "")


# ------------------------------------------------------------------------------- GPU libraries

# What libmxnet.so of mxnet-cu112 is linked against, where the wheels nvidia-*-cu11 put it; each
# library after those that it needs itself.
GPU_LIBRARIES = (
    "cuda_runtime/lib/libcudart.so.11.0",
    "nvtx/lib/libnvToolsExt.so.1",
    "cuda_nvrtc/lib/libnvrtc.so.11.2",
    "cublas/lib/libcublasLt.so.11",
    "cublas/lib/libcublas.so.11",
    "cufft/lib/libcufft.so.10",
    "curand/lib/libcurand.so.10",
    "cusolver/lib/libcusolver.so.11",
    "nccl/lib/libnccl.so.2",
    "cudnn/lib/libcudnn.so.8",
)


def load_gpu_libraries() -> list[str]:
    """Load CUDA 11 and cuDNN 8 from their wheels, if MXNet's GPU build is what is installed.

    The wheels put the libraries where the loader does not look; once they are in the process it
    finds them by name. One that no wheel brings is left to the loader (a CUDA of the system's).
    The paths loaded are returned.
    """
    mxnet, nvidia = (importlib.util.find_spec(name) for name in ("mxnet", "nvidia"))
    if mxnet is None or mxnet.origin is None or nvidia is None:
        return []
    if not any(Path(mxnet.origin).parents[1].glob("mxnet_cu*.dist-info")):
        return []
    folders = [Path(folder) for folder in nvidia.submodule_search_locations or ()]
    paths = [str(folder / name) for name in GPU_LIBRARIES for folder in folders]
    paths = [path for path in paths if os.path.exists(path)]
    for path in paths:
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    return paths


# ------------------------------------------------------------------------------- dropped names


def _removed(name: str, *args: object, **kwargs: object) -> None:
    raise NotImplementedError(f"numpy.{name} was removed from NumPy")


# What MXNet takes from NumPy, some of it only when one of its functions is called, and NumPy 1.20
# (mirr to rate), 1.24 (bool, int, float) or 2.0 dropped; float is for GluonCV alone.
DROPPED_NAMES: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "float": float,
    "PZERO": 0.0,
    "NZERO": -0.0,
    "PINF": numpy.inf,
    "NINF": -numpy.inf,
    "Inf": numpy.inf,
    "NAN": numpy.nan,
    "NaN": numpy.nan,
    "alltrue": numpy.all,
    "sometrue": numpy.any,
    "product": numpy.prod,
    "round_": numpy.round,
    "compat": types.SimpleNamespace(basestring=(str, bytes)),
    **{f: partial(_removed, f) for f in ("mirr", "msort", "npv", "pmt", "ppmt", "pv", "rate")},
}


@contextlib.contextmanager
def dropped_names(package: str) -> Iterator[None]:
    """Supply what NumPy dropped while a package is imported, and to that package ever after.

    NumPy itself is as before when the block ends. In the modules of the package that the block
    imported, ``numpy`` then stands for a copy of its namespace that has the names. Warnings are
    off inside: those that MXNet causes as it is imported concern nobody who can change it.
    GluonCV imports without this, but its detection nets and HRNet need it beside NumPy 1.24.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        missing = {name: value for name, value in DROPPED_NAMES.items() if not hasattr(numpy, name)}
        vars(numpy).update(missing)
        try:
            yield
        finally:
            extended = types.ModuleType("numpy", numpy.__doc__)
            vars(extended).update(vars(numpy))
            for name in missing:
                delattr(numpy, name)
    if missing:
        for module in [m for n, m in sys.modules.items() if f"{n}.".startswith(f"{package}.")]:
            for name in [name for name, value in vars(module).items() if value is numpy]:
                setattr(module, name, extended)


# -------------------------------------------------------------------------------------- import

if "mxnet" not in sys.modules:
    set_threads()
    load_gpu_libraries()
elif "OMP_NUM_THREADS" not in os.environ:
    warnings.warn(
        "mxnet was imported before runtime and computes on half of the processors: "
        "import runtime first",
        RuntimeWarning,
        stacklevel=2,
    )

try:
    with dropped_names("mxnet"):
        import mxnet as mx
except OSError as error:
    if "libcuda.so" not in str(error):
        raise
    raise ImportError(
        "MXNet's GPU build needs an NVIDIA driver and there is none: "
        "install the CPU build, mxnet, instead"
    ) from error


def __getattr__(name: str) -> Any:
    """Import GluonCV when it is first asked for.

    It refuses to be imported beside PyTorch 2, which is hidden from it, and tells Pillow to fill up
    broken images in silence, which is undone.
    """
    if name != "gluoncv":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from PIL import ImageFile

    truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    torch = {"torch": sys.modules["torch"]} if "torch" in sys.modules else {}
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        with dropped_names("gluoncv"):
            import gluoncv
    finally:
        del sys.modules["torch"]
        sys.modules.update(torch)
    ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    return gluoncv


__all__ = ["mx"]
