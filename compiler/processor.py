"""What this process may ask of its processor."""

from __future__ import annotations

import os

ROOT = "/"


def _flags():
    try:
        with open(os.path.join(ROOT, "proc/cpuinfo")) as file:
            flags = set(file.read().split())
    except OSError:
        return set()  # another system than Linux
    # oneDNN's own variable keeps it, and so this compiler, to older instructions.
    limit = os.environ.get("DNNL_MAX_CPU_ISA", "ALL").upper()
    if not (limit.startswith("AVX512") or limit in ("ALL", "DEFAULT")):
        flags -= {flag for flag in flags if flag.startswith("avx512")}
    elif limit not in ("ALL", "DEFAULT", "AVX512_CORE_BF16", "AVX512_CORE_AMX"):
        flags -= {"avx512_bf16"}
    return flags


def has_bfloat16():
    """Whether this processor computes in bfloat16, faster than in float32 (AVX512-BF16)."""
    return "avx512_bf16" in _flags()


def block():
    """Return how many channels oneDNN keeps together here: 16 with AVX-512, else 8."""
    return 16 if "avx512f" in _flags() else 8


# Users turn oneDNN off to look for its bugs; its operators then do not exist.
ONEDNN = os.environ.get("MXNET_MKLDNN_ENABLED", "1").lower() not in ("0", "false")
