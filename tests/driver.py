"""A stand-in for the library of NVIDIA's driver, compiled, with devices of one's choosing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

H100 = ("NVIDIA H100 80GB HBM3", 9, 0)
RTX_3090 = ("NVIDIA GeForce RTX 3090", 8, 6)

# As the CUDA driver API has it: nothing works before cuInit, a device's handle is not its number,
# and an empty CUDA_VISIBLE_DEVICES hides all devices.
SOURCE = """
#include <stdlib.h>
#include <string.h>
static const struct {const char *name; int major, minor;} devices[] = {@ROWS@ {"", 0, 0}};
static int count = -1;
int cuInit(unsigned flags) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    count = visible && !*visible ? 0 : @COUNT@;
    return flags ? 1 : @STATUS@;
}
int cuDeviceGetCount(int *found) { *found = count; return count < 0 ? 3 : 0; }
int cuDeviceGet(int *device, int number) {
    *device = 100 + number;
    return number < count ? 0 : 101;
}
int cuDeviceGetName(char *name, int size, int device) {
    if (device < 100 || device >= 100 + count) return 101;
    strncpy(name, devices[device - 100].name, size);
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (device < 100 || device >= 100 + count) return 101;
    if (attribute != 75 && attribute != 76) return 1;
    *value = attribute == 75 ? devices[device - 100].major : devices[device - 100].minor;
    return 0;
}
"""


def build_driver(folder: Path, *devices: tuple[str, int, int], status: int = 0) -> Path:
    """Compile ``libcuda.so.1`` in a folder and return its path.

    Parameters
    ----------
    folder : Path
        For ``LD_LIBRARY_PATH``.
    *devices : tuple
        Name, major and minor compute capability.
    status : int
        What cuInit returns.
    """
    if not shutil.which("cc"):
        pytest.skip("no C compiler to make the stand-in")
    rows = "".join(f'{{"{name}", {major}, {minor}}},' for name, major, minor in devices)
    source = SOURCE
    for name, value in {"ROWS": rows, "COUNT": len(devices), "STATUS": status}.items():
        source = source.replace(f"@{name}@", str(value))
    (folder / "cuda.c").write_text(source)
    library = folder / "libcuda.so.1"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(folder / "cuda.c")]
    subprocess.run(command, check=True)
    return library
