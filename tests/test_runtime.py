"""MXNet uses all cores, and finds the CUDA of the wheels; GluonCV is imported beside it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import runtime
from runtime import mx

import kiwisolver
import numpy
import pytest
from mxnet import autograd, gluon

ROOT = Path(runtime.__file__).resolve().parent


def run_python(code: str, folder: Path, check: bool = True, **environment: str):
    """Run code in a new process that imports from a folder first and knows nothing of OpenMP."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
    )
    assert not check or result.returncode == 0, result.stderr
    return result


@pytest.fixture
def site(tmp_path):
    """A folder with runtime.py alone, as another project would copy it, and a stand-in MXNet."""
    shutil.copy(ROOT / "runtime.py", tmp_path)
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet" / "__init__.py").write_text("")
    return tmp_path


# ------------------------------------------------------------------------------------- threads


def test_importing_sets_the_threads_that_mxnet_reads():
    code = "from runtime import mx; print(mx.__version__)"
    result = run_python(code, ROOT, OMP_DISPLAY_ENV="VERBOSE")  # libgomp says what it has read
    assert result.stdout == "1.9.1\n"
    assert f"OMP_NUM_THREADS = '{runtime.physical_cores()}'" in result.stderr
    assert "GOMP_SPINCOUNT = '30000'" in result.stderr


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_the_users_number_of_threads_and_their_way_to_wait_stay(site, name):
    code = "import runtime, os; print(*sorted(k + v for k, v in os.environ.items() if 'OMP_' in k))"
    given = {name: "7", "OMP_NUM_THREADS": "3"}
    expected = " ".join(sorted(key + value for key, value in given.items()))
    assert run_python(code, site, **given).stdout == f"{expected}\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_one_core_gets_one_thread(site):
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "import runtime; print(os.environ['OMP_NUM_THREADS'])"
    )
    assert run_python(code, site).stdout == "1\n"


class Read(gluon.HybridBlock):
    """A weight that is read several times: 1 · w, 2 · w, and so on, added up."""

    def __init__(self, times):
        super().__init__()
        self.times = times
        self.weight = self.params.get("weight", shape=(3,), init="ones")

    def hybrid_forward(self, F, x, weight):
        scaled = x * weight
        return F.add_n(*[scaled * (number + 1) for number in range(self.times)])


@pytest.mark.parametrize("grad_req", ["write", "add"])
@pytest.mark.parametrize("times", range(1, 11))
def test_the_gradients_of_all_who_read_a_tensor_count(times, grad_req):
    # MXNet once lost some of five to seven with "add": apache/incubator-mxnet#17989.
    net = Read(times)
    net.initialize()
    net.weight.grad_req = grad_req
    net.hybridize(static_alloc=True, static_shape=True)
    for step in range(1, 3):
        with autograd.record():
            out = net(mx.nd.array([1, 2, 3]))
        out.backward()
        seen = step if grad_req == "add" else 1
        expected = seen * times * (times + 1) / 2 * numpy.array([1, 2, 3])
        assert net.weight.grad().asnumpy().tolist() == expected.tolist()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of eight processors, two to a core; ``write`` adds a file to its /sys or /proc."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    for processor in range(8):
        siblings = f"{processor % 4},{processor % 4 + 4}\n"
        write(f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list", siblings)
    return write


def test_two_hardware_threads_are_one_core(machine, tmp_path, monkeypatch):
    assert runtime.physical_cores(str(tmp_path)) == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 4, 5}, raising=False)
    assert runtime.physical_cores(str(tmp_path)) == 2


def test_where_the_kernel_tells_nothing_every_processor_is_a_core(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert runtime.physical_cores(str(tmp_path)) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert runtime.physical_cores(str(tmp_path)) == 1


def test_a_processor_is_called_by_its_name_and_its_widest_instructions(tmp_path):
    assert runtime.processor_name(str(tmp_path)) == platform.machine()
    (tmp_path / "proc").mkdir()
    for flags, widest in (("sse", ""), ("avx2 avx512f", " (AVX-512)"), ("avx2 fma", " (AVX2)")):
        (tmp_path / "proc/cpuinfo").write_text(f"model name\t: A CPU\nflags\t\t: {flags}\n")
        assert runtime.processor_name(str(tmp_path)) == f"A CPU{widest}"


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 4), ("250000 100000", 2), ("900000 100000", 4)]
)
def test_a_containers_cpu_limit_counts(machine, tmp_path, quota, cores):
    machine("proc/self/cgroup", "0::/\n")
    machine("sys/fs/cgroup/cpu.max", quota)
    assert runtime.physical_cores(str(tmp_path)) == cores


