"""MXNet uses all cores, and finds the CUDA of the wheels; GluonCV is imported beside it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import runtime

import pytest

ROOT = Path(runtime.__file__).resolve().parent


def run_python(code: str, folder: Path | str, check: bool = True, **environment: str):
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


def test_where_the_kernel_tells_nothing_every_processor_is_a_core(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert runtime.physical_cores(str(tmp_path)) == 3


def test_a_processor_is_called_by_its_name_and_its_widest_instructions(tmp_path):
    assert runtime.processor_name(str(tmp_path)) == platform.machine()
    (tmp_path / "proc").mkdir()
    for flags, widest in (("sse", ""), ("avx2 avx512f", " (AVX-512)"), ("avx2 fma", " (AVX2)")):
        (tmp_path / "proc/cpuinfo").write_text(f"model name\t: A CPU\nflags\t\t: {flags}\n")
        assert runtime.processor_name(str(tmp_path)) == f"A CPU{widest}"


CGROUP, V1 = "proc/self/cgroup", "sys/fs/cgroup/cpu/cpu.cfs_"
IN_DOCKER = "3:cpuset:/\n2:cpu,cpuacct:/docker/ab12\n0::/\n"  # which sees its group as the root
LIMITS = [  # of a machine with four cores of two hardware threads each
    ({CGROUP: "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000"}, 4),
    ({CGROUP: "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000"}, 2),
    ({CGROUP: "0::/\n", "sys/fs/cgroup/cpu.max": "900000 100000"}, 4),
    (
        {
            CGROUP: "0::/jobs/ours\n",
            "sys/fs/cgroup/jobs/ours/cpu.max": "max 100000",
            "sys/fs/cgroup/jobs/cpu.max": "50000 100000",
        },
        1,
    ),
    ({CGROUP: IN_DOCKER, f"{V1}quota_us": "-1", f"{V1}period_us": "100000"}, 4),
    ({CGROUP: IN_DOCKER, f"{V1}quota_us": "300000", f"{V1}period_us": "100000"}, 3),
]


@pytest.mark.parametrize(("files", "cores"), LIMITS)
def test_the_tightest_cpu_limit_of_a_container_counts(files, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    place = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    siblings = {place.format(number): f"{number % 4},{number % 4 + 4}\n" for number in range(8)}
    for path, text in {**siblings, **files}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert runtime.physical_cores(str(tmp_path)) == cores


def test_mxnet_imported_too_early_is_told(site):
    code = "import mxnet, runtime; print(runtime.mx is mxnet)"
    result = run_python(code, site)
    assert result.stdout == "True\n"
    assert "import runtime first" in result.stderr
    assert run_python(code, site, OMP_NUM_THREADS="2").stderr == ""


@pytest.fixture
def gpu_site(site):
    """The same with MXNet's GPU build, and the folders of the wheels with its libraries."""
    (site / "mxnet_cu112-1.9.1.dist-info").mkdir()
    for library in runtime.GPU_LIBRARIES:
        (site / "nvidia" / library).parent.mkdir(parents=True, exist_ok=True)
    return site


def test_a_damaged_library_is_named_but_beside_the_cpu_build_none_is_loaded(gpu_site):
    cudnn = gpu_site / "nvidia" / runtime.GPU_LIBRARIES[-1]
    cudnn.write_bytes(b"half a download")
    result = run_python("import runtime", gpu_site, check=False)
    assert result.returncode == 1
    assert str(cudnn) in result.stderr.splitlines()[-1]
    (gpu_site / "mxnet_cu112-1.9.1.dist-info").rename(gpu_site / "mxnet-1.9.1.dist-info")
    run_python("import runtime", gpu_site)


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler to make the stand-ins")
def test_libraries_that_need_each_other_are_found_without_a_search_path(gpu_site):
    """MXNet is linked against sonames only: an earlier library must be in the process by name."""
    built, source = [], "int f0(void) { return 1; }\n"
    for library in runtime.GPU_LIBRARIES:
        if "nccl" in library:  # left to the loader, as one that no wheel brings
            continue
        path = gpu_site / "nvidia" / library
        (gpu_site / "stand_in.c").write_text(source)
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-o", str(path)]
        subprocess.run([*command, str(gpu_site / "stand_in.c"), *built[-1:]], check=True)
        built.append(str(path))
        last, after = f"f{len(built) - 1}", f"f{len(built)}"
        source = f"int {last}(void);\nint {after}(void) {{ return {last}(); }}\n"
    (gpu_site / "mxnet" / "__init__.py").write_text(
        f"import ctypes\nprint(ctypes.CDLL({path.name!r}).{last}())\n"
    )
    code = "import runtime; print(*runtime.load_gpu_libraries())"
    assert run_python(code, gpu_site).stdout.split() == ["1", *built]


def test_a_missing_driver_is_told(site):
    message = "libcuda.so.1: cannot open shared object file: No such file or directory"
    (site / "mxnet" / "__init__.py").write_text(f"raise OSError({message!r})")
    result = run_python("import runtime", site, check=False)
    assert result.stderr.splitlines()[-1].startswith("ImportError: MXNet's GPU build needs an NVID")
    (site / "mxnet" / "__init__.py").write_text("raise OSError('libfoo.so: cannot open')")
    result = run_python("import runtime", site, check=False)
    assert result.stderr.splitlines()[-1] == "OSError: libfoo.so: cannot open"


def test_gluoncv_is_imported_when_asked_for_beside_a_pytorch_that_it_refuses(tmp_path):
    (tmp_path / "torch.py").write_text("__version__ = '2.13.0'")
    code = (
        "import sys, runtime\n"
        "from PIL import ImageFile\n"
        "assert 'gluoncv' not in sys.modules\n"
        "from runtime import gluoncv\n"
        "gluoncv.model_zoo.get_model('cifar_resnet20_v1', classes=10)\n"
        "assert not ImageFile.LOAD_TRUNCATED_IMAGES\n"
        "import torch; print(torch.__version__)\n"
    )
    assert run_python(code, tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}").stdout == "2.13.0\n"
