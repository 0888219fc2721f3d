"""How a processor runs any Gluon net.

On a CPU, MXNet's textbook layers are slow or crash. oneDNN keeps images in a blocked layout, 8 or
16 channels together, and a layer that does not fit it forces a conversion, a fallback, or the end
of the process. So whoever wanted a fast net had to write it for oneDNN. Here the net stays as its
paper draws it, and its graph is rewritten::

    import compiler
    net = ...                         # any HybridBlock, initialized or not
    compiler.hybridize(net)           # in place of net.hybridize(static_alloc=True, ...)

All else is Gluon's: parameters, their gradients and `grad_req`, running statistics, `Trainer`,
several devices, `save_parameters`, and `export`, which writes the plain graph. On a GPU, with
``MXNET_MKLDNN_ENABLED=0``, for types other than float32 and for operators that have no rule, the
plain graph runs.

- `graph`: a symbol as nodes, each of which can be made anew.
- `channels`: channels padded to multiples of 16.
- `rewrite`: one walk over the plain symbol, with a rule for each operator that can be had faster.
  What a rule needs to know of a tensor (padding, layout, bfloat16) travels with it.
- `fuse`: the last pass, BatchNorm and ReLU as one operator.
- `compiled`: `hybridize`, and the result as an operator.
- `freeze`: for inference alone.

The folder imports nothing of this project but `runtime`, and may be taken into another.
"""

from __future__ import annotations

from compiler.compiled import Compiled, compiles, hybridize
from compiler.freeze import freeze

__all__ = ["Compiled", "compiles", "freeze", "hybridize"]