def test_the_tightest_limit_above_the_process_counts_and_leaves_one_core(machine, tmp_path):
    machine("proc/self/cgroup", "0::/jobs/ours\n")
    machine("sys/fs/cgroup/jobs/ours/cpu.max", "max 100000")
    machine("sys/fs/cgroup/jobs/cpu.max", "50000 100000")
    assert runtime.physical_cores(str(tmp_path)) == 1


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("300000", 3)])
def test_limits_of_control_groups_version_1_count(machine, tmp_path, quota, cores):
    machine("proc/self/cgroup", "3:cpuset:/\n2:cpu,cpuacct:/docker/ab12\n0::/\n")
    machine("sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota)  # a container sees its group as the root
    machine("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert runtime.physical_cores(str(tmp_path)) == cores


def test_mxnet_imported_too_early_is_told(site):
    code = "import mxnet, runtime; print(runtime.mx is mxnet)"
    result = run_python(code, site)
    assert result.stdout == "True\n"
    assert "import runtime first" in result.stderr
    assert run_python(code, site, OMP_NUM_THREADS="2").stderr == ""


# ------------------------------------------------------------------------------- GPU libraries


def install_gpu_build(site: Path, libraries) -> list[str]:
    """Lay out stand-in shared objects as the wheels do; return their paths in loading order."""
    (site / "mxnet_cu112-1.9.1.dist-info").mkdir()
    shared_object = kiwisolver._cext.__file__  # any will do
    paths = [site / "nvidia" / library for library in libraries]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shared_object, path)
    return [str(path) for path in paths]


LOADED = "import runtime, json; print(json.dumps(runtime.load_gpu_libraries()))"


def test_the_gpu_builds_libraries_are_loaded_from_the_wheels_that_are_there(site):
    paths = install_gpu_build(site, [p for p in runtime.GPU_LIBRARIES if "nccl" not in p])
    assert json.loads(run_python(LOADED, site).stdout) == paths
    (site / "mxnet_cu112-1.9.1.dist-info").rename(site / "mxnet-1.9.1.dist-info")
    assert json.loads(run_python(LOADED, site).stdout) == []  # beside the CPU build


def test_a_damaged_library_is_named(site):
    cudnn = install_gpu_build(site, runtime.GPU_LIBRARIES)[-1]
    Path(cudnn).write_bytes(b"half a download")
    result = run_python("import runtime", site, check=False)
    assert result.returncode == 1
    assert cudnn in result.stderr.splitlines()[-1]


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler to make the stand-ins")
def test_libraries_that_need_each_other_are_found_without_a_search_path(site):
    """MXNet is linked against sonames only: an earlier library must be in the process by name."""
    (site / "mxnet_cu112-1.9.1.dist-info").mkdir()
    built = []
    for library in runtime.GPU_LIBRARIES:
        path = site / "nvidia" / library
        path.parent.mkdir(parents=True, exist_ok=True)
        name = f"f{len(built)}"
        source = f"int {name}(void) {{ return 1; }}\n"
        if built:
            source = f"int f{len(built) - 1}(void);\n" + source.replace(
                "1;", f"f{len(built) - 1}();"
            )
        (site / "stand_in.c").write_text(source)
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-o", str(path)]
        subprocess.run([*command, str(site / "stand_in.c"), *built[-1:]], check=True)
        built.append(str(path))
    (site / "mxnet" / "__init__.py").write_text(
        f"import ctypes\nprint(ctypes.CDLL({path.name!r}).f{len(built) - 1}())\n"
    )
    assert run_python("import runtime", site).stdout == "1\n"


def test_a_missing_driver_is_told(site):
    message = "libcuda.so.1: cannot open shared object file: No such file or directory"
    (site / "mxnet" / "__init__.py").write_text(f"raise OSError({message!r})")
    result = run_python("import runtime", site, check=False)
    assert result.stderr.splitlines()[-1].startswith("ImportError: MXNet's GPU build needs an NVID")
    (site / "mxnet" / "__init__.py").write_text("raise OSError('libfoo.so: cannot open')")
    result = run_python("import runtime", site, check=False)
    assert result.stderr.splitlines()[-1] == "OSError: libfoo.so: cannot open"


# ------------------------------------------------------------------------------------- GluonCV


def test_gluoncv_is_imported_when_asked_for_and_leaves_pillow_strict():
    code = (
        "import sys, runtime\n"
        "from PIL import ImageFile\n"
        "assert 'gluoncv' not in sys.modules\n"
        "from runtime import gluoncv\n"
        "gluoncv.model_zoo.get_model('cifar_resnet20_v1', classes=10)\n"
        "assert not ImageFile.LOAD_TRUNCATED_IMAGES\n"
    )
    run_python(code, ROOT)


def test_gluoncv_is_imported_where_a_pytorch_is_that_it_refuses(tmp_path):
    (tmp_path / "torch.py").write_text("__version__ = '2.13.0'")
    code = "from runtime import gluoncv; import torch; print(torch.__version__)"
    assert run_python(code, tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}").stdout == "2.13.0\n"


def test_runtime_has_no_other_name():
    with pytest.raises(AttributeError, match="no attribute 'gluoncvv'"):
        runtime.gluoncvv  # noqa: B018
