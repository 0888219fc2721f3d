"""What must happen before MXNet 1.9.1 is first imported, and that import itself.

MXNet's last release is from 2022. As it is, it runs on half of the processors, needs CUDA 11
installed on the machine for GPUs, and cannot be imported beside a newer NumPy. This module cures
the three and depends on nothing else in this project: copy the file to use it in another one. Write::

    from runtime import mx  # before anything that imports mxnet
    from mxnet import autograd, gluon
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import Callable, Iterator

# CUDA 11 and cuDNN 8 as the wheels nvidia-*-cu11 install them, each after those it links against.
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


def physical_cores(root: Path = Path("/")) -> int:
    """Count the physical cores that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        try:
            cores.add(
                (
                    (topology / "physical_package_id").read_text().strip(),
                    (topology / "core_id").read_text().strip(),
                )
            )
        except OSError:
            cores.add(("", str(cpu)))
    return max(1, len(cores))


def set_threads() -> None:
    """Let MXNet use every physical core; a value that the user set stays."""
    os.environ.setdefault("OMP_NUM_THREADS", str(physical_cores()))


def load_gpu_libraries() -> list[str]:
    """Load CUDA and cuDNN from the wheels nvidia-*-cu11 if MXNet's GPU build is installed.

    Returns
    -------
    list of str
        The paths loaded; empty with MXNet's CPU build.
    """
    mxnet, nvidia = importlib.util.find_spec("mxnet"), importlib.util.find_spec("nvidia")
    if mxnet is None or mxnet.origin is None or nvidia is None:
        return []
    if not list(Path(mxnet.origin).parents[1].glob("mxnet_cu*.dist-info")):
        return []
    loaded = []
    for library in GPU_LIBRARIES:
        for folder in nvidia.submodule_search_locations or []:
            path = os.path.join(folder, library)
            if os.path.exists(path):
                ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
                loaded.append(path)
                break
    return loaded


def _removed(name: str) -> Callable[..., None]:
    def function(*args: object, **kwargs: object) -> None:
        raise NotImplementedError(f"numpy.{name} was removed from NumPy")

    return function


def dropped_names() -> dict[str, object]:
    """Return the names that MXNet takes from NumPy and that some release of it dropped."""
    import numpy

    names: dict[str, object] = {
        "bool": bool,
        "PZERO": 0.0,
        "NZERO": -0.0,
        "PINF": numpy.inf,
        "NINF": -numpy.inf,
        "Inf": numpy.inf,
        "infty": numpy.inf,
        "NaN": numpy.nan,
        "float_": numpy.float64,
        "alltrue": numpy.all,
        "sometrue": numpy.any,
        "product": numpy.prod,
        "cumproduct": numpy.cumprod,
        "round_": numpy.round,
        "row_stack": numpy.vstack,
    }
    for name in ("mirr", "msort", "npv", "pmt", "ppmt", "pv", "rate"):
        names[name] = _removed(name)
    return names


@contextlib.contextmanager
def dropped_names_supplied() -> Iterator[None]:
    """Give NumPy the names that it dropped, and keep MXNet's import warnings quiet."""
    import numpy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        missing = {k: v for k, v in dropped_names().items() if not hasattr(numpy, k)}
        vars(numpy).update(missing)
        try:
            yield
        finally:
            for name in missing:
                delattr(numpy, name)


if "mxnet" not in sys.modules:
    set_threads()
    load_gpu_libraries()
with dropped_names_supplied():
    import mxnet as mx

__all__ = ["mx"]
