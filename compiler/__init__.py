"""How a processor runs any Gluon net: see the README beside this file.

import compiler
net = ...                         # any HybridBlock, initialized or not
compiler.hybridize(net)           # in place of net.hybridize(static_alloc=True, ...)
"""

from __future__ import annotations

import mxnet as mx

if mx.__version__ != "1.9.1":
    raise ImportError(f"the compiler is made for MXNet 1.9.1, and this is {mx.__version__}")

from .compiled import compiles, hybridize
from .explain import explain
from .freeze import freeze
from .processor import has_bfloat16

__all__ = ["compiles", "explain", "freeze", "has_bfloat16", "hybridize"]
